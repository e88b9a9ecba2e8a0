//! Where do the files under test live, and who cleans up after a contender?
//!
//! Every contender gets an empty folder. Afterwards it is removed and the system's dirty pages are written,
//! so that one contender's write-back is not part of the next one's time.

use std::{
    fs,
    path::{Path, PathBuf},
};

use anyhow::{Context, Result};

/// The folder that all contenders of a bench use in turn.
pub(crate) struct WorkDir {
    run: PathBuf,
}

impl WorkDir {
    pub(crate) fn new(dir: &Path) -> Result<Self> {
        let run = dir.join("run");
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        remove(&run)?;
        rustix::fs::sync();
        Ok(Self { run })
    }

    /// Runs one contender in an empty folder.
    pub(crate) fn with<T>(&self, contender: impl FnOnce(&Path) -> Result<T>) -> Result<T> {
        fs::create_dir_all(&self.run).with_context(|| self.run.display().to_string())?;
        let outcome = contender(&self.run);
        remove(&self.run)?;
        rustix::fs::sync();
        outcome
    }
}

impl Drop for WorkDir {
    fn drop(&mut self) {
        // What cannot be removed now is removed by the next run.
        let _ = remove(&self.run);
    }
}

fn remove(dir: &Path) -> Result<()> {
    match fs::remove_dir_all(dir) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => {
            Err(error).with_context(|| dir.display().to_string())
        }
        _ => Ok(()),
    }
}
