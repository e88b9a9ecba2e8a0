//! What is done beside the commits, that nobody waits for?
//!
//! One thread: it makes segment files ahead, takes the ids of deleted collectives out of the index,
//! deletes what has expired, archives what has cooled down, and makes checkpoints. It ends at once when it is told to. In a
//! pause it goes on letting go of what nobody can see. In `Fast` mode another one flushes the log, which must not wait for
//! any of that.

use std::time::Duration;

use parking_lot::Mutex;

use crate::{
    config::Config,
    log::SegmentPool,
    model::{Lsn, SyncMode},
    protocol::stop::Latch,
    state::IdIndex,
    sync::Arc,
    upkeep::task::{OpenAtEnd, Tasks},
};

/// How often the thread looks for work.
const INTERVAL: Duration = Duration::from_millis(100);
/// When it looks for the first time after an open for what is cold, if not earlier: short sessions archive, too.
const FIRST_ARCHIVE: Duration = Duration::from_secs(60);

/// What the threads do now and then and cannot do by themselves.
pub trait Duties {
    /// Makes durable what was written since the last time.
    fn flush(&self);
    /// Lets go of what nobody can see any more.
    fn bury(&self);
    /// Makes a checkpoint where one is due.
    fn checkpoint(&self);
    /// Deletes what has expired.
    fn expire(&self);
    /// Archives what has cooled down.
    fn archive(&self);
}

/// Something that is done again after a time.
struct Timer {
    /// `None` where it is left to a call.
    interval: Option<Duration>,
    since: Duration,
}

impl Timer {
    fn new(interval: Duration) -> Self {
        Self {
            interval: Some(interval).filter(|interval| !interval.is_zero()),
            since: Duration::ZERO,
        }
    }

    /// Whether it is time after `more` has passed, and may be; otherwise it stays due.
    fn is_due(&mut self, more: Duration, may_be: bool) -> bool {
        self.since = self.since.saturating_add(more);
        let due = may_be && self.interval.is_some_and(|interval| self.since >= interval);
        if due {
            self.since = Duration::ZERO;
        }
        due
    }
}

/// The work.
pub struct Background {
    ids: Arc<IdIndex>,
    pool: Option<Arc<SegmentPool>>,
    tasks: Arc<Tasks>,
    intervals: Intervals,
    purges: Mutex<Vec<u32>>,
    ended: Latch<()>,
    flushed: Latch<()>,
}

/// How often something is done; zero for never.
pub struct Intervals {
    /// The log is flushed.
    pub flush: Duration,
    /// What has expired is deleted.
    pub expiry: Duration,
    /// What has cooled down is archived.
    pub archive: Duration,
}

impl Intervals {
    /// Those of a configuration.
    pub fn of(config: &Config) -> Self {
        Self {
            // Otherwise every commit is synced anyway.
            flush: match config.sync_mode {
                SyncMode::Fast => config.flush_interval,
                SyncMode::Normal | SyncMode::Paranoid => Duration::ZERO,
            },
            expiry: config.expiry_interval,
            archive: config.upkeep.archive_interval,
        }
    }
}

impl Background {
    /// Nothing to do yet.
    pub fn new(
        ids: Arc<IdIndex>,
        pool: Option<Arc<SegmentPool>>,
        tasks: Arc<Tasks>,
        intervals: Intervals,
    ) -> Self {
        let background = Self {
            ids,
            pool,
            tasks,
            intervals,
            purges: Mutex::default(),
            ended: Latch::default(),
            flushed: Latch::default(),
        };
        if !background.flushes() {
            background.flushed.open(());
        }
        background
    }

    /// Whether there is a thread that flushes.
    pub fn flushes(&self) -> bool {
        !self.intervals.flush.is_zero()
    }

    /// Has the ids of these collectives taken out of the index.
    pub fn purge(&self, collectives: Vec<u32>) {
        self.purges.lock().extend(collectives);
    }

    /// Fills the pool while nothing is committed, unless that is to stop meanwhile: beside
    /// commits the writing of a whole file would take more from them than the file gives back.
    fn make_segments(&self, newest: &impl Fn() -> Lsn) {
        let Some(pool) = &self.pool else {
            return;
        };
        let quiet_since = newest();
        while pool.is_short() && newest() == quiet_since && self.tasks.may_begin() {
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

    /// The life of the thread that flushes.
    pub fn run_flushes(&self, duties: &impl Duties) {
        let _ended = OpenAtEnd(&self.flushed);
        while self.tasks.sleep(self.intervals.flush).is_ok() {
            duties.flush();
        }
    }

    /// Waits until the threads touch no file any more.
    pub async fn ended(&self) {
        self.ended.wait().await;
        self.flushed.wait().await;
    }

    fn work(&self, newest: &impl Fn() -> Lsn, duties: &impl Duties) {
        let mut seen = newest();
        let mut expiry = Timer::new(self.intervals.expiry);
        let mut archive = Timer::new(self.intervals.archive);
        let intervals = [expiry.interval, archive.interval];
        archive.since = self.intervals.archive.saturating_sub(FIRST_ARCHIVE);
        let pause = intervals
            .into_iter()
            .flatten()
            .fold(INTERVAL, Duration::min);
        while self.tasks.sleep(pause).is_ok() {
            for collective in std::mem::take(&mut *self.purges.lock()) {
                self.ids.remove_collective(collective);
            }
            let now = newest();
            let quiet = std::mem::replace(&mut seen, now) == now;
            if quiet {
                duties.bury();
                self.make_segments(newest);
            }
            // However busy it is: where much is written, much expires.
            if expiry.is_due(pause, self.tasks.may_begin()) {
                duties.expire();
            }
            if archive.is_due(pause, self.tasks.may_begin()) {
                duties.archive();
            }
            if self.tasks.may_begin() {
                duties.checkpoint();
            }
        }
    }
}
