//! How many bytes are written and kept for a byte that is recorded?
//!
//! 128 tasks record into fresh files: for `log/` without graphs, whose builders would hold them up; for `index/` with
//! everything that the engine does by itself, graphs and checkpoints, until it has nothing left to do.
//! `log/` with MANIFEST stands for the truth, `index/` for what can be made again. Written is what the device
//! counts (`/sys/dev/block/…/stat`), so nothing else may write to it meanwhile; of that, `index/` is the length of
//! each file that was ever there, since each is written once, and the log is the rest. `write_bytes` of
//! `/proc/self/io` is told beside it and not judged: it counts whole folios, however little of one is dirty.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};
use pulsedb::{Config, SyncMode};

use super::{
    BOUND, Bench,
    files::{self, Watcher},
};
use crate::{
    ingest::{DIMENSION, SEGMENT_BYTES, runtime},
    ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
};

const TASKS: u64 = 128;

/// The most of each, per byte of payload.
const LOG_KEPT: f64 = 1.05;
const LOG_WRITTEN: f64 = 1.10;
const INDEX_KEPT: f64 = 0.35;
const INDEX_WRITTEN: f64 = 1.0;

/// Nothing was written for so long: the background has nothing to do.
const QUIET: Duration = Duration::from_secs(3);
const PATIENCE: Duration = Duration::from_secs(900);

/// Bytes per byte of payload.
struct Cost {
    log_kept: f64,
    log_blocks: f64,
    log_written: f64,
    index_kept: f64,
    index_written: f64,
    process: f64,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let pure = || Config {
        segment_pool: 0,
        ..ours::config(DIMENSION, SEGMENT_BYTES, SyncMode::Normal)
    };
    let contenders = vec![
        Contender::new("pure", || bench.work.with(|dir| ingest(bench, dir, pure()))),
        Contender::new("indexed", || {
            let config = ours::fresh_config(DIMENSION);
            bench.work.with(|dir| ingest(bench, dir, config))
        }),
    ];
    // Bytes vary little from run to run, and a run takes as long as its graphs.
    let measured = interleave("written", 1, contenders)?;
    let mut compare = |case: &str, run: &str, of: fn(&Cost) -> f64, bound: Option<f64>| {
        let ours: Vec<f64> = measured.of(run)?.iter().map(of).collect();
        let target = bound.map(|_| Target::AtMost(1.0));
        let bound = [bound.unwrap_or(1.0)];
        report.compare(case, "B per B", &ours, (BOUND, &bound), target);
        anyhow::Ok(())
    };
    compare(
        "log/ and MANIFEST, on disk",
        "pure",
        |c| c.log_kept,
        Some(LOG_KEPT),
    )?;
    compare(
        "the same, with the room reserved in the last segment",
        "pure",
        |c| c.log_blocks,
        None,
    )?;
    compare(
        "log/ and MANIFEST, written",
        "pure",
        |c| c.log_written,
        Some(LOG_WRITTEN),
    )?;
    compare("write_bytes of /proc/self/io", "pure", |c| c.process, None)?;
    compare(
        "index/, on disk",
        "indexed",
        |c| c.index_kept,
        Some(INDEX_KEPT),
    )?;
    compare(
        "index/, written",
        "indexed",
        |c| c.index_written,
        Some(INDEX_WRITTEN),
    )
}

fn ingest(bench: &Bench<'_>, dir: &Path, config: Config) -> Result<Cost> {
    let watcher = Watcher::start(dir.join("index"));
    let (process, device) = (files::written_by_process()?, files::written_to_device(dir)?);
    runtime()?.block_on(async {
        let db = ours::Async::open(dir, config, &texts(bench)).await?;
        record(&db, bench.rows).await?;
        wait_until_quiet()?;
        db.close().await
    })?;
    rustix::fs::sync();
    let process = files::written_by_process()? - process;
    let device = files::written_to_device(dir)? - device;
    let index_written = watcher.stop()?;
    let bytes = files::log_bytes(&dir.join("log"))?;
    let payload = bytes.payload as f64;
    let (_, blocks) = files::size(&dir.join("log"))?;
    let (manifest, _) = files::size(dir)?;
    let (index, _) = files::size(&dir.join("index"))?;
    Ok(Cost {
        log_kept: (bytes.used + manifest) as f64 / payload,
        log_blocks: (blocks + manifest) as f64 / payload,
        log_written: device.saturating_sub(index_written) as f64 / payload,
        index_kept: index as f64 / payload,
        index_written: index_written as f64 / payload,
        process: process as f64 / payload,
    })
}

/// Texts of many lengths, as texts have: frames are padded, so that one length alone would tell of luck.
fn texts<'a>(bench: &'a Bench<'_>) -> Vec<(&'a str, &'a [f32])> {
    /// Frames begin at multiples of it.
    const ALIGN: usize = 64;
    let texts = bench.records.texts().into_iter().enumerate();
    texts
        .map(|(n, (content, embedding))| {
            let len = content.len() - n % ALIGN;
            (content.get(..len).unwrap_or(content), embedding)
        })
        .collect()
}

/// Records rows one by one, by many tasks at once.
async fn record(db: &ours::Async, rows: u64) -> Result<()> {
    let db = Arc::new(db.clone());
    let tasks: Vec<_> = (0..TASKS)
        .map(|task| {
            let db = Arc::clone(&db);
            tokio::spawn(async move {
                for row in (task..rows).step_by(TASKS as usize) {
                    db.record(row).await?;
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

/// Waits until this process has written nothing for a while.
fn wait_until_quiet() -> Result<()> {
    let started = Instant::now();
    let mut last = (files::written_by_process()?, Instant::now());
    while last.1.elapsed() < QUIET {
        if started.elapsed() > PATIENCE {
            bail!("the engine still writes after {PATIENCE:?}");
        }
        thread::sleep(Duration::from_millis(100));
        let now = files::written_by_process()?;
        if now != last.0 {
            last = (now, Instant::now());
        }
    }
    Ok(())
}
