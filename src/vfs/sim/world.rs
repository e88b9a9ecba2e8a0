//! What does each call do to the simulated files?
//!
//! One lock around everything: the order of the operations is the order of the calls, and a test that
//! makes them from one thread repeats exactly.

use std::{
    collections::BTreeMap,
    io,
    path::{Path, PathBuf},
};

use super::{
    FaultKind, PID,
    fault::{Faults, Step, crash},
    image::Image,
    inode::Inode,
    names::{Entry, Names, key, parent},
};
use crate::{
    env::SplitMix,
    model::FileSystemSpace,
    vfs::{LockError, OpenMode, lock_holder, lock_note},
};

/// How many freed files are remembered for their old bytes.
const FREED_MAX: usize = 4;

/// A file system.
#[derive(Debug)]
pub(super) struct World {
    pub(super) faults: Faults,
    pub(super) random: SplitMix,
    pub(super) capacity: u64,
    /// 0 is no bound.
    pub(super) max_inodes: u64,
    pub(super) names: Names,
    pub(super) inodes: BTreeMap<u64, Inode>,
    pub(super) next_inode: u64,
    /// Old bytes on the medium, oldest first.
    pub(super) freed: Vec<Image>,
}

impl World {
    pub(super) fn new(seed: u64) -> Self {
        Self {
            faults: Faults::default(),
            random: SplitMix::new(seed),
            capacity: u64::MAX,
            max_inodes: 0,
            names: Names::default(),
            inodes: BTreeMap::new(),
            next_inode: 0,
            freed: Vec::new(),
        }
    }

    pub(super) fn create_dir_all(&mut self, dir: &Path) -> io::Result<()> {
        self.faults.alive()?;
        let dir = key(dir);
        let mut missing: Vec<PathBuf> = Vec::new();
        for ancestor in dir.ancestors() {
            match self.names.get(ancestor) {
                None => missing.push(ancestor.to_owned()),
                Some(Entry::Dir) => break,
                Some(Entry::File(_)) => return Err(io::ErrorKind::NotADirectory.into()),
            }
        }
        for path in missing.into_iter().rev() {
            self.change(format!("create directory {}", path.display()), |world| {
                world.names.add(path, Entry::Dir);
                Ok(())
            })?;
        }
        Ok(())
    }

    pub(super) fn open(&mut self, path: &Path, mode: OpenMode) -> io::Result<u64> {
        let path = key(path);
        let id = if mode == OpenMode::CreateNew {
            self.change(format!("create {}", path.display()), |world| {
                world.create(path)
            })?
        } else {
            self.faults.alive()?;
            self.file_id(&path)?
        };
        self.inode(id)?.handles += 1;
        Ok(id)
    }

    pub(super) fn rename(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (key(from), key(to));
        let what = format!("rename {} to {}", from.display(), to.display());
        self.change(what, |world| {
            if parent(&from) != parent(&to) {
                return Err(io::ErrorKind::Unsupported.into());
            }
            let id = world.file_id(&from)?;
            if world.names.is_dir(&to) {
                return Err(io::ErrorKind::IsADirectory.into());
            }
            world.inode(id)?.label = to.display().to_string();
            if from != to {
                world.names.rename(from, to, Entry::File(id));
            }
            Ok(())
        })
    }

    pub(super) fn share(&mut self, from: &Path, to: &Path) -> io::Result<()> {
        let (from, to) = (key(from), key(to));
        let what = format!("share {} as {}", from.display(), to.display());
        self.change(what, |world| {
            let id = world.file_id(&from)?;
            if !world.names.is_dir(parent(&to)) {
                return Err(io::ErrorKind::NotFound.into());
            }
            if world.names.get(&to).is_some() {
                return Err(io::ErrorKind::AlreadyExists.into());
            }
            world.names.add(to, Entry::File(id));
            Ok(())
        })
    }

    pub(super) fn remove(&mut self, path: &Path) -> io::Result<()> {
        let path = key(path);
        self.change(format!("remove {}", path.display()), |world| {
            world.file_id(&path)?;
            world.names.remove(path);
            Ok(())
        })
    }

    pub(super) fn exists(&self, path: &Path) -> io::Result<bool> {
        self.faults.alive()?;
        Ok(self.names.get(&key(path)).is_some())
    }

    pub(super) fn is_unshared(&mut self, path: &Path) -> io::Result<bool> {
        self.faults.alive()?;
        let Some(Entry::File(id)) = self.names.get(&key(path)) else {
            return Err(io::ErrorKind::NotFound.into());
        };
        let names = self.names.visible_paths();
        let has_one_name = names.iter().filter(|(_, other)| *other == id).count() == 1;
        let inode = self.inode(id)?;
        Ok(has_one_name && !inode.exclusive_lock && inode.shared_locks == 0)
    }

    pub(super) fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.faults.alive()?;
        let dir = key(dir);
        if !self.names.is_dir(&dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        Ok(self.names.files_in(&dir))
    }

    pub(super) fn sync_dir(&mut self, dir: &Path) -> io::Result<()> {
        let dir = key(dir);
        let step = self
            .faults
            .step(format!("sync directory {}", dir.display()))?;
        if !self.names.is_dir(&dir) {
            return Err(io::ErrorKind::NotFound.into());
        }
        match step {
            Step::Go => {
                self.names.sync(&dir);
                self.free();
                Ok(())
            }
            Step::Fail(kind) => {
                self.names.forget_unsynced(&dir);
                Err(kind.into())
            }
            Step::Crash => Err(crash()),
        }
    }

    pub(super) fn lock(&mut self, path: &Path) -> Result<u64, LockError> {
        let path = key(path);
        let id = self.change(format!("lock {}", path.display()), |world| {
            match world.names.get(&path) {
                Some(Entry::File(id)) => Ok(id),
                Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
                None => world.create(path),
            }
        })?;
        let note = lock_note(PID, 0);
        let fits = self.room_for(id, 0, note.len() as u64)? == note.len() as u64;
        let inode = self.inode(id)?;
        if inode.exclusive_lock || inode.shared_locks > 0 {
            let mut held = vec![0; usize::try_from(inode.len()?).unwrap_or(0).min(64)];
            inode.read(&mut held, 0)?;
            let pid = lock_holder(&held);
            return Err(LockError::Held { pid });
        }
        if !fits {
            return Err(io::Error::from(FaultKind::Enospc).into());
        }
        inode.write(note.as_bytes(), 0)?;
        inode.set_len(note.len() as u64)?;
        inode.exclusive_lock = true;
        inode.handles += 1;
        Ok(id)
    }

    pub(super) fn write(&mut self, id: u64, data: &[u8], offset: u64) -> io::Result<()> {
        let len = data.len() as u64;
        let what = format!("write {} at {offset}, {len} bytes", self.inode(id)?.label);
        let (written, answer) = match self.faults.step(what)? {
            Step::Go => match self.room_for(id, offset, len)? {
                room if room == len => (len, Ok(())),
                room => (room, Err(FaultKind::Enospc.into())),
            },
            Step::Fail(kind) => (self.random.below(len + 1), Err(kind.into())),
            Step::Crash => (self.random.below(len + 1), Err(crash())),
        };
        let prefix = data.get(..written as usize).unwrap_or(data);
        self.inode(id)?.write(prefix, offset)?;
        answer
    }

    pub(super) fn allocate(&mut self, id: u64, len: u64) -> io::Result<()> {
        let what = format!("allocate {} to {len} bytes", self.inode(id)?.label);
        self.change(what, |world| {
            if len <= world.inode(id)?.len()? {
                return Ok(());
            }
            if world.room_for(id, 0, len)? < len {
                return Err(FaultKind::Enospc.into());
            }
            world.inode(id)?.set_len(len)
        })
    }

    pub(super) fn sync(&mut self, id: u64) -> io::Result<()> {
        let what = format!("sync {}", self.inode(id)?.label);
        match self.faults.step(what)? {
            Step::Go => {
                self.inode(id)?.sync();
                Ok(())
            }
            Step::Fail(kind) => {
                self.inode(id)?.unsynced.clear();
                Err(kind.into())
            }
            Step::Crash => Err(crash()),
        }
    }

    pub(super) fn at_path(&mut self, path: &Path) -> io::Result<&mut Inode> {
        let id = self.file_id(&key(path))?;
        self.inode(id)
    }

    pub(super) fn files(&mut self) -> io::Result<Vec<(PathBuf, Vec<u8>)>> {
        let mut files = Vec::new();
        for (path, id) in self.names.visible_paths() {
            let inode = self.inode(id)?;
            let mut bytes = vec![0; usize::try_from(inode.len()?).unwrap_or(0)];
            inode.read(&mut bytes, 0)?;
            files.push((path, bytes));
        }
        Ok(files)
    }

    pub(super) fn inode(&mut self, id: u64) -> io::Result<&mut Inode> {
        self.inodes
            .get_mut(&id)
            .ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// Forgets the files that nothing can reach any more, but for their bytes.
    pub(super) fn free(&mut self) {
        let named = self.names.files();
        let gone = self
            .inodes
            .iter()
            .filter(|(id, inode)| inode.handles == 0 && !named.contains(id));
        for id in gone.map(|(&id, _)| id).collect::<Vec<_>>() {
            let inode = self.inodes.remove(&id);
            self.remember(inode.map(|inode| inode.durable).unwrap_or_default());
        }
    }

    /// Keeps the bytes of a file that is gone: the medium does.
    pub(super) fn remember(&mut self, image: Image) {
        if image.len() > 0 {
            self.freed.push(image);
            let excess = self.freed.len().saturating_sub(FREED_MAX);
            self.freed.drain(..excess);
        }
    }

    /// An operation that happens whole or not at all.
    fn change<T>(
        &mut self,
        what: String,
        act: impl FnOnce(&mut Self) -> io::Result<T>,
    ) -> io::Result<T> {
        match self.faults.step(what)? {
            Step::Go => act(self),
            Step::Fail(kind) => Err(kind.into()),
            Step::Crash => {
                if self.random.coin() {
                    // Whether it would have failed, nobody is left to hear.
                    let _ = act(self);
                }
                Err(crash())
            }
        }
    }

    fn create(&mut self, path: PathBuf) -> io::Result<u64> {
        if !self.names.is_dir(parent(&path)) {
            return Err(io::ErrorKind::NotFound.into());
        }
        if self.names.get(&path).is_some() {
            return Err(io::ErrorKind::AlreadyExists.into());
        }
        if self.max_inodes > 0 && self.used()?.0 >= self.max_inodes {
            return Err(FaultKind::Enospc.into());
        }
        let id = self.next_inode;
        self.next_inode += 1;
        let inode = Inode::new(path.display().to_string(), Image::default())?;
        self.inodes.insert(id, inode);
        self.names.add(path, Entry::File(id));
        Ok(id)
    }

    fn file_id(&self, path: &Path) -> io::Result<u64> {
        match self.names.get(path) {
            Some(Entry::File(id)) => Ok(id),
            Some(Entry::Dir) => Err(io::ErrorKind::IsADirectory.into()),
            None => Err(io::ErrorKind::NotFound.into()),
        }
    }

    pub(super) fn space(&self) -> io::Result<FileSystemSpace> {
        self.faults.alive()?;
        let (files, bytes) = self.used()?;
        Ok(FileSystemSpace {
            total_bytes: self.capacity,
            free_bytes: self.capacity.saturating_sub(bytes),
            total_inodes: self.max_inodes,
            free_inodes: self.max_inodes.saturating_sub(files),
        })
    }

    /// The files that take space, and their bytes: it is free again when neither a name nor a handle is left.
    fn used(&self) -> io::Result<(u64, u64)> {
        let visible = self.names.visible_files();
        let (mut files, mut bytes) = (0, 0);
        for (id, inode) in &self.inodes {
            if inode.handles > 0 || visible.contains(id) {
                files += 1;
                bytes += inode.len()?;
            }
        }
        Ok((files, bytes))
    }

    /// How many of `len` bytes at `offset` of a file there is space for.
    fn room_for(&mut self, id: u64, offset: u64, len: u64) -> io::Result<u64> {
        if self.capacity == u64::MAX {
            return Ok(len);
        }
        let (_, used) = self.used()?;
        let own = self.inode(id)?.len()?;
        let end = own.saturating_add(self.capacity.saturating_sub(used));
        Ok(end.saturating_sub(offset).min(len))
    }
}
