//! What is handed on of a commit, for others to repeat it?

use serde::{Deserialize, Serialize};

use super::{Cursor, EntityId, LogRecord, Lsn, Timestamp};

/// A commit, or word that some are missing; from [`PulseDB::change_feed`](crate::PulseDB::change_feed).
///
/// As bytes ([`Change::to_bytes`]) or as a line of JSON ([`Change::to_json`]); both hold everything that the log
/// has.
#[derive(Clone, Debug, PartialEq)]
pub enum Change {
    /// All records of one commit.
    Commit(ChangeCommit),
    /// What happened behind `from`, up to `to`, is not told; see [`WatchItem::Gap`](crate::WatchItem::Gap).
    Gap {
        /// Up to where everything was told.
        from: Cursor,
        /// Where it goes on.
        to: Cursor,
    },
}

/// The records of one commit, as they stand in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct ChangeCommit {
    /// The commit. Whoever has repeated it goes on from here.
    pub cursor: Cursor,
    /// When it was made.
    pub timestamp: Timestamp,
    /// The frames, each with its header as in a segment of seed 0, without padding.
    pub(crate) frames: Vec<u8>,
}

/// One record of a commit.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ChangeRecord {
    /// Its number.
    pub lsn: Lsn,
    /// Number of its collective, which the record that made the collective introduced.
    pub collective: u32,
    /// Number of its row; 0 where it is about none.
    pub row: u32,
    /// What it is about.
    pub entity: Option<EntityId>,
    /// What it says.
    #[serde(flatten)]
    pub record: LogRecord,
}
