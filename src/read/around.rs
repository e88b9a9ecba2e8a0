//! What are the scores of a row, and which rows stand next to it in its task?
//!
//! What the ranking asks of the collective ([`Surroundings`]), answered from the index of words, which knows the tasks, too, and from the
//! vectors and their codes ([`glance`](super::glance)). Only rows that may be results are told of. For [`hybrid`](super::hybrid).

use crate::{
    error::Result,
    read::{
        glance::Glance,
        hybrid::{Found, Ground},
        neighbours::{Candidate, Near, Sight, Sights, Surroundings},
    },
    text::search::Scorer,
};

/// Rows on each side among which the neighbours of a row are looked for: those of other tasks may stand between them.
const REACH_ROWS: u32 = 16;

/// Rows on each side that are fetched beforehand: two neighbours, and two of the second, where no other tasks stand between.
const EXPECTED_ROWS: u32 = 4;

/// What stands around the candidates.
pub struct Around<'a> {
    ground: &'a Ground<'a>,
    scorer: &'a Scorer<'a>,
    query: Option<Glance<'a>>,
}

impl<'a> Around<'a> {
    /// Nothing looked at yet.
    pub fn new(ground: &'a Ground<'a>, scorer: &'a Scorer<'a>) -> Self {
        let Ground {
            reader,
            table,
            rows,
            ..
        } = ground;
        let vector = ground.asked.vector;
        Self {
            ground,
            scorer,
            query: vector.map(|vector| Glance::new(reader, table, rows, vector)),
        }
    }

    /// The next two rows of the task in one direction.
    fn next(&self, task: u32, rows: impl Iterator<Item = u32>, near: &mut Vec<Near>) -> Result<()> {
        let mut second = false;
        for row in rows {
            if self.ground.state.task(row) == Some(task) && self.ground.is_candidate(row)? {
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
        for one in found {
            self.ground.expect(one.row..one.row + 1);
        }
        let mut seen = self.similarities(&unknown)?.into_iter();
        let candidate = |one: &Found| {
            let score = one.score.unwrap_or_else(|| {
                let mut sum = 0_u32;
                self.scorer.rate(one.row, |_, part| sum += part);
                sum
            });
            Candidate {
                row: one.row,
                id: self.id(one.row),
                dense: one.similarity.or_else(|| seen.next().flatten()),
                lexical: Some(self.scorer.value(score)).filter(|score| *score > 0.0),
            }
        };
        Ok(found.iter().map(candidate).collect())
    }

    fn id(&self, row: u32) -> u128 {
        self.ground.rows.visible(row).map_or(0, |row| row.row.id)
    }

    /// About how similar each of these rows is to the query's vector; `None` where that is not known.
    fn similarities(&self, rows: &[u32]) -> Result<Vec<Option<f32>>> {
        match &self.query {
            Some(query) => query.about(rows),
            None => Ok(vec![None; rows.len()]),
        }
    }
}

impl Surroundings for Around<'_> {
    fn expect(&mut self, rows: &[u32]) {
        for row in rows {
            let first = row.saturating_sub(EXPECTED_ROWS);
            self.ground
                .expect(first..row.saturating_add(EXPECTED_ROWS + 1));
        }
    }

    fn near(&mut self, row: u32, near: &mut Vec<Near>) -> Result<()> {
        if let Some(task) = self.ground.state.task(row) {
            let first = row.saturating_sub(REACH_ROWS);
            self.next(task, (first..row).rev(), near)?;
            let behind = row.saturating_add(1)..row.saturating_add(1 + REACH_ROWS);
            self.next(task, behind, near)?;
        }
        Ok(())
    }

    fn sights(&mut self, rows: &[u32]) -> Result<Sights> {
        let mut sights = Sights::default();
        for (row, dense) in rows.iter().zip(self.similarities(rows)?) {
            let first = sights.words.len();
            self.scorer.rate(*row, |term, part| {
                sights.words.push((term as u32, self.scorer.value(part)));
            });
            sights.of.push(Sight {
                id: self.id(*row),
                dense,
                words: first..sights.words.len(),
            });
        }
        Ok(sights)
    }

    fn exactly(&mut self, rows: &[u32]) -> Result<Vec<Option<f32>>> {
        match &self.query {
            Some(query) => query.exactly(rows),
            None => Ok(vec![None; rows.len()]),
        }
    }
}
