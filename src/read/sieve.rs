//! Which rows may still be among the best, while only an interval of each similarity is known?
//!
//! Pure. A sieve takes rows with the interval that their codes give, keeps those whose highest
//! possible score reaches the k-th lowest possible score so far, and in the end compares what is
//! left exactly, most promising first, until nothing left can win. So the answer is exact whatever
//! the intervals are, as long as they hold the truth.

use std::{cmp::Reverse, collections::BinaryHeap};

use crate::{
    error::Result,
    model::{DecayConfig, RecallWeights, SearchOptions},
    read::rank::{Best, Candidate, weighted},
    simd,
    vector::{codes::QueryCode, similarity::Query},
};

/// Rows kept before the first look for those that have fallen behind.
const FIRST_CLEARING: usize = 1024;

/// How scores come from similarities.
#[derive(Clone, Copy, Debug)]
pub enum Scoring {
    /// They are the same.
    Similarity,
    /// `α·clamp01(similarity) + β·energy`.
    Weighted(RecallWeights),
}

impl Scoring {
    /// As the search asks, or the collective by default.
    pub fn of(options: &SearchOptions, decay: Option<&DecayConfig>) -> Self {
        options
            .weights
            .or_else(|| decay?.default_recall_weights)
            .filter(|weights| weights.energy > 0.0)
            .map_or(Self::Similarity, Self::Weighted)
    }

    /// The score of a row of this similarity and energy; it never falls when the similarity rises.
    pub fn score(&self, similarity: f32, energy: f32) -> f32 {
        match self {
            Self::Similarity => similarity,
            Self::Weighted(weights) => weighted(weights, similarity, energy),
        }
    }

    /// The most that a row of this similarity can reach, whatever its energy (which is at most 1).
    fn most(&self, similarity: f32) -> f32 {
        self.score(similarity, 1.0)
    }
}

#[derive(Clone, Copy, Debug)]
struct Kept {
    most: f32,
    similarity: f32,
    off: f32,
    energy: f32,
    row: u32,
}

/// A number that heaps can order.
#[derive(Clone, Copy, Debug, PartialEq)]
struct Score(f32);

impl Eq for Score {}

impl Ord for Score {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.total_cmp(&other.0)
    }
}

impl PartialOrd for Score {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

/// The search for the best rows of one query.
pub struct Sieve<'a> {
    /// The query as it is.
    pub query: Query<'a>,
    /// The query as a code.
    pub code: QueryCode,
    k: usize,
    scoring: Scoring,
    /// The k highest of the lowest possible scores, the lowest of them on top.
    floor: BinaryHeap<Reverse<Score>>,
    kept: Vec<Kept>,
    clear_at: usize,
    checked: u64,
}

/// A row that is compared exactly.
pub struct Compared<'a> {
    /// Its vector.
    pub vector: &'a [f32],
    /// 1 / ‖vector‖.
    pub inverse_norm: f32,
    /// Its id.
    pub id: u128,
}

impl<'a> Sieve<'a> {
    /// Nothing seen yet.
    pub fn new(query: &'a [f32], k: usize, scoring: Scoring) -> Self {
        let query = Query::new(query);
        Self {
            code: QueryCode::new(query.direction()),
            query,
            k,
            scoring,
            floor: BinaryHeap::with_capacity(k + 1),
            kept: Vec::new(),
            clear_at: FIRST_CLEARING.max(4 * k),
            checked: 0,
        }
    }

    /// The score that a row must be able to reach.
    fn floor(&self) -> f32 {
        match self.floor.peek() {
            Some(Reverse(Score(lowest))) if self.floor.len() == self.k => *lowest,
            _ => f32::NEG_INFINITY,
        }
    }

    /// Whether k rows that count were offered.
    pub fn is_full(&self) -> bool {
        self.floor.len() == self.k
    }

    /// Rows that were asked whether they count.
    pub fn checked(&self) -> u64 {
        self.checked
    }

    /// Whether a row with this highest possible similarity need not be offered.
    pub fn in_vain(&self, highest: f32) -> bool {
        self.scoring.most(highest) < self.floor()
    }

    /// Takes a row whose similarity is in `middle ± off`. `energy` is asked only of a row that may
    /// win, and answers `None` where the row does not count.
    pub fn offer(
        &mut self,
        row: u32,
        (middle, off): (f32, f32),
        energy: impl FnOnce(u32) -> Result<Option<f32>>,
    ) -> Result<()> {
        if self.in_vain(middle + off) {
            return Ok(());
        }
        self.checked += 1;
        let Some(energy) = energy(row)? else {
            return Ok(());
        };
        let most = self.scoring.score(middle + off, energy);
        if most < self.floor() {
            return Ok(());
        }
        self.floor
            .push(Reverse(Score(self.scoring.score(middle - off, energy))));
        if self.floor.len() > self.k {
            self.floor.pop();
        }
        if self.kept.len() == self.clear_at {
            let floor = self.floor();
            self.kept.retain(|kept| kept.most >= floor);
            self.clear_at = FIRST_CLEARING.max(2 * self.kept.len());
        }
        self.kept.push(Kept {
            most,
            similarity: middle,
            off,
            energy,
            row,
        });
        Ok(())
    }

    /// Most promising first.
    fn sort(&mut self) {
        self.kept
            .sort_unstable_by(|a, b| b.most.total_cmp(&a.most).then(a.row.cmp(&b.row)));
    }

    /// The `k` most promising rows, each with its similarity and how far that may be off.
    pub fn promising(&mut self) -> Vec<(u32, f32, f32)> {
        self.sort();
        let best = self.kept.iter().take(self.k);
        best.map(|kept| (kept.row, kept.similarity, kept.off))
            .collect()
    }

    /// The best rows, best first, and how many had to be compared exactly.
    pub fn finish<'v>(
        &mut self,
        mut vector: impl FnMut(u32) -> Result<Option<Compared<'v>>>,
    ) -> Result<(Vec<Candidate>, u64)> {
        let mut best = Best::new(self.k);
        let mut compared = 0;
        self.sort();
        // So many are compared in any case, so all are fetched at once.
        for kept in self.kept.iter().take(self.k) {
            if let Some(row) = vector(kept.row)? {
                simd::prefetch(row.vector);
            }
        }
        for kept in &self.kept {
            if kept.most < best.threshold() {
                break;
            }
            let Some(row) = vector(kept.row)? else {
                continue;
            };
            compared += 1;
            let similarity = self.query.similarity(row.vector, row.inverse_norm);
            best.offer(Candidate {
                score: self.scoring.score(similarity, kept.energy),
                similarity,
                id: row.id,
                row: kept.row,
            });
        }
        Ok((best.into_sorted(), compared))
    }
}
