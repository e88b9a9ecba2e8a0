//! Which synchronisation primitives do the cores stand on?
//!
//! The same import path in two worlds: std and `parking_lot` in every ordinary build, loom's under
//! `--cfg pulsedb_loom`, where the models of `loom-tests/` explore the interleavings of the shipped
//! code. `Arc` and `OnceLock` are std's in both: loom sees every access that the cores order by
//! locks, atomics and [`Swap`]. What a real `Swap` does inside (arc-swap) loom does not see.

#[cfg(not(pulsedb_loom))]
mod native;
#[cfg(not(pulsedb_loom))]
pub use native::*;

#[cfg(pulsedb_loom)]
mod model;
#[cfg(pulsedb_loom)]
pub use model::*;

pub use std::sync::{Arc, OnceLock, Weak};
