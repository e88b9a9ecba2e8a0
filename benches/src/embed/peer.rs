//! How does one embed with `BertModel` of candle-transformers?
//!
//! As its examples do: tokenize a batch with padding, forward, mean over what is no padding, length 1.

use std::{
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
    thread,
};

use anyhow::{Context, Result, anyhow};
use candle_core::{D, Device, Tensor};
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, Config, DTYPE};
use rayon::{ThreadPool, ThreadPoolBuilder};
use tokenizers::{Encoding, PaddingParams, Tokenizer, TruncationParams};

const BATCH: usize = 32;
const MAX_TOKENS: usize = 256;

pub(super) struct Peer {
    model: BertModel,
    tokenizer: Tokenizer,
    /// One of one thread per core; in them candle does not spread a product over the cores.
    cores: Vec<ThreadPool>,
}

impl Peer {
    pub(super) fn load(dir: &Path) -> Result<Self> {
        let read = |name: &str| {
            let file = dir.join(name);
            std::fs::read(&file).with_context(|| file.display().to_string())
        };
        let config: Config = serde_json::from_slice(&read("config.json")?)?;
        let weights = read("model.safetensors")?;
        let weights = VarBuilder::from_buffered_safetensors(weights, DTYPE, &Device::Cpu)?;
        let error = |error: tokenizers::Error| anyhow!(error);
        let mut tokenizer = Tokenizer::from_bytes(read("tokenizer.json")?).map_err(error)?;
        let truncation = TruncationParams {
            max_length: MAX_TOKENS,
            ..TruncationParams::default()
        };
        tokenizer.with_truncation(Some(truncation)).map_err(error)?;
        // Pads to the longest of a batch.
        tokenizer.with_padding(Some(PaddingParams::default()));
        let one = || ThreadPoolBuilder::new().num_threads(1).build();
        let cores = thread::available_parallelism().map_or(1, usize::from);
        Ok(Self {
            model: BertModel::load(weights, &config)?,
            tokenizer,
            cores: (0..cores).map(|_| one()).collect::<Result<_, _>>()?,
        })
    }

    /// The texts in their order, batch after batch.
    pub(super) fn unsorted(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = Vec::with_capacity(texts.len());
        for batch in texts.chunks(BATCH) {
            vectors.extend(self.batch(batch.iter().map(String::as_str).collect())?);
        }
        Ok(vectors)
    }

    /// Texts of about the same length together, so that little is padded.
    pub(super) fn sorted(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let mut vectors = vec![Vec::new(); texts.len()];
        for batch in by_length(texts).chunks(BATCH) {
            let found = self.batch(batch.iter().map(|&(_, text)| text).collect())?;
            place(&mut vectors, batch, found);
        }
        Ok(vectors)
    }

    /// The same with a whole batch on each core; the longest first, so that all end together.
    pub(super) fn sorted_batch_per_core(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let sorted = by_length(texts);
        let batches: Vec<_> = sorted.chunks(BATCH).rev().collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.push((
                    *batch,
                    self.batch(batch.iter().map(|&(_, text)| text).collect())?,
                ));
            }
            anyhow::Ok(done)
        };
        let mut vectors = vec![Vec::new(); texts.len()];
        thread::scope(|scope| {
            let started: Vec<_> = self
                .cores
                .iter()
                .map(|core| scope.spawn(|| core.install(work)))
                .collect();
            for thread in started {
                let done = thread.join().map_err(|_| anyhow!("a thread panicked"))??;
                for (batch, found) in done {
                    place(&mut vectors, batch, found);
                }
            }
            Ok(vectors)
        })
    }

    pub(super) fn query(&self, text: &str) -> Result<Vec<Vec<f32>>> {
        self.batch(vec![text])
    }

    pub(super) fn query_on_one_core(&self, text: &str) -> Result<Vec<Vec<f32>>> {
        let core = self.cores.first().context("no core")?;
        core.install(|| self.query(text))
    }

    fn batch(&self, texts: Vec<&str>) -> Result<Vec<Vec<f32>>> {
        let rows = texts.len();
        let encodings = self.encode(texts)?;
        let tensor = |of: fn(&Encoding) -> &[u32]| {
            let values: Vec<u32> = encodings.iter().flat_map(of).copied().collect();
            let columns = values.len() / rows;
            Tensor::from_vec(values, (rows, columns), &Device::Cpu)
        };
        let (ids, mask) = (
            tensor(Encoding::get_ids)?,
            tensor(Encoding::get_attention_mask)?,
        );
        let last = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let mask = mask.to_dtype(DTYPE)?.unsqueeze(2)?;
        let sum = last.broadcast_mul(&mask)?.sum(1)?;
        let mean = sum.broadcast_div(&mask.sum(1)?)?;
        let norm = mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        Ok(mean.broadcast_div(&norm)?.to_vec2()?)
    }

    fn encode(&self, texts: Vec<&str>) -> Result<Vec<Encoding>> {
        let encodings = self.tokenizer.encode_batch_fast(texts, true);
        encodings.map_err(|error| anyhow!(error))
    }

    /// Tokens of one text, with its two markers.
    pub(super) fn count(&self, text: &str) -> Result<usize> {
        Ok(self.encode(vec![text])?.iter().map(Encoding::len).sum())
    }

    /// How long the texts are, and how much of the peer's work is padding.
    pub(super) fn lengths(&self, texts: &[String]) -> Result<String> {
        let count = |text: &str| self.count(text);
        let unsorted: Vec<usize> = texts
            .iter()
            .map(|text| count(text))
            .collect::<Result<_>>()?;
        let sorted: Vec<usize> = by_length(texts)
            .iter()
            .map(|(_, text)| count(text))
            .collect::<Result<_>>()?;
        let tokens: usize = unsorted.iter().sum();
        let padding = |lengths: &[usize]| {
            let padded = |batch: &[usize]| batch.len() * batch.iter().max().copied().unwrap_or(0);
            let padded: usize = lengths.chunks(BATCH).map(padded).sum();
            100 - 100 * tokens / padded.max(1)
        };
        Ok(format!(
            "{} tokens on average, {} at most; of batches of {BATCH} {} % is padding, sorted {} %",
            tokens / texts.len().max(1),
            unsorted.iter().max().copied().unwrap_or(0),
            padding(&unsorted),
            padding(&sorted),
        ))
    }
}

/// By bytes, which is known without a tokenizer and about as good as by tokens.
fn by_length(texts: &[String]) -> Vec<(usize, &str)> {
    let mut sorted: Vec<_> = texts.iter().map(String::as_str).enumerate().collect();
    sorted.sort_by_key(|(_, text)| text.len());
    sorted
}

fn place(vectors: &mut [Vec<f32>], batch: &[(usize, &str)], found: Vec<Vec<f32>>) {
    for (&(index, _), vector) in batch.iter().zip(found) {
        if let Some(slot) = vectors.get_mut(index) {
            *slot = vector;
        }
    }
}
