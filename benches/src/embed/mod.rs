//! Is the engine's own forward worth having beside `BertModel` of candle-transformers?
//!
//! Texts in, vectors out, tokenizer included, both on all cores. The peer runs as its users write it: batches
//! of 32 texts, padded to the longest of each. It also runs as well as one can make it do without touching it:
//! texts sorted by length, and one batch per core at a time instead of all cores in every product. Questions
//! come one at a time. All must give the same vectors.

mod peer;
mod texts;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};

use crate::{
    machine, ours,
    report::{Report, Target, median},
    rounds::{Contender, interleave},
    settings::Settings,
};
use peer::Peer;
use texts::Texts;

/// A round has at least so many questions, however short its time.
const MIN_QUERIES: usize = 20;
/// Least cosine of two vectors of the same text.
const SAME: f64 = 0.9999;

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let dir = std::env::var_os("PULSEDB_MODEL_DIR")
        .context("PULSEDB_MODEL_DIR is not set; `cargo xtask bench embed` sets it")?;
    let peer = Peer::load(dir.as_ref())?;
    let ours = ours::Embedding::load()?;
    let texts = Texts::get(settings.data.as_deref())?;
    let mut header = machine::without_files();
    header.push(format!(
        "texts: {}; {}",
        texts.origin,
        peer.lengths(&texts.bulk)?
    ));
    header.push("gemm is built with its x86-v4 kernels for both, which candle leaves off".into());
    let mut report = Report::new("embed", settings, header);
    for query in &texts.queries {
        let tokens = peer.count(query)?;
        ensure!(tokens == texts::QUERY_TOKENS, "{tokens} tokens: {query}");
    }
    report.note(agreement(&ours, &peer, &texts.bulk)?);
    bulk(&ours, &peer, &texts.bulk, settings, &mut report)?;
    queries(&ours, &peer, &texts.queries, settings, &mut report)?;
    report.finish()
}

fn bulk(
    ours: &ours::Embedding,
    peer: &Peer,
    texts: &[String],
    settings: &Settings,
    report: &mut Report,
) -> Result<()> {
    let measure = settings.measure;
    let contenders = vec![
        Contender::new("ours", || per_second(texts, measure, || ours.bulk(texts))),
        Contender::new("unsorted", || {
            per_second(texts, measure, || peer.unsorted(texts))
        }),
        Contender::new("sorted", || {
            per_second(texts, measure, || peer.sorted(texts))
        }),
        Contender::new("sorted, batch per core", || {
            per_second(texts, measure, || peer.sorted_batch_per_core(texts))
        }),
    ];
    let measured = interleave("bulk", settings.rounds, contenders)?;
    for (name, peer) in [
        ("unsorted", "BertModel, padded batches of 32"),
        ("sorted", "BertModel, sorted by length"),
        (
            "sorted, batch per core",
            "BertModel, sorted, a batch per core",
        ),
    ] {
        report.compare(
            &format!("{} texts at once", texts.len()),
            "texts/s",
            measured.of("ours")?,
            (peer, measured.of(name)?),
            Some(Target::AtLeast(1.0)),
        );
    }
    Ok(())
}

fn queries(
    ours: &ours::Embedding,
    peer: &Peer,
    queries: &[String],
    settings: &Settings,
    report: &mut Report,
) -> Result<()> {
    let measure = settings.measure;
    let contenders = vec![
        Contender::new("ours", || {
            median_ms(queries, measure, |query| ours.query(query).map(drop))
        }),
        Contender::new("all cores", || {
            median_ms(queries, measure, |query| peer.query(query).map(drop))
        }),
        Contender::new("one core", || {
            median_ms(queries, measure, |query| {
                peer.query_on_one_core(query).map(drop)
            })
        }),
    ];
    let measured = interleave("queries", settings.rounds, contenders)?;
    for (name, peer) in [
        ("all cores", "BertModel, all cores"),
        ("one core", "BertModel, one core"),
    ] {
        report.compare(
            &format!("a question of {} tokens, p50", texts::QUERY_TOKENS),
            "ms",
            measured.of("ours")?,
            (peer, measured.of(name)?),
            Some(Target::AtMost(1.0)),
        );
    }
    Ok(())
}

/// Texts per second, over passes through all texts for about `measure`. The comparison of the vectors has
/// warmed all up, and a pass takes seconds.
fn per_second(
    texts: &[String],
    measure: Duration,
    mut pass: impl FnMut() -> Result<Vec<Vec<f32>>>,
) -> Result<f64> {
    let started = Instant::now();
    let mut done = 0;
    while done == 0 || started.elapsed() < measure {
        ensure!(pass()?.len() == texts.len(), "a text has no vector");
        done += texts.len();
    }
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

/// Median time of a question, over questions one after the other for about `measure`.
fn median_ms(
    queries: &[String],
    measure: Duration,
    mut ask: impl FnMut(&str) -> Result<()>,
) -> Result<f64> {
    let warm_up = queries.iter().take(MIN_QUERIES);
    warm_up.map(String::as_str).try_for_each(&mut ask)?;
    let started = Instant::now();
    let mut times = Vec::new();
    for query in queries.iter().cycle() {
        if times.len() >= MIN_QUERIES && started.elapsed() >= measure {
            break;
        }
        let began = Instant::now();
        ask(query)?;
        times.push(began.elapsed().as_secs_f64() * 1e3);
    }
    Ok(median(&times))
}

/// Refuses to compare the speeds of things that do not do the same.
fn agreement(ours: &ours::Embedding, peer: &Peer, texts: &[String]) -> Result<String> {
    let mine = ours.bulk(texts)?;
    let mut least: f64 = 1.0;
    for (way, theirs) in [
        ("unsorted", peer.unsorted(texts)?),
        ("sorted", peer.sorted(texts)?),
        ("batch per core", peer.sorted_batch_per_core(texts)?),
    ] {
        ensure!(theirs.len() == texts.len(), "{way}: a text has no vector");
        for ((a, b), text) in mine.iter().zip(&theirs).zip(texts) {
            // Both are unit vectors.
            let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
            let cosine = products.sum::<f64>();
            ensure!(cosine >= SAME, "{way}: cosine {cosine} for {text:?}");
            least = least.min(cosine);
        }
    }
    Ok(format!(
        "ours and BertModel agree: least cosine of {} texts {least:.7}",
        texts.len()
    ))
}
