//! How is a directory made so that a crash does not take it back, and how is it kept from others?
//!
//! The names of all that were missing are synced in their parents. For the flows that write databases and
//! repositories of backups.

use std::path::Path;

use super::{LockError, Vfs, VfsLock};
use crate::error::{PulseDBError, Result};

/// The lease of whoever writes in a directory.
pub(crate) const LOCK: &str = "LOCK";

/// Takes the lease of a directory.
///
/// # Errors
/// `Locked` where somebody else has it.
pub(crate) fn lock_dir(vfs: &dyn Vfs, dir: &Path) -> Result<Box<dyn VfsLock>> {
    let path = dir.join(LOCK);
    vfs.lock(&path).map_err(|error| match error {
        LockError::Held { pid } => PulseDBError::Locked {
            pid,
            path: dir.to_owned(),
        },
        LockError::Io(error) => PulseDBError::io("lock", path)(error),
    })
}

/// Makes a directory and the parents it lacks, durably.
pub(crate) fn create_dir(vfs: &dyn Vfs, dir: &Path) -> Result<()> {
    let mut missing = Vec::new();
    for ancestor in dir.ancestors() {
        let exists = ancestor.as_os_str().is_empty()
            || vfs
                .exists(ancestor)
                .map_err(PulseDBError::io("look for", ancestor))?;
        if exists {
            break;
        }
        missing.push(ancestor);
    }
    if missing.is_empty() {
        return Ok(());
    }
    vfs.create_dir_all(dir)
        .map_err(PulseDBError::io("create", dir))?;
    for parent in missing.into_iter().filter_map(Path::parent) {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        vfs.sync_dir(parent)
            .map_err(PulseDBError::io("sync", parent))?;
    }
    Ok(())
}
