//! How far may other processes read?
//!
//! `TAIL` holds the newest durable LSN and its timeline. It is overwritten in place after each sync
//! of the log and never synced itself: it may be lost or stale, never ahead of the log.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{PulseDBError, Result},
    format::{TAIL_LEN, Tail},
    vfs::{OpenMode, Vfs, VfsFile},
};

/// The file, in the database's directory.
pub(crate) const TAIL_FILE: &str = "TAIL";

/// The open file, for the writer.
#[derive(Debug)]
pub(crate) struct TailFile {
    path: PathBuf,
    file: Arc<dyn VfsFile>,
}

impl TailFile {
    /// Opens the file in the database directory `db`, or makes it.
    pub(crate) fn open(vfs: &dyn Vfs, db: &Path) -> Result<Self> {
        let path = db.join(TAIL_FILE);
        let mode = match vfs.exists(&path) {
            Ok(true) => OpenMode::Write,
            Ok(false) => OpenMode::CreateNew,
            Err(error) => return Err(PulseDBError::io("look for", &path)(error)),
        };
        let file = vfs
            .open(&path, mode)
            .map_err(PulseDBError::io("open", &path))?;
        Ok(Self { path, file })
    }

    /// Overwrites what it says.
    pub(crate) fn write(&self, tail: Tail) -> Result<()> {
        self.file
            .write_all_at(&tail.encode(), 0)
            .map_err(PulseDBError::io("write", &self.path))
    }
}

/// Is `name`, in a database directory, the file of this module?
pub(crate) fn is_tail_file(name: &str) -> bool {
    name == TAIL_FILE
}

/// The open file, for a reader that looks often.
#[derive(Debug)]
pub(crate) struct TailReader {
    path: PathBuf,
    file: Option<Arc<dyn VfsFile>>,
}

impl TailReader {
    /// Of the database directory `db`; opens nothing yet.
    pub(crate) fn new(db: &Path) -> Self {
        Self {
            path: db.join(TAIL_FILE),
            file: None,
        }
    }

    /// What it says; `None` if there is nothing that can be believed. `anew`: opens it again, since the
    /// file of that name may be another one now.
    pub(crate) fn read(&mut self, vfs: &dyn Vfs, anew: bool) -> Option<Tail> {
        if anew || self.file.is_none() {
            self.file = vfs.open(&self.path, OpenMode::Read).ok();
        }
        let file = self.file.as_ref()?;
        // Another process overwrites it while it is read, so that one look may see half of each.
        for _ in 0..3 {
            let mut bytes = [0; TAIL_LEN];
            file.read_exact_at(&mut bytes, 0).ok()?;
            if let Ok(tail) = Tail::decode(&bytes) {
                return Some(tail);
            }
        }
        None
    }
}

/// What `TAIL` in the database directory `db` says; `None` if there is nothing that can be believed.
pub(crate) fn read_tail(vfs: &dyn Vfs, db: &Path) -> Option<Tail> {
    TailReader::new(db).read(vfs, true)
}

/// Is there a `TAIL` that cannot be believed? Nothing is lost by that: readers wait for the next one.
pub(crate) fn is_tail_damaged(vfs: &dyn Vfs, db: &Path) -> bool {
    vfs.exists(&db.join(TAIL_FILE)).unwrap_or(false) && read_tail(vfs, db).is_none()
}
