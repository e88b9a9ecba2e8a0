//! What does the database look like in memory?
//!
//! Everything here is derived from the log by [`apply`]: tables of rows per collective, the index
//! from ids to rows, versions of what changes. Nothing here names tokio, files or the clock.
//!
//! Readers hold a [`Snapshot`], an immutable value fixed at one LSN; the tables behind it grow in
//! place. Invariant: what a snapshot at LSN s shows never changes. A row is visible to it iff its
//! `lsn ≤ s` and it was not deleted at or before s, and its values are those of the newest version
//! ≤ s. The committer alone writes; it publishes a newer snapshot after applying, so a reader
//! never meets a row half written: it ignores rows newer than its snapshot.

pub mod activities;
pub mod adjacency;
pub mod apply;
pub mod base;
pub mod bins;
pub mod body;
pub mod chain;
pub mod chunk;
pub mod content_index;
pub mod embeddings;
pub mod filter_index;
pub mod id_map;
pub mod ids;
pub mod keys;
pub mod names;
pub mod order;
pub mod postings;
pub mod replay;
pub mod retention;
pub mod sighting;
pub mod snapshot;
pub mod table;
pub mod texts;
pub mod values;

pub use activities::Live;
pub use apply::{Applier, Mutation};
pub use chunk::Row;
pub use ids::{IdIndex, RowRef};
pub use keys::KeyIndex;
pub use snapshot::{Held, Newest, Snapshot};
pub use table::{Kept, Rows, Table, Visited};
pub use values::Values;
