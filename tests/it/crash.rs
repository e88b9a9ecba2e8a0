//! Does everything acknowledged survive whatever happens to the files?
//!
//! A workload runs on the simulated file system and is broken at every operation in turn: by a
//! crash (here), by a failing call (`faults`), by flipped bits (`damage`). Then the database is
//! opened again and compared with a plain model of what was acknowledged.
//!
//! `PULSEDB_CRASH_ROUNDS` workloads are run with seeds from `PULSEDB_CRASH_SEED` on; without it
//! one, with strides. A failure names the plan, whose seed repeats it, and the operation.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    reason = "these tests say what they did, and read files"
)]

use std::{
    sync::atomic::{AtomicU64, Ordering},
    time::{Duration, Instant},
};

use pulsedb::{
    SyncMode, blocking,
    sim::{SimVfs, Survival},
};

use check::verify;
use model::State;
use workload::{Plan, Run, now};

mod check;
mod damage;
mod faults;
mod lazy;
mod model;
mod salvage;
pub mod sequence;
mod workload;

const SURVIVALS: [Survival; 4] = [
    Survival::KeepAll,
    Survival::DropAll,
    Survival::Random { stale_bytes: false },
    Survival::Random { stale_bytes: true },
];

/// How much is tried.
#[derive(Clone, Copy)]
pub struct Extent {
    first_seed: u64,
    rounds: u64,
    short: bool,
}

impl Extent {
    pub fn get() -> Self {
        let number = |name: &str| std::env::var(name).ok().and_then(|text| text.parse().ok());
        let rounds = number("PULSEDB_CRASH_ROUNDS");
        Self {
            first_seed: number("PULSEDB_CRASH_SEED").unwrap_or(1),
            rounds: rounds.unwrap_or(1),
            short: rounds.is_none(),
        }
    }

    pub fn seeds(self) -> impl Iterator<Item = u64> {
        self.first_seed..self.first_seed + self.rounds
    }

    /// Every operation in the long version, every `short`th in the short one.
    pub fn stride(self, short: usize) -> usize {
        if self.short { short } else { 1 }
    }
}

/// Says what was being tried when something panics.
pub struct Context(pub String);

impl Drop for Context {
    fn drop(&mut self) {
        if std::thread::panicking() {
            eprintln!("while trying {}", self.0);
        }
    }
}

#[test]
fn crash_at_every_operation_normal() {
    crash_everywhere("normal", |seed| Plan::new(seed, SyncMode::Normal), 1);
}

#[test]
fn crash_at_every_operation_fast() {
    crash_everywhere("fast", |seed| Plan::new(seed, SyncMode::Fast), 1);
}

#[test]
fn crash_at_every_operation_paranoid() {
    crash_everywhere("paranoid", |seed| Plan::new(seed, SyncMode::Paranoid), 3);
}

/// Segments come from files written ahead.
#[test]
fn crash_at_every_operation_with_a_pool() {
    let plan = |seed| Plan {
        pool: 2,
        ..Plan::new(seed, SyncMode::Normal)
    };
    crash_everywhere("pool", plan, 3);
}

/// The flush of the background thread falls between any two operations.
#[test]
fn crash_while_flushing_beside_commits() {
    let plan = |seed| Plan {
        flush_interval: Duration::from_millis(1),
        ..Plan::new(seed, SyncMode::Fast)
    };
    crash_everywhere("flushing", plan, 3);
}

fn crash_everywhere(name: &str, plan: impl Fn(u64) -> Plan, stride: usize) {
    let (extent, started) = (Extent::get(), Instant::now());
    let (mut crashes, mut recoveries) = (0_u64, 0_u64);
    for seed in extent.seeds() {
        let plan = plan(seed);
        let first = base(&plan);
        let whole = plan.run(first.reboot(Survival::KeepAll));
        assert!(whole.failure.is_none(), "{plan:?}: {:?}", whole.failure);
        let ops = whole.vfs.op_count();
        if plan.is_repeatable() {
            // A thread that is preempted while it holds a snapshot makes a compaction keep more: on a
            // crowded machine some runs differ from others.
            let mut runs = vec![operations(&whole)];
            let repeats = |_| {
                let again = operations(&plan.run(first.reboot(Survival::KeepAll)));
                let is_known = runs.contains(&again);
                runs.push(again);
                is_known
            };
            assert!((0..4).any(repeats), "each run is another one: {plan:?}");
        }
        verify(&plan, &whole, Survival::DropAll);
        for op in (0..ops).step_by(extent.stride(stride)) {
            let vfs = first.reboot(Survival::KeepAll);
            vfs.crash_at(op);
            let context = Context(format!("a crash at operation {op} of {ops}, {plan:?}"));
            let run = plan.run(vfs);
            crashes += 1;
            for (which, survival) in SURVIVALS.into_iter().enumerate() {
                let _context = Context(format!("{survival:?} of"));
                verify(&plan, &run, survival);
                recoveries += 1;
                // Each open has some tens of operations of its own: a sample, another per seed.
                if (op + 5 * which as u64 + seed).is_multiple_of(23) {
                    recoveries += crash_in_recovery(&plan, &run, survival, extent.stride(3));
                }
            }
            drop(context);
        }
    }
    println!(
        "{name}: {crashes} crashes, {recoveries} recoveries in {:?}",
        started.elapsed()
    );
}

/// What a run did to its files. How long a checkpoint is depends on whether somebody happened to hold an
/// older snapshot when a row was changed, and so does when a file goes that nobody needs any more.
fn operations(run: &Run) -> Vec<String> {
    let trace = run.vfs.trace();
    let operations = trace
        .iter()
        .filter_map(|line| Some(line.split_once(": ")?.1));
    operations
        .filter(|operation| !operation.starts_with("remove "))
        .map(
            |operation| match operation.split_once(".ckpt.tmp at 176, ") {
                Some((write, _)) => write.to_owned(),
                None => operation.to_owned(),
            },
        )
        .collect()
}

/// The file system that a run starts on: empty, or with files written ahead.
fn base(plan: &Plan) -> SimVfs {
    let vfs = SimVfs::new(plan.seed);
    if plan.pool > 0 {
        let db = blocking::PulseDB::from(plan.open(&vfs, 0).unwrap());
        let started = Instant::now();
        let made = |line: &String| line.contains("sync") && line.contains("spare");
        while vfs.trace().iter().filter(|line| made(line)).count() < plan.pool {
            assert!(started.elapsed() < Duration::from_secs(30));
            std::thread::sleep(Duration::from_millis(5));
        }
        db.close().unwrap();
    }
    vfs
}

impl Plan {
    /// Does no thread but the caller's touch the files?
    fn is_repeatable(&self) -> bool {
        self.pool == 0 && self.flush_interval > Duration::from_secs(1)
    }
}

/// Crashes at the operations of the open that follows the crash: whoever comes then finds the
/// same. Says how often it recovered.
fn crash_in_recovery(plan: &Plan, run: &Run, survival: Survival, stride: usize) -> u64 {
    let left = run.vfs.reboot(survival);
    let vfs = left.reboot(Survival::KeepAll);
    let db = plan.recover(&vfs);
    let ops = vfs.op_count();
    let expected = State::read(&db).unwrap();
    let next = db.current_cursor().unwrap();
    // Crashed without a word, it leaves the same again.
    let twice = plan.recover(&vfs.reboot(survival));
    assert_eq!(expected.difference(&State::read(&twice).unwrap()), None);
    assert!(twice.current_cursor().unwrap().lsn >= next.lsn);
    twice.close().unwrap();
    drop(db);
    let mut recoveries = 2;
    for op in (0..ops).step_by(stride) {
        let _context = Context(format!("operation {op} of {ops} of the recovery from"));
        let vfs = left.reboot(Survival::KeepAll);
        vfs.crash_at(op);
        if let Ok(db) = plan.open(&vfs, 1_000) {
            let _ = now(db.current_cursor());
            let _ = blocking::PulseDB::from(db).close();
        }
        let db = plan.recover(&vfs.reboot(SURVIVALS[op as usize / stride % 4]));
        assert_eq!(expected.difference(&State::read(&db).unwrap()), None);
        assert!(db.health_check().unwrap().recovery.damaged.is_empty());
        db.close().unwrap();
        recoveries += 1;
    }
    recoveries
}

/// Sequences that once went wrong: a tombstone left the log before a change of what it had deleted.
#[test]
fn sequences_that_found_something() {
    for seed in [700_152, 700_657] {
        sequence::seeded(seed);
    }
}

/// Rounds of requests with crashes in between, from one database to the next; as many requests as
/// `PULSEDB_CRASH_OPERATIONS` says.
#[test]
fn sequences_of_requests_with_crashes_in_between() {
    let wanted = std::env::var("PULSEDB_CRASH_OPERATIONS").map_or(3_000, |text| {
        let plain = text.replace('_', "");
        plain.parse::<u64>().expect("a number of requests")
    });
    let first = Extent::get().first_seed;
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let (next, done) = (AtomicU64::new(first), AtomicU64::new(0));
    let started = Instant::now();
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                while done.load(Ordering::Relaxed) < wanted {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    let _context = Context(format!("PULSEDB_CRASH_SEED={seed}"));
                    let requests = sequence::seeded(seed);
                    done.fetch_add(requests, Ordering::Relaxed);
                }
            });
        }
    });
    let (done, took) = (done.into_inner(), started.elapsed());
    println!(
        "{done} requests, {} databases, seeds from {first} on, in {took:?}: {:.0} requests/s",
        next.into_inner() - first,
        done as f64 / took.as_secs_f64()
    );
}
