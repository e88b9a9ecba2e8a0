//! PulseDB.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    reason = "scaffold"
)]
pub mod config;
pub mod env;
pub mod error;
#[doc(hidden)]
pub mod format;
mod log;
mod manifest;
pub mod model;
mod upkeep;
pub mod vfs;
