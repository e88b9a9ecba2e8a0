//! What does a question cost that has words beside its vector, and what does it take to have words indexed?
//!
//! The same question, as a vector, as words and as both, of the same database, one thread, through the blocking handle,
//! everything in memory. Then the index's bytes beside those of the texts, and recording with an index of words that follows
//! beside recording without one.

use std::{
    fs::File,
    hint::black_box,
    io::{BufRead, BufReader, Read},
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use flate2::read::GzDecoder;
use pulsedb::{
    CollectiveId, Config, Query, SearchOptions, SyncMode, TextConfig, TextIndexing,
    blocking::PulseDB,
};

use crate::{
    ingest::{self, Load, Outcome},
    machine, ours,
    report::{Report, Target},
    rounds::{Contender, interleave},
    settings::Settings,
    vectors::{Random, Vectors},
    workdir::WorkDir,
};

/// Rows that the targets are meant for.
const ROWS: usize = 100_000;
const K: usize = 20;
/// Words of a question that nobody wrote.
const QUESTION_WORDS: u64 = 12;
/// Words that made texts draw from; the less, the earlier.
const VOCABULARY: u64 = 20_000;
const BATCH: usize = 500;
/// Tasks that record.
const TASKS: usize = 8;
/// Texts that are recorded, again and again.
const RECORDED: usize = 10_000;

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let rows = settings.rows.iter().copied().max().unwrap_or(ROWS);
    let vectors = Vectors::get(settings.data.as_deref(), rows)?;
    let texts = Texts::get(settings.data.as_deref(), rows, vectors.queries().count())?;
    let work = WorkDir::new(&settings.dir)?;
    let mut header = machine::describe(&settings.dir)?;
    header.push(format!("vectors: {}", vectors.origin));
    header.push(format!(
        "{rows} experiences, {} bytes of text, {}",
        texts.bytes(),
        texts.origin
    ));
    let mut report = Report::new("text", settings, header);
    work.with(|dir| searched(dir, settings, &vectors, &texts, &mut report))?;
    recorded(settings, &work, &vectors, &texts, &mut report)?;
    report.finish()
}

fn searched(
    dir: &Path,
    settings: &Settings,
    vectors: &Vectors,
    texts: &Texts,
    report: &mut Report,
) -> Result<()> {
    let config = Config {
        sync_mode: SyncMode::Fast,
        text: indexing(TextIndexing::Always),
        ..ours::fresh_config(vectors.dimension)
    };
    let db = PulseDB::open(dir, config)?;
    let collective = fill(&db, vectors, texts)?;
    let queries: Vec<&[f32]> = vectors.queries().collect();
    let nth = |n: usize| {
        let at = n % queries.len().min(texts.questions.len());
        (queries[at], texts.questions[at].as_str())
    };
    let options = || SearchOptions {
        k: K,
        ..SearchOptions::default()
    };
    let ask = |query: Query| {
        black_box(db.search(collective, query, options())?);
        anyhow::Ok(())
    };
    // The first search by words waits for the index.
    ask(Query::words(nth(0).1))?;
    let both = |n: usize| ask(Query::plain(nth(n).1).with_vector(nth(n).0));
    let words = |n: usize| {
        let plain = Query::plain(nth(n).1);
        ask(Query {
            words_only: true,
            ..plain
        })
    };
    let vector = |n: usize| ask(Query::vector(nth(n).0));
    let contenders = vec![
        Contender::new("both", || median(settings.measure, both)),
        Contender::new("words", || median(settings.measure, words)),
        Contender::new("vector", || median(settings.measure, vector)),
    ];
    let measured = interleave("text", settings.rounds, contenders)?;
    let alone = ("ours, vector alone, p50", measured.of("vector")?);
    report.compare(
        "a question as words and vector, k = 20, p50",
        "µs",
        measured.of("both")?,
        alone,
        Some(Target::AtMost(2.0)),
    );
    report.compare(
        "the same as words alone, p50",
        "µs",
        measured.of("words")?,
        alone,
        None,
    );
    let stats = db.get_collective_stats(collective)?;
    report.compare(
        "memory of the index of words",
        "bytes",
        &[stats.text_index_bytes as f64],
        ("bytes of the texts", &[texts.bytes() as f64]),
        None,
    );
    db.close()?;
    Ok(())
}

fn fill(db: &PulseDB, vectors: &Vectors, texts: &Texts) -> Result<CollectiveId> {
    let collective = db.create_collective("text")?;
    let rows = vectors.first(texts.rows.len());
    ensure!(
        rows.len() == texts.rows.len() * vectors.dimension,
        "there are not {} vectors",
        texts.rows.len()
    );
    let rows: Vec<&[f32]> = rows.chunks_exact(vectors.dimension).collect();
    for (rows, texts) in rows.chunks(BATCH).zip(texts.rows.chunks(BATCH)) {
        let new = rows.iter().zip(texts);
        let new = new.map(|(vector, text)| ours::experience(collective, text, vector));
        db.record_experiences(new.collect())?;
    }
    db.rebuild_index(collective)?;
    db.flush()?;
    Ok(collective)
}

/// Recording with and without an index of words that follows.
fn recorded(
    settings: &Settings,
    work: &WorkDir,
    vectors: &Vectors,
    texts: &Texts,
    report: &mut Report,
) -> Result<()> {
    let rows = vectors.first(RECORDED);
    let rows = rows.chunks_exact(vectors.dimension);
    let records: Vec<(&str, &[f32])> = texts.rows.iter().map(String::as_str).zip(rows).collect();
    let load = Load {
        tasks: TASKS,
        warm_up: settings.warm_up(),
        measure: settings.measure,
    };
    let one = |when| {
        work.with(|dir| {
            ingest::runtime()?.block_on(async {
                let config = Config {
                    text: indexing(when),
                    ..ours::config(vectors.dimension, ingest::SEGMENT_BYTES, SyncMode::Normal)
                };
                let db = ours::Async::open(dir, config, &records).await?;
                let outcome = ingest::with_tasks(&db, load).await;
                db.close().await?;
                outcome
            })
        })
    };
    let contenders = vec![
        Contender::new("with", || one(TextIndexing::Always)),
        Contender::new("without", || one(TextIndexing::OnUse)),
    ];
    let measured = interleave("recording", settings.rounds, contenders)?;
    let rate = |name: &str| -> Result<Vec<f64>> {
        let outcomes: &[Outcome] = measured.of(name)?;
        Ok(outcomes.iter().map(|outcome| outcome.per_second).collect())
    };
    report.compare(
        &format!("{TASKS} tasks record, words indexed"),
        "records/s",
        &rate("with")?,
        ("ours, no index of words", &rate("without")?),
        Some(Target::AtLeast(0.8)),
    );
    Ok(())
}

fn indexing(indexing: TextIndexing) -> TextConfig {
    TextConfig {
        indexing,
        ..TextConfig::default()
    }
}

/// The median of one operation in microseconds, after a fifth of the time to warm up.
fn median(measure: Duration, mut operation: impl FnMut(usize) -> Result<()>) -> Result<f64> {
    let mut count = 0;
    let mut go = |time: Duration| {
        let (started, mut times) = (Instant::now(), Vec::new());
        while times.is_empty() || started.elapsed() < time {
            let began = Instant::now();
            operation(count)?;
            times.push(began.elapsed().as_secs_f64() * 1e6);
            count += 1;
        }
        anyhow::Ok(times)
    };
    go(measure / 5)?;
    let mut times = go(measure)?;
    times.sort_by(f64::total_cmp);
    Ok(times[times.len() / 2])
}

/// What is recorded, and what is asked.
struct Texts {
    /// Where they come from, for the header.
    origin: &'static str,
    rows: Vec<String>,
    questions: Vec<String>,
}

impl Texts {
    fn get(data: Option<&Path>, rows: usize, questions: usize) -> Result<Self> {
        let Some(dir) = data else {
            return Ok(Self::make(rows, questions));
        };
        let open = |name: &str| {
            let path = dir.join(name);
            File::open(&path).with_context(|| path.display().to_string())
        };
        let texts = Self {
            origin: "those of PULSEDB_BENCH_DATA",
            rows: lines(GzDecoder::new(open("dev-100k.jsonl.gz")?), rows)?,
            questions: lines(open("dev-queries-500.jsonl")?, questions)?,
        };
        ensure!(
            texts.rows.len() == rows && !texts.questions.is_empty(),
            "there are only {} texts and {} questions",
            texts.rows.len(),
            texts.questions.len()
        );
        Ok(texts)
    }

    /// Words, the rarer the later in the vocabulary.
    fn make(rows: usize, questions: usize) -> Self {
        let mut random = Random::seeded(0x1972);
        let mut text = |words: u64| {
            let mut word = || {
                let bound = 1 + random.below(VOCABULARY);
                format!("word{}", random.below(bound))
            };
            (0..words).map(|_| word()).collect::<Vec<_>>().join(" ")
        };
        Self {
            origin: "made by the bench (set PULSEDB_BENCH_DATA for real ones)",
            rows: (0..rows as u64).map(|n| text(5 + n % 40)).collect(),
            questions: (0..questions).map(|_| text(QUESTION_WORDS)).collect(),
        }
    }

    fn bytes(&self) -> usize {
        self.rows.iter().map(String::len).sum()
    }
}

fn lines(file: impl Read, count: usize) -> Result<Vec<String>> {
    #[derive(serde::Deserialize)]
    struct Line {
        text: String,
    }
    let lines = BufReader::new(file).lines().take(count);
    lines
        .map(|line| Ok(serde_json::from_str::<Line>(&line?)?.text))
        .collect()
}
