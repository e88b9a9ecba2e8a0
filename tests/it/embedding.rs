//! Does the built-in model give the vectors that torch gives for the same weights?
//!
//! `tests/reference/` holds the texts, torch's vectors, and the script that made them. The model is
//! found as the library finds it; where it is not there, these tests fail and say how to get it,
//! for a store that embeds wrongly is worse than a red test.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests make files of their own"
)]

use std::sync::Arc;

use pulsedb::{Builtin, Config, ContextRequest, Embedder, NewExperience, Priority, PulseDB};

const TEXTS: &str = include_str!("../reference/texts.json");
const VECTORS: &[u8] = include_bytes!("../reference/vectors.f32");
const DIMENSION: usize = 384;

fn reference() -> (Vec<String>, Vec<Vec<f32>>) {
    let texts: Vec<String> = serde_json::from_str(TEXTS).unwrap();
    let floats = VECTORS
        .chunks_exact(4)
        .map(|bytes| f32::from_le_bytes(bytes.try_into().unwrap()));
    let vectors = floats
        .collect::<Vec<_>>()
        .chunks(DIMENSION)
        .map(<[f32]>::to_vec)
        .collect();
    (texts, vectors)
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// The built-in embedder, with its model loaded.
async fn builtin() -> Builtin {
    let builtin = Builtin::new(None, 2);
    if let Err(error) = builtin.load().await {
        panic!("{error}");
    }
    builtin
}

#[tokio::test]
async fn two_hundred_texts_agree_with_torch() {
    let (texts, expected) = reference();
    assert_eq!((texts.len(), expected.len()), (200, 200));
    let vectors = builtin()
        .await
        .embed(texts.clone(), Priority::Ingest)
        .await
        .unwrap();
    let mut least: f64 = 1.0;
    for ((text, vector), expected) in texts.iter().zip(&vectors).zip(&expected) {
        assert_eq!(vector.len(), DIMENSION);
        let cosine = cosine(vector, expected);
        assert!(cosine >= 0.9999, "cosine {cosine} for {text:?}");
        let norm = vector.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((norm - 1.0).abs() < 1e-5, "norm {norm} for {text:?}");
        least = least.min(cosine);
    }
    // A test that compares a thing with itself would find exactly 1 everywhere.
    assert!(least < 1.0);
}

#[tokio::test]
async fn vector_does_not_depend_on_its_batch() {
    let (texts, _) = reference();
    let builtin = builtin().await;
    let together = builtin
        .embed(texts.clone(), Priority::Ingest)
        .await
        .unwrap();
    for index in (0..texts.len()).step_by(7) {
        let alone = builtin
            .embed(vec![texts[index].clone()], Priority::Query)
            .await
            .unwrap();
        let cosine = cosine(&alone[0], &together[index]);
        assert!(
            cosine >= 0.999_999,
            "cosine {cosine} for {:?}",
            texts[index]
        );
    }
}

#[tokio::test]
async fn texts_without_a_word_are_no_failure() {
    let builtin = builtin().await;
    let texts = vec![String::new(), " \n\t".into(), "\u{0}\u{feff}".into()];
    let vectors = builtin.embed(texts, Priority::Ingest).await.unwrap();
    assert!(vectors.iter().all(|vector| vector.len() == DIMENSION));
    assert!(
        builtin
            .embed(Vec::new(), Priority::Query)
            .await
            .unwrap()
            .is_empty()
    );
}

#[tokio::test]
async fn identity_is_known_after_the_first_text_and_is_the_same_in_another_instance() {
    let first = Builtin::new(None, 1);
    assert_eq!(first.identity(), None);
    if let Err(error) = first.embed(vec!["text".into()], Priority::Ingest).await {
        panic!("{error}");
    }
    let identity = first.identity().unwrap().clone();
    assert_eq!(
        (identity.provider.as_str(), identity.model.as_str()),
        ("builtin", "all-MiniLM-L6-v2")
    );
    assert_eq!(identity.fingerprint.len(), 64);
    assert_eq!(builtin().await.identity(), Some(&identity));
}

#[tokio::test]
async fn missing_model_is_an_error_of_the_first_text_and_heals() {
    let root = tempfile::tempdir().unwrap();
    let dir = root.path().join("model");
    let builtin = Builtin::new(Some(dir.clone()), 1);
    let error = builtin
        .embed(vec!["text".into()], Priority::Query)
        .await
        .unwrap_err();
    assert!(error.to_string().contains("cargo xtask model"), "{error}");
    std::fs::create_dir(&dir).unwrap();
    for name in ["config.json", "tokenizer.json", "model.safetensors"] {
        std::fs::write(dir.join(name), "{}").unwrap();
    }
    let error = builtin
        .embed(vec!["text".into()], Priority::Query)
        .await
        .unwrap_err();
    assert!(
        error.to_string().contains("config.json cannot be used"),
        "{error}"
    );
    assert_eq!(builtin.identity(), None);
}

/// A budget is spent in the tokens of the model, all of a text, also what it does not look at.
#[tokio::test]
async fn contexts_count_the_tokens_of_the_model() {
    let model = builtin().await;
    assert_eq!(model.count_tokens("hello world"), Some(4));
    let long = "hello ".repeat(400);
    assert_eq!(model.count_tokens(&long), Some(402));
    assert_eq!(Builtin::new(None, 1).count_tokens("not loaded"), None);

    let dir = tempfile::tempdir().unwrap();
    let db = PulseDB::open_with_embedder(dir.path(), Config::default(), Arc::new(model));
    let db = db.await.unwrap();
    let team = db.create_collective("team").await.unwrap();
    for text in ["hello world", long.as_str()] {
        let new = NewExperience::new(team, "agent", text);
        db.record_experience(new).await.unwrap();
    }
    let asked = |max_tokens| ContextRequest {
        max_tokens: Some(max_tokens),
        collapse_above: None,
        max_recent: 0,
        ..ContextRequest::about_text(team, "hello world")
    };
    let context = db.get_context_candidates(asked(406)).await.unwrap();
    assert_eq!((context.similar.len(), context.tokens), (2, 406));
    assert_eq!(context.similar[0].experience.content, "hello world");
    let context = db.get_context_candidates(asked(405)).await.unwrap();
    assert_eq!(
        (context.similar.len(), context.tokens, context.left_out),
        (1, 4, 1)
    );
    db.close().await.unwrap();
}
