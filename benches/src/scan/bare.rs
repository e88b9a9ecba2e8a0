//! What is the least an exact search has to do?
//!
//! One dot product per row of a flat array of unit vectors, and a heap of the best k.

use std::{cmp::Reverse, collections::BinaryHeap};

use simsimd::{SpatialSimilarity, capabilities};

/// A row and how well it matches. Ordered by score; of equal scores the lower row is the better one.
#[derive(Clone, Copy, PartialEq)]
pub(crate) struct Scored {
    pub(crate) score: f64,
    pub(crate) row: usize,
}

impl Eq for Scored {}

impl PartialOrd for Scored {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl Ord for Scored {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.score
            .total_cmp(&other.score)
            .then(other.row.cmp(&self.row))
    }
}

/// The best k rows, best first.
pub(crate) fn top(rows: &[f32], dimension: usize, query: &[f32], k: usize) -> Vec<Scored> {
    let mut best = BinaryHeap::with_capacity(k + 1);
    let mut worst = f64::NEG_INFINITY;
    for (row, vector) in rows.chunks_exact(dimension).enumerate() {
        let score = dot(vector, query);
        if score > worst || best.len() < k {
            best.push(Reverse(Scored { score, row }));
            if best.len() > k {
                best.pop();
            }
            if best.len() == k {
                worst = best.peek().map_or(worst, |Reverse(scored)| scored.score);
            }
        }
    }
    best.into_sorted_vec()
        .into_iter()
        .map(|Reverse(scored)| scored)
        .collect()
}

/// The score of one row.
pub(crate) fn score(rows: &[f32], dimension: usize, query: &[f32], row: usize) -> f64 {
    let vector = rows.get(row * dimension..(row + 1) * dimension);
    vector.map_or(f64::NAN, |vector| dot(vector, query))
}

fn dot(a: &[f32], b: &[f32]) -> f64 {
    <f32 as SpatialSimilarity>::dot(a, b).unwrap_or(f64::NAN)
}

/// Which of its kernels simsimd may use here.
pub(crate) fn kernels() -> String {
    let known = [
        ("haswell", capabilities::uses_haswell()),
        ("skylake", capabilities::uses_skylake()),
        ("ice", capabilities::uses_ice()),
        ("genoa", capabilities::uses_genoa()),
        ("sapphire", capabilities::uses_sapphire()),
        ("turin", capabilities::uses_turin()),
        ("neon", capabilities::uses_neon()),
        ("sve", capabilities::uses_sve()),
    ];
    let used: Vec<_> = known
        .iter()
        .filter(|(_, used)| *used)
        .map(|(name, _)| *name)
        .collect();
    used.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_best_come_first_and_ties_by_row() {
        let rows = [1.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.5, 0.5];
        let found: Vec<_> = top(&rows, 2, &[1.0, 0.0], 3)
            .iter()
            .map(|s| s.row)
            .collect();
        assert_eq!(found, [0, 2, 3]);
    }
}
