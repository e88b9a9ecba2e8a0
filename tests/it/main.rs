//! The integration tests, in one binary.
#[cfg(feature = "embed")]
mod embedding;
