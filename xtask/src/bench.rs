//! How is a benchmark run? From its own package, so that only benchmarks build the peers.

use std::fs;

use crate::{Outcome, paths, process::Program};

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let root = paths::root();
    let manifest = root
        .join("benches")
        .join("Cargo.toml")
        .display()
        .to_string();
    let target = paths::target().join("benches").display().to_string();
    // The benchmark writes NAME.json here; where it is must not depend on where cargo builds.
    let results = root.join("target").join("bench");
    fs::create_dir_all(&results).map_err(|error| format!("{}: {error}", results.display()))?;

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
    Program::cargo(&command, &root)
        .env("PULSEDB_BENCH_DIR", results)
        .run()
}
