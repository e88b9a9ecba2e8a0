//! How do two kinds of scores become one ranking?
//!
//! Pure. Every row comes with what each kind says of it; what is normalised is normalised over these rows alone, so that
//! nothing need be known of the rest of the collection. A similarity that is missing or not finite counts as the worst, a
//! score of words as 0. Best first, ties by id. By [`Fusion::MinMax`] and [`Fusion::ReciprocalRank`] scores are in [0, 1], and a row whose score of one kind rises never
//! falls behind another. Called by [`neighbours`](super::neighbours), before and after neighbours have lent.

use crate::model::{Fusion, FusionWeights};

/// A row as both kinds of scores see it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Channels {
    /// Its id.
    pub id: u128,
    /// Its similarity to the query's vector.
    pub dense: Option<f32>,
    /// Its BM25 score for the query's words.
    pub lexical: Option<f32>,
}

/// A row's place in the common ranking.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Fused {
    /// Where it stood among the rows given.
    pub index: usize,
    /// The sum of both shares.
    pub score: f32,
    /// What its similarity contributed.
    pub dense: f32,
    /// What its words contributed.
    pub lexical: f32,
}

/// The common ranking of all rows, best first.
pub fn fuse(rows: &[Channels], fusion: Fusion, weights: &FusionWeights) -> Vec<Fused> {
    let known = |score: Option<f32>| score.filter(|score| score.is_finite()).map(f64::from);
    let dense: Vec<Option<f64>> = rows.iter().map(|row| known(row.dense)).collect();
    let lexical: Vec<Option<f64>> = rows
        .iter()
        .map(|row| known(row.lexical).filter(|score| *score > 0.0))
        .collect();
    let worst = dense.iter().flatten().copied().min_by(f64::total_cmp);
    let weight = |scores: &[Option<f64>], weight: f32| match scores.iter().flatten().next() {
        Some(_) => f64::from(weight),
        None => 0.0,
    };
    let of_dense = weight(&dense, weights.dense);
    let of_lexical = weight(&lexical, weights.lexical);
    let sum = of_dense + of_lexical;
    let part = |weight: f64| if sum > 0.0 { weight / sum } else { 0.0 };
    let dense = shares(&dense, worst.unwrap_or(0.0), fusion, part(of_dense));
    let lexical = shares(&lexical, 0.0, fusion, part(of_lexical));
    let mut fused: Vec<Fused> = dense
        .into_iter()
        .zip(lexical)
        .enumerate()
        .map(|(index, (dense, lexical))| Fused {
            index,
            score: dense + lexical,
            dense,
            lexical,
        })
        .collect();
    let id = |fused: &Fused| rows.get(fused.index).map(|row| row.id);
    fused.sort_unstable_by(|a, b| {
        let by_score = b.score.total_cmp(&a.score);
        by_score.then_with(|| id(a).cmp(&id(b)))
    });
    fused
}

/// What the scores of one kind contribute, each weighted. What is not known stands for `missing`.
fn shares(scores: &[Option<f64>], missing: f64, fusion: Fusion, weight: f64) -> Vec<f32> {
    if weight == 0.0 {
        return vec![0.0; scores.len()];
    }
    let filled: Vec<f64> = scores
        .iter()
        .map(|score| score.unwrap_or(missing))
        .collect();
    let shares: Vec<f64> = match fusion {
        Fusion::MinMax => min_max(&filled),
        Fusion::ZScore => z_score(&filled),
        Fusion::ReciprocalRank { constant } => reciprocal_rank(scores, constant),
    };
    shares.iter().map(|share| (weight * share) as f32).collect()
}

/// From the worst, 0, to the best, 1; where all are the same, they are the best.
fn min_max(scores: &[f64]) -> Vec<f64> {
    let low = scores.iter().copied().fold(f64::INFINITY, f64::min);
    let high = scores.iter().copied().fold(f64::NEG_INFINITY, f64::max);
    let share = |score: &f64| {
        if high > low {
            (score - low) / (high - low)
        } else {
            1.0
        }
    };
    scores.iter().map(share).collect()
}

/// In standard deviations from the mean; 0 where all are the same.
fn z_score(scores: &[f64]) -> Vec<f64> {
    let count = scores.len().max(1) as f64;
    let mean = scores.iter().sum::<f64>() / count;
    let variance = scores
        .iter()
        .map(|score| (score - mean).powi(2))
        .sum::<f64>()
        / count;
    let deviation = variance.sqrt();
    let share = |score: &f64| {
        if deviation > 0.0 {
            (score - mean) / deviation
        } else {
            0.0
        }
    };
    scores.iter().map(share).collect()
}

/// By the place among those that are known, which equals share: 1 for the first, 0 for what is not known.
fn reciprocal_rank(scores: &[Option<f64>], constant: u32) -> Vec<f64> {
    let mut sorted: Vec<f64> = scores.iter().flatten().copied().collect();
    sorted.sort_unstable_by(|a, b| b.total_cmp(a));
    let constant = f64::from(constant);
    let share = |score: f64| {
        let place = sorted.partition_point(|other| *other > score) + 1;
        (constant + 1.0) / (constant + place as f64)
    };
    scores
        .iter()
        .map(|score| score.map_or(0.0, share))
        .collect()
}

#[cfg(test)]
#[path = "fuse_tests.rs"]
mod tests;
