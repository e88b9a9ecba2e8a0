//! The integration tests, in one binary.
mod bad_input;
mod concurrency;
mod crash;
mod embedder;
#[cfg(feature = "embed")]
mod embedding;
mod model;
mod support;
mod watching;
