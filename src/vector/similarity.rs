//! How similar are two vectors?
//!
//! `1 − cosine distance`, that is the dot product of the two divided by both lengths. The length of a
//! stored vector is known from its row, so a comparison is one simsimd dot product. Numbers
//! too large or too small for f32 arithmetic are computed anew in f64. Searches and the committer's look
//! for duplicates compare by this one function, so that they agree to the last bit.

use std::cell::OnceCell;

use simsimd::SpatialSimilarity;

use crate::simd::{dot_numbers, inverse_norm, squared_norm, stored_inverse_norm};

/// Products outside of this range may have lost bits to overflow or to subnormal numbers.
const TRUSTED: std::ops::Range<f64> = 1e-30..1e30;
/// What rounding leaves of the similarity of a vector to itself is above this.
const NEARLY_SAME: f64 = 0.999;

/// A query, measured once.
pub struct Query<'a> {
    vector: &'a [f32],
    inverse_norm: f64,
}

impl<'a> Query<'a> {
    /// A query whose vector was checked: finite and not zero.
    pub fn new(vector: &'a [f32]) -> Self {
        Self {
            vector,
            inverse_norm: 1.0 / squared_norm(vector).sqrt(),
        }
    }

    /// The vector with length 1.
    pub fn direction(&self) -> Vec<f32> {
        // In f64, because a query may be too short or too long for f32 to say 1 / ‖q‖.
        let values = self.vector.iter();
        values
            .map(|value| (f64::from(*value) * self.inverse_norm) as f32)
            .collect()
    }

    /// Similarity to a stored vector of the same length, in [−1, 1].
    pub fn similarity(&self, stored: &[f32], stored_inverse_norm: f32) -> f32 {
        let stored_inverse_norm = f64::from(stored_inverse_norm);
        let dot = f32::dot(self.vector, stored).unwrap_or(0.0);
        let trusted = TRUSTED.contains(&dot.abs())
            && TRUSTED.contains(&stored_inverse_norm)
            && TRUSTED.contains(&self.inverse_norm);
        let cosine = if trusted {
            dot * self.inverse_norm * stored_inverse_norm
        } else {
            self.exactly(stored)
        };
        // A threshold of 1 asks for the same vector, and rounding must not hide it.
        if cosine > NEARLY_SAME && self.vector == stored {
            return 1.0;
        }
        // The two zeros are one similarity: `+ 0.0` makes the negative one positive, or ties of
        // orthogonal vectors would be broken by its sign.
        cosine.clamp(-1.0, 1.0) as f32 + 0.0
    }

    /// Similarity to a vector of the same length whose own length is not known, in [−1, 1].
    pub fn similarity_to(&self, other: &[f32]) -> f32 {
        self.similarity(other, inverse_norm(other))
    }

    #[cold]
    fn exactly(&self, stored: &[f32]) -> f64 {
        let dot: f64 = self
            .vector
            .iter()
            .zip(stored)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        let norm = squared_norm(stored).sqrt();
        if norm > 0.0 {
            dot * self.inverse_norm / norm
        } else {
            0.0
        }
    }
}

/// A vector that is compared with others, most of which are too far from it to matter.
pub struct Rough<'a> {
    vector: &'a [f32],
    /// About its length; NaN where f32 arithmetic is not to be trusted with it.
    length: f32,
    /// 1 / its length, where somebody was near enough to ask.
    inverse_norm: OnceCell<f64>,
}

/// Squared lengths whose f32 arithmetic neither overflows nor loses bits to subnormal numbers.
const ROUGHLY_TRUSTED: std::ops::Range<f32> = 1e-15..1e15;

/// How far a similarity in f32, by two lengths in f32, may be from the exact one: three sums of 4096 products, in at least eight
/// partial sums, lose less.
const ROUGH: f32 = 1e-3;

impl<'a> Rough<'a> {
    /// A vector that was checked: finite and not zero.
    pub fn new(vector: &'a [f32]) -> Self {
        let squared = dot_numbers(vector, vector);
        let length = if ROUGHLY_TRUSTED.contains(&squared) {
            squared.sqrt()
        } else {
            f32::NAN
        };
        Self {
            vector,
            length,
            inverse_norm: OnceCell::new(),
        }
    }

    fn exactly(&self) -> Query<'a> {
        let (vector, known) = (self.vector, &self.inverse_norm);
        Query {
            vector,
            inverse_norm: *known.get_or_init(|| Query::new(vector).inverse_norm),
        }
    }

    /// [Similarity](Query::similarity) to a vector of the same length, where it is above `bound`.
    pub fn similarity_above(&self, bound: f32, other: &Self) -> Option<f32> {
        let lowest = (bound - ROUGH) * self.length * other.length;
        if dot_numbers(self.vector, other.vector) < lowest {
            return None;
        }
        let (one, other) = (self.exactly(), other.exactly());
        let similarity = one.similarity(other.vector, stored_inverse_norm(other.inverse_norm));
        (similarity > bound).then_some(similarity)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn roughly_known_is_enough_to_leave_others_out() {
        let exponents = [-38, -25, -10, 0, 10, 18, 25, 38];
        for (seed, exponent) in (1..2_000_u32).zip(exponents.into_iter().cycle()) {
            let dimension = 1 + seed % 40 * 13;
            let component = |at: u32, salt: u32| {
                let noise = (at.wrapping_mul(seed.wrapping_mul(2_654_435_761) ^ salt)) as f32;
                noise.sin() * 10.0_f32.powi(exponent)
            };
            let one: Vec<f32> = (1..=dimension).map(|at| component(at, 0)).collect();
            let share = (seed % 10) as f32 / 20.0;
            let other: Vec<f32> = (1..=dimension)
                .map(|at| component(at, 0) * (1.0 - share) + component(at, 7) * share)
                .collect();
            let exact = Query::new(&one).similarity_to(&other);
            for bound in [exact - 1e-6, exact, exact + 1e-6, 0.5, 0.95, 1.0] {
                let told = Rough::new(&one).similarity_above(bound, &Rough::new(&other));
                assert_eq!(told, (exact > bound).then_some(exact), "{seed} {bound}");
            }
        }
    }

    #[test]
    fn lengths_do_not_matter_even_at_the_ends_of_f32() {
        let base = [0.3_f32, -0.4, 0.5, 0.1];
        let other = [0.1_f32, -0.2, 0.9, 0.4];
        let expected = Query::new(&base).similarity(&other, inverse_norm(&other));
        for (a, b) in [(1e-38, 1e38), (1e38, 1e38), (1e-38, 1e-38), (1e-20, 1.0)] {
            let query: Vec<f32> = base.iter().map(|v| v * a).collect();
            let stored: Vec<f32> = other.iter().map(|v| v * b).collect();
            let similarity = Query::new(&query).similarity(&stored, inverse_norm(&stored));
            assert!(
                (similarity - expected).abs() < 1e-4,
                "{a} {b} {similarity} {expected}"
            );
        }
        assert_eq!(Query::new(&[1.0, 0.0]).similarity(&[0.0, 2.0], 0.5), 0.0);
    }

    #[test]
    fn a_vector_is_like_itself() {
        for dimension in [1_u32, 3, 384, 4096] {
            for seed in 1..50_u32 {
                let component =
                    |at: u32| (at.wrapping_mul(seed.wrapping_mul(2_654_435_761)) as f32).sin();
                let vector: Vec<f32> = (1..=dimension).map(component).collect();
                let similarity = Query::new(&vector).similarity(&vector, inverse_norm(&vector));
                assert_eq!(similarity, 1.0, "{dimension} {seed}");
            }
        }
    }

    #[test]
    fn there_is_one_zero() {
        for stored in [[0.0_f32, 1.0], [-0.0, 1.0], [-0.0, -1e-25], [-1e-38, 1e38]] {
            for query in [[1.0_f32, 0.0], [-2e-25, 0.0], [-1e-38, -0.0], [1e-20, 0.0]] {
                let similarity = Query::new(&query).similarity(&stored, inverse_norm(&stored));
                assert!(
                    similarity.abs() < 1e-30
                        && !(similarity == 0.0 && similarity.is_sign_negative())
                );
            }
        }
    }
}
