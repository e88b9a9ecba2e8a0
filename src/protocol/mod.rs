//! How do requests become commits, and who may see them when?
//!
//! The concurrency cores, generic over what they drive and importing nothing but `crate::sync`, so
//! that `loom-tests/` explores exactly the shipped code:
//!
//! - [`group`]: the shared answer of requests that are committed together;
//! - [`queue`]: where requests wait for the committer;
//! - [`commit`]: the committer's step, its role, and its order: durable → applied → published →
//!   broadcast → acknowledged;
//! - [`publish`]: the one cell that readers take their snapshot from, and the oldest snapshot
//!   that is still alive;
//! - [`heard`]: how far one subscriber has heard, and what it still needs of the log;
//! - [`stop`]: the latch that `close` waits on.

pub mod commit;
pub mod group;
pub mod heard;
pub mod publish;
pub mod queue;
pub mod stop;

#[cfg(all(test, not(pulsedb_loom)))]
mod tests;
