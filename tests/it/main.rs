//! The integration tests, in one binary.
mod bad_input;
mod concurrency;
mod crash;
mod embedder;
#[cfg(feature = "embed")]
mod embedding;
mod index;
mod model;
mod support;
mod watching;
