//! The integration tests, in one binary.
mod crash;
#[cfg(feature = "embed")]
mod embedding;
