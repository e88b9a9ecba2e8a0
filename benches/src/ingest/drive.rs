//! How is a store loaded, and what is counted?
//!
//! Closed loops: every task or thread issues its next operation when the last one was acknowledged. Counted are
//! the acknowledgements between the end of the warm-up and the end of the time.

use std::{
    future::Future,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

/// How many loops for how long.
#[derive(Clone, Copy)]
pub(crate) struct Load {
    pub(crate) tasks: usize,
    pub(crate) warm_up: Duration,
    pub(crate) measure: Duration,
}

impl Load {
    pub(crate) fn total(self) -> Duration {
        self.warm_up + self.measure
    }

    pub(crate) fn start(self) -> Clock {
        let open = Instant::now() + self.warm_up;
        Clock {
            open,
            close: open + self.measure,
        }
    }
}

/// What a contender did in one round.
pub(crate) struct Outcome {
    pub(crate) per_second: f64,
    pub(crate) p50_us: f64,
    pub(crate) p99_us: f64,
    /// Operations of the whole time, warm-up included.
    pub(crate) issued: u64,
}

impl Outcome {
    /// Counts records where one operation was a batch of them.
    pub(crate) fn of_batches(self, records: u64) -> Self {
        Self {
            per_second: self.per_second * records as f64,
            issued: self.issued * records,
            ..self
        }
    }
}

/// A store that tasks record into.
pub(crate) trait Sink: Clone + Send + Sync + 'static {
    /// Records number `n`; ready when the store acknowledged it.
    fn put(&self, n: u64) -> impl Future<Output = Result<()>> + Send;
}

/// The window of counting.
#[derive(Clone, Copy)]
pub(crate) struct Clock {
    open: Instant,
    close: Instant,
}

/// What one loop saw.
#[derive(Default)]
pub(crate) struct Seen {
    latencies_ns: Vec<u64>,
    issued: u64,
}

impl Seen {
    /// Notes an operation that began at `began` and was acknowledged now.
    pub(crate) fn note(&mut self, began: Instant, clock: Clock) {
        let ended = Instant::now();
        self.issued += 1;
        if ended > clock.open && ended <= clock.close {
            self.latencies_ns.push((ended - began).as_nanos() as u64);
        }
    }
}

/// The runtime of all async loops.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .context("cannot start tokio")
}

/// `load.tasks` tasks on the current runtime.
pub(crate) async fn with_tasks<S: Sink>(sink: &S, load: Load) -> Result<Outcome> {
    let clock = load.start();
    let mut tasks = Vec::with_capacity(load.tasks);
    for task in 0..load.tasks as u64 {
        let sink = sink.clone();
        tasks.push(tokio::spawn(async move {
            let mut seen = Seen::default();
            loop {
                let began = Instant::now();
                if began >= clock.close {
                    return Ok(seen);
                }
                sink.put(task * 7 + seen.issued).await?;
                seen.note(began, clock);
            }
        }));
    }
    let mut all = Vec::with_capacity(tasks.len());
    for task in tasks {
        let seen: Result<Seen> = task.await?;
        all.push(seen?);
    }
    outcome(all, load)
}

/// `load.tasks` threads that block.
pub(crate) fn with_threads(load: Load, put: impl Fn(u64) -> Result<()> + Sync) -> Result<Outcome> {
    let clock = load.start();
    let put = &put;
    let all: Result<Vec<Seen>> = std::thread::scope(|scope| {
        let threads: Vec<_> = (0..load.tasks as u64)
            .map(|thread| scope.spawn(move || one_loop(clock, |n| put(thread * 7 + n))))
            .collect();
        let join = |thread: std::thread::ScopedJoinHandle<'_, Result<Seen>>| {
            thread
                .join()
                .map_err(|_| anyhow!("a loading thread panicked"))?
        };
        threads.into_iter().map(join).collect()
    });
    outcome(all?, load)
}

/// The calling thread alone.
pub(crate) fn with_caller(load: Load, put: impl FnMut(u64) -> Result<()>) -> Result<Outcome> {
    outcome(vec![one_loop(load.start(), put)?], load)
}

fn one_loop(clock: Clock, mut put: impl FnMut(u64) -> Result<()>) -> Result<Seen> {
    let mut seen = Seen::default();
    loop {
        let began = Instant::now();
        if began >= clock.close {
            return Ok(seen);
        }
        put(seen.issued)?;
        seen.note(began, clock);
    }
}

fn outcome(all: Vec<Seen>, load: Load) -> Result<Outcome> {
    let issued = all.iter().map(|seen| seen.issued).sum();
    let mut latencies: Vec<u64> = all.into_iter().flat_map(|seen| seen.latencies_ns).collect();
    latencies.sort_unstable();
    let last = latencies
        .len()
        .checked_sub(1)
        .context("nothing was acknowledged in the time; raise PULSEDB_BENCH_SECS")?;
    let quantile_us = |q: f64| {
        let at = (last as f64 * q).round() as usize;
        latencies.get(at).map_or(f64::NAN, |ns| *ns as f64 / 1000.0)
    };
    Ok(Outcome {
        per_second: latencies.len() as f64 / load.measure.as_secs_f64(),
        p50_us: quantile_us(0.5),
        p99_us: quantile_us(0.99),
        issued,
    })
}
