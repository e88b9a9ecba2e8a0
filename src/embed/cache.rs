//! Which vectors are not made again, because the text was embedded just now?
//!
//! [`Cached`] stands before any embedder and keeps vectors by the digest of their text. Questions and
//! texts to be stored have entries of their own, for a model may put something else before each. An
//! embedder never changes its identity, so none is needed in the key.
//!
//! Two generations, each of at most half the bound: what is new or was found in the old one goes into
//! the young one; when that is full it becomes the old one, and what was there is forgotten. So what
//! is asked for again stays, every operation takes the same short time, and nothing is sorted. The
//! lock is held for looking up and for putting in, never while the model runs.

use std::{collections::HashMap, sync::Arc};

use parking_lot::Mutex;
use sha2::{Digest, Sha256};

use super::embedder::{EmbedFuture, Embedder, Priority};
use crate::{config::Precision, error::PulseDBError, model::EmbedderIdentity, simd::squared_norm};

/// What an entry costs beside its vector: the key, the vector's header and count, and the table's
/// own slack.
const OVERHEAD_BYTES: usize = 128;

/// SHA-256 of a text's role and the text.
type Key = [u8; 32];

/// An embedder that remembers.
#[derive(Debug)]
pub(crate) struct Cached {
    embedder: Arc<dyn Embedder>,
    kept: Mutex<Generations>,
}

#[derive(Debug, Default)]
struct Generations {
    bound: usize,
    young: HashMap<Key, Arc<[f32]>>,
    young_bytes: usize,
    old: HashMap<Key, Arc<[f32]>>,
}

impl Cached {
    /// Remembers vectors of at most `bytes`, all told; 0 remembers none.
    pub(crate) fn new(embedder: Arc<dyn Embedder>, bytes: usize) -> Self {
        Self {
            embedder,
            kept: Mutex::new(Generations {
                bound: bytes,
                ..Generations::default()
            }),
        }
    }

    /// From now on. What is too much already is forgotten at once.
    pub(crate) fn set_bytes(&self, bytes: usize) {
        let forgotten = {
            let mut kept = self.kept.lock();
            kept.bound = bytes;
            let old = std::mem::take(&mut kept.old);
            let too_many = kept.young_bytes > bytes / 2;
            let young = too_many.then(|| {
                kept.young_bytes = 0;
                std::mem::take(&mut kept.young)
            });
            (old, young)
        };
        // Millions of entries take their time to free, and nobody waits for the lock meanwhile.
        drop(forgotten);
    }

    /// Whether the store will take it. What it refuses must not be answered again once the embedder has
    /// recovered.
    fn is_sound(&self, vector: &[f32]) -> bool {
        let norm = squared_norm(vector);
        vector.len() == self.embedder.dimension() && norm > 0.0 && norm.is_finite()
    }

    /// The vectors of `texts`, as far as they are known, with the keys to put in the others by; no
    /// keys if nothing is kept.
    fn look_up(&self, texts: &[String], priority: Priority) -> (Vec<Key>, Vec<Option<Vec<f32>>>) {
        if self.kept.lock().bound == 0 {
            return (Vec::new(), vec![None; texts.len()]);
        }
        let keys: Vec<Key> = texts.iter().map(|text| key(text, priority)).collect();
        let mut kept = self.kept.lock();
        let found = keys.iter().map(|key| kept.get(key));
        let found: Vec<Option<Arc<[f32]>>> = found.collect();
        drop(kept);
        let owned = found.into_iter().map(|vector| Some(vector?.to_vec()));
        (keys, owned.collect())
    }
}

impl Embedder for Cached {
    fn identity(&self) -> Option<&EmbedderIdentity> {
        self.embedder.identity()
    }

    fn dimension(&self) -> usize {
        self.embedder.dimension()
    }

    fn precision(&self) -> Option<Precision> {
        self.embedder.precision()
    }

    fn embed(&self, texts: Vec<String>, priority: Priority) -> EmbedFuture<'_> {
        let (keys, mut found) = self.look_up(&texts, priority);
        // Each text once, however often it stands in the batch; without keys all are asked for.
        let mut asked: Vec<String> = Vec::new();
        let mut places: HashMap<Key, usize> = HashMap::new();
        let mut wanted: Vec<Option<usize>> = Vec::with_capacity(texts.len());
        for (number, text) in texts.into_iter().enumerate() {
            if found.get(number).is_some_and(Option::is_some) {
                wanted.push(None);
                continue;
            }
            let next = asked.len();
            let place = match keys.get(number) {
                Some(key) => *places.entry(*key).or_insert(next),
                None => next,
            };
            if place == next {
                asked.push(text);
            }
            wanted.push(Some(place));
        }
        if asked.is_empty() {
            let found = found.into_iter().flatten().collect();
            return Box::pin(async move { Ok(found) });
        }
        let count = asked.len();
        let made = self.embedder.embed(asked, priority);
        Box::pin(async move {
            let made = made.await?;
            // Told here, for with what is known it might add up to the right number by chance.
            if made.len() != count {
                return Err(PulseDBError::Embedding(format!(
                    "the embedder answered {} vectors to {count} texts",
                    made.len()
                )));
            }
            let mut kept = self.kept.lock();
            for (key, place) in &places {
                let vector = made.get(*place);
                if let Some(vector) = vector.filter(|vector| self.is_sound(vector)) {
                    kept.put(*key, vector);
                }
            }
            drop(kept);
            for (slot, place) in found.iter_mut().zip(wanted) {
                if let Some(vector) = place.and_then(|place| made.get(place)) {
                    *slot = Some(vector.clone());
                }
            }
            Ok(found.into_iter().flatten().collect())
        })
    }

    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.embedder.count_tokens(text)
    }
}

impl Generations {
    fn get(&mut self, key: &Key) -> Option<Arc<[f32]>> {
        if let Some(vector) = self.young.get(key) {
            return Some(Arc::clone(vector));
        }
        let vector = self.old.remove(key)?;
        self.insert(*key, Arc::clone(&vector));
        Some(vector)
    }

    fn put(&mut self, key: Key, vector: &[f32]) {
        if !self.young.contains_key(&key) {
            self.insert(key, vector.into());
        }
    }

    fn insert(&mut self, key: Key, vector: Arc<[f32]>) {
        let bytes = size_of_val(&*vector) + OVERHEAD_BYTES;
        if bytes > self.bound / 2 {
            return;
        }
        if self.young_bytes + bytes > self.bound / 2 {
            self.old = std::mem::take(&mut self.young);
            self.young_bytes = 0;
        }
        self.young_bytes += bytes;
        self.young.insert(key, vector);
    }
}

fn key(text: &str, priority: Priority) -> Key {
    let role = match priority {
        Priority::Query => [0],
        Priority::Ingest => [1],
    };
    let mut digest = Sha256::new();
    digest.update(role);
    digest.update(text);
    digest.finalize().into()
}

#[cfg(test)]
#[path = "cache_tests.rs"]
mod tests;
