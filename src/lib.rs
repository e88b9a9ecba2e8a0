//! PulseDB: an embedded, async-first database for the collective memory of AI agents.
//!
//! Agents record *experiences* (text, embedding, type, tags, provenance) in *collectives*; others find
//! them by meaning, time or filter, and hear of them the moment they are durable. The database is
//! one directory, written by one process, with an append-only log as its only truth.
//!
//! Start at [`PulseDB`], or at [`blocking::PulseDB`] in a program without a runtime. What is stored
//! is described in [`model`]; what can go wrong in [`PulseDBError`].

#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing,
        clippy::disallowed_methods,
        clippy::disallowed_types,
        clippy::print_stdout,
        clippy::print_stderr,
        reason = "tests say what is wrong by panicking"
    )
)]

mod backup;
pub mod blocking;
mod config;
mod db;
mod edge;
mod embed;
mod env;
mod error;
mod format;
#[cfg(not(pulsedb_loom))]
mod log;
mod manifest;
mod memory_store;
pub mod model;
#[cfg(not(pulsedb_loom))]
mod protocol;
mod read;
mod simd;
#[cfg(not(pulsedb_loom))]
mod state;
mod sync;
mod telemetry;
mod text;
mod upkeep;
mod vector;
mod vfs;
mod watch;
mod write;

// The models of `loom-tests/` drive the cores directly.
#[cfg(pulsedb_loom)]
#[allow(private_interfaces, reason = "the models drive the bin alone")]
pub mod log;
#[cfg(pulsedb_loom)]
pub mod protocol;
#[cfg(pulsedb_loom)]
#[allow(
    private_interfaces,
    reason = "the models reach what they need by `Row::example`, and never name a place in the log"
)]
pub mod state;

pub use config::{
    ActivityConfig, CompactionConfig, Config, EmbeddingDimension, EmbeddingProvider, HnswConfig,
    LongTexts, ModelConfig, ModelDownload, Precision, RetentionConfig, TelemetryConfig, TextConfig,
    TextIndexing, TextLanguage, UpkeepConfig, VectorElement, WatchConfig,
};
pub use db::{ExperienceStream, ExportStream, PulseDB, Reranker, Snapshot, Transaction};
#[cfg(feature = "embed")]
pub use embed::Builtin;
#[cfg(feature = "hub")]
pub use embed::{DownloadProgress, DownloadReport, DownloadedFile, HubModel};
pub use embed::{EmbedFuture, Embedder, Priority};
pub use error::{PulseDBError, Result};
pub use memory_store::{MemoryStore, StoreFuture};
pub use model::{
    Activity, AgentId, BackupCompression, BackupId, BackupInfo, BackupList, BackupOptions,
    BackupProgress, BackupReport, BackupRetention, Change, ChangeCommit, ChangeRecord, Changes,
    CheckName, CheckpointDiagnosis, Collective, CollectiveId, CollectiveStats, CompactionProgress,
    CompactionReport, ContextCandidates, ContextExperience, ContextInsight, ContextRequest,
    ContextScore, CounterValue, Cursor, Damage, DatabaseMetadata, DecayConfig, DerivedInsight,
    Diagnosis, Direction, Distribution, Diversity, Duplicate, DuplicatePolicy, EntityId,
    EntityKind, ErasureReport, ErrorNote, EventType, Existing, Experience, ExperienceId,
    ExperienceKind, ExperienceRelation, ExperienceType, ExperienceUpdate, ExportOptions,
    FileSystemSpace, FollowHealth, Fragmentation, Fusion, FusionWeights, GaugeValue, Health,
    HealthCheck, HealthStatus, HistoryHolds, HitExplanation, ImportOptions, ImportReport,
    InsightFilter, InsightHit, InsightId, InsightType, InstanceId, LogItem, LogOptions, LogPage,
    LogRecord, Lsn, MetricFamily, MetricKind, Metrics, Neighbour, NeighbourEvidence,
    NeighbourExplanation, NewActivity, NewExperience, NewInsight, NewRelation, OrderBy, Page,
    PageCursor, PageResult, Progress, PruneReport, Query, RecallWeights, RecordAction,
    RecordOptions, RecordOutcome, RecoveryReport, ReembedReport, RelatedExperience,
    RelationDirection, RelationFilter, RelationId, RelationType, RestoreOptions, RestorePoint,
    RestoreReport, SalvageReport, ScorePart, ScoreParts, SearchExplanation, SearchFilter,
    SearchHit, SearchOptions, SearchPlan, SegmentStats, Severity, Sibling, SyncMode, TaskId,
    TermExplanation, Timeline, Timestamp, UpkeepRun, UpkeepState, UpkeepStatus, UpkeepTask,
    UpkeepTaskStatus, UserId, VerifyProgress, VerifyReport, WatchEvent, WatchFilter, WatchItem,
    WatchOptions, WordsExplanation,
};
pub use read::experience_view::ExperienceView;
pub use watch::{ChangeFeed, WatchItems, WatchStream};

#[cfg(feature = "sim")]
#[doc(hidden)]
pub mod fuzzing;

/// The simulated file system and clock that crash tests run on, and what stands in for the system's. Not part
/// of the semver contract.
#[cfg(feature = "sim")]
pub mod sim {
    pub use crate::{
        env::{Env, OsEnv, SimEnv},
        vfs::{
            FaultKind, LockError, Map, OpenMode, OsVfs, SimVfs, Survival, Vfs, VfsFile, VfsLock,
        },
    };
}

/// The examples of the README are tests.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

/// So are those of the guide for operators.
#[cfg(doctest)]
#[doc = include_str!("../docs/operations.md")]
struct Operations;

/// And those of the page about configurations.
#[cfg(doctest)]
#[doc = include_str!("../docs/configuration.md")]
struct Configuration;
