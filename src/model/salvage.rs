//! What could be saved of a damaged database?

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{CollectiveId, Damage, InstanceId};

/// The outcome of a [`crate::PulseDB::salvage`].
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SalvageReport {
    /// The damaged database, as far as it still says.
    pub source: Option<InstanceId>,
    /// The new one.
    pub instance_id: InstanceId,
    /// Segment files of the source that records were taken from.
    pub segments: u64,
    /// Records taken.
    pub records: u64,
    /// Their bytes in the log.
    pub bytes: u64,
    /// Collectives in the new database.
    pub collectives: u64,
    /// Experiences in the new database.
    pub experiences: u64,
    /// Readable records left out because what they are about was deleted, or an activity that was replaced or
    /// is over.
    pub deleted: u64,
    /// Readable changes left out because the experience that they change, or the collective, is lost.
    pub orphans: u64,
    /// Readable records left out because their commit was cut off before its end.
    pub unfinished: u64,
    /// Records behind a tear at the end of the log, which an open would have dropped; they are whole,
    /// and were taken.
    pub behind_tear: u64,
    /// Collectives whose definition was lost: they have a made-up name, and the defaults.
    pub redefined: Vec<CollectiveId>,
    /// What could not be read: file, offset, what was found, and whose it was where that is known.
    pub lost: Vec<Damage>,
    /// Losses beyond the first [`super::VerifyReport::MAX_LISTED`], counted only.
    pub unlisted: u64,
    /// Files that were looked at and not used, and why.
    pub unused: Vec<(PathBuf, String)>,
}

impl SalvageReport {
    /// Whether everything that the source held is in the new database.
    #[must_use]
    pub fn is_complete(&self) -> bool {
        self.lost.is_empty()
            && self.unlisted == 0
            && self.orphans == 0
            && self.unfinished == 0
            && self.redefined.is_empty()
    }
}
