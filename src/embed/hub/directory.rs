//! How does a directory of files become the model's, in one step?
//!
//! What is on its way stands beside the directory, under names made of its name, so that a rename within one file
//! system is the last step, and a lock there keeps everybody else from the same. Used by the module's walk and by
//! `transfer`.

use std::{
    fs::{self, File, TryLockError},
    io::{self, ErrorKind},
    path::{Path, PathBuf},
};

use super::FILES;
use crate::error::{PulseDBError, Result};

/// What stands beside `path`, called as it is but for what is added.
pub(super) fn with_added(path: &Path, added: &str) -> PathBuf {
    let mut name = path.file_name().unwrap_or_default().to_owned();
    name.push(added);
    path.with_file_name(name)
}

/// The directory that `path` is in.
pub(super) fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Where the tag of a file stands while it comes.
pub(super) fn tag_of(path: &Path) -> PathBuf {
    with_added(path, ".etag")
}

/// Waits for whoever downloads the same. The lock goes with the file that is answered, or with the process.
pub(super) fn locked(path: &Path) -> Result<File> {
    let dir = parent(path);
    fs::create_dir_all(dir).map_err(PulseDBError::io("create", dir))?;
    let options = File::options()
        .write(true)
        .create(true)
        .truncate(false)
        .open(path);
    let file = options.map_err(PulseDBError::io("open", path))?;
    match file.try_lock() {
        Ok(()) => {}
        Err(TryLockError::WouldBlock) => {
            tracing::info!(lock = %path.display(), "somebody else downloads the model; waiting");
            file.lock().map_err(PulseDBError::io("lock", path))?;
        }
        Err(TryLockError::Error(error)) => return Err(PulseDBError::io("lock", path)(error)),
    }
    Ok(file)
}

/// Gives the directory of arrived and synced files its name.
pub(super) fn settle(part: &Path, dir: &Path) -> Result<()> {
    for file in FILES {
        let path = part.join(file.name);
        let (tag, holder) = (tag_of(&path), parent(&path));
        absent(fs::remove_file(&tag)).map_err(PulseDBError::io("remove", &tag))?;
        absent(sync_dir(holder)).map_err(PulseDBError::io("sync", holder))?;
    }
    // Not every system renames onto an empty directory.
    absent(fs::remove_dir(dir)).map_err(PulseDBError::io("remove", dir))?;
    fs::rename(part, dir).map_err(PulseDBError::io("rename", part))?;
    sync_dir(parent(dir)).map_err(PulseDBError::io("sync", parent(dir)))
}

/// Makes the names in a directory durable, where directories can be opened.
fn sync_dir(dir: &Path) -> io::Result<()> {
    match cfg!(unix) {
        true => File::open(dir)?.sync_all(),
        false => Ok(()),
    }
}

/// Nothing is as good as something that was removed.
pub(super) fn absent(done: io::Result<()>) -> io::Result<()> {
    match done {
        Err(error) if error.kind() == ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
