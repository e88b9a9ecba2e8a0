//! What happens around reads and writes, so that they need not wait for it?

pub(crate) mod archive;
pub(crate) mod background;
pub(crate) mod checkpoint;
pub(crate) mod compaction;
pub(crate) mod derive;
pub(crate) mod diagnose;
pub(crate) mod dump;
pub(crate) mod expiry;
pub(crate) mod follow;
pub(crate) mod health;
pub(crate) mod indexing;
pub(crate) mod recover;
pub(crate) mod salvage;
pub(crate) mod task;
pub(crate) mod verify;
pub mod wording;
