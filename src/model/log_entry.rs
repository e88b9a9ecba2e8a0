//! What stands in the log, record by record?

use std::{collections::BTreeMap, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{
    AgentId, Collective, ContentHash, Damage, EntityId, EventType, ExperienceId, ExperienceType,
    InsightType, InstanceId, Lsn, RelationType, TaskId, Timestamp,
};

/// Which part of the log is read, and how much of it is told.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct LogOptions {
    /// Records from this LSN on.
    pub from: Lsn,
    /// At most so many of them.
    pub limit: usize,
    /// With the texts of experiences.
    pub contents: bool,
    /// With their vectors.
    pub embeddings: bool,
}

impl LogOptions {
    /// Most records of a page.
    pub const MAX_LIMIT: usize = 1000;
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            from: Lsn::ZERO,
            limit: Self::MAX_LIMIT,
            contents: false,
            embeddings: false,
        }
    }
}

/// A run of records.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogPage {
    /// What stands there, in order.
    pub items: Vec<LogItem>,
    /// Where the next page begins; `None` at the end of what the snapshot sees.
    pub next: Option<Lsn>,
}

/// A record, or what is left of one.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(untagged)]
pub enum LogItem {
    /// An intact record.
    Record(Box<LogEntry>),
    /// Bytes that are not what was written.
    Damaged(Damage),
}

/// One record, and where it stands.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogEntry {
    /// Its number.
    pub lsn: Lsn,
    /// When it was committed.
    pub timestamp: Timestamp,
    /// Whether its commit ends with it.
    pub closes_commit: bool,
    /// What was known to be durable when it was written.
    pub durable_upto: Lsn,
    /// Number of its collective; 0 where it belongs to none.
    pub collective: u32,
    /// Number of its row.
    pub row: u32,
    /// What it is about.
    pub entity: Option<EntityId>,
    /// The file that it stands in.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// Bytes that it takes there, header and padding included.
    pub bytes: u64,
    /// What it says.
    #[serde(flatten)]
    pub record: LogRecord,
}

/// What a record says.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(tag = "record", rename_all = "snake_case")]
pub enum LogRecord {
    /// A collective as it stands from now on.
    Collective {
        /// All of it.
        definition: Collective,
    },
    /// A collective and everything in it is gone.
    CollectiveDeleted,
    /// An experience's immutable part and its first values.
    Body(Box<LogBody>),
    /// An experience's small values, from now on.
    Vitals(LogVitals),
    /// An experience's large values, from now on.
    Traits(LogTraits),
    /// An experience is gone.
    ExperienceDeleted,
    /// The database was closed.
    Close,
    /// A relation.
    Relation {
        /// Where it starts.
        source_id: ExperienceId,
        /// Where it ends.
        target_id: ExperienceId,
        /// What it says.
        relation_type: RelationType,
        /// In [0, 1].
        strength: f32,
        /// The application's own, where contents were asked for.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        metadata: Option<String>,
    },
    /// A relation is gone.
    RelationDeleted,
    /// An insight.
    Insight {
        /// How it was derived.
        insight_type: InsightType,
        /// From what.
        source_ids: Vec<ExperienceId>,
        /// What an experience has, too.
        body: Box<LogBody>,
    },
    /// An insight is gone.
    InsightDeleted,
    /// What an agent does from now on.
    Activity(LogActivity),
    /// What an agent did is over.
    ActivityEnded {
        /// The agent.
        agent_id: AgentId,
    },
    /// Another vector of the experience or the insight that the entry names.
    Embedding {
        /// The record that began the re-embedding.
        epoch: Lsn,
        /// Components of the vector.
        dimension: u16,
        /// The vector, where it was asked for.
        #[serde(skip_serializing_if = "Option::is_none", default)]
        embedding: Option<Vec<f32>>,
    },
}

/// What an agent does.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogActivity {
    /// The agent.
    pub agent_id: AgentId,
    /// At what it works.
    pub current_task: Option<TaskId>,
    /// In which context.
    pub context_summary: Option<String>,
    /// Since when.
    pub started_at: Timestamp,
    /// Its last sign of life by then.
    pub last_heartbeat: Timestamp,
}

/// An experience's immutable part and its first values.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogBody {
    /// What kind of knowledge it is.
    pub experience_type: ExperienceType,
    /// Who recorded it.
    pub source_agent: String,
    /// In which task.
    pub source_task: Option<String>,
    /// The key of its request.
    pub idempotency_key: Option<String>,
    /// Hash of the text.
    pub content_hash: ContentHash,
    /// When it was recorded, where that is not the time of the record: it came from elsewhere.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub recorded_at: Option<Timestamp>,
    /// Bytes of the text.
    pub content_bytes: u64,
    /// The text, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub content: Option<String>,
    /// Components of the vector.
    pub dimension: u16,
    /// The vector, where it was asked for.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub embedding: Option<Vec<f32>>,
    /// The first vitals.
    pub vitals: LogVitals,
    /// The first traits.
    pub traits: LogTraits,
}

/// The values of an experience that change often.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct LogVitals {
    /// In [0, 1].
    pub importance: f32,
    /// In [0, 1].
    pub confidence: f32,
    /// How often this instance applied it.
    pub applications: u32,
    /// When it was last reinforced; `None` where that is when it was recorded.
    pub last_reinforced: Option<Timestamp>,
    /// Whether it is archived.
    pub archived: bool,
    /// What changed.
    pub change: EventType,
    /// How often all other instances applied it.
    #[serde(default)]
    pub others: u32,
    /// When it last changed, where that is not the time of the record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub updated_at: Option<Timestamp>,
    /// The vitals that these replace; 0 for those of the body.
    pub replaces: Lsn,
    /// The traits that hold with these; 0 for those of the body.
    pub traits_lsn: Lsn,
}

/// The values of an experience that change rarely.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct LogTraits {
    /// Its domains.
    pub domain: Vec<String>,
    /// Its tags.
    pub tags: BTreeMap<String, String>,
    /// Its files.
    pub related_files: Vec<String>,
    /// When it ends.
    pub expires_at: Option<Timestamp>,
    /// From when on it holds.
    pub valid_from: Option<Timestamp>,
    /// Until when it holds.
    pub valid_to: Option<Timestamp>,
    /// Whether it is kept beyond its end.
    pub pinned: bool,
    /// How often each other instance applied it.
    #[serde(skip_serializing_if = "BTreeMap::is_empty", default)]
    pub foreign_applications: BTreeMap<InstanceId, u32>,
    /// When it last changed, where that is not the time of the record.
    #[serde(skip_serializing_if = "Option::is_none", default)]
    pub updated_at: Option<Timestamp>,
    /// The traits that these replace; 0 for those of the body.
    pub replaces: Lsn,
    /// The vitals that hold with these; 0 for those of the body.
    pub vitals_lsn: Lsn,
}
