//! What is there to say about an open database's state, and what is to be done about it?

use std::{fmt, path::PathBuf};

use serde::{Deserialize, Serialize};

use super::{FollowHealth, RecoveryReport, Timestamp};

/// Whether something is as it should be; the worst is the greatest.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum HealthStatus {
    /// Nothing to report.
    Healthy,
    /// Everything works, but something was lost, is damaged, or falls behind.
    Degraded,
    /// Writing has stopped or is about to; reads go on.
    Unhealthy,
}

impl HealthStatus {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Healthy => "healthy",
            Self::Degraded => "degraded",
            Self::Unhealthy => "unhealthy",
        }
    }
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

macro_rules! check_names {
    ($($(#[$doc:meta])+ $variant:ident $name:literal,)+) => {
        /// What a check is about.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
        #[serde(rename_all = "snake_case")]
        #[non_exhaustive]
        pub enum CheckName {
            $($(#[$doc])+ $variant,)+
        }

        impl CheckName {
            /// All of them, in the order of [`Health::checks`].
            pub const ALL: &[Self] = &[$(Self::$variant),+];

            /// Its name, as in JSON.
            #[must_use]
            pub const fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $name,)+
                }
            }
        }
    };
}

check_names! {
    /// Whether commits go on, and whether they wait for room.
    Writer "writer",
    /// Bytes that the file system has left.
    DiskSpace "disk_space",
    /// Files that the file system can still take.
    Inodes "inodes",
    /// Stored bytes that are not what was written.
    Damage "damage",
    /// Rows that are in no graph yet.
    VectorIndex "vector_index",
    /// Rows whose words are in no index yet, where somebody searches by words.
    TextIndex "text_index",
    /// How much of the log the next open would have to read.
    Checkpoint "checkpoint",
    /// Whether the log gives back what nobody needs.
    Compaction "compaction",
    /// How far a handle that only reads is behind the writer.
    Follow "follow",
    /// Whether the system's time agrees with the log's.
    Clock "clock",
}

impl fmt::Display for CheckName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

/// One thing that was looked at.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct HealthCheck {
    /// Which.
    pub name: CheckName,
    /// How it is.
    pub status: HealthStatus,
    /// What was found, in words and numbers.
    pub message: String,
    /// What to do about it; `None` where nothing is to be done.
    pub advice: Option<String>,
}

/// The state of an open database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Health {
    /// The worst of the checks.
    pub status: HealthStatus,
    /// What was looked at, in the order of [`CheckName::ALL`]; what does not concern the handle is left out.
    pub checks: Vec<HealthCheck>,
    /// Why writing stopped, if it did.
    pub poisoned: Option<String>,
    /// What the open found.
    pub recovery: RecoveryReport,
    /// Damaged records that reads have met since, beside those that the open found, at most 1,000:
    /// (file, offset, what was found). Reading such a record answers
    /// [`Corrupted`](crate::PulseDBError::Corrupted); lists and searches leave it out.
    pub damaged: Vec<(PathBuf, u64, String)>,
    /// Bytes of requests that wait for their commit.
    pub queued_bytes: u64,
    /// Of a handle that follows what another process writes: how far it has come.
    pub follow: Option<FollowHealth>,
}

impl Health {
    /// The check of this name, if there is one.
    #[must_use]
    pub fn check(&self, name: CheckName) -> Option<&HealthCheck> {
        self.checks.iter().find(|check| check.name == name)
    }
}

/// Something that went wrong in the store, not in what it was asked: a refusal for an argument, an id that is
/// not there or a conflict is the caller's, and may hold what the caller wrote.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ErrorNote {
    /// When.
    pub at: Timestamp,
    /// In which operation, by its name in the metrics.
    pub operation: String,
    /// Which kind of error, by its name in the metrics.
    pub kind: String,
    /// What it said.
    pub message: String,
    /// How often it came in a row; `at` is the last time.
    pub times: u64,
}

/// What a file system has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct FileSystemSpace {
    /// Its bytes.
    pub total_bytes: u64,
    /// Bytes that this process may still take.
    pub free_bytes: u64,
    /// Files that it can hold; 0 where it has no such limit.
    pub total_inodes: u64,
    /// Files that it can still take.
    pub free_inodes: u64,
}
