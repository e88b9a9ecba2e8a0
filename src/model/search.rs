//! What is asked of a search, and what does it answer?

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Diversity, Experience, Fusion, FusionWeights, NeighbourEvidence, ScoreParts, SearchFilter,
};

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
    /// Candidates that the approximate index looks at, 1–10,000; `None` means
    /// `Config::hnsw.ef_search`. More find more of the true neighbours more slowly.
    pub ef: Option<usize>,
    /// How similarity and words become one score, for queries with a text.
    pub fusion: Fusion,
    /// How much each of them counts, for queries with a text.
    pub fusion_weights: FusionWeights,
    /// How much neighbours lend, for queries with a text; `None` is the default for words and a vector together, and
    /// nothing for words alone.
    pub neighbours: Option<NeighbourEvidence>,
    /// Results that are not all alike, for queries with a text; `None` takes the best, alike or not.
    pub diversity: Option<Diversity>,
}

impl Default for SearchOptions {
    fn default() -> Self {
        Self {
            k: 10,
            filter: SearchFilter::default(),
            weights: None,
            exact: false,
            ef: None,
            fusion: Fusion::default(),
            fusion_weights: FusionWeights::default(),
            neighbours: None,
            diversity: None,
        }
    }
}

/// A way to answer a search.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SearchPlan {
    /// Nothing can match.
    Nothing,
    /// The codes of every row are compared, one after the other.
    Scan,
    /// The codes of the matches are compared, wherever they stand.
    Matches,
    /// The graphs are walked, each node asked whether it matches; rows behind them are scanned.
    FilteredGraph,
    /// The graphs are walked and their results checked; rows behind them are scanned.
    Graph,
}

/// How a search was answered. Counts are of this one run.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SearchExplanation {
    /// The way that gave the answer; a first attempt by a graph that yielded too little is not told.
    pub plan: SearchPlan,
    /// Candidates that each graph was asked for.
    pub ef: usize,
    /// Row numbers of the collective, deleted ones included.
    pub rows: u64,
    /// Graphs of the collective.
    pub graphs: u64,
    /// Rows that they cover; the others are scanned by every search.
    pub in_graphs: u64,
    /// At most so many rows pass the filter; `None` where it restricts nothing.
    pub matches: Option<u64>,
    /// Codes that were compared by scans, and candidates from graphs.
    pub codes_compared: u64,
    /// Rows that might have won and were asked whether they are visible and pass the filter.
    pub rows_checked: u64,
    /// Vectors that were compared in f32.
    pub vectors_compared: u64,
    /// Results.
    pub hits: u64,
    /// Time to look up the filter and choose the plan.
    pub planning: Duration,
    /// Time to walk graphs and scan codes.
    pub finding: Duration,
    /// Time to compare vectors.
    pub comparing: Duration,
    /// Time to read the results.
    pub reading: Duration,
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
    /// `1 − cosine distance` to the query's vector, in [−1, 1] up to rounding; 0 where the query has none.
    pub similarity: f32,
    /// What the results are sorted by: the similarity or, where the query has a text, the sum of the shares in
    /// `parts`; weighted with energy where that was asked for.
    pub score: f32,
    /// Where the score comes from, where the query has a text.
    pub parts: ScoreParts,
}
