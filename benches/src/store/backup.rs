//! What does a backup cost those who record meanwhile?
//!
//! Threads record 2,000 experiences a second, one commit each; beside them one full backup after the other
//! copies all of the log, at the rate that is the default, to the same disk: the worst place for it.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed},
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, anyhow, ensure};
use pulsedb::{BackupOptions, CollectiveId, SyncMode, blocking::PulseDB};

use super::Bench;
use crate::{
    ingest::{DIMENSION, SEGMENT_BYTES},
    ours,
    report::{Report, Target, median},
    rounds::{Contender, interleave},
};

const RECORDS_PER_SECOND: u64 = 2000;
const WRITERS: u64 = 8;
/// Rows of one commit of the load before.
const LOAD_BATCH: u64 = 1_000;
/// A round takes so many times as long as others: a backup has to come by in all its parts.
const LONGER: u32 = 3;
/// The most that p99 may grow.
const BESIDE_BACKUP: f64 = 2.0;

/// What a round saw.
struct Seen {
    p99: f64,
    p50: f64,
    per_second: f64,
}

/// The writers' latency with and without a backup beside them.
pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let backups = AtomicU64::new(0);
    let contenders = vec![
        Contender::new("beside", || {
            bench.work.with(|dir| round(bench, dir, Some(&backups)))
        }),
        Contender::new("alone", || bench.work.with(|dir| round(bench, dir, None))),
    ];
    let measured = interleave("backup", bench.settings.rounds, contenders)?;
    let of = |name, what: fn(&Seen) -> f64| -> Result<Vec<f64>> {
        Ok(measured.of(name)?.iter().map(what).collect())
    };
    for (case, what, target) in [
        (
            "p99",
            (|seen| seen.p99) as fn(&Seen) -> f64,
            Some(Target::AtMost(BESIDE_BACKUP)),
        ),
        ("p50", |seen| seen.p50, None),
    ] {
        report.compare(
            &format!("recording beside a backup, {case}"),
            "ms",
            &of("beside", what)?,
            ("without one", &of("alone", what)?),
            target,
        );
    }
    report.compare(
        "recorded beside a backup",
        "per s",
        &of("beside", |seen| seen.per_second)?,
        ("without one", &of("alone", |seen| seen.per_second)?),
        None,
    );
    report.note(format!(
        "backup: {} full ones ended in all rounds together",
        backups.load(Relaxed)
    ));
    Ok(())
}

fn round(bench: &Bench<'_>, dir: &Path, backups: Option<&AtomicU64>) -> Result<Seen> {
    let config = ours::config(DIMENSION, SEGMENT_BYTES, SyncMode::Normal);
    let db = PulseDB::open(dir.join("db"), config)?;
    let collective = db.create_collective("bench")?;
    for first in (0..bench.rows).step_by(LOAD_BATCH as usize) {
        let rows = first..bench.rows.min(first + LOAD_BATCH);
        let batch = rows.map(|row| experience(bench, collective, row)).collect();
        db.record_experiences(batch)?;
    }
    rustix::fs::sync();
    let stop = AtomicBool::new(false);
    let began = Instant::now();
    let time = bench.settings.measure * LONGER;
    let mut times = thread::scope(|scope| -> Result<Vec<f64>> {
        let copier = backups.map(|count| {
            let (db, stop) = (db.clone(), &stop);
            let dir = dir.join("backups");
            scope.spawn(move || back_up(&db, &dir, stop, count))
        });
        let writers: Vec<_> = (0..WRITERS)
            .map(|writer| {
                let db = &db;
                scope.spawn(move || write(bench, db, collective, writer, time))
            })
            .collect();
        let mut times = Vec::new();
        for writer in writers {
            times.extend(writer.join().map_err(|_| anyhow!("a writer panicked"))??);
        }
        stop.store(true, Relaxed);
        if let Some(copier) = copier {
            copier
                .join()
                .map_err(|_| anyhow!("the backup panicked"))??;
        }
        Ok(times)
    })?;
    let per_second = times.len() as f64 / began.elapsed().min(time).as_secs_f64();
    db.close()?;
    times.sort_by(f64::total_cmp);
    let p99 = times.get(times.len() * 99 / 100).copied();
    Ok(Seen {
        p99: p99.context("nothing was recorded")?,
        p50: median(&times),
        per_second,
    })
}

/// One full backup after the other, until it is enough.
fn back_up(db: &PulseDB, dir: &Path, stop: &AtomicBool, count: &AtomicU64) -> Result<()> {
    let options = BackupOptions {
        full: true,
        share: false,
        ..BackupOptions::default()
    };
    while !stop.load(Relaxed) {
        let info = db.backup(dir, options)?;
        ensure!(info.new_bytes == info.bytes, "not all was copied");
        count.fetch_add(1, Relaxed);
    }
    Ok(())
}

/// Records at the given rate and says how long each took, in milliseconds.
fn write(
    bench: &Bench<'_>,
    db: &PulseDB,
    collective: CollectiveId,
    writer: u64,
    time: Duration,
) -> Result<Vec<f64>> {
    let began = Instant::now();
    let gap = Duration::from_secs_f64(WRITERS as f64 / RECORDS_PER_SECOND as f64);
    let mut times = Vec::new();
    while began.elapsed() < time {
        let due = gap * times.len() as u32;
        thread::sleep(due.saturating_sub(began.elapsed()));
        let row = bench.rows + times.len() as u64 * WRITERS + writer;
        let new = experience(bench, collective, row);
        let call = Instant::now();
        db.record_experience(new)?;
        times.push(call.elapsed().as_secs_f64() * 1e3);
    }
    Ok(times)
}

fn experience(bench: &Bench<'_>, collective: CollectiveId, row: u64) -> pulsedb::NewExperience {
    let texts = bench.records.texts();
    let (content, embedding) = texts
        .get(row as usize % texts.len().max(1))
        .copied()
        .unwrap_or_default();
    ours::experience(collective, content, embedding)
}
