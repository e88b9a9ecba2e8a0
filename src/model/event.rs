//! What does a watcher hear?

use std::{collections::BTreeMap, fmt, sync::Arc};

use serde::{Deserialize, Serialize};

use super::{
    AgentId, CollectiveId, Cursor, Experience, ExperienceId, ExperienceKind, InsightId, Lsn,
    RelationId, Timestamp,
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
    /// The experience right after the change; `None` where something else changed, and where it is
    /// gone: with this change, or by the time that the change was read from the log.
    pub experience: Option<Arc<Experience>>,
}

/// What comes out of a watch.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum WatchItem {
    /// Something changed.
    Event(Arc<WatchEvent>),
    /// What happened behind `from`, up to `to`, is not told: the log does not know it any more, or
    /// `from` belongs to another history. The watch goes on behind `to`.
    Gap {
        /// Up to where everything was told.
        from: Cursor,
        /// Where it goes on.
        to: Cursor,
    },
    /// Everything up to here was told; from here on items come as changes are committed. Comes once after the
    /// start, and once after each gap.
    Live(Cursor),
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
    /// What an agent does; its name is unique in the collective.
    Activity(AgentId),
}

impl EntityId {
    /// Of what kind the thing is.
    #[must_use]
    pub const fn kind(&self) -> EntityKind {
        match self {
            Self::Collective(_) => EntityKind::Collective,
            Self::Experience(_) => EntityKind::Experience,
            Self::Relation(_) => EntityKind::Relation,
            Self::Insight(_) => EntityKind::Insight,
            Self::Activity(_) => EntityKind::Activity,
        }
    }
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
///
/// What asks for an experience's fields restricts the events of experiences only, and of those only the ones
/// that show the experience: whoever watches hears that one is gone.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchFilter {
    /// Only these kinds of change.
    pub event_types: Vec<EventType>,
    /// Only experiences with at least one of these domains.
    pub domains: Vec<String>,
    /// Only experiences with all of these tags.
    pub tags_all: BTreeMap<String, String>,
    /// Only experiences of these kinds.
    pub experience_types: Vec<ExperienceKind>,
    /// Only experiences at least this important, in [0, 1].
    pub min_importance: Option<f32>,
}

/// What a watch shows, and from where on.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct WatchOptions {
    /// Only this collective; `None` for all of the database.
    pub collective: Option<CollectiveId>,
    /// Only things of these kinds; all where empty.
    pub entities: Vec<EntityKind>,
    /// Only these events.
    pub filter: WatchFilter,
    /// Everything behind this cursor; `None` begins now.
    pub from: Option<Cursor>,
    /// Whether a gap is followed by everything that is there, as `Created` events in the order of their
    /// LSNs, of one snapshot; the watch then goes on behind that snapshot. Else it goes on where the log
    /// begins to tell everything.
    pub state_after_gap: bool,
}

/// Some of what happened behind a cursor.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Changes {
    /// Where the question has to go on from: everything up to there is in `events`, or in the gap.
    pub next: Cursor,
    /// What happened, in the order of LSNs.
    pub events: Vec<WatchEvent>,
    /// What is not told, if so: see [`WatchItem::Gap`]. The events are those behind its end.
    pub gap: Option<(Cursor, Cursor)>,
    /// Whether there was more when it was asked.
    pub more: bool,
}
