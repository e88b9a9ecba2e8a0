//! How many bytes are written and kept for a byte that is recorded?
//!
//! Pure ingest by 128 tasks into fresh files, with everything that the engine does by itself: graphs, checkpoints.
//! `log/` with MANIFEST stands for the truth, `index/` for what can be made again. Written is what this process
//! sent to the storage layer (`write_bytes` of `/proc/self/io`, whole pages); of that, `index/` is the length of
//! each file that was ever there, since each is written once, and the log is the rest.

use std::{
    path::Path,
    sync::Arc,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Result, bail};

use super::{
    BOUND, Bench,
    files::{self, Watcher},
};
use crate::{
    ingest::{DIMENSION, runtime},
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
    device: f64,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let contenders = vec![Contender::new("ours", || {
        bench.work.with(|dir| ingest(bench, dir))
    })];
    // Bytes vary little from run to run, and a run takes as long as its graphs.
    let measured = interleave("written", 1, contenders)?;
    let costs = measured.of("ours")?;
    let mut compare = |case: &str, of: fn(&Cost) -> f64, bound: Option<f64>| {
        let ours: Vec<f64> = costs.iter().map(of).collect();
        let target = bound.map(|_| Target::AtMost(1.0));
        let bound = [bound.unwrap_or(1.0)];
        report.compare(case, "B per B", &ours, (BOUND, &bound), target);
    };
    compare("log/ and MANIFEST, on disk", |c| c.log_kept, Some(LOG_KEPT));
    compare(
        "the same, blocks of the file system",
        |c| c.log_blocks,
        None,
    );
    compare(
        "log/ and MANIFEST, written",
        |c| c.log_written,
        Some(LOG_WRITTEN),
    );
    compare("index/, on disk", |c| c.index_kept, Some(INDEX_KEPT));
    compare("index/, written", |c| c.index_written, Some(INDEX_WRITTEN));
    compare("all that the device wrote, for anybody", |c| c.device, None);
    Ok(())
}

fn ingest(bench: &Bench<'_>, dir: &Path) -> Result<Cost> {
    let watcher = Watcher::start(dir.join("index"));
    let (process, device) = (files::written_by_process()?, files::written_to_device(dir));
    runtime()?.block_on(async {
        let config = ours::fresh_config(DIMENSION);
        let db = ours::Async::open(dir, config, &bench.records.texts()).await?;
        record(&db, bench.rows).await?;
        wait_until_quiet()?;
        db.close().await
    })?;
    rustix::fs::sync();
    let process = files::written_by_process()? - process;
    let device = files::written_to_device(dir)
        .zip(device)
        .map(|(after, before)| after - before);
    let (index_written, _) = watcher.stop()?;
    let payload = files::payload_bytes(&dir.join("log"))? as f64;
    let (log, blocks) = files::size(&dir.join("log"))?;
    let (manifest, _) = files::size(dir)?;
    let (index, _) = files::size(&dir.join("index"))?;
    Ok(Cost {
        log_kept: (log + manifest) as f64 / payload,
        log_blocks: (blocks + manifest) as f64 / payload,
        log_written: process.saturating_sub(index_written) as f64 / payload,
        index_kept: index as f64 / payload,
        index_written: index_written as f64 / payload,
        device: device.map_or(f64::NAN, |device| device as f64 / payload),
    })
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
