//! How fast are durable records taken in, beside bare files and other engines?
//!
//! A closed loop of c tasks records experiences of about 2.2 KiB, each acknowledged once it is durable.
//! In such a loop half of the tasks wait for the running sync and half fill the next batch, so the ceiling is
//! one thread that writes c/2 records and syncs, again and again.
//!
//! `steady`: ours has a pool of written segment files, and the ceiling writes into such files.
//! `fresh`: both use files that are only allocated.

mod drive;
mod durable;
mod engines;
mod fast;
mod queue;
mod raw;
mod records;

use std::{path::Path, sync::Arc};

use anyhow::Result;

use crate::{machine, report::Report, settings::Settings, workdir::WorkDir};
pub(crate) use drive::{Load, Outcome, runtime, with_tasks};
pub(crate) use records::{DIMENSION, Records};

/// Size of ours' log segments and of the files of the ceiling.
pub(crate) const SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let work = WorkDir::new(&settings.dir)?;
    let records = Arc::new(Records::new());
    let mut report = Report::new("ingest", settings, header(&settings.dir, &records)?);
    let mut latencies = vec![
        ["tasks", "contender", "records/s", "p50 µs", "p99 µs"]
            .map(String::from)
            .to_vec(),
    ];
    for &tasks in &settings.tasks {
        if tasks == 0 {
            fast::run(settings, &work, &records, &mut report)?;
        } else {
            durable::run(
                tasks,
                settings,
                &work,
                &records,
                &mut report,
                &mut latencies,
            )?;
        }
    }
    if latencies.len() > 1 {
        report.table(
            "All contenders (latency of one record; of one batch for the bare files)",
            latencies,
        );
    }
    report.finish()
}

fn header(dir: &Path, records: &Records) -> Result<Vec<String>> {
    let mut lines = machine::describe(dir)?;
    lines.push(format!(
        "records: {} B for the engines, {} B for the bare files (with a frame header); ours encodes each itself",
        records.encoded(0).len(),
        raw::RECORD_BYTES
    ));
    lines.push(
        "engines: one writer thread drains a channel into one commit and wakes each task by a tokio oneshot; \
         async loops run on 2 tokio workers"
            .into(),
    );
    Ok(lines)
}

/// How many written segment files a contender may use up while its clock runs: more than the fastest machine
/// this was tried on can fill, and no more than `Config` allows.
fn pool_for(load: Load) -> usize {
    let records_per_s = match load.tasks {
        0..=1 => 10_000.0,
        2..=8 => 35_000.0,
        9..=32 => 100_000.0,
        33..=128 => 320_000.0,
        _ => 550_000.0,
    };
    let bytes = records_per_s * load.total().as_secs_f64() * 2400.0;
    ((bytes / SEGMENT_BYTES as f64) as usize + 2).min(pulsedb::Config::MAX_SEGMENT_POOL)
}
