//! Does the engine's vector search beat the index it is built on, and what people use instead?
//!
//! Each case makes its own databases; `PULSEDB_BENCH_CASES` selects them. Recall is against exact search in
//! f64. One thread each searches and builds, ours and the peers', where a case says nothing else.

mod codes;
mod cpu;
mod delete;
mod exact;
mod filter;
mod flight;
mod graph;
mod index;
mod ingest;
mod kernels;
mod mixed;
mod open;
mod peers;
mod python;
mod truth;

pub(crate) use open::{OPEN_ONCE, open_once};

use std::collections::HashSet;

use anyhow::{Context, Result, bail, ensure};

use crate::{
    machine,
    report::{Report, Target},
    settings::Settings,
    vectors::Vectors,
    workdir::WorkDir,
};

const K: usize = 10;
/// Links of a node of all graphs; twice as many at the lowest level.
const M: usize = 16;
/// Candidates while building, of all graphs.
const EF_BUILD: usize = 128;
/// Graphs are compared where they find this share of what exact search finds.
const RECALL: f64 = 0.98;
/// The peer of a fixed bound.
const BOUND: &str = "the bound";

type Case = fn(&Bench<'_>, &mut Report) -> Result<()>;

const CASES: &[(&str, Case)] = &[
    ("graph", graph::run),
    ("exact", exact::run),
    ("filter", filter::run),
    ("delete", delete::run),
    ("mixed", mixed::run),
    ("open", open::run),
    ("ingest", ingest::run),
];

/// What all cases share.
struct Bench<'a> {
    settings: &'a Settings,
    vectors: Vectors,
    work: WorkDir,
    /// Rows of all cases that take one size.
    rows: usize,
}

impl Bench<'_> {
    fn dimension(&self) -> usize {
        self.vectors.dimension
    }

    /// The components of the first `rows` rows, all of which must be there.
    fn first(&self, rows: usize) -> Result<&[f32]> {
        let all = self.vectors.first(rows);
        ensure!(
            all.len() == rows * self.dimension(),
            "there are not {rows} rows of data"
        );
        Ok(all)
    }

    /// The answers to all queries.
    fn answers(
        &self,
        mut ask: impl FnMut(&[f32]) -> Result<Vec<usize>>,
    ) -> Result<Vec<Vec<usize>>> {
        self.vectors.queries().map(&mut ask).collect()
    }

    /// Rounds of what takes tens of seconds a time.
    fn long_rounds(&self) -> usize {
        self.settings.rounds.min(3)
    }
}

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let cases = chosen(settings)?;
    let rows = settings.rows.iter().copied().max().unwrap_or(0);
    ensure!(rows >= 100, "a bench of {rows} rows shows nothing");
    let vectors = Vectors::get(settings.data.as_deref(), rows)?;
    let bench = Bench {
        settings,
        vectors,
        work: WorkDir::new(&settings.dir)?,
        rows,
    };
    let mut header = machine::describe(&settings.dir)?;
    header.push(format!("vectors: {}", bench.vectors.origin));
    header.push(format!(
        "k = {K}, M = {M}, ef while building {EF_BUILD}; kernel of the bare graph: {}",
        kernels::pick().1
    ));
    header.extend(index::STAND_IN.map(str::to_owned));
    if rows < 100_000 {
        header.push(format!(
            "only {rows} rows: the targets are meant for 100,000"
        ));
    }
    let mut report = Report::new("vector", settings, header);
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
    let known: HashSet<_> = CASES.iter().map(|(name, _)| *name).collect();
    if let Some(unknown) = wanted.iter().find(|name| !known.contains(name.as_str())) {
        let all: Vec<_> = CASES.iter().map(|(name, _)| *name).collect();
        bail!(
            "no case is called {unknown:?}; there are: {}",
            all.join(", ")
        );
    }
    let chosen = CASES
        .iter()
        .filter(|(name, _)| wanted.iter().any(|w| w == name));
    Ok(chosen.copied().collect())
}

/// One line that says whether a recall is high enough.
fn judge_recall(report: &mut Report, case: &str, recall: f64, bound: f64) {
    report.compare(
        &format!("recall@{K}, {case}"),
        "%",
        &[100.0 * recall],
        (BOUND, &[100.0 * bound]),
        Some(Target::AtLeast(1.0)),
    );
}
