//! Is the forward over packed rows that of candle's own BERT over one text after the other?
//!
//! Where the model is missing these tests fail
//! and say how to get it, as those of `tests/it/embedding.rs` do.
#![allow(
    clippy::unwrap_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout
)]

use std::path::PathBuf;

use super::*;
use crate::embed::{
    description::MAX_TOKENS,
    model_files::{self, Surroundings},
};

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

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(x, y)| f64::from(*x) * f64::from(*y));
        products.sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

fn loaded(precision: Precision) -> Result<Encoder> {
    let options = ModelConfig {
        precision,
        ..ModelConfig::default()
    };
    Encoder::load(&files(), 384, &options)
}

#[test]
fn packed_forward_is_that_of_candles_bert() {
    let files = files();
    let encoder = loaded(Precision::F32).unwrap();
    let texts = texts();
    let ids: Vec<Vec<u32>> = texts
        .iter()
        .map(|text| encoder.tokens.encode(text).unwrap())
        .collect();
    // Truncation takes part.
    let lengths: Vec<usize> = ids.iter().map(Vec::len).collect();
    assert_eq!(lengths.iter().min(), Some(&2));
    assert_eq!(lengths.iter().max(), Some(&MAX_TOKENS));

    let config = serde_json::from_slice(&read(&files.config).unwrap()).unwrap();
    let oracle = Reference::load(&config, &read(&files.weights).unwrap()).unwrap();
    let all: Vec<&[u32]> = ids.iter().map(Vec::as_slice).collect();
    let mut each = ids.iter();
    let pauses = std::cell::Cell::new(0);
    let pause = || pauses.set(pauses.get() + 1);
    let mut compare = |rows: &[f32]| {
        let text = each.next().unwrap();
        let expected = oracle.forward(text).unwrap();
        assert_eq!(rows.len(), expected.len());
        // Every token's row, and not only their mean.
        for (row, expected) in rows.chunks(384).zip(expected.chunks(384)) {
            let cosine = cosine(row, expected);
            assert!(cosine >= 0.999_99, "cosine {cosine} in {text:?}");
        }
    };
    encoder.forward(&all, &pause, &mut compare).unwrap();
    assert!(each.next().is_none());
    assert!(pauses.get() > 6 * texts.len());
}

/// Compares vectors in bf16 with those in f32, and those of a batch with those of each text alone.
fn assert_rounding_changes_little(rounded: &Encoder, texts: &[&str]) {
    let exact = loaded(Precision::F32).unwrap();
    assert_eq!(exact.precision(), Precision::F32);
    assert_eq!(exact.fingerprint(), rounded.fingerprint());
    let encode = |encoder: &Encoder, texts: &[&str]| {
        encoder.encode(texts, Priority::Ingest, &|| ()).unwrap()
    };
    let (expected, found) = (encode(&exact, texts), encode(rounded, texts));
    let mut least = 1.0_f64;
    for ((text, expected), found) in texts.iter().zip(&expected).zip(&found) {
        least = least.min(cosine(expected, found));
        assert_ne!(expected, found, "{text} was not rounded");
        let alone = encode(rounded, &[*text]);
        assert_eq!(alone, std::slice::from_ref(found), "{text}");
    }
    println!("least cosine of {} texts: {least}", texts.len());
    assert!(least >= 0.999_9, "cosine {least}");
}

#[test]
fn vectors_in_bf16_are_close_to_those_in_f32() {
    let rounded = match (loaded(Precision::Bf16), bf16::kernels()) {
        (Ok(encoder), Some(kernels)) => {
            println!("{kernels:?}");
            encoder
        }
        (Err(error), None) => {
            println!("not tested: {error}");
            assert!(error.to_string().contains("model.precision is bf16"));
            assert_eq!(loaded(Precision::Auto).unwrap().precision(), Precision::F32);
            return;
        }
        (_, kernels) => panic!("kernels {kernels:?} do not fit what was loaded"),
    };
    assert_eq!(rounded.precision(), Precision::Bf16);
    assert_eq!(
        loaded(Precision::Auto).unwrap().precision(),
        Precision::Bf16
    );
    let texts = texts();
    let texts: Vec<&str> = texts.iter().map(String::as_str).collect();
    assert_rounding_changes_little(&rounded, &texts);
}

#[test]
fn rounding_to_bf16_changes_little_on_any_cpu() {
    let mut rounded = loaded(Precision::F32).unwrap();
    let files = files();
    let config = serde_json::from_slice(&read(&files.config).unwrap()).unwrap();
    let weights = WeightFile::open(&files.weights).unwrap();
    rounded.forward = Forward::load(&config, &weights, Some(bf16::portable())).unwrap();
    let texts = texts();
    let short = texts
        .iter()
        .map(String::as_str)
        .filter(|text| text.len() < 100);
    assert_rounding_changes_little(&rounded, &short.collect::<Vec<_>>());
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
        Encoder::load(&files, 384, &ModelConfig::default())
            .unwrap_err()
            .to_string()
    };
    for (key, value, why) in [
        ("hidden_size", 768.into(), "embedding_dimension is 384"),
        ("model_type", "roberta".into(), "it is no BERT"),
        (
            "num_attention_heads",
            0.into(),
            "no multiple of num_attention_heads",
        ),
        (
            "num_attention_heads",
            7.into(),
            "no multiple of num_attention_heads",
        ),
        (
            "max_position_embeddings",
            128.into(),
            "positions for 128 tokens, not for 256",
        ),
    ] {
        let refusal = refusal(key, value);
        assert!(refusal.contains(why), "{key}: {refusal}");
    }
    let unknown = refusal("hidden_act", "swish".into());
    assert!(unknown.contains("config.json cannot be used"), "{unknown}");
    // What is not another model's passes the checks, and the next file is missed.
    let unchanged = refusal("num_hidden_layers", 6.into());
    assert!(unchanged.contains("nowhere"), "{unchanged}");
}
