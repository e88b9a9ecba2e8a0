//! Which of these say the same?
//!
//! Pure. In the order given, each joins the first before it that it is similar enough to, or stands for
//! itself.

use crate::{
    model::{ContextExperience, ContextInsight, Sibling},
    simd::inverse_norm,
    vector::similarity::Query,
};

/// What may say the same as something else.
pub trait Said {
    /// Where its meaning is.
    fn vector(&self) -> &[f32];
    /// What it says.
    fn text(&self) -> &str;
    /// Notes how long that is.
    fn set_tokens(&mut self, tokens: usize);
    /// Notes that `other` says the same.
    fn join(&mut self, other: Self, similarity: f32);
}

impl Said for ContextExperience {
    fn vector(&self) -> &[f32] {
        &self.experience.embedding
    }

    fn text(&self) -> &str {
        &self.experience.content
    }

    fn set_tokens(&mut self, tokens: usize) {
        self.tokens = tokens;
    }

    fn join(&mut self, other: Self, similarity: f32) {
        let id = other.experience.id;
        put(&mut self.siblings, Sibling { id, similarity });
    }
}

impl Said for ContextInsight {
    fn vector(&self) -> &[f32] {
        &self.insight.embedding
    }

    fn text(&self) -> &str {
        &self.insight.content
    }

    fn set_tokens(&mut self, tokens: usize) {
        self.tokens = tokens;
    }

    fn join(&mut self, other: Self, similarity: f32) {
        let id = other.insight.id;
        put(&mut self.siblings, Sibling { id, similarity });
    }
}

/// Most similar first.
fn put<I>(siblings: &mut Vec<Sibling<I>>, sibling: Sibling<I>) {
    let at = siblings.partition_point(|known| known.similarity >= sibling.similarity);
    siblings.insert(at, sibling);
}

/// The first `most` that say something of their own; who is more similar than `bound` to one of them
/// joins it.
pub fn collapsed<T: Said>(found: Vec<T>, bound: f32, most: usize) -> Vec<T> {
    let mut kept: Vec<(T, f32)> = Vec::with_capacity(most.min(found.len()));
    for one in found {
        let query = Query::new(one.vector());
        let same = kept.iter_mut().find_map(|(known, inverse_norm)| {
            let similarity = query.similarity(known.vector(), *inverse_norm);
            (similarity > bound).then_some((known, similarity))
        });
        if let Some((known, similarity)) = same {
            known.join(one, similarity);
        } else if kept.len() < most {
            let inverse_norm = inverse_norm(one.vector());
            kept.push((one, inverse_norm));
        }
    }
    kept.into_iter().map(|(one, _)| one).collect()
}
