//! What is asked of the model, what is not, and how much is kept.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::{
    pin::pin,
    task::{Context, Poll, Waker},
};

use super::*;
use crate::error::Result;

const WIDTH: usize = 4;
/// What an entry costs.
const ENTRY: usize = WIDTH * 4 + OVERHEAD_BYTES;

/// Writes down what it is asked for; `bad` fails, `more` gets two vectors, and those of `nan`, `short` and
/// `zero` are no vectors.
#[derive(Debug)]
struct Asked {
    texts: Mutex<Vec<String>>,
    identity: EmbedderIdentity,
}

impl Embedder for Asked {
    fn identity(&self) -> Option<&EmbedderIdentity> {
        Some(&self.identity)
    }

    fn dimension(&self) -> usize {
        WIDTH
    }

    fn embed(&self, texts: Vec<String>, priority: Priority) -> EmbedFuture<'_> {
        let failed = texts.iter().any(|text| text == "bad");
        let role = if priority == Priority::Query {
            -1.0
        } else {
            1.0
        };
        let vector = |text: &String| vec![role, text.len() as f32, 0.5, 0.25];
        let mut vectors: Vec<Vec<f32>> = texts.iter().map(vector).collect();
        for (text, vector) in texts.iter().zip(&mut vectors) {
            match text.as_str() {
                "nan" => vector[2] = f32::NAN,
                "short" => vector.truncate(2),
                "zero" => vector.fill(0.0),
                _ => {}
            }
        }
        if texts.iter().any(|text| text == "more") {
            vectors.push(vec![1.0; WIDTH]);
        }
        self.texts.lock().extend(texts);
        Box::pin(async move {
            if failed {
                return Err(PulseDBError::Embedding("as asked".into()));
            }
            Ok(vectors)
        })
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        Some(text.len())
    }
}

fn cached(bytes: usize) -> (Cached, Arc<Asked>) {
    let asked = Arc::new(Asked {
        texts: Mutex::default(),
        identity: EmbedderIdentity {
            provider: "test".into(),
            model: "length".into(),
            fingerprint: "1".into(),
        },
    });
    (Cached::new(Arc::clone(&asked) as _, bytes), asked)
}

fn embed(cached: &Cached, texts: &[&str], priority: Priority) -> Result<Vec<Vec<f32>>> {
    let texts = texts.iter().map(|&text| text.to_owned()).collect();
    let mut future = pin!(cached.embed(texts, priority));
    match future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        Poll::Ready(answer) => answer,
        Poll::Pending => unreachable!("the model answers at once"),
    }
}

fn asked(model: &Asked) -> Vec<String> {
    std::mem::take(&mut *model.texts.lock())
}

#[test]
fn text_is_embedded_once_in_each_role() {
    let (cached, model) = cached(1 << 20);
    let first = embed(&cached, &["a", "bb", "a"], Priority::Ingest).unwrap();
    assert_eq!(asked(&model), ["a", "bb"]);
    assert_eq!(first[0], [1.0, 1.0, 0.5, 0.25]);
    assert_eq!(first[0], first[2]);
    let again = embed(&cached, &["bb", "ccc", "a"], Priority::Ingest).unwrap();
    assert_eq!(asked(&model), ["ccc"]);
    assert_eq!(again[0], first[1]);
    assert_eq!((again[1][1], &again[2]), (3.0, &first[0]));
    let question = embed(&cached, &["a"], Priority::Query).unwrap();
    assert_eq!((asked(&model).len(), question[0][0]), (1, -1.0));
    assert_eq!(embed(&cached, &["a"], Priority::Query).unwrap(), question);
    assert!(embed(&cached, &[], Priority::Query).unwrap().is_empty());
    assert!(asked(&model).is_empty());
    // It is otherwise the model that it stands before.
    assert_eq!(
        (cached.dimension(), cached.count_tokens("abc")),
        (WIDTH, Some(3))
    );
    assert_eq!(cached.identity(), model.identity());
}

#[test]
fn error_is_not_kept() {
    let (cached, model) = cached(1 << 20);
    assert!(embed(&cached, &["good", "bad"], Priority::Ingest).is_err());
    assert!(embed(&cached, &["bad"], Priority::Ingest).is_err());
    embed(&cached, &["good"], Priority::Ingest).unwrap();
    assert_eq!(asked(&model), ["good", "bad", "bad", "good"]);
}

/// The store refuses these; the embedder may have recovered when it is asked again.
#[test]
fn what_is_no_vector_is_not_kept() {
    let (cached, model) = cached(1 << 20);
    for _ in 0..2 {
        let made = embed(&cached, &["nan", "short", "zero"], Priority::Ingest).unwrap();
        assert_eq!((made.len(), made[1].len()), (3, 2));
        assert_eq!(asked(&model), ["nan", "short", "zero"]);
    }
}

#[test]
fn too_many_vectors_are_an_error_also_beside_known_ones() {
    let (cached, model) = cached(1 << 20);
    embed(&cached, &["known"], Priority::Ingest).unwrap();
    // Two texts, and two vectors of the model: of one text.
    let error = embed(&cached, &["known", "more"], Priority::Ingest).unwrap_err();
    assert!(
        error.to_string().contains("2 vectors to 1 texts"),
        "{error}"
    );
    assert_eq!(asked(&model), ["known", "more"]);
}

#[test]
fn what_is_asked_for_stays_and_the_bound_holds() {
    let (cached, model) = cached(8 * ENTRY);
    embed(&cached, &["kept"], Priority::Ingest).unwrap();
    for number in 0..100 {
        let text = number.to_string();
        embed(&cached, &[&text, "kept"], Priority::Ingest).unwrap();
        let kept = cached.kept.lock();
        assert!((kept.young.len() + kept.old.len()) * ENTRY <= 8 * ENTRY);
        assert_eq!(kept.young_bytes, kept.young.len() * ENTRY);
    }
    let texts = asked(&model);
    assert_eq!(texts.iter().filter(|text| *text == "kept").count(), 1);
    embed(&cached, &["0"], Priority::Ingest).unwrap();
    assert_eq!(asked(&model), ["0"]);
}

#[test]
fn nothing_is_kept_without_room_and_the_room_may_change() {
    let (cached, model) = cached(0);
    for _ in 0..2 {
        let twice = embed(&cached, &["a", "a"], Priority::Ingest).unwrap();
        assert_eq!(twice.len(), 2);
    }
    assert_eq!(asked(&model).len(), 4);
    cached.set_bytes(1 << 20);
    embed(&cached, &["a"], Priority::Ingest).unwrap();
    embed(&cached, &["a"], Priority::Ingest).unwrap();
    assert_eq!(asked(&model), ["a"]);
    cached.set_bytes(ENTRY);
    embed(&cached, &["a"], Priority::Ingest).unwrap();
    assert_eq!(asked(&model), ["a"]);
    let kept = cached.kept.lock();
    assert_eq!(kept.young.len() + kept.old.len(), 0);
}
