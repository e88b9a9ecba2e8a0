//! What is done about experiences that are already known?

use serde::{Deserialize, Serialize};

use super::ExperienceId;

/// What to do with an experience that the collective already has.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum DuplicatePolicy {
    /// Record it without looking for duplicates.
    #[default]
    Insert,
    /// Reinforce the best duplicate instead; record it where there is none.
    Reinforce,
    /// Change nothing where there is a duplicate; record it where there is none.
    Skip,
    /// Record it in any case, and tell which duplicates there are.
    Report,
}

/// What counts as a duplicate, and what to do about it.
///
/// An experience is a duplicate if its content is the same byte for byte (`same_content`), or its
/// embedding is at least `similarity_threshold` similar; with both, if either holds. Archived ones count,
/// since what was put aside is known all the same; expired ones are gone and do not.
///
/// ```
/// use pulsedb::{DuplicatePolicy, RecordOptions};
///
/// let options = RecordOptions {
///     duplicates: DuplicatePolicy::Reinforce,
///     same_content: true,
///     similarity_threshold: Some(0.97),
/// };
/// # let _ = options;
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RecordOptions {
    /// What to do about duplicates. All but `Insert` need one of the two below.
    pub duplicates: DuplicatePolicy,
    /// Whether the same content makes a duplicate: contents are compared by their hashes.
    pub same_content: bool,
    /// The similarity from which on an experience is a duplicate, in (0, 1]; `None` compares no vectors.
    /// At 1, the same vector is one.
    pub similarity_threshold: Option<f32>,
}

/// What became of an experience that was to be recorded.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum RecordAction {
    /// It is recorded.
    Recorded,
    /// A duplicate was reinforced instead.
    Reinforced,
    /// Nothing was changed, because of a duplicate, or because the idempotency key was known.
    Skipped,
}

/// What became of an experience that was to be recorded, and what it met.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct RecordOutcome {
    /// The experience that stands for it: the new one, the best duplicate, or the one with its
    /// idempotency key.
    pub id: ExperienceId,
    /// What was done.
    pub action: RecordAction,
    /// What it is a duplicate of, best first: those of the same content in the order of their recording,
    /// then by similarity. At most [`limits::MAX_DUPLICATES`](super::limits::MAX_DUPLICATES); empty where
    /// nobody looked, because of the policy or because the idempotency key was known.
    pub duplicates: Vec<Duplicate>,
}

/// An experience that another one repeats.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Duplicate {
    /// Its id.
    pub id: ExperienceId,
    /// How similar the embeddings are, in [−1, 1]; `None` where no threshold was asked for.
    pub similarity: Option<f32>,
    /// Whether the content is the same, where that was asked for.
    pub same_content: bool,
}
