//! What is asked of a search, and what does it answer?

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{
    Diversity, Experience, ExperienceId, Fusion, FusionWeights, NeighbourEvidence, ScoreParts,
    SearchFilter,
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

/// How a search was answered. Counts are of this one run. Of a query of words alone, what is told of vectors is nothing.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
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
    /// At most so many rows pass the filter, and have what words the query requires; `None` where neither restricts
    /// anything.
    pub matches: Option<u64>,
    /// Codes that were compared by scans, and candidates from graphs.
    pub codes_compared: u64,
    /// Rows that might have won and were asked whether they are visible and pass the filter.
    pub rows_checked: u64,
    /// Vectors that were compared in f32.
    pub vectors_compared: u64,
    /// Results.
    pub hits: u64,
    /// Time to look up the filter and choose the plan; of a query with words, for these, too, and to index what was not.
    pub planning: Duration,
    /// Time to walk graphs and scan codes; of a query with words, to compare vectors, too.
    pub finding: Duration,
    /// Time to compare vectors; of a query with words, to give each candidate both scores.
    pub comparing: Duration,
    /// Time to read the results.
    pub reading: Duration,
    /// How words were looked for, where the query has a text.
    pub words: Option<WordsExplanation>,
    /// Where the score of each result comes from, best first.
    pub results: Vec<HitExplanation>,
}

/// How words were looked for, and what became of what they found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WordsExplanation {
    /// What the query was understood as: each term that counts.
    pub terms: Vec<TermExplanation>,
    /// Experiences that are indexed by their words.
    pub indexed: u64,
    /// Parts of the index.
    pub runs: u64,
    /// Candidates that words proposed.
    pub proposed: u64,
    /// Candidates that the vector proposed.
    pub proposed_by_vector: u64,
    /// Candidates in all, and neighbours of the best that have joined them.
    pub ranked: u64,
    /// Time to find the words' candidates.
    pub finding: Duration,
    /// Time to hear neighbours, and to make one ranking.
    pub ranking: Duration,
}

/// A term of a query.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TermExplanation {
    /// A word as the index knows it: without case, accents and ending.
    pub term: String,
    /// Experiences that have it; some may be deleted already.
    pub experiences: u64,
}

/// Where the score of a result comes from.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct HitExplanation {
    /// The result.
    pub id: ExperienceId,
    /// What the results are sorted by, but for diversity.
    pub score: f32,
    /// Similarity and words, what neighbours lent to each, and its share. Without a text the share of similarity is
    /// the similarity.
    pub parts: ScoreParts,
    /// What each term that the experience has contributes to its BM25 score.
    pub terms: Vec<(String, f32)>,
    /// The neighbours that lent something.
    pub neighbours: Vec<NeighbourExplanation>,
    /// Its energy, where the score is weighted with it: `α·shares + β·energy`.
    pub energy: Option<f32>,
    /// Its likeness to the result before it that it is most like, where diversity was asked for; it competed with
    /// `relevance·score − (1 − relevance)·likeness`.
    pub likeness: Option<f32>,
}

/// What a neighbour lent.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourExplanation {
    /// The neighbour.
    pub id: ExperienceId,
    /// Whether another one stands between them in time.
    pub second: bool,
    /// Of its similarity.
    pub dense: f32,
    /// Of its words, in BM25.
    pub lexical: f32,
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
