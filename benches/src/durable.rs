//! When was a commit durable?
//!
//! The operating system's file system, with a note of the moment at which each sync of the log returned: from then on
//! a commit is durable, and whoever watches may hear of it.

use std::{
    io,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use pulsedb::{
    FileSystemSpace,
    sim::{LockError, Map, OpenMode, OsVfs, Vfs, VfsFile, VfsLock},
};
use rustix::time::{ClockId, clock_gettime};

/// Nanoseconds of a clock that all processes share.
pub(crate) fn now() -> u64 {
    let time = clock_gettime(ClockId::Monotonic);
    Duration::new(time.tv_sec as u64, time.tv_nsec as u32).as_nanos() as u64
}

/// A file system that knows when the log was synced last.
#[derive(Clone, Debug, Default)]
pub(crate) struct Noting {
    synced: Arc<AtomicU64>,
}

impl Noting {
    /// When the newest sync of a file of the log returned, by [`now`]. Right behind an acknowledgement, where one
    /// thread writes and no spare segments are made: when that commit was durable.
    pub(crate) fn synced(&self) -> u64 {
        self.synced.load(Ordering::Acquire)
    }
}

impl Vfs for Noting {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        OsVfs.create_dir_all(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let file = OsVfs.open(path, mode)?;
        if !path.parent().is_some_and(|dir| dir.ends_with("log")) {
            return Ok(file);
        }
        Ok(Arc::new(Noted {
            file,
            synced: Arc::clone(&self.synced),
        }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.rename(from, to)
    }

    fn share(&self, from: &Path, to: &Path) -> io::Result<()> {
        OsVfs.share(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        OsVfs.remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        OsVfs.exists(path)
    }

    fn is_unshared(&self, path: &Path) -> io::Result<bool> {
        OsVfs.is_unshared(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        OsVfs.list(dir)
    }

    fn space(&self, dir: &Path) -> io::Result<FileSystemSpace> {
        OsVfs.space(dir)
    }

    fn tells_of_changes(&self) -> bool {
        OsVfs.tells_of_changes()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        OsVfs.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn VfsLock>, LockError> {
        OsVfs.lock(path)
    }
}

#[derive(Debug)]
struct Noted {
    file: Arc<dyn VfsFile>,
    synced: Arc<AtomicU64>,
}

impl VfsFile for Noted {
    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }

    fn written_end(&self) -> io::Result<u64> {
        self.file.written_end()
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        self.file.read_exact_at(buf, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.file.write_all_at(data, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.file.allocate(len)
    }

    fn sync_data(&self) -> io::Result<()> {
        let synced = self.file.sync_data();
        self.synced.store(now(), Ordering::Release);
        synced
    }

    fn sync_all(&self) -> io::Result<()> {
        self.file.sync_all()
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        self.file.map(len)
    }

    fn try_lock_shared(&self) -> io::Result<bool> {
        self.file.try_lock_shared()
    }
}
