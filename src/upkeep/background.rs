//! What is done beside the commits, that nobody waits for?
//!
//! One thread: it makes segment files ahead, takes the ids of deleted collectives out of the index,
//! deletes what has expired, makes checkpoints, and in `Fast` mode flushes the log. It ends at once when it is told to.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use crate::{
    log::SegmentPool,
    model::{Lsn, SyncMode},
    protocol::stop::Latch,
    state::IdIndex,
    sync::Arc,
};

/// How often the thread looks for work.
const INTERVAL: Duration = Duration::from_millis(100);

/// What the thread does now and then and cannot do by itself.
pub trait Duties {
    /// Makes durable what was written since the last time.
    fn flush(&self);
    /// Lets go of what nobody can see any more.
    fn bury(&self);
    /// Makes a checkpoint where one is due.
    fn checkpoint(&self);
    /// Deletes what has expired.
    fn expire(&self);
}

/// The work and its worker's bell.
pub struct Background {
    ids: Arc<IdIndex>,
    pool: Option<Arc<SegmentPool>>,
    /// How often to flush; `None` where every commit is synced anyway.
    flush_interval: Option<Duration>,
    /// How often to delete what has expired; `None` where that is left to a call.
    expiry_interval: Option<Duration>,
    state: Mutex<State>,
    bell: Condvar,
    ended: Latch<()>,
}

#[derive(Default)]
struct State {
    purges: Vec<u32>,
    ended: bool,
}

impl Background {
    /// Nothing to do yet.
    pub fn new(
        ids: Arc<IdIndex>,
        pool: Option<Arc<SegmentPool>>,
        sync_mode: SyncMode,
        flush_interval: Duration,
        expiry_interval: Duration,
    ) -> Self {
        Self {
            ids,
            pool,
            flush_interval: (sync_mode == SyncMode::Fast).then_some(flush_interval),
            expiry_interval: Some(expiry_interval).filter(|interval| !interval.is_zero()),
            state: Mutex::default(),
            bell: Condvar::new(),
            ended: Latch::default(),
        }
    }

    /// Has the ids of these collectives taken out of the index.
    pub fn purge(&self, collectives: Vec<u32>) {
        self.state.lock().purges.extend(collectives);
    }

    /// Ends the thread.
    pub fn end(&self) {
        self.state.lock().ended = true;
        self.bell.notify_all();
    }

    /// Fills the pool while nothing is committed, unless the end is asked for meanwhile: beside
    /// commits the writing of a whole file would take more from them than the file gives back.
    fn make_segments(&self, newest: &impl Fn() -> Lsn) {
        let Some(pool) = &self.pool else {
            return;
        };
        let quiet_since = newest();
        while pool.is_short() && newest() == quiet_since && !self.state.lock().ended {
            if let Err(error) = pool.add_one() {
                tracing::warn!(%error, "no segment file could be made ahead");
                return;
            }
        }
    }

    /// The life of the thread. `newest` tells the newest commit.
    pub fn run(&self, newest: impl Fn() -> Lsn, duties: &impl Duties) {
        let _ended = OpenAtEnd(&self.ended);
        self.work(&newest, duties);
    }

    /// Waits until the thread touches no file any more.
    pub async fn ended(&self) {
        self.ended.wait().await;
    }

    fn work(&self, newest: &impl Fn() -> Lsn, duties: &impl Duties) {
        let mut seen = newest();
        let intervals = [self.flush_interval, self.expiry_interval];
        let pause = intervals
            .into_iter()
            .flatten()
            .fold(INTERVAL, Duration::min);
        let mut since_flush = Duration::ZERO;
        let mut since_expiry = Duration::ZERO;
        loop {
            let purges = {
                let mut state = self.state.lock();
                if !state.ended {
                    self.bell.wait_for(&mut state, pause);
                }
                if state.ended {
                    return;
                }
                std::mem::take(&mut state.purges)
            };
            for collective in purges {
                self.ids.remove_collective(collective);
            }
            let now = newest();
            let quiet = std::mem::replace(&mut seen, now) == now;
            if quiet {
                duties.bury();
                self.make_segments(newest);
            }
            since_flush += pause;
            if self.flush_interval.is_some_and(|due| since_flush >= due) {
                duties.flush();
                since_flush = Duration::ZERO;
            }
            // However busy it is: where much is written, much expires.
            since_expiry += pause;
            if self.expiry_interval.is_some_and(|due| since_expiry >= due) {
                duties.expire();
                since_expiry = Duration::ZERO;
            }
            duties.checkpoint();
        }
    }
}

/// Opens the latch however the thread ends: nobody may wait for ever for one that panicked.
struct OpenAtEnd<'a>(&'a Latch<()>);

impl Drop for OpenAtEnd<'_> {
    fn drop(&mut self) {
        self.0.open(());
    }
}
