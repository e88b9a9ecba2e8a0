//! What is an experience, how is one offered, and what of it can change?

use std::{collections::BTreeMap, fmt};

use serde::{Deserialize, Serialize};

use super::{
    AgentId, CollectiveId, ExperienceId, ExperienceType, InstanceId, TaskId, Timestamp, counters,
};

/// One thing an agent learned, as it stands in the database.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Experience {
    /// Its name in every call.
    pub id: ExperienceId,
    /// The collective it belongs to.
    pub collective_id: CollectiveId,
    /// 1 B–100 KiB of text, not only white space.
    pub content: String,
    /// As given, bit for bit.
    pub embedding: Vec<f32>,
    /// What kind of knowledge it is.
    pub experience_type: ExperienceType,
    /// Who learned it.
    pub source_agent: AgentId,
    /// During which task.
    pub source_task: Option<TaskId>,
    /// When it was recorded.
    pub timestamp: Timestamp,
    /// How much it matters, in [0, 1].
    pub importance: f32,
    /// How sure the agent is, in [0, 1].
    pub confidence: f32,
    /// Subject areas.
    pub domain: Vec<String>,
    /// Free key → value marks.
    pub tags: BTreeMap<String, String>,
    /// Files it is about.
    pub related_files: Vec<String>,
    /// How often it was applied, per instance; see [`Experience::applications`].
    pub applications: BTreeMap<InstanceId, u32>,
    /// When it was last applied (at first, when it was recorded).
    pub last_reinforced: Timestamp,
    /// Whether default searches leave it out.
    pub archived: bool,
    /// When anything of it last changed.
    pub updated_at: Timestamp,
    /// From when on it is no longer there.
    pub expires_at: Option<Timestamp>,
    /// From when on what it says holds.
    pub valid_from: Option<Timestamp>,
    /// Until when what it says holds.
    pub valid_to: Option<Timestamp>,
    /// Whether it is exempt from cooling and expiry.
    pub pinned: bool,
    /// The caller's key for safe retries, unique in the collective.
    pub idempotency_key: Option<String>,
    /// Hash of the content.
    pub content_hash: ContentHash,
}

impl Experience {
    /// How often it was applied by all instances together (saturating).
    #[must_use]
    pub fn applications(&self) -> u32 {
        counters::total(&self.applications)
    }

    /// Whether what it says holds at `at`: not before `valid_from`, and before `valid_to`.
    #[must_use]
    pub fn holds_at(&self, at: Timestamp) -> bool {
        holds_at(self.valid_from, self.valid_to, at)
    }
}

/// Whether what holds from and until then holds at `at`; an end that is missing does not bound.
pub(crate) fn holds_at(from: Option<Timestamp>, to: Option<Timestamp>, at: Timestamp) -> bool {
    from.is_none_or(|from| from <= at) && to.is_none_or(|to| at < to)
}

/// The first 128 bits of the SHA-256 of a content.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
pub struct ContentHash(pub [u8; 16]);

impl fmt::Debug for ContentHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for byte in self.0 {
            write!(f, "{byte:02x}")?;
        }
        Ok(())
    }
}

/// An experience to be recorded.
///
/// ```
/// use pulsedb::{CollectiveId, NewExperience};
/// # let collective: CollectiveId = "0190a0b0-0000-7000-8000-000000000001".parse().unwrap();
/// let new = NewExperience {
///     importance: 0.9,
///     domain: vec!["rust".into()],
///     embedding: Some(vec![0.1; 384]),
///     ..NewExperience::new(collective, "agent-7", "Pin the future before polling it.")
/// };
/// assert_eq!(new.confidence, 0.5);
/// ```
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct NewExperience {
    /// Where it belongs.
    pub collective_id: CollectiveId,
    /// 1 B–100 KiB of text, not only white space.
    pub content: String,
    /// Required with `External` embeddings, refused otherwise.
    pub embedding: Option<Vec<f32>>,
    /// What kind of knowledge it is.
    pub experience_type: ExperienceType,
    /// Who learned it, 1–256 characters.
    pub source_agent: AgentId,
    /// During which task.
    pub source_task: Option<TaskId>,
    /// How much it matters, in [0, 1]; 0.5 where nothing is known.
    pub importance: f32,
    /// How sure the agent is, in [0, 1]; 0.5 where nothing is known.
    pub confidence: f32,
    /// At most 50 subject areas of 1–100 characters.
    pub domain: Vec<String>,
    /// At most 50 marks; keys of 1–100, values of at most 200 characters.
    pub tags: BTreeMap<String, String>,
    /// At most 100 files of 1–500 characters.
    pub related_files: Vec<String>,
    /// From when on it is no longer there.
    pub expires_at: Option<Timestamp>,
    /// From when on what it says holds.
    pub valid_from: Option<Timestamp>,
    /// Until when what it says holds.
    pub valid_to: Option<Timestamp>,
    /// Whether it is exempt from cooling and expiry.
    pub pinned: bool,
    /// At most 128 bytes, unique in the collective. Recording the same key again stores nothing
    /// and answers the id of the first, so that a retry is safe. What is deleted or has expired gives
    /// its key free.
    pub idempotency_key: Option<String>,
}

impl NewExperience {
    /// A generic experience of middling importance and confidence.
    pub fn new(
        collective_id: CollectiveId,
        source_agent: impl Into<AgentId>,
        content: impl Into<String>,
    ) -> Self {
        Self {
            collective_id,
            content: content.into(),
            embedding: None,
            experience_type: ExperienceType::Generic { category: None },
            source_agent: source_agent.into(),
            source_task: None,
            importance: 0.5,
            confidence: 0.5,
            domain: Vec::new(),
            tags: BTreeMap::new(),
            related_files: Vec::new(),
            expires_at: None,
            valid_from: None,
            valid_to: None,
            pinned: false,
            idempotency_key: None,
        }
    }
}

/// What to change of an experience; `None` leaves a field as it is.
///
/// The doubly optional fields distinguish "leave" (`None`) from "clear" (`Some(None)`).
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ExperienceUpdate {
    /// In [0, 1].
    pub importance: Option<f32>,
    /// In [0, 1].
    pub confidence: Option<f32>,
    /// Replaces all domains.
    pub domain: Option<Vec<String>>,
    /// Replaces all tags.
    pub tags: Option<BTreeMap<String, String>>,
    /// Replaces all related files.
    pub related_files: Option<Vec<String>>,
    /// Sets or clears the expiry.
    pub expires_at: Option<Option<Timestamp>>,
    /// Sets or clears the start of validity.
    pub valid_from: Option<Option<Timestamp>>,
    /// Sets or clears the end of validity.
    pub valid_to: Option<Option<Timestamp>>,
    /// Pins or unpins.
    pub pinned: Option<bool>,
}
