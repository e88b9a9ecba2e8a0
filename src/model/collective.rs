//! What is a collective?

use serde::{Deserialize, Serialize};

use crate::config::Precision;

use super::{CollectiveId, Lsn, RecallWeights, Timestamp, UserId};

/// An isolated namespace, usually one per project or tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collective {
    /// Its name in every call.
    pub id: CollectiveId,
    /// 1–255 characters; not unique.
    pub name: String,
    /// Who it belongs to, as the application knows it.
    pub owner_id: Option<UserId>,
    /// Components of every embedding in it, 1–4096. Only a re-embedding changes it.
    pub embedding_dimension: u16,
    /// How the energy of its experiences fades.
    pub decay: DecayConfig,
    /// Whose vectors it holds; stamped by the first write.
    pub embedder: Option<EmbedderIdentity>,
    /// When it was created.
    pub created_at: Timestamp,
    /// Where a re-embedding has made its vectors, or is about to.
    #[serde(default, skip_serializing_if = "VectorEpoch::is_first")]
    pub vectors: VectorEpoch,
    /// What the store's embedder computed in when it made vectors of the present model for it; none where the
    /// vectors are the callers', or the embedder does not say.
    #[serde(default, skip_serializing_if = "Precisions::is_empty")]
    pub precisions: Precisions,
}

/// In which precisions a model made the vectors of a collective. Vectors of one model in several of them may be compared.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Precisions {
    /// Some in f32.
    pub f32: bool,
    /// Some in bf16.
    pub bf16: bool,
}

impl Precisions {
    /// These and that of an embedder, where it says one.
    #[must_use]
    pub fn with(self, precision: Option<Precision>) -> Self {
        Self {
            f32: self.f32 || precision == Some(Precision::F32),
            bf16: self.bf16 || precision == Some(Precision::Bf16),
        }
    }

    /// Whether none is known.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl std::fmt::Display for Precisions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match (self.f32, self.bf16) {
            (false, false) => "no known precision",
            (true, false) => "f32",
            (false, true) => "bf16",
            (true, true) => "f32 and bf16",
        })
    }
}

/// Which vectors of its rows a collective goes by. The first are those that its rows were recorded with.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct VectorEpoch {
    /// The record that began the re-embedding that made the present ones; 0 for the first.
    pub epoch: Lsn,
    /// The record from which on they hold. Later rows were recorded with theirs.
    pub since: Lsn,
    /// A re-embedding that has begun and is not done.
    pub next: Option<NextVectors>,
}

impl VectorEpoch {
    /// Whether nothing was ever re-embedded.
    #[must_use]
    pub fn is_first(&self) -> bool {
        *self == Self::default()
    }
}

/// The vectors that a re-embedding makes.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct NextVectors {
    /// The record that began it.
    pub epoch: Lsn,
    /// Components of every vector, 1–4096.
    pub dimension: u16,
    /// Whose they are.
    pub embedder: EmbedderIdentity,
}

/// How the energy of a collective's experiences fades; changeable at any time.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct DecayConfig {
    /// Milliseconds after which energy has halved, > 0.
    pub half_life_ms: u64,
    /// κ: how much use counts, in [0, 100].
    pub freq_weight: f32,
    /// Energy below which an experience counts as cold, in [0, 1].
    pub floor: f32,
    /// Whether upkeep archives what has fallen below the floor.
    pub auto_archive_below_floor: bool,
    /// Weights for searches that name none.
    pub default_recall_weights: Option<RecallWeights>,
}

impl Default for DecayConfig {
    fn default() -> Self {
        Self {
            half_life_ms: 30 * 24 * 60 * 60 * 1000,
            freq_weight: 0.25,
            floor: 0.05,
            auto_archive_below_floor: false,
            default_recall_weights: None,
        }
    }
}

/// Which model made a vector. Vectors of two identities must never be compared.
#[derive(Clone, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct EmbedderIdentity {
    /// Who runs the model, e.g. `builtin` or `external`.
    pub provider: String,
    /// The model's name.
    pub model: String,
    /// Fingerprint of weights, tokenizer and pooling; empty where the provider knows none.
    pub fingerprint: String,
}

impl std::fmt::Display for EmbedderIdentity {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}", self.provider, self.model)?;
        if !self.fingerprint.is_empty() {
            write!(f, "@{}", self.fingerprint)?;
        }
        Ok(())
    }
}
