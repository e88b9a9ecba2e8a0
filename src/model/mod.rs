//! Which things does PulseDB store, and what are their limits?
//!
//! Plain data types without behaviour beyond construction and pure arithmetic. Every type is
//! `serde`-serializable, `Clone`, `Debug`, `Send + Sync`. Limits live in [`limits`]; checking
//! them is the business of `write::validate`.

mod activity;
mod backup;
mod change;
mod collective;
mod compaction;
mod context;
pub mod counters;
mod cursor;
mod diagnosis;
mod duplicates;
mod energy;
mod event;
mod experience;
mod experience_type;
mod filter;
mod fusion;
mod health;
mod id;
mod insight;
pub mod limits;
mod log_entry;
mod metric;
mod page;
mod progress;
mod query;
mod relation;
mod salvage;
mod search;
mod stats;
mod sync_mode;
mod time;
mod transfer;
mod upkeep;
mod verify;

pub use activity::{Activity, NewActivity};
pub use backup::{
    BackupCompression, BackupInfo, BackupList, BackupOptions, BackupProgress, BackupReport,
    BackupRetention, PruneReport, RestoreOptions, RestorePoint, RestoreReport,
};
pub use change::{Change, ChangeCommit, ChangeRecord};
pub use collective::{
    Collective, DecayConfig, EmbedderIdentity, NextVectors, Precisions, VectorEpoch,
};
pub use compaction::{
    CompactionProgress, CompactionReport, ErasureReport, Fragmentation, SegmentStats,
};
pub use context::{
    ContextCandidates, ContextExperience, ContextInsight, ContextRequest, ContextScore, Sibling,
};
pub use cursor::{Cursor, Lsn, Timeline};
pub use diagnosis::{
    CheckpointDiagnosis, CollectiveDiagnosis, Diagnosis, MemoryDiagnosis, SegmentDiagnosis,
};
pub use duplicates::{Duplicate, DuplicatePolicy, RecordAction, RecordOptions, RecordOutcome};
pub use event::{
    Changes, EntityId, EntityKind, EventType, WatchEvent, WatchFilter, WatchItem, WatchOptions,
};
pub(crate) use experience::holds_at;
pub use experience::{ContentHash, Experience, ExperienceUpdate, NewExperience};
pub use experience_type::{ExperienceKind, ExperienceType, Severity};
pub use filter::SearchFilter;
pub use fusion::{Diversity, Fusion, FusionWeights, NeighbourEvidence, ScorePart, ScoreParts};
pub use health::{CheckName, ErrorNote, FileSystemSpace, Health, HealthCheck, HealthStatus};
pub use id::{
    AgentId, BackupId, CollectiveId, ExperienceId, InsightId, InstanceId, RelationId, TaskId,
    UserId,
};
pub use insight::{DerivedInsight, InsightFilter, InsightHit, InsightType, NewInsight};
pub use log_entry::{
    LogActivity, LogBody, LogEntry, LogItem, LogOptions, LogPage, LogRecord, LogTraits, LogVitals,
};
pub(crate) use metric::names;
pub use metric::{
    CounterValue, Distribution, GaugeValue, Labels, MetricFamily, MetricKind, Metrics,
};
pub use page::{Direction, OrderBy, Page, PageCursor, PageResult};
pub use progress::{Progress, ReembedReport};
pub use query::Query;
pub use relation::{
    ExperienceRelation, Neighbour, NewRelation, RelatedExperience, RelationDirection,
    RelationFilter, RelationType,
};
pub use salvage::SalvageReport;
pub use search::{
    HitExplanation, NeighbourExplanation, RecallWeights, SearchExplanation, SearchHit,
    SearchOptions, SearchPlan, TermExplanation, WordsExplanation,
};
pub use stats::{CollectiveStats, DatabaseMetadata, FollowHealth, RecoveryReport};
pub use sync_mode::SyncMode;
pub use time::Timestamp;
pub use transfer::{Existing, ExportCounts, ExportOptions, ImportOptions, ImportReport};
pub use upkeep::{
    HistoryHolds, UpkeepRun, UpkeepState, UpkeepStatus, UpkeepTask, UpkeepTaskStatus,
};
pub use verify::{Damage, VerifyProgress, VerifyReport};
