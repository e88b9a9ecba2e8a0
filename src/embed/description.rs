//! What does a model's directory say about how its vectors are made?
//!
//! The files that sentence-transformers writes beside the weights: which rows become the vector, how
//! long a text may be, whether vectors get length 1, what is put before questions and before texts.
//! A file that is not there means what all-MiniLM-L6-v2 does; one that asks for something which is
//! not done here is an error, since its vectors would be others. Used by `encoder`.

use std::{
    fmt,
    io::ErrorKind,
    path::{Path, PathBuf},
};

use candle_transformers::models::bert::Config;
use serde::{Deserialize, de::DeserializeOwned};

use super::encoder::{read, unusable};
use crate::error::Result;

pub(super) const MODULES: &str = "modules.json";
pub(super) const LENGTH: &str = "sentence_bert_config.json";
pub(super) const PROMPTS: &str = "config_sentence_transformers.json";
/// Where sentence-transformers has the pooling; `modules.json` may name another place.
#[cfg(feature = "hub")]
pub(super) const POOLING: &str = "1_Pooling/config.json";

/// Most tokens of a text with its two markers, where nothing is said about it.
pub(super) const MAX_TOKENS: usize = 256;
/// Fewest tokens that leave room for a word between the markers.
const MIN_TOKENS: usize = 3;

/// Which rows of the last layer become the vector.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Pooling {
    Mean,
    /// That of the first marker.
    First,
}

/// How vectors are made of rows, and rows of texts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Description {
    /// For people.
    pub(super) name: String,
    pub(super) pooling: Pooling,
    /// Whether vectors get length 1.
    pub(super) normalise: bool,
    pub(super) max_tokens: usize,
    pub(super) lower_case: bool,
    pub(super) query_prefix: String,
    pub(super) passage_prefix: String,
}

impl Default for Description {
    fn default() -> Self {
        Self {
            name: "all-MiniLM-L6-v2".into(),
            pooling: Pooling::Mean,
            normalise: true,
            max_tokens: MAX_TOKENS,
            lower_case: false,
            query_prefix: String::new(),
            passage_prefix: String::new(),
        }
    }
}

/// What is said in `config.json` and not kept by candle's [`Config`].
#[derive(Deserialize)]
struct Name {
    #[serde(rename = "_name_or_path")]
    name: Option<String>,
}

#[derive(Deserialize)]
struct Module {
    path: PathBuf,
    r#type: String,
}

#[derive(Deserialize)]
struct Length {
    max_seq_length: Option<usize>,
    #[serde(default)]
    do_lower_case: bool,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Prompts {
    prompts: std::collections::BTreeMap<String, String>,
    default_prompt_name: Option<String>,
}

/// Ways of pooling by the names that they have in the files.
type Modes = std::collections::BTreeMap<String, serde_json::Value>;

impl Description {
    /// Of the model in `dir`, whose `config.json` is given.
    pub(super) fn read(dir: &Path, config: &Config, config_json: &[u8]) -> Result<Self> {
        let mut description = Self::default();
        if let Some(modules) = optional::<Vec<Module>>(&dir.join(MODULES))? {
            description.modules(dir, &modules)?;
            let Name { name } = serde_json::from_slice(config_json)
                .map_err(|e| unusable(&dir.join("config.json"), &e))?;
            let name = name.unwrap_or_default();
            let last = name.rsplit('/').find(|part| !part.is_empty());
            description.name = last.unwrap_or("a BERT").chars().take(64).collect();
            // Without a length of its own a model takes what it has positions for.
            description.max_tokens = config.max_position_embeddings;
        }
        let file = dir.join(LENGTH);
        if let Some(length) = optional::<Length>(&file)? {
            description.lower_case = length.do_lower_case;
            let most = length.max_seq_length.unwrap_or(description.max_tokens);
            if most < MIN_TOKENS {
                return Err(unusable(&file, &format!("max_seq_length is {most}")));
            }
            description.max_tokens = most.min(config.max_position_embeddings);
        }
        if let Some(Prompts {
            mut prompts,
            default_prompt_name,
        }) = optional(&dir.join(PROMPTS))?
        {
            let default = default_prompt_name.and_then(|name| prompts.get(&name).cloned());
            let mut prompt = |names: &[&str]| {
                let named = names.iter().find_map(|name| prompts.remove(*name));
                named.or_else(|| default.clone()).unwrap_or_default()
            };
            description.query_prefix = prompt(&["query"]);
            description.passage_prefix = prompt(&["passage", "document"]);
        }
        Ok(description)
    }

    fn modules(&mut self, dir: &Path, modules: &[Module]) -> Result<()> {
        self.normalise = false;
        for module in modules {
            match module.r#type.rsplit('.').next() {
                Some("Transformer") => {}
                Some("Pooling") => {
                    self.pooling = pooling(&dir.join(&module.path).join("config.json"))?;
                }
                Some("Normalize") => self.normalise = true,
                _ => {
                    let what = format!("the module {} is not supported", module.r#type);
                    return Err(unusable(&dir.join(MODULES), &what));
                }
            }
        }
        Ok(())
    }

    /// What is done beside the weights, for the fingerprint.
    pub(super) fn method(&self, activation: &dyn fmt::Debug, windows: bool) -> String {
        let pooled = match self.pooling {
            Pooling::Mean => "mean of the last layer over all tokens",
            Pooling::First => "the last layer's first token",
        };
        let mut method = format!(
            "BERT, {}, {pooled}{}, {} tokens",
            format!("{activation:?}").to_lowercase(),
            if self.normalise { ", L2" } else { "" },
            self.max_tokens
        );
        // What is not so by default is added, so that the default's fingerprint stays what it was.
        if self.lower_case {
            method.push_str(", lower case");
        }
        if windows {
            method.push_str(", mean over windows");
        }
        if !self.query_prefix.is_empty() || !self.passage_prefix.is_empty() {
            let (query, passage) = (&self.query_prefix, &self.passage_prefix);
            method.push_str(&format!(", {query:?} and {passage:?}"));
        }
        method
    }
}

fn pooling(file: &Path) -> Result<Pooling> {
    let modes: Modes = match optional(file)? {
        Some(modes) => modes,
        None => return Err(unusable(file, &"it is not there")),
    };
    let mut chosen = modes
        .iter()
        .filter(|(name, on)| name.starts_with("pooling_mode_") && **on == true)
        .map(|(name, _)| name.as_str());
    let found = (chosen.next(), chosen.next());
    if modes.get("include_prompt") == Some(&serde_json::Value::Bool(false)) {
        return Err(unusable(file, &"include_prompt: false is not supported"));
    }
    match found {
        (Some("pooling_mode_mean_tokens"), None) => Ok(Pooling::Mean),
        (Some("pooling_mode_cls_token"), None) => Ok(Pooling::First),
        _ => Err(unusable(
            file,
            &"neither pooling_mode_mean_tokens nor pooling_mode_cls_token is its only mode",
        )),
    }
}

/// What a JSON file holds, if it is there.
#[allow(
    clippy::disallowed_methods,
    reason = "model files are not the database's"
)]
fn optional<T: DeserializeOwned>(file: &Path) -> Result<Option<T>> {
    match std::fs::metadata(file) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
        _ => {}
    }
    let json = read(file)?;
    let value = serde_json::from_slice(&json).map_err(|e| unusable(file, &e))?;
    Ok(Some(value))
}
