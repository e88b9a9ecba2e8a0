//! The integration tests, in one binary.
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    clippy::indexing_slicing,
    reason = "tests say what is wrong by panicking"
)]

mod bad_input;
mod checkpoint;
#[cfg(feature = "cli")]
mod cli;
mod compaction;
mod compat;
mod concurrency;
mod crash;
mod embedder;
#[cfg(feature = "embed")]
mod embedding;
mod fuzz;
mod history;
mod index;
mod matrix;
mod model;
mod support;
mod transactions;
mod verify;
mod watching;
