//! How does a graph come to be?
//!
//! Rows are added one by one, ascending, by whoever owns the builder, and the result is the content
//! of a file. Vectors stand in the file in the order of their rows. Nothing is searched here.

use std::ops::Range;

use super::{
    elements::Encoder,
    graph::Graph,
    usearch::{Growing, library_version},
};
use crate::{
    error::{PulseDBError, Result},
    format::{Covered, GRAPH_HEADER_LEN, GraphHeader, GraphParams},
};

/// A graph that is being built.
pub struct GraphBuilder {
    index: Growing,
    params: GraphParams,
    capacity: usize,
    encoder: Encoder,
    rows: Vec<u32>,
    /// Of codes; empty in graphs of other elements.
    errors: Vec<f32>,
}

impl GraphBuilder {
    /// An empty graph with room for `capacity` rows.
    pub fn new(params: GraphParams, capacity: usize) -> Result<Self> {
        Ok(Self {
            index: Growing::new(&params, capacity)?,
            params,
            capacity,
            encoder: Encoder::new(params),
            rows: Vec::with_capacity(capacity),
            errors: Vec::new(),
        })
    }

    /// What `graph` holds, with room for `more` rows behind its last one. `graph` stays as it is.
    pub fn extending(graph: &Graph, more: usize) -> Result<Self> {
        let params = *graph.params();
        let mut rows = Vec::with_capacity(graph.rows().len().saturating_add(more));
        rows.extend_from_slice(graph.rows());
        Ok(Self {
            index: graph.copied(more)?,
            params,
            capacity: rows.len().saturating_add(more),
            encoder: Encoder::new(params),
            rows,
            errors: graph
                .codes()
                .map(|codes| codes.errors.to_vec())
                .unwrap_or_default(),
        })
    }

    /// The last row added.
    #[must_use]
    pub fn last_row(&self) -> Option<u32> {
        self.rows.last().copied()
    }

    /// Adds a row, which must be above all before it.
    ///
    /// # Errors
    /// If it is not, if there is no room left, or if the vector is not one that can be searched
    /// for; then the row is left out.
    pub fn add(&mut self, row: u32, vector: &[f32], inverse_norm: f32) -> Result<()> {
        if self.rows.last().is_some_and(|last| *last >= row) {
            return Err(PulseDBError::Vector(format!(
                "row {row} is not above the rows before it"
            )));
        }
        if self.rows.len() >= self.capacity {
            return Err(PulseDBError::Vector(format!(
                "there is no room for row {row} in a graph of {}",
                self.capacity
            )));
        }
        let error = self.encoder.encode(vector, inverse_norm)?;
        self.index.add(row, self.encoder.elements())?;
        self.rows.push(row);
        self.errors.extend(error);
        Ok(())
    }

    /// The bytes of the file.
    ///
    /// # Errors
    /// If there is no row, or one outside of what is said to be covered.
    pub fn finish(self, covered: &Covered) -> Result<Vec<u8>> {
        let (first, last) = (self.rows.first().copied(), self.rows.last().copied());
        let within = first.is_some_and(|first| first >= covered.first)
            && last.is_some_and(|last| last < covered.end);
        if !within || self.index.len() != self.rows.len() {
            return Err(PulseDBError::Vector(
                "the graph does not hold the rows that it is to cover".into(),
            ));
        }
        let mut header = GraphHeader {
            covered: *covered,
            params: self.params,
            rows: u32::try_from(self.rows.len()).unwrap_or(u32::MAX),
            graph_len: self.index.saved_len() as u64,
            library: GraphHeader::library_name(library_version()).unwrap_or_default(),
            body_crc: 0,
        };
        (header.check()).map_err(|error| wrong(&error.to_string()))?;
        let layout = header.layout().ok_or_else(|| wrong("it is too large"))?;
        let size = usize::try_from(layout.len()).map_err(|_| wrong("it is too large"))?;
        let mut file = vec![0; size];
        self.index.save(part(&mut file, layout.graph)?)?;
        put_all(part(&mut file, layout.rows)?, &self.rows, u32::to_le_bytes);
        put_all(
            part(&mut file, layout.errors)?,
            &self.errors,
            f32::to_le_bytes,
        );
        header.body_crc = crc32fast::hash(file.get(GRAPH_HEADER_LEN..).unwrap_or_default());
        if let Some(start) = file.get_mut(..GRAPH_HEADER_LEN) {
            start.copy_from_slice(&header.encode());
        }
        Ok(file)
    }
}

fn wrong(what: &str) -> PulseDBError {
    PulseDBError::Vector(format!("writing a graph: {what}"))
}

fn part(file: &mut [u8], range: Range<u64>) -> Result<&mut [u8]> {
    let start = usize::try_from(range.start).ok();
    let end = usize::try_from(range.end).ok();
    start
        .zip(end)
        .and_then(|(start, end)| file.get_mut(start..end))
        .ok_or_else(|| wrong("a part is outside of it"))
}

fn put_all<T: Copy>(out: &mut [u8], values: &[T], bytes: impl Fn(T) -> [u8; 4]) {
    let (slots, _) = out.as_chunks_mut::<4>();
    for (slot, value) in slots.iter_mut().zip(values) {
        *slot = bytes(*value);
    }
}
