//! How similar are rows to a query, at a glance?
//!
//! By the codes of the vector index, a quarter of the bytes of a vector, where they tell it closely; else by the vectors in
//! the mapped log. For [`hybrid`](super::hybrid), which weighs hundreds of rows to answer with a few, and compares these exactly.

use crate::{
    error::Result,
    read::reader::Reader,
    simd,
    state::{Rows, Table, body::Stored},
    sync::Arc,
    vector::{
        codes::{Measure, QueryCode},
        index::IndexState,
        similarity::Query,
        tail::BLOCK_ROWS,
    },
};

/// How far a similarity may be off that still counts as known. Codes are some ten times closer than what can be proved of them,
/// which is mostly .02.
pub const CLOSE: f32 = 0.05;

/// Codes that are fetched before the first is compared: enough to overlap the waits for memory, few enough to stay in the
/// first-level cache.
const CODES_TOGETHER: usize = 32;

/// Vectors that are fetched while one is compared.
const VECTORS_AHEAD: usize = 4;

/// A query, and what it is compared with.
pub struct Glance<'a> {
    reader: &'a Reader,
    table: &'a Table,
    rows: &'a Rows,
    index: Arc<IndexState>,
    /// Rows of whole blocks.
    whole: u32,
    query: Query<'a>,
    code: QueryCode,
}

impl<'a> Glance<'a> {
    /// Of a query at the rows that a snapshot shows.
    pub fn new(reader: &'a Reader, table: &'a Table, rows: &'a Rows, query: &'a [f32]) -> Self {
        let count = table.end_at(reader.lsn());
        let query = Query::new(query);
        Self {
            reader,
            table,
            rows,
            index: table.vectors.reaching(count),
            whole: count - count % BLOCK_ROWS,
            code: QueryCode::new(query.direction()),
            query,
        }
    }

    /// About how similar each of these rows is; `None` where that cannot be read.
    pub fn about(&self, rows: &[u32]) -> Result<Vec<Option<f32>>> {
        let mut found = Vec::with_capacity(rows.len());
        for rows in rows.chunks(CODES_TOGETHER) {
            let code = |row: &u32| {
                let code = self.code_of(*row)?;
                simd::prefetch(code.0);
                Some(code)
            };
            let codes: Vec<_> = rows.iter().map(code).collect();
            for (row, code) in rows.iter().zip(codes) {
                let close = code.and_then(|(code, measure)| {
                    let dot = simd::dot_i8(self.code.codes(), code);
                    let (similarity, off) = self.code.interval(dot, measure);
                    (off <= CLOSE).then_some(similarity)
                });
                found.push(match close {
                    Some(similarity) => Some(similarity),
                    None => self.stored(*row)?.map(|stored| self.compared(&stored)),
                });
            }
        }
        Ok(found)
    }

    /// How similar each of these rows is; `None` where that cannot be read.
    pub fn exactly(&self, rows: &[u32]) -> Result<Vec<Option<f32>>> {
        let vectors = rows.iter().map(|row| self.stored(*row));
        let vectors: Vec<Option<Stored<'_>>> = vectors.collect::<Result<_>>()?;
        let mut ahead = vectors.iter().skip(VECTORS_AHEAD);
        let similarity = |one: &Option<Stored<'_>>| {
            if let Some(Some(stored)) = ahead.next() {
                simd::prefetch(stored.vector);
            }
            one.as_ref().map(|stored| self.compared(stored))
        };
        Ok(vectors.iter().map(similarity).collect())
    }

    fn compared(&self, stored: &Stored<'_>) -> f32 {
        self.query.similarity(stored.vector, stored.inverse_norm)
    }

    fn stored(&self, row: u32) -> Result<Option<Stored<'_>>> {
        match self.rows.visible(row) {
            Some(row) => self.reader.vector(self.table, &row),
            None => Ok(None),
        }
    }

    /// The code of a row, where there is one.
    fn code_of(&self, row: u32) -> Option<(&[i8], Measure)> {
        let graphs = &self.index.graphs;
        let graph = graphs.partition_point(|one| one.graph.covered().end <= row);
        if let Some(one) = graphs.get(graph) {
            let matrix = one.graph.codes()?;
            return matrix.codes().row(matrix.slot(row)?);
        }
        if row >= self.whole {
            return None;
        }
        let rows = (self.table, self.rows);
        let block = self.reader.block(rows, &self.index.tail, row)?;
        block.code_of(row)
    }
}
