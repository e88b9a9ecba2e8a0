//! The integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what is wrong by panicking"
)]

mod activities;
mod bad_input;
mod checkpoint;
#[cfg(feature = "cli")]
mod cli;
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
mod fuzz;
mod history;
mod index;
mod isolation;
mod matrix;
mod model;
mod ordered;
mod relations;
mod superseding;
mod support;
mod transactions;
mod transfer;
mod verify;
mod watching;
mod words;
