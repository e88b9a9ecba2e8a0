//! What can be said about a database's size and state, in numbers?

use serde::{Deserialize, Serialize};

use super::{
    CollectiveStats, DatabaseMetadata, ErrorNote, FileSystemSpace, Health, Lsn, Timestamp,
};

/// The answer of [`crate::PulseDB::diagnose`], as of one snapshot.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diagnosis {
    /// Which database.
    pub database: DatabaseMetadata,
    /// Whether everything is as it should be, and what stopped writing if something did.
    pub health: Health,
    /// Time of the newest record; `None` where there is none that can be read.
    pub last_write: Option<Timestamp>,
    /// The log's segments, oldest first.
    pub segments: Vec<SegmentDiagnosis>,
    /// Bytes of the log's frames.
    pub log_bytes: u64,
    /// Of these, bytes of the bodies of visible experiences.
    pub live_body_bytes: u64,
    /// `live_body_bytes / log_bytes`: what is not in it is history, changes, or space to be given
    /// back. 1 where the log is empty.
    pub live_ratio: f64,
    /// Bytes of files on disk that are derived from the log.
    pub index_file_bytes: u64,
    /// Rows of experiences that are not visible any more, of all that were given out; 0 where there are none.
    pub gone_ratio: f64,
    /// The newest checkpoint, and what an open would have to read beside it; `None` while one is being written,
    /// and for a handle that only reads.
    pub checkpoint: Option<CheckpointDiagnosis>,
    /// What the file system has left; `None` where it does not say.
    pub space: Option<FileSystemSpace>,
    /// Of the reads of one experience since the open, those whose bytes were not in memory, in [0, 1].
    pub medium_read_ratio: f64,
    /// The last errors of the store, oldest first, at most 32.
    pub last_errors: Vec<ErrorNote>,
    /// Collectives, oldest first.
    pub collectives: Vec<CollectiveDiagnosis>,
    /// What the database takes of memory, about.
    pub memory: MemoryDiagnosis,
}

/// The newest checkpoint.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CheckpointDiagnosis {
    /// The commit that it shows the state after; `None` where there is none.
    pub lsn: Option<Lsn>,
    /// Bytes of its file.
    pub file_bytes: u64,
    /// Bytes of the log behind it, which an open would have to read.
    pub behind_bytes: u64,
    /// At so many bytes behind it the next one is made by itself.
    pub due_bytes: u64,
}

/// One segment of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentDiagnosis {
    /// Its number.
    pub id: u32,
    /// No record in it has a lower one.
    pub first_lsn: Lsn,
    /// Where its frames end.
    pub used_bytes: u64,
    /// Bytes of the file.
    pub file_bytes: u64,
    /// Whether it is the one that is written to.
    pub active: bool,
}

/// One collective.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct CollectiveDiagnosis {
    /// Its name.
    pub name: String,
    /// What is visible in it, and its index.
    pub stats: CollectiveStats,
    /// Row numbers given out so far.
    pub rows: u64,
    /// Of these, rows of experiences that are not visible any more.
    pub gone_rows: u64,
    /// Visible experiences that were changed after they were recorded.
    pub changed_rows: u64,
}

/// Bytes of memory. Pages of mapped files are the system's and not counted.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryDiagnosis {
    /// Row tables and the index of ids.
    pub row_bytes: u64,
    /// Graphs (mapped, as if all of them were resident), codes, postings and words.
    pub index_bytes: u64,
    /// Of these, the indexes of words.
    pub text_index_bytes: u64,
    /// Requests that wait for their commit.
    pub queued_bytes: u64,
}
