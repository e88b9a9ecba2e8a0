//! How are peers driven that live in Python?
//!
//! Each is a process that runs a script in a virtual environment under `target/bench/venv`, which is made and
//! filled through pip when it is missing, and answers one line of JSON to each line of JSON.

use std::{
    fs,
    io::{BufRead, BufReader, Write},
    path::{Path, PathBuf},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use anyhow::{Context, Result, bail, ensure};
use serde::Deserialize;
use serde_json::Value;

use crate::settings::results_dir;

/// A running script.
pub(crate) struct Process {
    name: &'static str,
    child: Child,
    /// Taken when there are no more.
    commands: Option<ChildStdin>,
    answers: BufReader<ChildStdout>,
}

impl Process {
    /// Leaves the script in `dir` and runs it there.
    pub(crate) fn start(
        name: &'static str,
        interpreter: &Path,
        dir: &Path,
        script: &str,
        arguments: &[String],
    ) -> Result<Self> {
        fs::create_dir_all(dir).with_context(|| dir.display().to_string())?;
        fs::write(dir.join("peers.py"), script)?;
        let mut child = Command::new(interpreter)
            .current_dir(dir)
            .arg("peers.py")
            .args(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .with_context(|| interpreter.display().to_string())?;
        let (Some(commands), Some(answers)) = (child.stdin.take(), child.stdout.take()) else {
            bail!("{name}: no pipes");
        };
        Ok(Self {
            name,
            child,
            commands: Some(commands),
            answers: BufReader::new(answers),
        })
    }

    pub(crate) fn ask<T: for<'de> Deserialize<'de>>(&mut self, command: &Value) -> Result<T> {
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

impl Drop for Process {
    fn drop(&mut self) {
        // It ends with its input.
        drop(self.commands.take());
        let _ = self.child.wait();
    }
}

/// The interpreter of the virtual environment, which is made if need be.
pub(crate) fn environment() -> Result<PathBuf> {
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

pub(crate) fn ensure_package(interpreter: &Path, package: &str) -> Result<()> {
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
