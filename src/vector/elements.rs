//! What becomes of a vector when it goes into a graph?
//!
//! Its direction, as elements of the graph's kind. Every vector that is stored passes here: nothing
//! that is not finite, of the right length and of length 1 (once multiplied by the inverse norm that
//! came with it) reaches the library.

use super::codes::encode_with_unit;
use crate::{
    config::VectorElement,
    error::{PulseDBError, Result},
    format::GraphParams,
    simd,
};

/// How far the length of a direction may be from 1. Rounding stays far below it; what is above was
/// handed in with another vector's norm.
const LENGTH_TOLERANCE: f64 = 1e-3;

/// The elements of one vector, padding included.
#[derive(Debug)]
pub enum Elements {
    /// Codes.
    I8(Vec<i8>),
    /// Bits of binary16.
    F16(Vec<i16>),
    /// Plain numbers.
    F32(Vec<f32>),
}

/// Turns vectors into elements.
#[derive(Debug)]
pub struct Encoder {
    unit: f32,
    direction: Vec<f32>,
    elements: Elements,
}

impl Encoder {
    /// For graphs of these parameters.
    #[must_use]
    pub fn new(params: GraphParams) -> Self {
        let width = params.width();
        Self {
            unit: params.unit,
            direction: vec![0.0; usize::from(params.dimension)],
            elements: match params.element {
                VectorElement::I8 => Elements::I8(vec![0; width]),
                VectorElement::F16 => Elements::F16(vec![0; width]),
                VectorElement::F32 => Elements::F32(vec![0.0; width]),
            },
        }
    }

    /// The elements of the last vector.
    #[must_use]
    pub const fn elements(&self) -> &Elements {
        &self.elements
    }

    /// Makes the elements of a vector. Answers with the error of its code, where it has one.
    pub fn encode(&mut self, vector: &[f32], inverse_norm: f32) -> Result<Option<f32>> {
        self.normalise(vector, inverse_norm)?;
        match &mut self.elements {
            Elements::I8(codes) => {
                let measure = encode_with_unit(&self.direction, 1.0, self.unit, codes);
                return Ok(Some(measure.error));
            }
            Elements::F16(halves) => {
                for (to, half) in halves.iter_mut().zip(halves_of(&self.direction)) {
                    *to = half.cast_signed();
                }
            }
            Elements::F32(numbers) => numbers.copy_from_slice(&self.direction),
        }
        Ok(None)
    }

    fn normalise(&mut self, vector: &[f32], inverse_norm: f32) -> Result<()> {
        if vector.len() != self.direction.len() {
            return Err(PulseDBError::Vector(format!(
                "a vector of {} components for a graph of {}",
                vector.len(),
                self.direction.len()
            )));
        }
        for (to, x) in self.direction.iter_mut().zip(vector) {
            *to = x * inverse_norm;
        }
        // One component that is not a number makes the sum one; so does a zero vector's norm.
        let off = (simd::squared_norm(&self.direction) - 1.0).abs();
        if off < LENGTH_TOLERANCE {
            Ok(())
        } else {
            Err(PulseDBError::Vector(
                "the vector is zero, not finite, or not as long as its norm says".into(),
            ))
        }
    }
}

/// Bits of binary16.
#[must_use]
pub fn halves_of(numbers: &[f32]) -> Vec<u16> {
    let mut bits = vec![0; numbers.len()];
    simd::f32_to_f16(numbers, &mut bits);
    bits
}
