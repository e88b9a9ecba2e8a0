//! Which row has this id?
//!
//! One index for all collectives, split into shards so that the committer's insert holds up few
//! readers. It may lie by excess, never by omission: an entry may point to a row that is deleted or
//! newer than the reader's snapshot; the row decides. Ids that a checkpoint holds are looked up there,
//! in place; the shards have those given since.

use std::collections::HashMap;

use crate::{
    format::Checkpoint,
    log::Place,
    sync::{Arc, RwLock},
};

/// A row and its collective.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RowRef {
    /// Number of the collective.
    pub collective: u32,
    /// Row number in it.
    pub row: u32,
}

/// What is known of an id.
#[derive(Clone, Copy, Debug)]
struct Entry {
    row: RowRef,
    /// Where the body was written. It fills what an entry would leave empty, and lets a point read ask for
    /// the body before it has seen the row: two waits for memory in the time of one.
    place: Place,
}

const SHARDS: usize = 64;

/// Ids of experiences and their rows.
#[derive(Debug)]
pub struct IdIndex {
    shards: Vec<RwLock<HashMap<u128, Entry, IdHashing>>>,
    base: Option<Arc<Checkpoint>>,
}

impl Default for IdIndex {
    fn default() -> Self {
        Self {
            shards: (0..SHARDS).map(|_| RwLock::default()).collect(),
            base: None,
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

    fn shard(&self, id: u128) -> Option<&RwLock<HashMap<u128, Entry, IdHashing>>> {
        // The low bits of a UUIDv7 are its random part.
        self.shards.get(id as usize % SHARDS)
    }

    /// The row that `id` was last given to.
    pub fn get(&self, id: u128) -> Option<RowRef> {
        self.find(id).map(|(row, _)| row)
    }

    /// The row that `id` was last given to, and where its body was written, as a hint.
    #[inline]
    pub fn find(&self, id: u128) -> Option<(RowRef, Place)> {
        let fresh = self.shard(id)?.read().get(&id).copied();
        if let Some(Entry { row, place }) = fresh {
            return Some((row, place));
        }
        let ((collective, row), (segment, unit)) = self.base.as_ref()?.find_id(id)?;
        Some((RowRef { collective, row }, Place { segment, unit }))
    }

    /// Points `id` to a row whose body stands at `place`.
    pub fn insert(&self, id: u128, row: RowRef, place: Place) {
        if let Some(shard) = self.shard(id) {
            shard.write().insert(id, Entry { row, place });
        }
    }

    /// Forgets `id` if it still points to `row`.
    pub fn remove(&self, id: u128, row: RowRef) {
        if let Some(shard) = self.shard(id) {
            let mut shard = shard.write();
            if shard.get(&id).is_some_and(|entry| entry.row == row) {
                shard.remove(&id);
            }
        }
    }

    /// Forgets every id of a collective, shard by shard.
    pub fn remove_collective(&self, collective: u32) {
        for shard in &self.shards {
            shard
                .write()
                .retain(|_, entry| entry.row.collective != collective);
        }
    }
}

/// Hashes an id by multiplying its two halves: ids are UUIDs of this database's own making or of
/// an import that the owner chose, not of an attacker, and lookups are on every hot path.
#[derive(Debug, Default, Clone, Copy)]
struct IdHashing;

impl std::hash::BuildHasher for IdHashing {
    type Hasher = IdHasher;
    fn build_hasher(&self) -> IdHasher {
        IdHasher(0)
    }
}

#[derive(Debug)]
struct IdHasher(u64);

/// 2⁶⁴ / φ, odd: the multiplier of Fibonacci hashing (Knuth, TAOCP 3, §6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

impl std::hash::Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(GOLDEN);
        }
    }

    fn write_u128(&mut self, id: u128) {
        let mixed = ((id >> 64) as u64).wrapping_mul(GOLDEN) ^ (id as u64);
        let mixed = mixed.wrapping_mul(GOLDEN);
        self.0 = mixed ^ (mixed >> 32);
    }
}
