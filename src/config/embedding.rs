//! Which choices are there about the model that embeds?

use serde::{Deserialize, Serialize};

use crate::error::{PulseDBError, Result};

/// How the built-in embedder uses its model. What it says of texts is part of the embedder's identity: vectors
/// made in another way are never mixed with these.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct ModelConfig {
    /// What is put before a question, for instance `query: ` for models of the family e5; `None` takes what the
    /// model's directory says in `config_sentence_transformers.json`, which may be nothing.
    pub query_prefix: Option<String>,
    /// The same before a text that is stored.
    pub passage_prefix: Option<String>,
    /// What counts of a text that is longer than the model takes.
    pub long_texts: LongTexts,
    /// What to do if no model is there.
    pub download: ModelDownload,
    /// How exact the numbers are that the model multiplies.
    pub precision: Precision,
}

/// What to do if the built-in embedder finds no model.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ModelDownload {
    /// The first text is answered with an error that says how to get it. Nothing is ever asked for.
    #[default]
    Never,
    /// all-MiniLM-L6-v2 is fetched from the Hugging Face hub (or from where `HF_ENDPOINT` says) into the user's
    /// cache directory, and the first text waits for it. A `model_path` or `PULSEDB_MODEL_DIR` that is named and
    /// has no model stays an error. Needs the feature `hub`.
    WhenMissing,
}

/// How exact the numbers are that the model multiplies. It is no part of the embedder's identity: vectors of one model
/// in f32 and in bf16 may stand side by side, since the cosine between the two was above 0.9999 for every text of 700.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Precision {
    /// bf16 where the CPU multiplies such numbers (AMX, of which Linux is asked once for the process, or
    /// AVX512-BF16), else f32.
    #[default]
    Auto,
    /// 24 bits, on any CPU.
    F32,
    /// Weights, and what is multiplied with them, rounded to 8 bits; sums, and all else, stay f32. An error of the first
    /// text where the CPU has no such instructions, and for models of shapes that only candle runs.
    Bf16,
}

/// What counts of a text that is longer than the model takes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum LongTexts {
    /// Its beginning, as far as the model takes it (256 tokens for all-MiniLM-L6-v2).
    #[default]
    FirstWindow,
    /// All of it: the mean of the vectors of windows that follow each other. A text costs as much as
    /// its windows do, so one of 100 KiB costs a hundred times as much as its beginning.
    MeanOfWindows,
}

impl ModelConfig {
    /// Most bytes of a prefix; every text pays for it.
    pub const MAX_PREFIX_BYTES: usize = 1024;

    pub(super) fn check(&self) -> Result<()> {
        for (field, prefix) in [
            ("model.query_prefix", &self.query_prefix),
            ("model.passage_prefix", &self.passage_prefix),
        ] {
            let bytes = prefix.as_ref().map_or(0, String::len);
            if bytes > Self::MAX_PREFIX_BYTES {
                return Err(PulseDBError::config(
                    field,
                    format!("{bytes} bytes, the limit is {}", Self::MAX_PREFIX_BYTES),
                ));
            }
        }
        if self.download == ModelDownload::WhenMissing && !cfg!(feature = "hub") {
            let what = "when_missing cannot be had: this build lacks the feature `hub`";
            return Err(PulseDBError::config("model.download", what));
        }
        Ok(())
    }
}
