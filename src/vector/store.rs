//! Which files do graphs live in, and how does one appear whole or not at all?
//!
//! `index/<collective>-<last lsn>.hnsw`, written beside under another name, synced, renamed, the
//! directory synced, mapped, and never touched again until it is removed; a map outlives its name.
//! Everything here is derived: a file that is missing costs time, never answers.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{PulseDBError, Result},
    format::Covered,
    vfs::{Map, OpenMode, Vfs, VfsFile},
};

/// The directory of graph files, in the database's.
const DIR: &str = "index";
/// How graph files end.
const SUFFIX: &str = ".hnsw";
/// How files end that are being written.
const UNFINISHED: &str = ".new";
/// Bytes handed to the system at a time.
const WRITE_BYTES: usize = 4 << 20;

/// The graph files of a database.
#[derive(Debug)]
pub struct GraphFiles {
    vfs: Arc<dyn Vfs>,
    dir: PathBuf,
}

impl GraphFiles {
    /// The graph files of the database in `path`.
    #[must_use]
    pub fn new(vfs: Arc<dyn Vfs>, path: &Path) -> Self {
        Self {
            vfs,
            dir: path.join(DIR),
        }
    }

    /// The path of a file.
    #[must_use]
    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.join(name)
    }

    /// The names of the files, finished or not.
    pub fn list(&self) -> Result<Vec<String>> {
        if !self.vfs.exists(&self.dir).map_err(self.io("look for"))? {
            return Ok(Vec::new());
        }
        let mut names = self.vfs.list(&self.dir).map_err(self.io("list"))?;
        names.retain(|name| {
            name.strip_suffix(UNFINISHED)
                .unwrap_or(name)
                .ends_with(SUFFIX)
        });
        Ok(names)
    }

    /// Whether a file of this name holds a finished graph.
    #[must_use]
    pub fn is_finished(name: &str) -> bool {
        name.ends_with(SUFFIX)
    }

    /// Opens a file, to be read with pread.
    pub fn open(&self, name: &str) -> Result<Arc<dyn VfsFile>> {
        let path = self.path(name);
        (self.vfs.open(&path, OpenMode::Read)).map_err(PulseDBError::io("open", &path))
    }

    /// Maps a whole file.
    pub fn map(&self, name: &str) -> Result<Map> {
        let path = self.path(name);
        let map = || {
            let file = self.vfs.open(&path, OpenMode::Read)?;
            file.map(file.len()?)
        };
        map().map_err(PulseDBError::io("map", &path))
    }

    /// What the file of such a graph is called.
    #[must_use]
    pub fn name(covered: &Covered) -> String {
        format!("{}-{}{SUFFIX}", covered.collective, covered.last_lsn)
    }

    /// Writes the file of a graph, in the place of one of the same name, and maps it.
    pub fn write(&self, name: &str, bytes: &[u8]) -> Result<Map> {
        let path = self.path(name);
        let unfinished = self.path(&format!("{name}{UNFINISHED}"));
        let write = || {
            self.vfs.create_dir_all(&self.dir)?;
            if self.vfs.exists(&unfinished)? {
                self.vfs.remove(&unfinished)?;
            }
            let file = self.vfs.open(&unfinished, OpenMode::CreateNew)?;
            let mut at = 0;
            for part in bytes.chunks(WRITE_BYTES) {
                file.write_all_at(part, at)?;
                at += part.len() as u64;
            }
            file.sync_all()?;
            self.vfs.rename(&unfinished, &path)?;
            self.vfs.sync_dir(&self.dir)?;
            file.map(at)
        };
        match write() {
            Ok(map) => Ok(map),
            Err(error) => {
                // It may not be there; either way nobody reads it.
                let _ = self.vfs.remove(&unfinished);
                Err(PulseDBError::io("write", &path)(error))
            }
        }
    }

    /// Removes a file that is not needed any more. That it stays where that fails costs space until
    /// the next open.
    pub fn remove(&self, name: &str) {
        if let Err(error) = self.vfs.remove(&self.path(name)) {
            tracing::warn!(%error, name, "a graph file that is not needed could not be removed");
        }
    }

    fn io(&self, what: &'static str) -> impl FnOnce(std::io::Error) -> PulseDBError {
        PulseDBError::io(what, &self.dir)
    }
}
