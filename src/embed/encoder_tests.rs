//! Is the forward over packed rows that of candle's own BERT over padded ones?
//!
//! The oracle is `BertModel` as its users write it. Where the model is missing these tests fail
//! and say how to get it, as those of `tests/it/embedding.rs` do.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::path::PathBuf;

use candle_core::D;
use candle_nn::VarBuilder;
use candle_transformers::models::bert::{BertModel, DTYPE};

use super::*;
use crate::embed::model_files::{self, Surroundings};

fn files() -> ModelFiles {
    match model_files::find(None, &Surroundings::of_process()) {
        Ok(files) => files,
        Err(error) => panic!("{error}"),
    }
}

/// From no token at all to more than the limit, and from ASCII to scripts without spaces.
fn texts() -> Vec<String> {
    let mut texts: Vec<String> = [
        "",
        "index",
        "Who holds the lock?",
        "A sync costs as much for many records as for one.",
        "fn drop(&mut self) { let _ = std::fs::remove_dir_all(&self.0); }",
        "thread 'main' panicked at src/log/roll.rs:141:9:\nsegment 17 ends within a frame",
        "The café's naïve coöperation — 50 % off… “really”?",
        "数据库把日志当作唯一的真相",
        "Не смешивай векторы двух моделей. 🦀🔥",
        "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855",
    ]
    .map(str::to_owned)
    .into();
    texts.push("a reader never waits for the writer, ".repeat(12));
    texts.push("words beyond the limit do not count ".repeat(60));
    texts
}

/// Mean over the tokens that are not padding, of unit length.
fn oracle(files: &ModelFiles, texts: &[Vec<u32>]) -> candle_core::Result<Vec<Vec<f32>>> {
    let config: Config = serde_json::from_slice(&read(&files.config).unwrap()).unwrap();
    let weights = read(&files.weights).unwrap();
    let weights = VarBuilder::from_buffered_safetensors(weights, DTYPE, &Device::Cpu)?;
    let model = BertModel::load(weights, &config)?;

    let longest = texts.iter().map(Vec::len).max().unwrap();
    let padded = |of: &dyn Fn(u32) -> u32| {
        let row = |text: &Vec<u32>| {
            let mut row: Vec<u32> = text.iter().map(|id| of(*id)).collect();
            row.resize(longest, 0);
            row
        };
        let rows: Vec<u32> = texts.iter().flat_map(row).collect();
        Tensor::from_vec(rows, (texts.len(), longest), &Device::Cpu)
    };
    let (ids, mask) = (padded(&|id| id)?, padded(&|_| 1)?);
    let last = model.forward(&ids, &ids.zeros_like()?, Some(&mask))?;
    let mask = mask.to_dtype(DTYPE)?.unsqueeze(2)?;
    let mean = last
        .broadcast_mul(&mask)?
        .sum(1)?
        .broadcast_div(&mask.sum(1)?)?;
    let norm = mean.sqr()?.sum_keepdim(D::Minus1)?.sqrt()?;
    mean.broadcast_div(&norm)?.to_vec2()
}

#[test]
fn packed_forward_is_that_of_candles_bert() {
    let files = files();
    let encoder = Encoder::load(&files).unwrap();
    let texts = texts();
    let ids: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| encoder.tokens.encode(text).unwrap())
        .collect();
    // Padding and truncation both take part.
    let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
    assert_eq!(lengths.iter().min(), Some(&2));
    assert_eq!(lengths.iter().max(), Some(&MAX_TOKENS));

    let ours = encoder.forward(&ids).unwrap();
    let theirs = oracle(&files, &ids).unwrap();
    assert_eq!((ours.len(), theirs.len()), (texts.len(), texts.len()));
    for ((ours, theirs), text) in ours.iter().zip(&theirs).zip(&texts) {
        assert_eq!((ours.len(), theirs.len()), (DIMENSION, DIMENSION));
        // Both are unit vectors; that ours is, `tests/it/embedding.rs` checks.
        let cosine: f64 = ours
            .iter()
            .zip(theirs)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        assert!(cosine >= 0.999_99, "cosine {cosine} for {text:?}");
    }
}

#[test]
fn config_of_another_model_is_refused() {
    let root = tempfile::tempdir().unwrap();
    let config = root.path().join("config.json");
    let good = serde_json::json!({
        "vocab_size": 30522, "hidden_size": 384, "num_hidden_layers": 6,
        "num_attention_heads": 12, "intermediate_size": 1536, "hidden_act": "gelu",
        "hidden_dropout_prob": 0.1, "max_position_embeddings": 512, "type_vocab_size": 2,
        "initializer_range": 0.02, "layer_norm_eps": 1e-12, "pad_token_id": 0,
    });
    let refusal = |key: &str, value: serde_json::Value| {
        let mut changed = good.clone();
        changed[key] = value;
        fs::write(&config, changed.to_string()).unwrap();
        let files = ModelFiles {
            config: config.clone(),
            tokenizer: PathBuf::from("nowhere"),
            weights: PathBuf::from("nowhere"),
        };
        Encoder::load(&files).unwrap_err().to_string()
    };
    for (key, value) in [
        ("hidden_size", 768.into()),
        ("hidden_act", "relu".into()),
        ("num_attention_heads", 0.into()),
        ("num_attention_heads", 7.into()),
        ("max_position_embeddings", 128.into()),
    ] {
        let refusal = refusal(key, value);
        assert!(
            refusal.contains("this is not all-MiniLM-L6-v2"),
            "{key}: {refusal}"
        );
    }
    let unknown = refusal("hidden_act", "swish".into());
    assert!(unknown.contains("config.json cannot be used"), "{unknown}");
    // What is not another model's passes the checks, and the next file is missed.
    let unchanged = refusal("num_hidden_layers", 6.into());
    assert!(unchanged.contains("nowhere"), "{unchanged}");
}
