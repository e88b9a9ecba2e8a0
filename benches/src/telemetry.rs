//! What does measuring cost those who are measured?
//!
//! The same database, the same calls of one thread that may block, with `Config.telemetry` as it comes and with all of it switched
//! off, in turn. Records are durable, one record a call, and the search is an exact one among few rows. Where calls are
//! shorter, measuring weighs more: records that wait for no disk, and gets, stand beside them without a target.

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

/// How long one of the two calls before it is the other's turn: what slows a machine down for longer slows both.
const TURN: Duration = Duration::from_millis(10);

/// Calls per second of each kind: with measuring, and without.
struct Rates {
    records: [f64; 2],
    unsynced: [f64; 2],
    searches: [f64; 2],
    gets: [f64; 2],
}

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let work = WorkDir::new(&settings.dir)?;
    let mut header = machine::describe(&settings.dir)?;
    header.push(format!(
        "one thread; exact searches and gets among {ROWS} rows of {DIMENSION} components; both in turns of {TURN:?}"
    ));
    let mut report = Report::new("telemetry", settings, header);
    let measured = interleave(
        "telemetry",
        settings.rounds,
        vec![
            Contender::new("on first", || work.with(|dir| rates(dir, 0, settings))),
            Contender::new("off first", || work.with(|dir| rates(dir, 1, settings))),
        ],
    )?;
    // Which store was opened first, and so lies where in memory, weighs as much as what is measured.
    let measured: Vec<(&Rates, &Rates)> = measured
        .of("on first")?
        .iter()
        .zip(measured.of("off first")?)
        .collect();
    let cases: [(&str, fn(&Rates) -> [f64; 2], Option<Target>); 4] = [
        ("ingest", |one| one.records, Some(Target::AtLeast(0.98))),
        ("search", |one| one.searches, Some(Target::AtLeast(0.98))),
        ("ingest, Fast mode", |one| one.unsynced, None),
        ("get", |one| one.gets, None),
    ];
    for (case, rates, target) in cases {
        let mean = |(one, other): &(&Rates, &Rates)| {
            let ([on, off], [on_too, off_too]) = (rates(one), rates(other));
            ((on + on_too) / 2.0, (off + off_too) / 2.0)
        };
        let (on, off): (Vec<f64>, Vec<f64>) = measured.iter().map(mean).unzip();
        report.compare(case, "calls/s", &on, ("ours, off", &off), target);
    }
    report.finish()
}

fn rates(dir: &Path, first: usize, settings: &Settings) -> Result<Rates> {
    let silent = TelemetryConfig {
        metrics: false,
        slow_operation: Duration::ZERO,
        show_queries: false,
    };
    let configs = [TelemetryConfig::default(), silent];
    let open_both = |mode: SyncMode| -> Result<[Store; 2]> {
        let open = |which: usize| {
            let dir = dir.join(format!("{mode:?}-{which}"));
            Store::open(&dir, mode, configs[which])
        };
        let mut both = [open(first)?, open(1 - first)?];
        if first == 1 {
            both.reverse();
        }
        Ok(both)
    };
    let mut durable = open_both(SyncMode::Normal)?;
    let searches = in_turns(settings, &mut durable, Store::search)?;
    let gets = in_turns(settings, &mut durable, Store::get)?;
    let records = in_turns(settings, &mut durable, Store::record)?;
    let mut fast = open_both(SyncMode::Fast)?;
    let unsynced = in_turns(settings, &mut fast, Store::record)?;
    for store in durable.into_iter().chain(fast) {
        store.db.close()?;
    }
    Ok(Rates {
        records,
        unsynced,
        searches,
        gets,
    })
}

struct Store {
    db: PulseDB,
    team: CollectiveId,
    ids: Vec<ExperienceId>,
    calls: usize,
}

impl Store {
    fn open(dir: &Path, mode: SyncMode, telemetry: TelemetryConfig) -> Result<Self> {
        let config = Config {
            telemetry,
            ..ours::config(DIMENSION, ingest::SEGMENT_BYTES, mode)
        };
        let db = PulseDB::open(dir, config)?;
        let team = db.create_collective("team")?;
        let mut ids = Vec::new();
        for first in (0..ROWS).step_by(500) {
            let batch =
                (first..first + 500).map(|row| ours::experience(team, CONTENT, &vector(row)));
            ids.extend(db.record_experiences(batch.collect())?);
        }
        Ok(Self {
            db,
            team,
            ids,
            calls: 0,
        })
    }

    fn search(&self, n: usize) -> Result<()> {
        self.db.search_similar(self.team, &vector(n), K)?;
        Ok(())
    }

    fn get(&self, n: usize) -> Result<()> {
        let id = self.ids.get(n * 7919 % self.ids.len()).context("no id")?;
        self.db.get_experience(*id)?;
        Ok(())
    }

    fn record(&self, n: usize) -> Result<()> {
        let experience = ours::experience(self.team, CONTENT, &vector(n));
        self.db.record_experience(experience)?;
        Ok(())
    }

    /// Calls for as long as a turn lasts: how many, in how long.
    fn turn(&mut self, call: fn(&Self, usize) -> Result<()>) -> Result<(usize, Duration)> {
        let (began, first) = (Instant::now(), self.calls);
        while began.elapsed() < TURN {
            for _ in 0..16 {
                call(self, self.calls)?;
                self.calls += 1;
            }
        }
        Ok((self.calls - first, began.elapsed()))
    }
}

/// Calls per second of both, whose turns alternate; whoever began one pair comes second in the next.
fn in_turns(
    settings: &Settings,
    both: &mut [Store; 2],
    call: fn(&Store, usize) -> Result<()>,
) -> Result<[f64; 2]> {
    let mut rates = |lasts: Duration| -> Result<[f64; 2]> {
        let mut all = [(0, Duration::ZERO); 2];
        let began = Instant::now();
        let mut order = [0, 1];
        while began.elapsed() < 2 * lasts {
            for turn in order {
                let (more, longer) = both[turn].turn(call)?;
                all[turn].0 += more;
                all[turn].1 += longer;
            }
            order.reverse();
        }
        Ok(all.map(|(calls, took)| calls as f64 / took.as_secs_f64()))
    };
    rates(settings.warm_up())?;
    rates(settings.measure)
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
