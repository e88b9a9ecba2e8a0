//! What becomes of a segment's file that nobody reads any more?
//!
//! It is removed, or it becomes a spare with written blocks, which is twice as fast to sync into. The
//! latter only if no reader in another process maps it, which an exclusive lock proves, and no other
//! name leads to its bytes, as that of a backup would. An erasure takes the names of all of them at once: who
//! still reads one reads a file without a name, whose bytes go with its last reader.

use std::path::Path;

use crate::{log::Mapped, sync::Arc};

use super::Compactor;

impl Compactor {
    /// Lets go of the files whose last reader is gone.
    pub(crate) fn let_go(&self) {
        for mapped in self.retired.empty() {
            self.let_go_of(mapped);
        }
    }

    /// Lets go of what is retired now, and leaves later ones to their last readers and the next open.
    pub(crate) fn end(&self) {
        // Nobody begins another one, since the committer has stopped.
        let _last = self.working.lock();
        for mapped in self.retired.close() {
            self.let_go_of(mapped);
        }
    }

    fn let_go_of(&self, mapped: Arc<Mapped>) {
        let path = mapped.path.clone();
        // Unmapped, and its shared lock with it.
        drop(mapped);
        // Held to the end: an erasure must not find a file neither here nor in the pool.
        let mut named = self.named.lock();
        let adopted = || self.pool.as_ref().is_some_and(|pool| pool.adopt(&path));
        if named.remove(&path) && !adopted() {
            self.remove_retired(&path);
        }
    }

    /// Removes all retired files and all spares, whoever still reads them.
    pub(super) fn remove_all_retired(&self) {
        let mut named = self.named.lock();
        for path in std::mem::take(&mut *named) {
            self.remove_retired(&path);
        }
        if let Some(pool) = &self.pool {
            pool.clear();
        }
    }

    pub(super) fn remove_retired(&self, path: &Path) {
        if let Err(error) = self.vfs.remove(path) {
            tracing::warn!(%error, path = %path.display(), "an old segment could not be removed");
        }
    }
}
