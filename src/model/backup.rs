//! What can be said about backups, and asked of them?

use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::{BackupId, Cursor, InstanceId, Lsn, Timeline, Timestamp};

/// How the pieces of a backup are stored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum BackupCompression {
    /// As they are in the log. Sealed segments may then share their blocks with the database.
    #[default]
    None,
    /// LZ4: texts shrink to about half, at hardly any cost; vectors do not.
    Lz4,
    /// Zstandard at its default level: smaller, and some ten times the work.
    Zstd,
}

/// How a backup is made.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackupOptions {
    /// Copy everything again, whatever the repository holds already. By default only what is new since
    /// the last backup is copied; either way the backup needs no other one to be restored.
    pub full: bool,
    /// How new pieces are stored.
    pub compression: BackupCompression,
    /// Whether sealed segments may share their blocks with the database instead of being copied: by a
    /// clone where the file system can, else by a second name of the same file. That costs no space and
    /// hardly any time, but harm to such a block harms both. Without effect on another file system, and
    /// with compression.
    pub share: bool,
    /// Most bytes of the log that are copied a second; 0 for no limit. 64 MiB leave a writer on the same
    /// disk its share.
    pub bytes_per_second: u64,
}

impl Default for BackupOptions {
    fn default() -> Self {
        Self {
            full: false,
            compression: BackupCompression::None,
            share: true,
            bytes_per_second: 64 * 1024 * 1024,
        }
    }
}

/// One backup of a repository.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupInfo {
    /// Its name in the repository.
    pub id: BackupId,
    /// The backup whose pieces it uses, too; `None` for a full one.
    pub parent: Option<BackupId>,
    /// When it was begun: nothing that was committed before is missing.
    pub created_at: Timestamp,
    /// The database.
    pub instance_id: InstanceId,
    /// The last commit in it.
    pub cursor: Cursor,
    /// When that was made.
    pub last_write: Timestamp,
    /// From this LSN on every state can be restored: history below it was compacted away.
    pub history_from: Lsn,
    /// Version of the log's format.
    pub format_version: u32,
    /// How the pieces are stored that it added.
    pub compression: BackupCompression,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of the log.
    pub bytes: u64,
    /// Bytes of the log that no backup before it held.
    pub new_bytes: u64,
    /// Bytes of the files that it added to the repository; those that share their blocks count whole.
    pub stored_bytes: u64,
    /// Of these, bytes of files that shared their blocks with the database.
    pub shared_bytes: u64,
}

/// The backups in a repository.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupList {
    /// Those that can be read, the oldest first. Whether their pieces are whole says a verification.
    pub backups: Vec<BackupInfo>,
    /// Manifests of backups that cannot be read, and why.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// How far a backup, its verification or its restoration has come.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupProgress {
    /// Bytes of the log that were copied or read.
    pub bytes: u64,
    /// Bytes that there are to copy or read.
    pub total_bytes: u64,
}

/// What a verification of a backup found.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupReport {
    /// The backup.
    pub backup: BackupInfo,
    /// Its pieces, those of earlier backups included.
    pub pieces: u64,
    /// Bytes of the log that they hold.
    pub bytes: u64,
    /// Files that are missing or not what was written, and what was found.
    pub damaged: Vec<(PathBuf, String)>,
}

impl BackupReport {
    /// Whether the backup can be restored.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.damaged.is_empty()
    }
}

/// Which backups stay: those that either of both keeps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct BackupRetention {
    /// So many of the newest; 0 keeps none by number.
    pub keep_last: u32,
    /// Those that are not older than so many days; 0 keeps none by age. Not both are 0.
    pub keep_days: u32,
}

/// What a removal of old backups did.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PruneReport {
    /// Backups that are gone.
    pub removed: Vec<BackupId>,
    /// Backups that are left.
    pub kept: Vec<BackupId>,
    /// Files of pieces that no backup needs any more, and that are gone.
    pub pieces_removed: u64,
    /// Their bytes.
    pub bytes_removed: u64,
    /// Manifests that cannot be read. While there are any, pieces are left alone.
    pub unreadable: Vec<(PathBuf, String)>,
}

/// A point of the history.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RestorePoint {
    /// After the last commit that ends at or before this LSN.
    Lsn(Lsn),
    /// After the last commit made at or before this moment.
    Time(Timestamp),
}

/// How a backup is restored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct RestoreOptions {
    /// Leave out what was committed later; `None` restores everything.
    pub until: Option<RestorePoint>,
    /// Make another database of it, with an id of its own, for use beside the original. Applications that
    /// the original counted become those of the fork: an import of the fork's export into the original
    /// would count them twice.
    pub as_fork: bool,
}

/// What was restored.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct RestoreReport {
    /// The backup that it came from.
    pub backup: BackupId,
    /// The restored database: that of the backup, or a new one where a fork was asked for.
    pub instance_id: InstanceId,
    /// The last commit in it; 0 if there is none.
    pub lsn: Lsn,
    /// The history that goes on from there.
    pub timeline: Timeline,
    /// Segments of the log.
    pub segments: u64,
    /// Bytes of the log.
    pub bytes: u64,
}
