//! What can be said about a database and its collectives?

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CollectiveId, Cursor, InstanceId, Lsn, Timestamp};

/// Counts of one collective, as of one snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectiveStats {
    /// Which one.
    pub collective_id: CollectiveId,
    /// Visible experiences, archived ones included.
    pub experience_count: u64,
    /// Of these, the archived ones.
    pub archived_count: u64,
    /// Log bytes of the bodies of visible experiences.
    pub body_bytes: u64,
    /// When the oldest visible experience was recorded.
    pub oldest: Option<Timestamp>,
    /// When the newest visible experience was recorded.
    pub newest: Option<Timestamp>,
    /// Relations that were not deleted. One whose end has expired counts until that is deleted.
    pub relation_count: u64,
    /// Insights.
    pub insight_count: u64,
    /// Graphs of its vector index.
    pub graphs: u64,
    /// Rows behind the newest graph, which every search scans.
    pub tail_rows: u64,
    /// Bytes of memory of the vector index: mapped graphs as if all of them were resident, what the
    /// library keeps beside them, codes of the tail, and postings; and those of the index of words.
    pub index_bytes: u64,
    /// Of these, the bytes of the index of words; 0 where none is in use.
    pub text_index_bytes: u64,
    /// Rows that are not in it yet, which the next search by words indexes; 0 where none is in use.
    pub text_tail_rows: u64,
}

/// What a database is.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DatabaseMetadata {
    /// Its identity, for ever.
    pub instance_id: InstanceId,
    /// Version of the format on disk.
    pub format_version: u32,
    /// When it was created.
    pub created_at: Timestamp,
    /// Its newest commit.
    pub cursor: Cursor,
    /// Where it is.
    pub path: PathBuf,
    /// Number of log segments.
    pub segments: u64,
    /// Valid log bytes in all segments.
    pub log_bytes: u64,
    /// Number of collectives.
    pub collectives: u64,
}

/// How far a reader follows what another process writes, as of its last look at the files.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct FollowHealth {
    /// LSNs between what it shows and what is durable. A crash of the writer skips billions of them.
    pub behind_lsns: u64,
    /// For how long it has been behind, in milliseconds.
    pub behind_ms: u64,
    /// Why it could not go on, if it could not. It shows what it showed before, and tries again.
    pub trouble: Option<String>,
}

/// What an open found in the log.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct RecoveryReport {
    /// Whether the previous writer closed the database.
    pub clean: bool,
    /// The newest commit found.
    pub last_lsn: Lsn,
    /// Records replayed: all of them, or those behind the checkpoint.
    pub records: u64,
    /// The checkpoint that the state came from; `None` where all of it came from the log.
    pub checkpoint: Option<Lsn>,
    /// Why the newest checkpoint was of no use, if there was one. That costs time and nothing else.
    pub checkpoint_unusable: Option<String>,
    /// Torn bytes behind the last whole commit: (file, offset of the cut, bytes dropped).
    pub torn: Option<(PathBuf, u64, u64)>,
    /// Damaged records: (file, offset, what was found).
    pub damaged: Vec<(PathBuf, u64, String)>,
}
