//! How does a BERT of a directory turn texts into vectors?
//!
//! Reads the files, and joins tokenizer, forward and what the directory says about pooling. Texts
//! that go through a forward together are bounded here, whatever the callers hand in. An encoder is
//! immutable and shared by all threads; a forward uses one thread, provided that it runs in a rayon
//! pool of one, as those of `pool` do (candle would use all of a larger one).

use std::{
    fmt, fs,
    path::Path,
    thread::{self, Scope, ScopedJoinHandle},
};

use candle_transformers::models::bert::Config;
use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::{
    bert::{Bert, Scratch},
    description::{Description, Pooling},
    embedder::Priority,
    kernels,
    model_files::ModelFiles,
    reference::Reference,
    tokens::Tokens,
    weight_file::WeightFile,
    weights::Parts,
};
use crate::{
    config::{LongTexts, ModelConfig, Precision},
    error::{PulseDBError, Result},
    simd::matmul::bf16,
};

/// Most tokens of one forward, unless one window has more. Weights are read from memory once per
/// forward, which 256 tokens hide already; more only take scratch.
const FORWARD_TOKENS: usize = 512;

/// The loaded model.
pub(super) struct Encoder {
    tokens: Tokens,
    forward: Forward,
    description: Description,
    long_texts: LongTexts,
    /// Never `Auto`.
    precision: Precision,
    hidden: usize,
    fingerprint: String,
    /// Of forwards that have ended; as many as ever ran at once.
    scratch: Mutex<Vec<Scratch>>,
}

enum Forward {
    Packed(Bert),
    Reference(Reference),
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("description", &self.description)
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// Reads a model directory whose vectors have `dimension` components. Blocks for some 100 ms.
    pub(super) fn load(
        files: &ModelFiles,
        dimension: usize,
        options: &ModelConfig,
    ) -> Result<Self> {
        let config_json = read(&files.config)?;
        let error = |why: &dyn fmt::Display| unusable(&files.config, why);
        let config: Config = serde_json::from_slice(&config_json).map_err(|e| error(&e))?;
        if config.hidden_size != dimension {
            let found = config.hidden_size;
            return Err(error(&format!(
                "its vectors have {found} components, and embedding_dimension is {dimension}"
            )));
        }
        if !matches!(config.model_type.as_deref(), None | Some("bert")) {
            return Err(error(&"it is no BERT"));
        }
        if config.num_attention_heads == 0
            || !config
                .hidden_size
                .is_multiple_of(config.num_attention_heads)
        {
            return Err(error(&"hidden_size is no multiple of num_attention_heads"));
        }
        let dir = files.config.parent().unwrap_or(Path::new(""));
        let mut description = Description::read(dir, &config, &config_json)?;
        if config.max_position_embeddings < description.max_tokens {
            return Err(error(&format!(
                "it has positions for {} tokens, not for {}",
                config.max_position_embeddings, description.max_tokens
            )));
        }
        if let Some(prefix) = &options.query_prefix {
            description.query_prefix.clone_from(prefix);
        }
        if let Some(prefix) = &options.passage_prefix {
            description.passage_prefix.clone_from(prefix);
        }
        let bad = |e: candle_core::Error| unusable(&files.weights, &e);
        let weights = WeightFile::open(&files.weights).map_err(bad)?;
        // Parsing the tokenizer and hashing the weights take as long as the rest together, so
        // both go beside it.
        #[allow(clippy::disallowed_methods, reason = "both end within the load")]
        thread::scope(|scope| {
            let limit = description.max_tokens;
            let tokens = beside(scope, move || {
                let json = read(&files.tokenizer)?;
                Ok((Tokens::new(&json, limit)?, Sha256::digest(&json)))
            })?;
            let digest = beside(scope, || weights.digest().map_err(bad))?;
            let rounding = rounding(options.precision, Bert::can_run(&config))?;
            let forward = Forward::load(&config, &weights, rounding).map_err(bad)?;
            let (tokens, tokenizer_digest) = joined(tokens)?;
            let windows = options.long_texts == LongTexts::MeanOfWindows;
            let mut all = Sha256::new();
            all.update(joined(digest)?);
            all.update(tokenizer_digest);
            all.update(description.method(&config.hidden_act, windows));
            all.update(format!(
                "{} {}",
                config.num_attention_heads, config.layer_norm_eps as f32
            ));
            Ok(Self {
                tokens,
                forward,
                description,
                long_texts: options.long_texts,
                precision: match rounding {
                    None => Precision::F32,
                    Some(_) => Precision::Bf16,
                },
                hidden: config.hidden_size,
                fingerprint: format!("{:x}", all.finalize()),
                scratch: Mutex::default(),
            })
        })
    }

    /// The model's name, for people.
    pub(super) fn name(&self) -> &str {
        &self.description.name
    }

    /// Hex SHA-256 over weights, tokenizer and method.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// What its products with weights are computed in.
    pub(super) fn precision(&self) -> Precision {
        self.precision
    }

    /// How many tokens a text has, all of it.
    pub(super) fn count_tokens(&self, text: &str) -> Option<usize> {
        self.tokens.count(text)
    }

    /// Vectors of `texts`, in their order. `pause` is called every few milliseconds.
    pub(super) fn encode(
        &self,
        texts: &[&str],
        priority: Priority,
        pause: &dyn Fn(),
    ) -> Result<Vec<Vec<f32>>> {
        let mut windows = Vec::with_capacity(texts.len());
        let mut vectors = Vec::with_capacity(texts.len());
        for (number, text) in texts.iter().enumerate() {
            let of_text = self.windows(text, priority)?;
            vectors.push((vec![0.0; self.hidden], of_text.len()));
            windows.extend(of_text.into_iter().map(|ids| (number, ids)));
            pause();
        }
        let mut rest = windows.as_slice();
        while !rest.is_empty() {
            let (batch, behind) = rest.split_at(batch_len(rest));
            rest = behind;
            let ids: Vec<&[u32]> = batch.iter().map(|(_, ids)| ids.as_slice()).collect();
            let mut numbers = batch.iter().map(|(number, _)| *number);
            self.forward(&ids, pause, |rows| {
                let number = numbers.next().unwrap_or_default();
                if let Some((vector, _)) = vectors.get_mut(number) {
                    self.pool(rows, vector);
                }
            })?;
        }
        vectors
            .into_iter()
            .map(|(vector, windows)| self.finish(vector, windows))
            .collect()
    }

    /// The token ids of a text, or of each window of it.
    fn windows(&self, text: &str, priority: Priority) -> Result<Vec<Vec<u32>>> {
        let Description {
            query_prefix,
            passage_prefix,
            lower_case,
            ..
        } = &self.description;
        let prefix = match priority {
            Priority::Query => query_prefix,
            Priority::Ingest => passage_prefix,
        };
        let mut changed = String::new();
        let mut text = text;
        if !prefix.is_empty() || *lower_case {
            changed.push_str(prefix);
            changed.push_str(text);
            if *lower_case {
                changed = changed.to_lowercase();
            }
            text = &changed;
        }
        match self.long_texts {
            LongTexts::FirstWindow => Ok(vec![self.tokens.encode(text)?]),
            LongTexts::MeanOfWindows => self.tokens.windows(text),
        }
    }

    /// Gives `each` the last layer's rows of every text, in their order.
    fn forward(
        &self,
        texts: &[&[u32]],
        pause: &dyn Fn(),
        mut each: impl FnMut(&[f32]),
    ) -> Result<()> {
        let failed =
            |why: &dyn fmt::Display| PulseDBError::Embedding(format!("the model failed: {why}"));
        match &self.forward {
            Forward::Packed(bert) => {
                let mut scratch = self.scratch.lock().pop().unwrap_or_default();
                let mut rest = bert
                    .forward(texts, &mut scratch, pause)
                    .ok_or_else(|| failed(&"its tokenizer gave a token that it does not know"))?;
                for text in texts {
                    let (rows, behind) = rest.split_at(text.len() * self.hidden);
                    each(rows);
                    rest = behind;
                }
                self.scratch.lock().push(scratch);
            }
            Forward::Reference(reference) => {
                for text in texts {
                    each(&reference.forward(text).map_err(|e| failed(&e))?);
                    pause();
                }
            }
        }
        Ok(())
    }

    /// Adds a window's vector to that of its text.
    fn pool(&self, rows: &[f32], vector: &mut [f32]) {
        let mut pooled = match self.description.pooling {
            Pooling::Mean => {
                let mut sums = vec![0.0; self.hidden];
                kernels::sum_rows(&mut sums, rows);
                let count = (rows.len() / self.hidden).max(1) as f32;
                sums.iter_mut().for_each(|x| *x /= count);
                sums
            }
            Pooling::First => rows.iter().copied().take(self.hidden).collect(),
        };
        if self.description.normalise {
            normalise(&mut pooled);
        }
        vector.iter_mut().zip(&pooled).for_each(|(x, p)| *x += p);
    }

    /// The mean of so many windows, whose sum is given.
    fn finish(&self, mut vector: Vec<f32>, windows: usize) -> Result<Vec<f32>> {
        if windows > 1 {
            vector.iter_mut().for_each(|x| *x /= windows as f32);
            if self.description.normalise {
                normalise(&mut vector);
            }
        }
        if vector.iter().all(|x| x.is_finite()) {
            return Ok(vector);
        }
        Err(PulseDBError::Embedding(
            "the model gave a vector that is not finite".into(),
        ))
    }
}

impl Forward {
    fn load(
        config: &Config,
        weights: &WeightFile,
        rounding: Option<&'static bf16::Kernels>,
    ) -> candle_core::Result<Self> {
        if Bert::can_run(config) {
            let parts = Parts::of(weights, rounding);
            Ok(Self::Packed(Bert::assemble(config, &parts)?))
        } else {
            Ok(Self::Reference(Reference::load(config, &weights.bytes()?)?))
        }
    }
}

/// What multiplies with weights that are rounded, if they are to be; `packed` says whether the model is one
/// whose products are our own.
fn rounding(precision: Precision, packed: bool) -> Result<Option<&'static bf16::Kernels>> {
    let why = match precision {
        Precision::F32 => return Ok(None),
        Precision::Auto if !packed => return Ok(None),
        Precision::Auto => return Ok(bf16::kernels()),
        Precision::Bf16 if !packed => "this model runs in f32 alone",
        Precision::Bf16 => match bf16::kernels() {
            Some(kernels) => return Ok(Some(kernels)),
            None => "this CPU, or this system, has neither AMX-BF16 nor AVX512-BF16",
        },
    };
    Err(PulseDBError::Embedding(format!(
        "model.precision is bf16, and {why}; auto takes what there is"
    )))
}

/// How many of these windows go through a forward together, at least one.
fn batch_len(windows: &[(usize, Vec<u32>)]) -> usize {
    let mut tokens = 0;
    let fits = windows.iter().take_while(|(_, ids)| {
        tokens += ids.len();
        tokens <= FORWARD_TOKENS
    });
    fits.count().max(1)
}

/// To length 1.
fn normalise(vector: &mut [f32]) {
    let squares = vector.iter().map(|x| f64::from(*x).powi(2));
    let norm = squares.sum::<f64>().sqrt();
    for x in vector {
        *x = (f64::from(*x) / norm) as f32;
    }
}

/// Runs `f` on a thread that ends with `scope`.
fn beside<'scope, T: Send + 'scope>(
    scope: &'scope Scope<'scope, '_>,
    f: impl FnOnce() -> Result<T> + Send + 'scope,
) -> Result<ScopedJoinHandle<'scope, Result<T>>> {
    let builder = thread::Builder::new().name("pulsedb-embed-load".into());
    #[allow(clippy::disallowed_methods, reason = "it ends within the load")]
    let spawned = builder.spawn_scoped(scope, f);
    spawned.map_err(|e| PulseDBError::Embedding(format!("no thread to load the model on: {e}")))
}

fn joined<T>(handle: ScopedJoinHandle<'_, Result<T>>) -> Result<T> {
    let panicked = |_| PulseDBError::Embedding("loading the model panicked".into());
    handle.join().map_err(panicked)?
}

#[allow(
    clippy::disallowed_methods,
    reason = "model files are not the database's"
)]
pub(super) fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| unusable(path, &e))
}

pub(super) fn unusable(path: &Path, why: &dyn fmt::Display) -> PulseDBError {
    PulseDBError::Embedding(format!("{} cannot be used: {why}", path.display()))
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;

#[cfg(test)]
#[path = "models_tests.rs"]
mod model_tests;
