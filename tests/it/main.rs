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
mod compaction;
mod compat;
mod concurrency;
mod context;
mod crash;
mod duplicates;
mod embedder;
#[cfg(feature = "embed")]
mod embedding;
mod expiry;
mod following;
mod fuzz;
mod history;
mod index;
mod isolation;
mod matrix;
mod model;
mod ordered;
mod reembed;
mod relations;
mod superseding;
mod support;
mod transactions;
mod transfer;
mod verify;
mod watching;
mod watching_all;
mod words;
