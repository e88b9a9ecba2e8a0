//! What can be said about the work that a database does by itself?

use serde::{Deserialize, Serialize};

use super::{Lsn, Timestamp};

/// A kind of upkeep.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum UpkeepTask {
    /// Writes what was derived from the log, so that opens stay short; see `Config::checkpoint_bytes`.
    Checkpoint,
    /// Rewrites the log without what is dead; see [`crate::CompactionConfig`].
    Compaction,
    /// Builds and merges the graphs of the vector index; see [`crate::HnswConfig`].
    Graphs,
    /// Keeps the indexes of words up to date; see [`crate::TextConfig`].
    Words,
    /// Deletes what has expired; see `Config::expiry_interval`.
    Expiry,
    /// Archives what has cooled down; see [`crate::DecayConfig::auto_archive_below_floor`].
    Archive,
}

impl UpkeepTask {
    /// All of them.
    pub const ALL: [Self; 6] = [
        Self::Checkpoint,
        Self::Compaction,
        Self::Graphs,
        Self::Words,
        Self::Expiry,
        Self::Archive,
    ];
}

/// What a kind of upkeep does now.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case", tag = "is")]
#[non_exhaustive]
pub enum UpkeepState {
    /// Nothing, since nothing is due.
    Idle,
    /// Works.
    Running {
        /// How much is done, in what the task counts: bytes of checkpoints and compaction, rows of graphs and words,
        /// experiences of expiry and archiving.
        done: u64,
        /// Of how much; 0 where that is not known.
        total: u64,
    },
    /// Begins nothing until [`crate::PulseDB::resume_upkeep`].
    Paused,
    /// Waits before it tries again.
    Waiting {
        /// For what.
        reason: String,
    },
}

/// One time that a kind of upkeep was at work.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpkeepRun {
    /// When it began.
    pub started_at: Timestamp,
    /// Milliseconds that it took.
    pub duration_ms: u64,
    /// Bytes that it wrote beside the log.
    pub bytes: u64,
    /// How much it did, counted as in [`UpkeepState::Running`].
    pub done: u64,
    /// Whether a call asked for it.
    pub by_call: bool,
    /// Whether it was stopped before its end, by a pause or a close.
    pub stopped: bool,
    /// What went wrong; `None` where nothing did.
    pub error: Option<String>,
}

/// A kind of upkeep.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpkeepTaskStatus {
    /// Which.
    pub task: UpkeepTask,
    /// Whether it happens by itself.
    pub automatic: bool,
    /// What it does now.
    pub state: UpkeepState,
    /// The last time that it has ended since the open.
    pub last: Option<UpkeepRun>,
    /// When it looks for work next, where it does so at times and not by amounts.
    pub next: Option<Timestamp>,
}

/// What keeps compaction from forgetting. Each says since when it needs the log, and is `None` where it needs
/// nothing but the present.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct HistoryHolds {
    /// The newest commit.
    pub newest: Lsn,
    /// Snapshots, backups and calls that are under way: the oldest that is held.
    pub snapshots: Option<Lsn>,
    /// Watchers of this process that lag, within `watch_config.max_lag_bytes`.
    pub watchers: Option<Lsn>,
    /// [`crate::RetentionConfig`].
    pub retention: Option<Lsn>,
}

/// The answer of [`crate::PulseDB::upkeep_status`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct UpkeepStatus {
    /// Whether it is paused.
    pub paused: bool,
    /// Every kind of upkeep; none where the database was opened for reading.
    pub tasks: Vec<UpkeepTaskStatus>,
    /// What holds history back.
    pub history: HistoryHolds,
}

impl UpkeepStatus {
    /// One kind.
    #[must_use]
    pub fn task(&self, task: UpkeepTask) -> Option<&UpkeepTaskStatus> {
        self.tasks.iter().find(|status| status.task == task)
    }
}
