//! How is the demo run? With the model at hand, and in release mode: it is about speed, too.

use crate::{Outcome, model, paths, process::Program};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let model = model::ensure()?;
    // A relative DIR counts from where the caller stands, so the demo runs there.
    let here = std::env::current_dir().map_err(|error| format!("no current directory: {error}"))?;
    let manifest = paths::root().join("Cargo.toml").display().to_string();
    let mut command: Vec<&str> = vec![
        "run",
        "--quiet",
        "--release",
        "--manifest-path",
        &manifest,
        "--example",
        "demo",
        "--",
    ];
    command.extend(arguments.iter().map(String::as_str));
    eprintln!("Building the demo in release mode (some minutes the first time) …");
    Program::cargo(&command, &here)
        .env(model::VARIABLE, model)
        .run()
}
