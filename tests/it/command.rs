//! How do tests run the command?
//!
//! The real binary, in a directory of its own: paths among the arguments are relative to it.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests run a program"
)]

use std::{
    io::Write,
    path::PathBuf,
    process::{Command, Output, Stdio},
};

use serde::de::DeserializeOwned;
use serde_json::Value;
use tempfile::TempDir;

/// A directory to run commands in.
pub struct Commands(TempDir);

impl Commands {
    pub fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.0.path().join(name)
    }

    pub fn run(&self, arguments: &[&str]) -> Output {
        self.run_with("", arguments)
    }

    /// Runs it with such variables in its environment.
    pub fn run_in(&self, environment: &[(&str, &str)], arguments: &[&str]) -> Output {
        self.command(arguments)
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .output()
            .unwrap()
    }

    /// What is to be run, in its directory.
    pub fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_pulsedb"));
        command.args(arguments).current_dir(self.0.path());
        command
    }

    /// Runs it with `input` as standard input.
    pub fn run_with(&self, input: &str, arguments: &[&str]) -> Output {
        let mut child = self
            .command(arguments)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        // One that reads nothing may have ended already.
        let _ = child.stdin.take().unwrap().write_all(input.as_bytes());
        child.wait_with_output().unwrap()
    }

    /// The one object that it answers when all is well.
    #[track_caller]
    pub fn json(&self, arguments: &[&str]) -> Value {
        let arguments = [arguments, &["--json"]].concat();
        parsed(&self.run(&arguments))
    }

    /// A database `db` with the collective `team` of vectors of three components.
    pub fn with_team() -> Self {
        let commands = Self::new();
        commands.json(&["init", "db", "--collective", "team", "--dimension", "3"]);
        commands
    }

    /// Records `text` in `team`, and answers its id.
    #[track_caller]
    pub fn record(&self, text: &str, more: &[&str]) -> String {
        let vector = [
            "record",
            "db",
            "team",
            text,
            "--vector",
            "[0.25, 0.5, 0.75]",
        ];
        let recorded = self.json(&[&vector, more].concat());
        recorded["id"].as_str().unwrap().to_owned()
    }
}

pub fn code(output: &Output) -> i32 {
    output.status.code().unwrap()
}

pub fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// What a command without complaints has answered.
#[track_caller]
pub fn parsed<T: DeserializeOwned>(output: &Output) -> T {
    assert_eq!(code(output), 0, "{output:?}");
    // No bar where no terminal is.
    assert!(output.stderr.is_empty(), "{output:?}");
    serde_json::from_slice(&output.stdout).unwrap()
}
