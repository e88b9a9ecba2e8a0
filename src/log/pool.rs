//! Where do segment files with written blocks come from?
//!
//! Syncing into blocks that were written before takes about half as long as into fresh ones, since
//! the file system need not note them. The pool writes zeros into a few files ahead of their use;
//! the upkeep thread calls [`SegmentPool::refill`], the writer [`SegmentPool::take`]. What a spare
//! file holds is never trusted: frames are checked against the seed that the segment gets when it
//! is used. A spare is no part of the database: losing one, or failing to write one, loses speed.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    error::{PulseDBError, Result},
    vfs::{OpenMode, Vfs, VfsFile},
};

/// Bytes of one write while a file is prepared.
const CHUNK_BYTES: usize = 1024 * 1024;
static ZEROS: [u8; CHUNK_BYTES] = [0; CHUNK_BYTES];

const PREFIX: &str = "spare-";
const SUFFIX: &str = ".tmp";

/// A file whose blocks are written.
#[derive(Debug)]
pub(crate) struct Spare {
    pub(super) path: PathBuf,
    pub(super) file: Arc<dyn VfsFile>,
}

/// Spare files, ready to become segments.
#[derive(Debug)]
pub(crate) struct SegmentPool {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    segment_bytes: u64,
    target: usize,
    ready: Mutex<Ready>,
    /// Held while a file is prepared: two refills would prepare one too many.
    refilling: Mutex<()>,
}

#[derive(Debug, Default)]
struct Ready {
    spares: Vec<Spare>,
    next: u64,
}

impl SegmentPool {
    /// Adopts the spares that an earlier process left in `dir` and removes what is of no use.
    pub(crate) fn open(
        vfs: Arc<dyn Vfs>,
        dir: &Path,
        segment_bytes: u64,
        target: usize,
    ) -> Result<Self> {
        let mut ready = Ready::default();
        for name in vfs.list(dir).map_err(PulseDBError::io("list", dir))? {
            if !is_spare(&name) {
                continue;
            }
            let path = dir.join(&name);
            let file = vfs
                .open(&path, OpenMode::Write)
                .map_err(PulseDBError::io("open", &path))?;
            let len = file.len().map_err(PulseDBError::io("look at", &path))?;
            if len == segment_bytes && ready.spares.len() < target {
                ready.spares.push(Spare { path, file });
            } else {
                vfs.remove(&path)
                    .map_err(PulseDBError::io("remove", &path))?;
            }
            if let Some(number) = spare_number(&name) {
                ready.next = ready.next.max(number.saturating_add(1));
            }
        }
        Ok(Self {
            vfs,
            dir: dir.to_owned(),
            segment_bytes,
            target,
            ready: Mutex::new(ready),
            refilling: Mutex::new(()),
        })
    }

    /// A spare file, if one is ready. Never waits for one.
    pub(crate) fn take(&self) -> Option<Spare> {
        self.ready.lock().spares.pop()
    }

    /// Takes the file of a segment that nobody uses any more; false where it is not wanted, or may be
    /// used after all.
    pub(crate) fn adopt(&self, path: &Path) -> bool {
        if !self.is_short() {
            return false;
        }
        let mut ready = self.ready.lock();
        let spare = self.dir.join(format!("{PREFIX}{}{SUFFIX}", ready.next));
        ready.next += 1;
        let adopt = || -> io::Result<Option<Arc<dyn VfsFile>>> {
            let file = self.vfs.open(path, OpenMode::Write)?;
            if file.len()? != self.segment_bytes || !self.vfs.is_unshared(path)? {
                return Ok(None);
            }
            self.vfs.rename(path, &spare)?;
            Ok(Some(file))
        };
        match adopt() {
            Ok(Some(file)) => {
                ready.spares.push(Spare { path: spare, file });
                true
            }
            Ok(None) | Err(_) => false,
        }
    }

    /// Removes all spares.
    pub(crate) fn clear(&self) {
        for spare in std::mem::take(&mut self.ready.lock().spares) {
            if let Err(error) = self.vfs.remove(&spare.path) {
                tracing::warn!(%error, "a spare segment file could not be removed");
            }
        }
    }

    /// Are there fewer spares than wanted?
    pub(crate) fn is_short(&self) -> bool {
        self.ready.lock().spares.len() < self.target
    }

    /// Prepares one file more. Takes as long as writing it does; for one thread at a time.
    pub(crate) fn add_one(&self) -> Result<()> {
        let _one_at_a_time = self.refilling.lock();
        let path = {
            let mut ready = self.ready.lock();
            let number = ready.next;
            ready.next += 1;
            self.dir.join(format!("{PREFIX}{number}{SUFFIX}"))
        };
        match self.prepare(&path) {
            Ok(file) => {
                self.ready.lock().spares.push(Spare { path, file });
                Ok(())
            }
            Err(error) => {
                // Gives the space back, above all if that is what was missing.
                let _ = self.vfs.remove(&path);
                Err(error)
            }
        }
    }

    fn prepare(&self, path: &Path) -> Result<Arc<dyn VfsFile>> {
        let file = self
            .vfs
            .open(path, OpenMode::CreateNew)
            .map_err(PulseDBError::io("create", path))?;
        let mut at = 0;
        while at < self.segment_bytes {
            let len = (self.segment_bytes - at).min(CHUNK_BYTES as u64);
            let chunk = ZEROS.get(..len as usize).unwrap_or(&ZEROS);
            file.write_all_at(chunk, at)
                .map_err(PulseDBError::io("write", path))?;
            at += len;
        }
        file.sync_all().map_err(PulseDBError::io("sync", path))?;
        Ok(file)
    }
}

/// Is this the name of a spare file?
pub(super) fn is_spare(name: &str) -> bool {
    name.starts_with(PREFIX) && name.ends_with(SUFFIX)
}

fn spare_number(name: &str) -> Option<u64> {
    name.strip_prefix(PREFIX)?
        .strip_suffix(SUFFIX)?
        .parse()
        .ok()
}

#[cfg(test)]
#[path = "pool_tests.rs"]
mod tests;
