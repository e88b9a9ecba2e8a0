//! What is in a repository of backups?
//!
//! Manifests are whole or unreadable, never half: one is written beside, synced, renamed, and the directory
//! synced, when all of its pieces are durable. Pieces that no manifest names, and files on their way, are what
//! an interrupted backup left: they mean nothing, and the next one to work here removes them. Unless a
//! manifest cannot be read: then nobody knows which pieces it needs, and all stay.

use std::{
    collections::HashSet,
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::Medium;
use crate::{
    error::{PulseDBError, Result},
    format::{BackupFault, BackupManifest, BackupPiece, FORMAT_VERSION},
    model::{BackupId, BackupList},
    vfs::{LOCK, OpenMode, VfsFile, VfsLock, create_dir, lock_dir},
};

const PIECES: &str = "pieces";
const SUFFIX: &str = ".backup";
const UNFINISHED: &str = ".tmp";
/// A manifest of this size would name hundreds of thousands of pieces.
const MAX_MANIFEST_BYTES: u64 = 64 * 1024 * 1024;

/// A repository of backups.
#[derive(Clone, Debug)]
pub(crate) struct Repository {
    pub(super) medium: Medium,
    dir: PathBuf,
}

/// The manifests of a repository.
#[derive(Debug, Default)]
pub(super) struct Manifests {
    /// Those that can be read, the oldest first.
    pub(super) readable: Vec<BackupManifest>,
    /// Files that cannot be read, and why.
    pub(super) unreadable: Vec<(PathBuf, String)>,
}

impl Repository {
    /// The one in the directory `dir`, which need not exist.
    pub(crate) fn new(medium: Medium, dir: PathBuf) -> Self {
        Self { medium, dir }
    }

    /// Where the pieces are.
    pub(super) fn pieces(&self) -> PathBuf {
        self.dir.join(PIECES)
    }

    /// The file of a piece.
    pub(super) fn piece_path(&self, piece: &BackupPiece) -> PathBuf {
        self.pieces().join(piece.file_name())
    }

    /// A name for a piece on its way.
    pub(super) fn unfinished_piece(&self) -> PathBuf {
        self.pieces().join(format!("next{UNFINISHED}"))
    }

    fn manifest_path(&self, id: BackupId) -> PathBuf {
        self.dir.join(format!("{id}{SUFFIX}"))
    }

    /// Makes the directories, where they are missing, and keeps others from changing anything in them.
    ///
    /// # Errors
    /// `Config` for a directory of something else; `Locked` while somebody else makes or removes backups.
    pub(super) fn lock(&self) -> Result<Box<dyn VfsLock>> {
        create_dir(&*self.medium.vfs, &self.dir)?;
        if let Some(foreign) = self.names()?.into_iter().find(|name| !is_ours(name)) {
            return Err(PulseDBError::config(
                "dir",
                format!(
                    "{} holds {foreign}, so it is no repository of backups; name another directory",
                    self.dir.display()
                ),
            ));
        }
        create_dir(&*self.medium.vfs, &self.pieces())?;
        lock_dir(&*self.medium.vfs, &self.dir)
    }

    /// What lists show.
    ///
    /// # Errors
    /// `Io` where there is no such directory.
    pub(crate) fn list(&self) -> Result<BackupList> {
        let found = self.manifests()?;
        Ok(BackupList {
            backups: found.readable.into_iter().map(|one| one.info).collect(),
            unreadable: found.unreadable,
        })
    }

    /// All manifests.
    pub(super) fn manifests(&self) -> Result<Manifests> {
        let mut found = Manifests::default();
        for name in self.names()? {
            let Some(id) = backup_id(&name) else { continue };
            match self.manifest(id) {
                Ok(manifest) => found.readable.push(manifest),
                Err(PulseDBError::Corrupted { file, what, .. }) => {
                    found.unreadable.push((file, what));
                }
                Err(error @ PulseDBError::Version { .. }) => {
                    found
                        .unreadable
                        .push((self.manifest_path(id), error.to_string()));
                }
                Err(error) => return Err(error),
            }
        }
        found.readable.sort_by_key(|manifest| manifest.info.id);
        Ok(found)
    }

    /// The manifest of one backup.
    ///
    /// # Errors
    /// `Validation` where there is none, `Corrupted` where it is not what was written, `Version` where a
    /// newer build wrote it.
    pub(super) fn manifest(&self, id: BackupId) -> Result<BackupManifest> {
        let path = self.manifest_path(id);
        let file = match self.medium.vfs.open(&path, OpenMode::Read) {
            Ok(file) => file,
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let limit = format!("{} holds no such backup", self.dir.display());
                return Err(PulseDBError::validation("backup", id, limit));
            }
            Err(error) => return Err(PulseDBError::io("open", &path)(error)),
        };
        let len = file.len().map_err(PulseDBError::io("look at", &path))?;
        if len > MAX_MANIFEST_BYTES {
            let what = format!("{len} bytes are too many for a manifest");
            return Err(PulseDBError::corrupted(path, 0, what));
        }
        let mut bytes = vec![0; len as usize];
        if let Err(error) = file.read_exact_at(&mut bytes, 0) {
            let what = format!("it cannot be read: {error}");
            return Err(PulseDBError::corrupted(path, 0, what));
        }
        match BackupManifest::decode(&bytes) {
            Ok(manifest) if manifest.info.id == id => Ok(manifest),
            Ok(manifest) => {
                let what = format!("it is the manifest of backup {}", manifest.info.id);
                Err(PulseDBError::corrupted(path, 0, what))
            }
            Err(BackupFault::Version { found }) => Err(PulseDBError::Version {
                found,
                supported: FORMAT_VERSION,
            }),
            Err(fault) => Err(PulseDBError::corrupted(path, 0, fault.to_string())),
        }
    }

    /// Lets a backup count, all of whose pieces are durable under their names.
    pub(super) fn publish(&self, manifest: &BackupManifest) -> Result<()> {
        let text = manifest
            .encode()
            .map_err(|fault| PulseDBError::conflict(format!("the manifest: {fault}")))?;
        let pieces = self.pieces();
        let vfs = &*self.medium.vfs;
        vfs.sync_dir(&pieces)
            .map_err(PulseDBError::io("sync", &pieces))?;
        let path = self.manifest_path(manifest.info.id);
        let unfinished = self.dir.join(format!("{}{UNFINISHED}", manifest.info.id));
        let file = self.create(&unfinished)?;
        file.write_all_at(text.as_bytes(), 0)
            .map_err(PulseDBError::io("write", &unfinished))?;
        file.sync_all()
            .map_err(PulseDBError::io("sync", &unfinished))?;
        vfs.rename(&unfinished, &path)
            .map_err(PulseDBError::io("rename", &unfinished))?;
        vfs.sync_dir(&self.dir)
            .map_err(PulseDBError::io("sync", &self.dir))
    }

    /// A new file.
    pub(super) fn create(&self, path: &Path) -> Result<Arc<dyn VfsFile>> {
        self.medium
            .vfs
            .open(path, OpenMode::CreateNew)
            .map_err(PulseDBError::io("create", path))
    }

    /// Removes a backup. Its pieces stay until [`Repository::sweep`].
    pub(super) fn remove_manifest(&self, id: BackupId) -> Result<()> {
        let path = self.manifest_path(id);
        self.medium
            .vfs
            .remove(&path)
            .map_err(PulseDBError::io("remove", &path))
    }

    /// Removes what no backup needs; answers how many pieces that were, and their bytes. For the holder of
    /// the lock.
    pub(super) fn sweep(&self, manifests: &Manifests) -> Result<(u64, u64)> {
        let vfs = &*self.medium.vfs;
        for name in self.names()? {
            if name.ends_with(UNFINISHED) {
                let path = self.dir.join(name);
                vfs.remove(&path)
                    .map_err(PulseDBError::io("remove", &path))?;
            }
        }
        // A manifest whose removal is not durable would come back without its pieces.
        vfs.sync_dir(&self.dir)
            .map_err(PulseDBError::io("sync", &self.dir))?;
        let segments = manifests.readable.iter().flat_map(|one| &one.segments);
        let pieces = segments.flat_map(|segment| &segment.pieces);
        let needed: HashSet<String> = pieces.map(BackupPiece::file_name).collect();
        let dir = self.pieces();
        let (mut removed, mut bytes) = (0, 0);
        for name in vfs.list(&dir).map_err(PulseDBError::io("list", &dir))? {
            let unfinished = name.ends_with(UNFINISHED);
            let unneeded = manifests.unreadable.is_empty() && !needed.contains(&name);
            if unfinished || unneeded {
                let path = dir.join(name);
                let file = vfs
                    .open(&path, OpenMode::Read)
                    .map_err(PulseDBError::io("open", &path))?;
                bytes += file.len().map_err(PulseDBError::io("look at", &path))?;
                vfs.remove(&path)
                    .map_err(PulseDBError::io("remove", &path))?;
                removed += 1;
            }
        }
        Ok((removed, bytes))
    }

    fn names(&self) -> Result<Vec<String>> {
        let listed = self.medium.vfs.list(&self.dir);
        listed.map_err(PulseDBError::io("list", &self.dir))
    }
}

/// Is this a name that a repository gives?
fn is_ours(name: &str) -> bool {
    let is_unfinished = |name: &str| {
        let id = name.strip_suffix(UNFINISHED);
        id.is_some_and(|id| id.parse::<BackupId>().is_ok())
    };
    name == LOCK || backup_id(name).is_some() || is_unfinished(name)
}

/// The backup whose manifest has this name.
fn backup_id(name: &str) -> Option<BackupId> {
    let id: BackupId = name.strip_suffix(SUFFIX)?.parse().ok()?;
    (format!("{id}{SUFFIX}") == name).then_some(id)
}
