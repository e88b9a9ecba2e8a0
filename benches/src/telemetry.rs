//! What does measuring cost those who are measured?
//!
//! The same database, the same calls of one thread that may block, with `Config.telemetry` as it comes and with all of it switched
//! off, in turn. Recording is in the mode that waits for no disk, one record a call, and the search is an exact one
//! among few rows: where calls are shortest, measuring weighs most. A get is shorter still, and stands beside them without a
//! target.

use std::{
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use pulsedb::{CollectiveId, Config, ExperienceId, SyncMode, TelemetryConfig, blocking::PulseDB};

use crate::{
    ingest, machine, ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
    settings::Settings,
    workdir::WorkDir,
};

const DIMENSION: usize = 384;
/// Rows that searches and gets have before them.
const ROWS: usize = 10_000;
const K: usize = 10;
const CONTENT: &str = "a word or two about what was learned, and under which circumstances it held";

/// Calls per second of each kind.
struct Rates {
    records: f64,
    searches: f64,
    gets: f64,
}

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let work = WorkDir::new(&settings.dir)?;
    let mut header = machine::describe(&settings.dir)?;
    header.push(format!(
        "one thread; records in Fast mode; exact searches and gets among {ROWS} rows of {DIMENSION} components"
    ));
    let mut report = Report::new("telemetry", settings, header);
    let with = |telemetry| work.with(|dir| rates(dir, telemetry, settings));
    let off = TelemetryConfig {
        metrics: false,
        slow_operation: Duration::ZERO,
        show_queries: false,
    };
    let measured = interleave(
        "telemetry",
        settings.rounds,
        vec![
            Contender::new("on", || with(TelemetryConfig::default())),
            Contender::new("off", || with(off)),
        ],
    )?;
    let of = |name, rate: fn(&Rates) -> f64| -> Result<Vec<f64>> {
        Ok(measured.of(name)?.iter().map(rate).collect())
    };
    let cases: [(&str, fn(&Rates) -> f64, Option<Target>); 3] = [
        ("ingest", |one| one.records, Some(Target::AtLeast(0.98))),
        ("search", |one| one.searches, Some(Target::AtLeast(0.98))),
        ("get", |one| one.gets, None),
    ];
    for (case, rate, target) in cases {
        let off = of("off", rate)?;
        report.compare(
            case,
            "calls/s",
            &of("on", rate)?,
            ("ours, off", &off),
            target,
        );
    }
    report.finish()
}

fn rates(dir: &Path, telemetry: TelemetryConfig, settings: &Settings) -> Result<Rates> {
    let config = Config {
        telemetry,
        ..ours::config(DIMENSION, ingest::SEGMENT_BYTES, SyncMode::Fast)
    };
    let db = PulseDB::open(dir, config)?;
    let team = db.create_collective("team")?;
    let mut ids = Vec::new();
    for first in (0..ROWS).step_by(500) {
        let batch = (first..first + 500).map(|row| ours::experience(team, CONTENT, &vector(row)));
        ids.extend(db.record_experiences(batch.collect())?);
    }
    let searches = timed(settings, |n| search(&db, team, n))?;
    let gets = timed(settings, |n| get(&db, &ids, n))?;
    let records = timed(settings, |n| {
        db.record_experience(ours::experience(team, CONTENT, &vector(n)))?;
        Ok(())
    })?;
    db.close()?;
    Ok(Rates {
        records,
        searches,
        gets,
    })
}

fn search(db: &PulseDB, team: CollectiveId, n: usize) -> Result<()> {
    db.search_similar(team, &vector(n), K)?;
    Ok(())
}

fn get(db: &PulseDB, ids: &[ExperienceId], n: usize) -> Result<()> {
    let id = ids.get(n * 7919 % ids.len()).context("no id")?;
    db.get_experience(*id)?;
    Ok(())
}

/// Calls per second, after a while to warm up.
fn timed(settings: &Settings, mut call: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut n = 0;
    let mut for_a_while = |while_: Duration| -> Result<f64> {
        let (began, first) = (Instant::now(), n);
        while began.elapsed() < while_ {
            for _ in 0..16 {
                call(n)?;
                n += 1;
            }
        }
        Ok((n - first) as f64 / began.elapsed().as_secs_f64())
    };
    for_a_while(settings.warm_up())?;
    for_a_while(settings.measure)
}

/// Some direction, another one for each number.
fn vector(number: usize) -> Vec<f32> {
    let mut state = number as u64 ^ 0x9e37_79b9_7f4a_7c15;
    (0..DIMENSION)
        .map(|_| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        })
        .collect()
}
