//! What does a closed loop of durable single records reach, and is it enough?

use std::{path::Path, sync::Arc};

use anyhow::Result;
use pulsedb::SyncMode;

use super::{
    SEGMENT_BYTES,
    drive::{self, Load, Outcome, Sink},
    engines::{Fjall, Lmdb, Redb, Store, Survives},
    pool_for, queue,
    raw::{self, State},
    records::{DIMENSION, Records},
};
use crate::{
    ours,
    report::{Report, Target, median, spread},
    rounds::{Contender, Measured, interleave},
    settings::Settings,
    workdir::WorkDir,
};

const ENGINES: [&str; 4] = ["redb", "fjall", "fjall (SyncAll)", "LMDB"];

/// One contender's round in an empty folder.
type Run = Box<dyn Fn(&Path) -> Result<Outcome>>;

/// The least ratios for one number of tasks and state of the files.
struct Goals {
    raw: f64,
    redb: f64,
    best: Option<f64>,
}

fn goals(tasks: usize, state: State) -> Option<Goals> {
    let (redb, best) = match tasks {
        1 => (2.3, None),
        8 => (2.5, Some(1.3)),
        32 => (4.0, Some(1.8)),
        128 => (5.0, Some(2.5)),
        1024 => (6.0, Some(2.0)),
        _ => return None,
    };
    Some(match state {
        State::Steady => Goals {
            raw: if tasks == 1 { 0.75 } else { 0.8 },
            redb,
            best,
        },
        State::Fresh => Goals {
            raw: 0.8,
            redb: 1.3,
            best: None,
        },
    })
}

/// All contenders at one number of tasks, and the rows about it.
pub(crate) fn run(
    tasks: usize,
    settings: &Settings,
    work: &WorkDir,
    records: &Arc<Records>,
    report: &mut Report,
    latencies: &mut Vec<Vec<String>>,
) -> Result<()> {
    let load = Load {
        tasks,
        warm_up: settings.warm_up(),
        measure: settings.measure,
    };
    let k = (tasks / 2).max(1);
    let mut contenders = Vec::new();
    let mut add = |name, run: Run| {
        contenders.push(Contender::new(name, move || work.with(|dir| run(dir))));
    };
    for state in [State::Steady, State::Fresh] {
        let r = Arc::clone(records);
        add(
            named(state, "ours async"),
            Box::new(move |dir| ours_async(dir, state, &r, load)),
        );
        add(
            named(state, "raw"),
            Box::new(move |dir| raw::run(dir, state, k, load)),
        );
        if matches!(tasks, 1 | 8) {
            let r = Arc::clone(records);
            add(
                named(state, "ours blocking"),
                Box::new(move |dir| ours_blocking(dir, state, &r, load)),
            );
        }
    }
    let r = Arc::clone(records);
    add(
        "redb",
        Box::new(move |dir| queue::through_writer(Redb::open(dir, Survives::PowerCut)?, &r, load)),
    );
    let r = Arc::clone(records);
    add(
        "fjall",
        Box::new(move |dir| queue::through_writer(Fjall::open(dir, Survives::PowerCut)?, &r, load)),
    );
    let r = Arc::clone(records);
    add(
        "fjall (SyncAll)",
        Box::new(move |dir| {
            queue::through_writer(
                Fjall::open(dir, Survives::PowerCut)?.syncing_all(),
                &r,
                load,
            )
        }),
    );
    let r = Arc::clone(records);
    add(
        "LMDB",
        Box::new(move |dir| queue::through_writer(Lmdb::open(dir, Survives::PowerCut)?, &r, load)),
    );
    if tasks == 1 {
        let r = Arc::clone(records);
        add(
            "redb inline",
            Box::new(move |dir| {
                let mut redb = Redb::open(dir, Survives::PowerCut)?;
                drive::with_caller(load, |n| redb.commit(&[r.encoded(n)]))
            }),
        );
    }
    let measured = interleave(&format!("tasks: {tasks}"), settings.rounds, contenders)?;
    tell(tasks, k, &measured, report)?;
    check_pools(&measured, load, report);
    for (name, samples) in measured.iter() {
        let column = |f: fn(&Outcome) -> f64| spread(&samples.iter().map(f).collect::<Vec<_>>());
        latencies.push(vec![
            tasks.to_string(),
            if name.starts_with("raw") {
                format!("{name}, k = {k}")
            } else {
                name.to_owned()
            },
            column(|o| o.per_second),
            column(|o| o.p50_us),
            column(|o| o.p99_us),
        ]);
    }
    Ok(())
}

/// Contenders that run in both states have a name for each.
fn named(state: State, who: &'static str) -> &'static str {
    match (state, who) {
        (State::Steady, "ours async") => "ours async, steady",
        (State::Fresh, "ours async") => "ours async, fresh",
        (State::Steady, "ours blocking") => "ours blocking, steady",
        (State::Fresh, "ours blocking") => "ours blocking, fresh",
        (State::Steady, _) => "raw, steady",
        (State::Fresh, _) => "raw, fresh",
    }
}

fn tell(tasks: usize, k: usize, measured: &Measured<Outcome>, report: &mut Report) -> Result<()> {
    const UNIT: &str = "records/s";
    let rate = |name: &str| -> Result<Vec<f64>> {
        Ok(measured.of(name)?.iter().map(|o| o.per_second).collect())
    };
    let at_least = |bound: Option<f64>| bound.map(Target::AtLeast);
    let (mut best, mut best_rate) = (ENGINES[0], rate(ENGINES[0])?);
    for engine in ENGINES {
        let rate = rate(engine)?;
        if median(&rate) > median(&best_rate) {
            (best, best_rate) = (engine, rate);
        }
    }
    let best = format!("{best} (best engine)");
    let raw_name = format!("raw (k = {k})");
    for state in [State::Steady, State::Fresh] {
        let label = state.label();
        let plural = if tasks == 1 { "" } else { "s" };
        let case = format!("{label}, {tasks} task{plural}, async");
        let goals = goals(tasks, state);
        let ours = rate(named(state, "ours async"))?;
        let raw = rate(named(state, "raw"))?;
        let [raw_goal, redb_goal, best_goal] = [
            goals.as_ref().map(|g| g.raw),
            goals.as_ref().map(|g| g.redb),
            goals.and_then(|g| g.best),
        ];
        report.compare(&case, UNIT, &ours, (&raw_name, &raw), at_least(raw_goal));
        report.compare(
            &case,
            UNIT,
            &ours,
            ("redb", &rate("redb")?),
            at_least(redb_goal),
        );
        report.compare(&case, UNIT, &ours, (&best, &best_rate), at_least(best_goal));
        if tasks == 128 {
            let p99 = |name: &str| -> Result<Vec<f64>> {
                Ok(measured.of(name)?.iter().map(|o| o.p99_us).collect())
            };
            // The state of the files is ours to choose; the target is for the better one.
            let target = (state == State::Steady).then_some(Target::AtMost(1.0));
            let ours = p99(named(state, "ours async"))?;
            report.compare(
                &format!("{case}, p99"),
                "µs",
                &ours,
                ("LMDB", &p99("LMDB")?),
                target,
            );
        }
        if let Ok(ours) = rate(named(state, "ours blocking")) {
            let case = match tasks {
                1 => format!("{label}, blocking, 1 caller"),
                n => format!("{label}, blocking, {n} threads"),
            };
            let raw_goal = match (tasks, state) {
                (1, State::Steady) => Some(0.9),
                (1, State::Fresh) => Some(0.8),
                _ => None,
            };
            report.compare(&case, UNIT, &ours, (&raw_name, &raw), at_least(raw_goal));
            if tasks == 1 {
                let redb = rate("redb inline")?;
                report.compare(
                    &case,
                    UNIT,
                    &ours,
                    ("redb inline", &redb),
                    at_least(redb_goal),
                );
            }
        }
    }
    Ok(())
}

/// A contender that used up its written files measured something else for the rest of the time.
fn check_pools(measured: &Measured<Outcome>, load: Load, report: &mut Report) {
    let room = pool_for(load) as u64 * SEGMENT_BYTES / raw::RECORD_BYTES as u64;
    for (name, samples) in measured.iter() {
        let most = samples.iter().map(|o| o.issued).max().unwrap_or(0);
        if name.starts_with("ours") && name.ends_with("steady") && most > room {
            report.note(format!(
                "{name}, {} tasks: {most} records are more than the pool holds ({room}); part of it ran on fresh files",
                load.tasks
            ));
        }
    }
}

fn ours_config(state: State, load: Load) -> pulsedb::Config {
    pulsedb::Config {
        segment_pool: match state {
            State::Steady => pool_for(load),
            State::Fresh => 0,
        },
        ..ours::config(DIMENSION, SEGMENT_BYTES, SyncMode::Normal)
    }
}

impl Sink for ours::Async {
    async fn put(&self, n: u64) -> Result<()> {
        self.record(n).await
    }
}

fn ours_async(dir: &Path, state: State, records: &Records, load: Load) -> Result<Outcome> {
    drive::runtime()?.block_on(async {
        let db = ours::Async::open(dir, ours_config(state, load), &records.texts()).await?;
        let outcome = drive::with_tasks(&db, load).await;
        db.close().await?;
        outcome
    })
}

fn ours_blocking(dir: &Path, state: State, records: &Records, load: Load) -> Result<Outcome> {
    let db = ours::Blocking::open(dir, ours_config(state, load), &records.texts())?;
    let outcome = drive::with_threads(load, |n| db.record(n));
    db.close()?;
    outcome
}
