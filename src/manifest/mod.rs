//! Which files make up the database, and how does that change durably?
//!
//! `MANIFEST` is replaced whole; the generation before it stays as `MANIFEST.old`. One change:
//!
//! 1. the current content is written to `MANIFEST.old.new`, synced, and renamed to `MANIFEST.old`;
//! 2. the new content is written to `MANIFEST.new`, synced, and renamed to `MANIFEST`;
//! 3. the directory is synced.
//!
//! Whatever part of that a crash keeps, `MANIFEST` exists and is whole, in the old or the new
//! generation. So falling back to `MANIFEST.old` means damage, never a crash, and the caller has to
//! look for segments that the older generation cannot know. A change that failed may or may not
//! stand after the next open; memory keeps the old state. Called by the flows only.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{
    error::{PulseDBError, Result},
    format::{FORMAT_VERSION, FileFault, Manifest},
    model::Lsn,
    vfs::{OpenMode, Vfs},
};

#[cfg(test)]
mod tests;

const NAME: &str = "MANIFEST";
const OLD: &str = "MANIFEST.old";
const NEW: &str = "MANIFEST.new";
const OLD_NEW: &str = "MANIFEST.old.new";

/// A manifest of this size would name millions of segments.
const MAX_BYTES: u64 = 64 * 1024 * 1024;

/// The manifest of an open database.
#[derive(Debug)]
pub(crate) struct ManifestStore {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
    state: Mutex<State>,
}

#[derive(Debug)]
struct State {
    manifest: Manifest,
    /// What the newest whole file says; empty before the first.
    stored: Vec<u8>,
}

/// A manifest that was found.
#[derive(Debug)]
pub(crate) struct Loaded {
    /// The manifest.
    pub(crate) store: ManifestStore,
    /// Why it is the older generation, if it is.
    pub(crate) fallback: Option<PulseDBError>,
}

/// Is `name`, in a database directory, a file of this module?
pub(crate) fn is_manifest_file(name: &str) -> bool {
    [NAME, OLD, NEW, OLD_NEW].contains(&name)
}

/// Reads the manifest of the database in `dir`; `None` if there is none in either generation.
///
/// # Errors
/// `Version` where a newer build wrote it, `Corrupted` where no generation can be read.
pub(crate) fn load(vfs: Arc<dyn Vfs>, dir: &Path) -> Result<Option<Loaded>> {
    let newest = read(&*vfs, &dir.join(NAME));
    let error = match newest {
        Ok(Some((manifest, stored))) => {
            return Ok(Some(Loaded {
                store: ManifestStore::new(vfs, dir, manifest, stored),
                fallback: None,
            }));
        }
        Ok(None) => None,
        Err(error @ PulseDBError::Corrupted { .. }) => Some(error),
        Err(error) => return Err(error),
    };
    match (read(&*vfs, &dir.join(OLD)), error) {
        (Ok(Some((manifest, stored))), error) => Ok(Some(Loaded {
            store: ManifestStore::new(vfs, dir, manifest, stored),
            fallback: Some(error.unwrap_or_else(|| {
                PulseDBError::corrupted(dir.join(NAME), 0, "the file is missing")
            })),
        })),
        (Ok(None), None) => Ok(None),
        (_, Some(error)) | (Err(error), None) => Err(error),
    }
}

/// What is wrong with the files of the manifest in `dir`, beside what an open would tell.
pub(crate) fn faults(vfs: &dyn Vfs, dir: &Path) -> Vec<PulseDBError> {
    let newest = match read(vfs, &dir.join(NAME)) {
        Ok(Some(_)) => None,
        Ok(None) => Some(PulseDBError::corrupted(
            dir.join(NAME),
            0,
            "the file is missing",
        )),
        Err(error) => Some(error),
    };
    // There is none before the first change.
    let older = read(vfs, &dir.join(OLD)).err();
    newest.into_iter().chain(older).collect()
}

/// The manifests in `dir` that can be read, the newest first.
///
/// # Errors
/// `Version` where a newer build wrote one.
pub(crate) fn readable(vfs: &dyn Vfs, dir: &Path) -> Result<Vec<Manifest>> {
    let mut found = Vec::new();
    for name in [NAME, OLD] {
        match read(vfs, &dir.join(name)) {
            Ok(manifest) => found.extend(manifest.map(|(manifest, _)| manifest)),
            Err(error @ PulseDBError::Version { .. }) => return Err(error),
            Err(_) => {}
        }
    }
    Ok(found)
}

/// Writes the first manifest of a database.
pub(crate) fn create(vfs: Arc<dyn Vfs>, dir: &Path, manifest: Manifest) -> Result<ManifestStore> {
    let store = ManifestStore::new(vfs, dir, manifest, Vec::new());
    store.update(|_| ())?;
    Ok(store)
}

impl ManifestStore {
    fn new(vfs: Arc<dyn Vfs>, dir: &Path, manifest: Manifest, stored: Vec<u8>) -> Self {
        Self {
            vfs,
            dir: dir.to_owned(),
            state: Mutex::new(State { manifest, stored }),
        }
    }

    /// The manifest as it stands.
    pub(crate) fn current(&self) -> Manifest {
        self.state.lock().manifest.clone()
    }

    /// The checkpoints that this manifest and the one before it name.
    ///
    /// # Errors
    /// `Corrupted` where the one before cannot be read: then it may name any.
    pub(crate) fn named_checkpoints(&self) -> Result<Vec<Lsn>> {
        let state = self.state.lock();
        let older = read(&*self.vfs, &self.dir.join(OLD))?;
        let older = older.map(|(manifest, _)| manifest.checkpoint);
        Ok(older
            .into_iter()
            .chain([state.manifest.checkpoint])
            .collect())
    }

    /// An id that no segment had. An id that was given out is not given out again by this handle,
    /// but is known to the next open only once a stored manifest names its segment.
    pub(crate) fn reserve_segment(&self) -> u32 {
        let mut state = self.state.lock();
        let id = state.manifest.next_segment;
        state.manifest.next_segment = id.saturating_add(1);
        id
    }

    /// Reads again what another process may have replaced. For readers only: who makes changes knows.
    ///
    /// # Errors
    /// `Io`, `Corrupted`, `Version`: what was read before still stands.
    pub(crate) fn reload(&self) -> Result<()> {
        let path = self.dir.join(NAME);
        let Some((manifest, stored)) = read(&*self.vfs, &path)? else {
            let missing = io::Error::from(io::ErrorKind::NotFound);
            return Err(PulseDBError::io("open", path)(missing));
        };
        *self.state.lock() = State { manifest, stored };
        Ok(())
    }

    /// Makes a change durable. Changes come one after the other, in the order of their calls.
    pub(crate) fn update(&self, change: impl FnOnce(&mut Manifest)) -> Result<()> {
        let mut state = self.state.lock();
        let mut next = state.manifest.clone();
        change(&mut next);
        next.generation += 1;
        let bytes = next.encode();
        if !state.stored.is_empty() {
            self.replace(OLD_NEW, OLD, &state.stored)?;
        }
        self.replace(NEW, NAME, &bytes)?;
        self.vfs
            .sync_dir(&self.dir)
            .map_err(PulseDBError::io("sync", &self.dir))?;
        *state = State {
            manifest: next,
            stored: bytes,
        };
        Ok(())
    }

    /// Gives `bytes` the name `name`, by way of `unfinished`.
    fn replace(&self, unfinished: &str, name: &str, bytes: &[u8]) -> Result<()> {
        let path = self.dir.join(unfinished);
        let left_over = self
            .vfs
            .exists(&path)
            .map_err(PulseDBError::io("look for", &path))?;
        if left_over {
            self.vfs
                .remove(&path)
                .map_err(PulseDBError::io("remove", &path))?;
        }
        let file = self
            .vfs
            .open(&path, OpenMode::CreateNew)
            .map_err(PulseDBError::io("create", &path))?;
        file.write_all_at(bytes, 0)
            .map_err(PulseDBError::io("write", &path))?;
        file.sync_all().map_err(PulseDBError::io("sync", &path))?;
        self.vfs
            .rename(&path, &self.dir.join(name))
            .map_err(PulseDBError::io("rename", &path))
    }
}

/// A whole manifest and its bytes; `None` if there is no such file.
fn read(vfs: &dyn Vfs, path: &Path) -> Result<Option<(Manifest, Vec<u8>)>> {
    let file = match vfs.open(path, OpenMode::Read) {
        Ok(file) => file,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Err(error) => return Err(PulseDBError::io("open", path)(error)),
    };
    let len = file.len().map_err(PulseDBError::io("look at", path))?;
    if len > MAX_BYTES {
        return Err(PulseDBError::corrupted(
            path,
            0,
            format!("{len} bytes are too many for a manifest"),
        ));
    }
    let mut bytes = vec![0; len as usize];
    file.read_exact_at(&mut bytes, 0)
        .map_err(PulseDBError::io("read", path))?;
    match Manifest::decode(&bytes) {
        Ok(manifest) => Ok(Some((manifest, bytes))),
        Err(FileFault::Version { found }) => Err(PulseDBError::Version {
            found,
            supported: FORMAT_VERSION,
        }),
        Err(fault) => Err(PulseDBError::corrupted(path, 0, fault.to_string())),
    }
}
