//! How does all-MiniLM-L6-v2 turn texts into vectors?
//!
//! The forward of a BERT encoder (Devlin et al. 2018) over *packed* rows: the tokens of all texts
//! of a batch stand below one another in one matrix, nothing is padded, and only attention looks
//! at each text by itself. So a vector does not depend on what else is in its batch beyond the
//! rounding of sums, and mixed lengths cost nothing. Matrix products are candle's; what lies
//! between them runs in place over their results (`kernels`).
//!
//! An encoder is immutable and shared by all threads; a forward uses one thread, provided that
//! it runs in a rayon pool of one, as those of `pool` do.

use std::{
    fmt, fs,
    path::Path,
    sync::Arc,
    thread::{self, Scope, ScopedJoinHandle},
};

use candle_core::{CpuStorage, Device, InplaceOp1, Layout, Storage, Tensor};
use candle_transformers::models::bert::{Config, HiddenAct};
use sha2::{Digest, Sha256};

use super::{
    kernels::{self, Norm},
    model_files::ModelFiles,
    tokens::Tokens,
    weights::{Linear, Parts},
};
use crate::error::{PulseDBError, Result};

/// Components of a vector.
pub(super) const DIMENSION: usize = 384;
/// Most tokens of a text, with its two markers; what is behind them does not count.
pub(super) const MAX_TOKENS: usize = 256;
/// What is done beside the weights; part of the fingerprint, so that vectors made in another way
/// are never mixed with these.
const METHOD: &str = "BERT, gelu, mean of the last layer over all tokens, L2, 256 tokens";

/// The loaded model.
pub(super) struct Encoder {
    tokens: Tokens,
    heads: usize,
    words: Tensor,
    positions: Vec<f32>,
    norm: Norm,
    layers: Vec<Layer>,
    fingerprint: String,
}

struct Layer {
    /// Query, key and value side by side; the query is scaled by 1/√(head width) already.
    input: Linear,
    attended: Linear,
    attended_norm: Norm,
    wide: Linear,
    narrow: Linear,
    output_norm: Norm,
}

impl fmt::Debug for Encoder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Encoder")
            .field("fingerprint", &self.fingerprint)
            .finish_non_exhaustive()
    }
}

impl Encoder {
    /// Reads a model directory. Blocks for some 100 ms.
    pub(super) fn load(files: &ModelFiles) -> Result<Self> {
        let config: Config = serde_json::from_slice(&read(&files.config)?)
            .map_err(|e| unusable(&files.config, &e))?;
        if config.hidden_size != DIMENSION
            || config.hidden_act != HiddenAct::Gelu
            || config.num_attention_heads == 0
            || !config
                .hidden_size
                .is_multiple_of(config.num_attention_heads)
            || config.max_position_embeddings < MAX_TOKENS
        {
            return Err(unusable(&files.config, &"this is not all-MiniLM-L6-v2"));
        }
        // Parsing the tokenizer and hashing the weights take as long as the rest together, so
        // both go beside it.
        #[allow(clippy::disallowed_methods, reason = "both end within the load")]
        thread::scope(|scope| {
            let tokens = beside(scope, || {
                let json = read(&files.tokenizer)?;
                Ok((Tokens::new(&json, MAX_TOKENS)?, Sha256::digest(&json)))
            })?;
            let weights = Arc::new(read(&files.weights)?);
            let hashed = Arc::clone(&weights);
            let digest = beside(scope, move || Ok(Sha256::digest(hashed.as_slice())))?;
            let (tokens, tokenizer_digest) = joined(tokens)?;
            let mut encoder = Self::assemble(&config, &weights, tokens)
                .map_err(|e| unusable(&files.weights, &e))?;
            let mut all = Sha256::new();
            all.update(joined(digest)?);
            all.update(tokenizer_digest);
            all.update(METHOD);
            all.update(format!(
                "{} {}",
                config.num_attention_heads, config.layer_norm_eps as f32
            ));
            encoder.fingerprint = format!("{:x}", all.finalize());
            Ok(encoder)
        })
    }

    fn assemble(config: &Config, weights: &[u8], tokens: Tokens) -> candle_core::Result<Self> {
        let mut parts = Parts::of(weights)?;
        let epsilon = config.layer_norm_eps as f32;
        let types = parts.values("embeddings.token_type_embeddings.weight")?;
        let mut positions = parts.values("embeddings.position_embeddings.weight")?;
        for row in positions.chunks_exact_mut(DIMENSION) {
            kernels::add_bias(row, types.get(..DIMENSION).unwrap_or_default());
        }
        let scale = 1.0 / ((DIMENSION / config.num_attention_heads) as f64).sqrt();
        let layers = (0..config.num_hidden_layers)
            .map(|number| {
                let at = |name: &str| format!("encoder.layer.{number}.{name}");
                Ok(Layer {
                    input: parts.attention_input(&at("attention.self"), scale)?,
                    attended: parts.linear(&at("attention.output.dense"))?,
                    attended_norm: parts.norm(&at("attention.output.LayerNorm"), epsilon)?,
                    wide: parts.linear(&at("intermediate.dense"))?,
                    narrow: parts.linear(&at("output.dense"))?,
                    output_norm: parts.norm(&at("output.LayerNorm"), epsilon)?,
                })
            })
            .collect::<candle_core::Result<_>>()?;
        Ok(Self {
            tokens,
            heads: config.num_attention_heads,
            words: parts.take("embeddings.word_embeddings.weight")?,
            positions,
            norm: parts.norm("embeddings.LayerNorm", epsilon)?,
            layers,
            fingerprint: String::new(),
        })
    }

    /// Hex SHA-256 over weights, tokenizer and method.
    pub(super) fn fingerprint(&self) -> &str {
        &self.fingerprint
    }

    /// How many tokens a text has, all of it.
    pub(super) fn count_tokens(&self, text: &str) -> Option<usize> {
        self.tokens.count(text)
    }

    /// Unit vectors of `texts`, in their order.
    pub(super) fn encode(&self, texts: &[&str]) -> Result<Vec<Vec<f32>>> {
        let ids = texts
            .iter()
            .map(|text| self.tokens.encode(text))
            .collect::<Result<Vec<_>>>()?;
        let vectors = self
            .forward(&ids)
            .map_err(|e| PulseDBError::Embedding(format!("the model failed: {e}")))?;
        if vectors.iter().flatten().any(|x| !x.is_finite()) {
            return Err(PulseDBError::Embedding(
                "the model gave a vector that is not finite".into(),
            ));
        }
        Ok(vectors)
    }

    fn forward(&self, texts: &[Vec<u32>]) -> candle_core::Result<Vec<Vec<f32>>> {
        let lengths: Vec<usize> = texts.iter().map(Vec::len).collect();
        if lengths.is_empty() {
            return Ok(Vec::new());
        }
        let mut rows = self.embed(texts)?;
        for layer in &self.layers {
            let input = layer.input.product(&rows)?;
            in_place(&input, |values| {
                kernels::add_bias(values, &layer.input.bias)
            })?;
            let context = self.attend(&input, &lengths)?;
            let attended = layer.attended.product(&context)?;
            add_norm(&attended, &layer.attended.bias, &rows, &layer.attended_norm)?;
            let wide = layer.wide.product(&attended)?;
            in_place(&wide, |values| kernels::bias_gelu(values, &layer.wide.bias))?;
            rows = layer.narrow.product(&wide)?;
            add_norm(&rows, &layer.narrow.bias, &attended, &layer.output_norm)?;
        }
        read_values(&rows, |mut rest| {
            lengths
                .iter()
                .map(|length| {
                    let (rows, behind) = rest.split_at(rest.len().min(length * DIMENSION));
                    rest = behind;
                    mean_direction(rows)
                })
                .collect()
        })
    }

    /// Word plus position plus type, normalised: the rows that the first layer sees.
    fn embed(&self, texts: &[Vec<u32>]) -> candle_core::Result<Tensor> {
        let ids = Tensor::from_iter(texts.iter().flatten().copied(), &Device::Cpu)?;
        let rows = self.words.index_select(&ids, 0)?;
        in_place(&rows, |mut rest| {
            for text in texts {
                let (rows, behind) = std::mem::take(&mut rest).split_at_mut(text.len() * DIMENSION);
                rest = behind;
                for (x, p) in rows.iter_mut().zip(&self.positions) {
                    *x += p;
                }
                kernels::add_norm(rows, &[], &[], &self.norm);
            }
        })?;
        Ok(rows)
    }

    /// Scaled dot-product attention of each text with itself.
    fn attend(&self, input: &Tensor, lengths: &[usize]) -> candle_core::Result<Tensor> {
        let rows = input.dim(0)?;
        let width = DIMENSION / self.heads;
        let input = input.reshape((rows, 3, self.heads, width))?;
        let mut context = Vec::with_capacity(rows * DIMENSION);
        let mut start = 0;
        for &length in lengths {
            let text = input.narrow(0, start, length)?;
            start += length;
            // (length, heads, width) seen as (heads, length, width); nothing is copied.
            let part = |index| text.narrow(1, index, 1)?.squeeze(1)?.transpose(0, 1);
            let (query, key, value) = (part(0)?, part(1)?, part(2)?);
            let scores = query.matmul(&key.transpose(1, 2)?)?;
            in_place(&scores, |values| kernels::softmax(values, length))?;
            read_values(&scores.matmul(&value)?, |heads| {
                let head = |h: usize, row: usize| {
                    let at = (h * length + row) * width;
                    heads.get(at..at + width).unwrap_or_default()
                };
                for row in 0..length {
                    for h in 0..self.heads {
                        context.extend_from_slice(head(h, row));
                    }
                }
            })?;
        }
        Tensor::from_vec(context, (rows, DIMENSION), &Device::Cpu)
    }
}

/// Runs `f` over the values of a contiguous tensor that owns its storage.
fn in_place(tensor: &Tensor, f: impl Fn(&mut [f32])) -> candle_core::Result<()> {
    struct Op<F>(F);
    impl<F: Fn(&mut [f32])> InplaceOp1 for Op<F> {
        fn name(&self) -> &'static str {
            "pulsedb"
        }

        fn cpu_fwd(&self, storage: &mut CpuStorage, layout: &Layout) -> candle_core::Result<()> {
            let range = layout.contiguous_offsets();
            match (storage, range) {
                (CpuStorage::F32(values), Some((start, end))) => {
                    (self.0)(values.get_mut(start..end).unwrap_or_default());
                    Ok(())
                }
                _ => candle_core::bail!("not contiguous f32"),
            }
        }
    }
    tensor.inplace_op1(&Op(f))
}

/// Gives `f` the values of a contiguous tensor.
pub(super) fn read_values<R>(
    tensor: &Tensor,
    f: impl FnOnce(&[f32]) -> R,
) -> candle_core::Result<R> {
    let (storage, layout) = tensor.storage_and_layout();
    match (&*storage, layout.contiguous_offsets()) {
        (Storage::Cpu(CpuStorage::F32(values)), Some((start, end))) => {
            Ok(f(values.get(start..end).unwrap_or_default()))
        }
        _ => candle_core::bail!("not contiguous f32"),
    }
}

fn add_norm(
    rows: &Tensor,
    bias: &[f32],
    residual: &Tensor,
    norm: &Norm,
) -> candle_core::Result<()> {
    read_values(residual, |residual| {
        in_place(rows, |values| {
            kernels::add_norm(values, bias, residual, norm)
        })
    })?
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

/// The mean of `rows`, scaled to length 1.
fn mean_direction(rows: &[f32]) -> Vec<f32> {
    let mut sums = vec![0.0; DIMENSION];
    kernels::sum_rows(&mut sums, rows);
    let norm = sums
        .iter()
        .map(|x| f64::from(*x).powi(2))
        .sum::<f64>()
        .sqrt();
    sums.iter().map(|x| (f64::from(*x) / norm) as f32).collect()
}

#[allow(
    clippy::disallowed_methods,
    reason = "model files are not the database's"
)]
fn read(path: &Path) -> Result<Vec<u8>> {
    fs::read(path).map_err(|e| unusable(path, &e))
}

fn unusable(path: &Path, why: &dyn fmt::Display) -> PulseDBError {
    PulseDBError::Embedding(format!("{} cannot be used: {why}", path.display()))
}

#[cfg(test)]
#[path = "encoder_tests.rs"]
mod tests;
