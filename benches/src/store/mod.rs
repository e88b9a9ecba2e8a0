//! What does the storage itself cost: bytes written and kept, time of a read and of an open?
//!
//! The engines beside ours keep the same records as bytes that somebody else encoded, under the same ids.
//! `PULSEDB_BENCH_CASES` selects the cases; all of them take the largest of `PULSEDB_BENCH_ROWS`.

mod backup;
mod files;
mod get;
mod open;
mod peers;
mod space;
mod written;

pub(crate) use open::{OPEN_STORE, open_store};

use anyhow::{Context, Result, bail, ensure};

use crate::{
    ingest::{DIMENSION, Records},
    machine,
    report::Report,
    settings::{FULL_STORE_ROWS, Settings},
    workdir::WorkDir,
};

/// The peer of a fixed bound.
const BOUND: &str = "the bound";

type Case = fn(&Bench<'_>, &mut Report) -> Result<()>;

const CASES: &[(&str, Case)] = &[
    ("written", written::run),
    ("get", get::run),
    ("open", open::run),
    ("deleted", space::deleted),
    ("compacting", space::compacting),
    ("backup", backup::run),
];

/// What all cases share.
struct Bench<'a> {
    settings: &'a Settings,
    records: Records,
    work: WorkDir,
    rows: u64,
}

impl Bench<'_> {
    /// Rounds of what takes many seconds a time.
    fn long_rounds(&self) -> usize {
        self.settings.rounds.min(3)
    }
}

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let cases = chosen(settings)?;
    let rows = settings.store_rows;
    ensure!(rows >= 100, "a bench of {rows} rows shows nothing");
    let bench = Bench {
        settings,
        records: Records::new(),
        work: WorkDir::new(&settings.dir)?,
        rows: rows as u64,
    };
    let mut header = machine::describe(&settings.dir)?;
    header.push(format!(
        "{rows} records of {} B as the other engines store them, {DIMENSION} components each; ours encodes each itself",
        bench.records.encoded(0).len()
    ));
    if rows < FULL_STORE_ROWS {
        header.push(format!(
            "only {rows} rows: the targets are meant for {FULL_STORE_ROWS}"
        ));
    }
    let mut report = Report::new("store", settings, header);
    for (name, case) in cases {
        eprintln!("case {name}");
        case(&bench, &mut report).with_context(|| format!("case {name}"))?;
    }
    report.finish()
}

fn chosen(settings: &Settings) -> Result<Vec<(&'static str, Case)>> {
    let Some(wanted) = &settings.cases else {
        return Ok(CASES.to_vec());
    };
    let names: Vec<_> = CASES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !names.contains(&name.as_str())) {
        bail!(
            "no case is called {unknown:?}; there are: {}",
            names.join(", ")
        );
    }
    let chosen = CASES
        .iter()
        .filter(|(name, _)| wanted.iter().any(|w| w == name));
    Ok(chosen.copied().collect())
}
