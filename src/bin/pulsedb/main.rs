//! What can somebody at a terminal do with a database?
//!
//! Look at it, check it, dump it, back it up, save what is left of it. Each command is a thin layer over the same
//! methods that applications have. Results go to standard output, as text or as JSON; progress and
//! errors to standard error. How it ended is in the exit code, see [`exit::Exit`].

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to a terminal"
)]

mod arguments;
mod backups;
mod commands;
mod exit;
mod output;
mod tail;

use std::process::ExitCode;

use clap::Parser;

use arguments::{Arguments, Command};
use output::Output;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let output = Output::new(arguments.json);
    let done = match &arguments.command {
        Command::Info { db } => commands::info(db, &output),
        Command::Verify { db } => commands::verify(db, &output),
        Command::Salvage { db, dest } => commands::salvage(db, dest, &output),
        Command::Compact { db } => commands::compact(db, &output),
        Command::Dump(dump) => commands::dump(dump, &output),
        Command::Tail(arguments) => tail::tail(arguments, &output),
        Command::Backup(command) => backups::run(command, &output),
    };
    let exit = done.unwrap_or_else(|failure| {
        let exit = failure.exit();
        output.error(&failure);
        exit
    });
    ExitCode::from(exit as u8)
}
