//! What can be changed about a run, and by which environment variable?
//!
//! | variable | meaning | default |
//! | --- | --- | --- |
//! | `PULSEDB_BENCH_SECS` | seconds each contender is timed per round, after a fifth of that to warm up | 1.5 |
//! | `PULSEDB_BENCH_ROUNDS` | interleaved rounds | 5 |
//! | `PULSEDB_BENCH_DIR` | where the files under test live (a real disk); a `run` folder in it is emptied | `target/bench/data` |
//! | `PULSEDB_BENCH_DATA` | folder with real vectors (`dev-100k.f16`, `dev-queries-500.f16`), texts (`dev-100k.jsonl.gz`) and questions (`dev-queries-500.jsonl`) | made by the bench |
//! | `PULSEDB_MODEL_DIR` | `embed`: folder with all-MiniLM-L6-v2; `cargo xtask bench embed` sets it | – |
//! | `PULSEDB_BENCH_TASKS` | `ingest`: numbers of tasks, comma-separated; 0 stands for the batches in `Fast` mode | 1,8,32,128,1024,0 |
//! | `PULSEDB_BENCH_ROWS` | `scan` and the case `exact` of `vector`: numbers of rows, comma-separated; the other cases of `vector`, and `model`, take the largest | 10000,100000; `store` 200000 |
//! | `PULSEDB_BENCH_CASES` | `vector`, `store`: which cases, comma-separated | all: graph,exact,filter,delete,mixed,open,ingest; written,get,open,deleted,compacting,backup |
//! | `PULSEDB_BENCH_MILLION` | `vector`, case `open`: 1 adds a database of 1 M rows, a larger number one of so many | – |
//!
//! A run with less than the default time or rounds only shows that the bench works; its header says so.

use std::{
    env,
    path::{Path, PathBuf},
    str::FromStr,
    time::Duration,
};

use anyhow::{Context, Result, bail};

const FULL_SECS: f64 = 1.5;
const FULL_ROUNDS: usize = 5;
/// Rows that the targets of `store` are meant for.
pub(crate) const FULL_STORE_ROWS: usize = 200_000;

/// What the environment asks for.
pub(crate) struct Settings {
    pub(crate) measure: Duration,
    pub(crate) rounds: usize,
    pub(crate) dir: PathBuf,
    pub(crate) data: Option<PathBuf>,
    pub(crate) tasks: Vec<usize>,
    pub(crate) rows: Vec<usize>,
    /// Rows of `store`.
    pub(crate) store_rows: usize,
    pub(crate) cases: Option<Vec<String>>,
    pub(crate) million: Option<usize>,
}

impl Settings {
    pub(crate) fn from_env() -> Result<Self> {
        let secs: f64 = read("PULSEDB_BENCH_SECS")?.unwrap_or(FULL_SECS);
        if !(0.01..=600.0).contains(&secs) {
            bail!("PULSEDB_BENCH_SECS: {secs} is outside 0.01..=600");
        }
        let rounds = read("PULSEDB_BENCH_ROUNDS")?.unwrap_or(FULL_ROUNDS);
        if !(1..=1000).contains(&rounds) {
            bail!("PULSEDB_BENCH_ROUNDS: {rounds} is outside 1..=1000");
        }
        Ok(Self {
            measure: Duration::from_secs_f64(secs),
            rounds,
            dir: read("PULSEDB_BENCH_DIR")?.unwrap_or_else(|| results_dir().join("data")),
            data: read("PULSEDB_BENCH_DATA")?,
            tasks: list("PULSEDB_BENCH_TASKS", &[1, 8, 32, 128, 1024, 0])?,
            rows: list("PULSEDB_BENCH_ROWS", &[10_000, 100_000])?,
            store_rows: list("PULSEDB_BENCH_ROWS", &[FULL_STORE_ROWS])?
                .into_iter()
                .max()
                .unwrap_or(0),
            cases: read::<String>("PULSEDB_BENCH_CASES")?
                .map(|text| text.split(',').map(|case| case.trim().to_owned()).collect()),
            million: read("PULSEDB_BENCH_MILLION")?
                .filter(|rows| *rows > 0)
                .map(|rows| if rows == 1 { 1_000_000 } else { rows }),
        })
    }

    /// Too short to mean anything.
    pub(crate) fn is_smoke(&self) -> bool {
        self.measure.as_secs_f64() < FULL_SECS || self.rounds < FULL_ROUNDS
    }

    pub(crate) fn warm_up(&self) -> Duration {
        self.measure / 5
    }
}

/// `target/bench` of the repository, where every bench leaves its result.
pub(crate) fn results_dir() -> PathBuf {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    package.parent().unwrap_or(package).join("target/bench")
}

fn read<T>(name: &str) -> Result<Option<T>>
where
    T: FromStr,
    T::Err: std::error::Error + Send + Sync + 'static,
{
    match env::var(name) {
        Ok(text) if text.is_empty() => Ok(None),
        Ok(text) => text
            .parse()
            .map(Some)
            .with_context(|| format!("{name}={text}")),
        Err(env::VarError::NotPresent) => Ok(None),
        Err(error) => Err(error).context(name.to_owned()),
    }
}

fn list(name: &str, default: &[usize]) -> Result<Vec<usize>> {
    match read::<String>(name)? {
        None => Ok(default.to_vec()),
        Some(text) => text
            .split(',')
            .map(|part| {
                part.trim()
                    .parse()
                    .with_context(|| format!("{name}={text}"))
            })
            .collect(),
    }
}
