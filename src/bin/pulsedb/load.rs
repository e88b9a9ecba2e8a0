//! What does `bench` do?
//!
//! It measures what a database would have of this machine: what a sync of the disk costs, durable records with one writer
//! and with many, searches with one reader and with many, and what an experience takes of disk and memory. The
//! database is its own, in a directory that it makes and removes; nothing else is written.

#![allow(
    clippy::disallowed_methods,
    reason = "it measures time, with threads and files of its own"
)]

use std::{
    fs,
    io::{self, Write},
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use clap::Args;
use pulsedb::{
    CollectiveId, Config, EmbeddingDimension, NewExperience, PulseDBError, SearchOptions,
    SearchPlan, blocking::PulseDB, model::limits,
};
use serde::Serialize;

use crate::{
    exit::{Exit, Failure},
    output::Unit,
    session::{Session, Texts, opening},
};

/// What a small commit writes.
const SYNCED_BYTES: usize = 4096;
/// Experiences of a batch: enough that syncs do not matter.
const BATCH: usize = 256;
/// Centres that vectors lie around, since those of texts are not spread evenly, either.
const CENTRES: u64 = 64;
/// Results of a search.
const RESULTS: usize = 10;
/// The longest time that one step may be measured.
const MAX_SECONDS: f64 = 600.0;

#[derive(Debug, Args)]
pub(crate) struct Bench {
    /// Where to make the database; name the disk that yours will be on. Temporary directories are often in memory,
    /// where syncs cost nothing.
    #[arg(default_value = ".")]
    dir: PathBuf,
    /// How long each step is measured.
    #[arg(long, default_value_t = 3.0)]
    seconds: f64,
    /// Experiences that searches look among.
    #[arg(long, value_name = "EXPERIENCES", default_value_t = 20_000)]
    rows: usize,
    /// Components of their vectors.
    #[arg(long, value_name = "COMPONENTS", default_value_t = 384)]
    dimension: usize,
    /// Bytes of each content.
    #[arg(long, value_name = "BYTES", default_value_t = 400)]
    content: usize,
    /// Writers at the same time.
    #[arg(long, default_value_t = 32)]
    writers: usize,
}

#[derive(Debug, Serialize)]
struct Report {
    cores: usize,
    sync: Rate,
    records: Vec<Rate>,
    searches: Vec<Rate>,
    plan: SearchPlan,
    experiences: u64,
    /// Of each experience, in bytes.
    log_bytes: f64,
    index_file_bytes: f64,
    memory_bytes: f64,
}

/// How often something could be done.
#[derive(Debug, Serialize)]
struct Rate {
    threads: usize,
    count: usize,
    per_second: f64,
    p50_us: u64,
    p99_us: u64,
    max_us: u64,
}

pub(crate) fn bench(bench: &Bench, session: &Session) -> Result<Exit, Failure> {
    check(bench)?;
    let place = Place::make(&bench.dir)?;
    let cores = thread::available_parallelism().map_or(1, usize::from);
    let time = Duration::from_secs_f64(bench.seconds);
    let sync = measure_syncs(&place.0.join("sync"), time)?;
    let config = Config {
        embedding_dimension: EmbeddingDimension::Custom(bench.dimension),
        ..session.config(Texts::Plain)?
    };
    let path = place.0.join("db");
    let db = PulseDB::open(&path, config).map_err(opening(&path))?;
    let team = db.create_collective("bench").map_err(Failure::Command)?;
    let load = Load {
        db: &db,
        team,
        dimension: bench.dimension,
        content: "word ".repeat(bench.content.div_ceil(5)),
    };
    let mut records = Vec::new();
    for writers in [1, bench.writers] {
        records.push(drive(writers, time, |seed| load.record(seed))?);
    }
    load.fill(bench.rows, session)?;
    let mut searches = Vec::new();
    for readers in [1, cores] {
        searches.push(drive(readers, time, |seed| load.search(seed))?);
    }
    let report = report(&load, cores, sync, records, searches).map_err(Failure::Command)?;
    db.close().map_err(Failure::Command)?;
    session
        .output
        .print(&report, |out| print(out, bench, &report))?;
    Ok(Exit::Fine)
}

fn check(bench: &Bench) -> Result<(), Failure> {
    let (seconds, content) = (bench.seconds, bench.content);
    if !(seconds > 0.0 && seconds <= MAX_SECONDS) {
        let limit = format!("above 0, at most {MAX_SECONDS}");
        return Err(Failure::wrong("seconds", seconds, limit));
    }
    if !(1..=limits::MAX_CONTENT_BYTES - 5).contains(&content) {
        let limit = format!("1 to {}", limits::MAX_CONTENT_BYTES - 5);
        return Err(Failure::wrong("content", content, limit));
    }
    let counts = [("rows", bench.rows), ("writers", bench.writers)];
    match counts.iter().find(|(_, count)| *count == 0) {
        Some((field, count)) => Err(Failure::wrong(field, count, "at least 1")),
        None => Ok(()),
    }
}

/// A directory of its own, gone at the end.
struct Place(PathBuf);

impl Place {
    fn make(dir: &Path) -> Result<Self, Failure> {
        let failed = |error| Failure::Input(dir.to_owned(), error);
        if dir.join("MANIFEST").exists() {
            let limit = "a directory that is no database";
            return Err(Failure::wrong("dir", dir.display(), limit));
        }
        let path = dir.join(format!("pulsedb-bench-{}", std::process::id()));
        fs::create_dir(&path).map_err(failed)?;
        Ok(Self(path))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        if let Err(error) = fs::remove_dir_all(&self.0) {
            eprintln!("pulsedb: {} stays: {error}", self.0.display());
        }
    }
}

/// What a write of a block and its sync take.
fn measure_syncs(path: &Path, time: Duration) -> Result<Rate, Failure> {
    let failed = |error| Failure::Input(path.to_owned(), error);
    let file = fs::File::create_new(path).map_err(failed)?;
    drive(1, time, |_| {
        (&file)
            .write_all(&[1; SYNCED_BYTES])
            .and_then(|()| file.sync_data())
            .map_err(failed)
    })
}

/// Does something on so many threads for so long, each time with another seed.
fn drive(
    threads: usize,
    time: Duration,
    act: impl Fn(u64) -> Result<(), Failure> + Sync,
) -> Result<Rate, Failure> {
    let began = Instant::now();
    let act = &act;
    let repeat = |thread: usize| {
        let mut took = Vec::new();
        while began.elapsed() < time {
            let seed = (thread as u64) << 40 | took.len() as u64;
            let start = Instant::now();
            act(seed)?;
            took.push(u64::try_from(start.elapsed().as_micros()).unwrap_or(u64::MAX));
        }
        Ok(took)
    };
    let repeat = &repeat;
    let all: Vec<Result<Vec<u64>, Failure>> = thread::scope(|scope| {
        let started: Vec<_> = (0..threads)
            .map(|thread| scope.spawn(move || repeat(thread)))
            .collect();
        let ended = started.into_iter().map(|one| one.join());
        ended
            .map(|one| one.unwrap_or_else(|_| Err(died())))
            .collect()
    });
    let elapsed = began.elapsed().as_secs_f64();
    let mut took = Vec::new();
    for one in all {
        took.extend(one?);
    }
    took.sort_unstable();
    let at = |percent: usize| {
        let index = (took.len() * percent / 100).min(took.len().saturating_sub(1));
        took.get(index).copied().unwrap_or_default()
    };
    Ok(Rate {
        threads,
        count: took.len(),
        per_second: took.len() as f64 / elapsed,
        p50_us: at(50),
        p99_us: at(99),
        max_us: at(100),
    })
}

fn died() -> Failure {
    Failure::Output(io::Error::other("a thread of the load panicked"))
}

/// What is recorded and looked for.
struct Load<'a> {
    db: &'a PulseDB,
    team: CollectiveId,
    dimension: usize,
    content: String,
}

impl Load<'_> {
    fn experience(&self, seed: u64) -> NewExperience {
        NewExperience {
            embedding: Some(vector(seed, self.dimension)),
            ..NewExperience::new(self.team, "bench", self.content.as_str())
        }
    }

    fn record(&self, seed: u64) -> Result<(), Failure> {
        let recorded = self.db.record_experience(self.experience(seed));
        recorded.map(|_| ()).map_err(Failure::Command)
    }

    fn search(&self, seed: u64) -> Result<(), Failure> {
        let query = vector(!seed, self.dimension);
        let found = self.db.search_similar(self.team, &query, RESULTS);
        found.map(|_| ()).map_err(Failure::Command)
    }

    /// Adds what is missing of `rows`, and indexes them.
    fn fill(&self, rows: usize, session: &Session) -> Result<(), Failure> {
        let progress = session.output.progress("fill", Unit::Rows);
        let stats = self.db.get_collective_stats(self.team);
        let there = stats.map_err(Failure::Command)?.experience_count as usize;
        for begin in (there..rows).step_by(BATCH) {
            let seeds = begin..rows.min(begin + BATCH);
            let batch = seeds.map(|row| self.experience(row as u64 | 1 << 63));
            let recorded = self.db.record_experiences(batch.collect());
            recorded.map_err(Failure::Command)?;
            progress.show(begin as u64, rows as u64);
        }
        self.db.rebuild_index(self.team).map_err(Failure::Command)
    }
}

/// A vector near one of some centres.
fn vector(seed: u64, dimension: usize) -> Vec<f32> {
    let mut noise = scrambled(seed ^ 0x5eed);
    let centre = scrambled(noise % CENTRES);
    let components = (0..dimension as u64).map(|component| {
        noise = scrambled(noise);
        spread(scrambled(centre ^ component)) + spread(noise)
    });
    components.collect()
}

/// The next number of the generator SplitMix64 (Steele, Lea, Flood: "Fast Splittable Pseudorandom Number
/// Generators", OOPSLA 2014).
fn scrambled(state: u64) -> u64 {
    let mut z = state.wrapping_add(0x9E37_79B9_7F4A_7C15);
    z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
    z ^ (z >> 31)
}

/// Evenly in [−1, 1).
fn spread(random: u64) -> f32 {
    (random >> 40) as f32 / (1_u64 << 23) as f32 - 1.0
}

fn report(
    load: &Load<'_>,
    cores: usize,
    sync: Rate,
    records: Vec<Rate>,
    searches: Vec<Rate>,
) -> Result<Report, PulseDBError> {
    let query = vector(0, load.dimension);
    let explained = load
        .db
        .explain(load.team, &query, SearchOptions::default())?;
    let diagnosis = load.db.diagnose()?;
    let experiences = load.db.get_collective_stats(load.team)?.experience_count;
    let each = |bytes: u64| bytes as f64 / experiences.max(1) as f64;
    Ok(Report {
        cores,
        sync,
        records,
        searches,
        plan: explained.plan,
        experiences,
        log_bytes: each(diagnosis.log_bytes),
        index_file_bytes: each(diagnosis.index_file_bytes),
        memory_bytes: each(diagnosis.memory.row_bytes + diagnosis.memory.index_bytes),
    })
}

fn print(out: &mut dyn Write, bench: &Bench, report: &Report) -> io::Result<()> {
    let mut row = |what: &str, rate: &Rate| {
        writeln!(
            out,
            "{what:<16} {:>3} at a time  {:>10.0} /s   p50 {:>7} µs   p99 {:>7} µs   max {:>8} µs",
            rate.threads, rate.per_second, rate.p50_us, rate.p99_us, rate.max_us
        )
    };
    row("syncs of 4 KiB", &report.sync)?;
    for rate in &report.records {
        row("durable records", rate)?;
    }
    for rate in &report.searches {
        row("searches", rate)?;
    }
    writeln!(
        out,
        "searches for {RESULTS} of {} experiences ({:?}), {} components, contents of {} bytes, {} cores",
        report.experiences, report.plan, bench.dimension, bench.content, report.cores
    )?;
    writeln!(
        out,
        "an experience takes {:.0} bytes of log, {:.0} of index files, and {:.0} of memory",
        report.log_bytes, report.index_file_bytes, report.memory_bytes
    )
}
