//! Which row has this id?
//!
//! One index for all collectives, split into shards so that the committer's insert holds up few
//! readers. It may lie by excess, never by omission: an entry may point to a row that is deleted or
//! newer than the reader's snapshot; the row decides. Ids that a checkpoint holds are looked up there,
//! in place; the shards have those given since.

use std::collections::{HashMap, hash_map::Entry};

use crate::{
    format::{Checkpoint, collective_of},
    log::Place,
    state::id_map::IdMap,
    sync::{Arc, Mutex, RwLock},
};

/// A row and its table.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowRef {
    /// Number of the table; that of the collective where the row is an experience.
    pub collective: u32,
    /// Row number in it.
    pub row: u32,
}

const SHARDS: usize = 64;

/// Ids of experiences, relations and insights, and their rows.
#[derive(Debug)]
pub struct IdIndex {
    shards: Vec<RwLock<IdMap>>,
    base: Option<Arc<Checkpoint>>,
    /// Rows that had an id before it was given to another row, because an experience that was deleted
    /// was imported again: older snapshots see them. Nearly always empty.
    former: Mutex<HashMap<u128, Vec<RowRef>>>,
}

impl Default for IdIndex {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            base: None,
            former: Mutex::default(),
        }
    }
}

impl IdIndex {
    /// The ids of a checkpoint.
    #[must_use]
    pub fn over(base: Arc<Checkpoint>) -> Self {
        Self {
            base: Some(base),
            ..Self::default()
        }
    }

    fn shard(&self, id: u128) -> Option<&RwLock<IdMap>> {
        // The low bits of a UUIDv7 are its random part.
        self.shards.get(id as usize % SHARDS)
    }

    /// Asks the CPU for what [`IdIndex::find`] looks at first: for callers who have something else to do
    /// meanwhile.
    pub fn prefetch(&self, id: u128) {
        if let Some(shard) = self.shard(id) {
            shard.read().prefetch(id);
        }
    }

    /// The row that `id` was last given to.
    pub fn get(&self, id: u128) -> Option<RowRef> {
        self.find(id).map(|(row, _)| row)
    }

    /// The row that `id` was last given to, and where its body was written, as a hint.
    #[inline]
    pub fn find(&self, id: u128) -> Option<(RowRef, Place)> {
        if let Some(fresh) = self.shard(id)?.read().get(id) {
            return Some((fresh.row, fresh.place));
        }
        let ((collective, row), (segment, unit)) = self.base.as_ref()?.find_id(id)?;
        Some((RowRef { collective, row }, Place { segment, unit }))
    }

    /// The rows that had `id` before the one that it was last given to, as far as somebody may see them.
    pub fn former(&self, id: u128) -> Vec<RowRef> {
        let fresh = self.former.lock().get(&id).cloned().unwrap_or_default();
        let base = self.base.iter().flat_map(|base| base.find_ids(id));
        let base = base.map(|((collective, row), _)| RowRef { collective, row });
        fresh.into_iter().chain(base).collect()
    }

    /// Points `id` to a row whose body stands at `place`.
    pub fn insert(&self, id: u128, row: RowRef, place: Place) {
        let Some(shard) = self.shard(id) else { return };
        let mut shard = shard.write();
        if let Some(former) = shard.insert(id, row, place) {
            self.former.lock().entry(id).or_default().push(former);
        }
    }

    /// Forgets `id` if it still points to `row`.
    pub fn remove(&self, id: u128, row: RowRef) {
        if let Some(shard) = self.shard(id) {
            let mut shard = shard.write();
            if shard.get(id).is_some_and(|entry| entry.row == row) {
                shard.remove(id);
            } else if let Entry::Occupied(mut former) = self.former.lock().entry(id) {
                former.get_mut().retain(|former| *former != row);
                if former.get().is_empty() {
                    former.remove();
                }
            }
        }
    }

    /// Forgets every id of a collective, shard by shard.
    pub fn remove_collective(&self, collective: u32) {
        for shard in &self.shards {
            shard
                .write()
                .retain(|row| collective_of(row.collective) != collective);
        }
        self.former.lock().retain(|_, rows| {
            rows.retain(|row| collective_of(row.collective) != collective);
            !rows.is_empty()
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::format::RowKind;

    #[test]
    fn a_collective_takes_the_former_rows_of_all_its_tables_along() {
        let ids = IdIndex::default();
        let at = |collective, row| RowRef { collective, row };
        for (id, collective) in [(1, 7), (2, RowKind::Relation.table(7)), (3, 8)] {
            ids.insert(id, at(collective, 0), Place::NOWHERE);
            ids.insert(id, at(collective, 1), Place::NOWHERE);
            assert_eq!(ids.former(id), [at(collective, 0)]);
        }
        ids.remove_collective(7);
        assert!(ids.former(1).is_empty());
        assert!(ids.former(2).is_empty());
        assert_eq!(ids.former(3), [at(8, 0)]);
    }
}
