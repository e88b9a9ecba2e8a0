//! How is another program run, and how is its failure told?

use std::{
    ffi::OsString,
    path::{Path, PathBuf},
    process::Command,
};

/// A program with its arguments and surroundings.
pub(crate) struct Program {
    command: Command,
    shown: String,
}

impl Program {
    /// A program to be run in `dir`.
    pub(crate) fn new<A: AsRef<str>>(program: &str, arguments: &[A], dir: &Path) -> Self {
        let mut command = Command::new(program);
        let mut shown = program.to_owned();
        for argument in arguments {
            command.arg(argument.as_ref());
            shown.push(' ');
            shown.push_str(argument.as_ref());
        }
        command.current_dir(dir);
        Self { command, shown }
    }

    /// The cargo that runs us.
    pub(crate) fn cargo<A: AsRef<str>>(arguments: &[A], dir: &Path) -> Self {
        let mut program = Self::new("cargo", arguments, dir);
        // Inside `cargo run`, CARGO names the cargo of the same toolchain.
        if let Some(cargo) = std::env::var_os("CARGO") {
            let mut command = Command::new(cargo);
            command.args(program.command.get_args()).current_dir(dir);
            program.command = command;
        }
        program
    }

    /// Sets a variable for the program.
    pub(crate) fn env(mut self, name: &str, value: impl Into<OsString>) -> Self {
        self.command.env(name, value.into());
        self
    }

    /// Hides a variable of ours from the program.
    pub(crate) fn without_env(mut self, name: &str) -> Self {
        self.command.env_remove(name);
        self
    }

    /// The line a person would type.
    pub(crate) fn shown(&self) -> &str {
        &self.shown
    }

    /// Runs it on our terminal and waits.
    pub(crate) fn run(mut self) -> Result<(), String> {
        let status = self
            .command
            .status()
            .map_err(|error| format!("`{}` could not be started: {error}", self.shown))?;
        if status.success() {
            Ok(())
        } else {
            Err(format!("`{}` failed ({status})", self.shown))
        }
    }

    /// Runs it silently; its answer is whether it succeeded.
    pub(crate) fn succeeds(mut self) -> bool {
        self.command
            .output()
            .is_ok_and(|output| output.status.success())
    }
}

/// A directory that is removed when it goes out of scope, unless somebody moved it away.
pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// A new directory beside `neighbour`, so that renaming from it stays on one file system.
    pub(crate) fn beside(neighbour: &Path) -> Result<Self, String> {
        let parent = neighbour.parent().unwrap_or(neighbour);
        let dir = parent.join(format!(".fetching-{}", std::process::id()));
        std::fs::create_dir_all(&dir).map_err(|error| format!("{}: {error}", dir.display()))?;
        Ok(Self(dir))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    fn drop(&mut self) {
        // Nobody waits for this; what is left behind is a directory in a cache.
        let _ = std::fs::remove_dir_all(&self.0);
    }
}
