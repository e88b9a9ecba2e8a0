//! How long does a question wait while thousands of texts are embedded? And how long one that was
//! asked before?

use std::time::{Duration, Instant};

use anyhow::{Context, Result};

use super::{MIN_QUERIES, texts::Texts};
use crate::{ours, report::Report, report::Target, settings::Settings};

/// Texts that are queued at once.
const INGESTED: usize = 10_000;
/// Between one question and the next.
const GAP: Duration = Duration::from_millis(20);
/// Questions whose 99th percentile means something.
const LEAST: usize = 200;

/// Questions one after the other, alone and under load.
pub(super) fn run(texts: &Texts, settings: &Settings, report: &mut Report) -> Result<()> {
    let ours = ours::Embedding::load(0)?;
    let least = if settings.is_smoke() {
        MIN_QUERIES
    } else {
        LEAST
    };
    let (mut idle, mut busy) = (Vec::new(), Vec::new());
    let bulk: Vec<String> = texts.bulk.iter().cycle().take(INGESTED).cloned().collect();
    for _ in 0..settings.rounds {
        idle.push(p99(&ours, texts, least)?);
        // Texts that nobody waits for any more leave the queue.
        let ingest = ours.start_bulk(bulk.clone());
        busy.push(p99(&ours, texts, least)?);
        drop(ingest);
        // What had been taken already has to end before the next round.
        ours.bulk(&texts.queries)?;
    }
    report.compare(
        &format!("a question while {INGESTED} texts are embedded, p99"),
        "ms",
        &busy,
        ("the same when idle", &idle),
        Some(Target::AtMost(3.0)),
    );
    Ok(())
}

fn p99(ours: &ours::Embedding, texts: &Texts, least: usize) -> Result<f64> {
    let mut times = Vec::with_capacity(least);
    for query in texts.queries.iter().cycle().take(least) {
        let asked = Instant::now();
        ours.query(query)?;
        times.push(asked.elapsed().as_secs_f64() * 1e3);
        std::thread::sleep(GAP);
    }
    times.sort_by(f64::total_cmp);
    let last = times.len().saturating_sub(1);
    times.get(last * 99 / 100).copied().context("no question")
}

/// A question through the database, for the first time and again.
pub(super) fn repeated(texts: &Texts, settings: &Settings, report: &mut Report) -> Result<()> {
    let mut asking = ours::Asking::open()?;
    let (mut first, mut again) = (Vec::new(), Vec::new());
    for round in 0..settings.rounds {
        let queries = texts.queries.iter().take(MIN_QUERIES);
        let queries: Vec<String> = queries.map(|text| format!("{text} {round}")).collect();
        for times in [&mut first, &mut again] {
            let mut taken = Vec::new();
            for query in &queries {
                let asked = Instant::now();
                asking.ask(query)?;
                taken.push(asked.elapsed().as_secs_f64() * 1e3);
            }
            times.push(crate::report::median(&taken));
        }
    }
    report.compare(
        "search_text of a question that was asked before, p50",
        "ms",
        &again,
        ("a new one", &first),
        Some(Target::AtMost(0.1)),
    );
    asking.close()
}
