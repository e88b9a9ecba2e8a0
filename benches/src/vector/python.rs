//! How are hnswlib and faiss driven?
//!
//! Each in a process that runs `peers.py`. What cannot be had is skipped, and the reason told.

use std::{
    fs,
    io::{BufWriter, Write},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use serde::Deserialize;
use serde_json::json;

use super::{EF_BUILD, K, M, peers::Built, peers::Graph};
use crate::{
    python::{Process, ensure_package, environment},
    vectors::Vectors,
};

const SCRIPT: &str = include_str!("peers.py");

/// The files and the interpreter that all Python peers of a case share.
pub(super) struct Python {
    dir: PathBuf,
    interpreter: PathBuf,
    rows: usize,
    dimension: usize,
}

impl Python {
    /// Leaves rows, queries and the script in `dir`.
    pub(super) fn prepare(dir: &Path, vectors: &Vectors, rows: &[f32]) -> Result<Self> {
        let interpreter = environment()?;
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        write(&dir.join("rows.f32"), rows)?;
        let queries: Vec<f32> = vectors.queries().flatten().copied().collect();
        write(&dir.join("queries.f32"), &queries)?;
        Ok(Self {
            dir: dir.to_owned(),
            interpreter,
            rows: rows.len() / vectors.dimension,
            dimension: vectors.dimension,
        })
    }

    /// One of `hnswlib`, `faiss-hnsw` and `faiss-flat`.
    pub(super) fn start(&self, package: &str, peer: &'static str) -> Result<Peer> {
        ensure_package(&self.interpreter, package)?;
        let mut arguments = [peer, "rows.f32", "queries.f32"]
            .map(str::to_owned)
            .to_vec();
        arguments.extend([self.dimension, K, M, EF_BUILD].map(|number| number.to_string()));
        let process = Process::start(peer, &self.interpreter, &self.dir, SCRIPT, &arguments)?;
        let mut peer = Peer {
            rows: self.rows,
            version: String::new(),
            process,
        };
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let Version { version } = peer.process.ask(&json!({"do": "version"}))?;
        peer.version = version;
        Ok(peer)
    }
}

/// A running peer.
pub(super) struct Peer {
    rows: usize,
    pub(super) version: String,
    process: Process,
}

impl Peer {
    pub(super) fn build(&mut self) -> Result<Built> {
        #[derive(Deserialize)]
        struct Answer {
            seconds: f64,
            bytes: u64,
        }
        let Answer { seconds, bytes } = self.process.ask(&json!({"do": "build"}))?;
        Ok(Built::new(
            self.rows,
            Duration::from_secs_f64(seconds),
            bytes,
        ))
    }

    /// Queries per second, in one call for all of them or one by one.
    pub(super) fn run(&mut self, ef: usize, measure: Duration, batch: bool) -> Result<f64> {
        #[derive(Deserialize)]
        struct Answer {
            qps: f64,
        }
        let seconds = measure.as_secs_f64();
        let command = json!({"do": "run", "ef": ef, "seconds": seconds, "batch": batch});
        let Answer { qps } = self.process.ask(&command)?;
        Ok(qps)
    }
}

impl Graph for Peer {
    fn answers(&mut self, _: &Vectors, ef: usize) -> Result<Vec<Vec<usize>>> {
        #[derive(Deserialize)]
        struct Answer {
            rows: Vec<Vec<i64>>,
        }
        let Answer { rows } = self.process.ask(&json!({"do": "answers", "ef": ef}))?;
        // faiss fills up with −1.
        let found = |rows: Vec<i64>| rows.into_iter().filter_map(|row| row.try_into().ok());
        Ok(rows.into_iter().map(|rows| found(rows).collect()).collect())
    }

    fn qps(&mut self, _: &Vectors, ef: usize, measure: Duration) -> Result<f64> {
        self.run(ef, measure, true)
    }
}

fn write(file: &Path, numbers: &[f32]) -> Result<()> {
    let create = || -> std::io::Result<()> {
        let mut out = BufWriter::with_capacity(1 << 20, fs::File::create(file)?);
        for number in numbers {
            out.write_all(&number.to_le_bytes())?;
        }
        out.flush()
    };
    create().with_context(|| file.display().to_string())
}
