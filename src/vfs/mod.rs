//! How does the crate reach files?
//!
//! Everything that is stored goes through [`Vfs`], so that the simulated file system can stand in for
//! the real one and crash, tear and fail where a test says so. What callers may rely on, on both:
//!
//! - A write is visible at once to every reader and map of this process, and durable after the
//!   next successful sync of its file.
//! - A created, renamed or removed name is durable after a successful sync of its directory.
//! - After a failed sync nothing is known about the unsynced writes, and a later successful sync
//!   proves nothing about them.
//!
//! Any module may hold an `Arc<dyn Vfs>`; only this one names `std::fs`.
#![allow(
    unreachable_pub,
    reason = "reachable from outside only with the feature `sim`"
)]

use std::{fmt::Debug, io, path::Path, sync::Arc};

use crate::model::FileSystemSpace;

#[cfg(test)]
mod conformance;
mod dirs;
mod mmap;
mod os;
#[cfg(any(test, feature = "sim"))]
mod sim;

pub(crate) use dirs::{LOCK, create_dir, lock_dir};
pub use mmap::Map;
pub use os::OsVfs;
#[cfg(any(test, feature = "sim"))]
pub use sim::{FaultKind, SimVfs, Survival};

/// How [`Vfs::open`] treats the file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, for reading.
    Read,
    /// An existing file, for reading and writing.
    Write,
    /// A file that must not exist yet, for reading and writing.
    CreateNew,
}

/// Why [`Vfs::lock`] gave no lock.
#[derive(Debug, thiserror::Error)]
pub enum LockError {
    /// Somebody holds it, in another process or in this one.
    #[error("held by process {pid}")]
    Held {
        /// The holder as it wrote itself down; 0 where it has not yet.
        pid: u32,
    },
    /// The file system refused.
    #[error(transparent)]
    Io(#[from] io::Error),
}

/// A file system.
pub trait Vfs: Send + Sync + Debug {
    /// Makes `dir` and the parents it lacks, mode 0700.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// Opens a file; a new one gets mode 0600.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>>;

    /// Gives `from` the name `to` in the same directory, in one step; a file of that name is replaced.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Gives `to`, a name that must not exist yet, the bytes of `from` without copying them: as a clone
    /// that shares its blocks until one of both is written, or as a second name. `from` is durable and
    /// written no more; then the bytes of `to` are as durable.
    ///
    /// # Errors
    /// What the file system answers where it can do neither, as between two of them.
    fn share(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file's name. Open handles and maps of it stay usable.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Is there a file or directory of that name?
    fn exists(&self, path: &Path) -> io::Result<bool>;

    /// Does nobody hold a lock on the file, and does no other name lead to its bytes?
    fn is_unshared(&self, path: &Path) -> io::Result<bool>;

    /// The names of the regular files in `dir`, sorted.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// What the file system that holds `dir` has left.
    fn space(&self, dir: &Path) -> io::Result<FileSystemSpace>;

    /// Does the system tell of changes of these files, if it does at all?
    fn tells_of_changes(&self) -> bool {
        false
    }

    /// Makes the names in `dir` durable.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the exclusive lock on `path` or fails at once. The file is created where it is missing,
    /// never removed, and says `pid\nstart_ms\n` of its latest holder.
    ///
    /// # Errors
    /// [`LockError::Held`] while another lock on it lives, be it in this very process.
    fn lock(&self, path: &Path) -> Result<Box<dyn VfsLock>, LockError>;
}

/// An open file. Handles are shared between threads: every access names its own offset.
#[allow(clippy::len_without_is_empty, reason = "no caller would ask")]
pub trait VfsFile: Send + Sync + Debug {
    /// Bytes in the file.
    fn len(&self) -> io::Result<u64>;

    /// An offset behind which nothing was ever written, at most the length: all bytes from there on read
    /// as zero, and need not be read to know it.
    fn written_end(&self) -> io::Result<u64>;

    /// Fills `buf` from `offset`; `UnexpectedEof` if the file ends before that.
    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()>;

    /// Writes all of `data` at `offset`. After an error any part of it may have been written.
    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()>;

    /// Makes the file at least `len` bytes long, with blocks reserved where the file system can, so
    /// that later writes below `len` do not run out of space. The new bytes read as zero. Never
    /// shrinks a file.
    fn allocate(&self, len: u64) -> io::Result<()>;

    /// Makes the content durable, with the metadata needed to read it back.
    fn sync_data(&self) -> io::Result<()>;

    /// Makes the content and all metadata durable.
    fn sync_all(&self) -> io::Result<()>;

    /// A read-only shared map of the first `len` bytes; `UnexpectedEof` if there are fewer.
    fn map(&self, len: u64) -> io::Result<Map>;

    /// Takes a shared lock that lives as long as this handle; `false` if an exclusive one is held.
    fn try_lock_shared(&self) -> io::Result<bool>;
}

/// A held lock; dropping it, or the death of the process, releases it.
pub trait VfsLock: Send + Sync + Debug {}

/// What the holder of a lock writes into the file.
fn lock_note(pid: u32, start_ms: i64) -> String {
    format!("{pid}\n{start_ms}\n")
}

/// The holder's pid out of the bytes of a lock file; 0 where there is none to read.
pub(crate) fn lock_holder(note: &[u8]) -> u32 {
    note.split(|&byte| byte == b'\n')
        .next()
        .and_then(|line| std::str::from_utf8(line).ok())
        .and_then(|line| line.parse().ok())
        .unwrap_or(0)
}
