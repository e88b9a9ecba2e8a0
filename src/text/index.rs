//! What does the full-text index of one table consist of?
//!
//! Frozen runs, oldest first, that together cover the rows from 0 on: one immutable value that a search loads
//! once. Whoever needs more rows than are covered adds them ([`TextIndex::cover`]), in small pieces, so that others who
//! need them too wait for little; somebody in the background merges what has come together
//! ([`TextIndex::tidy`]). The committer never meets any of this.

use std::{
    ops::Range,
    sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

use parking_lot::Mutex;

use super::{analyser::Analyser, builder::RunBuilder, merge, run::Run};
use crate::{
    model::Lsn,
    sync::{Arc, Swap},
};

/// Bytes of text that are added at once. Who needs one of their rows waits for all of them, some 50 ms; fewer
/// would leave more to merge.
const BYTES_AT_ONCE: usize = 2 << 20;

/// Rows are left out of their runs when there are more that nobody needs than a quarter of them all, and than this.
const GONE_LEAST: u64 = 1024;
/// One in so many.
const GONE_PART: u64 = 4;

/// The index at one moment.
#[derive(Clone, Debug, Default)]
pub struct IndexState {
    /// The runs, by row.
    pub runs: Vec<Arc<Run>>,
    /// The row from which on rows are in no run.
    pub covered: u32,
    /// A snapshot below it may see rows that are missing.
    pub horizon: Lsn,
}

impl IndexState {
    /// Bytes of memory that it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        self.runs.iter().map(|run| run.bytes()).sum()
    }

    /// Rows that have words.
    #[must_use]
    pub fn documents(&self) -> u64 {
        self.runs.iter().map(|run| run.documents()).sum()
    }

    /// The mark of the task of a row: rows of one task have the same. `None` where it has none, or has no words and stands
    /// in front of or behind all that do.
    #[must_use]
    pub fn task(&self, row: u32) -> Option<u32> {
        let run = self.runs.partition_point(|run| run.rows().end <= row);
        let run = self.runs.get(run)?;
        run.task(row.checked_sub(run.rows().start)?)
    }

    /// Asks the CPU for what is known of these rows, for callers who will ask for many before they look at the first.
    pub fn expect(&self, rows: Range<u32>) {
        let run = self
            .runs
            .partition_point(|run| run.rows().end <= rows.start);
        if let Some(run) = self.runs.get(run) {
            let within = |row: u32| row.saturating_sub(run.rows().start);
            run.expect(within(rows.start)..within(rows.end));
        }
    }

    fn sizes(&self) -> Vec<u32> {
        self.runs.iter().map(|run| merge::size(run)).collect()
    }
}

/// What an index is told of a row.
#[derive(Clone, Copy, Debug)]
pub struct Told<'t> {
    /// What it says.
    pub text: &'t str,
    /// During which task.
    pub task: Option<&'t str>,
}

/// What is read to make a run.
pub trait Texts {
    /// Tells, once, of a row; `None` where nobody can find it any more.
    fn show(&self, row: u32, see: &mut dyn FnMut(Option<Told<'_>>));

    /// Whether somebody may see a row.
    fn is_needed(&self, row: u32) -> bool;

    /// No snapshot that does not miss what is not needed is below it.
    fn horizon(&self) -> Lsn;
}

/// The index of one table.
#[derive(Debug)]
pub struct TextIndex {
    analyser: Arc<Analyser>,
    state: Swap<IndexState>,
    /// Held by whoever adds rows.
    adding: Mutex<()>,
    /// Held by whoever merges runs that are not small.
    tidying: Mutex<()>,
    /// Held while the state is replaced.
    changing: Mutex<()>,
    /// Rows that have gone since the last merge, about.
    gone: AtomicU64,
    /// Whether all rows that there were at some moment are covered.
    caught_up: AtomicBool,
}

impl TextIndex {
    /// Nothing indexed yet.
    #[must_use]
    pub fn new(analyser: Arc<Analyser>) -> Self {
        Self {
            analyser,
            state: Swap::new(Some(Arc::default())),
            adding: Mutex::default(),
            tidying: Mutex::default(),
            changing: Mutex::default(),
            gone: AtomicU64::new(0),
            caught_up: AtomicBool::new(false),
        }
    }

    /// How many of the first `rows` are not covered; `None` where the index is still being made of rows that were there
    /// before it.
    #[must_use]
    pub fn behind(&self, rows: u32) -> Option<u32> {
        let caught_up = self.caught_up.load(Ordering::Relaxed);
        caught_up.then(|| rows.saturating_sub(self.state().covered))
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> Arc<IndexState> {
        self.state.load().unwrap_or_default()
    }

    /// Sees to it that the rows below `end` are covered.
    pub fn cover(&self, end: u32, texts: &dyn Texts) -> Arc<IndexState> {
        loop {
            let state = self.state();
            if state.covered >= end {
                return state;
            }
            self.add(end, texts);
        }
    }

    /// Adds the next rows below `end`, if there are any that nobody has added.
    pub fn add(&self, end: u32, texts: &dyn Texts) {
        let _adding = self.adding.lock();
        let state = self.state();
        let (mut row, mut bytes) = (state.covered, 0);
        if row >= end {
            return;
        }
        let horizon = texts.horizon();
        let mut builder = RunBuilder::new(&self.analyser, row);
        while row < end && bytes < BYTES_AT_ONCE {
            texts.show(row, &mut |told| {
                builder.add(told);
                bytes += told.map_or(0, |told| told.text.len());
            });
            row += 1;
        }
        let mut run = Arc::new(builder.finish());
        let mut sizes = state.sizes();
        sizes.push(merge::size(&run));
        let fewer = merge::at_once(&sizes) - 1;
        let last = state.runs.len() - fewer..;
        if let Some(small) = state.runs.get(last).filter(|small| !small.is_empty()) {
            let parts: Vec<&Run> = small.iter().chain([&run]).map(Arc::as_ref).collect();
            run = Arc::new(merge::merge(&parts, |_| true));
        }
        // Runs before these may have become fewer meanwhile; these are still the last.
        self.change(|state| {
            state.runs.truncate(state.runs.len() - fewer);
            state.runs.push(run);
            state.covered = row;
            state.horizon = state.horizon.max(horizon);
        });
        if row == end {
            self.caught_up.store(true, Ordering::Relaxed);
        }
    }

    /// Merges runs, and leaves out what nobody needs, if that is worth it; whether it was. For one in the
    /// background.
    pub fn tidy(&self, texts: &dyn Texts) -> bool {
        let Some(_tidying) = self.tidying.try_lock() else {
            return false;
        };
        let state = self.state();
        let sizes = state.sizes();
        let gone = self.gone.load(Ordering::Relaxed);
        let many_gone = gone >= GONE_LEAST && gone > state.documents() / GONE_PART;
        let range = match merge::next(&sizes) {
            Some(range) => range,
            None if many_gone => {
                self.gone.fetch_sub(gone, Ordering::Relaxed);
                for at in 0..merge::settled(&sizes) {
                    self.replace(at..at + 1, &state, texts);
                }
                return true;
            }
            None => return false,
        };
        self.replace(range, &state, texts);
        true
    }

    /// Puts one run in the place of some of `state`, none of which anybody else touches.
    fn replace(&self, range: Range<usize>, state: &IndexState, texts: &dyn Texts) {
        let horizon = texts.horizon();
        let parts = state.runs.get(range.clone()).unwrap_or_default();
        let parts: Vec<&Run> = parts.iter().map(Arc::as_ref).collect();
        let merged = merge::merge(&parts, |row| texts.is_needed(row));
        self.change(|state| {
            state.runs.splice(range, [Arc::new(merged)]);
            state.horizon = state.horizon.max(horizon);
        });
    }

    /// A row is beyond everybody's sight.
    pub fn bury(&self) {
        self.gone.fetch_add(1, Ordering::Relaxed);
    }

    fn change(&self, change: impl FnOnce(&mut IndexState)) {
        let _changing = self.changing.lock();
        let mut state = IndexState::clone(&self.state());
        change(&mut state);
        self.state.store(Some(Arc::new(state)));
    }
}
