//! What does watching cost those who record, and how soon does a watcher hear of a record?
//!
//! Fan-out: tasks record durable records while 1, 100 or 1000 subscribers of the collective check that each of them hears
//! of every record once and in order; beside it the same without a subscriber. Latency: one thread records
//! at a steady pace, and a task receives; beside it a bare tokio broadcast channel that a thread feeds at the same
//! pace, each time after it has written as much to a file and synced it. Both are measured from the moment at which
//! the sync returned: with us applying, publishing and reading the record are in it.

use std::{
    fs::File,
    os::unix::fs::FileExt,
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use pulsedb::{
    CollectiveId, Config, EventType, PulseDB, SyncMode, WatchStream, blocking, sim::OsEnv,
};
use tokio::sync::broadcast;

use crate::{
    durable::{Noting, now},
    ingest, machine, ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
    settings::Settings,
    workdir::WorkDir,
};

/// Records of one fan-out, and tasks that record them.
const RECORDS: usize = 10_000;
const TASKS: usize = 32;
const SUBSCRIBERS: [usize; 3] = [1, 100, 1000];
/// Between two records of the latency case: 1000 a second.
const PACE: Duration = Duration::from_millis(1);
const DIMENSION: usize = 384;
/// What a record takes in the log, about: most of it is the vector.
const RECORD_BYTES: usize = 2048;
const CONTENT: &str = "a word or two about what was learned, and under which circumstances it held";

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let work = WorkDir::new(&settings.dir)?;
    let mut header = machine::describe(&settings.dir)?;
    header.push(format!(
        "fan-out: {RECORDS} durable records of {TASKS} tasks; latency: one record per {PACE:?}"
    ));
    let mut report = Report::new("watch", settings, header);
    fan_out(settings, &work, &mut report)?;
    latency(settings, &work, &mut report)?;
    report.finish()
}

fn fan_out(settings: &Settings, work: &WorkDir, report: &mut Report) -> Result<()> {
    let with = |subscribers| work.with(|dir| ingested(dir, subscribers));
    let contenders = vec![
        Contender::new("none", || with(0)),
        Contender::new("1", || with(1)),
        Contender::new("100", || with(100)),
        Contender::new("1000", || with(1000)),
    ];
    let measured = interleave("fan-out", settings.rounds, contenders)?;
    let none = measured.of("none")?;
    for subscribers in SUBSCRIBERS {
        // A hundred may cost those who record a tenth.
        let target = (subscribers <= 100).then_some(Target::AtLeast(0.9));
        report.compare(
            &format!("ingest, {subscribers} subscribers"),
            "records/s",
            measured.of(&subscribers.to_string())?,
            ("ours, no subscriber", none),
            target,
        );
    }
    Ok(())
}

/// Records per second until the last one was acknowledged.
fn ingested(dir: &Path, subscribers: usize) -> Result<f64> {
    let config = ours::config(DIMENSION, ingest::SEGMENT_BYTES, SyncMode::Normal);
    ingest::runtime()?.block_on(async {
        let db = PulseDB::open(dir, config).await?;
        let team = db.create_collective("team").await?;
        let mut watchers = Vec::new();
        for _ in 0..subscribers {
            let stream = db.watch_experiences(team).await?;
            watchers.push(tokio::spawn(hear_all(stream)));
        }
        let vector: Arc<[f32]> = vec![0.05; DIMENSION].into();
        let started = Instant::now();
        let tasks = (0..TASKS).map(|task| {
            let (db, vector) = (db.clone(), Arc::clone(&vector));
            tokio::spawn(async move {
                for _ in (task..RECORDS).step_by(TASKS) {
                    db.record_experience(ours::experience(team, CONTENT, &vector))
                        .await?;
                }
                anyhow::Ok(())
            })
        });
        for task in tasks.collect::<Vec<_>>() {
            task.await??;
        }
        let took = started.elapsed().as_secs_f64();
        for watcher in watchers {
            watcher.await??;
        }
        db.close().await?;
        anyhow::Ok(RECORDS as f64 / took)
    })
}

/// Hears of every record, once and in order: as many as there are, each behind the one before.
async fn hear_all(mut stream: WatchStream) -> Result<()> {
    let mut last = stream.position();
    for _ in 0..RECORDS {
        let event = stream.recv().await.context("the stream ended")??;
        ensure!(event.lsn > last, "{} behind {last}", event.lsn);
        last = event.lsn;
        ensure!(event.event_type == EventType::Created);
    }
    Ok(())
}

fn latency(settings: &Settings, work: &WorkDir, report: &mut Report) -> Result<()> {
    let contenders = vec![
        Contender::new("ours", || work.with(|dir| watched(dir, settings.measure))),
        Contender::new("broadcast", || work.with(|dir| bare(dir, settings.measure))),
    ];
    let measured = interleave("latency", settings.rounds, contenders)?;
    for (percent, bound) in [(50, 1.5), (99, 3.0)] {
        let at = |name| -> Result<Vec<f64>> {
            let samples = measured.of(name)?.iter();
            Ok(samples.map(|one| percentile(one, percent)).collect())
        };
        report.compare(
            &format!("durable to received, p{percent}"),
            "µs",
            &at("ours")?,
            ("bare broadcast", &at("broadcast")?),
            Some(Target::AtMost(bound)),
        );
    }
    Ok(())
}

/// Microseconds from when each record was durable to when it was received.
fn watched(dir: &Path, time: Duration) -> Result<Vec<f64>> {
    let config = Config {
        // Nobody but the one who records syncs a file of the log.
        segment_pool: 0,
        ..ours::config(DIMENSION, ingest::SEGMENT_BYTES, SyncMode::Normal)
    };
    let runtime = ingest::runtime()?;
    let files = Noting::default();
    let (db, team, mut stream) = runtime.block_on(async {
        let db = PulseDB::open_simulated(dir, config, files.clone(), OsEnv).await?;
        let team = db.create_collective("team").await?;
        let stream = db.watch_experiences(team).await?;
        anyhow::Ok((db, team, stream))
    })?;
    let count = beats(time);
    let received = runtime.spawn(async move {
        let mut received = Vec::with_capacity(count);
        for _ in 0..count {
            stream.recv().await.context("the stream ended")??;
            received.push(now());
        }
        anyhow::Ok(received)
    });
    let db = blocking::PulseDB::from(db);
    let writer = thread::spawn(move || record_steadily(&db, &files, team, count));
    let durable = writer.join().ok().context("the writer panicked")??;
    let received = runtime.block_on(received)??;
    Ok(between(&durable, &received))
}

fn record_steadily(
    db: &blocking::PulseDB,
    files: &Noting,
    team: CollectiveId,
    count: usize,
) -> Result<Vec<u64>> {
    let vector = vec![0.05; DIMENSION];
    let durable = steadily(count, || {
        db.record_experience(ours::experience(team, CONTENT, &vector))?;
        Ok(files.synced())
    })?;
    db.close()?;
    Ok(durable)
}

/// The same through a file, a channel and nothing else.
fn bare(dir: &Path, time: Duration) -> Result<Vec<f64>> {
    let runtime = ingest::runtime()?;
    let count = beats(time);
    let (sender, mut receiver) = broadcast::channel::<Arc<usize>>(1000);
    let received = runtime.spawn(async move {
        let mut received = Vec::with_capacity(count);
        for _ in 0..count {
            receiver.recv().await?;
            received.push(now());
        }
        anyhow::Ok(received)
    });
    let file = File::create(dir.join("file"))?;
    let writer = thread::spawn(move || {
        let mut number = 0;
        steadily(count, || {
            file.write_all_at(&[1; RECORD_BYTES], (number * RECORD_BYTES) as u64)?;
            file.sync_data()?;
            number += 1;
            let event = Arc::new(number);
            let sent = now();
            sender.send(event)?;
            Ok(sent)
        })
    });
    let sent = writer.join().ok().context("the writer panicked")??;
    let received = runtime.block_on(received)??;
    Ok(between(&sent, &received))
}

fn beats(time: Duration) -> usize {
    (time.as_micros() / PACE.as_micros()).max(1) as usize
}

fn steadily(count: usize, mut send: impl FnMut() -> Result<u64>) -> Result<Vec<u64>> {
    let started = Instant::now();
    let mut sent = Vec::with_capacity(count);
    for beat in 0..count as u32 {
        thread::sleep((PACE * beat).saturating_sub(started.elapsed()));
        sent.push(send()?);
    }
    Ok(sent)
}

/// Microseconds, ascending.
fn between(sent: &[u64], received: &[u64]) -> Vec<f64> {
    let pairs = sent.iter().zip(received);
    let mut took: Vec<f64> = pairs
        .map(|(sent, received)| received.saturating_sub(*sent) as f64 / 1e3)
        .collect();
    took.sort_by(f64::total_cmp);
    took
}

fn percentile(ascending: &[f64], percent: usize) -> f64 {
    let at = ascending.len() * percent / 100;
    ascending
        .get(at)
        .or(ascending.last())
        .copied()
        .unwrap_or(0.0)
}
