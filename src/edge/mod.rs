//! How does synchronous work meet asynchronous callers?
//!
//! The crate's own threads and the bridges from threads to futures. Nothing here knows what the
//! work does. Of tokio only `sync` is used, so futures run on any runtime, or on none
//! ([`block_on`]).

pub mod admission;
pub mod block_on;
pub mod gate;
pub mod pieces;
pub mod pool;
pub mod registry;
pub mod timer;
