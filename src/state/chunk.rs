//! Where do the rows of a collective stand?
//!
//! In chunks that are allocated whole and never move, so that readers walk them without a lock
//! while the committer fills the next slot. A slot is written once; what changes afterwards is
//! one write-once `deleted_at` and the chain of versions.
//!
//! Chunks start small and double, so that a collective of ten rows costs kilobytes, and stop
//! doubling at [`LARGEST`], so that freeing is fine-grained. A chunk that a checkpoint holds makes its
//! slots when the first of them is asked for.

use std::ops::Range;

use crate::{
    log::Place,
    model::{ExperienceKind, Lsn, Timestamp},
    state::{base::Base, chain::Chain, values::Values},
    sync::{
        Arc, OnceLock,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
};

/// Rows of the first chunk.
const SMALLEST: u32 = 16;
/// Rows of every chunk once the doubling has ended.
const LARGEST: u32 = 1024;
/// Chunks before the doubling has ended: 16, 16, 32, … 512 rows, 1024 in all.
const SMALL_CHUNKS: u32 = LARGEST.ilog2() - SMALLEST.ilog2() + 1;

/// Which chunk a row is in, and at which slot.
#[must_use]
pub const fn locate(row: u32) -> (usize, usize) {
    if row < SMALLEST {
        (0, row as usize)
    } else if row < LARGEST {
        let level = row.ilog2();
        let chunk = level - SMALLEST.ilog2() + 1;
        (chunk as usize, (row - (1 << level)) as usize)
    } else {
        let beyond = row - LARGEST;
        (
            (SMALL_CHUNKS + beyond / LARGEST) as usize,
            (beyond % LARGEST) as usize,
        )
    }
}

/// First row and number of rows of a chunk.
#[must_use]
pub const fn extent(chunk: usize) -> (u32, u32) {
    let chunk = chunk as u32;
    if chunk == 0 {
        (0, SMALLEST)
    } else if chunk < SMALL_CHUNKS {
        let first = SMALLEST << (chunk - 1);
        (first, first)
    } else {
        (LARGEST + (chunk - SMALL_CHUNKS) * LARGEST, LARGEST)
    }
}

/// What never changes about a row. Packed so that a [`Slot`] takes two cache lines: the id alone would have it
/// take more.
#[derive(Clone, Copy, Debug, PartialEq)]
#[repr(Rust, packed(8))]
pub struct Row {
    /// The record that created it.
    pub lsn: Lsn,
    /// The experience's id.
    pub id: u128,
    /// When it was recorded.
    pub time: Timestamp,
    /// Where its body is in the log.
    pub place: Place,
    /// Bytes of its frame in the log, as it was when the row was made.
    pub frame_bytes: u32,
    /// Components of the vector in its body then; 0 where there is none.
    pub dimension: u16,
    /// Code of its agent in [`super::names::Names`].
    pub agent: u32,
    /// 1 / ‖vector‖, so that similarity needs one dot product.
    pub inverse_norm: f32,
    /// Importance at creation.
    pub importance: f32,
    /// Confidence at creation.
    pub confidence: f32,
    /// Kind of its type; `None` where the body is damaged.
    pub kind: Option<ExperienceKind>,
    /// Pinned at creation.
    pub pinned: bool,
    /// Has an idempotency key.
    pub keyed: bool,
    /// Expiry at creation.
    pub expires_at: Option<Timestamp>,
    /// Holds only for a time, at creation.
    pub bounded: bool,
}

impl Row {
    /// A row that has nothing but its identity, for tests and models.
    #[cfg(any(test, pulsedb_loom))]
    #[must_use]
    pub fn example(lsn: Lsn, id: u128) -> Self {
        Self {
            lsn,
            id,
            time: Timestamp::from_millis(lsn.get() as i64),
            place: Place::NOWHERE,
            frame_bytes: 64,
            dimension: 0,
            agent: 0,
            inverse_norm: 1.0,
            importance: 0.5,
            confidence: 0.5,
            kind: None,
            pinned: false,
            keyed: false,
            expires_at: None,
            bounded: false,
        }
    }

    /// The values that the columns state: those of the body, unless it was recorded elsewhere first and
    /// says more, which then is the row's first version.
    #[inline]
    #[must_use]
    pub fn initial_values(&self) -> Values {
        Values {
            importance: self.importance,
            confidence: self.confidence,
            applications: 0,
            last_reinforced: self.time,
            updated_at: self.time,
            expires_at: self.expires_at,
            archived: false,
            pinned: self.pinned,
            vitals_lsn: Lsn::ZERO,
            traits_lsn: Lsn::ZERO,
            traits_place: None,
            damaged_place: None,
            others: 0,
            bounded: self.bounded,
        }
    }
}

/// A row's place in a chunk: two cache lines, which are fetched together.
#[derive(Debug, Default)]
#[repr(align(128))]
pub struct Slot {
    row: OnceLock<Row>,
    /// LSN of the record that deleted it; 0 while it lives.
    deleted_at: AtomicU64,
    /// Whether there are versions after the body. Every walk asks this of every row, and a flag
    /// costs it a plain load where the chain's cell costs an atomic exchange.
    changed: AtomicBool,
    /// Whether this process wrote the body, or compared it with its checksums.
    checked: AtomicBool,
    /// Versions after the body.
    versions: Chain<Values>,
}

impl Slot {
    /// The row, if the slot is filled and visible at `lsn`.
    #[inline]
    pub fn visible(&self, lsn: Lsn) -> Option<&Row> {
        let row = self.row.get()?;
        if row.lsn > lsn {
            return None;
        }
        let deleted_at = self.deleted_at.load(Ordering::Acquire);
        (deleted_at == 0 || deleted_at > lsn.get()).then_some(row)
    }

    /// The row, whoever may see it. For the committer.
    pub fn row(&self) -> Option<&Row> {
        self.row.get()
    }

    /// Whether the row still has the values of its body, at every LSN.
    #[inline]
    pub fn unchanged(&self) -> bool {
        !self.changed.load(Ordering::Acquire)
    }

    /// The values as of `lsn`.
    #[inline]
    pub fn values(&self, row: &Row, lsn: Lsn) -> Values {
        let version = if self.unchanged() {
            None
        } else {
            self.versions.at(lsn, |values| *values)
        };
        version.unwrap_or_else(|| row.initial_values())
    }

    /// Shows every version of the values that somebody at or above `horizon` may see, newest first,
    /// and since when it holds.
    pub fn versions(&self, row: &Row, horizon: Lsn, mut look: impl FnMut(Lsn, Values)) {
        if self.unchanged()
            || !self
                .versions
                .since(horizon, |lsn, values| look(lsn, *values))
        {
            look(row.lsn, row.initial_values());
        }
    }

    /// Shows the versions after the body that somebody at or above `horizon` may see, newest first,
    /// and since when each holds.
    pub fn revisions(&self, horizon: Lsn, mut look: impl FnMut(Lsn, &Values)) {
        if !self.unchanged() {
            self.versions.since(horizon, &mut look);
        }
    }

    /// The newest record that changed the row: made it, revised it or deleted it.
    pub fn changed_at(&self) -> Option<Lsn> {
        let mut newest = self.row.get()?.lsn;
        self.revisions(Lsn::new(u64::MAX), |lsn, _| newest = newest.max(lsn));
        Some(newest.max(self.deleted_at().unwrap_or(Lsn::ZERO)))
    }

    /// The record that deleted the row.
    pub fn deleted_at(&self) -> Option<Lsn> {
        match self.deleted_at.load(Ordering::Acquire) {
            0 => None,
            lsn => Some(Lsn::new(lsn)),
        }
    }

    /// Whether nobody at or above `horizon` can see the row.
    pub fn gone(&self, horizon: Lsn) -> bool {
        let deleted_at = self.deleted_at.load(Ordering::Acquire);
        deleted_at != 0 && deleted_at <= horizon.get()
    }

    /// Fills the slot. A slot that is already filled stays as it is. `checked` says whether this
    /// process wrote the body, or compared it with its checksums.
    pub fn fill(&self, row: Row, checked: bool) {
        if self.row.set(row).is_ok() && checked {
            self.note_checked();
        }
    }

    /// Whether the body was compared with its checksums, so that nobody need do it again.
    #[inline]
    pub fn checked(&self) -> bool {
        // The bytes never change: whoever reads an old `false` compares them once more.
        self.checked.load(Ordering::Relaxed)
    }

    /// The body was compared with its checksums.
    pub fn note_checked(&self) {
        self.checked.store(true, Ordering::Relaxed);
    }

    /// The body is to be compared again, as that of a row that was not read by this process.
    #[cfg(test)]
    pub fn forget_checked(&self) {
        self.checked.store(false, Ordering::Relaxed);
    }

    /// Fills the slot with a row that a checkpoint holds: nobody has read its body since the open.
    pub fn restore(&self, row: Row) {
        let _ = self.row.set(row);
    }

    /// Adds a version.
    pub fn push(&self, lsn: Lsn, values: Values, horizon: Lsn) {
        self.versions.push(lsn, values, horizon);
        self.changed.store(true, Ordering::Release);
    }

    /// Marks the row as deleted; false where it already was, or there is none.
    pub fn delete(&self, lsn: Lsn) -> bool {
        self.row.get().is_some()
            && self
                .deleted_at
                .compare_exchange(0, lsn.get(), Ordering::AcqRel, Ordering::Acquire)
                .is_ok()
    }

    /// Whether the row was deleted at any LSN.
    pub fn deleted(&self) -> bool {
        self.deleted_at.load(Ordering::Acquire) != 0
    }
}

/// A run of slots.
#[derive(Debug)]
pub struct Chunk {
    /// Number of its first row.
    first: u32,
    rows: u32,
    slots: OnceLock<Box<[Slot]>>,
    /// What the slots are made from, where they were not made at once.
    base: Option<Arc<Base>>,
    /// Slots that still may be seen by somebody, or filled.
    needed: AtomicU32,
}

impl Chunk {
    /// An empty chunk, the `index`th of its table.
    #[must_use]
    pub fn new(index: usize) -> Self {
        let (first, rows) = extent(index);
        let slots = OnceLock::new();
        let _ = slots.set((0..rows).map(|_| Slot::default()).collect());
        Self {
            first,
            rows,
            slots,
            base: None,
            needed: AtomicU32::new(rows),
        }
    }

    /// The `index`th chunk of a table of `row_count` rows, as a checkpoint has it; `None` if it has
    /// nothing of it and no row will come.
    #[must_use]
    pub fn over(base: &Arc<Base>, index: usize, row_count: u32) -> Option<Self> {
        let (first, rows) = extent(index);
        let given_out = rows.min(row_count.saturating_sub(first));
        let needed = rows - given_out + base.count(first..first + rows);
        (needed > 0).then(|| Self {
            first,
            rows,
            slots: OnceLock::new(),
            base: Some(Arc::clone(base)),
            needed: AtomicU32::new(needed),
        })
    }

    /// The slots in row order, made if nobody has asked for one before.
    #[must_use]
    pub fn slots(&self) -> &[Slot] {
        match self.slots.get() {
            Some(slots) => slots,
            None => self.slots.get_or_init(|| self.made()),
        }
    }

    /// Shows the slots, without keeping them where nobody has asked for one before.
    pub fn with_slots<R>(&self, look: impl FnOnce(&[Slot]) -> R) -> R {
        match self.slots.get() {
            Some(slots) => look(slots),
            None => look(&self.made()),
        }
    }

    /// The first row that there is, without making slots.
    #[must_use]
    pub fn first_row(&self) -> Option<Row> {
        match (self.slots.get(), &self.base) {
            (None, Some(base)) => base.first(self.rows()),
            (slots, _) => slots?.iter().find_map(Slot::row).copied(),
        }
    }

    /// Whether somebody at or above `horizon` may see the row in this slot, without making slots.
    #[must_use]
    pub fn is_needed(&self, slot: usize, horizon: Lsn) -> bool {
        match (self.slots.get(), &self.base) {
            (None, Some(base)) => base.is_needed(self.first + slot as u32, horizon),
            (slots, _) => slots
                .and_then(|slots| slots.get(slot))
                .is_some_and(|slot| slot.row().is_some() && !slot.gone(horizon)),
        }
    }

    const fn rows(&self) -> Range<u32> {
        self.first..self.first + self.rows
    }

    fn made(&self) -> Box<[Slot]> {
        self.base
            .as_ref()
            .map_or_else(Box::default, |base| base.slots(self.rows()))
    }

    /// One slot is beyond everybody's sight; true where that was the last.
    pub fn forget_one(&self) -> bool {
        self.needed.fetch_sub(1, Ordering::AcqRel) == 1
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_takes_two_cache_lines() {
        assert_eq!(size_of::<Slot>(), 128);
    }

    #[test]
    fn chunks_cover_every_row_once() {
        let mut row = 0;
        for chunk in 0..40 {
            let (first, rows) = extent(chunk);
            assert_eq!(first, row);
            assert_eq!(locate(first), (chunk, 0));
            assert_eq!(locate(first + rows - 1), (chunk, rows as usize - 1));
            row += rows;
        }
    }
}
