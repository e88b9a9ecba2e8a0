//! Which rows are the right answers?
//!
//! Dot products in f64 with every row, once per set of rows, queries and filter: kept in
//! `target/bench/cache`, under a hash of all that they depend on. A row that scores as the k-th best, but
//! for the rounding of f32, is as right as it.

use std::{cmp::Reverse, collections::BinaryHeap, fs, path::PathBuf};

use anyhow::{Context, Result};
use serde::{Deserialize, Serialize};

use crate::{scan::Scored, settings::results_dir, vectors::Vectors};

/// Scores closer than this are the same.
const TIE: f64 = 2e-7;
/// Ties beyond the k-th that are kept.
const SPARE: usize = 22;

/// The right answers to all queries.
#[derive(Serialize, Deserialize)]
pub(super) struct Truth {
    answers: Vec<Answer>,
}

#[derive(Serialize, Deserialize)]
struct Answer {
    /// How many rows there are to find: k, or as many as match.
    wanted: usize,
    /// The best of them, and those that tie with the last.
    right: Vec<usize>,
}

impl Truth {
    /// The best `k` of those `rows` that `matching` names, in ascending order; of all without it.
    pub(super) fn get(
        vectors: &Vectors,
        rows: &[f32],
        k: usize,
        matching: Option<&[u32]>,
    ) -> Result<Self> {
        let file = cache_file(vectors, rows, k, matching);
        if let Ok(json) = fs::read(&file)
            && let Ok(truth) = serde_json::from_slice(&json)
        {
            return Ok(truth);
        }
        eprintln!("exact answers in f64 (kept for later runs) …");
        let queries = vectors.queries();
        let truth = Self {
            answers: queries
                .map(|query| answer(rows, vectors.dimension, query, k, matching))
                .collect(),
        };
        if let Some(dir) = file.parent() {
            fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        }
        fs::write(&file, serde_json::to_vec(&truth)?)
            .with_context(|| file.display().to_string())?;
        Ok(truth)
    }

    /// Which share of the right rows was found; answers in the order of the queries.
    pub(super) fn recall(&self, answers: &[Vec<usize>]) -> f64 {
        let (mut found, mut wanted) = (0, 0);
        for (right, named) in self.answers.iter().zip(answers) {
            let mut named: Vec<_> = named
                .iter()
                .filter(|row| right.right.contains(row))
                .collect();
            named.sort_unstable();
            named.dedup();
            found += named.len().min(right.wanted);
            wanted += right.wanted;
        }
        found as f64 / wanted as f64
    }

    /// How many answers have fewer rows than there are to find.
    pub(super) fn short(&self, answers: &[Vec<usize>]) -> usize {
        let pairs = self.answers.iter().zip(answers);
        pairs
            .filter(|(right, named)| named.len() < right.wanted)
            .count()
    }
}

fn answer(
    rows: &[f32],
    dimension: usize,
    query: &[f32],
    k: usize,
    matching: Option<&[u32]>,
) -> Answer {
    let query: Vec<f64> = query.iter().map(|x| f64::from(*x)).collect();
    let mut best = BinaryHeap::with_capacity(k + SPARE + 1);
    let mut offer = |row: usize| {
        let Some(vector) = rows.get(row * dimension..(row + 1) * dimension) else {
            return;
        };
        let score = dot(vector, &query);
        best.push(Reverse(Scored { score, row }));
        if best.len() > k + SPARE {
            best.pop();
        }
    };
    match matching {
        Some(matching) => matching.iter().for_each(|row| offer(*row as usize)),
        None => (0..rows.len() / dimension).for_each(offer),
    }
    let best = best.into_sorted_vec();
    let wanted = k.min(best.len());
    let last = wanted.checked_sub(1).and_then(|at| best.get(at));
    let worst = last.map_or(f64::INFINITY, |Reverse(scored)| scored.score);
    let right = best
        .iter()
        .map(|Reverse(scored)| scored)
        .filter(|scored| scored.score >= worst - TIE)
        .map(|scored| scored.row)
        .collect();
    Answer { wanted, right }
}

fn dot(vector: &[f32], query: &[f64]) -> f64 {
    let mut sums = [0.0; 8];
    let (vector, query) = (vector.as_chunks::<8>(), query.as_chunks::<8>());
    for (a, b) in vector.0.iter().zip(query.0) {
        for ((sum, a), b) in sums.iter_mut().zip(a).zip(b) {
            *sum += f64::from(*a) * b;
        }
    }
    let rest = vector.1.iter().zip(query.1);
    sums.iter().sum::<f64>() + rest.map(|(a, b)| f64::from(*a) * b).sum::<f64>()
}

fn cache_file(vectors: &Vectors, rows: &[f32], k: usize, matching: Option<&[u32]>) -> PathBuf {
    let mut hash: u64 = 0x2013;
    let mut add = |word: u32| {
        hash = (hash ^ u64::from(word))
            .wrapping_mul(0x9e37_79b9_7f4a_7c15)
            .rotate_left(29);
    };
    // What the hash stands for changes with the format of the file, too.
    for number in [1, k as u32, vectors.dimension as u32] {
        add(number);
    }
    let queries = vectors.queries().flatten();
    rows.iter().chain(queries).for_each(|x| add(x.to_bits()));
    for row in matching.into_iter().flatten() {
        add(*row);
    }
    let every = u32::from(matching.is_none());
    add(every);
    results_dir().join(format!("cache/truth-{hash:016x}.json"))
}
