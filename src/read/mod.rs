//! How is a question answered from one snapshot?
//!
//! The walk: the façade loads the snapshot once ([`reader`]) → the filter is compiled against the
//! collective ([`filter`]) → rows are walked and vectors compared in place ([`scan`]) → the best are
//! kept and ordered ([`rank`], pure) → the winners become experiences. [`list`] and [`stats`] answer
//! the questions without a vector. Everything here is synchronous and runs where the façade says.

pub mod filter;
pub mod list;
pub mod rank;
pub mod reader;
pub mod scan;
pub mod similarity;
pub mod stats;
