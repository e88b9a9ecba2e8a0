//! Which of these say the same?
//!
//! Pure. In the order given, each joins the first before it that it is similar enough to, or stands for
//! itself. Codes say of most pairs that they surely are not ([`crate::vector::codes`]); only the others are
//! compared exactly.

use crate::{
    model::{ContextExperience, ContextInsight, Sibling},
    simd::dot_i8,
    vector::{codes::QueryCode, similarity::Query},
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
    let mut kept: Vec<(T, QueryCode)> = Vec::with_capacity(most.min(found.len()));
    for one in found {
        let query = Query::new(one.vector());
        let code = QueryCode::new(query.direction());
        let same = kept.iter_mut().find_map(|(known, known_code)| {
            let dot = dot_i8(code.codes(), known_code.codes());
            let (middle, off) = code.interval(dot, known_code.measure());
            if middle + off <= bound {
                return None;
            }
            let similarity = query.similarity_to(known.vector());
            (similarity > bound).then_some((known, similarity))
        });
        if let Some((known, similarity)) = same {
            known.join(one, similarity);
        } else if kept.len() < most {
            kept.push((one, code));
        }
    }
    kept.into_iter().map(|(one, _)| one).collect()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    struct Saying {
        number: usize,
        vector: Vec<f32>,
        joined: Vec<usize>,
    }

    impl Said for Saying {
        fn vector(&self) -> &[f32] {
            &self.vector
        }

        fn text(&self) -> &str {
            ""
        }

        fn set_tokens(&mut self, _: usize) {}

        fn join(&mut self, other: Self, _: f32) {
            self.joined.push(other.number);
        }
    }

    /// Who stands for itself, and who joined it, by comparing all exactly.
    fn plainly(vectors: &[Vec<f32>], bound: f32, most: usize) -> Vec<(usize, Vec<usize>)> {
        let mut kept: Vec<(usize, Vec<usize>)> = Vec::new();
        for (number, vector) in vectors.iter().enumerate() {
            let query = Query::new(vector);
            let room = kept.len() < most;
            let same = kept
                .iter_mut()
                .find(|(known, _)| query.similarity_to(&vectors[*known]) > bound);
            match same {
                Some((_, joined)) => joined.push(number),
                None if room => kept.push((number, Vec::new())),
                None => {}
            }
        }
        kept
    }

    proptest! {
        #[test]
        fn codes_change_no_answer(
            bound in 0.5_f32..1.0,
            most in 1_usize..12,
            sources in prop::collection::vec((0_usize..4, prop::collection::vec(-1.0_f32..1.0, 24)), 1..24),
            spread in 0.0_f32..0.6,
        ) {
            let near = |centre: usize, noise: &[f32]| -> Vec<f32> {
                let component = |(at, value): (usize, &f32)| spread * value + ((at * 7 + centre * 13) as f32).sin();
                noise.iter().enumerate().map(component).collect()
            };
            let vectors: Vec<Vec<f32>> = sources.iter().map(|(centre, noise)| near(*centre, noise)).collect();
            let sayings = vectors.iter().enumerate();
            let sayings = sayings.map(|(number, vector)| Saying { number, vector: vector.clone(), joined: Vec::new() });
            let found = collapsed(sayings.collect(), bound, most);
            let found: Vec<_> = found.into_iter().map(|one| (one.number, one.joined)).collect();
            prop_assert_eq!(found, plainly(&vectors, bound, most));
        }
    }
}
