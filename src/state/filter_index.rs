//! How do the postings of a collective keep up with its changes?
//!
//! On demand: the index comes to be with the first filtered search, and searches bring it up to
//! date. Until then the committer pays one lock that nobody else holds per changed row; afterwards
//! it also puts the row's number into a bitmap. It never waits while somebody reads the log.
//!
//! # Why no search misses a row
//!
//! Let a search see, at its snapshot, the version v of row r. Then r is among its [`candidates`], or
//! the postings hold the facets of v:
//! 1. The committer pushes v onto r's chain, then notes r as changed, then publishes. Whether the index
//!    exists is asked and answered under one lock. If it did not yet, everything that the index does
//!    later is behind that, and reads v.
//! 2. Rows are added with every version that somebody may see: those above the table's horizon, which
//!    no live or later snapshot is below, and the newest at or below it. That is also all that a chain
//!    keeps. So it does not matter that a search at an older snapshot finds what one at a newer
//!    snapshot has added, and a rebuild drops only what nobody sees.
//! 3. One search at a time catches up. It moves what is noted from `changed` to `taken`, reads the
//!    rows, adds them, and then empties `taken`. A note is in one of the two until v is in the
//!    postings; rows from `covered` on, which moves with the rows under the same lock, need no note.
//! 4. A row that is read while it has a newer version than the reader's snapshot, is noted again before
//!    it counts as covered, or before a rebuild that lacks it takes over.
//! 5. A search looks at the notes while it holds the postings still. A note that was gone by then had
//!    its version in the postings, since it goes behind the lock that added it; one that came later
//!    (4.) waits to change the postings until the search has read them.
//! 6. A rebuild goes on beside the postings that answer: each noted row is added to both before its
//!    note goes, and the new ones take over when they cover as much.
//!
//! A row that has a version newer than the snapshot of the search that catches up (whose segments
//! need not hold its traits) stays noted, as does what exceeds the share of work of one search.
//! Nobody waits for the one who catches up: the noted rows are candidates.
//!
//! [`candidates`]: FilterIndex::candidates

use std::ops::Range;

use roaring::RoaringBitmap;

use crate::{
    format::Traits,
    model::{Lsn, SearchFilter},
    state::{
        chunk::Row,
        postings::{Batch, Postings, keep},
        table::Table,
        values::Values,
    },
    sync::{Mutex, RwLock},
};

/// How much of the work one search does.
#[derive(Clone, Copy, Debug)]
struct Share {
    /// Most rows that it adds: a large collection is indexed by several searches, to each of which
    /// what is missing costs no more than a walk.
    catch_up_rows: u32,
    /// Most rows that it adds to the postings that are to take over.
    rebuild_rows: u32,
    /// Rows added at once, so that those who read the postings wait a fraction of a millisecond.
    batch_rows: u32,
    /// Postings are rebuilt when there are more stale rows than a quarter of them all, and than
    /// this: below it, checking the rows is cheaper than rebuilding.
    stale_least: u64,
}

/// A row costs about as much as asking whether it passes by its traits, 1–3 µs: some 20 ms in all.
const SHARE: Share = Share {
    catch_up_rows: 8_192,
    rebuild_rows: 2_048,
    batch_rows: 256,
    // The models rebuild at once.
    stale_least: if cfg!(pulsedb_loom) { 0 } else { 256 },
};
/// Postings are rebuilt when one in so many rows is stale.
const STALE_PART: u64 = 4;

/// The postings of one table, and what they lack.
#[derive(Debug)]
pub struct FilterIndex {
    share: Share,
    /// The only lock that the committer takes, held for as long as bitmaps of notes are copied.
    notes: Mutex<Notes>,
    postings: RwLock<Postings>,
    /// Held by the search that catches up.
    catcher: Mutex<Catcher>,
}

#[derive(Debug, Default)]
struct Notes {
    /// Rows with versions that nobody has read.
    changed: RoaringBitmap,
    /// Rows that are being read.
    taken: RoaringBitmap,
    /// Rows deleted since they were last counted.
    deleted: u64,
}

#[derive(Debug, Default)]
struct Catcher {
    /// Postings that take over when they cover as much as those that answer.
    next: Option<Postings>,
    /// The horizon of the last rebuild: until it moves, another would drop nothing.
    rebuilt_at: Lsn,
    batch: Batch,
    versions: Vec<Values>,
}

impl Default for FilterIndex {
    fn default() -> Self {
        Self::sharing(SHARE)
    }
}

impl FilterIndex {
    fn sharing(share: Share) -> Self {
        Self {
            share,
            notes: Mutex::default(),
            postings: RwLock::default(),
            catcher: Mutex::default(),
        }
    }

    /// A row has a new version. For the committer, before it publishes.
    pub(super) fn changed(&self, row: u32) {
        self.notes.lock().changed.insert(row);
    }

    /// A row was deleted. For the committer.
    pub(super) fn deleted(&self) {
        self.notes.lock().deleted += 1;
    }

    /// Brings the postings up to date as far as one search should, unless another does. `lsn` is
    /// the search's snapshot; `traits_of` reads the traits of a version that is not newer.
    pub fn catch_up(
        &self,
        table: &Table,
        lsn: Lsn,
        mut traits_of: impl FnMut(&Row, &Values) -> Option<Traits>,
    ) {
        let Some(mut catcher) = self.catcher.try_lock() else {
            return;
        };
        let mut work = Work {
            index: self,
            table,
            lsn,
            horizon: table.horizon(),
            catcher: &mut catcher,
            traits_of: &mut traits_of,
        };
        let noted = work.read_noted();
        work.read_new(self.share.catch_up_rows.saturating_sub(noted));
        work.rebuild();
    }

    /// Those of `rows` that may pass the filter at any snapshot that somebody holds: what the
    /// postings say, and the rows that they lack. `None` where the filter restricts nothing.
    pub fn candidates(
        &self,
        filter: &SearchFilter,
        agents: Option<&[u32]>,
        rows: Range<u32>,
    ) -> Option<RoaringBitmap> {
        let postings = self.postings.read();
        let mut noted = {
            let notes = self.notes.lock();
            &notes.changed | &notes.taken
        };
        let matches = postings.matches(filter, agents, rows.clone());
        let covered = postings.covered();
        drop(postings);
        let mut candidates = matches?;
        keep(&mut noted, &rows);
        candidates |= noted;
        candidates.insert_range(covered.max(rows.start)..rows.end.max(covered));
        Some(candidates)
    }

    /// About how many bytes the postings take.
    pub fn bytes(&self) -> usize {
        self.postings.read().bytes()
    }
}

/// One search's share of catching up.
struct Work<'a, F> {
    index: &'a FilterIndex,
    table: &'a Table,
    lsn: Lsn,
    horizon: Lsn,
    catcher: &'a mut Catcher,
    traits_of: &'a mut F,
}

/// What became of a row that was to be read.
enum Reading {
    /// It is in the batch, or nobody sees it.
    Done,
    /// It has a version newer than the snapshot.
    Newer,
    /// It is itself newer than the snapshot, and so are all behind it.
    Beyond,
}

impl<F: FnMut(&Row, &Values) -> Option<Traits>> Work<'_, F> {
    /// Adds rows that were noted as changed; how many.
    fn read_noted(&mut self) -> u32 {
        let mut taken = {
            let mut notes = self.index.notes.lock();
            let changed = std::mem::take(&mut notes.changed);
            // What stands in `taken` already was left by a search that did not come to its end.
            notes.taken |= changed;
            notes.taken.clone()
        };
        if taken.is_empty() {
            return 0;
        }
        // Rows that are not covered are read with all their versions when they will be.
        let covered = self.index.postings.read().covered();
        taken.remove_range(covered..);
        let mut left = RoaringBitmap::new();
        let mut read = 0;
        let mut rows = taken.iter();
        loop {
            self.catcher.batch.clear();
            let mut full = false;
            for row in rows.by_ref().take(self.index.share.batch_rows as usize) {
                read += 1;
                full = true;
                match self.read(row) {
                    Reading::Done => {}
                    Reading::Newer | Reading::Beyond => {
                        left.insert(row);
                    }
                }
            }
            if !full {
                break;
            }
            self.index.postings.write().add(&self.catcher.batch);
            if let Some(next) = &mut self.catcher.next {
                next.add(&self.catcher.batch);
            }
            if read >= self.index.share.catch_up_rows {
                left.extend(rows);
                break;
            }
        }
        let mut notes = self.index.notes.lock();
        notes.changed |= left;
        notes.taken.clear();
        read
    }

    /// Adds up to `most` rows that are not covered yet.
    fn read_new(&mut self, most: u32) {
        let first = self.index.postings.read().covered();
        let end = self.table.row_count().min(first.saturating_add(most));
        let mut covered = first;
        while covered < end {
            let behind = self.read_batch(covered, end);
            if behind == covered {
                break;
            }
            let mut postings = self.index.postings.write();
            postings.add(&self.catcher.batch);
            postings.set_covered(behind);
            covered = behind;
        }
    }

    /// Goes on with a rebuild, or begins one where it is worth it.
    fn rebuild(&mut self) {
        let (covered, stale) = {
            let postings = self.index.postings.read();
            (postings.covered(), postings.stale())
        };
        let mut next = match self.catcher.next.take() {
            Some(next) => next,
            None => {
                let stale = stale + self.index.notes.lock().deleted;
                let much = stale
                    > self
                        .index
                        .share
                        .stale_least
                        .max(u64::from(covered) / STALE_PART);
                if !much || self.horizon <= self.catcher.rebuilt_at {
                    return;
                }
                self.catcher.rebuilt_at = self.horizon;
                self.index.notes.lock().deleted = 0;
                Postings::default()
            }
        };
        let end = covered.min(next.covered().saturating_add(self.index.share.rebuild_rows));
        while next.covered() < end {
            let behind = self.read_batch(next.covered(), end);
            if behind == next.covered() {
                break;
            }
            next.add(&self.catcher.batch);
            next.set_covered(behind);
        }
        if next.covered() < covered {
            self.catcher.next = Some(next);
        } else {
            // The old ones are dropped behind the lock.
            let old = std::mem::replace(&mut *self.index.postings.write(), next);
            drop(old);
        }
    }

    /// Reads some of the rows from `from` on into the batch; up to where. Those with newer versions
    /// than the snapshot are noted.
    fn read_batch(&mut self, from: u32, end: u32) -> u32 {
        self.catcher.batch.clear();
        let end = end.min(from.saturating_add(self.index.share.batch_rows));
        for row in from..end {
            match self.read(row) {
                Reading::Done => {}
                Reading::Newer => self.index.changed(row),
                Reading::Beyond => return row,
            }
        }
        end
    }

    /// Reads what somebody may see of a row into the batch.
    fn read(&mut self, number: u32) -> Reading {
        let (lsn, horizon) = (self.lsn, self.horizon);
        let Catcher {
            batch, versions, ..
        } = &mut *self.catcher;
        versions.clear();
        let read = self.table.with_slot(number, |slot| {
            // Nobody sees a slot that is empty below the table's last row, nor a freed one.
            let Some(row) = slot.row() else {
                return (None, Reading::Done);
            };
            if row.lsn > lsn {
                return (None, Reading::Beyond);
            }
            if slot.gone(horizon) {
                return (None, Reading::Done);
            }
            let mut newest = row.lsn;
            slot.versions(row, horizon, |since, values| {
                newest = newest.max(since);
                versions.push(values);
            });
            if newest > lsn {
                return (None, Reading::Newer);
            }
            if slot.deleted() {
                batch.dead(number);
            }
            (Some(*row), Reading::Done)
        });
        let Some((row, reading)) = read else {
            return Reading::Done;
        };
        // A row of unknown kind passes no filter: its body is damaged.
        if let Some(row) = row
            && let Some(kind) = row.kind
        {
            let mut last_place = None;
            for values in versions {
                batch.columns(number, kind, row.agent, values);
                if last_place != Some(values.traits_place) {
                    let traits = (self.traits_of)(&row, values);
                    batch.traits(number, traits.as_ref());
                    last_place = Some(values.traits_place);
                }
            }
        }
        reading
    }
}

#[cfg(test)]
#[path = "filter_index_tests.rs"]
mod tests;
