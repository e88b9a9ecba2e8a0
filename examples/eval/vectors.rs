//! How are vectors of any model evaluated? From a file that holds that of every text, in place of the model.
//!
//! JSON lines, `{"text": …, "vector": […]}`: the text exactly as it is recorded or asked.

use std::{collections::HashMap, path::Path};

use pulsedb::{EmbedFuture, Embedder, Priority, PulseDBError, model::EmbedderIdentity};
use serde::Deserialize;

use crate::{Outcome, trec::read};

#[derive(Deserialize)]
struct Line {
    text: String,
    vector: Vec<f32>,
}

/// An embedder that only knows what it was told.
#[derive(Debug)]
pub(crate) struct Known {
    identity: EmbedderIdentity,
    dimension: usize,
    vectors: HashMap<String, Vec<f32>>,
}

impl Known {
    pub(crate) fn load(file: &Path) -> Outcome<Self> {
        let of = |error| format!("{}: {error}", file.display());
        Ok(Self::parse(&read(file)?).map_err(of)?)
    }

    fn parse(text: &str) -> Outcome<Self> {
        let mut vectors = HashMap::new();
        let mut dimension = None;
        for (number, line) in (1..).zip(text.lines()) {
            let line: Line =
                serde_json::from_str(line).map_err(|error| format!("line {number}: {error}"))?;
            let expected = *dimension.get_or_insert(line.vector.len());
            if line.vector.len() != expected {
                let found = line.vector.len();
                return Err(format!("line {number}: {found} numbers, not {expected}").into());
            }
            vectors.insert(line.text, line.vector);
        }
        Ok(Self {
            identity: EmbedderIdentity {
                provider: "eval".into(),
                model: "vectors of a file".into(),
                fingerprint: String::new(),
            },
            dimension: dimension.ok_or("no vector")?,
            vectors,
        })
    }
}

impl Embedder for Known {
    fn identity(&self) -> Option<&EmbedderIdentity> {
        Some(&self.identity)
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn embed(&self, texts: Vec<String>, _: Priority) -> EmbedFuture<'_> {
        let vector = |text: &String| {
            let missing = || PulseDBError::Embedding(format!("the file has no vector of {text:?}"));
            self.vectors.get(text).cloned().ok_or_else(missing)
        };
        let vectors = texts.iter().map(vector).collect();
        Box::pin(async move { vectors })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn vectors_are_read_and_must_be_alike() {
        let known = Known::parse("{\"text\": \"a\", \"vector\": [1, 0.5]}\n").unwrap();
        assert_eq!(known.vectors["a"], [1.0, 0.5]);
        assert_eq!(known.dimension(), 2);
        let uneven = "{\"text\": \"a\", \"vector\": [1]}\n{\"text\": \"b\", \"vector\": [1, 2]}\n";
        assert!(
            Known::parse(uneven)
                .unwrap_err()
                .to_string()
                .contains("line 2")
        );
        assert!(Known::parse("").is_err());
    }

    #[tokio::test]
    async fn a_text_without_a_vector_is_named() {
        let known = Known::parse("{\"text\": \"a\", \"vector\": [1]}").unwrap();
        let found = known
            .embed(vec!["a".into()], Priority::Query)
            .await
            .unwrap();
        assert_eq!(found, [[1.0]]);
        let missing = known.embed(vec!["b".into()], Priority::Query).await;
        assert!(missing.unwrap_err().to_string().contains("\"b\""));
    }
}
