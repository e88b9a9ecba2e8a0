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
mod concurrency;
mod crash;
mod embedder;
#[cfg(feature = "embed")]
mod embedding;
mod index;
mod model;
mod support;
mod watching;
