//! What is told of what the store does?
//!
//! Counts and times in memory of its own (`histogram`), the same to the application's recorder (`facade`), a span and an
//! event for each call (`call`), and the last errors. One [`Telemetry`] for each open database. Whoever does
//! something says [`Telemetry::begin`] and ends the [`call::Call`] with its outcome: the façade does so in one place for all
//! reads and in one for all writes, the committer once for each group. Nothing here waits for anything but the
//! lock of the last errors, which only errors take. The engines below measure nothing; who calls them does.

mod call;
mod facade;
mod histogram;
mod operation;

use std::{
    cell::Cell,
    collections::VecDeque,
    fmt,
    sync::{
        OnceLock,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    time::Duration,
};

use parking_lot::Mutex;

pub(crate) use call::{About, Told};
pub(crate) use facade::describe;
use histogram::{Counted, Histogram};
pub(crate) use operation::Operation;

use crate::{
    config::TelemetryConfig,
    env::Env,
    error::PulseDBError,
    model::{
        CounterValue, Distribution, ErrorNote, GaugeValue, Labels, Lsn, Metrics, Timestamp, names,
    },
    sync::Arc,
};

/// Errors that are kept: enough to see what began it, few enough to read.
const KEPT_ERRORS: usize = 32;
/// Sets of histograms that threads are spread over, so that they seldom add to the same cache lines. Each takes
/// five kilobytes for each operation that one of its threads has done.
const SHARDS: usize = 8;
/// One in so many calls of the shortest operations is timed: looking at the clock twice takes as long as a
/// tenth of them.
const TIMED_OF: u32 = 16;

/// Nanoseconds, which times are counted in.
const SECOND: f64 = 1e9;

/// What only counts.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Counter {
    /// See [`names::COMMITTED_REQUESTS`].
    CommittedRequests,
    /// See [`names::APPENDED_RECORDS`].
    AppendedRecords,
    /// See [`names::APPENDED_BYTES`].
    AppendedBytes,
    /// See [`names::SLOW_OPERATIONS`].
    SlowOperations,
    /// See [`names::WATCH_EVENTS`].
    WatchEvents,
    /// See [`names::WATCH_LAGGED`].
    WatchLagged,
    /// See [`names::WATCH_GAPS`].
    WatchGaps,
}

impl Counter {
    const NAMES: [&'static str; 7] = [
        names::COMMITTED_REQUESTS,
        names::APPENDED_RECORDS,
        names::APPENDED_BYTES,
        names::SLOW_OPERATIONS,
        names::WATCH_EVENTS,
        names::WATCH_LAGGED,
        names::WATCH_GAPS,
    ];
}

/// What one set of threads has done.
struct Shard {
    operations: [Timed; Operation::ALL.len()],
    counters: [AtomicU64; Counter::NAMES.len()],
}

impl Default for Shard {
    fn default() -> Self {
        Self {
            operations: std::array::from_fn(|_| Timed::default()),
            counters: Default::default(),
        }
    }
}

/// One operation.
#[derive(Default)]
struct Timed {
    /// In nanoseconds; made at its first use.
    times: OnceLock<Histogram>,
    /// Beside these, so many were counted only.
    untimed: AtomicU64,
}

/// What an open database tells of itself.
pub(crate) struct Telemetry {
    env: Arc<dyn Env>,
    config: TelemetryConfig,
    shards: [Shard; SHARDS],
    errors: [AtomicU64; PulseDBError::KINDS.len()],
    /// Of the committer alone, in nanoseconds, in nanoseconds, and in requests.
    commits: Histogram,
    syncs: Histogram,
    groups: Histogram,
    last_errors: Mutex<VecDeque<ErrorNote>>,
    /// Work in the background that failed the last time.
    failing: Mutex<Vec<(Operation, Timestamp, PulseDBError)>>,
}

impl fmt::Debug for Telemetry {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Telemetry")
            .field("config", &self.config)
            .finish_non_exhaustive()
    }
}

/// A commit of a group of requests.
pub(crate) struct Group {
    /// How many requests.
    pub(crate) requests: usize,
    /// What they appended: how many records, and their bytes.
    pub(crate) appended: (u64, u64),
    /// The newest commit by now.
    pub(crate) lsn: Option<Lsn>,
}

impl Telemetry {
    /// Nothing measured yet.
    pub(crate) fn new(env: Arc<dyn Env>, config: TelemetryConfig) -> Self {
        Self {
            env,
            config,
            shards: Default::default(),
            errors: Default::default(),
            commits: Histogram::default(),
            syncs: Histogram::default(),
            groups: Histogram::default(),
            last_errors: Mutex::default(),
            failing: Mutex::default(),
        }
    }

    /// So many more of this.
    pub(crate) fn count(&self, counter: Counter, more: u64) {
        if !self.config.metrics {
            return;
        }
        let shard = self.shards.get(shard_of_this_thread());
        if let Some(total) = shard.and_then(|shard| shard.counters.get(counter as usize)) {
            total.fetch_add(more, Ordering::Relaxed);
        }
        facade::count(counter, more);
    }

    /// The moment, where somebody wants to know how long things take.
    pub(crate) fn clock(&self) -> Option<Duration> {
        self.config.metrics.then(|| self.env.monotonic())
    }

    /// Since a moment before.
    fn since(&self, began: Duration) -> Duration {
        self.env.monotonic().saturating_sub(began)
    }

    /// The log was synced, which began at `began`.
    pub(crate) fn synced(&self, began: Option<Duration>) {
        if let Some(began) = began {
            let took = self.since(began);
            self.syncs.add(nanos(took));
            facade::value(names::FSYNC_SECONDS, took.as_secs_f64());
        }
    }

    /// A group was committed, which began at `began`.
    pub(crate) fn committed(&self, began: Option<Duration>, group: &Group) {
        let took = began.map(|began| self.since(began));
        let (records, bytes) = group.appended;
        if let Some(took) = took {
            self.commits.add(nanos(took));
            self.groups.add(group.requests as u64);
            facade::value(names::COMMIT_SECONDS, took.as_secs_f64());
            facade::value(names::GROUP_REQUESTS, group.requests as f64);
            self.count(Counter::CommittedRequests, group.requests as u64);
            self.count(Counter::AppendedRecords, records);
            self.count(Counter::AppendedBytes, bytes);
        }
        tracing::debug!(
            target: "pulsedb::commit",
            lsn = group.lsn.map(Lsn::get),
            requests = group.requests,
            records,
            bytes,
            elapsed_us = took.map(micros),
            "committed"
        );
    }

    /// Notes an error of an operation.
    pub(crate) fn failed(&self, operation: Operation, error: &PulseDBError) {
        let kind = error.kind();
        let number = PulseDBError::KINDS.iter().position(|one| *one == kind);
        if self.config.metrics
            && let Some(total) = number.and_then(|number| self.errors.get(number))
        {
            total.fetch_add(1, Ordering::Relaxed);
            facade::error(kind);
        }
        if is_the_callers(error) {
            return;
        }
        let note = self.note(operation, error);
        let mut last = self.last_errors.lock();
        if let Some(same) = last.back_mut()
            && (&same.operation, &same.message) == (&note.operation, &note.message)
        {
            same.at = note.at;
            same.times += 1;
            return;
        }
        if last.len() >= KEPT_ERRORS {
            last.pop_front();
        }
        last.push_back(note);
    }

    /// Notes how work in the background ended, for health: `None` where it went well.
    fn ended_in_background(&self, operation: Operation, error: Option<&PulseDBError>) {
        // Neither the end of the database nor a writer that has stopped says anything of the work.
        if error.is_some_and(PulseDBError::is_told_already) {
            return;
        }
        let mut failing = self.failing.lock();
        failing.retain(|(known, ..)| *known != operation);
        if let Some(error) = error {
            failing.push((operation, self.env.now(), error.clone()));
        }
    }

    fn note(&self, operation: Operation, error: &PulseDBError) -> ErrorNote {
        ErrorNote {
            at: self.env.now(),
            operation: operation.name().to_owned(),
            kind: error.kind().to_owned(),
            message: error.to_string(),
            times: 1,
        }
    }

    /// How this work in the background failed the last time, if it did.
    pub(crate) fn failure_of(&self, operation: Operation) -> Option<(Timestamp, PulseDBError)> {
        let failing = self.failing.lock();
        let found = failing.iter().find(|(known, ..)| *known == operation);
        found.map(|(_, at, error)| (*at, error.clone()))
    }

    /// The last errors, oldest first.
    pub(crate) fn last_errors(&self) -> Vec<ErrorNote> {
        self.last_errors.lock().iter().cloned().collect()
    }

    /// Everything measured, and these sizes of the present, which the recorder is told, too.
    pub(crate) fn metrics(&self, at: Timestamp, gauges: Vec<GaugeValue>) -> Metrics {
        let mut metrics = Metrics {
            at,
            ..Metrics::default()
        };
        for gauge in &gauges {
            if let std::borrow::Cow::Borrowed(name) = gauge.name {
                facade::gauge(name, &gauge.labels, gauge.value);
            }
        }
        metrics.gauges = gauges;
        for (number, name) in Counter::NAMES.iter().enumerate() {
            let counted = self
                .shards
                .iter()
                .filter_map(|one| one.counters.get(number));
            metrics.counters.push(CounterValue {
                name: (*name).into(),
                labels: Labels::new(),
                value: counted.map(|total| total.load(Ordering::Relaxed)).sum(),
            });
        }
        for (kind, total) in PulseDBError::KINDS.iter().zip(&self.errors) {
            let value = total.load(Ordering::Relaxed);
            if value > 0 {
                metrics.counters.push(CounterValue {
                    name: names::ERRORS.into(),
                    labels: Labels::from([("kind".into(), (*kind).into())]),
                    value,
                });
            }
        }
        metrics
            .distributions
            .extend(Operation::ALL.iter().filter_map(|one| self.operation(*one)));
        for (name, histogram, unit) in [
            (names::COMMIT_SECONDS, &self.commits, SECOND),
            (names::FSYNC_SECONDS, &self.syncs, SECOND),
            (names::GROUP_REQUESTS, &self.groups, 1.0),
        ] {
            let mut counted = Counted::default();
            counted.take_in(histogram);
            if counted.count > 0 {
                let told = distribution(name, Labels::new(), &counted, unit);
                metrics.distributions.push(told);
            }
        }
        metrics
    }

    /// Of the reads of one experience, those that may have waited for the medium; 0 where there was none.
    pub(crate) fn medium_read_ratio(&self) -> f64 {
        let count = |operation| self.operation(operation).map_or(0, |told| told.count);
        let from_medium = count(Operation::GetFromMedium);
        match from_medium + count(Operation::Get) {
            0 => 0.0,
            all => from_medium as f64 / all as f64,
        }
    }

    /// How long an operation took, if there was one.
    fn operation(&self, operation: Operation) -> Option<Distribution> {
        let mut counted = Counted::default();
        let mut untimed = 0;
        for shard in &self.shards {
            let Some(timed) = shard.operations.get(operation.number()) else {
                continue;
            };
            if let Some(histogram) = timed.times.get() {
                counted.take_in(histogram);
            }
            untimed += timed.untimed.load(Ordering::Relaxed);
        }
        let count = counted.count + untimed;
        if count == 0 {
            return None;
        }
        let mut labels = Labels::from([("operation".into(), operation.name().into())]);
        if !operation.plan().is_empty() {
            labels.insert("plan".into(), operation.plan().into());
        }
        let mut told = distribution(names::OPERATION_SECONDS, labels, &counted, SECOND);
        if counted.count > 0 {
            // Those that were not timed took as long as the others, on average.
            told.sum *= count as f64 / counted.count as f64;
        }
        told.count = count;
        Some(told)
    }

    /// A call of this operation took so long, one of so many.
    fn took(&self, operation: Operation, took: Duration, of: usize) {
        if let Some(timed) = self.timed(operation) {
            timed.times.get_or_init(Default::default).add(nanos(took));
            facade::operation(operation, took.as_secs_f64(), of);
        }
    }

    /// A call of this operation is counted only.
    fn was_untimed(&self, operation: Operation) {
        if let Some(timed) = self.timed(operation) {
            timed.untimed.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn timed(&self, operation: Operation) -> Option<&Timed> {
        let shard = self.shards.get(shard_of_this_thread())?;
        shard.operations.get(operation.number())
    }
}

/// What is said of values counted in `unit`s.
fn distribution(name: &'static str, labels: Labels, counted: &Counted, unit: f64) -> Distribution {
    let percentile = |share| counted.percentile(share) as f64 / unit;
    Distribution {
        name: name.into(),
        labels,
        count: counted.count,
        sum: counted.sum as f64 / unit,
        p50: percentile(0.5),
        p95: percentile(0.95),
        p99: percentile(0.99),
        max: counted.max as f64 / unit,
    }
}

/// Whether it says something of the call and not of the store: such errors may hold what the caller wrote. A
/// refusal by a writer that has stopped repeats what stopped it, which was noted.
const fn is_the_callers(error: &PulseDBError) -> bool {
    matches!(
        error,
        PulseDBError::Validation { .. }
            | PulseDBError::NotFound { .. }
            | PulseDBError::Conflict { .. }
            | PulseDBError::Config { .. }
            | PulseDBError::Gap { .. }
            | PulseDBError::ReadOnly { .. }
            | PulseDBError::Closed
    )
}

/// Threads take the shards in turn.
fn shard_of_this_thread() -> usize {
    static NEXT: AtomicUsize = AtomicUsize::new(0);
    thread_local! {
        static SHARD: usize = NEXT.fetch_add(1, Ordering::Relaxed) % SHARDS;
    }
    // A thread that is ending has no place of its own any more.
    SHARD.try_with(|shard| *shard).unwrap_or_default()
}

/// Whether this is the one in [`TIMED_OF`] calls of this thread that is timed.
fn is_timed() -> bool {
    thread_local! {
        static CALLS: Cell<u32> = const { Cell::new(0) };
    }
    CALLS
        .try_with(|calls| calls.replace(calls.get().wrapping_add(1)) % TIMED_OF == 0)
        .unwrap_or_default()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

fn micros(time: Duration) -> u64 {
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests;
