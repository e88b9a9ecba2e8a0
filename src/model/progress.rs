//! How far has work on many things come?

use serde::{Deserialize, Serialize};

/// How far a bulk operation has come: what it tells while it goes on.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Progress {
    /// Experiences, insights and relations that are done with.
    pub done: u64,
    /// How many there are, where that is known; more may come in meanwhile.
    pub total: Option<u64>,
}

/// What a re-embedding did.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ReembedReport {
    /// Experiences and insights whose vectors this call made.
    pub embedded: u64,
    /// Those whose vectors were there from a call before.
    pub resumed: u64,
    /// Those whose texts are damaged: nobody can read or find them, before or after.
    pub unreadable: u64,
}
