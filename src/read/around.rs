//! What are the scores of a row, and which rows stand next to it in its task?
//!
//! What the ranking asks of the collective ([`Surroundings`]), answered from the index of words, from the vectors in the mapped log, and
//! from the tasks that rows name. Only rows that may be results are told of. For [`hybrid`](super::hybrid).

use crate::{
    error::Result,
    read::{
        hybrid::{Found, Ground},
        neighbours::{Candidate, Near, Sight, Surroundings},
        texts::Tasks,
    },
    simd,
    state::body::Stored,
    text::search::{Scorer, as_f32},
    vector::similarity,
};

/// Vectors that are fetched while one is compared.
const FETCHED_AHEAD: usize = 4;

/// Rows on each side among which the neighbours of a row are looked for: those of other tasks may stand between them.
const REACH_ROWS: u32 = 16;

/// What stands around the candidates.
pub struct Around<'a> {
    ground: &'a Ground<'a>,
    scorer: &'a Scorer<'a>,
    query: Option<similarity::Query<'a>>,
    tasks: Tasks<'a>,
}

impl<'a> Around<'a> {
    /// Nothing looked at yet.
    pub fn new(ground: &'a Ground<'a>, scorer: &'a Scorer<'a>) -> Self {
        Self {
            ground,
            scorer,
            query: ground.asked.vector.map(similarity::Query::new),
            tasks: Tasks::new(ground.reader, ground.table),
        }
    }

    /// The next two rows of the task in one direction.
    fn next(
        &mut self,
        task: &str,
        rows: impl Iterator<Item = u32>,
        near: &mut Vec<Near>,
    ) -> Result<()> {
        let mut second = false;
        for row in rows {
            if self.tasks.of(row)? == Some(task) && self.ground.is_candidate(row)? {
                near.push(Near { row, second });
                if second {
                    break;
                }
                second = true;
            }
        }
        Ok(())
    }

    /// What was found, each with both scores.
    pub fn candidates(&self, found: &[Found]) -> Result<Vec<Candidate>> {
        let unknown = found.iter().filter(|one| one.similarity.is_none());
        let unknown: Vec<u32> = unknown.map(|one| one.row).collect();
        let mut seen = self.similarities(&unknown)?.into_iter();
        let candidate = |one: &Found| {
            let score = one.score.unwrap_or_else(|| {
                let mut sum = 0_u32;
                self.scorer
                    .rate(one.row, |_, part| sum = sum.saturating_add(part));
                sum
            });
            Candidate {
                row: one.row,
                id: self
                    .ground
                    .rows
                    .visible(one.row)
                    .map_or(0, |row| row.row.id),
                dense: one.similarity.or_else(|| seen.next().flatten()),
                lexical: Some(as_f32(score)).filter(|score| *score > 0.0),
            }
        };
        Ok(found.iter().map(candidate).collect())
    }

    /// How similar each of these rows is to the query's vector; `None` where that is not known.
    fn similarities(&self, rows: &[u32]) -> Result<Vec<Option<f32>>> {
        let Ground { reader, table, .. } = self.ground;
        let Some(query) = &self.query else {
            return Ok(vec![None; rows.len()]);
        };
        let vector = |row: &u32| match self.ground.rows.visible(*row) {
            Some(row) => reader.vector(table, &row),
            None => Ok(None),
        };
        let vectors: Vec<_> = rows.iter().map(vector).collect::<Result<_>>()?;
        let mut ahead = vectors.iter().skip(FETCHED_AHEAD);
        let similarity = |one: &Option<Stored<'_>>| {
            if let Some(Some(stored)) = ahead.next() {
                simd::prefetch(stored.vector);
            }
            one.map(|stored| query.similarity(stored.vector, stored.inverse_norm))
        };
        Ok(vectors.iter().map(similarity).collect())
    }
}

impl Surroundings for Around<'_> {
    fn near(&mut self, row: u32) -> Result<Vec<Near>> {
        let mut near = Vec::new();
        if let Some(task) = self.tasks.of(row)? {
            let first = row.saturating_sub(REACH_ROWS);
            self.next(task, (first..row).rev(), &mut near)?;
            let behind = row.saturating_add(1)..row.saturating_add(1 + REACH_ROWS);
            self.next(task, behind, &mut near)?;
        }
        Ok(near)
    }

    fn sights(&mut self, rows: &[u32]) -> Result<Vec<Sight>> {
        let similarities = self.similarities(rows)?;
        let sight = |(row, dense): (&u32, Option<f32>)| {
            let mut words = Vec::new();
            self.scorer
                .rate(*row, |term, part| words.push((term as u32, as_f32(part))));
            Sight {
                id: self.ground.rows.visible(*row).map_or(0, |row| row.row.id),
                dense,
                words,
            }
        };
        Ok(rows.iter().zip(similarities).map(sight).collect())
    }
}
