//! How is an id found with one wait for memory?
//!
//! Open addressing with linear probing: an entry stands where its hash says or right behind, so that the
//! first cache line that is read nearly always holds it, or says that there is none. A table of control
//! bytes beside the entries would be a second line to wait for. Removing moves back what stands behind,
//! so that a probe never meets a hole (Knuth, TAOCP 3, §6.4, algorithm R). One shard of
//! [`super::ids::IdIndex`]; nobody else calls.

use crate::{log::Place, simd::prefetch, state::ids::RowRef};

/// What is known of an id.
#[derive(Clone, Copy, Debug)]
pub struct IdEntry {
    id: u128,
    /// The row that it was last given to. Numbers of collectives begin at 1; 0 is an empty entry.
    pub row: RowRef,
    /// Where the body was written. It fills what the entry would leave empty, and lets a point read ask for
    /// the body before it has seen the row: two waits for memory in the time of one.
    pub place: Place,
}

impl IdEntry {
    const EMPTY: Self = Self {
        id: 0,
        row: RowRef {
            collective: 0,
            row: 0,
        },
        place: Place::NOWHERE,
    };

    const fn is_empty(&self) -> bool {
        self.row.collective == 0
    }
}

/// Entries of a line.
const LINE_ENTRIES: usize = 2;

/// A cache line.
#[derive(Clone, Copy, Debug)]
#[repr(align(64))]
struct Line([IdEntry; LINE_ENTRIES]);

/// Entries of the smallest table that holds any.
const SMALLEST: usize = 8;
/// A table grows before it is fuller than this, in eighths: then a probe passes four entries, two lines
/// side by side.
const FULL_EIGHTHS: usize = 7;

/// Rows by id.
#[derive(Debug, Default)]
pub struct IdMap {
    /// As many entries as a power of two, or none.
    lines: Vec<Line>,
    len: usize,
}

impl IdMap {
    fn with_room(entries: usize) -> Self {
        let capacity = (entries * 8 / FULL_EIGHTHS + 1)
            .next_power_of_two()
            .max(SMALLEST);
        Self {
            lines: vec![Line([IdEntry::EMPTY; LINE_ENTRIES]); capacity / LINE_ENTRIES],
            len: 0,
        }
    }

    fn capacity(&self) -> usize {
        self.lines.len() * LINE_ENTRIES
    }

    fn home(&self, id: u128) -> usize {
        // The upper bits, which all bits of the id have gone into.
        let bits = self.capacity().trailing_zeros();
        hash(id).unbounded_shr(64 - bits) as usize
    }

    fn behind(&self, at: usize) -> usize {
        (at + 1) & (self.capacity().wrapping_sub(1))
    }

    fn entry(&self, at: usize) -> Option<&IdEntry> {
        let entry = self
            .lines
            .get(at / LINE_ENTRIES)?
            .0
            .get(at % LINE_ENTRIES)?;
        (!entry.is_empty()).then_some(entry)
    }

    fn set(&mut self, at: usize, entry: IdEntry) {
        let line = self.lines.get_mut(at / LINE_ENTRIES);
        if let Some(place) = line.and_then(|line| line.0.get_mut(at % LINE_ENTRIES)) {
            *place = entry;
        }
    }

    /// Where the entry of `id` stands, or the empty one where it would.
    #[inline]
    fn position(&self, id: u128) -> usize {
        let mut at = self.home(id);
        while self.entry(at).is_some_and(|entry| entry.id != id) {
            at = self.behind(at);
        }
        at
    }

    /// The entry of `id`.
    #[inline]
    pub fn get(&self, id: u128) -> Option<&IdEntry> {
        self.entry(self.position(id))
    }

    /// Asks the CPU for the line where the entry of `id` would stand.
    pub fn prefetch(&self, id: u128) {
        if let Some(line) = self.lines.get(self.home(id) / LINE_ENTRIES) {
            prefetch(std::slice::from_ref(line));
        }
    }

    /// Points `id` to a row whose body stands at `place`, and answers the row that it pointed to before.
    pub fn insert(&mut self, id: u128, row: RowRef, place: Place) -> Option<RowRef> {
        if (self.len + 1) * 8 > self.capacity() * FULL_EIGHTHS {
            self.rebuild(2 * self.len, |_| true);
        }
        let at = self.position(id);
        let former = self.entry(at).map(|entry| entry.row);
        if former.is_none() {
            self.len += 1;
        }
        self.set(at, IdEntry { id, row, place });
        former.filter(|former| *former != row)
    }

    /// Forgets `id`.
    pub fn remove(&mut self, id: u128) {
        let mut hole = self.position(id);
        if self.entry(hole).is_none() {
            return;
        }
        self.len -= 1;
        let mut at = self.behind(hole);
        while let Some(entry) = self.entry(at).copied() {
            // From its home on to where it stands there may be no hole.
            let mask = self.capacity().wrapping_sub(1);
            let from_home = at.wrapping_sub(self.home(entry.id)) & mask;
            let from_hole = at.wrapping_sub(hole) & mask;
            if from_home >= from_hole {
                self.set(hole, entry);
                hole = at;
            }
            at = self.behind(at);
        }
        self.set(hole, IdEntry::EMPTY);
    }

    /// Forgets all ids but those whose row is to be kept.
    pub fn retain(&mut self, keep: impl Fn(&RowRef) -> bool) {
        self.rebuild(0, keep);
    }

    /// Makes the table anew, with room for at least `room` entries.
    fn rebuild(&mut self, room: usize, keep: impl Fn(&RowRef) -> bool) {
        let kept = |entry: &&IdEntry| !entry.is_empty() && keep(&entry.row);
        let entries = || self.lines.iter().flat_map(|line| &line.0).filter(kept);
        let mut rebuilt = Self::with_room(room.max(entries().count()));
        for entry in entries() {
            let at = rebuilt.position(entry.id);
            rebuilt.set(at, *entry);
            rebuilt.len += 1;
        }
        *self = rebuilt;
    }
}

/// 2⁶⁴ / φ, odd: the multiplier of Fibonacci hashing (Knuth, TAOCP 3, §6.4).
pub(super) const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;

/// Hashes an id by multiplying its two halves: ids are UUIDs of this database's own making or of
/// an import that the owner chose, not of an attacker, and lookups are on every hot path.
fn hash(id: u128) -> u64 {
    let mixed = ((id >> 64) as u64).wrapping_mul(GOLDEN) ^ (id as u64);
    let mixed = mixed.wrapping_mul(GOLDEN);
    (mixed ^ (mixed >> 32)).wrapping_mul(GOLDEN)
}

#[cfg(test)]
mod tests {
    use std::collections::HashMap;

    use proptest::prelude::*;

    use super::*;

    #[derive(Clone, Debug)]
    enum Step {
        Insert(u128, u32),
        Remove(u128),
        Retain(u32),
    }

    fn step() -> impl Strategy<Value = Step> {
        // Few ids, so that they meet, some of them with equal halves.
        let id = prop_oneof![0..40_u128, (0..8_u128).prop_map(|id| id << 64 | id)];
        prop_oneof![
            6 => (id.clone(), 1..5_u32).prop_map(|(id, collective)| Step::Insert(id, collective)),
            4 => id.prop_map(Step::Remove),
            1 => (1..5_u32).prop_map(Step::Retain),
        ]
    }

    proptest! {
        #[test]
        fn it_knows_what_a_plain_map_knows(steps in prop::collection::vec(step(), 0..300)) {
            let mut map = IdMap::default();
            let mut plain: HashMap<u128, RowRef> = HashMap::new();
            for (number, step) in (0..).zip(steps) {
                match step {
                    Step::Insert(id, collective) => {
                        let row = RowRef { collective, row: number };
                        map.insert(id, row, Place { segment: number, unit: 1 });
                        plain.insert(id, row);
                    }
                    Step::Remove(id) => {
                        map.remove(id);
                        plain.remove(&id);
                    }
                    Step::Retain(collective) => {
                        map.retain(|row| row.collective != collective);
                        plain.retain(|_, row| row.collective != collective);
                    }
                }
                prop_assert_eq!(map.len, plain.len());
                for id in (0..40).chain((0..8).map(|id| id << 64 | id)) {
                    let entry = map.get(id);
                    prop_assert_eq!(entry.map(|entry| entry.row), plain.get(&id).copied());
                    prop_assert!(entry.is_none_or(|entry| entry.place.segment == entry.row.row));
                }
            }
        }
    }

    #[test]
    fn probes_stay_short_for_ids_as_they_are_made() {
        let mut map = IdMap::default();
        // UUIDv7 of one machine: a slowly growing time, then bits that count up or are random.
        let ids: Vec<u128> = (0..50_000_u128)
            .map(|n| {
                ((0x0190_0000_0000 + n / 50) << 80)
                    | (0x7 << 76)
                    | ((n % 50) << 64)
                    | (2 << 62)
                    | (n * 64)
            })
            .collect();
        for (n, id) in (0..).zip(&ids) {
            let row = RowRef {
                collective: 1,
                row: n,
            };
            map.insert(*id, row, Place::NOWHERE);
        }
        let steps =
            |id: &u128| map.position(*id).wrapping_sub(map.home(*id)) & (map.capacity() - 1);
        let total: usize = ids.iter().map(steps).sum();
        assert!(total < 3 * ids.len(), "{total}");
        assert_eq!(map.get(7).map(|entry| entry.row), None);
    }
}
