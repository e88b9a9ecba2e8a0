//! Which benches are there, and how is one started?
//!
//! `cargo run --release --manifest-path benches/Cargo.toml -- NAME` runs one, prints its table and
//! writes `target/bench/NAME.json`. The environment variables that change a run are listed in
//! `settings.rs`.

mod ingest;
mod machine;
mod ours;
mod report;
mod rounds;
mod scan;
mod settings;
mod workdir;

use std::process::ExitCode;

use settings::Settings;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let outcome = Settings::from_env().and_then(|settings| match name.as_str() {
        "ingest" => ingest::run(&settings),
        "scan" => scan::run(&settings),
        other => anyhow::bail!("no bench is called {other:?}; there are: ingest, scan"),
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
