//! What does a handle of a simulated file do?
//!
//! Nothing but to name its file and to count itself.

use std::{
    fmt, io,
    sync::{
        Arc, Mutex,
        atomic::{AtomicBool, Ordering},
    },
};

use super::{world, world::World};
use crate::vfs::{Map, VfsFile, VfsLock, os::written_end};

/// An open simulated file.
pub(super) struct SimFile {
    world: Arc<Mutex<World>>,
    id: u64,
    writable: bool,
    /// Does this handle hold a shared lock? Changed under the world's lock alone.
    locked: AtomicBool,
}

impl SimFile {
    /// A handle of a file that has already been counted.
    pub(super) const fn new(world: Arc<Mutex<World>>, id: u64, writable: bool) -> Self {
        Self {
            world,
            id,
            writable,
            locked: AtomicBool::new(false),
        }
    }

    fn check_writable(&self) -> io::Result<()> {
        if self.writable {
            Ok(())
        } else {
            Err(io::ErrorKind::PermissionDenied.into())
        }
    }
}

impl VfsFile for SimFile {
    fn len(&self) -> io::Result<u64> {
        let mut world = world(&self.world);
        world.faults.alive()?;
        world.inode(self.id)?.len()
    }

    fn written_end(&self) -> io::Result<u64> {
        let mut world = world(&self.world);
        world.faults.alive()?;
        written_end(world.inode(self.id)?.visible())
    }

    fn read_exact_at(&self, buf: &mut [u8], offset: u64) -> io::Result<()> {
        let mut world = world(&self.world);
        world.faults.alive()?;
        world.inode(self.id)?.read(buf, offset)
    }

    fn write_all_at(&self, data: &[u8], offset: u64) -> io::Result<()> {
        self.check_writable()?;
        world(&self.world).write(self.id, data, offset)
    }

    fn allocate(&self, len: u64) -> io::Result<()> {
        self.check_writable()?;
        world(&self.world).allocate(self.id, len)
    }

    fn sync_data(&self) -> io::Result<()> {
        world(&self.world).sync(self.id)
    }

    fn sync_all(&self) -> io::Result<()> {
        world(&self.world).sync(self.id)
    }

    fn map(&self, len: u64) -> io::Result<Map> {
        let mut world = world(&self.world);
        world.faults.alive()?;
        Map::of(world.inode(self.id)?.visible(), len)
    }

    fn try_lock_shared(&self) -> io::Result<bool> {
        let mut world = world(&self.world);
        world.faults.alive()?;
        let inode = world.inode(self.id)?;
        if inode.exclusive_lock {
            return Ok(false);
        }
        if !self.locked.swap(true, Ordering::Relaxed) {
            inode.shared_locks += 1;
        }
        Ok(true)
    }
}

impl Drop for SimFile {
    fn drop(&mut self) {
        let mut world = world(&self.world);
        if let Ok(inode) = world.inode(self.id) {
            inode.handles -= 1;
            inode.shared_locks -= u64::from(self.locked.load(Ordering::Relaxed));
        }
        world.free();
    }
}

impl fmt::Debug for SimFile {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimFile")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A held simulated lock.
pub(super) struct SimLock {
    world: Arc<Mutex<World>>,
    id: u64,
}

impl SimLock {
    /// A lock that has already been taken.
    pub(super) const fn new(world: Arc<Mutex<World>>, id: u64) -> Self {
        Self { world, id }
    }
}

impl VfsLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut world = world(&self.world);
        if let Ok(inode) = world.inode(self.id) {
            inode.handles -= 1;
            inode.exclusive_lock = false;
        }
        world.free();
    }
}

impl fmt::Debug for SimLock {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimLock")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}
