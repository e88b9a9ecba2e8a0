//! Which row has this idempotency key?
//!
//! Keys given since the open in two maps under one lock, which the committer takes for a moment; those
//! of a checkpoint in place. May lie by excess, never by omission: a row that is found may be deleted,
//! and the row decides. The key of a row stays known until nobody can see the row any more, so that a
//! checkpoint of an older snapshot finds it even where the key was given again.

use std::collections::HashMap;

use crate::{
    format::Checkpoint,
    state::ids::RowRef,
    sync::{Arc, Mutex},
};

/// Idempotency keys and their rows.
#[derive(Debug, Default)]
pub struct KeyIndex {
    fresh: Mutex<Fresh>,
    base: Option<Arc<Checkpoint>>,
}

/// What was given since the open.
#[derive(Debug, Default)]
struct Fresh {
    rows: HashMap<(u32, Arc<str>), RowRef>,
    keys: HashMap<RowRef, Arc<str>>,
}

impl KeyIndex {
    /// The keys of a checkpoint.
    #[must_use]
    pub fn over(base: Arc<Checkpoint>) -> Self {
        Self {
            base: Some(base),
            ..Self::default()
        }
    }

    /// The row that the key was last given to.
    pub fn get(&self, collective: u32, key: &Arc<str>) -> Option<RowRef> {
        let fresh = self.fresh.lock();
        if let Some(at) = fresh.rows.get(&(collective, Arc::clone(key))) {
            return Some(*at);
        }
        drop(fresh);
        let row = self.base.as_ref()?.find_key(collective, key)?;
        Some(RowRef { collective, row })
    }

    /// The key of a row that somebody can see.
    pub fn key_of(&self, at: RowRef) -> Option<Arc<str>> {
        if let Some(key) = self.fresh.lock().keys.get(&at) {
            return Some(Arc::clone(key));
        }
        let key = self.base.as_ref()?.key_of(at.collective, at.row)?;
        Some(key.into())
    }

    /// Gives a key to a row. For the committer.
    pub(super) fn insert(&self, at: RowRef, key: Arc<str>) {
        let mut fresh = self.fresh.lock();
        fresh.rows.insert((at.collective, Arc::clone(&key)), at);
        fresh.keys.insert(at, key);
    }

    /// Forgets the key of a row that nobody can see any more. For the committer.
    pub(super) fn remove(&self, at: RowRef) {
        let mut fresh = self.fresh.lock();
        if let Some(key) = fresh.keys.remove(&at) {
            let key = (at.collective, key);
            if fresh.rows.get(&key) == Some(&at) {
                fresh.rows.remove(&key);
            }
        }
    }

    /// Forgets the keys of a collective that nobody can see any more. For the committer.
    pub(super) fn remove_collective(&self, number: u32) {
        let mut fresh = self.fresh.lock();
        fresh
            .rows
            .retain(|(collective, _), _| *collective != number);
        fresh.keys.retain(|at, _| at.collective != number);
    }
}
