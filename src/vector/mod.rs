//! How are the nearest vectors found without looking at all of them?
//!
//! A [`Graph`] is frozen: it covers a range of a collective's rows, lives in one file that is
//! written once ([`GraphBuilder`]) and mapped from then on, and is never changed. It is derived from
//! the log and never the truth: whoever cannot open one builds it anew.
//!
//! The library usearch builds graphs; what it does not guard is guarded in `usearch.rs` (what crosses
//! into C++, and when). What it wrote must prove itself in `file.rs` (bytes) and `links.rs` (every
//! number in them) before `walk.rs` searches it.
//!
//! Rows that are in no graph are compared by their [`codes`], which stand in a [`tail`]; where many are passed, most are
//! excluded by [`sketch`]es of these. Graphs and
//! tail together are the [`index`] of a collective; [`merge`] decides which graph is built next. All of
//! it knows numbers of rows and their vectors, and nothing of what rows mean or who may see them.

mod builder;
pub mod codes;
mod elements;
mod file;
mod graph;
#[cfg(test)]
mod graph_tests;
pub mod index;
mod links;
#[cfg(test)]
mod links_tests;
pub mod merge;
pub mod similarity;
pub mod sketch;
pub mod store;
pub mod tail;
mod usearch;
#[cfg(test)]
mod usearch_tests;
mod walk;

pub use builder::GraphBuilder;
pub use file::Expected;
pub use graph::Graph;
