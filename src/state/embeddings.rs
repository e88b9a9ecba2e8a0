//! Where are the vectors that a re-embedding has made?
//!
//! In the log, as records beside the bodies; here stands which record is whose. Rows get their entries one
//! by one, while searches still go by the vectors before these; an entry is written once. What a checkpoint
//! holds of them is made into entries when somebody first asks for one near it. The committer puts; everybody
//! reads.

use crate::{
    format::Checkpoint,
    log::Place,
    model::Lsn,
    sync::{
        Arc, OnceLock, Swap,
        atomic::{AtomicBool, Ordering},
    },
};

/// Rows whose entries come together: a few KiB, as a small collective takes.
const CHUNK_ROWS: u32 = 256;

/// The record of a vector.
#[derive(Debug)]
pub struct Placed {
    /// Its LSN.
    pub lsn: Lsn,
    /// Where it is in the log.
    pub place: Place,
    /// 1 / ‖vector‖; 0 where the record is damaged.
    pub inverse_norm: f32,
    /// Whether this process wrote the record, or compared it with its checksums.
    checked: AtomicBool,
}

impl Placed {
    /// A record; `checked` says whether this process wrote it, or compared it with its checksums.
    #[must_use]
    pub fn new(lsn: Lsn, place: Place, inverse_norm: f32, checked: bool) -> Self {
        Self {
            lsn,
            place,
            inverse_norm,
            checked: AtomicBool::new(checked),
        }
    }

    /// Whether the record was compared with its checksums, so that nobody need do it again.
    pub fn checked(&self) -> bool {
        // The bytes never change: whoever reads an old `false` compares them once more.
        self.checked.load(Ordering::Relaxed)
    }

    /// The record was compared with its checksums.
    pub fn note_checked(&self) {
        self.checked.store(true, Ordering::Relaxed);
    }
}

type Entries = Box<[OnceLock<Placed>]>;

/// The entries of [`CHUNK_ROWS`] rows.
#[derive(Debug)]
struct Chunk {
    first: u32,
    entries: OnceLock<Entries>,
    /// What the entries are made from, where they were not made at once: a checkpoint, and the table's
    /// number in it.
    base: Option<(Arc<Checkpoint>, u32)>,
}

impl Chunk {
    fn entries(&self, epoch: Lsn) -> &[OnceLock<Placed>] {
        self.entries.get_or_init(|| {
            let entries: Entries = (0..CHUNK_ROWS).map(|_| OnceLock::new()).collect();
            let Some((base, table)) = &self.base else {
                return entries;
            };
            let rows = self.first..self.first.saturating_add(CHUNK_ROWS);
            let stored = base.embeddings(*table, rows);
            for one in stored.filter(|one| one.epoch == epoch) {
                let (segment, unit) = one.place;
                let place = Place { segment, unit };
                if let Some(entry) = entries.get((one.row - self.first) as usize) {
                    let _ = entry.set(Placed::new(one.lsn, place, one.inverse_norm, false));
                }
            }
            entries
        })
    }
}

/// The vectors that one re-embedding has made so far of the rows of one table.
#[derive(Debug)]
pub struct Embeddings {
    /// The record that began it.
    pub epoch: Lsn,
    chunks: Swap<Vec<Arc<Chunk>>>,
}

impl Embeddings {
    /// None so far.
    #[must_use]
    pub fn new(epoch: Lsn) -> Self {
        Self {
            epoch,
            chunks: Swap::new(None),
        }
    }

    /// Those that a checkpoint holds of a table with so many rows.
    #[must_use]
    pub fn over(base: &Arc<Checkpoint>, table: u32, row_count: u32, epoch: Lsn) -> Self {
        let chunk = |number: u32| {
            Arc::new(Chunk {
                first: number * CHUNK_ROWS,
                entries: OnceLock::new(),
                base: Some((Arc::clone(base), table)),
            })
        };
        let chunks = (0..row_count.div_ceil(CHUNK_ROWS)).map(chunk).collect();
        Self {
            epoch,
            chunks: Swap::new(Some(Arc::new(chunks))),
        }
    }

    /// Looks at the entry of a row, if it has one.
    pub fn with<R>(&self, row: u32, look: impl FnOnce(&Placed) -> R) -> Option<R> {
        self.chunks.with(|chunks| {
            let chunk = chunks?.get((row / CHUNK_ROWS) as usize)?;
            let entry = chunk.entries(self.epoch).get((row % CHUNK_ROWS) as usize)?;
            entry.get().map(look)
        })
    }

    /// Whether a row has a vector among them.
    pub fn has(&self, row: u32) -> bool {
        self.with(row, |_| ()).is_some()
    }

    /// Gives a row its entry, unless it has one. For the committer.
    pub(super) fn put(&self, row: u32, placed: Placed) {
        let index = (row / CHUNK_ROWS) as usize;
        let mut chunks = self.chunks.load().unwrap_or_default();
        if chunks.len() <= index {
            let mut grown = Vec::clone(&chunks);
            for number in grown.len()..=index {
                grown.push(Arc::new(Chunk {
                    first: number as u32 * CHUNK_ROWS,
                    entries: OnceLock::new(),
                    base: None,
                }));
            }
            chunks = Arc::new(grown);
            self.chunks.store(Some(Arc::clone(&chunks)));
        }
        let chunk = chunks.get(index);
        let entries = chunk.map(|chunk| chunk.entries(self.epoch));
        if let Some(entry) = entries.and_then(|all| all.get((row % CHUNK_ROWS) as usize)) {
            let _ = entry.set(placed);
        }
    }
}
