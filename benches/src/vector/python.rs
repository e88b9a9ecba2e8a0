//! How are the peers driven that live in Python?
//!
//! Each is a process that runs `peers.py` in a virtual environment under `target/bench/venv`, which is made and
//! filled through pip when it is missing. What cannot be had is skipped, and the reason told.

use std::{
    fs,
    io::{BufRead, BufReader, BufWriter, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::{Value, json};

use super::{EF_BUILD, K, M, peers::Built, peers::Graph};
use crate::{settings::results_dir, vectors::Vectors};

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
        fs::write(dir.join("peers.py"), SCRIPT)?;
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
        let mut child = Command::new(&self.interpreter)
            .current_dir(&self.dir)
            .args(["peers.py", peer, "rows.f32", "queries.f32"])
            .args([self.dimension, K, M, EF_BUILD].map(|number| number.to_string()))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| self.interpreter.display().to_string())?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{peer}: no pipes");
        };
        let mut peer = Peer {
            name: peer,
            rows: self.rows,
            version: String::new(),
            child,
            commands: Some(commands),
            answers: BufReader::new(answers),
        };
        #[derive(Deserialize)]
        struct Version {
            version: String,
        }
        let Version { version } = peer.ask(&json!({"do": "version"}))?;
        peer.version = version;
        Ok(peer)
    }
}

/// A running peer.
pub(super) struct Peer {
    name: &'static str,
    rows: usize,
    pub(super) version: String,
    child: Child,
    /// Taken when there are no more.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Peer {
    pub(super) fn build(&mut self) -> Result<Built> {
        #[derive(Deserialize)]
        struct Answer {
            seconds: f64,
            bytes: u64,
        }
        let Answer { seconds, bytes } = self.ask(&json!({"do": "build"}))?;
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
        let Answer { qps } = self.ask(&command)?;
        Ok(qps)
    }

    fn ask<T: for<'de> Deserialize<'de>>(&mut self, command: &Value) -> Result<T> {
        let name = self.name;
        let commands = self.commands.as_mut().context("it was stopped")?;
        let asked = writeln!(commands, "{command}").and_then(|()| commands.flush());
        let mut answer = String::new();
        let read = asked.and_then(|()| self.answers.read_line(&mut answer));
        match read {
            Ok(bytes) if bytes > 0 => {
                serde_json::from_str(&answer).with_context(|| format!("{name}: {answer}"))
            }
            _ => bail!("{name} ended; what it said stands above"),
        }
    }
}

impl Graph for Peer {
    fn answers(&mut self, _: &Vectors, ef: usize) -> Result<Vec<Vec<usize>>> {
        #[derive(Deserialize)]
        struct Answer {
            rows: Vec<Vec<i64>>,
        }
        let Answer { rows } = self.ask(&json!({"do": "answers", "ef": ef}))?;
        // faiss fills up with −1.
        let found = |rows: Vec<i64>| rows.into_iter().filter_map(|row| row.try_into().ok());
        Ok(rows.into_iter().map(|rows| found(rows).collect()).collect())
    }

    fn qps(&mut self, _: &Vectors, ef: usize, measure: Duration) -> Result<f64> {
        self.run(ef, measure, true)
    }
}

impl Drop for Peer {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}

/// The interpreter of the virtual environment, which is made if need be.
fn environment() -> Result<PathBuf> {
    let dir = results_dir().join("venv");
    let interpreter = dir.join("bin/python");
    if !interpreter.exists() {
        eprintln!("making a virtual environment for the Python peers …");
        let made = Command::new("python3")
            .args(["-m", "venv"])
            .arg(&dir)
            .status()
            .context("python3 -m venv")?;
        ensure!(made.success(), "python3 -m venv {}: {made}", dir.display());
    }
    ensure_package(&interpreter, "numpy")?;
    Ok(interpreter)
}

fn ensure_package(interpreter: &Path, package: &str) -> Result<()> {
    let pip = |arguments: &[&str]| {
        let mut command = Command::new(interpreter);
        command.args(["-m", "pip", "--disable-pip-version-check", "-q"]);
        command.args(arguments).stdout(Stdio::null());
        command
    };
    let there = pip(&["show", package]).stderr(Stdio::null()).status();
    if there.context("pip show")?.success() {
        return Ok(());
    }
    eprintln!("pip install {package} …");
    let installed = pip(&["install", package]).status().context("pip install")?;
    ensure!(
        installed.success(),
        "pip could not install {package}; is a package index configured and in reach?"
    );
    Ok(())
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
