//! How do experiences relate?

use serde::{Deserialize, Serialize};

use super::{Experience, ExperienceId, RelationId, Timestamp, limits::MAX_PAGE_LIMIT};

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

impl NewRelation {
    /// A relation of full strength without metadata.
    #[must_use]
    pub const fn new(
        source_id: ExperienceId,
        target_id: ExperienceId,
        relation_type: RelationType,
    ) -> Self {
        Self {
            source_id,
            target_id,
            relation_type,
            strength: 1.0,
            metadata: None,
        }
    }
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

/// Which way a relation leads, seen from one experience.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RelationDirection {
    /// It starts there.
    Outgoing,
    /// It ends there.
    Incoming,
    /// Either.
    #[default]
    Both,
}

/// Which relations of an experience are meant. Empty lists and `None` do not restrict.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RelationFilter {
    /// Which way they lead.
    pub direction: RelationDirection,
    /// One of these types.
    pub types: Vec<RelationType>,
    /// At least so strong, in [0, 1].
    pub min_strength: Option<f32>,
    /// At most so many, the oldest first, 1–1000.
    pub limit: usize,
}

impl Default for RelationFilter {
    fn default() -> Self {
        Self {
            direction: RelationDirection::default(),
            types: Vec::new(),
            min_strength: None,
            limit: MAX_PAGE_LIMIT,
        }
    }
}

/// An experience at the other end of a relation.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RelatedExperience {
    /// The relation.
    pub relation: ExperienceRelation,
    /// What it leads to, or comes from.
    pub experience: Experience,
}

/// An experience that relations lead to, step by step.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Neighbour {
    /// Which.
    pub experience_id: ExperienceId,
    /// Over how many relations, at least.
    pub depth: usize,
    /// The experience one step nearer.
    pub from: ExperienceId,
    /// The relation between the two.
    pub relation_id: RelationId,
}
