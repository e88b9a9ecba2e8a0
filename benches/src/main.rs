//! Which benches are there, and how is one started?
//!
//! `cargo run --release --manifest-path benches/Cargo.toml -- NAME` runs one, prints its table and
//! writes `target/bench/NAME.json`; `embed` needs `--features embed` before the `--`. The environment variables that change a run are listed in
//! `settings.rs`.

#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lists of clippy.toml are about the library"
)]

mod durable;
#[cfg(feature = "embed")]
mod embed;
mod follow;
mod ingest;
mod machine;
mod model;
mod ours;
mod python;
mod queries;
mod report;
mod rounds;
mod scan;
mod settings;
mod store;
mod telemetry;
mod text;
mod vector;
mod vectors;
mod watch;
mod workdir;

use std::process::ExitCode;

use settings::Settings;

fn main() -> ExitCode {
    let name = std::env::args().nth(1).unwrap_or_default();
    let outcome = Settings::from_env().and_then(|settings| match name.as_str() {
        #[cfg(feature = "embed")]
        "embed" => embed::run(&settings),
        #[cfg(not(feature = "embed"))]
        "embed" => anyhow::bail!("this was built without its feature `embed`"),
        "follow" => follow::run(&settings),
        follow::FOLLOWED => follow::written(std::env::args().skip(2)),
        "ingest" => ingest::run(&settings),
        "model" => model::run(&settings),
        "scan" => scan::run(&settings),
        "store" => store::run(&settings),
        store::OPEN_STORE => store::open_store(std::env::args().skip(2)),
        "telemetry" => telemetry::run(&settings),
        "text" => text::run(&settings),
        "vector" => vector::run(&settings),
        vector::OPEN_ONCE => vector::open_once(std::env::args().skip(2)),
        "watch" => watch::run(&settings),
        other => {
            anyhow::bail!(
                "no bench is called {other:?}; there are: embed, follow, ingest, model, scan, store, telemetry, text, vector, watch"
            )
        }
    });
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{error:#}");
            ExitCode::FAILURE
        }
    }
}
