//! How does something that changes keep the versions that snapshots still need?
//!
//! A chain of immutable entries, newest first, behind one cell. The committer pushes; readers walk
//! to the newest entry at or below their LSN. A push drops every entry that no live snapshot can
//! see: of those at or below the horizon (the oldest live snapshot) only the newest stays.

use crate::{
    model::Lsn,
    sync::{Arc, Swap},
};

/// One version.
#[derive(Debug)]
pub struct Entry<T> {
    /// Since when it holds.
    pub lsn: Lsn,
    /// The value.
    pub value: T,
    previous: Option<Arc<Entry<T>>>,
}

/// All versions that are still needed.
#[derive(Debug)]
pub struct Chain<T>(Swap<Entry<T>>);

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Self(Swap::new(None))
    }
}

impl<T: Clone> Chain<T> {
    /// Whether nothing was ever pushed.
    pub fn is_empty(&self) -> bool {
        self.0.with(|newest| newest.is_none())
    }

    /// The newest version at or below `lsn`.
    pub fn at<R>(&self, lsn: Lsn, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.with(|newest| {
            let mut entry = newest.map(Arc::as_ref);
            while let Some(version) = entry {
                if version.lsn <= lsn {
                    return Some(look(&version.value));
                }
                entry = version.previous.as_deref();
            }
            None
        })
    }

    /// Adds the newest version, and drops what nobody at or above `horizon` can see.
    pub fn push(&self, lsn: Lsn, value: T, horizon: Lsn) {
        let previous = self.0.load().and_then(|newest| trimmed(newest, horizon));
        self.0.store(Some(Arc::new(Entry {
            lsn,
            value,
            previous,
        })));
    }
}

/// The chain from `newest` on, cut behind the first entry at or below the horizon.
fn trimmed<T: Clone>(newest: Arc<Entry<T>>, horizon: Lsn) -> Option<Arc<Entry<T>>> {
    let mut kept = Vec::new();
    let mut entry = Some(&newest);
    while let Some(version) = entry {
        kept.push(version);
        if version.lsn <= horizon {
            // Nothing to cut: share the chain as it is.
            version.previous.as_ref()?;
            break;
        }
        entry = version.previous.as_ref();
    }
    let mut rebuilt = None;
    for version in kept.into_iter().rev() {
        rebuilt = Some(Arc::new(Entry {
            lsn: version.lsn,
            value: version.value.clone(),
            previous: rebuilt,
        }));
    }
    rebuilt
}

impl<T> Drop for Entry<T> {
    /// A long chain (an old snapshot was held) is dropped in a loop, not by recursion.
    fn drop(&mut self) {
        let mut next = self.previous.take();
        while let Some(entry) = next {
            match Arc::into_inner(entry) {
                Some(mut owned) => next = owned.previous.take(),
                None => break,
            }
        }
    }
}
