//! What is recorded?
//!
//! The same 256 texts and vectors for all contenders. Ours gets them as the fields of an experience; engines get
//! them as bytes that somebody else encoded, which flatters them a little.

use crate::vectors::Random;

pub(crate) const DIMENSION: usize = 384;
/// A record of 2280 B on disk less a frame header of 64 B.
const ENCODED_BYTES: usize = 2216;
/// Text such that vector, text and the other fields of an experience come to about `ENCODED_BYTES`.
const CONTENT_BYTES: usize = 460;
const TEMPLATES: u64 = 256;

const WORDS: &[&str] = &[
    "segment", "commit", "retry", "the", "of", "timeout", "pool", "under", "load", "when",
    "reader", "lock", "queue", "is", "held", "cache", "and", "flush", "builds", "fail", "with",
    "index", "page", "tests", "after", "rename", "sync", "a", "thread", "waits", "for", "batch",
];

/// The variable part of a record.
struct Template {
    embedding: Vec<f32>,
    content: String,
    encoded: Vec<u8>,
}

/// The records of a run; the n-th is the template n modulo their number.
pub(crate) struct Records(Vec<Template>);

impl Records {
    pub(crate) fn new() -> Self {
        let mut random = Random::seeded(0x1965);
        Self((0..TEMPLATES).map(|_| Template::new(&mut random)).collect())
    }

    /// The records as contents and embeddings.
    pub(crate) fn texts(&self) -> Vec<(&str, &[f32])> {
        self.0
            .iter()
            .map(|t| (t.content.as_str(), t.embedding.as_slice()))
            .collect()
    }

    /// The bytes of record `n` as an engine stores them.
    pub(crate) fn encoded(&self, n: u64) -> &[u8] {
        self.0
            .get((n % TEMPLATES) as usize)
            .map_or(&[], |t| t.encoded.as_slice())
    }
}

impl Template {
    fn new(random: &mut Random) -> Self {
        let embedding = random.unit_vector(DIMENSION);
        let mut content = String::with_capacity(CONTENT_BYTES + 16);
        while content.len() < CONTENT_BYTES {
            let word = random.below(WORDS.len() as u64) as usize;
            content.push_str(WORDS.get(word).copied().unwrap_or_default());
            content.push(' ');
        }
        content.truncate(CONTENT_BYTES);
        let mut encoded: Vec<u8> = embedding.iter().flat_map(|x| x.to_le_bytes()).collect();
        encoded.extend_from_slice(content.as_bytes());
        // The other fields: ids, hashes and numbers, which do not compress.
        while encoded.len() < ENCODED_BYTES {
            encoded.push(random.below(256) as u8);
        }
        Self {
            embedding,
            content,
            encoded,
        }
    }
}
