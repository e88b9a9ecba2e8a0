//! What does a look at every stored byte find?

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{Cursor, EntityId};

/// Something stored that is not what was written.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Damage {
    /// The file.
    pub file: PathBuf,
    /// Where in it, in bytes.
    pub offset: u64,
    /// What was found.
    pub what: String,
    /// What the damaged record is about, where that can still be read.
    pub entity: Option<EntityId>,
}

/// How far a [`crate::PulseDB::verify`] has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyProgress {
    /// Bytes read.
    pub bytes: u64,
    /// Bytes that there are to read; may change while graphs come and go.
    pub total_bytes: u64,
    /// Records found intact.
    pub records: u64,
    /// Faults found.
    pub faults: u64,
}

/// The outcome of a [`crate::PulseDB::verify`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct VerifyReport {
    /// Everything up to here was looked at.
    pub cursor: Cursor,
    /// Log segments read.
    pub segments: u64,
    /// Intact records in them.
    pub records: u64,
    /// Graphs of the vector index read.
    pub graphs: u64,
    /// Bytes read.
    pub bytes: u64,
    /// What is damaged of the log and of what names it, by file and offset. A record here is lost,
    /// unless a backup has it.
    pub damage: Vec<Damage>,
    /// What is damaged of the derived files: it costs nothing but the time to make it again.
    pub index_damage: Vec<Damage>,
    /// Faults beyond the first [`VerifyReport::MAX_LISTED`], counted only.
    pub unlisted: u64,
    /// Files in the database's directories that nothing names. They are in nobody's way.
    pub leftovers: Vec<PathBuf>,
}

impl VerifyReport {
    /// Faults that a report lists: where there are more, the medium is the problem.
    pub const MAX_LISTED: usize = 10_000;

    /// Whether everything is as it was written.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damage.is_empty() && self.index_damage.is_empty() && self.unlisted == 0
    }
}
