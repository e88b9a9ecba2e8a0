//! What can be said about the space that a log takes?

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{ExperienceId, Lsn};

/// One segment of the log.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SegmentStats {
    /// Its number, never reused.
    pub id: u32,
    /// Its file.
    pub path: PathBuf,
    /// No record in it has a lower LSN.
    pub first_lsn: Lsn,
    /// LSN of its last record; `None` for the active segment, which is still written.
    pub last_lsn: Option<Lsn>,
    /// Least id of the experiences recorded in it; `None` for the active segment, or if there are none.
    pub first_id: Option<ExperienceId>,
    /// Greatest id of the experiences recorded in it.
    pub last_id: Option<ExperienceId>,
    /// Bytes of the file, preallocated ones included.
    pub file_bytes: u64,
    /// Bytes of records in it.
    pub bytes: u64,
    /// Bytes of records that somebody needs; those of small changes are estimated.
    pub live_bytes: u64,
}

/// How much of the log nobody needs any more.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Fragmentation {
    /// The segments, oldest records first.
    pub segments: Vec<SegmentStats>,
    /// Bytes of all files.
    pub file_bytes: u64,
    /// Bytes of all records.
    pub bytes: u64,
    /// Bytes of records that somebody needs.
    pub live_bytes: u64,
    /// Share of the records' bytes that compaction could give back, in [0, 1].
    pub dead_share: f64,
}

impl Fragmentation {
    /// Sums up segments.
    pub(crate) fn new(segments: Vec<SegmentStats>) -> Self {
        let sum = |of: fn(&SegmentStats) -> u64| segments.iter().map(of).sum::<u64>();
        let (bytes, live_bytes) = (sum(|s| s.bytes), sum(|s| s.live_bytes));
        Self {
            file_bytes: sum(|s| s.file_bytes),
            bytes,
            live_bytes,
            dead_share: if bytes == 0 {
                0.0
            } else {
                bytes.saturating_sub(live_bytes) as f64 / bytes as f64
            },
            segments,
        }
    }
}

/// How far a compaction has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionProgress {
    /// Segments that have been rewritten.
    pub segments: u64,
    /// Bytes that have been copied.
    pub bytes: u64,
}

/// What a compaction did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompactionReport {
    /// Segments that were rewritten.
    pub segments_rewritten: u64,
    /// Bytes that were copied.
    pub bytes_rewritten: u64,
    /// Bytes of the log's files before, without what is reserved for records to come.
    pub bytes_before: u64,
    /// The same afterwards. Files that a snapshot still reads are not counted.
    pub bytes_after: u64,
    /// What could not be read, and so was left where it is: (file, offset, what was found).
    pub damaged: Vec<(PathBuf, u64, String)>,
}

/// What an erasure did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErasureReport {
    /// Segments that were rewritten for it.
    pub segments_rewritten: u64,
    /// Files of the log and checkpoints that were read afterwards to see that nothing of it is left.
    pub files_scanned: u64,
}
