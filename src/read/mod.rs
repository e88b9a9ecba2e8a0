//! How is a question answered from one snapshot?
//!
//! The walk: the façade loads the snapshot once ([`reader`]) → the filter is compiled against the
//! collective ([`filter`]) and turned into rows that may pass it ([`matches`]) → a plan is chosen ([`plan`],
//! pure) and followed ([`execute`]) → codes are compared ([`pass`]), what cannot win falls
//! through ([`sieve`], pure) → the rest is compared exactly, kept and ordered ([`rank`], pure) → the
//! winners become experiences. [`list`] and [`stats`] answer
//! the questions without a vector, [`point`] those about one experience. What a transaction has changed
//! ([`overlay`]) is merged into its answers ([`merged`]). Everything here is synchronous and runs where the façade says.

pub mod execute;
pub mod experience_view;
pub mod filter;
pub mod list;
pub mod matches;
pub mod merged;
pub mod overlay;
pub mod pass;
pub mod plan;
pub mod point;
pub mod rank;
pub mod reader;
pub mod sieve;
pub mod similarity;
pub mod stats;
