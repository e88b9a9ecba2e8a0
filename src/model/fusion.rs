//! How do meaning, words and neighbours make one score, and what was each one's part in it?

use serde::{Deserialize, Serialize};

/// How the scores of meaning (similarity of vectors) and of words (BM25) become one.
///
/// The numbers are mean shares of the evidence among the first ten, for questions about long conversations
/// (the development half of `LoCoMo`), without and with neighbours; similarity alone finds .513, words alone .642.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Fusion {
    /// Each kind of score is stretched over \[0, 1\] from the worst to the best candidate: .693 and .778.
    #[default]
    MinMax,
    /// Each kind of score in standard deviations from its mean over the candidates: .695 and .777. A word that only
    /// one candidate holds counts without bound, and the sum is not in \[0, 1\].
    ZScore,
    /// Only the places in both rankings count: `(constant + 1) / (constant + place)`. For scores whose distances say
    /// nothing. With 10: .669 and .758.
    ReciprocalRank {
        /// The larger, the less the first places stand out.
        constant: u32,
    },
}

/// How much each kind of score counts. Only their ratio matters; a kind that a query does not have (a text without a
/// vector, or a vector without a text) takes no part, and neither does its weight.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct FusionWeights {
    /// Of similarity, finite and ≥ 0.
    pub dense: f32,
    /// Of words, finite and ≥ 0.
    pub lexical: f32,
}

impl Default for FusionWeights {
    /// Equal: between .4 and .6 little changes, on conversations and on documents.
    fn default() -> Self {
        Self {
            dense: 0.5,
            lexical: 0.5,
        }
    }
}

/// How much experiences of one `source_task` that stand next to each other in time lend each other.
///
/// What is said in one turn is often understood only with the turn before it: a hit next to other hits is a better
/// one. Of similarity a neighbour lends what it has above the mean of the candidates; of words, those that the
/// experience itself lacks. Only the best neighbour counts, in each word anew.
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct NeighbourEvidence {
    /// The part that the previous and the next one lend, in \[0, 1\].
    pub direct: f32,
    /// The part that those behind them lend, in \[0, 1\].
    pub second: f32,
}

impl NeighbourEvidence {
    /// Each experience stands for itself.
    pub const NONE: Self = Self {
        direct: 0.0,
        second: 0.0,
    };
}

impl Default for NeighbourEvidence {
    /// From .4 and .3 to .7 and .5 little changes.
    fn default() -> Self {
        Self {
            direct: 0.5,
            second: 0.4,
        }
    }
}

/// Results that are not all alike: maximal marginal relevance (Carbonell and Goldstein, 1998).
#[derive(Clone, Copy, Debug, PartialEq, Serialize, Deserialize)]
pub struct Diversity {
    /// How much the score counts against likeness to results before it, in \[0, 1\]: 1 changes nothing.
    pub relevance: f32,
}

impl Default for Diversity {
    /// A duplicate falls behind, a result that is merely on the same subject does not.
    fn default() -> Self {
        Self { relevance: 0.7 }
    }
}

/// What one kind of score contributed to a result.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScorePart {
    /// The experience's own similarity or BM25 score.
    pub own: f32,
    /// What neighbours added to it.
    pub lent: f32,
    /// What both became in the result's score: normalised and weighted.
    pub share: f32,
}

/// All parts of a result's score, which is the sum of their shares.
#[derive(Clone, Copy, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct ScoreParts {
    /// Of similarity; `None` where the query has no vector.
    pub dense: Option<ScorePart>,
    /// Of words; `None` where the query has none, or the experience holds none of them and neither do its neighbours.
    pub lexical: Option<ScorePart>,
}
