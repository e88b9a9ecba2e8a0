//! Which row has this id?
//!
//! One index for all collectives, split into shards so that the committer's insert holds up few
//! readers. It may lie by excess, never by omission: an entry may point to a row that is deleted or
//! newer than the reader's snapshot; the row decides. Ids that a checkpoint holds are looked up there,
//! in place; the shards have those given since.

use std::collections::HashMap;

use crate::{
    format::Checkpoint,
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

const SHARDS: usize = 64;

/// Ids of experiences and their rows.
#[derive(Debug)]
pub struct IdIndex {
    shards: Vec<RwLock<HashMap<u128, RowRef, IdHashing>>>,
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

    fn shard(&self, id: u128) -> Option<&RwLock<HashMap<u128, RowRef, IdHashing>>> {
        // The low bits of a UUIDv7 are its random part.
        self.shards.get(id as usize % SHARDS)
    }

    /// The row that `id` was last given to.
    pub fn get(&self, id: u128) -> Option<RowRef> {
        let fresh = self.shard(id)?.read().get(&id).copied();
        fresh.or_else(|| {
            let (collective, row) = self.base.as_ref()?.find_id(id)?;
            Some(RowRef { collective, row })
        })
    }

    /// Points `id` to a row.
    pub fn insert(&self, id: u128, row: RowRef) {
        if let Some(shard) = self.shard(id) {
            shard.write().insert(id, row);
        }
    }

    /// Forgets `id` if it still points to `row`.
    pub fn remove(&self, id: u128, row: RowRef) {
        if let Some(shard) = self.shard(id) {
            let mut shard = shard.write();
            if shard.get(&id) == Some(&row) {
                shard.remove(&id);
            }
        }
    }

    /// Forgets every id of a collective, shard by shard.
    pub fn remove_collective(&self, collective: u32) {
        for shard in &self.shards {
            shard.write().retain(|_, row| row.collective != collective);
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
