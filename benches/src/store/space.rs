//! Does the disk shrink with what is deleted, and what does that cost those who record meanwhile?

use std::{
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    thread,
    time::Duration,
};

use anyhow::{Result, ensure};
use pulsedb::{CompactionConfig, CompactionProgress, Config, ExperienceId, SyncMode};

use super::{
    BOUND, Bench,
    files::{self, LogBytes},
};
use crate::{
    ingest::{DIMENSION, Load, Outcome, SEGMENT_BYTES, runtime, with_tasks},
    ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
};

const TASKS: usize = 128;
/// Rows of one commit of a load.
const LOAD_BATCH: u64 = 1_000;

/// The most bytes on disk for a byte that lives.
const KEPT: f64 = 1.3;
/// One row in so many stays.
const LEFT_PART: usize = 10;

/// The least share of the rate that is left while a compaction runs.
const BESIDE_COMPACTION: f64 = 0.7;

/// A database that compacts when it is told to.
fn config() -> Config {
    Config {
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..ours::config(DIMENSION, SEGMENT_BYTES, SyncMode::Normal)
    }
}

/// Disk after nine rows of ten were deleted, and upkeep.
pub(super) fn deleted(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let (live, log, blocks, manifest) = bench.work.with(|dir| {
        runtime()?.block_on(async {
            let db = loaded(bench, dir).await?;
            let ids = db.ids;
            delete(&db.ours, ids, |at| !at.is_multiple_of(LEFT_PART)).await?;
            db.ours.handle().compact().await?;
            let live = db.ours.body_bytes().await?;
            db.ours.close().await?;
            let (_, blocks) = files::size(&dir.join("log"))?;
            let (manifest, _) = files::size(dir)?;
            Ok((live, files::log_bytes(&dir.join("log"))?, blocks, manifest))
        })
    })?;
    let LogBytes { used, .. } = log;
    let per_live = |bytes: u64| [(bytes + manifest) as f64 / live as f64];
    report.compare(
        "log/ and MANIFEST after deleting 90 %, on disk",
        "B per live B",
        &per_live(used),
        (BOUND, &[KEPT]),
        Some(Target::AtMost(1.0)),
    );
    report.compare(
        "the same, with the room reserved in the last segment",
        "B per live B",
        &per_live(blocks),
        (BOUND, &[KEPT]),
        None,
    );
    Ok(())
}

/// Durable ingest while half of what is there is compacted away.
pub(super) fn compacting(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let load = Load {
        tasks: TASKS,
        warm_up: bench.settings.warm_up(),
        measure: bench.settings.measure,
    };
    let contenders = vec![
        Contender::new("compacting", || {
            bench.work.with(|dir| ingest(bench, dir, load, true))
        }),
        Contender::new("alone", || {
            bench.work.with(|dir| ingest(bench, dir, load, false))
        }),
    ];
    let measured = interleave("compacting", bench.long_rounds(), contenders)?;
    let rate = |name: &str| -> Result<Vec<f64>> {
        Ok(measured.of(name)?.iter().map(|o| o.per_second).collect())
    };
    report.compare(
        &format!("durable ingest by {TASKS} tasks while a compaction runs"),
        "records/s",
        &rate("compacting")?,
        ("ours without one", &rate("alone")?),
        Some(Target::AtLeast(BESIDE_COMPACTION)),
    );
    Ok(())
}

fn ingest(bench: &Bench<'_>, dir: &Path, load: Load, compacting: bool) -> Result<Outcome> {
    runtime()?.block_on(async {
        let db = loaded(bench, dir).await?;
        delete(&db.ours, db.ids, |at| at.is_multiple_of(2)).await?;
        rustix::fs::sync();
        let copied = Arc::new(AtomicU64::new(0));
        let compaction = compacting.then(|| {
            let (handle, copied) = (db.ours.handle().clone(), Arc::clone(&copied));
            tokio::spawn(async move { handle.compact_with(paced(copied)).await })
        });
        while compacting && copied.load(Ordering::Relaxed) == 0 {
            tokio::task::yield_now().await;
        }
        let before = copied.load(Ordering::Relaxed);
        let outcome = with_tasks(&db.ours, load).await;
        if let Some(compaction) = compaction {
            ensure!(
                !compaction.is_finished() && copied.load(Ordering::Relaxed) > before,
                "no compaction ran all the while; take more rows or less time"
            );
            // The close ends it.
            compaction.abort();
        }
        db.ours.close().await?;
        outcome
    })
}

/// Notes what was copied, and holds the copying back to the rate at which it goes by itself beside commits.
fn paced(copied: Arc<AtomicU64>) -> impl Fn(CompactionProgress) + Send + 'static {
    const STRIDE_BYTES: u64 = 1024 * 1024;
    let rate = CompactionConfig::default().bytes_per_second;
    move |progress| {
        let before = copied.swap(progress.bytes, Ordering::Relaxed);
        if progress.bytes / STRIDE_BYTES != before / STRIDE_BYTES {
            thread::sleep(Duration::from_secs_f64(STRIDE_BYTES as f64 / rate as f64));
        }
    }
}

/// A database with rows.
struct Loaded {
    ours: ours::Async,
    ids: Vec<ExperienceId>,
}

async fn loaded(bench: &Bench<'_>, dir: &Path) -> Result<Loaded> {
    let ours = ours::Async::open(dir, config(), &bench.records.texts()).await?;
    let mut ids = Vec::new();
    for first in (0..bench.rows).step_by(LOAD_BATCH as usize) {
        let len = (bench.rows - first).min(LOAD_BATCH);
        ids.extend(ours.record_batch(first, len).await?);
    }
    Ok(Loaded { ours, ids })
}

/// Deletes the rows that `doomed` chooses by their place, by many tasks at once.
async fn delete(
    db: &ours::Async,
    ids: Vec<ExperienceId>,
    doomed: impl Fn(usize) -> bool,
) -> Result<()> {
    let doomed: Vec<_> = ids
        .into_iter()
        .enumerate()
        .filter(|(at, _)| doomed(*at))
        .map(|(_, id)| id)
        .collect();
    let share = doomed.len().div_ceil(TASKS).max(1);
    let tasks: Vec<_> = doomed
        .chunks(share)
        .map(|ids| {
            let (db, ids) = (db.handle().clone(), ids.to_vec());
            tokio::spawn(async move {
                for id in ids {
                    db.delete_experience(id).await?;
                }
                anyhow::Ok(())
            })
        })
        .collect();
    for task in tasks {
        task.await??;
    }
    Ok(())
}
