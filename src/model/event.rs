//! What does a watcher hear?

use std::{fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    CollectiveId, Experience, ExperienceId, ExperienceKind, InsightId, Lsn, RelationId, Timestamp,
};

/// One durable change.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct WatchEvent {
    /// The record that made it; events arrive in LSN order.
    pub lsn: Lsn,
    /// Where it happened.
    pub collective_id: CollectiveId,
    /// What changed.
    pub entity: EntityId,
    /// How.
    pub event_type: EventType,
    /// When.
    pub timestamp: Timestamp,
    /// The experience right after the change; `None` where it is gone or of another kind.
    pub experience: Option<Arc<Experience>>,
}

/// Kinds of stored things.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityKind {
    /// A collective.
    Collective,
    /// An experience.
    Experience,
    /// A relation.
    Relation,
    /// An insight.
    Insight,
    /// An activity.
    Activity,
}

impl fmt::Display for EntityKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Collective => "collective",
            Self::Experience => "experience",
            Self::Relation => "relation",
            Self::Insight => "insight",
            Self::Activity => "activity",
        })
    }
}

/// Kind and id of a stored thing.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum EntityId {
    /// A collective.
    Collective(CollectiveId),
    /// An experience.
    Experience(ExperienceId),
    /// A relation.
    Relation(RelationId),
    /// An insight.
    Insight(InsightId),
}

/// How something changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[repr(u8)]
pub enum EventType {
    /// It is new.
    Created = 1,
    /// Some of its fields changed.
    Updated = 2,
    /// It was archived.
    Archived = 3,
    /// It was brought back from the archive.
    Unarchived = 4,
    /// It was applied.
    Reinforced = 5,
    /// It is gone.
    Deleted = 6,
}

/// Which events a watcher wants. Empty lists and `None` do not restrict.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct WatchFilter {
    /// Only these kinds of change.
    pub event_types: Vec<EventType>,
    /// Only experiences with at least one of these domains.
    pub domains: Vec<String>,
    /// Only experiences of these kinds.
    pub experience_types: Vec<ExperienceKind>,
    /// Only experiences at least this important, in [0, 1].
    pub min_importance: Option<f32>,
}
