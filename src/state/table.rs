//! What is known of one collective's experiences, relations or insights?
//!
//! Each of the three has a table. That of the experiences stands for the collective and leads to the
//! other two, which are made when the first relation or insight is stored.

mod cold;
mod expiry;
mod indexes;

use std::ops::Deref;

use crate::{
    format::{Checkpoint, CheckpointCollective, RowKind},
    model::{Collective, Lsn, Timestamp, VectorEpoch},
    simd::prefetch,
    state::{
        activities::Activities,
        adjacency::Adjacency,
        base::{self, Base},
        chain::Chain,
        chunk::{Chunk, Row, Slot, extent, locate},
        content_index::ContentIndex,
        embeddings::Embeddings,
        filter_index::FilterIndex,
        names::Names,
        order::{Orders, Sequence},
        values::Values,
    },
    sync::{
        Arc, Mutex, OnceLock, Swap,
        atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering},
    },
    text::{Analyser, TextIndex},
    vector::index::VectorIndex,
};

mod family;
mod reembedding;
mod rows;

pub use rows::{Kept, RowState, Rows, Visited};

type Chunks = Vec<Option<Arc<Chunk>>>;

/// The rows of one kind in one collective, with the vectors that it goes by. The committer appends;
/// readers walk.
///
/// Re-embedding a collective gives it another table, with the same rows and other vectors; who holds a
/// snapshot from before goes on with the one from before.
#[derive(Debug)]
pub struct Table {
    rows: Arc<AllRows>,
    /// Components of its vectors; 0 where its rows have none.
    pub dimension: u16,
    /// Which vectors these are; see [`crate::model::VectorEpoch`].
    pub epoch: Lsn,
    /// Later rows have theirs in their bodies.
    since: Lsn,
    /// The vectors of the rows up to there; where there is none of a row, it is lost.
    beside: Arc<Embeddings>,
    /// The vectors that a re-embedding is making.
    next: Swap<Embeddings>,
    /// Whether a re-embedding is about to end, so that new vectors wait.
    ending: AtomicBool,
    /// Which rows are near a vector.
    pub vectors: VectorIndex,
    /// Of experiences: the table of the collective's insights.
    insights: OnceLock<Arc<Table>>,
}

/// What is the same whatever vectors a table goes by.
#[derive(Debug)]
pub struct AllRows {
    /// Number of the table, see [`RowKind`].
    pub number: u32,
    /// The collective's id.
    pub id: u128,
    /// Its agents.
    pub agents: Names,
    definition: Chain<Arc<Collective>>,
    /// Copied when a chunk is added or freed, not per row.
    chunks: Swap<Chunks>,
    /// Row numbers given out so far.
    count: AtomicU32,
    /// No live or later snapshot is below this LSN.
    horizon: AtomicU64,
    /// Which orders the rows keep, and how to list them in those that they do not.
    pub(super) orders: Orders,
    /// The newest record of this process that changed anything in here.
    changed_at: AtomicU64,
    /// From the first filtered search on.
    pub(super) filter_index: Mutex<Option<Arc<FilterIndex>>>,
    /// Of experiences: the relations at each.
    pub adjacency: Adjacency,
    /// Of experiences: the table of the collective's relations.
    relations: OnceLock<Arc<Table>>,
    /// What its agents do.
    pub activities: Activities,
    /// From the first recording on that asks for duplicates by content.
    content_index: Mutex<Option<Arc<ContentIndex>>>,
    /// From the first search by words on.
    text_index: Mutex<Option<Arc<TextIndex>>>,
    /// No living row expires before; see [`expiry`].
    next_expiry: AtomicU64,
}

impl Deref for Table {
    type Target = AllRows;

    fn deref(&self) -> &AllRows {
        &self.rows
    }
}

impl Table {
    /// An empty table.
    #[must_use]
    pub fn new(number: u32, definition: &Collective) -> Self {
        let rows = AllRows::empty(number, definition.id.as_u128());
        Self::of(rows, definition.embedding_dimension, &definition.vectors)
    }

    fn of(rows: AllRows, dimension: u16, vectors: &VectorEpoch) -> Self {
        Self {
            rows: Arc::new(rows),
            dimension,
            epoch: vectors.epoch,
            since: vectors.since,
            beside: Arc::new(Embeddings::new(vectors.epoch)),
            next: Swap::new(None),
            ending: AtomicBool::new(false),
            vectors: VectorIndex::new(dimension),
            insights: OnceLock::new(),
        }
    }

    /// The table of a collective's experiences as a checkpoint has it; `None` if it has no definition.
    #[must_use]
    pub fn over(base: &Arc<Checkpoint>, collective: &CheckpointCollective) -> Option<Self> {
        let (_, newest) = collective.definitions.last()?;
        let mut rows = AllRows::over(base, collective, Lsn::ZERO);
        rows.adjacency = Adjacency::over(Arc::clone(base), collective.number);
        for (lsn, definition) in &collective.definitions {
            rows.define(*lsn, Arc::new(definition.clone()), Lsn::ZERO);
        }
        base::restore_activities(&rows.activities, &collective.activities);
        let mut table = Self::of(rows, newest.embedding_dimension, &newest.vectors);
        table.embed_over(base, collective, &newest.vectors);
        Some(table)
    }

    /// Lets go of a row deleted at `lsn` that nobody can see any more. For the committer.
    pub(super) fn forget(&self, number: u32, lsn: Lsn) {
        self.vectors.bury(number);
        self.forget_row(number, lsn);
    }
}

impl AllRows {
    fn empty(number: u32, id: u128) -> Self {
        Self {
            number,
            id,
            agents: Names::default(),
            definition: Chain::default(),
            chunks: Swap::new(Some(Arc::new(Vec::new()))),
            count: AtomicU32::new(0),
            horizon: AtomicU64::new(0),
            orders: Orders::default(),
            changed_at: AtomicU64::new(0),
            filter_index: Mutex::default(),
            adjacency: Adjacency::default(),
            relations: OnceLock::new(),
            activities: Activities::default(),
            content_index: Mutex::default(),
            text_index: Mutex::default(),
            next_expiry: AtomicU64::new(expiry::NEVER),
        }
    }

    fn over(base: &Arc<Checkpoint>, stored: &CheckpointCollective, horizon: Lsn) -> Self {
        let mut rows = Self::empty(stored.number, stored.id.as_u128());
        rows.agents = Names::of(&stored.agents);
        rows.note_horizon(horizon.max(base.header().horizon));
        let base = Arc::new(Base::new(Arc::clone(base), stored.number));
        let row_count = stored.row_count;
        let sequence = Sequence::behind(base.last().as_ref(), stored.out_of_order);
        rows.orders = Orders::over(sequence);
        let count = row_count
            .checked_sub(1)
            .map_or(0, |last| locate(last).0 + 1);
        let chunks = (0..count).map(|index| Chunk::over(&base, index, row_count).map(Arc::new));
        rows.chunks = Swap::new(Some(Arc::new(chunks.collect())));
        rows.count = AtomicU32::new(row_count);
        if row_count > 0 {
            // The rows say when they expire, and nobody has asked them yet.
            rows.next_expiry = AtomicU64::new(expiry::UNKNOWN);
        }
        rows
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
        self.count.load(Ordering::Acquire)
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

    /// The first row at or behind (`time`, `id`), whoever may see it, where rows stand in that order.
    #[cfg(any(test, pulsedb_loom))]
    pub fn seek(&self, time: Timestamp, id: u128) -> u32 {
        self.partition(|row| (row.time, row.id) < (time, id))
    }

    /// The first row that is not `before` something, whoever may see it, where all rows that are stand in
    /// front of those that are not.
    pub(super) fn partition(&self, before: impl Fn(&Row) -> bool) -> u32 {
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
                    .rposition(|slot| slot.row().is_some_and(&before))
                    .map_or(0, |last| last as u32 + 1)
            });
        first + behind
    }

    /// Shows the rows from row `from` on that somebody may see, by number, and answers the number behind the
    /// last one given out. What nobody has asked for before does not stay in memory.
    pub(super) fn for_each_needed(&self, from: u32, mut look: impl FnMut(u32, &Row)) -> u32 {
        let (end, horizon) = (self.row_count(), self.horizon());
        if from >= end {
            return from;
        }
        let chunks = self.chunks.load().unwrap_or_default();
        let (first_chunk, _) = locate(from);
        for (index, chunk) in chunks.iter().enumerate().skip(first_chunk) {
            let Some(chunk) = chunk else { continue };
            let (start, _) = extent(index);
            if start >= end {
                break;
            }
            chunk.with_slots(|slots| {
                for (slot, number) in slots.iter().zip(start..end) {
                    if number >= from
                        && let Some(row) = slot.row()
                        && !slot.gone(horizon)
                    {
                        look(number, row);
                    }
                }
            });
        }
        end
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

    /// Notes the oldest LSN that anybody reads at. For the committer.
    pub(super) fn note_horizon(&self, horizon: Lsn) {
        self.horizon.store(horizon.get(), Ordering::Relaxed);
    }

    /// Adds a version of a row's values. For the committer.
    pub(super) fn revise(&self, number: u32, lsn: Lsn, values: Values, horizon: Lsn) {
        self.with_slot(number, |slot| slot.push(lsn, values, horizon));
        self.note_expiry(values.pinned, values.expires_at);
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
        // Before the row is there: who meets it knows that it breaks an order.
        self.orders.note(&row);
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
        self.note_expiry(row.pinned, row.expires_at);
        self.note_row(number);
    }

    /// Notes that a row number was given out. For the committer.
    pub(super) fn note_row(&self, number: u32) {
        self.count
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

    /// Lets go of the activity of an agent that ended at `lsn`, once nobody can see it any more.
    pub(super) fn forget_activity(&self, agent: &str, lsn: Lsn) {
        self.horizon.fetch_max(lsn.get(), Ordering::Relaxed);
        self.activities.forget(agent, lsn);
    }

    /// Lets go of a row deleted at `lsn` that nobody can see any more, and of its chunk if it was
    /// the last there.
    fn forget_row(&self, number: u32, lsn: Lsn) {
        self.horizon.fetch_max(lsn.get(), Ordering::Relaxed);
        self.orders.note_forgotten();
        if let Some(index) = self.text_index.lock().as_ref() {
            index.bury();
        }
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
