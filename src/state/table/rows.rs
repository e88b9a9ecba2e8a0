//! What does a walk over the rows of a table show?
//!
//! Views of slots, as of one LSN: a row with what it takes to know its values, and the chunks that were
//! there at one moment, for calls that ask for many rows.

use super::{Arc, Chunks, Lsn, Row, Slot, Timestamp, Values, extent, locate, prefetch};

/// A row that a walk passes: what never changes at hand, what does at a price.
#[derive(Clone, Copy)]
pub struct Visited<'a> {
    /// Row number.
    pub number: u32,
    /// What never changes.
    pub row: &'a Row,
    pub(super) slot: &'a Slot,
    pub(super) lsn: Lsn,
}

impl Visited<'_> {
    /// Whether the row still has the values of its body.
    pub fn unchanged(&self) -> bool {
        self.slot.unchanged()
    }

    /// The values as of the walk's LSN.
    pub fn values(&self) -> Values {
        self.slot.values(self.row, self.lsn)
    }

    /// Whether it has expired at `now`.
    pub fn expired(&self, now: Timestamp) -> bool {
        if self.unchanged() {
            !self.row.pinned && self.row.expires_at.is_some_and(|at| at <= now)
        } else {
            self.values().expired(now)
        }
    }

    /// Whether what it says holds only for a time.
    pub fn bounded(&self) -> bool {
        if self.unchanged() {
            self.row.bounded
        } else {
            self.values().bounded
        }
    }

    /// Whether the body was compared with its checksums; see [`crate::state::body`].
    pub(in crate::state) fn checked(&self) -> bool {
        self.slot.checked()
    }

    /// The body was compared with its checksums.
    pub(in crate::state) fn note_checked(&self) {
        self.slot.note_checked();
    }
}

/// A row that somebody at or above a horizon may see.
#[derive(Clone, Copy, Debug)]
pub struct Kept<'a> {
    /// Row number.
    pub number: u32,
    /// What never changes.
    pub row: &'a Row,
    /// The record that deleted it, if it is deleted for the walk.
    pub deleted_at: Option<Lsn>,
    pub(super) slot: &'a Slot,
    pub(super) lsn: Lsn,
    pub(super) horizon: Lsn,
}

impl Kept<'_> {
    /// Its versions behind the body, oldest first, each with the LSN since which it holds.
    pub fn versions(&self) -> Vec<(Lsn, Values)> {
        let mut versions = Vec::new();
        self.slot.revisions(self.horizon, |lsn, values| {
            if lsn <= self.lsn {
                versions.push((lsn, *values));
            }
        });
        versions.reverse();
        versions
    }
}

/// The rows that were there at one moment, by number.
#[derive(Debug)]
pub struct Rows {
    pub(super) chunks: Arc<Chunks>,
    pub(super) lsn: Lsn,
}

impl Rows {
    fn slot(&self, number: u32) -> Option<&Slot> {
        let (chunk, slot) = locate(number);
        self.chunks.get(chunk)?.as_ref()?.slots().get(slot)
    }

    /// Asks the CPU for a row, for callers who will ask for many before they look at the first.
    pub fn prefetch(&self, number: u32) {
        if let Some(slot) = self.slot(number) {
            prefetch(std::slice::from_ref(slot));
        }
    }

    /// The row, if it is visible.
    pub fn visible(&self, number: u32) -> Option<Visited<'_>> {
        let slot = self.slot(number)?;
        Some(Visited {
            number,
            row: slot.visible(self.lsn)?,
            slot,
            lsn: self.lsn,
        })
    }

    /// The row, whoever may see it; `None` where nobody can any more.
    pub fn filled(&self, number: u32) -> Option<Visited<'_>> {
        let slot = self.slot(number)?;
        Some(Visited {
            number,
            row: slot.row()?,
            slot,
            lsn: self.lsn,
        })
    }

    /// The row, unless nobody at or above `horizon` can see it.
    pub fn needed(&self, number: u32, horizon: Lsn) -> Option<Visited<'_>> {
        self.filled(number).filter(|row| !row.slot.gone(horizon))
    }

    /// Whether somebody at or above `horizon` can see the row. Asks nothing more of it, and so
    /// costs little where nobody has asked for it before.
    pub fn is_needed(&self, number: u32, horizon: Lsn) -> bool {
        let (chunk, slot) = locate(number);
        let chunk = self.chunks.get(chunk).and_then(Option::as_ref);
        chunk.is_some_and(|chunk| chunk.is_needed(slot, horizon))
    }

    /// Walks the rows that somebody at or above `horizon`, but not above the walk's LSN, may see. What
    /// nobody has asked for before does not stay in memory.
    pub fn for_each_kept(&self, horizon: Lsn, mut look: impl FnMut(Kept<'_>)) {
        let lsn = self.lsn;
        for (index, chunk) in self.chunks.iter().enumerate() {
            let Some(chunk) = chunk else { continue };
            let (first, _) = extent(index);
            chunk.with_slots(|slots| {
                for (slot, number) in slots.iter().zip(first..) {
                    if let Some(row) = slot.row().filter(|row| row.lsn <= lsn)
                        && !slot.gone(horizon)
                    {
                        look(Kept {
                            number,
                            row,
                            deleted_at: slot.deleted_at().filter(|deleted| *deleted <= lsn),
                            slot,
                            lsn,
                            horizon,
                        });
                    }
                }
            });
        }
    }
}

/// A row as a snapshot sees it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct RowState {
    /// What never changes.
    pub row: Row,
    /// What does.
    pub values: Values,
}
