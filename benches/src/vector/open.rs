//! How long until a database with graphs has answered its first search, and what memory does it take?
//!
//! Measured in a process of its own, which this program starts from itself. The file cache is warm.

use std::{
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use pulsedb::ExperienceId;
use serde::{Deserialize, Serialize};

use super::{
    BOUND, Bench, K, cpu,
    index::{self, How, Index},
    judge_recall,
    truth::Truth,
};
use crate::{
    queries::per_second,
    report::{Report, Target, spread},
    rounds::{Contender, interleave},
};

/// The argument that makes this program open a database once, and tell.
pub(crate) const OPEN_ONCE: &str = "vector-open-once";

const MILLION_RECALL: f64 = 0.95;

/// What the other process tells.
#[derive(Serialize, Deserialize)]
struct Opened {
    open_ms: f64,
    search_ms: f64,
    found: usize,
    /// Resident bytes more than before the open: all, and those of no file.
    rss: u64,
    anonymous: u64,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let rows = bench.first(bench.rows)?;
    one_size(bench, rows, Duration::from_millis(50), false, report)?;
    if let Some(million) = bench.settings.million {
        let real = rows.get(..million * bench.dimension()).unwrap_or(rows);
        let missing = million - real.len() / bench.dimension();
        report.note(format!(
            "{million} rows: {} as above; {missing} synthetic: x·a + (1 − x)·b of two random ones, x uniform, plus noise of length 0.1, normalised",
            million - missing
        ));
        let mut rows = real.to_vec();
        rows.extend(bench.vectors.mixed(missing, 0x2023));
        one_size(bench, &rows, Duration::from_millis(200), true, report)?;
    }
    Ok(())
}

fn one_size(
    bench: &Bench<'_>,
    rows: &[f32],
    bound: Duration,
    searches: bool,
    report: &mut Report,
) -> Result<()> {
    bench.work.with(|dir| {
        let dimension = bench.dimension();
        let n = rows.len() / dimension;
        let db = dir.join("ours");
        let mut ours = Index::open(&db, index::config(dimension), Vec::new())?;
        let began = Instant::now();
        ours.load(rows, dimension, |_| Vec::new())?;
        let recorded = began.elapsed().as_secs_f64();
        ours.settle()?;
        let settled = began.elapsed().as_secs_f64();
        let began = Instant::now();
        ours.rebuild()?;
        let rebuilt = began.elapsed().as_secs_f64();
        report.note(format!(
            "{n} rows: recorded in {recorded:.1} s, graphs ready after {settled:.1} s; rebuild_index {rebuilt:.1} s, {:.0} rows/s",
            n as f64 / rebuilt
        ));
        let ids = ours.close()?;

        let query = dir.join("query.f32");
        let first = bench.vectors.queries().next().context("no queries")?;
        let bytes: Vec<u8> = first.iter().flat_map(|x| x.to_le_bytes()).collect();
        fs::write(&query, bytes)?;
        let contenders = vec![Contender::new("ours", || open_in_child(&db, &query))];
        let opened = interleave(&format!("open, {n} rows"), bench.settings.rounds, contenders)?;
        let opened = opened.of("ours")?;
        let of = |what: fn(&Opened) -> f64| opened.iter().map(what).collect::<Vec<_>>();
        report.compare(
            &format!("open and first search, {n} rows"),
            "ms",
            &of(|opened| opened.open_ms + opened.search_ms),
            (BOUND, &[bound.as_secs_f64() * 1e3]),
            Some(Target::AtMost(1.0)),
        );
        let mib = |bytes: Vec<f64>| spread(&bytes.iter().map(|b| b / 1048576.0).collect::<Vec<_>>());
        report.note(format!(
            "{n} rows: open alone {} ms; RSS grows by {} MiB, {} of them not of files",
            spread(&of(|opened| opened.open_ms)),
            mib(of(|opened| opened.rss as f64)),
            mib(of(|opened| opened.anonymous as f64)),
        ));
        if searches {
            large_searches(bench, rows, &db, ids, report)?;
        }
        Ok(())
    })
}

fn large_searches(
    bench: &Bench<'_>,
    rows: &[f32],
    db: &Path,
    ids: Vec<ExperienceId>,
    report: &mut Report,
) -> Result<()> {
    let n = rows.len() / bench.dimension();
    let ours = Index::open(db, index::config(bench.dimension()), ids)?;
    let truth = Truth::get(&bench.vectors, rows, K, None)?;
    let answers = bench.answers(|query| ours.rows(query, How::AsItComes))?;
    let case = format!("search_similar as it comes, {n} rows");
    judge_recall(report, &case, truth.recall(&answers), MILLION_RECALL);
    let (vectors, measure) = (&bench.vectors, bench.settings.measure);
    let contenders = vec![Contender::new("ours", || {
        per_second(vectors, measure, |query| {
            ours.search(query, How::AsItComes).map(drop)
        })
    })];
    let measured = interleave(&case, bench.settings.rounds, contenders)?;
    let memory = ours.memory()?;
    let memory = memory.map_or("unknown".to_owned(), |bytes| {
        format!("{:.0} bytes/row", bytes as f64 / n as f64)
    });
    report.note(format!(
        "{case}: {} queries/s; memory of the index {memory}, files {:.0} bytes/row",
        spread(measured.of("ours")?),
        ours.file_bytes()? as f64 / n as f64
    ));
    ours.close().map(drop)
}

fn open_in_child(db: &Path, query: &Path) -> Result<Opened> {
    let output = Command::new(std::env::current_exe()?)
        .arg(OPEN_ONCE)
        .args([db, query])
        .stderr(std::process::Stdio::inherit())
        .output()
        .context("starting this program again")?;
    ensure!(output.status.success(), "{}", output.status);
    let opened: Opened = serde_json::from_slice(&output.stdout)?;
    ensure!(opened.found == K, "the first search found {}", opened.found);
    Ok(opened)
}

/// What the other process does: `arguments` are the database and a file with a query.
pub(crate) fn open_once(mut arguments: impl Iterator<Item = String>) -> Result<()> {
    let db = arguments.next().context("which database?")?;
    let query = fs::read(arguments.next().context("which query?")?)?;
    let query = query.as_chunks::<4>().0.iter();
    let query: Vec<f32> = query.map(|bytes| f32::from_le_bytes(*bytes)).collect();
    let (rss, anonymous) = (cpu::rss()?, cpu::status("RssAnon")?);
    let began = Instant::now();
    let ours = Index::open(Path::new(&db), index::config(query.len()), Vec::new())?;
    let open_ms = began.elapsed().as_secs_f64() * 1e3;
    let began = Instant::now();
    let found = ours.search(&query, How::AsItComes)?.len();
    let search_ms = began.elapsed().as_secs_f64() * 1e3;
    let opened = Opened {
        open_ms,
        search_ms,
        found,
        rss: cpu::rss()?.saturating_sub(rss),
        anonymous: cpu::status("RssAnon")?.saturating_sub(anonymous),
    };
    println!("{}", serde_json::to_string(&opened)?);
    ours.close().map(drop)
}
