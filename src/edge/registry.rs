//! Is this database open in this process, or just ending?
//!
//! Dropping the last handle never waits; the committer drains in the background and releases the
//! writer lock last. An open of the same path waits for exactly that, instead of finding a lock
//! that its own process holds.

use std::{
    collections::HashMap,
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;

use crate::{error::Result, protocol::stop::Latch};

type Ending = HashMap<PathBuf, Arc<Latch<Result<()>>>>;

static ENDING: Mutex<Option<Ending>> = Mutex::new(None);

/// Announces that the database at `path` is ending; the latch opens when it has ended.
pub fn announce_end(path: &Path, ended: Arc<Latch<Result<()>>>) {
    let mut ending = ENDING.lock();
    let ending = ending.get_or_insert_default();
    ending.retain(|_, latch| latch.get().is_none());
    ending.insert(path.to_owned(), ended);
}

/// Waits until no database at `path` is ending in this process.
pub async fn wait_for_end(path: &Path) {
    let latch = ENDING
        .lock()
        .as_ref()
        .and_then(|ending| ending.get(path).cloned());
    if let Some(latch) = latch {
        // However it ended: the files are free now.
        let _ = latch.wait().await;
    }
}
