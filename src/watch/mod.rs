//! How does a watcher hear of every change, once and in order?
//!
//! The committer tells the [`hub`] after a commit is visible; the hub turns records into events
//! ([`event`], [`experience`]) for the collectives that somebody watches and sends them through tokio broadcast
//! channels ([`channel`]). A [`stream`] that falls behind is caught up from the log, which knows the same records:
//! a slow subscriber slows no writer and loses nothing. A [`feed`] hands out whole commits of the log.

pub mod bell;
pub mod channel;
pub mod event;
pub mod experience;
pub mod feed;
pub mod hub;
pub mod relay;
pub mod stream;
pub mod told;
pub mod wanted;

pub use feed::ChangeFeed;
pub use stream::{WatchItems, WatchStream};

#[cfg(test)]
mod bell_tests;
#[cfg(test)]
mod hub_tests;
