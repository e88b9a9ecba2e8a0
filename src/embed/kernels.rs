//! What does a forward compute beside matrix products?
//!
//! Plain loops over rows of `f32`, in place, each one pass over data that is hot anyway. They are
//! compiled for the widest vectors of several CPUs and dispatched at run time, so the bodies are
//! written in the shape that the compiler turns into vectors: no early exits, reductions into
//! [`LANES`] partial sums. Rows have a fixed width; a tail that is shorter is left alone.
//! Pure functions, called by `encoder` only.

use pulp::{Arch, Simd, WithSimd};

/// Partial results of a reduction: one AVX-512 register, two of AVX2.
const LANES: usize = 16;

/// `rows = gelu(rows)`, the exact one with the error function.
pub(super) fn gelu(rows: &mut [f32]) {
    Arch::new().dispatch(Gelu(rows));
}

struct Gelu<'a>(&'a mut [f32]);

impl WithSimd for Gelu<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for x in self.0 {
            *x = gelu_of(*x);
        }
    }
}

/// `rows = layer_norm(rows + bias)`. An empty `bias` adds nothing.
pub(super) fn bias_norm(rows: &mut [f32], bias: &[f32], norm: &Norm) {
    Arch::new().dispatch(BiasNorm { rows, bias, norm });
}

/// Parameters of a layer normalisation.
#[derive(Debug)]
pub(super) struct Norm {
    pub(super) scale: Vec<f32>,
    pub(super) shift: Vec<f32>,
    pub(super) epsilon: f32,
}

struct BiasNorm<'a> {
    rows: &'a mut [f32],
    bias: &'a [f32],
    norm: &'a Norm,
}

impl WithSimd for BiasNorm<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        let Norm {
            scale,
            shift,
            epsilon,
        } = self.norm;
        let width = scale.len().max(1);
        for row in self.rows.chunks_exact_mut(width) {
            for (x, b) in row.iter_mut().zip(self.bias) {
                *x += b;
            }
            let mean = sum(row, |x| x) / width as f32;
            let variance = sum(row, |x| (x - mean) * (x - mean)) / width as f32;
            let inverse = 1.0 / (variance + epsilon).sqrt();
            for ((x, s), t) in row.iter_mut().zip(scale).zip(shift) {
                *x = (*x - mean) * inverse * s + t;
            }
        }
    }
}

/// `rows = softmax(row)`, each `width` wide. What is minus infinite counts for nothing.
pub(super) fn softmax(rows: &mut [f32], width: usize) {
    Arch::new().dispatch(Softmax { rows, width });
}

struct Softmax<'a> {
    rows: &'a mut [f32],
    width: usize,
}

impl WithSimd for Softmax<'_> {
    type Output = ();

    #[inline(always)]
    fn with_simd<S: Simd>(self, _: S) {
        for row in self.rows.chunks_exact_mut(self.width.max(1)) {
            let max = max(row);
            for x in row.iter_mut() {
                *x = exp(*x - max);
            }
            let inverse = 1.0 / sum(row, |x| x);
            for x in row.iter_mut() {
                *x *= inverse;
            }
        }
    }
}

/// `sums += row`, for every row of `rows`.
pub(super) fn sum_rows(sums: &mut [f32], rows: &[f32]) {
    for row in rows.chunks_exact(sums.len().max(1)) {
        for (s, x) in sums.iter_mut().zip(row) {
            *s += x;
        }
    }
}

#[inline(always)]
fn sum(row: &[f32], f: impl Fn(f32) -> f32) -> f32 {
    let mut lanes = [0.0; LANES];
    let chunks = row.chunks_exact(LANES);
    let tail: f32 = chunks.remainder().iter().map(|x| f(*x)).sum();
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            *lane += f(*x);
        }
    }
    lanes.iter().sum::<f32>() + tail
}

#[inline(always)]
fn max(row: &[f32]) -> f32 {
    let mut lanes = [f32::NEG_INFINITY; LANES];
    let chunks = row.chunks_exact(LANES);
    let tail = chunks
        .remainder()
        .iter()
        .copied()
        .fold(f32::NEG_INFINITY, f32::max);
    for chunk in chunks {
        for (lane, x) in lanes.iter_mut().zip(chunk) {
            // Not f32::max, whose rule for NaN costs two more instructions per vector.
            *lane = if *x > *lane { *x } else { *lane };
        }
    }
    lanes.iter().copied().fold(tail, f32::max)
}

/// e^x for x ≤ 88, relative error below 3e-7; what is below -87 counts as -87.
///
/// Range reduction to 2^n · e^r with |r| ≤ ln 2 / 2 (Cody and Waite 1980), then the Taylor
/// polynomial of degree 6. Adding 1.5 · 2^23 rounds to the nearest integer, and leaves that
/// integer in the low mantissa bits, where the exponent is made from it without a conversion.
#[inline(always)]
fn exp(x: f32) -> f32 {
    const ROUND: f32 = 12_582_912.0;
    const LN2_HIGH: f32 = 0.693_359_4;
    const LN2_LOW: f32 = -2.121_944_4e-4;
    let x = if x > -87.0 { x } else { -87.0 };
    let shifted = x * std::f32::consts::LOG2_E + ROUND;
    let n = shifted - ROUND;
    let r = x - n * LN2_HIGH - n * LN2_LOW;
    let mut p = 1.0 / 720.0;
    p = p * r + 1.0 / 120.0;
    p = p * r + 1.0 / 24.0;
    p = p * r + 1.0 / 6.0;
    p = p * r + 0.5;
    p = p * r + 1.0;
    p = p * r + 1.0;
    let exponent = shifted
        .to_bits()
        .wrapping_sub(ROUND.to_bits())
        .wrapping_add(127)
        << 23;
    p * f32::from_bits(exponent)
}

/// x · Φ(x), with erf after Abramowitz and Stegun 7.1.26 (absolute error below 1.5e-7).
#[inline(always)]
fn gelu_of(x: f32) -> f32 {
    let z = x.abs() * std::f32::consts::FRAC_1_SQRT_2;
    let t = 1.0 / (1.0 + 0.327_591_1 * z);
    let mut p = 1.061_405_4;
    p = p * t - 1.453_152;
    p = p * t + 1.421_413_8;
    p = p * t - 0.284_496_74;
    p = p * t + 0.254_829_6;
    let erf = (1.0 - p * t * exp(-z * z)).copysign(x);
    0.5 * x * (1.0 + erf)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use super::*;

    fn ramp(len: usize) -> Vec<f32> {
        (0..len)
            .map(|i| ((i * 37 % 101) as f32 - 50.0) / 9.0)
            .collect()
    }

    #[test]
    fn exp_is_close_everywhere_below_88() {
        for step in -9_000..=8_800 {
            let x = step as f32 / 100.0;
            let exact = f64::from(x.max(-87.0)).exp();
            let error = (f64::from(exp(x)) - exact).abs() / exact;
            assert!(error < 3e-7, "exp({x}) is off by {error}");
        }
        assert!(exp(f32::NEG_INFINITY) < 1e-37);
    }

    #[test]
    fn gelu_keeps_its_values_and_limits() {
        // x · Φ(x).
        for (x, exact) in [
            (0.0, 0.0),
            (1.0, 0.841_345),
            (-1.0, -0.158_655),
            (0.5, 0.345_731),
            (3.0, 2.995_95),
            (-3.0, -0.004_050),
            (40.0, 40.0),
            (-40.0, 0.0),
        ] {
            assert!(
                (gelu_of(x) - exact).abs() < 2e-6,
                "gelu({x}) = {}",
                gelu_of(x)
            );
        }
    }

    #[test]
    fn softmax_of_any_width_sums_to_one_and_keeps_ratios() {
        for width in [1, 2, 15, 16, 17, 33, 256] {
            // What is masked changes nothing.
            let padded = width + 3;
            let mut rows = ramp(padded * 3);
            for row in rows.chunks_mut(padded) {
                row[width..].fill(f32::NEG_INFINITY);
            }
            let before = rows.clone();
            softmax(&mut rows, padded);
            for (row, old) in rows.chunks(padded).zip(before.chunks(padded)) {
                assert!(row[width..].iter().all(|x| *x < 1e-37));
                let row = &row[..width];
                assert!((row.iter().sum::<f32>() - 1.0).abs() < 1e-5);
                let ratio = row[0] / row[width - 1];
                assert!((ratio / (old[0] - old[width - 1]).exp() - 1.0).abs() < 1e-4);
            }
        }
    }

    #[test]
    fn norm_of_a_row_has_the_asked_mean_and_deviation() {
        let width = 40;
        let norm = Norm {
            scale: vec![2.0; width],
            shift: vec![0.5; width],
            epsilon: 1e-12,
        };
        let mut rows = ramp(width * 2);
        bias_norm(&mut rows, &ramp(width), &norm);
        for row in rows.chunks(width) {
            let mean = row.iter().sum::<f32>() / width as f32;
            let variance = row.iter().map(|x| (x - mean).powi(2)).sum::<f32>() / width as f32;
            assert!((mean - 0.5).abs() < 1e-5 && (variance - 4.0).abs() < 1e-4);
        }
    }

    #[test]
    fn bias_reaches_every_row() {
        let norm = Norm {
            scale: vec![1.0; 2],
            shift: vec![0.0; 2],
            epsilon: 0.0,
        };
        // Both rows become (0, 2), which lies one deviation to each side of its mean.
        let mut rows = vec![1.0, 1.0, 1.0, 1.0];
        bias_norm(&mut rows, &[-1.0, 1.0], &norm);
        assert_eq!(rows, [-1.0, 1.0, -1.0, 1.0]);
        let mut sums = vec![1.0; 2];
        sum_rows(&mut sums, &[1.0, 2.0, 3.0, 4.0]);
        assert_eq!(sums, [5.0, 7.0]);
    }
}
