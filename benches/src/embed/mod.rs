//! Is the engine's own forward as fast as the best runtime, and faster than candle as it comes?
//!
//! Texts in, vectors out, tokenizer included. ONNX Runtime runs the same weights in its own fused graph, in
//! f32 and with int8 weights, on as many threads as ours; texts are sorted by length for it. `BertModel` of
//! candle-transformers runs on all cores as its users write it: batches of 32 texts, padded to the longest of
//! each. It also runs as well as one can make it do without touching it: texts sorted by length, and one
//! batch per core at a time instead of all cores in every product. Questions come one at a time. All but int8
//! must give the same vectors. `PULSEDB_BENCH_CASES` names some of `onnx`, `candle`, `busy` and `cache`.

mod busy;
mod onnx;
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
use onnx::Onnx;
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
    let before = resident();
    let began = Instant::now();
    let ours = ours::Embedding::load(0)?;
    let loaded = began.elapsed().as_secs_f64() * 1e3;
    let grown = resident().saturating_sub(before) >> 20;
    let peer = Peer::load(dir.as_ref())?;
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
    report.note(format!(
        "ours is loaded in {loaded:.0} ms (the first time), which takes {grown} MiB, in {:?}",
        ours.precision().context("a loaded model has a precision")?
    ));
    let mut loads = Vec::new();
    for _ in 0..settings.rounds {
        let began = Instant::now();
        ours::Embedding::load(0)?;
        loads.push(began.elapsed().as_secs_f64() * 1e3);
    }
    let (least, most) = (
        loads.iter().copied().fold(f64::MAX, f64::min),
        loads.iter().copied().fold(0.0, f64::max),
    );
    report.note(format!(
        "again in {:.0} ms ({least:.0}–{most:.0})",
        median(&loads)
    ));
    let asked = |case: &str| {
        let cases = settings.cases.as_ref();
        cases.is_none_or(|cases| cases.iter().any(|one| one == case))
    };
    if asked("onnx") {
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        for threads in [1, cores] {
            onnx(threads, dir.as_ref(), &texts, settings, &mut report)?;
        }
    }
    if asked("candle") {
        report.note(agreement(&ours, &peer, &texts.bulk)?);
        bulk(&ours, &peer, &texts.bulk, settings, &mut report)?;
        queries(&ours, &peer, &texts.queries, settings, &mut report)?;
    }
    drop((ours, peer));
    if asked("busy") {
        busy::run(&texts, settings, &mut report)?;
    }
    if asked("cache") {
        busy::repeated(&texts, settings, &mut report)?;
    }
    report.finish()
}

/// Bytes of this process in memory, where the system tells.
fn resident() -> usize {
    let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.split_whitespace().next()?.parse::<usize>().ok());
    kib.unwrap_or(0) << 10
}

/// Both on so many threads.
fn onnx(
    threads: usize,
    model: &std::path::Path,
    texts: &Texts,
    settings: &Settings,
    report: &mut Report,
) -> Result<()> {
    let measure = settings.measure;
    let ours = ours::Embedding::load(threads)?;
    let mine = ours.bulk(&texts.bulk)?;
    let peers = ["f32", "int8"].map(|kind| Onnx::start(kind, threads, model, texts));
    let [f32_peer, int8_peer] = peers;
    let (mut f32_peer, mut int8_peer) = (f32_peer?, int8_peer?);
    report.note(format!(
        "ONNX Runtime {} is loaded in {:.0} ms (f32), {:.0} ms (int8)",
        f32_peer.version, f32_peer.load_ms, int8_peer.load_ms
    ));
    for (kind, theirs) in [("f32", f32_peer.vectors()?), ("int8", int8_peer.vectors()?)] {
        let least = least_cosine(&mine, &theirs)?;
        ensure!(kind == "int8" || least >= SAME, "cosine {least}");
        report.note(format!(
            "least cosine of ours and ONNX Runtime {kind}: {least:.7}"
        ));
    }
    let (f32_peer, int8_peer) = (
        std::cell::RefCell::new(f32_peer),
        std::cell::RefCell::new(int8_peer),
    );
    let contenders = vec![
        Contender::new("ours", || {
            per_second(&texts.bulk, measure, || ours.bulk(&texts.bulk))
        }),
        Contender::new("f32", || f32_peer.borrow_mut().bulk(measure)),
        Contender::new("int8", || int8_peer.borrow_mut().bulk(measure)),
    ];
    let measured = interleave("bulk", settings.rounds, contenders)?;
    let on = format!("{threads} thread{}", if threads == 1 { "" } else { "s" });
    let tiles = ours.precision() == Some(pulsedb::Precision::Bf16) && machine::has_tiles();
    let targets = match tiles {
        true => [
            ("f32", Some(Target::AtLeast(5.0))),
            ("int8", Some(Target::AtLeast(2.5))),
        ],
        false => [("f32", Some(Target::AtLeast(1.1))), ("int8", None)],
    };
    for (kind, target) in targets {
        report.compare(
            &format!("{} texts at once, {on}", texts.bulk.len()),
            "texts/s",
            measured.of("ours")?,
            (&format!("ONNX Runtime {kind}"), measured.of(kind)?),
            target,
        );
    }
    let contenders = vec![
        Contender::new("ours", || {
            median_ms(&texts.queries, measure, |query| ours.query(query).map(drop))
        }),
        Contender::new("f32", || f32_peer.borrow_mut().query(measure)),
        Contender::new("int8", || int8_peer.borrow_mut().query(measure)),
    ];
    let measured = interleave("queries", settings.rounds, contenders)?;
    // A forward of ours uses one thread.
    let target = match (tiles, threads) {
        (true, 1) => None,
        (true, _) => Some(Target::AtMost(0.4)),
        (false, 1) => Some(Target::AtMost(1.2)),
        (false, _) => None,
    };
    for (kind, target) in [("f32", target), ("int8", None)] {
        report.compare(
            &format!("a question of {} tokens, {on}, p50", texts::QUERY_TOKENS),
            "ms",
            measured.of("ours")?,
            (&format!("ONNX Runtime {kind}"), measured.of(kind)?),
            target,
        );
    }
    Ok(())
}

/// Of the vectors of each text, which are of length 1.
fn least_cosine(ours: &[Vec<f32>], theirs: &[Vec<f32>]) -> Result<f64> {
    ensure!(ours.len() == theirs.len(), "a text has no vector");
    let cosine = |(a, b): (&Vec<f32>, &Vec<f32>)| {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum::<f64>()
    };
    Ok(ours.iter().zip(theirs).map(cosine).fold(1.0, f64::min))
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
        let cosine = least_cosine(&mine, &theirs)?;
        ensure!(cosine >= SAME, "{way}: cosine {cosine}");
        least = least.min(cosine);
    }
    Ok(format!(
        "ours and BertModel agree: least cosine of {} texts {least:.7}",
        texts.len()
    ))
}
