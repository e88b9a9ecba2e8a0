//! What is asked of a search, and what does it answer?

use serde::{Deserialize, Serialize};

use super::{Experience, SearchFilter};

/// How a search is to be answered.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchOptions {
    /// How many results, 1–1000.
    pub k: usize,
    /// Which experiences to consider.
    pub filter: SearchFilter,
    /// Re-rank by similarity and energy; `None` uses the collective's default, if it has one.
    pub weights: Option<RecallWeights>,
    /// Compare with every candidate instead of asking an approximate index.
    pub exact: bool,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            k: 10,
            filter: SearchFilter::default(),
            weights: None,
            exact: false,
        }
    }
}

/// How much similarity and energy count: `α·clamp01(similarity) + β·energy`.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecallWeights {
    /// α, finite and ≥ 0.
    pub similarity: f32,
    /// β, finite and ≥ 0; 0 gives exactly the unweighted ranking.
    pub energy: f32,
}

/// One result of a search.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct SearchHit {
    /// What was found, as of the search's snapshot.
    pub experience: Experience,
    /// `1 − cosine distance` to the query, in [−1, 1] up to rounding.
    pub similarity: f32,
    /// What the results are sorted by: the similarity, or the weighted sum.
    pub score: f32,
}
