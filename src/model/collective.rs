//! What is a collective?

use serde::{Deserialize, Serialize};

use super::{CollectiveId, RecallWeights, Timestamp, UserId};

/// An isolated namespace, usually one per project or tenant.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Collective {
    /// Its name in every call.
    pub id: CollectiveId,
    /// 1–255 characters; not unique.
    pub name: String,
    /// Who it belongs to, as the application knows it.
    pub owner_id: Option<UserId>,
    /// Components of every embedding in it, 1–4096, fixed at creation.
    pub embedding_dimension: u16,
    /// How the energy of its experiences fades.
    pub decay: DecayConfig,
    /// Whose vectors it holds; stamped by the first write.
    pub embedder: Option<EmbedderIdentity>,
    /// When it was created.
    pub created_at: Timestamp,
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
