//! What must pass before a change lands? A table of steps, run in order until one fails.

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use crate::{Outcome, model, paths, process::Program};

/// What a step needs besides its command line.
#[derive(Clone, Copy, PartialEq)]
enum Where {
    /// At the top of the repository.
    Root,
    /// In a package of its own; the step is left out while there is none.
    Package(&'static str),
    /// As `Package`, with the flags of that package's own cargo configuration and with loom's
    /// bounds.
    Loom(&'static str),
}

struct Step {
    name: &'static str,
    /// Whether `--quick` runs it, too.
    quick: bool,
    place: Where,
    cargo: &'static [&'static str],
}

const fn step(
    name: &'static str,
    quick: bool,
    place: Where,
    cargo: &'static [&'static str],
) -> Step {
    Step {
        name,
        quick,
        place,
        cargo,
    }
}

/// The library's tests use the simulated file system, which the feature `sim` compiles in, and run the
/// command, which the feature `cli` builds.
#[rustfmt::skip]
const STEPS: &[Step] = &[
    step("format", true, Where::Root, &["fmt", "--all", "--check"]),
    step("format of benches", true, Where::Package("benches"), &["fmt", "--check"]),
    step("format of loom-tests", true, Where::Package("loom-tests"), &["fmt", "--check"]),
    step("format of fuzz", true, Where::Package("fuzz"), &["fmt", "--check"]),

    step("tidy", true, Where::Root,
        &["test", "--package", "pulsedb", "--no-default-features", "--features", "sim,cli", "--test", "tidy"]),
    step("clippy, small build", true, Where::Root,
        &["clippy", "--workspace", "--all-targets", "--no-default-features", "--features", "sim,cli", "--", "-D", "warnings"]),
    step("clippy, without the hub", false, Where::Root,
        &["clippy", "--workspace", "--all-targets", "--features", "sim,cli", "--", "-D", "warnings"]),
    step("clippy", false, Where::Root,
        &["clippy", "--workspace", "--all-targets", "--features", "sim,cli,hub", "--", "-D", "warnings"]),

    step("tests of xtask", false, Where::Root, &["test", "--package", "xtask"]),
    step("unit, integration and doc tests, small build", true, Where::Root,
        &["test", "--package", "pulsedb", "--no-default-features", "--features", "sim,cli"]),
    step("unit, integration and doc tests", false, Where::Root,
        &["test", "--package", "pulsedb", "--features", "sim,cli,hub"]),
    step("documentation", false, Where::Root,
        &["doc", "--package", "pulsedb", "--no-deps", "--features", "sim,cli,hub"]),

    // Not captured: a deadlock aborts the process, and what was captured goes with it.
    step("loom", false, Where::Loom("loom-tests"), &["test", "--release", "--", "--nocapture"]),
];

/// How many times loom preempts a thread per execution, unless the caller says otherwise: two
/// find every race that was planted, in seconds. `.ci/loom` takes more.
const LOOM_MAX_PREEMPTIONS: &str = "2";

pub(crate) fn run(arguments: &[String]) -> Outcome {
    let quick = match arguments {
        [] => false,
        [flag] if flag == "--quick" => true,
        _ => return Err(format!("knows only --quick, and was given {arguments:?}")),
    };
    let model = model::ensure()?;
    let root = paths::root();
    let started = Instant::now();
    let mut done: Vec<(&str, Duration)> = Vec::new();
    for step in STEPS {
        if quick && !step.quick {
            continue;
        }
        let Some(dir) = directory(step, &root) else {
            println!("── {}: no such package, left out", step.name);
            continue;
        };
        let program = program(step, &dir, &model);
        println!("\n── {}: {}", step.name, program.shown());
        let began = Instant::now();
        program.run().map_err(|why| {
            format!(
                "step \"{}\" failed after {}\n  {why}\n  in {}",
                step.name,
                seconds(began.elapsed()),
                dir.display()
            )
        })?;
        println!("── {}: passed in {}", step.name, seconds(began.elapsed()));
        done.push((step.name, began.elapsed()));
    }
    summary(&done, started.elapsed());
    Ok(())
}

fn directory(step: &Step, root: &Path) -> Option<PathBuf> {
    match step.place {
        Where::Root => Some(root.to_path_buf()),
        Where::Package(name) | Where::Loom(name) => {
            let dir = root.join(name);
            dir.join("Cargo.toml").exists().then_some(dir)
        }
    }
}

fn program(step: &Step, dir: &Path, model: &Path) -> Program {
    let program = Program::cargo(step.cargo, dir)
        .env(model::VARIABLE, model)
        .env("RUSTDOCFLAGS", "-D warnings");
    match step.place {
        Where::Root => program,
        Where::Package(name) => program.env("CARGO_TARGET_DIR", paths::target().join(name)),
        Where::Loom(name) => {
            let bound = std::env::var_os("LOOM_MAX_PREEMPTIONS")
                .unwrap_or_else(|| LOOM_MAX_PREEMPTIONS.into());
            program
                .env("CARGO_TARGET_DIR", paths::target().join(name))
                .env("LOOM_MAX_PREEMPTIONS", bound)
                // These would replace the flags of the package's own cargo configuration, and
                // with them the cfg that puts loom in.
                .without_env("RUSTFLAGS")
                .without_env("CARGO_ENCODED_RUSTFLAGS")
        }
    }
}

fn summary(done: &[(&str, Duration)], total: Duration) {
    let width = done.iter().map(|(name, _)| name.len()).max().unwrap_or(0);
    println!();
    for (name, took) in done {
        println!("  {name:width$}  {:>9}", seconds(*took));
    }
    println!(
        "  {:width$}  {:>9}\n\nEverything passed.",
        "together",
        seconds(total)
    );
}

fn seconds(took: Duration) -> String {
    format!("{:.1} s", took.as_secs_f64())
}
