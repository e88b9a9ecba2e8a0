//! Which files would a crash leave behind?
//!
//! [`SimVfs`] is a file system in memory that crashes, tears and fails where a test says so, and
//! does the same again for the same seed. The model:
//!
//! **Images.** A file has a volatile image, which readers and maps see, and a durable one. A write
//! or a change of length acts on the volatile image and is listed as unsynced. A successful sync
//! of the file applies the list to the durable image. `sync_data` and `sync_all` do the same.
//!
//! **Names.** Creating a directory, creating, sharing (a second name), renaming and removing a file are volatile until the
//! directory that holds the name is synced. A synced file without a synced name can vanish, and so
//! can everything in a directory whose own name was never synced. Renames stay in one directory.
//!
//! **Operations.** Every call that changes or syncs something is one operation: create (each
//! directory made is one), write, allocate, sync, rename, share, remove, directory sync, lock. They are
//! numbered from 0 in the order of the calls.
//!
//! **Crash.** From the operation given to [`SimVfs::crash_at`] on, every call fails. That operation
//! itself happens in part: a prefix of a write (none and all included), any other change by the
//! toss of a coin, a sync not at all. Then [`SimVfs::reboot`] makes a new file system of what
//! survives. A [`Survival`] decides. `KeepAll` is the death of the process alone: everything
//! unsynced survives. `DropAll` loses it all. With `Random`, each unsynced change of a file is
//! kept, dropped, or (writes) torn: any subset of its 512-byte sectors survives, later writes
//! with or without earlier ones. In each directory, a prefix of the unsynced changes survives.
//!
//! **Old bytes.** Where a file was written over, lost sectors show what was durable there before.
//! Where an unsynced change made it longer, sectors that nobody wrote, or whose writes were lost,
//! read as zero or, with `stale_bytes`, mostly as the same place of a removed file (noise, where there
//! is none). Before the crash they always read as zero, and so they do after a sync of the length.
//!
//! **Faults.** An operation that [`SimVfs::fail_at`] or [`SimVfs::fail_from`] names fails without
//! effect, but for two: a failing write writes a prefix, and a failing sync makes the file (or the
//! directory) lie. Its unsynced changes stay visible, but no later sync, though it returns `Ok`, makes
//! them durable, and no reboot finds them, not even `KeepAll`. What is written after the failure
//! can become durable again. [`SimVfs::set_capacity`] bounds the sum of the lengths of all files,
//! [`SimVfs::set_inodes`] their number.
//! [`SimVfs::flip_bit`] damages both images; [`SimVfs::read_fault`] makes reads, not maps, fail.
//!
//! **Locks** are the kernel's: dropped with their handle and gone after a reboot. Handles of a
//! file system that crashed or was rebooted fail for ever; its maps stay readable.
//!
//! For tests alone; Linux, since the volatile images are `memfd`s, so that maps are real ones.

use std::{
    fmt, io,
    ops::Range,
    path::{Path, PathBuf},
    sync::{Arc, Mutex, MutexGuard, PoisonError},
};

use rustix::io::Errno;

use super::{LockError, OpenMode, Vfs, VfsFile, VfsLock};
use crate::model::FileSystemSpace;

mod fault;
mod file;
mod image;
mod inode;
mod names;
mod reboot;
#[cfg(test)]
mod tests;
mod world;

use file::{SimFile, SimLock};
use world::World;

/// The process that holds a simulated lock, as the lock file says.
const PID: u32 = 1;

/// What a failing operation answers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FaultKind {
    /// The medium failed.
    Eio,
    /// No space is left.
    Enospc,
    /// It is not allowed.
    Eacces,
}

impl From<FaultKind> for io::Error {
    fn from(kind: FaultKind) -> Self {
        match kind {
            FaultKind::Eio => Errno::IO.into(),
            FaultKind::Enospc => Errno::NOSPC.into(),
            FaultKind::Eacces => Errno::ACCESS.into(),
        }
    }
}

/// What becomes of unsynced changes at a reboot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Survival {
    /// All survive: the process died, the machine did not.
    KeepAll,
    /// None survives.
    DropAll,
    /// Chance decides for each.
    Random {
        /// May bytes of removed files show through where a file grew unsynced?
        stale_bytes: bool,
    },
}

/// A file system in memory that fails on demand. Clones are handles of the same one.
#[derive(Clone)]
pub struct SimVfs {
    world: Arc<Mutex<World>>,
}

impl SimVfs {
    /// An empty file system; all its chance follows from `seed`.
    #[must_use]
    pub fn new(seed: u64) -> Self {
        Self::of(World::new(seed))
    }

    fn of(world: World) -> Self {
        Self {
            world: Arc::new(Mutex::new(world)),
        }
    }

    /// Crashes at operation number `op`: it and every later call fails.
    pub fn crash_at(&self, op: u64) {
        world(&self.world).faults.crash_at = Some(op);
    }

    /// Makes operation number `op` fail.
    pub fn fail_at(&self, op: u64, kind: FaultKind) {
        world(&self.world).faults.at.insert(op, kind);
    }

    /// Makes operation number `op` and all later ones fail.
    pub fn fail_from(&self, op: u64, kind: FaultKind) {
        world(&self.world).faults.from = Some((op, kind));
    }

    /// Bounds the sum of the lengths of all files; growth beyond fails with `ENOSPC`.
    pub fn set_capacity(&self, bytes: u64) {
        world(&self.world).capacity = bytes;
    }

    /// Bounds the number of files; those beyond are refused with `ENOSPC`. 0 is no bound.
    pub fn set_inodes(&self, files: u64) {
        world(&self.world).max_inodes = files;
    }

    /// Flips bit `bit` (0 to 7) of the byte at `offset`, whether synced or not.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        world(&self.world).at_path(path)?.flip_bit(offset, bit)
    }

    /// Removes a file, as a stranger would; the name is gone for good.
    pub fn remove_file(&self, path: &Path) -> io::Result<()> {
        Vfs::remove(self, path)?;
        path.parent().map_or(Ok(()), |dir| self.sync_dir(dir))
    }

    /// All files and their bytes, as readers see them.
    pub fn files(&self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        world(&self.world).files()
    }

    /// Makes every read that touches `range` of the file fail with `EIO`, after reboots too.
    pub fn read_fault(&self, path: &Path, range: Range<u64>) -> io::Result<()> {
        world(&self.world).at_path(path)?.unreadable.push(range);
        Ok(())
    }

    /// Operations so far: the number of the next one.
    #[must_use]
    pub fn op_count(&self) -> u64 {
        world(&self.world).faults.ops
    }

    /// The operations so far, in words.
    #[must_use]
    pub fn trace(&self) -> Vec<String> {
        world(&self.world).faults.trace.clone()
    }

    /// Crashes now, unless that has happened, and returns the file system that the next start finds:
    /// no faults planned, operations counted from 0, same bounds. May be called again for another
    /// outcome of the same crash.
    #[must_use]
    pub fn reboot(&self, survival: Survival) -> Self {
        Self::of(reboot::survivors(&mut world(&self.world), survival))
    }
}

impl fmt::Debug for SimVfs {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimVfs").finish_non_exhaustive()
    }
}

impl Vfs for SimVfs {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        world(&self.world).create_dir_all(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Arc<dyn VfsFile>> {
        let id = world(&self.world).open(path, mode)?;
        Ok(Arc::new(SimFile::new(
            Arc::clone(&self.world),
            id,
            mode != OpenMode::Read,
        )))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        world(&self.world).rename(from, to)
    }

    fn share(&self, from: &Path, to: &Path) -> io::Result<()> {
        world(&self.world).share(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        world(&self.world).remove(path)
    }

    fn exists(&self, path: &Path) -> io::Result<bool> {
        world(&self.world).exists(path)
    }

    fn is_unshared(&self, path: &Path) -> io::Result<bool> {
        world(&self.world).is_unshared(path)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        world(&self.world).list(dir)
    }

    fn space(&self, _: &Path) -> io::Result<FileSystemSpace> {
        world(&self.world).space()
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        world(&self.world).sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> Result<Box<dyn VfsLock>, LockError> {
        let id = world(&self.world).lock(path)?;
        Ok(Box::new(SimLock::new(Arc::clone(&self.world), id)))
    }
}

/// The one world behind all handles.
fn world(shared: &Mutex<World>) -> MutexGuard<'_, World> {
    // A test that panics elsewhere still wants to look at the files.
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
