//! How are texts found by the words in them?
//!
//! An [`Analyser`] turns a text into terms: words without their case, accents and endings. A [`Run`](run::Run) is the
//! frozen index of a range of rows: which term is in which row, and how often. Runs are made by a
//! [`RunBuilder`](builder::RunBuilder), merged like those of an LSM tree ([`merge`]), and together are the [`TextIndex`] of a
//! table. A [`Question`] is what somebody asks in words; [`search`] answers it with the rows of the highest
//! BM25 scores ([`score`]), without looking at rows that cannot be among them.
//!
//! Invariant: an index names every row below [`IndexState::covered`](index::IndexState) that somebody may
//! see and that has the term; what it names may be deleted or newer than a snapshot. No positions are
//! stored: whether words stand beside each other is asked of the text ([`matching`]). All of it knows numbers of rows
//! and their texts, and nothing of what rows mean or who may see them.

pub mod analyser;
mod builder;
pub mod index;
pub mod matching;
mod merge;
mod postings;
pub mod question;
mod run;
mod score;
pub mod search;
#[cfg(test)]
mod search_tests;
mod words;

pub use analyser::Analyser;
pub use index::TextIndex;
pub use question::Question;
