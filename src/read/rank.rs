//! Which candidates are the best, and in which order?
//!
//! Pure. Best score first; ties by id, smaller first, so that the same question always gets the
//! same answer.

use std::{cmp::Ordering, collections::BinaryHeap};

use crate::model::RecallWeights;

/// A row that may be a result.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Candidate {
    /// What it is sorted by.
    pub score: f32,
    /// Its similarity to the query.
    pub similarity: f32,
    /// Its id.
    pub id: u128,
    /// Its row.
    pub row: u32,
}

impl Eq for Candidate {}

impl Ord for Candidate {
    /// Better is less.
    fn cmp(&self, other: &Self) -> Ordering {
        other
            .score
            .total_cmp(&self.score)
            .then(self.id.cmp(&other.id))
    }
}

impl PartialOrd for Candidate {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

/// The best `k` of all candidates offered.
pub struct Best {
    k: usize,
    /// The worst of them on top.
    heap: BinaryHeap<Candidate>,
}

impl Best {
    /// Nothing yet.
    pub fn new(k: usize) -> Self {
        Self {
            k,
            heap: BinaryHeap::with_capacity(k + 1),
        }
    }

    /// A score below which an offer is in vain.
    pub fn threshold(&self) -> f32 {
        if self.heap.len() < self.k {
            f32::NEG_INFINITY
        } else {
            self.heap
                .peek()
                .map_or(f32::NEG_INFINITY, |worst| worst.score)
        }
    }

    /// Keeps the candidate if it is among the best.
    pub fn offer(&mut self, candidate: Candidate) {
        if self.heap.len() < self.k {
            self.heap.push(candidate);
        } else if let Some(mut worst) = self.heap.peek_mut()
            && candidate < *worst
        {
            *worst = candidate;
        }
    }

    /// The best, best first.
    pub fn into_sorted(self) -> Vec<Candidate> {
        self.heap.into_sorted_vec()
    }
}

/// `α·clamp01(similarity) + β·energy`.
pub fn weighted(weights: &RecallWeights, similarity: f32, energy: f32) -> f32 {
    weights.similarity * similarity.clamp(0.0, 1.0) + weights.energy * energy
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_best_and_breaks_ties_by_id() {
        let mut best = Best::new(3);
        for (id, score) in [(5, 0.5), (1, 0.9), (2, 0.5), (4, 0.5), (3, 0.1)] {
            best.offer(Candidate {
                score,
                similarity: score,
                id,
                row: 0,
            });
        }
        let ids: Vec<u128> = best.into_sorted().iter().map(|c| c.id).collect();
        assert_eq!(ids, [1, 2, 4]);
    }
}
