//! How is a benchmark run? From its own package, so that only benchmarks build the peers.

use crate::{Outcome, paths, process::Program};

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
        "--",
    ];
    // Without a name the package lists its benchmarks.
    command.extend(arguments.iter().map(String::as_str));
    // Each writes its result to target/bench/NAME.json.
    Program::cargo(&command, &root).run()
}
