//! The integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what is wrong by panicking"
)]

mod activities;
mod backup;
mod backup_faults;
mod bad_input;
mod checkpoint;
#[cfg(feature = "cli")]
mod cli;
#[cfg(feature = "cli")]
mod cli_backup;
#[cfg(feature = "cli")]
mod cli_care;
#[cfg(feature = "cli")]
mod cli_data;
#[cfg(all(feature = "cli", feature = "hub"))]
mod cli_model;
#[cfg(feature = "cli")]
mod command;
mod compaction;
mod compat;
mod concurrency;
mod configuration;
mod context;
mod crash;
mod duplicates;
mod embedder;
#[cfg(feature = "embed")]
mod embedding;
mod erasing;
mod expiry;
mod following;
mod fuzz;
mod health;
mod history;
#[cfg(all(feature = "cli", feature = "hub"))]
#[path = "../../src/embed/hub/tests/server.rs"]
mod hub_server;
mod index;
mod isolation;
mod listening;
mod matrix;
mod metrics;
mod model;
#[cfg(feature = "cli")]
mod operations;
mod ordered;
mod reembed;
mod relations;
mod superseding;
mod support;
mod transactions;
mod transfer;
mod upkeep;
mod verify;
mod watching;
mod watching_all;
mod word_scores;
mod words;
