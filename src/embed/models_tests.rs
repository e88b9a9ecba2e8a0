//! Are models other than all-MiniLM-L6-v2 run as their directories say?
//!
//! Small BERTs with weights that a seed names, written as sentence-transformers writes them; candle's
//! `BertModel` is the oracle of their forwards.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::collections::HashMap;

use candle_core::{DType, Device, Tensor};
use serde_json::{Value, json};

use super::*;

const WORDS: usize = 40;
const POSITIONS: usize = 40;

/// A directory with a model in it.
struct Small {
    dir: tempfile::TempDir,
    config: Value,
}

impl Small {
    fn new(hidden: usize, heads: usize, wide: usize, activation: &str) -> Self {
        Self::named(hidden, heads, wide, activation, "", DType::F32)
    }

    fn named(
        hidden: usize,
        heads: usize,
        wide: usize,
        activation: &str,
        prefix: &str,
        kind: DType,
    ) -> Self {
        let config = json!({
            "_name_or_path": "some/where/small-bert/", "vocab_size": WORDS, "hidden_size": hidden,
            "num_hidden_layers": 2, "num_attention_heads": heads, "intermediate_size": wide,
            "hidden_act": activation, "hidden_dropout_prob": 0.1,
            "max_position_embeddings": POSITIONS, "type_vocab_size": 2, "initializer_range": 0.02,
            "layer_norm_eps": 1e-12, "pad_token_id": 0, "model_type": "bert",
        });
        let small = Self {
            dir: tempfile::tempdir().unwrap(),
            config,
        };
        let mut tensors = HashMap::new();
        let mut add = |name: String, shape: &[usize], mean: f32| {
            let seed = tensors.len() as u32 + 1;
            let tensor = random(shape, seed, mean).to_dtype(kind).unwrap();
            tensors.insert(format!("{prefix}{name}"), tensor);
        };
        let norm = |add: &mut dyn FnMut(String, &[usize], f32), name: String| {
            add(format!("{name}.weight"), &[hidden], 1.0);
            add(format!("{name}.bias"), &[hidden], 0.0);
        };
        for (name, rows) in [
            ("word_embeddings", WORDS),
            ("position_embeddings", POSITIONS),
            ("token_type_embeddings", 2),
        ] {
            add(format!("embeddings.{name}.weight"), &[rows, hidden], 0.0);
        }
        norm(&mut add, "embeddings.LayerNorm".into());
        for layer in 0..2 {
            let at = format!("encoder.layer.{layer}");
            for (name, outputs, inputs) in [
                ("attention.self.query", hidden, hidden),
                ("attention.self.key", hidden, hidden),
                ("attention.self.value", hidden, hidden),
                ("attention.output.dense", hidden, hidden),
                ("intermediate.dense", wide, hidden),
                ("output.dense", hidden, wide),
            ] {
                add(format!("{at}.{name}.weight"), &[outputs, inputs], 0.0);
                add(format!("{at}.{name}.bias"), &[outputs], 0.0);
            }
            norm(&mut add, format!("{at}.attention.output.LayerNorm"));
            norm(&mut add, format!("{at}.output.LayerNorm"));
        }
        candle_core::safetensors::save(&tensors, small.path("model.safetensors")).unwrap();
        small.write("config.json", &small.config);
        small.write("tokenizer.json", &tokenizer());
        small
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.dir.path().join(name)
    }

    fn write(&self, name: &str, value: &Value) {
        let path = self.path(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, value.to_string()).unwrap();
    }

    /// The files of a model whose pooling is `mode`.
    fn describe(&self, mode: &str, normalise: bool) {
        let module = |path: &str, kind: &str| json!({"idx": 0, "name": "0", "path": path, "type": format!("sentence_transformers.models.{kind}")});
        let mut modules = vec![module("", "Transformer"), module("1_Pooling", "Pooling")];
        if normalise {
            modules.push(module("2_Normalize", "Normalize"));
        }
        self.write("modules.json", &modules.into());
        let mut pooling = json!({
            "word_embedding_dimension": 64, "pooling_mode_cls_token": false,
            "pooling_mode_mean_tokens": false, "pooling_mode_max_tokens": false,
        });
        pooling[mode] = true.into();
        self.write("1_Pooling/config.json", &pooling);
        self.write(
            "sentence_bert_config.json",
            &json!({"max_seq_length": 12, "do_lower_case": false}),
        );
    }

    /// In f32, where nothing else is asked for: what these compare with is not rounded.
    fn load_with(&self, options: &ModelConfig) -> Result<Encoder> {
        let mut options = options.clone();
        if options.precision == Precision::Auto {
            options.precision = Precision::F32;
        }
        let files = ModelFiles {
            config: self.path("config.json"),
            tokenizer: self.path("tokenizer.json"),
            weights: self.path("model.safetensors"),
        };
        let hidden = self.config["hidden_size"].as_u64().unwrap() as usize;
        Encoder::load(&files, hidden, &options)
    }

    fn load(&self) -> Encoder {
        self.load_with(&ModelConfig::default()).unwrap()
    }

    fn oracle(&self) -> Reference {
        let config = serde_json::from_value(self.config.clone()).unwrap();
        Reference::load(&config, &fs::read(self.path("model.safetensors")).unwrap()).unwrap()
    }
}

/// Large enough that attention and GELU leave their linear parts.
fn random(shape: &[usize], seed: u32, mean: f32) -> Tensor {
    let mut state = seed.wrapping_mul(0x9e37_79b9) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 17;
        state ^= state << 5;
        mean + (state as f32 / u32::MAX as f32 - 0.5) * 0.8
    };
    let values: Vec<f32> = (0..shape.iter().product()).map(|_| next()).collect();
    Tensor::from_vec(values, shape, &Device::Cpu).unwrap()
}

/// Words `w3` … and two markers.
fn tokenizer() -> Value {
    let mut words: serde_json::Map<String, Value> =
        (3..WORDS).map(|n| (format!("w{n}"), n.into())).collect();
    for (number, word) in ["[UNK]", "[CLS]", "[SEP]"].into_iter().enumerate() {
        words.insert(word.into(), number.into());
    }
    let special = |id: u32, content: &str| json!({"id": content, "ids": [id], "tokens": [content]});
    let marker = |content: &str| json!({"SpecialToken": {"id": content, "type_id": 0}});
    let (a, b) = (
        json!({"Sequence": {"id": "A", "type_id": 0}}),
        json!({"Sequence": {"id": "B", "type_id": 1}}),
    );
    json!({
        "version": "1.0", "truncation": null, "padding": null, "added_tokens": [],
        "normalizer": null, "pre_tokenizer": {"type": "WhitespaceSplit"}, "decoder": null,
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [marker("[CLS]"), a, marker("[SEP]")],
            "pair": [marker("[CLS]"), a, marker("[SEP]"), b, marker("[SEP]")],
            "special_tokens": {"[CLS]": special(1, "[CLS]"), "[SEP]": special(2, "[SEP]")},
        },
        "model": {"type": "WordLevel", "vocab": words, "unk_token": "[UNK]"},
    })
}

/// `count` words, from the `first` on.
fn words(first: usize, count: usize) -> String {
    let word = |n| format!("w{}", 3 + n % (WORDS - 3));
    (first..first + count)
        .map(word)
        .collect::<Vec<_>>()
        .join(" ")
}

fn one(encoder: &Encoder, text: &str, priority: Priority) -> Vec<f32> {
    let vectors = encoder.encode(&[text], priority, &|| ()).unwrap();
    vectors.into_iter().next().unwrap()
}

fn assert_close(a: &[f32], b: &[f32], what: &str) {
    assert_eq!(a.len(), b.len(), "{what}");
    for (a, b) in a.iter().zip(b) {
        assert!((a - b).abs() < 2e-4, "{what}: {a} instead of {b}");
    }
}

#[test]
fn forward_of_every_shape_is_that_of_candles_bert() {
    let shapes = [
        (64, 2, 128, "gelu", true),
        (48, 3, 80, "gelu", true),
        (16, 1, 16, "gelu", true),
        (96, 2, 112, "gelu", true),
        // What the kernels do not take.
        (24, 2, 40, "gelu", false),
        (64, 2, 128, "relu", false),
    ];
    for (hidden, heads, wide, activation, packed) in shapes {
        let small = Small::new(hidden, heads, wide, activation);
        let (encoder, oracle) = (small.load_without_length(), small.oracle());
        let what = format!("{hidden} wide, {heads} heads, {activation}");
        assert_eq!(
            matches!(encoder.forward, Forward::Packed(_)),
            packed,
            "{what}"
        );
        let texts: Vec<Vec<u32>> = [0, 1, 5, 14, 15, 38, 30, 2]
            .into_iter()
            .map(|count| encoder.tokens.encode(&words(count, count)).unwrap())
            .collect();
        let ids: Vec<&[u32]> = texts.iter().map(Vec::as_slice).collect();
        let mut each = ids.iter();
        let compare = |rows: &[f32]| {
            let text = each.next().unwrap();
            assert_close(rows, &oracle.forward(text).unwrap(), &what);
        };
        encoder.forward(&ids, &|| (), compare).unwrap();
        assert!(each.next().is_none());
        let options = ModelConfig {
            precision: Precision::Bf16,
            ..ModelConfig::default()
        };
        match small.load_with(&options) {
            Ok(_) => assert!(packed && bf16::kernels().is_some(), "{what}"),
            Err(error) => {
                let why = if packed { "neither AMX" } else { "f32 alone" };
                assert!(error.to_string().contains(why), "{what}: {error}");
            }
        }
    }
}

impl Small {
    /// As long as there are positions.
    fn load_without_length(&self) -> Encoder {
        self.describe("pooling_mode_mean_tokens", true);
        fs::remove_file(self.path("sentence_bert_config.json")).unwrap();
        self.load()
    }
}

#[test]
fn names_with_a_head_and_numbers_of_half_the_size_are_read() {
    for (prefix, kind) in [("bert.", DType::F32), ("", DType::BF16)] {
        let small = Small::named(32, 2, 48, "gelu", prefix, kind);
        let encoder = small.load_without_length();
        let text = encoder.tokens.encode(&words(0, 9)).unwrap();
        let expected = small.oracle().forward(&text).unwrap();
        let compare = |rows: &[f32]| assert_close(rows, &expected, prefix);
        encoder
            .forward(&[text.as_slice()], &|| (), compare)
            .unwrap();
    }
}

#[test]
fn vector_is_the_mean_or_the_first_row_and_has_length_one_if_asked() {
    let small = Small::new(32, 2, 48, "gelu");
    let text = words(4, 7);
    for (mode, normalise) in [
        ("pooling_mode_mean_tokens", false),
        ("pooling_mode_mean_tokens", true),
        ("pooling_mode_cls_token", false),
        ("pooling_mode_cls_token", true),
    ] {
        small.describe(mode, normalise);
        let encoder = small.load();
        assert_eq!(encoder.name(), "small-bert");
        let rows = small.oracle();
        let rows = rows
            .forward(&encoder.tokens.encode(&text).unwrap())
            .unwrap();
        let rows: Vec<&[f32]> = rows.chunks(32).collect();
        let mut expected = rows[0].to_vec();
        if mode.contains("mean") {
            for (column, x) in expected.iter_mut().enumerate() {
                *x = rows.iter().map(|row| row[column]).sum::<f32>() / rows.len() as f32;
            }
        }
        if normalise {
            let norm = expected.iter().map(|x| x * x).sum::<f32>().sqrt();
            expected.iter_mut().for_each(|x| *x /= norm);
        }
        assert_close(&one(&encoder, &text, Priority::Ingest), &expected, mode);
    }
}

#[test]
fn prefixes_go_before_questions_and_texts() {
    let small = Small::new(32, 2, 48, "gelu");
    small.describe("pooling_mode_mean_tokens", true);
    let plain = small.load();
    let expected = |prefix: &str| one(&plain, &format!("{prefix}w9 w8"), Priority::Query);
    let check = |encoder: &Encoder, query: &str, passage: &str| {
        for (priority, prefix) in [(Priority::Query, query), (Priority::Ingest, passage)] {
            let vector = one(encoder, "w9 w8", priority);
            assert_close(&vector, &expected(prefix), prefix);
        }
    };
    check(&plain, "", "");
    let prompts = |value: Value| small.write("config_sentence_transformers.json", &value);
    prompts(json!({"prompts": {"query": "w3 w4 ", "document": "w5 "}}));
    let told = small.load();
    check(&told, "w3 w4 ", "w5 ");
    assert_ne!(told.fingerprint(), plain.fingerprint());
    prompts(json!({"prompts": {"all": "w7 ", "query": "w6 "}, "default_prompt_name": "all"}));
    check(&small.load(), "w6 ", "w7 ");
    let mut options = ModelConfig {
        query_prefix: Some(String::new()),
        ..ModelConfig::default()
    };
    check(&small.load_with(&options).unwrap(), "", "w7 ");
    options.passage_prefix = Some("w20 ".into());
    check(&small.load_with(&options).unwrap(), "", "w20 ");
}

#[test]
fn long_text_is_its_beginning_or_the_mean_of_its_windows() {
    let small = Small::new(32, 2, 48, "gelu");
    let options = ModelConfig {
        long_texts: LongTexts::MeanOfWindows,
        ..ModelConfig::default()
    };
    // Twelve tokens are ten words.
    let parts = [words(0, 10), words(17, 10), words(5, 3)];
    let text = parts.join(" ");
    for normalise in [true, false] {
        small.describe("pooling_mode_mean_tokens", normalise);
        let (first, whole) = (small.load(), small.load_with(&options).unwrap());
        assert_ne!(first.fingerprint(), whole.fingerprint());
        let parts = parts
            .each_ref()
            .map(|part| one(&first, part, Priority::Ingest));
        assert_close(
            &one(&first, &text, Priority::Ingest),
            &parts[0],
            "the first",
        );
        let mut mean: Vec<f32> = (0..32)
            .map(|column| parts.iter().map(|part| part[column]).sum::<f32>() / 3.0)
            .collect();
        if normalise {
            super::normalise(&mut mean);
        }
        // Also between others, in a batch of more tokens than one forward has.
        let mut texts = vec!["w5"; 200];
        texts[100] = &text;
        let vectors = whole.encode(&texts, Priority::Ingest, &|| ()).unwrap();
        assert_close(&vectors[100], &mean, "the mean");
        let short = one(&first, "w5", Priority::Ingest);
        for short_again in [&vectors[0], &vectors[99], &vectors[101], &vectors[199]] {
            assert_close(short_again, &short, "a short one");
        }
    }
}

#[test]
fn lower_case_is_made_where_it_is_asked_for() {
    let small = Small::new(32, 2, 48, "gelu");
    small.describe("pooling_mode_mean_tokens", true);
    let as_it_is = small.load();
    small.write("sentence_bert_config.json", &json!({"do_lower_case": true}));
    let lower = small.load();
    let (a, b) = (
        one(&lower, "W9 w8", Priority::Query),
        one(&as_it_is, "w9 w8", Priority::Query),
    );
    assert_close(&a, &b, "lower case");
    assert_ne!(a, one(&as_it_is, "W9 w8", Priority::Query));
}

#[test]
fn what_is_not_done_here_is_refused() {
    let small = Small::new(32, 2, 48, "gelu");
    let refusal = || {
        let loaded = small.load_with(&ModelConfig::default());
        loaded.unwrap_err().to_string()
    };
    small.describe("pooling_mode_max_tokens", true);
    assert!(refusal().contains("is its only mode"), "{}", refusal());
    small.describe("pooling_mode_mean_tokens", true);
    small.write("sentence_bert_config.json", &json!({"max_seq_length": 2}));
    assert!(refusal().contains("max_seq_length is 2"), "{}", refusal());
    small.write("sentence_bert_config.json", &json!({}));
    small.write(
        "modules.json",
        &json!([{"path": "2_Dense", "type": "a.Dense"}]),
    );
    assert!(
        refusal().contains("a.Dense is not supported"),
        "{}",
        refusal()
    );
    small.describe("pooling_mode_mean_tokens", true);
    // Weights of another shape than the configuration says.
    let mut config = small.config.clone();
    config["intermediate_size"] = 64.into();
    small.write("config.json", &config);
    assert!(
        refusal().contains("model.safetensors cannot be used"),
        "{}",
        refusal()
    );
}

#[test]
fn fingerprint_of_the_default_is_made_of_what_it_always_was() {
    let method =
        Description::default().method(&candle_transformers::models::bert::HiddenAct::Gelu, false);
    assert_eq!(
        method,
        "BERT, gelu, mean of the last layer over all tokens, L2, 256 tokens"
    );
}

/// All the way: files on a hub, a directory, vectors.
#[cfg(feature = "hub")]
#[tokio::test]
async fn model_from_a_hub_embeds_as_the_one_that_is_there() {
    use crate::embed::{
        Builtin, Embedder, HubModel,
        hub::tests::server::{Hub, REPOSITORY},
    };

    let small = Small::new(32, 2, 48, "gelu");
    small.describe("pooling_mode_cls_token", true);
    let files = [
        "config.json",
        "tokenizer.json",
        "modules.json",
        "1_Pooling/config.json",
        "sentence_bert_config.json",
        "model.safetensors",
    ];
    let hub = Hub::with(files.map(|name| (name, fs::read(small.path(name)).unwrap())));
    let model = HubModel {
        endpoint: hub.endpoint.clone(),
        ..HubModel::named(REPOSITORY, "main")
    };
    let dir = small.path("downloaded");
    let download = dir.clone();
    let report = tokio::task::spawn_blocking(move || model.download(&download, |_| ()));
    assert_eq!(report.await.unwrap().unwrap().files.len(), files.len());
    let config = ModelConfig {
        // As `here`, whatever the CPU has.
        precision: Precision::F32,
        ..ModelConfig::default()
    };
    let builtin = Builtin::with_model(Some(dir), 1, 32, config);
    let text = words(4, 7);
    let vectors = builtin.embed(vec![text.clone()], Priority::Query);
    let here = small.load();
    assert_eq!(vectors.await.unwrap(), [one(&here, &text, Priority::Query)]);
    let identity = builtin.identity().unwrap();
    assert_eq!(identity.fingerprint, here.fingerprint());
}
