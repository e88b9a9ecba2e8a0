//! How is the quality of search evaluated? With the model at hand, and in release mode: it takes times, too.

use crate::{Outcome, model, paths, process::Program};

/// Tells the evaluation where its results go.
const DIRECTORY: &str = "PULSEDB_EVAL_DIR";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let model = model::ensure()?;
    // Relative paths of collections count from where the caller stands, so the evaluation runs there.
    let here = std::env::current_dir().map_err(|error| format!("no current directory: {error}"))?;
    let manifest = paths::root().join("Cargo.toml").display().to_string();
    let mut command: Vec<&str> = vec![
        "run",
        "--quiet",
        "--release",
        "--manifest-path",
        &manifest,
        "--example",
        "eval",
        "--",
    ];
    command.extend(arguments.iter().map(String::as_str));
    eprintln!("Building the evaluation in release mode (some minutes the first time) …");
    Program::cargo(&command, &here)
        .env(model::VARIABLE, model)
        .env(DIRECTORY, paths::target().join("eval"))
        .run()
}
