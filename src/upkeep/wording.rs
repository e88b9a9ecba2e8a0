//! Who keeps the indexes of words up to date, and when?
//!
//! One thread beside the commits. There is none until somebody searches by words, unless the configuration asks for it; from
//! then on it looks now and then at every collective that was searched so, adds rows that nobody has added, and
//! merges what has come together. Searches do not depend on it: what it has not done yet they do themselves. It reads
//! published snapshots like any reader, and nobody in the commit path waits for it. Where it falls far behind, the admission of new
//! texts waits, so that what a search finds undone is bounded.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::{
    config::{TextConfig, TextIndexing},
    error::{PulseDBError, Result},
    format::RowKind,
    log::SegmentSet,
    model::UpkeepTask,
    protocol::stop::Latch,
    state::{Snapshot, Table, texts::TableTexts},
    sync::{Arc, OnceLock},
    text::{Analyser, TextIndex},
    upkeep::task::{Asked, Run, Tasks},
};

/// What the thread reads from.
type View = Snapshot<Arc<SegmentSet>>;

/// How often it looks for work, once there may be some.
const INTERVAL: Duration = Duration::from_millis(50);

/// The thread's shared state.
pub struct Wording {
    config: TextConfig,
    analyser: OnceLock<Arc<Analyser>>,
    tasks: Arc<Tasks>,
    state: Mutex<State>,
    bell: Condvar,
    ended: Latch<()>,
    /// Told after every look.
    changed: Box<dyn Fn() + Send + Sync>,
}

#[derive(Default)]
struct State {
    /// Whether somebody has asked for the thread.
    asked: bool,
    running: bool,
    ended: bool,
}

impl Wording {
    /// Nothing to do yet.
    #[must_use]
    pub fn new(
        config: TextConfig,
        tasks: Arc<Tasks>,
        changed: Box<dyn Fn() + Send + Sync>,
    ) -> Self {
        Self {
            config,
            analyser: OnceLock::new(),
            tasks,
            state: Mutex::default(),
            bell: Condvar::new(),
            ended: Latch::default(),
            changed,
        }
    }

    /// The rules that words go by.
    #[must_use]
    pub fn analyser(&self) -> &Arc<Analyser> {
        let new = || Arc::new(Analyser::new(self.config.language));
        self.analyser.get_or_init(new)
    }

    /// Somebody needs indexes of words; whether the thread is to be started for it, by whoever asks.
    #[must_use]
    pub fn ask(&self) -> bool {
        let mut state = self.state.lock();
        let first = !state.asked && !state.ended;
        state.asked = true;
        state.running |= first;
        first
    }

    /// Whether somebody has.
    pub fn is_asked(&self) -> bool {
        self.state.lock().asked
    }

    /// Whether new texts of this table may be admitted: where words are in use, not too many wait to be indexed.
    pub fn has_room(&self, table: &Table) -> bool {
        let Some(index) = table.text_index_in_use() else {
            return true;
        };
        let behind = index.behind(table.row_count());
        // Nobody waits for what is paused, or for a thread that is not there: searches index what they meet.
        behind.is_none_or(|rows| rows <= self.config.max_tail_rows)
            || self.tasks.is_paused()
            || !self.state.lock().running
    }

    /// The thread that was to run does not exist.
    pub fn not_started(&self) {
        self.state.lock().running = false;
        self.ended.open(());
    }

    /// Ends the thread.
    pub fn end(&self) {
        let mut state = self.state.lock();
        state.ended = true;
        if !state.running {
            self.ended.open(());
        }
        self.bell.notify_all();
    }

    /// Waits until the thread reads nothing any more.
    pub async fn ended(&self) {
        self.ended.wait().await;
    }

    /// The life of the thread. `view` tells the newest snapshot.
    pub fn run(&self, view: impl Fn() -> Option<Arc<View>>) {
        let _leave = Leave(self);
        loop {
            if self.state.lock().ended {
                return;
            }
            let Some(newest) = view() else { return };
            let mut run = None;
            let stepped = if self.tasks.may_begin() {
                self.step(&newest, &mut run)
            } else {
                Ok(false)
            };
            drop(newest);
            if let Some(run) = run {
                run.end(&stepped);
            }
            // Searches add rows, too, and tell nobody.
            (self.changed)();
            if matches!(stepped, Ok(true)) {
                continue;
            }
            let mut state = self.state.lock();
            if !state.ended {
                self.bell.wait_for(&mut state, INTERVAL);
            }
        }
    }

    /// Does one piece of what there is to do in each collective; whether there was any. The first begins a run.
    ///
    /// # Errors
    /// `Closed` where it is to stop.
    fn step<'a>(&'a self, view: &View, run: &mut Option<Run<'a>>) -> Result<bool> {
        let begin = || self.tasks.begin(UpkeepTask::Words, Asked::ByItself, 0);
        let mut busy = false;
        for table in view
            .tables
            .iter()
            .filter(|table| table.kind() != RowKind::Relation)
        {
            let Some(index) = self.index(table) else {
                continue;
            };
            if self.state.lock().ended {
                return Err(PulseDBError::Closed);
            }
            let texts = TableTexts::new(&view.segments, table, view.lsn());
            let end = table.end_at(view.lsn());
            let covered = index.state().covered;
            if covered < end {
                let run = run.get_or_insert_with(begin);
                index.add(end, &texts);
                run.advance(u64::from(index.state().covered.saturating_sub(covered)));
                run.pace(0)?;
                busy = true;
            }
            busy |= index.tidy(&texts);
        }
        Ok(busy)
    }

    /// The index of a table that is to be kept up to date.
    fn index(&self, table: &Table) -> Option<Arc<TextIndex>> {
        match self.config.indexing {
            TextIndexing::OnUse => table.text_index_in_use(),
            // Insights are found by meaning; who searches them by words is served from then on.
            TextIndexing::Always if table.kind() == RowKind::Experience => {
                Some(table.text_index(self.analyser()))
            }
            TextIndexing::Always => table.text_index_in_use(),
        }
    }
}

/// Says that the thread is gone however it ends.
struct Leave<'a>(&'a Wording);

impl Drop for Leave<'_> {
    fn drop(&mut self) {
        let mut state = self.0.state.lock();
        state.running = false;
        state.ended = true;
        self.0.ended.open(());
    }
}
