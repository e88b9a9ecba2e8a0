//! What does an acknowledgement mean?

use serde::{Deserialize, Serialize};

/// What an acknowledgement means.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SyncMode {
    /// fdatasync of the group commit returned: neither a crash nor a power cut loses it.
    Normal,
    /// Written to the operating system: a crash loses nothing, a power cut at most what came
    /// after the last flush, and never order or consistency.
    Fast,
    /// Every commit is synced by itself and read back.
    Paranoid,
}
