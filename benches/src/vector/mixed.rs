//! How much does a steady writer, with the building behind it, disturb a searcher?
//!
//! One thread records 2,000 experiences a second, one searches. The yardstick is the same searcher beside
//! threads that do nothing useful but use as much processor time, niced as the builder is.

use std::{
    cell::Cell,
    sync::atomic::{AtomicBool, AtomicUsize, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow};

use super::{
    Bench, cpu,
    index::{self, How, Index},
};
use crate::{
    queries::times,
    report::{Report, Target, median, spread},
    rounds::{Contender, interleave},
};

const RECORDS_PER_SECOND: f64 = 2000.0;
/// A phase takes this many times as long as what other cases measure, for the builder to have its turn in it.
const LONGER: u32 = 4;
const NICE: i32 = 19;
/// Load comes in slices of this length.
const SLICE: Duration = Duration::from_millis(1);
/// A writer that is late records at most so many in one call.
const MOST_AT_ONCE: usize = 64;

/// What a searcher saw.
struct Seen {
    p50: f64,
    p99: f64,
    /// Cores used by everybody else in this process.
    load: f64,
    /// Records per second that the writer managed.
    written: f64,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    bench.work.with(|dir| {
        let (rows, dimension) = (bench.first(bench.rows)?, bench.dimension());
        let mut ours = Index::open(dir, index::durable_config(dimension), Vec::new())?;
        ours.load(rows, dimension, |_| Vec::new())?;
        ours.rebuild()?;
        let phase = bench.settings.measure * LONGER;
        let records = RECORDS_PER_SECOND * phase.as_secs_f64() * bench.settings.rounds as f64;
        let fresh = bench.vectors.mixed(records as usize + 1, 0x2021);
        let written = AtomicUsize::new(0);
        let load = Cell::new(0.0);
        let ours = &ours;
        let contenders = vec![
            Contender::new("writer", || {
                ours.settle()?;
                let stop = AtomicBool::new(false);
                let before = written.load(Relaxed);
                let mut seen = thread::scope(|scope| {
                    let writer = scope.spawn(|| write(ours, &fresh, dimension, &written, &stop));
                    let seen = watch(bench, ours, phase);
                    stop.store(true, Relaxed);
                    writer.join().map_err(|_| anyhow!("the writer panicked"))??;
                    seen
                })?;
                seen.written = (written.load(Relaxed) - before) as f64 / phase.as_secs_f64();
                load.set(seen.load);
                Ok(seen)
            }),
            Contender::new("load", || {
                ours.settle()?;
                let stop = AtomicBool::new(false);
                thread::scope(|scope| {
                    let threads = load.get().ceil().max(1.0);
                    let (share, stop) = (load.get() / threads, &stop);
                    for _ in 0..threads as usize {
                        scope.spawn(move || spin(share, stop));
                    }
                    let seen = watch(bench, ours, phase);
                    stop.store(true, Relaxed);
                    seen
                })
            }),
        ];
        let measured = interleave("mixed", bench.settings.rounds, contenders)?;
        let of = |name, what: fn(&Seen) -> f64| -> Result<Vec<f64>> {
            Ok(measured.of(name)?.iter().map(what).collect())
        };
        for (case, what, target) in [
            ("p99", (|seen| seen.p99) as fn(&Seen) -> f64, Some(Target::AtMost(2.0))),
            ("p50", |seen| seen.p50, None),
        ] {
            report.compare(
                &format!("search beside a writer, {case}"),
                "µs",
                &of("writer", what)?,
                ("beside an equal niced load", &of("load", what)?),
                target,
            );
        }
        let rate = of("writer", |seen| seen.written)?;
        report.compare(
            "beside a searcher: records written",
            "per s",
            &rate,
            ("asked for", &[RECORDS_PER_SECOND]),
            None,
        );
        report.note(format!(
            "mixed: writing, committing and building used {} cores beside the searcher, the idle load {}",
            spread(&of("writer", |seen| seen.load)?),
            spread(&of("load", |seen| seen.load)?)
        ));
        Ok(())
    })
}

fn watch(bench: &Bench<'_>, ours: &Index, phase: Duration) -> Result<Seen> {
    let (began, process, thread) = (Instant::now(), cpu::of_process(), cpu::of_thread());
    let mut times = times(&bench.vectors, phase, |query| {
        ours.search(query, How::AsItComes).map(drop)
    })?;
    let others = cpu::of_process() - process - (cpu::of_thread() - thread);
    let load = others / began.elapsed().as_secs_f64();
    times.sort_by(f64::total_cmp);
    let p99 = times.get(times.len() * 99 / 100).copied();
    Ok(Seen {
        p50: median(&times),
        p99: p99.context("no queries")?,
        load,
        written: 0.0,
    })
}

/// Records at the given rate: what has become due since the last call, all in one.
fn write(
    ours: &Index,
    fresh: &[f32],
    dimension: usize,
    written: &AtomicUsize,
    stop: &AtomicBool,
) -> Result<()> {
    let began = Instant::now();
    let first = written.load(Relaxed);
    while !stop.load(Relaxed) {
        let due = first + (began.elapsed().as_secs_f64() * RECORDS_PER_SECOND) as usize;
        let row = written.load(Relaxed);
        let until = due.min(fresh.len() / dimension).min(row + MOST_AT_ONCE);
        if row < until {
            let vectors = fresh.get(row * dimension..until * dimension);
            ours.record(vectors.unwrap_or_default(), dimension)?;
            written.store(until, Relaxed);
        } else {
            thread::sleep(Duration::from_secs_f64(0.5 / RECORDS_PER_SECOND));
        }
    }
    Ok(())
}

/// Uses this share of a core, as far as others leave it one.
fn spin(share: f64, stop: &AtomicBool) {
    // On Linux, of this thread alone. Without it the yardstick is worse, not wrong.
    let _ = rustix::process::setpriority_process(None, NICE);
    let began = Instant::now();
    while !stop.load(Relaxed) {
        if cpu::of_thread() < share * began.elapsed().as_secs_f64() {
            let slice = Instant::now();
            while slice.elapsed() < SLICE {
                std::hint::spin_loop();
            }
        } else {
            thread::sleep(SLICE);
        }
    }
}
