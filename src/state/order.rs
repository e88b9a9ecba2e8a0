//! In which order do the rows of a collective stand, and how are they listed in another?
//!
//! Rows that the committer names itself stand in the order of (time, id) and of ids, since it gives
//! both in commit order: a list seeks among the row numbers. Rows that come with their names and times
//! from elsewhere (imports) may break that. From the first such row on, a list of the table in a
//! broken order goes by an index: made by the first list that needs it, brought up to date by the later
//! ones. So tables in order, which most are, pay a comparison per row.
//!
//! # Why no list misses a row
//!
//! The committer notes that an order is broken before it fills the row that breaks it. Who seeks asks
//! afterwards whether the order was broken: if not, the search met no such row. A row that a
//! snapshot shows was filled before that snapshot was published, so the snapshot's readers know of every
//! break that matters to them, and find the row counted when they bring the index up to date.
//!
//! The index may lie by excess: it keeps rows that are gone until a quarter of it is, and has rows that are
//! newer than the reader's snapshot. The row decides.

use std::{collections::BTreeSet, ops::Bound};

use roaring::RoaringBitmap;

use crate::{
    model::{Direction, OrderBy, Timestamp},
    state::{chunk::Row, table::Table},
    sync::{
        Mutex,
        atomic::{AtomicBool, AtomicU32, Ordering},
    },
};

/// What rows are sorted by: (time, id), or (0, id) where time does not count.
pub type Key = (Timestamp, u128);
/// From where to where, in an order.
pub type Span = (Bound<Key>, Bound<Key>);
/// A key and the row that has it. An id that was deleted and imported again has two rows.
pub type Place = (Key, u32);

/// Entries that an index may hold in vain before it is made anew, beside a quarter of them all: below
/// that, passing them is cheaper.
const STALE_LEAST: u32 = 1024;
/// Entries looked up at a time, so that nobody waits long for the lock.
const PIECE: usize = 1024;
/// About how many bytes an entry takes in the tree.
const ENTRY_BYTES: usize = 64;

/// The key of a row.
#[must_use]
pub fn key_of(order: OrderBy, row: &Row) -> Key {
    match order {
        OrderBy::Time => (row.time, row.id),
        OrderBy::Id => (Timestamp::default(), row.id),
    }
}

const fn at(order: OrderBy) -> usize {
    match order {
        OrderBy::Time => 0,
        OrderBy::Id => 1,
    }
}

/// Whether rows keep the two orders, as they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct Sequence {
    /// Time and id of the last one: the greatest, as far as an order is kept.
    last: Option<Key>,
    broken: [bool; 2],
}

impl Sequence {
    /// Behind rows of which this is the last, and which break these orders.
    #[must_use]
    pub fn behind(last: Option<&Row>, broken: [bool; 2]) -> Self {
        Self {
            last: last.map(|row| (row.time, row.id)),
            broken,
        }
    }

    /// The next row comes.
    pub fn note(&mut self, row: &Row) {
        let key = (row.time, row.id);
        if let Some(last) = self.last.replace(key) {
            let [by_time, by_id] = &mut self.broken;
            *by_time |= key < last;
            *by_id |= key.1 < last.1;
        }
    }

    /// Whether the order of time is broken, and that of ids.
    #[must_use]
    pub const fn broken(&self) -> [bool; 2] {
        self.broken
    }
}

/// What a table knows of its orders.
#[derive(Debug, Default)]
pub struct Orders {
    /// For the committer alone.
    sequence: Mutex<Sequence>,
    broken: [AtomicBool; 2],
    indexes: [Mutex<Index>; 2],
    /// Rows that were forgotten so far.
    forgotten: AtomicU32,
}

#[derive(Debug, Default)]
struct Index {
    rows: BTreeSet<Place>,
    /// Rows below this number are in it.
    covered: u32,
    /// Rows that had been forgotten when it was made.
    forgotten: u32,
}

impl Orders {
    /// Those of a table that begins with the rows of a checkpoint.
    #[must_use]
    pub fn over(sequence: Sequence) -> Self {
        Self {
            sequence: Mutex::new(sequence),
            broken: sequence.broken().map(AtomicBool::new),
            ..Self::default()
        }
    }

    /// A row is about to be filled. For the committer.
    pub(super) fn note(&self, row: &Row) {
        let mut sequence = self.sequence.lock();
        let before = sequence.broken();
        sequence.note(row);
        if sequence.broken() != before {
            for (flag, broken) in self.broken.iter().zip(sequence.broken()) {
                flag.store(broken, Ordering::Release);
            }
        }
    }

    /// A row was forgotten. For the committer.
    pub(super) fn note_forgotten(&self) {
        self.forgotten.fetch_add(1, Ordering::Relaxed);
    }

    /// Whether the rows stand in this order, as far as the caller has seen them before it asks.
    fn is_kept(&self, order: OrderBy) -> bool {
        let flag = self.broken.get(at(order));
        flag.is_some_and(|broken| !broken.load(Ordering::Acquire))
    }

    /// About how many bytes the indexes take.
    pub(super) fn bytes(&self) -> usize {
        let entries = self.indexes.iter().map(|index| index.lock().rows.len());
        entries.sum::<usize>() * ENTRY_BYTES
    }
}

impl Table {
    /// The numbers between which all rows of `span` stand, and no other, whoever may see them; `None`
    /// where the rows do not stand in this order.
    #[must_use]
    pub fn numbers(&self, order: OrderBy, span: &Span) -> Option<std::ops::Range<u32>> {
        let first_at_or_behind = |key| self.partition(|row| key_of(order, row) < key);
        let first_behind = |key| self.partition(|row| key_of(order, row) <= key);
        let start = match span.0 {
            Bound::Unbounded => 0,
            Bound::Included(key) => first_at_or_behind(key),
            Bound::Excluded(key) => first_behind(key),
        };
        let end = match span.1 {
            Bound::Unbounded => u32::MAX,
            Bound::Included(key) => first_behind(key),
            Bound::Excluded(key) => first_at_or_behind(key),
        };
        // Asked last: see the argument above.
        self.orders.is_kept(order).then_some(start..end.max(start))
    }

    /// The first rows of `span` in this order and direction, at most 1024 of them, behind `after`: by the
    /// index, whoever may see them.
    #[must_use]
    pub fn sorted(
        &self,
        order: OrderBy,
        span: &Span,
        direction: Direction,
        after: Option<Place>,
    ) -> Vec<Place> {
        let Some(index) = self.orders.indexes.get(at(order)) else {
            return Vec::new();
        };
        let mut from = match span.0 {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(key) => Bound::Included((key, 0)),
            Bound::Excluded(key) => Bound::Excluded((key, u32::MAX)),
        };
        let mut to = match span.1 {
            Bound::Unbounded => Bound::Unbounded,
            Bound::Included(key) => Bound::Included((key, u32::MAX)),
            Bound::Excluded(key) => Bound::Excluded((key, 0)),
        };
        match (after, direction) {
            (Some(place), Direction::Ascending) => from = Bound::Excluded(place),
            (Some(place), Direction::Descending) => to = Bound::Excluded(place),
            (None, _) => {}
        }
        let mut index = index.lock();
        index.catch_up(self, order);
        if is_empty(&from, &to) {
            return Vec::new();
        }
        let places = index.rows.range((from, to));
        match direction {
            Direction::Ascending => places.take(PIECE).copied().collect(),
            Direction::Descending => places.rev().take(PIECE).copied().collect(),
        }
    }

    /// The numbers of the rows of `span`, by the index.
    #[must_use]
    pub fn numbers_within(&self, order: OrderBy, span: &Span) -> RoaringBitmap {
        let mut numbers = RoaringBitmap::new();
        let mut after = None;
        loop {
            let places = self.sorted(order, span, Direction::Ascending, after);
            after = places.last().copied();
            numbers.extend(places.iter().map(|(_, number)| *number));
            if places.len() < PIECE {
                return numbers;
            }
        }
    }
}

impl Index {
    fn catch_up(&mut self, table: &Table, order: OrderBy) {
        let forgotten = table.orders.forgotten.load(Ordering::Relaxed);
        let stale = forgotten.wrapping_sub(self.forgotten);
        if stale > STALE_LEAST && stale as usize > self.rows.len() / 4 {
            *self = Self::default();
        }
        if self.covered == 0 {
            self.forgotten = forgotten;
        }
        let rows = &mut self.rows;
        self.covered = table.for_each_needed(self.covered, |number, row| {
            rows.insert((key_of(order, row), number));
        });
    }
}

/// Whether nothing can be between the two; a tree's `range` panics at such.
fn is_empty(from: &Bound<Place>, to: &Bound<Place>) -> bool {
    match (from, to) {
        (Bound::Unbounded, _) | (_, Bound::Unbounded) => false,
        (Bound::Included(from), Bound::Included(to)) => from > to,
        (
            Bound::Included(from) | Bound::Excluded(from),
            Bound::Included(to) | Bound::Excluded(to),
        ) => from >= to,
    }
}

#[cfg(test)]
#[path = "order_tests.rs"]
mod tests;
