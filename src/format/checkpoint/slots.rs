//! How does one look up an id or a key in a checkpoint without reading the rest?
//!
//! By open addressing with linear probing (Knuth, TAOCP 3, §6.4); an empty slot is 0. The first slot of
//! a hash is its share of the table's length, so that any length will do. Nothing is ever removed.
//! Hashes need no secret: collisions, even made on purpose, cost time and nothing else, since what a
//! slot points to is compared.

/// Slots of ids per row. A slot is small, and what it points to costs a cache line: half of them are
/// empty, so that 1.5 are looked at on average.
const SLOTS_PER_ID: u64 = 2;

/// 2⁶⁴ / φ, odd: the multiplier of Fibonacci hashing (Knuth, TAOCP 3, §6.4).
const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Offset basis and prime of FNV-1a, 64 bits.
const FNV_BASIS: u64 = 0xcbf2_9ce4_8422_2325;
const FNV_PRIME: u64 = 0x0100_0000_01b3;

/// How many slots the table of so many ids has.
#[must_use]
pub const fn id_slots(rows: u64) -> u64 {
    rows.saturating_mul(SLOTS_PER_ID)
}

/// How many slots the table of so many keys has: a quarter of them stays empty.
#[must_use]
pub const fn key_slots(keys: u64) -> u64 {
    keys.saturating_add(keys.div_ceil(3))
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

/// The slot of the `number`th row or key; `None` beyond what a slot can hold.
#[must_use]
pub fn slot_of(number: u64) -> Option<u32> {
    u32::try_from(number.checked_add(1)?).ok()
}

/// What a slot points to; `None` if it is empty.
pub(super) const fn number_in(slot: u32) -> Option<u32> {
    slot.checked_sub(1)
}

/// The slot of a key, with a part of its hash: a key that is not there is told from those that are
/// without reading them.
#[must_use]
pub const fn key_slot(hash: u64, slot: u32) -> u64 {
    (hash & u32::MAX as u64) << 32 | slot as u64
}

/// A table that is being made.
#[derive(Debug)]
pub struct SlotTable<S>(Vec<S>);

impl<S: Copy + Default + PartialEq> SlotTable<S> {
    /// An empty table.
    #[must_use]
    pub fn new(slots: u64) -> Self {
        let slots = usize::try_from(slots).unwrap_or(usize::MAX);
        Self(vec![S::default(); slots])
    }

    /// Adds a slot that is not empty. One too many is left out.
    pub fn insert(&mut self, hash: u64, slot: S) {
        let first = first_slot(hash, self.0.len());
        let (before, behind) = self.0.split_at_mut(first);
        let mut probed = behind.iter_mut().chain(before);
        if let Some(free) = probed.find(|slot| **slot == S::default()) {
            *free = slot;
        }
    }

    /// The slots, in their order.
    pub fn slots(&self) -> impl Iterator<Item = S> {
        self.0.iter().copied()
    }
}

/// The slots that may be those of `hash`, empty ones included.
pub(super) fn probe<T>(table: &[T], hash: u64) -> impl Iterator<Item = &T> {
    let first = first_slot(hash, table.len());
    let (before, behind) = table.split_at_checked(first).unwrap_or((&[], table));
    behind.iter().chain(before)
}

const fn first_slot(hash: u64, slots: usize) -> usize {
    ((hash as u128 * slots as u128) >> 64) as usize
}
