//! What can be done with this repository, beyond what cargo does by itself?
//!
//! `cargo xtask` lists it. Each command is a file of its own; all of them run programs through
//! `process.rs` and find directories through `paths.rs`.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a command-line program"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lists of clippy.toml are about the library"
)]

mod bench;
mod demo;
mod eval;
mod model;
mod paths;
mod process;
mod suite;

use std::process::ExitCode;

/// What a command answers: nothing, or why it failed, for the person at the terminal.
type Outcome = Result<(), String>;

struct Command {
    name: &'static str,
    arguments: &'static str,
    what: &'static str,
    run: fn(&[String]) -> Outcome,
}

const COMMANDS: &[Command] = &[
    Command {
        name: "demo",
        arguments: "[DIR] [--limit N] [--keep]",
        what: "fill a database with real texts, ask it, kill it, look again",
        run: demo::run,
    },
    Command {
        name: "test",
        arguments: "[--quick]",
        what: "everything that must pass before a change lands",
        run: suite::run,
    },
    Command {
        name: "bench",
        arguments: "NAME [ARGS]",
        what: "run one benchmark; its table goes to the terminal and to target/bench/NAME.json",
        run: bench::run,
    },
    Command {
        name: "eval",
        arguments: "FORMAT FILES [--name NAME]",
        what: "how well search finds what is known to be right; the result goes to target/eval/NAME.json and .svg",
        run: eval::run,
    },
    Command {
        name: "model",
        arguments: "",
        what: "find or fetch the embedding model, check it, and print its directory",
        run: model::run,
    },
];

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let Some((name, rest)) = arguments.split_first() else {
        list();
        return ExitCode::SUCCESS;
    };
    if matches!(name.as_str(), "help" | "--help" | "-h") {
        list();
        return ExitCode::SUCCESS;
    }
    let Some(command) = COMMANDS.iter().find(|command| command.name == name) else {
        eprintln!("There is no command `{name}`.\n");
        list();
        return ExitCode::FAILURE;
    };
    match (command.run)(rest) {
        Ok(()) => ExitCode::SUCCESS,
        Err(why) => {
            eprintln!("\ncargo xtask {name}: {why}");
            ExitCode::FAILURE
        }
    }
}

fn list() {
    println!("cargo xtask COMMAND\n");
    let usage = |command: &Command| format!("{} {}", command.name, command.arguments);
    let width = COMMANDS.iter().map(|c| usage(c).len()).max().unwrap_or(0);
    for command in COMMANDS {
        println!("  {:width$}  {}", usage(command), command.what);
    }
}
