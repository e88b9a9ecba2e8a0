//! How is a vector made small, and how wrong may the small one be?
//!
//! A *code* is a vector of unit length scaled to signed bytes: `x̂ ≈ unit · code`. Beside it stands a
//! bound of what was lost, `‖x̂ − unit·code‖ ≤ error`, so that comparing two codes answers with an
//! interval that is sure to hold the true similarity:
//!
//! `|q̂·x̂ − u_q·u_x·(c_q·c_x)| ≤ error_x + error_q·(1 + error_x)`
//!
//! (the triangle inequality and Cauchy–Schwarz). So a scan of codes can leave out what is surely not
//! among the best, and only the rest is compared in f32: the filtering step of the VA-file (Weber,
//! Schek, Blott: A Quantitative Analysis and Performance Study for Similarity-Search Methods in
//! High-Dimensional Spaces, VLDB 1998). The answer is exact, by proof and not by recall.

use std::ops::Range;

use crate::{
    simd::{AlignedCodes, NIBBLES_PADDING, quantise},
    vector::sketch::Sketched,
};

/// Codes are padded to whole cache lines, so that each row starts on one.
pub const LINE: usize = 64;

/// Largest code: symmetric, because kernels take the absolute value.
const LARGEST_CODE: f32 = 127.0;

/// How rare a component is that a calibrated step cuts off.
const CUT_OFF_ONE_IN: usize = 2000;

/// What f32 arithmetic may add to any similarity computed here or by the exact comparison: dot
/// products of 4096 components in at least eight partial sums lose less.
const ROUNDING: f32 = 1e-4;

/// How far from 1 the length of a normalised vector may be; beyond it the numbers were too large or
/// too small for f32 arithmetic, and the code says nothing.
const UNIT_LENGTH_SLACK: f32 = 1e-3;

/// Bytes of a code of `dimension` components.
#[must_use]
pub const fn padded(dimension: usize) -> usize {
    dimension.next_multiple_of(LINE)
}

/// What belongs to one code.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Measure {
    /// The code's step: `x̂ ≈ unit · code`.
    pub unit: f32,
    /// Bound of `‖x̂ − unit·code‖`; infinite where the code says nothing.
    pub error: f32,
}

impl Measure {
    /// Of a code that says nothing: the true similarity may be anything.
    pub const NOTHING: Self = Self {
        unit: 0.0,
        error: f32::INFINITY,
    };
    /// Of a row that is gone for everybody: it compares as zero, and nobody looks at it.
    pub const GONE: Self = Self {
        unit: 0.0,
        error: 0.0,
    };

    /// How far the product of two codes may be off the similarity, where the other has this error.
    #[inline]
    #[must_use]
    pub fn off(self, error: f32) -> f32 {
        error + self.error * (1.0 + error)
    }
}

/// Writes the code of `vector` with the step that fits it best.
pub fn encode(vector: &[f32], inverse_norm: f32, codes: &mut [i8]) -> Measure {
    let largest = vector
        .iter()
        .fold(0.0_f32, |largest, value| largest.max(value.abs()))
        * inverse_norm;
    encode_with_unit(vector, inverse_norm, largest / LARGEST_CODE, codes)
}

/// Writes the code of `vector` with a given step; what is beyond ±127 steps is cut off, and the
/// error says so.
pub fn encode_with_unit(vector: &[f32], inverse_norm: f32, unit: f32, codes: &mut [i8]) -> Measure {
    let factor = inverse_norm / unit;
    if !factor.is_normal() || !unit.is_normal() {
        codes.fill(0);
        return Measure::NOTHING;
    }
    quantise(vector, factor, codes);
    let mut lost = 0.0_f32;
    let mut length = 0.0_f32;
    for (value, code) in vector.iter().zip(codes.iter()) {
        let normalised = value * inverse_norm;
        let difference = normalised - unit * f32::from(*code);
        lost += difference * difference;
        length += normalised * normalised;
    }
    let trusted = (length.sqrt() - 1.0).abs() <= UNIT_LENGTH_SLACK;
    if trusted {
        Measure {
            unit,
            error: lost.sqrt() + ROUNDING,
        }
    } else {
        Measure::NOTHING
    }
}

/// The step for many vectors, from the sizes of some of their normalised components: one component
/// in two thousand is cut off, which loses less than the coarser step would that kept them all.
#[must_use]
pub fn calibrated_unit(sizes: &mut [f32]) -> f32 {
    let Some(last) = sizes.len().checked_sub(1) else {
        return 1.0 / LARGEST_CODE;
    };
    let rank = last - sizes.len() / CUT_OFF_ONE_IN;
    let (_, size, _) = sizes.select_nth_unstable_by(rank, f32::total_cmp);
    // Vectors of few large components have a quantile of zero.
    let size = if size.is_normal() { *size } else { 1.0 };
    size / LARGEST_CODE
}

/// A run of codes in memory, whoever owns it.
#[derive(Clone, Copy, Debug)]
pub struct Codes<'a> {
    /// The codes, row after row, each [`padded`] long.
    pub codes: &'a [i8],
    /// Bytes of each code.
    pub width: usize,
    /// The step of each code.
    pub units: Units<'a>,
    /// The error of each code.
    pub errors: &'a [f32],
    /// The sketches of the codes, where they were made.
    pub sketches: Option<Sketched<'a>>,
}

/// The steps of a run of codes.
#[derive(Clone, Copy, Debug)]
pub enum Units<'a> {
    /// One for all.
    Same(f32),
    /// One for each.
    Each(&'a [f32]),
}

impl<'a> Codes<'a> {
    /// The codes number `rows.start..rows.end` of this run; fewer where it ends before.
    #[must_use]
    pub fn slice(&self, rows: Range<usize>) -> Self {
        let end = rows.end.min(self.errors.len());
        let rows = rows.start.min(end)..end;
        let bytes = rows.start * self.width..rows.end * self.width;
        Self {
            codes: self.codes.get(bytes).unwrap_or_default(),
            width: self.width,
            units: match self.units {
                Units::Same(unit) => Units::Same(unit),
                Units::Each(units) => Units::Each(units.get(rows.clone()).unwrap_or_default()),
            },
            sketches: self.sketches.map(|sketches| sketches.slice(&rows)),
            errors: self.errors.get(rows).unwrap_or_default(),
        }
    }

    /// One code and what belongs to it.
    #[must_use]
    pub fn row(&self, index: usize) -> Option<(&'a [i8], Measure)> {
        let start = index.checked_mul(self.width)?;
        let code = self.codes.get(start..start.checked_add(self.width)?)?;
        Some((code, self.measure(index)?))
    }

    /// What belongs to one code.
    #[must_use]
    pub fn measure(&self, index: usize) -> Option<Measure> {
        let unit = match self.units {
            Units::Same(unit) => unit,
            Units::Each(units) => *units.get(index)?,
        };
        let error = *self.errors.get(index)?;
        Some(Measure { unit, error })
    }
}

/// A query as a code.
#[derive(Debug)]
pub struct QueryCode {
    direction: Vec<f32>,
    /// Padded to what sketches are compared with.
    codes: AlignedCodes,
    measure: Measure,
    sum: i32,
    norm: f32,
}

impl QueryCode {
    /// The code of a query of length 1.
    #[must_use]
    pub fn new(direction: Vec<f32>) -> Self {
        let mut codes = AlignedCodes::zeroed(direction.len().next_multiple_of(NIBBLES_PADDING));
        let measure = encode(&direction, 1.0, &mut codes);
        let wide = || codes.iter().map(|code| i32::from(*code));
        Self {
            sum: wide().sum(),
            norm: (wide().map(|code| code * code).sum::<i32>() as f32).sqrt(),
            direction,
            codes,
            measure,
        }
    }

    /// The query.
    #[must_use]
    pub fn direction(&self) -> &[f32] {
        &self.direction
    }

    /// The code.
    #[must_use]
    pub fn codes(&self) -> &[i8] {
        let width = padded(self.direction.len());
        self.codes.get(..width).unwrap_or(&self.codes)
    }

    /// The code, padded further to what sketches are compared with.
    #[must_use]
    pub fn codes_for_sketches(&self) -> &[i8] {
        &self.codes
    }

    /// The sum of its codes.
    #[must_use]
    pub const fn sum(&self) -> i32 {
        self.sum
    }

    /// The length of the code as a vector.
    #[must_use]
    pub const fn norm(&self) -> f32 {
        self.norm
    }

    /// What belongs to the code.
    #[must_use]
    pub const fn measure(&self) -> Measure {
        self.measure
    }

    /// Similarity to a row as far as the codes tell: its middle and how far it may be off.
    #[must_use]
    pub fn interval(&self, dot: i32, row: Measure) -> (f32, f32) {
        let middle = self.measure.unit * row.unit * dot as f32;
        (middle, self.off(row))
    }

    /// How far the middle may be off.
    #[must_use]
    pub fn off(&self, row: Measure) -> f32 {
        self.measure.off(row.error)
    }

    /// The same for a run of rows: the highest similarity that each may have.
    pub fn highest(
        &self,
        dots: impl Iterator<Item = i32>,
        rows: &Codes<'_>,
        highest: &mut Vec<f32>,
    ) {
        let query = self.measure;
        let highest_of = |dot: i32, row_unit: f32, row_error: f32| {
            query.unit * row_unit * dot as f32 + query.off(row_error)
        };
        highest.clear();
        let rows_with_errors = dots.zip(rows.errors);
        match rows.units {
            Units::Same(row_unit) => highest.extend(
                rows_with_errors.map(|(dot, row_error)| highest_of(dot, row_unit, *row_error)),
            ),
            Units::Each(units) => highest.extend(
                rows_with_errors
                    .zip(units)
                    .map(|((dot, row_error), row_unit)| highest_of(dot, *row_unit, *row_error)),
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::simd::{dot_i8, squared_norm};

    fn inverse_norm(vector: &[f32]) -> f32 {
        (1.0 / squared_norm(vector).sqrt()) as f32
    }

    fn cosine(a: &[f32], b: &[f32]) -> f64 {
        let dot: f64 = a
            .iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum();
        dot / (squared_norm(a) * squared_norm(b)).sqrt()
    }

    fn vectors() -> impl Strategy<Value = (Vec<f32>, Vec<f32>)> {
        (1_usize..200, -20_i32..20).prop_flat_map(|(dimension, exponent)| {
            let component = (-1.0_f32..1.0).prop_map(move |value| value * 2.0_f32.powi(exponent));
            let vector = proptest::collection::vec(component, dimension);
            (vector.clone(), vector)
        })
    }

    proptest! {
        #[test]
        fn the_true_similarity_is_in_the_interval((query, row) in vectors(), cut in 0.1_f32..1.5) {
            prop_assume!(squared_norm(&query) > 1e-20);
            prop_assume!(squared_norm(&row) > 1e-20);
            let norm = squared_norm(&query).sqrt();
            let unit_query: Vec<f32> = query.iter().map(|v| (f64::from(*v) / norm) as f32).collect();
            let code = QueryCode::new(unit_query);
            let mut codes = AlignedCodes::zeroed(padded(row.len()));
            let best = encode(&row, inverse_norm(&row), &mut codes);
            for unit in [best.unit, best.unit * cut] {
                let measure = encode_with_unit(&row, inverse_norm(&row), unit, &mut codes);
                let (middle, off) = code.interval(dot_i8(code.codes(), &codes), measure);
                let truth = cosine(&query, &row);
                prop_assert!((f64::from(middle) - truth).abs() <= f64::from(off), "{middle} ± {off}, {truth}");
            }
        }
    }

    #[test]
    fn a_step_of_the_row_itself_loses_little() {
        let row: Vec<f32> = (0..384)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 50.0)
            .collect();
        let mut codes = AlignedCodes::zeroed(padded(row.len()));
        let measure = encode(&row, inverse_norm(&row), &mut codes);
        assert!(measure.error < 0.01, "{measure:?}");
        assert_eq!(
            codes.iter().map(|code| code.unsigned_abs()).max(),
            Some(127)
        );
    }

    #[test]
    fn what_f32_cannot_normalise_says_nothing() {
        let row = [1e38_f32, 1e38];
        let mut codes = AlignedCodes::zeroed(LINE);
        let measure = encode(&row, f32::MIN_POSITIVE, &mut codes);
        assert_eq!(measure.error, f32::INFINITY);
        let (_, off) = QueryCode::new(vec![0.6, -0.8]).interval(0, measure);
        assert_eq!(off, f32::INFINITY);
    }
}
