//! What becomes of a vector when it goes into a graph?
//!
//! Its direction, as elements of the graph's kind. Every vector, whether stored or asked for, passes
//! here: nothing that is not finite, of the right length and of length 1 (once multiplied by the
//! inverse norm that came with it) reaches the library.

use super::codes::LARGEST_CODE;
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
    params: GraphParams,
    direction: Vec<f32>,
    elements: Elements,
}

impl Encoder {
    /// For graphs of these parameters.
    #[must_use]
    pub fn new(params: GraphParams) -> Self {
        let width = params.width();
        Self {
            params,
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

    /// A vector that is stored: its codes are in the graph's unit.
    pub fn stored(&mut self, vector: &[f32], inverse_norm: f32) -> Result<()> {
        self.normalise(vector, inverse_norm)?;
        self.fill(self.params.unit);
        Ok(())
    }

    /// A vector that is asked for: its codes are in a unit of its own, so that none is cut off. The
    /// answer turns the library's distances into negative cosines when multiplied with them.
    pub fn query(&mut self, vector: &[f32], inverse_norm: f32) -> Result<f32> {
        self.normalise(vector, inverse_norm)?;
        if self.params.element != VectorElement::I8 {
            self.fill(1.0);
            return Ok(1.0);
        }
        let largest = self
            .direction
            .iter()
            .fold(0.0, |most: f32, x| most.max(x.abs()));
        let unit = largest / LARGEST_CODE;
        self.fill(unit);
        Ok(unit * self.params.unit)
    }

    /// An upper bound of the distance between the last stored vector's direction and what its codes
    /// stand for. The direction is taken as exact, not as rounded to `f32`.
    #[must_use]
    pub fn error(&self, vector: &[f32], inverse_norm: f32) -> f32 {
        let Elements::I8(codes) = &self.elements else {
            return 0.0;
        };
        let (inverse, unit) = (f64::from(inverse_norm), f64::from(self.params.unit));
        let squared: f64 = vector
            .iter()
            .zip(codes)
            .map(|(x, code)| {
                let off = f64::from(*x) * inverse - unit * f64::from(*code);
                off * off
            })
            .sum();
        // The sum of at most 4096 terms is off by less than this factor, and the step up outweighs
        // the rounding to `f32`.
        ((squared.sqrt() * (1.0 + 1e-11)) as f32).next_up()
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

    fn fill(&mut self, unit: f32) {
        match &mut self.elements {
            Elements::I8(codes) => simd::quantise(&self.direction, unit.recip(), codes),
            Elements::F16(halves) => {
                let mut bits = vec![0; halves.len()];
                simd::f32_to_f16(&self.direction, &mut bits);
                for (to, bits) in halves.iter_mut().zip(bits) {
                    *to = bits.cast_signed();
                }
            }
            Elements::F32(numbers) => numbers.copy_from_slice(&self.direction),
        }
    }
}
