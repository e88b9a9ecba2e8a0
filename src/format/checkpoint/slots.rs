//! How does one look up an id or a key in a checkpoint without reading the rest?
//!
//! By open addressing with linear probing (Knuth, TAOCP 3, §6.4) over slots of eight bytes; an empty
//! slot is 0. The first slot of a hash is its share of the table's length, so that any length will
//! do. Nothing is ever removed. Hashes need no secret: collisions, even made on purpose, cost time
//! and nothing else, since what a slot points to is compared.

use super::super::array_at;

/// Bytes of a slot.
pub const SLOT_LEN: usize = 8;

/// 2⁶⁴ / φ, odd: the multiplier of Fibonacci hashing (Knuth, TAOCP 3, §6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Offset basis and prime of FNV-1a, 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// How many slots a table of `entries` has: a quarter of them stays empty.
#[must_use]
pub const fn slots_for(entries: u64) -> u64 {
    entries.saturating_add(entries.div_ceil(3))
}

/// The hash of an id.
#[must_use]
pub const fn id_hash(id: u128) -> u64 {
    (((id >> 64) as u64).wrapping_mul(GOLDEN) ^ (id as u64)).wrapping_mul(GOLDEN)
}

/// The hash of an idempotency key: FNV-1a over the collective's number and the key's bytes, then
/// multiplied, since the first slot is taken from the upper bits.
#[must_use]
pub fn key_hash(collective: u32, key: &str) -> u64 {
    let number = collective.to_le_bytes();
    let bytes = number.iter().chain(key.as_bytes());
    let hash = bytes.fold(FNV_BASIS, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(FNV_PRIME)
    });
    hash.wrapping_mul(GOLDEN)
}

/// The slot of a row: never empty, since collectives count from 1.
#[must_use]
pub const fn row_slot(collective: u32, row: u32) -> u64 {
    (collective as u64) << 32 | row as u64
}

/// The slot of the `number`th key, with a part of its hash: a key that is not there is told from
/// those that are without reading them. `None` beyond what a slot can hold.
#[must_use]
pub fn key_slot(hash: u64, number: u64) -> Option<u64> {
    let behind = u32::try_from(number.checked_add(1)?).ok()?;
    Some((hash & u64::from(u32::MAX)) << 32 | u64::from(behind))
}

/// A table that is being made.
#[derive(Debug)]
pub struct SlotTable(Vec<u64>);

impl SlotTable {
    /// An empty table for so many entries.
    #[must_use]
    pub fn new(entries: u64) -> Self {
        let slots = usize::try_from(slots_for(entries)).unwrap_or(usize::MAX);
        Self(vec![0; slots])
    }

    /// Adds a slot, which must not be 0. One too many is left out.
    pub fn insert(&mut self, hash: u64, slot: u64) {
        let first = first_slot(hash, self.0.len());
        let (before, behind) = self.0.split_at_mut(first);
        let mut probed = behind.iter_mut().chain(before);
        if let Some(free) = probed.find(|slot| **slot == 0) {
            *free = slot;
        }
    }

    /// The slots, in their order.
    pub fn slots(&self) -> impl Iterator<Item = u64> {
        self.0.iter().copied()
    }

    /// How many slots it has.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.0.len() as u64
    }
}

/// The slots that may be those of `hash`, out of a table's bytes.
pub fn probe(table: &[u8], hash: u64) -> impl Iterator<Item = u64> {
    let (slots, _) = table.as_chunks::<SLOT_LEN>();
    let first = first_slot(hash, slots.len());
    let (before, behind) = slots.split_at_checked(first).unwrap_or_default();
    behind
        .iter()
        .chain(before)
        .map(|slot| u64::from_le_bytes(array_at(slot, 0)))
        .take_while(|slot| *slot != 0)
}

const fn first_slot(hash: u64, slots: usize) -> usize {
    ((hash as u128 * slots as u128) >> 64) as usize
}
