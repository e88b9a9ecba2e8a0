//! How does a collective leave a database, and come into one?

use serde::{Deserialize, Serialize};

/// What an export says.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExportOptions {
    /// With the vectors (the default). Without them the file is some times smaller, and only a store that
    /// embeds texts itself can import it.
    pub vectors: bool,
}

impl Default for ExportOptions {
    fn default() -> Self {
        Self { vectors: true }
    }
}

/// How an import goes about it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportOptions {
    /// What becomes of an experience whose id the collective has already.
    pub existing: Existing,
    /// Read everything, and compare it with its checksum and its counts, but write nothing. An import
    /// writes while it reads: whoever can read the source twice checks it first.
    pub check_only: bool,
}

/// What becomes of an experience that is there already. What never changes of it stays as it is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Existing {
    /// Counts of applications are merged, per instance the greater one; `last_reinforced` becomes the
    /// later one; everything else comes from the one that changed last.
    #[default]
    Merge,
    /// It stays as it is.
    Skip,
    /// All that can change becomes what the import says, counts included.
    Overwrite,
}

/// How much an export held.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ExportCounts {
    /// Experiences.
    pub experiences: u64,
    /// Insights.
    pub insights: u64,
    /// Relations.
    pub relations: u64,
    /// What is not in it because its record is damaged, and relations of an experience that is not. A relation
    /// that was damaged before an open that read the whole log is not counted: nothing is known of it.
    #[serde(skip_serializing_if = "is_zero")]
    pub unreadable: u64,
}

#[allow(clippy::trivially_copy_pass_by_ref, reason = "as serde wants it")]
fn is_zero(count: &u64) -> bool {
    *count == 0
}

/// What an import did.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct ImportReport {
    /// Into which collective.
    pub collective_id: super::CollectiveId,
    /// What was read, the last line compared.
    pub read: ExportCounts,
    /// Experiences, insights and relations that are new.
    pub created: u64,
    /// Experiences that were there and changed.
    pub changed: u64,
    /// Experiences, insights and relations that were there and are as they were. A relation is there also
    /// where another one says the same.
    pub unchanged: u64,
}
