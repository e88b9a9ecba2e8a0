//! How does a table come to other vectors?
//!
//! While a re-embedding goes on, its vectors gather in `next`, and nobody searches them. With the
//! definition that ends it, the collective gets another table over the same rows, whose vectors they are; the
//! old one stays with the snapshots that see it. *Invariant: a row of the new table up to its `since` has its
//! vector in `beside`, or none that can be read; a later row has it in its body.*

use super::{
    Arc, AtomicBool, Checkpoint, CheckpointCollective, Collective, Embeddings, Lsn, OnceLock,
    Ordering, Swap, Table, VectorEpoch, VectorIndex, Visited,
};
use crate::state::{chunk::Row, embeddings::Placed};

impl Table {
    /// Where the vector of a row stands; `None` where that is its body.
    #[inline]
    pub fn vectors_beside(&self, row: &Row) -> Option<&Embeddings> {
        (row.lsn <= self.since).then_some(&*self.beside)
    }

    /// The vectors that the rows up to `since` go by, where they are not those of their bodies.
    pub fn embeddings(&self) -> Option<&Embeddings> {
        (self.since != Lsn::ZERO).then_some(&*self.beside)
    }

    /// From which record on rows have the vectors of their bodies.
    pub fn since(&self) -> Lsn {
        self.since
    }

    /// The record that holds the vector of a row.
    pub fn vector_lsn(&self, row: &Visited<'_>) -> Lsn {
        let beside = self.vectors_beside(row.row);
        let placed = beside.and_then(|beside| beside.with(row.number, |placed| placed.lsn));
        placed.unwrap_or(row.row.lsn)
    }

    /// The vectors that a re-embedding is making.
    pub fn next_embeddings(&self) -> Option<Arc<Embeddings>> {
        self.next.load()
    }

    /// Whether new vectors wait until a re-embedding has ended.
    pub fn is_ending(&self) -> bool {
        self.ending.load(Ordering::Acquire)
    }

    /// Lets new vectors wait, or go on.
    pub fn set_ending(&self, ending: bool) {
        self.ending.store(ending, Ordering::Release);
    }

    /// A row has another vector, of the re-embedding that `epoch` began. For the committer.
    pub(in crate::state) fn embed(&self, number: u32, epoch: Lsn, placed: Placed) {
        let there = self.with_slot(number, |slot| slot.row().is_some());
        if epoch < self.epoch || there != Some(true) {
            return;
        }
        if epoch == self.epoch {
            self.beside.put(number, placed);
            return;
        }
        // Compaction drops definitions that nobody sees: the vectors themselves tell of a new one.
        let next = match self.next.load() {
            Some(next) if next.epoch >= epoch => next,
            _ => {
                let next = Arc::new(Embeddings::new(epoch));
                self.next.store(Some(Arc::clone(&next)));
                next
            }
        };
        if next.epoch == epoch {
            next.put(number, placed);
        }
    }

    /// Lets go of vectors that nobody will go by: the re-embedding was given up for another, or for none.
    /// For the committer, told of the newest definition.
    pub(in crate::state) fn keep_next(self: &Arc<Self>, vectors: &VectorEpoch) {
        let wanted = vectors.next.as_ref().map(|next| next.epoch);
        for table in self.with_others() {
            let made = table.next.load().map(|next| next.epoch);
            if made != wanted {
                let next = wanted.filter(|_| table.dimension > 0);
                let next = next.map(|epoch| Arc::new(Embeddings::new(epoch)));
                table.next.store(next);
            }
        }
    }

    /// The table that takes the place of this one, of experiences, with the vectors that `definition` goes
    /// by, and that of insights with it.
    pub(in crate::state) fn reembedded(&self, definition: &Collective) -> Self {
        let insights = OnceLock::new();
        if let Some(table) = self.insights.get() {
            let _ = insights.set(Arc::new(table.with_vectors(definition)));
        }
        Self {
            insights,
            ..self.with_vectors(definition)
        }
    }

    fn with_vectors(&self, definition: &Collective) -> Self {
        let VectorEpoch { epoch, since, next } = &definition.vectors;
        let made = self.next.load().filter(|made| made.epoch == *epoch);
        Self {
            rows: Arc::clone(&self.rows),
            dimension: definition.embedding_dimension,
            epoch: *epoch,
            since: *since,
            beside: made.unwrap_or_else(|| Arc::new(Embeddings::new(*epoch))),
            next: Swap::new(
                next.as_ref()
                    .map(|next| Arc::new(Embeddings::new(next.epoch))),
            ),
            ending: AtomicBool::new(false),
            vectors: VectorIndex::new(definition.embedding_dimension),
            insights: OnceLock::new(),
        }
    }

    /// Adds the vectors that a checkpoint holds beside the bodies.
    pub(super) fn embed_over(
        &mut self,
        base: &Arc<Checkpoint>,
        stored: &CheckpointCollective,
        vectors: &VectorEpoch,
    ) {
        let made = |epoch| {
            let (number, count) = (stored.number, stored.row_count);
            Arc::new(Embeddings::over(base, number, count, epoch))
        };
        if vectors.since != Lsn::ZERO {
            self.beside = made(vectors.epoch);
        }
        let next = vectors.next.as_ref().map(|next| made(next.epoch));
        self.next = Swap::new(next);
    }
}
