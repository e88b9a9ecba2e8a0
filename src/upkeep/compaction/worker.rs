//! When is the log rewritten by itself?
//!
//! One thread looks now and then whether enough records have made others useless; counting what is
//! live costs a walk over all rows, so it is done only then, and once in the first quiet after an open.
//! While something is committed it copies at the configured rate.

use std::time::Duration;

use super::{Compactor, Scope, Tail};
use crate::{
    error::{PulseDBError, Result},
    model::{CompactionReport, Lsn, UpkeepTask},
    protocol::stop::Latch,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    upkeep::task::{Asked, OpenAtEnd, Tasks},
};

/// How often the thread looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Useless records from which on it is worth to count, however few rows there are.
const LEAST_DEATHS: u64 = 1_000;
/// And in any case the share of all rows: one in so many.
const DEATHS_PER_ROWS: u64 = 50;

/// What the thread looks at.
pub(crate) struct Sights {
    /// The newest commit.
    pub(crate) newest: Lsn,
    /// Records that made others useless, since the open.
    pub(crate) deaths: u64,
    /// Rows in all tables.
    pub(crate) rows: u64,
}

impl Sights {
    /// So many useless records make it worth to count what is live.
    fn worth_counting(&self) -> u64 {
        LEAST_DEATHS.max(self.rows / DEATHS_PER_ROWS)
    }
}

/// The thread.
pub(crate) struct Worker {
    compactor: Arc<Compactor>,
    tasks: Arc<Tasks>,
    /// Useless records at the last time that what is live was counted.
    counted: AtomicU64,
    latch: Latch<()>,
}

impl Worker {
    /// Works for `compactor`. It ends with `tasks`; a run that is under way is given up then, and in a pause.
    pub(crate) fn new(compactor: Arc<Compactor>, tasks: Arc<Tasks>) -> Self {
        Self {
            compactor,
            tasks,
            counted: AtomicU64::new(0),
            latch: Latch::default(),
        }
    }

    /// Whether it works by itself.
    pub(crate) fn is_automatic(&self) -> bool {
        self.compactor.config.automatic
    }

    /// How many times over it is due; below 1 it is not yet.
    pub(crate) fn overdue(&self, sights: &Sights) -> u64 {
        let since = sights
            .deaths
            .saturating_sub(self.counted.load(Ordering::Relaxed));
        since / sights.worth_counting()
    }

    /// Waits until the thread touches no file any more.
    pub(crate) async fn ended(&self) {
        self.latch.wait().await;
    }

    /// Notes that there is no thread.
    pub(crate) fn not_started(&self) {
        self.latch.open(());
    }

    /// The life of the thread. `look` answers `None` once there is nothing to see any more.
    pub(crate) fn run(&self, tail: &dyn Tail, look: &dyn Fn() -> Option<Sights>) {
        let _ended = OpenAtEnd(&self.latch);
        let mut seen = Lsn::ZERO;
        let mut counted = None;
        while self.tasks.sleep(INTERVAL).is_ok() {
            self.compactor.let_go();
            let Some(sights) = look() else { return };
            let quiet = std::mem::replace(&mut seen, sights.newest) == sights.newest;
            let due = match counted {
                None => quiet,
                Some(counted) => sights.deaths.saturating_sub(counted) >= sights.worth_counting(),
            };
            if !self.is_automatic() || !due || !self.tasks.may_begin() {
                continue;
            }
            counted = match self.compact(tail) {
                Ok(report) => {
                    if report.segments_rewritten > 0 {
                        tracing::debug!(?report, "compacted");
                    }
                    Some(sights.deaths)
                }
                // What a pause has stopped is counted again after it.
                Err(PulseDBError::Closed) => None,
                Err(error) => {
                    tracing::warn!(%error, "the log could not be compacted");
                    Some(sights.deaths)
                }
            };
            if let Some(counted) = counted {
                self.counted.store(counted, Ordering::Relaxed);
            }
        }
    }

    fn compact(&self, tail: &dyn Tail) -> Result<CompactionReport> {
        let run = self.tasks.begin(UpkeepTask::Compaction, Asked::ByItself, 0);
        let run = run.at_most(self.compactor.config.bytes_per_second);
        run.during(|run| {
            self.compactor
                .compact_in(run, tail, Scope::WorthIt, |_| Ok(()))
        })
    }
}
