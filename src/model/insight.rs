//! What is an insight?

use serde::{Deserialize, Serialize};

use super::{CollectiveId, ExperienceId, InsightId, ScoreParts, Timestamp};

/// Knowledge that a consumer derived from several experiences; searchable like them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DerivedInsight {
    /// Its name in every call.
    pub id: InsightId,
    /// The collective it belongs to.
    pub collective_id: CollectiveId,
    /// 1 B–50 KiB of text.
    pub content: String,
    /// As given, bit for bit.
    pub embedding: Vec<f32>,
    /// The experiences it was derived from, as far as they are still there.
    pub source_experience_ids: Vec<ExperienceId>,
    /// How it was derived.
    pub insight_type: InsightType,
    /// How sure the consumer is, in [0, 1].
    pub confidence: f32,
    /// Subject areas.
    pub domain: Vec<String>,
    /// When it was stored.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// An insight to be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewInsight {
    /// Where it belongs.
    pub collective_id: CollectiveId,
    /// 1 B–50 KiB of text.
    pub content: String,
    /// Required with `External` embeddings, refused otherwise.
    pub embedding: Option<Vec<f32>>,
    /// 1–100 existing experiences.
    pub source_experience_ids: Vec<ExperienceId>,
    /// How it was derived.
    pub insight_type: InsightType,
    /// In [0, 1].
    pub confidence: f32,
    /// At most 50 subject areas of 1–100 characters.
    pub domain: Vec<String>,
}

/// How an insight was derived.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum InsightType {
    /// Something that recurs.
    Pattern = 1,
    /// Several things put together.
    Synthesis = 2,
    /// The general behind the particular.
    Abstraction = 3,
    /// Things that come together.
    Correlation = 4,
}

/// Which insights are considered. Empty lists and `None` do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct InsightFilter {
    /// At least one of these domains.
    pub domains: Vec<String>,
    /// At least this sure, in [0, 1].
    pub min_confidence: Option<f32>,
    /// Stored at or after.
    pub since: Option<Timestamp>,
    /// Stored before.
    pub until: Option<Timestamp>,
}

/// An insight that was found.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct InsightHit {
    /// As of the search's snapshot.
    pub insight: DerivedInsight,
    /// `1 − cosine distance` to the query's vector; 0 where it has none.
    pub similarity: f32,
    /// What the results are sorted by: the similarity or, where the query has a text, the sum of the shares in `parts`.
    pub score: f32,
    /// Where the score comes from, where the query has a text.
    pub parts: ScoreParts,
}
