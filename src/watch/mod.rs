//! How does a watcher hear of every change, once and in order?
//!
//! The committer tells the [`hub`] after a commit is visible; the hub turns records into events
//! ([`event`]) for the collectives that somebody watches and sends them through tokio broadcast
//! channels. A [`stream`] that falls behind is caught up from the log, which knows the same records:
//! a slow subscriber slows no writer and loses nothing.

pub mod bell;
pub mod event;
pub mod hub;
pub mod stream;

pub use stream::WatchStream;
