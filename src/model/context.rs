//! What does an agent get to know before it starts, and how does it ask?

use serde::{Deserialize, Serialize};

use super::{
    Activity, CollectiveId, Cursor, DerivedInsight, Experience, ExperienceId, ExperienceRelation,
    InsightFilter, InsightId, Query, RecallWeights, RelationType, ScoreParts, SearchFilter,
    Timestamp,
};

/// What an agent is about to do, and how much it wants to know of what is stored about it.
///
/// ```
/// use pulsedb::{CollectiveId, ContextRequest};
/// # let collective: CollectiveId = "0190a0b0-0000-7000-8000-000000000001".parse().unwrap();
/// let request = ContextRequest {
///     max_tokens: Some(2000),
///     ..ContextRequest::about_text(collective, "Why does the build fail on ARM?")
/// };
/// assert_eq!(request.max_similar, 20);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextRequest {
    /// Where to look.
    pub collective_id: CollectiveId,
    /// What it is about, as a search is asked: words, a vector, or both. Its words are looked for beside its meaning, which
    /// is the vector or, where the store embeds texts, that of the text.
    pub query: Query,
    /// Experiences like the query, at most, 0–1000.
    pub max_similar: usize,
    /// Newest experiences beside those, at most, 0–1000.
    pub max_recent: usize,
    /// Insights like the query, at most, 0–1000.
    pub max_insights: usize,
    /// Relations of the experiences that are answered, at most, 0–1000.
    pub max_relations: usize,
    /// Agents at work, at most, 0–1000.
    pub max_agents: usize,
    /// Which experiences to consider.
    pub filter: SearchFilter,
    /// Which insights to consider.
    pub insight_filter: InsightFilter,
    /// Types of the relations; all of them where there are none.
    pub relation_types: Vec<RelationType>,
    /// As in a search; `None` uses the collective's default, if it has one.
    pub weights: Option<RecallWeights>,
    /// Experiences, or insights, more similar to each other than this count as one: the best of them is
    /// answered and names the others. In (0, 1]; `None` answers all.
    pub collapse_above: Option<f32>,
    /// Most tokens of all texts together, counted by the store's tokenizer, or as four bytes each where it has
    /// none; `None` for no bound.
    pub max_tokens: Option<usize>,
}

impl ContextRequest {
    /// Similarity above which two texts say the same, as a rule.
    pub const SAME: f32 = 0.97;

    /// The usual amount of everything about a text, taken as it is, without operators.
    pub fn about_text(collective_id: CollectiveId, text: impl Into<String>) -> Self {
        Self::about(collective_id, Query::plain(text))
    }

    /// The usual amount of everything about a vector.
    #[must_use]
    pub fn about_vector(collective_id: CollectiveId, vector: Vec<f32>) -> Self {
        Self::about(collective_id, vector)
    }

    /// The usual amount of everything about what a search would find.
    pub fn about(collective_id: CollectiveId, query: impl Into<Query>) -> Self {
        Self {
            collective_id,
            query: query.into(),
            max_similar: 20,
            max_recent: 10,
            max_insights: 10,
            max_relations: 20,
            max_agents: 20,
            filter: SearchFilter::default(),
            insight_filter: InsightFilter::default(),
            relation_types: Vec::new(),
            weights: None,
            collapse_above: Some(Self::SAME),
            max_tokens: None,
        }
    }
}

/// What is known, as of one commit and one moment.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextCandidates {
    /// The commit.
    pub cursor: Cursor,
    /// The moment, for expiry and energy.
    pub now: Timestamp,
    /// Experiences like the query, best first.
    pub similar: Vec<ContextExperience>,
    /// The newest experiences that are not among those, newest first.
    pub recent: Vec<ContextExperience>,
    /// Insights like the query, best first.
    pub insights: Vec<ContextInsight>,
    /// Relations of the experiences above, those of the best first, each once.
    pub relations: Vec<ExperienceRelation>,
    /// Agents at work, by name.
    pub agents: Vec<Activity>,
    /// Tokens of all texts above.
    pub tokens: usize,
    /// Candidates that the budget of tokens left out.
    pub left_out: usize,
}

/// An experience, and why it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextExperience {
    /// The experience.
    pub experience: Experience,
    /// What speaks for it.
    pub score: ContextScore,
    /// Tokens of its content.
    pub tokens: usize,
    /// Others that say the same and were left out for that, most similar first.
    pub siblings: Vec<Sibling<ExperienceId>>,
}

/// An insight, and why it is there.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextInsight {
    /// The insight.
    pub insight: DerivedInsight,
    /// `1 − cosine distance` to the query's vector; 0 where it has none.
    pub similarity: f32,
    /// What it is ranked by.
    pub score: f32,
    /// Where the score comes from, where the query has a text.
    pub parts: ScoreParts,
    /// Tokens of its content.
    pub tokens: usize,
    /// Others that say the same and were left out for that, most similar first.
    pub siblings: Vec<Sibling<InsightId>>,
}

/// The parts of a score.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct ContextScore {
    /// `1 − cosine distance` to the query's vector; 0 where it has none.
    pub similarity: f32,
    /// How warm it is.
    pub energy: f32,
    /// What it is ranked by among the similar ones; among the recent ones that is the time.
    pub score: f32,
    /// Where the score comes from, before energy counts, where the query has a text and this is among the similar ones.
    pub parts: ScoreParts,
}

/// What says the same as something else.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Sibling<I> {
    /// Which.
    pub id: I,
    /// Its similarity to what is answered.
    pub similarity: f32,
}
