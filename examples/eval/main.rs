//! How well does PulseDB find what is asked for? Collections with known answers, asked through the public API.
//!
//! `cargo xtask eval` runs it and tells the arguments. The walk: a loader makes a collection of files (`locomo.rs`, `trec.rs`,
//! `jsonl.rs`) → its documents become experiences and its questions are asked, by each method (`store.rs`, `measure.rs`) → the
//! answers are judged (`metrics.rs`) → a table, a JSON file and a plot are written (`report.rs`, `plot.rs`).
//!
//! No collection comes with the project. Built without the feature `embed` it needs a file of vectors (`vectors.rs`).

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a program for the terminal"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the lists of clippy.toml are about the library"
)]
#![cfg_attr(
    test,
    allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::panic,
        clippy::indexing_slicing
    )
)]

mod collection;
mod jsonl;
mod locomo;
mod measure;
mod metrics;
mod options;
mod plot;
mod report;
mod store;
mod trec;
mod vectors;

use std::{error::Error, process::ExitCode};

use options::{Format, Mode, Options};

type Outcome<T> = Result<T, Box<dyn Error + Send + Sync>>;

#[tokio::main]
async fn main() -> ExitCode {
    let outcome = match options::parse(std::env::args().skip(1)) {
        Ok(Mode::Help) => {
            println!("{}", options::HELP);
            return ExitCode::SUCCESS;
        }
        Ok(Mode::Evaluate(options)) => evaluate(&options).await,
        Err(error) => Err(error),
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("\neval: {error}");
            ExitCode::FAILURE
        }
    }
}

async fn evaluate(options: &Options) -> Outcome<()> {
    let collection = match &options.format {
        Format::Locomo(file) => locomo::load(file)?,
        Format::Trec(files) => trec::load(files)?,
        Format::Jsonl(files) => jsonl::load(files)?,
    };
    println!("{}", collection.summary());
    let measured = measure::run(&collection, options.vectors.as_deref()).await?;
    report::write(&options.name, &collection, &measured)
}
