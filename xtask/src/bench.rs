//! How is a benchmark run? From its own package, so that only benchmarks build the peers.

use crate::{Outcome, model, paths, process::Program};

/// The benchmark that needs the model, and the feature of the package that builds the model stack.
const EMBED: &str = "embed";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let root = paths::root();
    let manifest = root
        .join("benches")
        .join("Cargo.toml")
        .display()
        .to_string();
    let target = paths::target().join("benches").display().to_string();
    let mut command = vec![
        "run",
        "--release",
        "--manifest-path",
        &manifest,
        "--target-dir",
        &target,
    ];
    let embeds = arguments.first().is_some_and(|name| name == EMBED);
    if embeds {
        command.extend(["--features", EMBED]);
    }
    command.push("--");
    // Without a name the package lists its benchmarks.
    command.extend(arguments.iter().map(String::as_str));
    // Each writes its result to target/bench/NAME.json.
    let mut program = Program::cargo(&command, &root);
    if embeds {
        program = program.env(model::VARIABLE, model::ensure()?);
    }
    program.run()
}
