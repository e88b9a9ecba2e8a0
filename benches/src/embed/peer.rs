//! How does one embed with `BertModel` of candle-transformers?
//!
//! As its examples do: tokenize, pad a batch to its longest text, forward, mean over what is no padding, length 1.

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
use tokenizers::{Tokenizer, TruncationParams};

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
        tokenizer.with_padding(None);
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
            let batch = self.tokens(batch)?;
            vectors.extend(self.forward(&batch.iter().map(Vec::as_slice).collect::<Vec<_>>())?);
        }
        Ok(vectors)
    }

    /// Texts of about as many tokens together, so that little is padded.
    pub(super) fn sorted(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let tokens = self.tokens(texts)?;
        let mut vectors = vec![Vec::new(); texts.len()];
        for batch in by_length(&tokens).chunks(BATCH) {
            place(&mut vectors, self.numbered(batch)?);
        }
        Ok(vectors)
    }

    /// The same with a whole batch on each core; the longest first, so that all end together.
    pub(super) fn sorted_batch_per_core(&self, texts: &[String]) -> Result<Vec<Vec<f32>>> {
        let tokens = self.tokens(texts)?;
        let sorted = by_length(&tokens);
        let batches: Vec<_> = sorted.chunks(BATCH).rev().collect();
        let next = AtomicUsize::new(0);
        let work = || {
            let mut done = Vec::new();
            while let Some(batch) = batches.get(next.fetch_add(1, Ordering::Relaxed)) {
                done.extend(self.numbered(batch)?);
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
                place(&mut vectors, done);
            }
            Ok(vectors)
        })
    }

    pub(super) fn query(&self, text: &str) -> Result<Vec<Vec<f32>>> {
        let tokens = self.tokens(&[text.to_owned()])?;
        self.forward(&tokens.iter().map(Vec::as_slice).collect::<Vec<_>>())
    }

    pub(super) fn query_on_one_core(&self, text: &str) -> Result<Vec<Vec<f32>>> {
        let core = self.cores.first().context("no core")?;
        core.install(|| self.query(text))
    }

    fn numbered(&self, batch: &[(usize, &[u32])]) -> Result<Vec<(usize, Vec<f32>)>> {
        let vectors = self.forward(&batch.iter().map(|&(_, tokens)| tokens).collect::<Vec<_>>())?;
        Ok(batch.iter().map(|&(index, _)| index).zip(vectors).collect())
    }

    fn forward(&self, texts: &[&[u32]]) -> Result<Vec<Vec<f32>>> {
        let columns = texts.iter().map(|text| text.len()).max().unwrap_or(0);
        let padded = |of: fn(u32) -> u32| {
            let row = |text: &&[u32]| {
                let mut row: Vec<u32> = text.iter().map(|id| of(*id)).collect();
                row.resize(columns, 0);
                row
            };
            let values: Vec<u32> = texts.iter().flat_map(row).collect();
            Tensor::from_vec(values, (texts.len(), columns), &Device::Cpu)
        };
        let (ids, mask) = (padded(|id| id)?, padded(|_| 1)?);
        let last = self.model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
        let mask = mask.to_dtype(DTYPE)?.unsqueeze(2)?;
        let sum = last.broadcast_mul(&mask)?.sum(1)?;
        let mean = sum.broadcast_div(&mask.sum(1)?)?;
        let norm = mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
        Ok(mean.broadcast_div(&norm)?.to_vec2()?)
    }

    /// The ids of each text.
    fn tokens(&self, texts: &[String]) -> Result<Vec<Vec<u32>>> {
        let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
        let encodings = self.tokenizer.encode_batch_fast(texts, true);
        let encodings = encodings.map_err(|error| anyhow!(error))?;
        Ok(encodings.iter().map(|e| e.get_ids().to_vec()).collect())
    }

    /// Tokens of one text, with its two markers.
    pub(super) fn count(&self, text: &str) -> Result<usize> {
        Ok(self.tokens(&[text.to_owned()])?.iter().map(Vec::len).sum())
    }

    /// How long the texts are, and how much of the peer's work is padding.
    pub(super) fn lengths(&self, texts: &[String]) -> Result<String> {
        let tokens = self.tokens(texts)?;
        let unsorted: Vec<usize> = tokens.iter().map(Vec::len).collect();
        let mut sorted = unsorted.clone();
        sorted.sort_unstable();
        let total: usize = unsorted.iter().sum();
        let padding = |lengths: &[usize]| {
            let padded = |batch: &[usize]| batch.len() * batch.iter().max().copied().unwrap_or(0);
            let padded: usize = lengths.chunks(BATCH).map(padded).sum();
            100 - 100 * total / padded.max(1)
        };
        Ok(format!(
            "{} tokens on average, {} at most; of batches of {BATCH} {} % is padding, sorted {} %",
            total / texts.len().max(1),
            sorted.last().copied().unwrap_or(0),
            padding(&unsorted),
            padding(&sorted),
        ))
    }
}

fn by_length(tokens: &[Vec<u32>]) -> Vec<(usize, &[u32])> {
    let mut sorted: Vec<_> = tokens.iter().map(Vec::as_slice).enumerate().collect();
    sorted.sort_by_key(|(_, tokens)| tokens.len());
    sorted
}

fn place(vectors: &mut [Vec<f32>], found: Vec<(usize, Vec<f32>)>) {
    for (index, vector) in found {
        if let Some(slot) = vectors.get_mut(index) {
            *slot = vector;
        }
    }
}
