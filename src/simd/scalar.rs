//! How is it done without special instructions? Also the ends that are shorter than a vector
//! register, on every CPU.

use super::kernels::{F16, F32, Kernels, NIBBLES_PADDING, PADDING, Parts, pair};

/// Runs everywhere.
pub(super) fn kernels() -> &'static Kernels {
    static KERNELS: Kernels = Kernels {
        name: "scalar",
        parts: Parts {
            dot_i8,
            dot_four_i8,
            dot_rows_i8,
            dot_queries_i8,
            dot_rows_nibbles,
            dot_f32,
            dot_f16,
            quantise,
            f32_to_f16,
        },
        metric_i8,
        metric_f32,
        metric_f16,
    };
    &KERNELS
}

#[inline]
pub(super) fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    a.iter().zip(b).fold(0, |sum, (a, b)| {
        sum + i32::from(i16::from(*a) * i16::from(*b))
    })
}

fn dot_four_i8(query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    rows.map(|row| dot_i8(query, row))
}

fn dot_rows_i8(query: &[i8], rows: &[i8], dots: &mut [i32]) {
    for (row, dot) in rows.chunks_exact(query.len()).zip(dots) {
        *dot = dot_i8(query, row);
    }
}

/// Of any `width` but 0.
pub(super) fn dot_queries_i8(queries: &[i8], width: usize, rows: &[i8], dots: &mut [i32]) {
    let mut dots = dots.iter_mut();
    for row in rows.chunks_exact(width) {
        for (query, dot) in queries.chunks_exact(width).zip(&mut dots) {
            *dot = dot_i8(query, row);
        }
    }
}

/// Of a query and nibbles as [`super::pack_nibbles`] packs them.
#[inline]
pub(super) fn dot_nibbles(query: &[i8], row: &[i8]) -> i32 {
    let lines = query.as_chunks::<NIBBLES_PADDING>().0.iter();
    let products = lines.zip(row.as_chunks::<PADDING>().0).map(|(query, row)| {
        let (first, second) = query.split_at(PADDING);
        row.iter()
            .zip(first.iter().zip(second))
            .fold(0, |sum, (packed, (first, second))| {
                let packed = packed.cast_unsigned();
                let (low, high) = (i32::from(packed & 0x0F), i32::from(packed >> 4));
                sum + low * i32::from(*first) + high * i32::from(*second)
            })
    });
    products.sum()
}

pub(super) fn dot_rows_nibbles(query: &[i8], rows: &[i8], dots: &mut [i32]) {
    for (row, dot) in rows.chunks_exact(query.len() / 2).zip(dots) {
        *dot = dot_nibbles(query, row);
    }
}

fn dot_f32(a: &[F32], b: &[F32]) -> f32 {
    dot(a, b, product_f32)
}

fn dot_f16(a: &[F16], b: &[F16]) -> f32 {
    dot(a, b, product_f16)
}

/// As a dot product of few numbers, which lanes would slow down.
#[inline]
pub(super) fn dot_few_f32(a: &[F32], b: &[F32]) -> f32 {
    dot_few(a, b, product_f32)
}

/// As a dot product of few numbers, which lanes would slow down.
#[inline]
pub(super) fn dot_few_f16(a: &[F16], b: &[F16]) -> f32 {
    dot_few(a, b, product_f16)
}

/// The sum of the products, in lanes so that it vectorises.
#[inline(always)]
fn dot<T>(a: &[T], b: &[T], product: impl Fn(&T, &T) -> f32) -> f32 {
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    let mut lanes = [0.0_f32; 16];
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        for (lane, (a, b)) in lanes.iter_mut().zip(a.iter().zip(b)) {
            *lane += product(a, b);
        }
    }
    lanes.iter().sum::<f32>() + dot_few(a_rest, b_rest, product)
}

#[inline(always)]
fn dot_few<T>(a: &[T], b: &[T], product: impl Fn(&T, &T) -> f32) -> f32 {
    let pairs = a.iter().zip(b);
    pairs.fold(0.0, |sum, (a, b)| sum + product(a, b))
}

fn product_f32(a: &F32, b: &F32) -> f32 {
    f32::from_ne_bytes(*a) * f32::from_ne_bytes(*b)
}

fn product_f16(a: &F16, b: &F16) -> f32 {
    f16_to_f32(u16::from_ne_bytes(*a)) * f16_to_f32(u16::from_ne_bytes(*b))
}

pub(super) fn quantise(vector: &[f32], factor: f32, codes: &mut [i8]) {
    for (value, code) in vector.iter().zip(codes) {
        // The conversion makes 0 of what is not a number.
        *code = (value * factor).clamp(-127.0, 127.0).round_ties_even() as i8;
    }
}

pub(super) fn f32_to_f16(values: &[f32], out: &mut [u16]) {
    for (value, half) in values.iter().zip(out) {
        *half = half_of(*value);
    }
}

/// Half-precision bits of `value`, rounded to nearest even.
fn half_of(value: f32) -> u16 {
    const INFINITY: u32 = 0x7f80_0000;
    /// 65520, halfway between the largest half and what would be the next.
    const TOO_LARGE: u32 = 0x477f_f000;
    /// 2⁻¹⁴, the smallest half of full precision.
    const NORMAL: u32 = 0x3880_0000;
    /// What the exponents of the two formats are apart.
    const BIAS: u32 = (127 - 15) << 23;

    let sign = value.to_bits() >> 16 & 0x8000;
    let magnitude = value.to_bits() & 0x7fff_ffff;
    let half = if magnitude > INFINITY {
        // Not a number: quiet, with the upper bits of its payload, as the CPUs do it.
        0x7e00 | (magnitude >> 13 & 0x03ff)
    } else if magnitude >= TOO_LARGE {
        0x7c00
    } else if magnitude >= NORMAL {
        let odd = magnitude >> 13 & 1;
        (magnitude - BIAS + 0x0fff + odd) >> 13
    } else {
        // The last bit of numbers around 0.5 is 2⁻²⁴, as of the halves that are subnormal: the
        // addition rounds, and what it leaves behind 0.5 counts them.
        (f32::from_bits(magnitude) + 0.5).to_bits() - 0.5_f32.to_bits()
    };
    (sign | half) as u16
}

/// The value of half-precision bits: every half is an f32.
pub(super) fn f16_to_f32(half: u16) -> f32 {
    /// 2¹¹², by which the exponents of the two formats are apart.
    const SCALE: f32 = f32::from_bits((127 + 127 - 15) << 23);
    const SPECIAL: u32 = 0x7c00 << 13;

    let magnitude = u32::from(half & 0x7fff) << 13;
    let sign = u32::from(half & 0x8000) << 16;
    let bits = if magnitude >= SPECIAL {
        magnitude | 0x7f80_0000
    } else {
        (f32::from_bits(magnitude) * SCALE).to_bits()
    };
    f32::from_bits(sign | bits)
}

unsafe extern "C" fn metric_i8(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: the caller keeps the contract of a `PairMetric`; both are dropped before it gets the
    // result.
    let (a, b) = unsafe { pair(a, b, len) };
    -(dot_i8(a, b) as f32)
}

unsafe extern "C" fn metric_f32(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: as in `metric_i8`.
    let (a, b) = unsafe { pair(a, b, len) };
    -dot_f32(a, b)
}

unsafe extern "C" fn metric_f16(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: as in `metric_i8`.
    let (a, b) = unsafe { pair(a, b, len) };
    -dot_f16(a, b)
}
