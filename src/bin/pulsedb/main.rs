//! What can somebody at a terminal do with a database?
//!
//! Make it, ask it, look at it, check it, dump it, back it up, save what is left of it. Each command is a thin layer
//! over the same methods that applications have; what it takes stands beside what it does. Results go to standard
//! output, as text or as JSON; progress and errors to standard error. How it ended is in the exit code, see
//! [`exit::Exit`].

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command talks to a terminal"
)]

mod arguments;
mod asking;
mod backups;
mod checking;
mod exit;
mod load;
mod looking;
mod maintaining;
#[cfg(feature = "hub")]
mod models;
mod output;
mod recording;
mod session;
mod tail;
mod transfer;
mod values;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};
use clap_complete::Shell;

use arguments::{Arguments, Command};
use exit::{Exit, Failure};
use session::Session;

fn main() -> ExitCode {
    let arguments = Arguments::parse();
    let session = Session::new(arguments.json, arguments.config);
    let exit = run(&arguments.command, &session).unwrap_or_else(|failure| {
        let exit = failure.exit();
        session.output.error(&failure);
        exit
    });
    ExitCode::from(exit as u8)
}

fn run(command: &Command, session: &Session) -> Result<Exit, Failure> {
    match command {
        Command::Init(init) => maintaining::init(init, session),
        Command::Info { db } => looking::info(db, session),
        Command::Health { db } => looking::health(db, session),
        Command::Stats(stats) => looking::stats(stats, session),
        Command::Metrics(metrics) => looking::metrics(metrics, session),
        Command::Verify { db } => checking::verify(db, session),
        Command::Salvage { db, dest } => checking::salvage(db, dest, session),
        Command::Compact { db } => maintaining::compact(db, session),
        Command::Checkpoint { db } => maintaining::checkpoint(db, session),
        Command::RebuildIndex(rebuild) => maintaining::rebuild_index(rebuild, session),
        Command::Backup(backup) => backups::run(backup, session),
        #[cfg(feature = "hub")]
        Command::Model(model) => models::run(model, session),
        Command::Export(export) => transfer::export(export, session),
        Command::Import(import) => transfer::import(import, session),
        Command::Dump(dump) => checking::dump(dump, session),
        Command::Tail(tail) => tail::tail(tail, session),
        Command::Record(record) => recording::record(record, session),
        Command::Search(search) => asking::search(search, session),
        Command::Context(context) => asking::context(context, session),
        Command::Bench(bench) => load::bench(bench, session),
        Command::Completions { shell } => completions(*shell, session),
    }
}

fn completions(shell: Shell, session: &Session) -> Result<Exit, Failure> {
    let mut script = Vec::new();
    clap_complete::generate(shell, &mut Arguments::command(), "pulsedb", &mut script);
    let script = String::from_utf8_lossy(&script);
    session
        .output
        .print(&script, |out| out.write_all(script.as_bytes()))?;
    Ok(Exit::Fine)
}
