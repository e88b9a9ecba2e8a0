//! How do experiences relate?

use serde::{Deserialize, Serialize};

use super::{ExperienceId, RelationId, Timestamp};

/// A typed, directed edge between two experiences of one collective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ExperienceRelation {
    /// Its name in every call.
    pub id: RelationId,
    /// Where the edge starts.
    pub source_id: ExperienceId,
    /// Where it ends; never the source.
    pub target_id: ExperienceId,
    /// What it says; (source, target, type) is unique.
    pub relation_type: RelationType,
    /// How strongly, in [0, 1].
    pub strength: f32,
    /// JSON of the application's own, at most 10 KiB.
    pub metadata: Option<String>,
    /// When it was stored.
    pub created_at: Timestamp,
}

/// A relation to be stored.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewRelation {
    /// Where the edge starts.
    pub source_id: ExperienceId,
    /// Where it ends.
    pub target_id: ExperienceId,
    /// What it says.
    pub relation_type: RelationType,
    /// How strongly, in [0, 1].
    pub strength: f32,
    /// JSON of the application's own, at most 10 KiB.
    pub metadata: Option<String>,
}

/// What an edge from source to target says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum RelationType {
    /// The source is evidence for the target.
    Supports = 1,
    /// The source is evidence against the target.
    Contradicts = 2,
    /// The source says more about the target.
    Elaborates = 3,
    /// The source replaces the target.
    Supersedes = 4,
    /// The target follows from the source.
    Implies = 5,
    /// They have to do with each other.
    RelatedTo = 6,
}
