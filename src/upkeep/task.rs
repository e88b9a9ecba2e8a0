//! What does each kind of upkeep do now, and may it go on?
//!
//! The threads that work beside the commits share one value of [`Tasks`]. They ask it whether anything may begin,
//! and tell it of each [`Run`]; a run asks at its safe points whether to go on, and rests there where it would take
//! more of the disk or of a core than it may. Nothing waits for a pause to end: what runs by itself stops, keeps or
//! gives up its piece, and begins again after it, so that no call ever waits behind paused work. What a call asks for
//! is told of as well, but neither paused nor slowed down; nor is
//! what would make writers wait if it waited.
//!
//! Invariant: after [`Tasks::end`] no run rests, and each stops at its next safe point.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};

use crate::{
    config::UpkeepConfig,
    env::Env,
    error::{PulseDBError, Result},
    model::{Lsn, Timestamp, UpkeepRun, UpkeepState, UpkeepTask, UpkeepTaskStatus},
    protocol::stop::Latch,
    sync::Arc,
};

/// Bytes between two rests.
const STRIDE_BYTES: u64 = 1 << 20;
/// Work between two rests.
const STRIDE_TIME: Duration = Duration::from_millis(10);
/// Longest rest, whatever a clock says that was set meanwhile.
const LONGEST_REST: Duration = Duration::from_secs(1);

/// The newest commit.
pub(crate) type Newest = Box<dyn Fn() -> Lsn + Send + Sync>;

/// All kinds of upkeep of an open database.
pub(crate) struct Tasks {
    env: Arc<dyn Env>,
    limits: UpkeepConfig,
    newest: Newest,
    paused: AtomicBool,
    ended: AtomicBool,
    /// Where rests and pauses between looks are spent; an end cuts them short.
    bed: Mutex<()>,
    bell: Condvar,
    /// Held during a rest for bytes: all tasks share one allowance.
    turn: Mutex<()>,
    records: Mutex<[Record; UpkeepTask::ALL.len()]>,
}

/// What is known of a kind.
#[derive(Default)]
struct Record {
    /// Runs that are under way.
    running: u32,
    done: u64,
    total: u64,
    last: Option<UpkeepRun>,
}

/// Who wants a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Asked {
    /// Nobody: it is due.
    ByItself,
    /// Nobody, but without it somebody would have to wait soon.
    Pressing,
    /// A call.
    ByCall,
}

impl Tasks {
    /// With nothing done yet.
    pub(crate) fn new(env: Arc<dyn Env>, limits: UpkeepConfig, newest: Newest) -> Self {
        Self {
            env,
            limits,
            newest,
            paused: AtomicBool::new(false),
            ended: AtomicBool::new(false),
            bed: Mutex::new(()),
            bell: Condvar::new(),
            turn: Mutex::new(()),
            records: Mutex::default(),
        }
    }

    /// Begins nothing more by itself, and stops what runs so.
    pub(crate) fn pause(&self) {
        self.paused.store(true, Ordering::Release);
        self.ring();
    }

    /// Takes a pause back.
    pub(crate) fn resume(&self) {
        self.paused.store(false, Ordering::Release);
    }

    /// Ends everything.
    pub(crate) fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.ring();
    }

    fn ring(&self) {
        // Whoever is about to lie down has looked before.
        drop(self.bed.lock());
        self.bell.notify_all();
    }

    /// Whether there is a pause.
    pub(crate) fn is_paused(&self) -> bool {
        self.paused.load(Ordering::Acquire)
    }

    /// Whether the end was asked for.
    pub(crate) fn has_ended(&self) -> bool {
        self.ended.load(Ordering::Acquire)
    }

    /// Whether something may begin by itself.
    pub(crate) fn may_begin(&self) -> bool {
        !self.is_paused() && !self.has_ended()
    }

    /// Waits between two looks for work.
    ///
    /// # Errors
    /// `Closed` once the end was asked for, at once.
    pub(crate) fn sleep(&self, time: Duration) -> Result<()> {
        self.lie_down(time, || self.has_ended());
        if self.has_ended() {
            return Err(PulseDBError::Closed);
        }
        Ok(())
    }

    fn lie_down(&self, time: Duration, up: impl Fn() -> bool) {
        let mut bed = self.bed.lock();
        if !up() {
            self.bell.wait_for(&mut bed, time);
        }
    }

    /// A run begins, of so much; 0 where that is not known.
    pub(crate) fn begin(&self, task: UpkeepTask, asked: Asked, total: u64) -> Run<'_> {
        self.with(task, |record| {
            record.running += 1;
            record.total += total;
        });
        Run {
            tasks: self,
            task,
            asked,
            rate: self.limits.bytes_per_second,
            started_at: self.env.now(),
            began: self.env.monotonic(),
            bytes: 0,
            done: 0,
            rested: self.env.monotonic(),
            unpaced: 0,
            newest: (self.newest)(),
            outcome: Outcome::Panicked,
        }
    }

    fn with<T>(&self, task: UpkeepTask, work: impl FnOnce(&mut Record) -> T) -> Option<T> {
        self.records.lock().get_mut(task as usize).map(work)
    }

    /// What each kind does. `automatic` says which of them happen by themselves, and at what interval if at one.
    pub(crate) fn status(
        &self,
        automatic: impl Fn(UpkeepTask) -> (bool, Option<Duration>),
    ) -> Vec<UpkeepTaskStatus> {
        let records = self.records.lock();
        let tasks = UpkeepTask::ALL.into_iter().zip(records.iter());
        tasks
            .map(|(task, record)| {
                let (automatic, interval) = automatic(task);
                UpkeepTaskStatus {
                    task,
                    automatic,
                    state: self.state(record, automatic),
                    next: record
                        .last
                        .as_ref()
                        .zip(interval)
                        .map(|(last, interval)| later(last.started_at, interval)),
                    last: record.last.clone(),
                }
            })
            .collect()
    }

    fn state(&self, record: &Record, automatic: bool) -> UpkeepState {
        let failed = record.last.as_ref().and_then(|last| last.error.as_ref());
        if record.running > 0 {
            UpkeepState::Running {
                done: record.done,
                total: record.total,
            }
        } else if automatic && self.is_paused() {
            UpkeepState::Paused
        } else if let Some(error) = failed.filter(|_| automatic) {
            UpkeepState::Waiting {
                reason: format!("to try again what has failed: {error}"),
            }
        } else {
            UpkeepState::Idle
        }
    }
}

fn later(from: Timestamp, time: Duration) -> Timestamp {
    let ms = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
    Timestamp::from_millis(from.as_millis().saturating_add(ms))
}

/// How a run ended.
enum Outcome {
    Done,
    Stopped,
    Failed(String),
    /// It never said.
    Panicked,
}

/// One time that a task is at work.
pub(crate) struct Run<'a> {
    tasks: &'a Tasks,
    task: UpkeepTask,
    asked: Asked,
    rate: u64,
    started_at: Timestamp,
    began: Duration,
    bytes: u64,
    done: u64,
    /// When it has rested last, and what it wrote since.
    rested: Duration,
    unpaced: u64,
    /// The newest commit then.
    newest: Lsn,
    outcome: Outcome,
}

impl Run<'_> {
    /// Writes no faster than this.
    pub(crate) fn at_most(mut self, bytes_per_second: u64) -> Self {
        self.rate = self.rate.min(bytes_per_second);
        self
    }

    /// So much more is done.
    pub(crate) fn advance(&mut self, more: u64) {
        self.done += more;
        self.tasks.with(self.task, |record| record.done += more);
    }

    /// So many more bytes were written, at a point where nothing can rest or stop.
    pub(crate) fn wrote(&mut self, more: u64) {
        self.bytes += more;
        self.unpaced += more;
    }

    /// A safe point, behind which so many more bytes were written. Rests where commits would suffer otherwise.
    ///
    /// # Errors
    /// `Closed` where it is to stop here: at the end, and in a pause what runs by itself.
    pub(crate) fn pace(&mut self, more: u64) -> Result<()> {
        self.wrote(more);
        self.go_on()?;
        let worked = self.tasks.env.monotonic().saturating_sub(self.rested);
        if self.asked != Asked::ByItself || (self.unpaced < STRIDE_BYTES && worked < STRIDE_TIME) {
            return Ok(());
        }
        let newest = (self.tasks.newest)();
        // In quiet nobody suffers.
        if std::mem::replace(&mut self.newest, newest) != newest {
            self.rest(worked);
        }
        self.unpaced = 0;
        self.rested = self.tasks.env.monotonic();
        self.go_on()
    }

    fn go_on(&self) -> Result<()> {
        if self.is_stopped() {
            return Err(PulseDBError::Closed);
        }
        Ok(())
    }

    fn is_stopped(&self) -> bool {
        let paused = self.asked == Asked::ByItself && self.tasks.is_paused();
        paused || self.tasks.has_ended()
    }

    fn rest(&self, worked: Duration) {
        let lie_down = |seconds: f64| {
            let time = Duration::from_secs_f64(seconds.min(LONGEST_REST.as_secs_f64()));
            if !time.is_zero() {
                self.tasks.lie_down(time, || self.is_stopped());
            }
        };
        let share = f64::from(self.tasks.limits.cpu_percent.clamp(1, 100)) / 100.0;
        lie_down(worked.as_secs_f64() * (1.0 / share - 1.0));
        if self.unpaced > 0 {
            let _turn = self.tasks.turn.lock();
            lie_down(self.unpaced as f64 / self.rate.max(1) as f64);
        }
    }

    /// Does `work`, which is all of it.
    pub(crate) fn during<T>(mut self, work: impl FnOnce(&mut Self) -> Result<T>) -> Result<T> {
        let outcome = work(&mut self);
        self.end(&outcome);
        outcome
    }

    /// It has ended, so.
    pub(crate) fn end<T>(mut self, outcome: &Result<T>) {
        self.outcome = match outcome {
            Ok(_) => Outcome::Done,
            Err(PulseDBError::Closed) => Outcome::Stopped,
            Err(error) => Outcome::Failed(error.to_string()),
        };
    }
}

impl Drop for Run<'_> {
    fn drop(&mut self) {
        let took = self.tasks.env.monotonic().saturating_sub(self.began);
        let run = UpkeepRun {
            started_at: self.started_at,
            duration_ms: u64::try_from(took.as_millis()).unwrap_or(u64::MAX),
            bytes: self.bytes,
            done: self.done,
            by_call: self.asked == Asked::ByCall,
            stopped: matches!(self.outcome, Outcome::Stopped),
            error: match std::mem::replace(&mut self.outcome, Outcome::Done) {
                Outcome::Done | Outcome::Stopped => None,
                Outcome::Failed(error) => Some(error),
                Outcome::Panicked => Some("it panicked".into()),
            },
        };
        self.tasks.with(self.task, |record| {
            record.running = record.running.saturating_sub(1);
            if record.running == 0 {
                (record.done, record.total) = (0, 0);
            }
            record.last = Some(run);
        });
    }
}

/// Warns that something which nobody called for, and is tried again, `could_not` be done.
pub(crate) fn warn_of_failure<T>(outcome: Result<T>, could_not: &'static str) {
    if let Err(error) = outcome
        && !error.is_told_already()
    {
        tracing::warn!(%error, "{could_not}");
    }
}

/// Opens the latch however a thread ends: nobody may wait for ever for one that panicked.
pub(crate) struct OpenAtEnd<'a>(pub(crate) &'a Latch<()>);

impl Drop for OpenAtEnd<'_> {
    fn drop(&mut self) {
        self.0.open(());
    }
}

#[cfg(test)]
#[path = "task_tests.rs"]
mod tests;
