//! How is a question answered from one snapshot?
//!
//! The walk: the façade loads the snapshot once ([`reader`]) → the filter is compiled against the
//! collective ([`filter`]) and turned into rows that may pass it ([`matches`]) → a plan is chosen ([`plan`],
//! pure) and followed ([`search`], [`execute`]) → codes are compared ([`pass`]), what cannot win falls
//! through ([`sieve`], pure) → the rest is compared exactly, kept and ordered ([`rank`], pure) → the
//! winners become experiences. [`list`] and [`stats`] answer
//! the questions without a vector, [`cold`] which have faded, [`activities`] those about agents, [`relations`] and
//! [`insights`] those of their names, [`point`] those about one experience; [`context`] puts all of it together. What a
//! transaction has changed ([`overlay`]) is merged into its answers ([`merged`]). Everything here is synchronous and
//! runs where the façade says.

pub mod account;
pub mod activities;
pub mod around;
pub mod cold;
pub mod collapse;
pub mod context;
pub mod diversity;
pub mod duplicates;
pub mod execute;
pub mod experience_view;
pub mod export;
pub mod filter;
pub mod fuse;
pub mod glance;
pub mod hybrid;
pub mod insights;
pub mod list;
pub mod matches;
pub mod merged;
pub mod neighbours;
pub mod overlay;
pub mod pass;
pub mod plan;
pub mod point;
pub mod rank;
pub mod reader;
pub mod reembed;
pub mod relations;
pub mod search;
pub mod sieve;
pub mod stats;
pub mod stopwatch;
pub mod texts;
pub mod trace;
