//! How long does it take to read one experience of many by its id?
//!
//! All rows are in memory, ids come in a random order, and every cache line of what is answered is looked at.
//! *In place* means that the answer is borrowed: ours is a view, theirs the bytes in a transaction of their own.
//! *Owned* means that it may be kept: ours is an `Experience`, theirs a copy of the bytes, which nobody has decoded.

use std::{
    hint::black_box,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, anyhow};
use pulsedb::{ExperienceId, SyncMode};

use super::{
    Bench,
    peers::{Keyed, LOAD_BATCH, Lmdb, Redb},
};
use crate::{
    ingest::{DIMENSION, SEGMENT_BYTES},
    ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
    vectors::Random,
};

const LINE: usize = 64;
/// Reads between two looks at the clock.
const STRIDE: usize = 256;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    bench.work.with(|dir| {
        let config = pulsedb::Config {
            segment_pool: 0,
            ..ours::config(DIMENSION, SEGMENT_BYTES, SyncMode::Fast)
        };
        let runtime = tokio::runtime::Builder::new_current_thread().build()?;
        let handle = runtime.block_on(pulsedb::PulseDB::open(dir.join("ours"), config))?;
        let db = ours::Blocking::of(handle.clone().into(), &bench.records.texts())?;
        let ours = Ours {
            asynchronous: handle,
            blocking: db.handle().clone(),
        };
        let mut ids = Vec::new();
        for first in (0..bench.rows).step_by(LOAD_BATCH) {
            let len = (bench.rows - first).min(LOAD_BATCH as u64);
            ids.extend(db.record_batch(first, len)?);
        }
        let lmdb: Lmdb = filled(bench, &dir.join("lmdb"), &ids)?;
        let redb: Redb = filled(bench, &dir.join("redb"), &ids)?;
        rustix::fs::sync();
        shuffle(&mut ids);
        for threads in [1, 2] {
            one(bench, report, &ours, &lmdb, &redb, &ids, threads)?;
        }
        db.close()
    })
}

/// The same open database, for a runtime and for a thread that may block.
struct Ours {
    asynchronous: pulsedb::PulseDB,
    blocking: pulsedb::blocking::PulseDB,
}

/// The engine with the records of ours, under the same ids.
fn filled<S: Keyed>(bench: &Bench<'_>, dir: &Path, ids: &[ExperienceId]) -> Result<S> {
    let mut store = S::open(dir)?;
    for (batch, ids) in ids.chunks(LOAD_BATCH).enumerate() {
        let first = (batch * LOAD_BATCH) as u64;
        let keys = ids.iter().map(key);
        let records = (first..).map(|n| bench.records.encoded(n));
        store.add(keys.zip(records), false)?;
    }
    Ok(store)
}

fn key(id: &ExperienceId) -> u128 {
    id.as_uuid().as_u128()
}

#[allow(clippy::too_many_arguments, reason = "all contenders of one table")]
fn one(
    bench: &Bench<'_>,
    report: &mut Report,
    ours: &Ours,
    lmdb: &Lmdb,
    redb: &Redb,
    ids: &[ExperienceId],
    threads: usize,
) -> Result<()> {
    let measure = bench.settings.measure;
    let load = Load {
        ids,
        threads,
        measure,
    };
    let owned = |record: &[u8]| touched(&black_box(record.to_vec()));
    let contenders = vec![
        Contender::new("view", || {
            load.run_async(async |id| Ok(seen(&ours.asynchronous.get_experience_view(*id).await?)))
        }),
        Contender::new("experience", || {
            load.run_async(async |id| {
                let one = ours.asynchronous.get_experience(*id).await?;
                Ok(touched(one.content.as_bytes()) ^ components(&one.embedding))
            })
        }),
        Contender::new("view, blocking", || {
            load.run(|id| Ok(seen(&ours.blocking.get_experience_view(*id)?)))
        }),
        Contender::new("experience, blocking", || {
            load.run(|id| {
                let one = ours.blocking.get_experience(*id)?;
                Ok(touched(one.content.as_bytes()) ^ components(&one.embedding))
            })
        }),
        Contender::new("LMDB", || load.run(|id| lmdb.get(key(id), touched))),
        Contender::new("LMDB, copied", || load.run(|id| lmdb.get(key(id), owned))),
        Contender::new("LMDB, one transaction", || {
            load.run_with(|| lmdb.hold(), |held, id| held.get(key(id), touched))
        }),
        Contender::new("redb", || load.run(|id| redb.get(key(id), touched))),
        Contender::new("redb, copied", || load.run(|id| redb.get(key(id), owned))),
    ];
    let label = match threads {
        1 => "1 thread".to_owned(),
        n => format!("{n} threads"),
    };
    let measured = interleave(&format!("get, {label}"), bench.settings.rounds, contenders)?;
    for (ours, peer, least) in [
        ("view", "LMDB", Some(1.25)),
        ("view", "redb", Some(2.5)),
        ("view", "LMDB, one transaction", None),
        ("experience", "LMDB, copied", Some(1.0)),
        ("experience", "redb, copied", Some(2.0)),
        ("experience", "LMDB", None),
        ("view, blocking", "LMDB", None),
        ("experience, blocking", "LMDB, copied", None),
    ] {
        let case = format!("get, {label}, {ours}");
        let target = least.map(Target::AtLeast);
        let theirs = (peer, measured.of(peer)?);
        report.compare(&case, "reads/s", measured.of(ours)?, theirs, target);
    }
    Ok(())
}

/// Looks at every line of a view.
fn seen(view: &pulsedb::ExperienceView) -> u64 {
    touched(view.content().as_bytes()) ^ components(view.embedding())
}

/// Looks at a byte of every cache line.
fn touched(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .step_by(LINE)
        .fold(0, |sum, byte| sum + u64::from(*byte))
}

/// Looks at a number in every cache line.
fn components(vector: &[f32]) -> u64 {
    vector
        .iter()
        .step_by(LINE / size_of::<f32>())
        .fold(0, |sum, component| sum ^ u64::from(component.to_bits()))
}

/// Threads that read random rows for a while.
struct Load<'a> {
    ids: &'a [ExperienceId],
    threads: usize,
    measure: Duration,
}

impl Load<'_> {
    /// Reads per second of all threads together.
    fn run(&self, read: impl Fn(&ExperienceId) -> Result<u64> + Sync) -> Result<f64> {
        self.run_with(|| Ok(()), |(), id| read(id))
    }

    fn run_with<T>(
        &self,
        begin: impl Fn() -> Result<T> + Sync,
        read: impl Fn(&T, &ExperienceId) -> Result<u64> + Sync,
    ) -> Result<f64> {
        self.on_threads(|mut meter, ids| {
            let held = begin()?;
            for id in ids {
                black_box(read(&held, id)?);
                if meter.is_over() {
                    break;
                }
            }
            Ok(meter.rate())
        })
    }

    /// Each thread runs a future on a runtime of its own, to its end.
    fn run_async(&self, read: impl AsyncFn(&ExperienceId) -> Result<u64> + Sync) -> Result<f64> {
        self.on_threads(|mut meter, ids| {
            let runtime = tokio::runtime::Builder::new_current_thread().build()?;
            runtime.block_on(async {
                for id in ids {
                    black_box(read(id).await?);
                    if meter.is_over() {
                        break;
                    }
                }
                Ok(meter.rate())
            })
        })
    }

    /// Each thread begins at another place of the same endless sequence.
    fn on_threads(
        &self,
        work: impl Fn(
            Meter,
            std::iter::Skip<std::iter::Cycle<std::slice::Iter<'_, ExperienceId>>>,
        ) -> Result<f64>
        + Sync,
    ) -> Result<f64> {
        let work = &work;
        thread::scope(|scope| {
            let threads: Vec<_> = (0..self.threads)
                .map(|thread| {
                    scope.spawn(move || {
                        let start = self.ids.len() / self.threads * thread;
                        work(
                            Meter::start(self.measure),
                            self.ids.iter().cycle().skip(start),
                        )
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| {
                    thread
                        .join()
                        .map_err(|_| anyhow!("a reading thread panicked"))?
                })
                .sum()
        })
    }
}

/// Counts the reads of one thread, after a while to warm up.
struct Meter {
    measure: Duration,
    reads: usize,
    counted_from: usize,
    began: Instant,
    warm: bool,
}

impl Meter {
    fn start(measure: Duration) -> Self {
        Self {
            measure,
            reads: 0,
            counted_from: 0,
            began: Instant::now(),
            warm: false,
        }
    }

    fn is_over(&mut self) -> bool {
        self.reads += 1;
        if !self.reads.is_multiple_of(STRIDE) {
            return false;
        }
        let passed = self.began.elapsed();
        if !self.warm && passed >= self.measure / 5 {
            self.warm = true;
            self.counted_from = self.reads;
            self.began = Instant::now();
        }
        self.warm && self.began.elapsed() >= self.measure
    }

    fn rate(&self) -> f64 {
        (self.reads - self.counted_from) as f64 / self.began.elapsed().as_secs_f64()
    }
}

fn shuffle(ids: &mut [ExperienceId]) {
    let mut random = Random::seeded(0x2025);
    for last in (1..ids.len()).rev() {
        let other = random.below(last as u64 + 1) as usize;
        ids.swap(last, other);
    }
}
