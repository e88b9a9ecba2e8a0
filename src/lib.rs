//! PulseDB.
#![allow(
    dead_code,
    unused_imports,
    missing_docs,
    unreachable_pub,
    reason = "scaffold"
)]
pub mod env;
pub mod error;
pub mod model;
pub mod vfs;
