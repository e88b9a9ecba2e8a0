//! When is the log rewritten by itself?
//!
//! One thread looks now and then whether enough records have made others useless; counting what is
//! live costs a walk over all rows, so it is done only then, and once in the first quiet after an open.
//! While something is committed it copies at the configured rate.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

use super::{Compactor, Scope, Tail};
use crate::{
    error::{PulseDBError, Result},
    model::{CompactionProgress, Lsn},
    protocol::stop::Latch,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// How often the thread looks.
const INTERVAL: Duration = Duration::from_millis(500);
/// Useless records from which on it is worth to count, however few rows there are.
const LEAST_DEATHS: u64 = 1_000;
/// And in any case the share of all rows: one in so many.
const DEATHS_PER_ROWS: u64 = 50;
/// Bytes that are copied between two looks at the traffic.
const STRIDE_BYTES: u64 = 1 << 20;

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

/// The thread's bell.
pub(crate) struct Worker {
    compactor: Arc<Compactor>,
    automatic: bool,
    /// Useless records at the last time that what is live was counted.
    counted: AtomicU64,
    ended: Mutex<bool>,
    bell: Condvar,
    latch: Latch<()>,
}

impl Worker {
    /// Works for `compactor`.
    pub(crate) fn new(compactor: Arc<Compactor>) -> Self {
        let automatic = compactor.config.automatic;
        Self {
            compactor,
            automatic,
            counted: AtomicU64::new(0),
            ended: Mutex::new(false),
            bell: Condvar::new(),
            latch: Latch::default(),
        }
    }

    /// Whether it works by itself.
    pub(crate) const fn is_automatic(&self) -> bool {
        self.automatic
    }

    /// How many times over it is due; below 1 it is not yet.
    pub(crate) fn overdue(&self, sights: &Sights) -> u64 {
        let since = sights
            .deaths
            .saturating_sub(self.counted.load(Ordering::Relaxed));
        since / sights.worth_counting()
    }

    /// Ends the thread; a run that is under way is given up.
    pub(crate) fn end(&self) {
        *self.ended.lock() = true;
        self.bell.notify_all();
    }

    /// Waits until the thread touches no file any more.
    pub(crate) async fn ended(&self) {
        self.latch.wait().await;
    }

    /// Notes that there is no thread.
    pub(crate) fn not_started(&self) {
        self.latch.open(());
    }

    /// Waits, unless the end comes first.
    fn pause(&self, time: Duration) -> Result<()> {
        let mut ended = self.ended.lock();
        if !*ended {
            self.bell.wait_for(&mut ended, time);
        }
        if *ended {
            return Err(PulseDBError::Closed);
        }
        Ok(())
    }

    /// The life of the thread. `look` answers `None` once there is nothing to see any more.
    pub(crate) fn run(&self, tail: &dyn Tail, look: &dyn Fn() -> Option<Sights>) {
        let _ended = OpenAtEnd(&self.latch);
        let mut seen = Lsn::ZERO;
        let mut counted = None;
        while self.pause(INTERVAL).is_ok() {
            self.compactor.let_go();
            let Some(sights) = look() else { return };
            let quiet = std::mem::replace(&mut seen, sights.newest) == sights.newest;
            let due = match counted {
                None => quiet,
                Some(counted) => sights.deaths.saturating_sub(counted) >= sights.worth_counting(),
            };
            if !self.automatic || !due {
                continue;
            }
            counted = Some(sights.deaths);
            self.counted.store(sights.deaths, Ordering::Relaxed);
            let mut pace = self.pace(look);
            match self
                .compactor
                .compact(tail, Scope::WorthIt, &mut |progress| pace(progress))
            {
                Ok(report) if report.segments_rewritten > 0 => {
                    tracing::debug!(?report, "compacted");
                }
                Ok(_) | Err(PulseDBError::Closed) => {}
                Err(error) => tracing::warn!(%error, "the log could not be compacted"),
            }
        }
    }

    /// Copies at the configured rate while something is committed.
    fn pace<'a>(
        &'a self,
        look: &'a dyn Fn() -> Option<Sights>,
    ) -> impl FnMut(CompactionProgress) -> Result<()> + 'a {
        let rate = self.compactor.config.bytes_per_second.max(1);
        let mut at = 0;
        let mut newest = Lsn::ZERO;
        move |progress| {
            let copied = progress.bytes.saturating_sub(at);
            if copied < STRIDE_BYTES {
                return Ok(());
            }
            at = progress.bytes;
            let now = look().map_or(Lsn::ZERO, |sights| sights.newest);
            let busy = std::mem::replace(&mut newest, now) != now;
            let wait = if busy {
                Duration::from_secs_f64(copied as f64 / rate as f64)
            } else {
                Duration::ZERO
            };
            self.pause(wait)
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
