//! What is known of one collective?

use crate::{
    format::{Checkpoint, CheckpointCollective},
    model::{Collective, Lsn, Timestamp},
    simd::prefetch,
    state::{
        base::Base,
        chain::Chain,
        chunk::{Chunk, Row, Slot, extent, locate},
        filter_index::FilterIndex,
        names::Names,
        values::Values,
    },
    sync::{
        Arc, Mutex, Swap,
        atomic::{AtomicU32, AtomicU64, Ordering},
    },
    vector::index::VectorIndex,
};

type Chunks = Vec<Option<Arc<Chunk>>>;

/// The rows and the definition of one collective. The committer appends; readers walk.
#[derive(Debug)]
pub struct Table {
    /// Number of the collective in the log.
    pub number: u32,
    /// Its id.
    pub id: u128,
    /// Components of its vectors.
    pub dimension: u16,
    /// Its agents.
    pub agents: Names,
    definition: Chain<Arc<Collective>>,
    /// Copied when a chunk is added or freed, not per row.
    chunks: Swap<Chunks>,
    /// Row numbers given out so far.
    rows: AtomicU32,
    /// No live or later snapshot is below this LSN.
    horizon: AtomicU64,
    /// The newest record of this process that changed anything in here.
    changed_at: AtomicU64,
    /// From the first filtered search on.
    pub(super) filter_index: Mutex<Option<Arc<FilterIndex>>>,
    /// Which rows are near a vector.
    pub vectors: VectorIndex,
}

/// A row that a walk passes: what never changes at hand, what does at a price.
#[derive(Clone, Copy)]
pub struct Visited<'a> {
    /// Row number.
    pub number: u32,
    /// What never changes.
    pub row: &'a Row,
    slot: &'a Slot,
    lsn: Lsn,
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

    /// Whether the body was compared with its checksums; see [`crate::state::body`].
    pub(super) fn checked(&self) -> bool {
        self.slot.checked()
    }

    /// The body was compared with its checksums.
    pub(super) fn note_checked(&self) {
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
    slot: &'a Slot,
    lsn: Lsn,
    horizon: Lsn,
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
    chunks: Arc<Chunks>,
    lsn: Lsn,
}

impl Rows {
    fn slot(&self, number: u32) -> Option<&Slot> {
        let (chunk, slot) = locate(number);
        self.chunks.get(chunk)?.as_ref()?.slots().get(slot)
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

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(number: u32, definition: &Collective) -> Self {
        Self {
            number,
            id: definition.id.as_u128(),
            dimension: definition.embedding_dimension,
            agents: Names::default(),
            definition: Chain::default(),
            chunks: Swap::new(Some(Arc::new(Vec::new()))),
            rows: AtomicU32::new(0),
            horizon: AtomicU64::new(0),
            changed_at: AtomicU64::new(0),
            filter_index: Mutex::default(),
            vectors: VectorIndex::new(definition.embedding_dimension),
        }
    }

    /// The table of a collective as a checkpoint has it; `None` if it has no definition.
    #[must_use]
    pub fn over(base: &Arc<Checkpoint>, collective: &CheckpointCollective) -> Option<Self> {
        let (_, first) = collective.definitions.first()?;
        let mut table = Self::new(collective.number, first);
        let horizon = base.header().horizon;
        for (lsn, definition) in &collective.definitions {
            table.define(*lsn, Arc::new(definition.clone()), Lsn::ZERO);
        }
        table.agents = Names::of(&collective.agents);
        table.note_horizon(horizon);
        let base = Arc::new(Base::new(Arc::clone(base), collective.number));
        let row_count = collective.row_count;
        let count = row_count
            .checked_sub(1)
            .map_or(0, |last| locate(last).0 + 1);
        let chunks = (0..count).map(|index| Chunk::over(&base, index, row_count).map(Arc::new));
        table.chunks = Swap::new(Some(Arc::new(chunks.collect())));
        table.rows = AtomicU32::new(row_count);
        Some(table)
    }

    /// The definitions up to `lsn` that somebody at or above `horizon` may see, oldest first, each
    /// with the LSN since which it holds.
    pub fn definitions(&self, horizon: Lsn, lsn: Lsn) -> Vec<(Lsn, Arc<Collective>)> {
        let mut definitions = Vec::new();
        self.definition.since(horizon, |since, definition| {
            if since <= lsn {
                definitions.push((since, Arc::clone(definition)));
            }
        });
        definitions.reverse();
        definitions
    }

    /// The newest record since the open that changed a row or the definition. What is older than the
    /// open is older than every snapshot that asks. For the committer.
    pub fn changed_at(&self) -> Lsn {
        Lsn::new(self.changed_at.load(Ordering::Relaxed))
    }

    /// Notes a change of a row or of the definition. For the committer.
    pub(super) fn note_change(&self, lsn: Lsn) {
        self.changed_at.fetch_max(lsn.get(), Ordering::Relaxed);
    }

    /// The newest record that set the definition.
    pub fn defined_at(&self) -> Lsn {
        let mut newest = Lsn::ZERO;
        self.definition
            .since(Lsn::new(u64::MAX), |lsn, _| newest = lsn);
        newest
    }

    /// The definition as of `lsn`.
    pub fn definition(&self, lsn: Lsn) -> Option<Arc<Collective>> {
        self.definition.at(lsn, Arc::clone)
    }

    /// Row numbers given out so far, of whatever LSN.
    pub fn row_count(&self) -> u32 {
        self.rows.load(Ordering::Acquire)
    }

    /// The row behind the newest one that somebody at `lsn` may see: later ones may stand in segments
    /// that a snapshot of that LSN does not know.
    pub fn end_at(&self, lsn: Lsn) -> u32 {
        let count = self.row_count();
        let rows = self.rows(lsn);
        (0..count)
            .rev()
            .take_while(|number| rows.filled(*number).is_none_or(|row| row.row.lsn > lsn))
            .last()
            .unwrap_or(count)
    }

    /// Row numbers given out up to `lsn`. Unlike [`Table::end_at`] it counts rows that are gone.
    pub fn row_count_at(&self, lsn: Lsn) -> u32 {
        let count = self.row_count();
        let rows = self.rows(lsn);
        // A row above the LSN of a snapshot that is held cannot be gone.
        let newer = |number: &u32| rows.filled(*number).is_some_and(|row| row.row.lsn > lsn);
        (0..count).rev().take_while(newer).last().unwrap_or(count)
    }

    /// The rows by number, for a call that asks for many.
    pub fn rows(&self, lsn: Lsn) -> Rows {
        Rows {
            chunks: self.chunks.load().unwrap_or_default(),
            lsn,
        }
    }

    /// The row as of `lsn`.
    pub fn row(&self, number: u32, lsn: Lsn) -> Option<RowState> {
        let state = |row: &Visited<'_>| RowState {
            row: *row.row,
            values: row.values(),
        };
        self.with_row(number, lsn, || (), state)
    }

    /// Looks at the row as of `lsn`, if it is visible. `meanwhile` runs while the row is on its way from
    /// memory.
    pub fn with_row<R>(
        &self,
        number: u32,
        lsn: Lsn,
        meanwhile: impl FnOnce(),
        look: impl FnOnce(&Visited<'_>) -> R,
    ) -> Option<R> {
        self.with_slot(number, |slot| {
            prefetch(std::slice::from_ref(slot));
            meanwhile();
            slot.visible(lsn).map(|row| {
                look(&Visited {
                    number,
                    row,
                    slot,
                    lsn,
                })
            })
        })?
    }

    /// Walks the rows visible at `lsn` upwards from row `from`, until `visit` says stop (false).
    pub fn for_each_from(&self, from: u32, lsn: Lsn, mut visit: impl FnMut(Visited<'_>) -> bool) {
        let Some(chunks) = self.chunks.load() else {
            return;
        };
        let end = self.row_count();
        let (first_chunk, _) = locate(from);
        for (index, chunk) in chunks.iter().enumerate().skip(first_chunk) {
            let Some(chunk) = chunk else { continue };
            let (start, _) = extent(index);
            for (slot, number) in chunk.slots().iter().zip(start..end) {
                if number >= from && !visit_slot(slot, number, lsn, &mut visit) {
                    return;
                }
            }
        }
    }

    /// Walks the rows visible at `lsn` downwards from below row `below`, until `visit` says stop.
    pub fn for_each_below(&self, below: u32, lsn: Lsn, mut visit: impl FnMut(Visited<'_>) -> bool) {
        let Some(chunks) = self.chunks.load() else {
            return;
        };
        let below = below.min(self.row_count());
        let Some(last) = below.checked_sub(1) else {
            return;
        };
        let (last_chunk, _) = locate(last);
        for (index, chunk) in chunks.iter().enumerate().take(last_chunk + 1).rev() {
            let Some(chunk) = chunk else { continue };
            let (start, _) = extent(index);
            let slots = chunk.slots().iter().enumerate().rev();
            for (offset, slot) in slots {
                let number = start + offset as u32;
                if number < below && !visit_slot(slot, number, lsn, &mut visit) {
                    return;
                }
            }
        }
    }

    /// The first row at or behind (`time`, `id`), whoever may see it. Rows stand in that order: the
    /// committer gives times and ids that never decrease.
    pub fn seek(&self, time: Timestamp, id: u128) -> u32 {
        let before = |row: &Row| (row.time, row.id) < (time, id);
        let Some(chunks) = self.chunks.load() else {
            return 0;
        };
        let mut start = 0;
        for (index, chunk) in chunks.iter().enumerate() {
            // A chunk says nothing where it was freed, or where the committer is about to fill its
            // first row.
            match chunk.as_ref().and_then(|chunk| chunk.first_row()) {
                Some(row) if before(&row) => start = index,
                Some(_) => break,
                None => {}
            }
        }
        let (first, _) = extent(start);
        let behind = chunks
            .get(start)
            .and_then(Option::as_ref)
            .map_or(0, |chunk| {
                chunk
                    .slots()
                    .iter()
                    .rposition(|slot| slot.row().is_some_and(before))
                    .map_or(0, |last| last as u32 + 1)
            });
        first + behind
    }

    /// Which of its chunks take memory, or will.
    #[cfg(test)]
    pub fn chunks_there(&self) -> Vec<bool> {
        let chunks = self.chunks.load().unwrap_or_default();
        chunks.iter().map(Option::is_some).collect()
    }

    /// Looks at a slot, whoever may see its row.
    pub fn with_slot<R>(&self, number: u32, look: impl FnOnce(&Slot) -> R) -> Option<R> {
        let (chunk, slot) = locate(number);
        self.chunks.with(|chunks| {
            let chunk = chunks?.get(chunk)?.as_ref()?;
            chunk.slots().get(slot).map(look)
        })
    }

    /// An LSN that no live or later snapshot is below, not necessarily the highest such.
    pub fn horizon(&self) -> Lsn {
        Lsn::new(self.horizon.load(Ordering::Relaxed))
    }

    /// The index of what filters ask for; it exists from now on.
    pub fn filter_index(&self) -> Arc<FilterIndex> {
        Arc::clone(self.filter_index.lock().get_or_insert_default())
    }

    /// About how many bytes that index takes.
    pub fn filter_index_bytes(&self) -> usize {
        let index = self.filter_index.lock().clone();
        index.map_or(0, |index| index.bytes())
    }

    /// Notes the oldest LSN that anybody reads at. For the committer.
    pub(super) fn note_horizon(&self, horizon: Lsn) {
        self.horizon.store(horizon.get(), Ordering::Relaxed);
    }

    /// Adds a version of a row's values. For the committer.
    pub(super) fn revise(&self, number: u32, lsn: Lsn, values: Values, horizon: Lsn) {
        self.with_slot(number, |slot| slot.push(lsn, values, horizon));
        // Behind the push: who finds the row noted finds the version.
        if let Some(index) = self.filter_index.lock().as_ref() {
            index.changed(number);
        }
    }

    /// Marks a row as deleted; false where it was already, or there is none. For the committer.
    pub(super) fn delete(&self, number: u32, lsn: Lsn) -> bool {
        let deleted = self.with_slot(number, |slot| slot.delete(lsn)) == Some(true);
        if deleted && let Some(index) = self.filter_index.lock().as_ref() {
            index.deleted();
        }
        deleted
    }

    /// Sets the definition that holds from `lsn` on. For the committer.
    pub(super) fn define(&self, lsn: Lsn, definition: Arc<Collective>, horizon: Lsn) {
        self.definition.push(lsn, definition, horizon);
    }

    /// Fills a row. For the committer.
    pub(super) fn fill(&self, number: u32, row: Row) {
        let (index, _) = locate(number);
        let mut chunks = self.chunks.load().unwrap_or_default();
        if chunks.len() <= index {
            let mut grown = Chunks::clone(&chunks);
            // Rows in between, if there are any, were deleted, and compaction has left nothing of them.
            grown.resize(index, None);
            grown.push(Some(Arc::new(Chunk::new(index))));
            chunks = Arc::new(grown);
            self.chunks.store(Some(Arc::clone(&chunks)));
        }
        // Whoever commits has just written the body, and whoever replays has compared it with its
        // checksums. Of one that could not be read nothing is known but its identity: it is
        // compared again whenever somebody asks for it.
        self.with_slot(number, |slot| slot.fill(row, row.kind.is_some()));
        self.note_row(number);
    }

    /// Notes that a row number was given out. For the committer.
    pub(super) fn note_row(&self, number: u32) {
        self.rows
            .fetch_max(number.saturating_add(1), Ordering::Release);
    }

    /// Lets go of the places of rows that the log does not know any more. For whoever has replayed it.
    pub(super) fn forget_missing(&self) {
        let Some(chunks) = self.chunks.load() else {
            return;
        };
        let count = self.row_count();
        let mut fewer = Chunks::clone(&chunks);
        for (index, kept) in fewer.iter_mut().enumerate() {
            let Some(chunk) = kept else { continue };
            let (start, _) = extent(index);
            let given = chunk.slots().iter().zip(start..count);
            let missing = given.filter(|(slot, _)| slot.row().is_none()).count();
            if (0..missing).any(|_| chunk.forget_one()) {
                *kept = None;
            }
        }
        self.chunks.store(Some(Arc::new(fewer)));
    }

    /// Lets go of a row deleted at `lsn` that nobody can see any more, and of its chunk if it was
    /// the last there.
    pub(super) fn forget(&self, number: u32, lsn: Lsn) {
        self.horizon.fetch_max(lsn.get(), Ordering::Relaxed);
        self.vectors.bury(number);
        let (index, _) = locate(number);
        let Some(chunks) = self.chunks.load() else {
            return;
        };
        let emptied = chunks
            .get(index)
            .and_then(Option::as_ref)
            .is_some_and(|chunk| chunk.forget_one());
        if emptied {
            let mut fewer = Chunks::clone(&chunks);
            if let Some(chunk) = fewer.get_mut(index) {
                *chunk = None;
            }
            self.chunks.store(Some(Arc::new(fewer)));
        }
    }
}

fn visit_slot(
    slot: &Slot,
    number: u32,
    lsn: Lsn,
    visit: &mut impl FnMut(Visited<'_>) -> bool,
) -> bool {
    match slot.visible(lsn) {
        Some(row) => visit(Visited {
            number,
            row,
            slot,
            lsn,
        }),
        None => true,
    }
}

#[cfg(test)]
#[path = "table_tests.rs"]
mod tests;
