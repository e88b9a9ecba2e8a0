//! How is it done with NEON, which every AArch64 CPU has?
//!
//! Bytes are multiplied to 16 bits, two products to a lane: at most 2 · 127² = 32258, which fits.
//! Halves are widened with integer instructions, since those for halves are not in stable Rust yet.

use std::arch::aarch64::*;

use super::{
    kernels::{F16, F32, Kernels, Parts, four, pair},
    scalar,
};

/// If the CPU has it.
pub(super) fn kernels() -> Option<&'static Kernels> {
    static KERNELS: Kernels = Kernels {
        name: "NEON",
        parts: Parts {
            dot_i8,
            dot_four_i8,
            dot_rows_i8,
            dot_queries_i8,
            dot_rows_nibbles: scalar::dot_rows_nibbles,
            dot_f32,
            dot_f16,
            quantise,
            f32_to_f16: scalar::f32_to_f16,
        },
        metric_i8,
        metric_f32,
        metric_f16,
    };
    std::arch::is_aarch64_feature_detected!("neon").then_some(&KERNELS)
}

#[inline]
#[target_feature(enable = "neon")]
fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let (a_chunks, a_rest) = a.as_chunks::<16>();
    let (b_chunks, b_rest) = b.as_chunks::<16>();
    let (a_pairs, a_last) = a_chunks.as_chunks::<2>();
    let (b_pairs, b_last) = b_chunks.as_chunks::<2>();
    let (mut even, mut odd) = (vdupq_n_s32(0), vdupq_n_s32(0));
    for (a, b) in a_pairs.iter().zip(b_pairs) {
        even = add_products(even, load(&a[0]), load(&b[0]));
        odd = add_products(odd, load(&a[1]), load(&b[1]));
    }
    for (a, b) in a_last.iter().zip(b_last) {
        even = add_products(even, load(a), load(b));
    }
    vaddvq_s32(vaddq_s32(even, odd)) + scalar::dot_i8(a_rest, b_rest)
}

/// Rows that follow each other, four at a time.
#[target_feature(enable = "neon")]
fn dot_rows_i8(query: &[i8], rows: &[i8], dots: &mut [i32]) {
    let width = query.len();
    let fours = rows.chunks_exact(4 * width);
    let last = fours.remainder().chunks_exact(width);
    let (dots, last_dots) = dots.as_chunks_mut::<4>();
    for (rows, dots) in fours.zip(dots) {
        *dots = dot_four_i8(query, four(rows, width));
    }
    for (row, dot) in last.zip(last_dots) {
        *dot = dot_i8(query, row);
    }
}

/// Four queries at a time to each row.
#[target_feature(enable = "neon")]
fn dot_queries_i8(queries: &[i8], width: usize, rows: &[i8], dots: &mut [i32]) {
    let asked = queries.len() / width;
    let rows = rows.chunks_exact(width);
    for (row, dots) in rows.zip(dots.chunks_exact_mut(asked)) {
        let groups = queries.chunks(4 * width);
        for (queries, dots) in groups.zip(dots.chunks_mut(4)) {
            match dots.first_chunk_mut() {
                Some(dots) => *dots = dot_four_i8(row, four(queries, width)),
                None => {
                    for (query, dot) in queries.chunks_exact(width).zip(dots) {
                        *dot = dot_i8(row, query);
                    }
                }
            }
        }
    }
}

/// The products of `one` and each of four vectors. Each part of `one` is loaded once for all of them.
#[inline]
#[target_feature(enable = "neon")]
fn dot_four_i8(one: &[i8], [a, b, c, d]: [&[i8]; 4]) -> [i32; 4] {
    let four = a.as_chunks().0.iter().zip(b.as_chunks().0);
    let four = four.zip(c.as_chunks().0.iter().zip(d.as_chunks().0));
    let mut sums = [vdupq_n_s32(0); 4];
    for (one, ((a, b), (c, d))) in one.as_chunks().0.iter().zip(four) {
        let one = load(one);
        sums[0] = add_products(sums[0], load(a), one);
        sums[1] = add_products(sums[1], load(b), one);
        sums[2] = add_products(sums[2], load(c), one);
        sums[3] = add_products(sums[3], load(d), one);
    }
    [
        vaddvq_s32(sums[0]),
        vaddvq_s32(sums[1]),
        vaddvq_s32(sums[2]),
        vaddvq_s32(sums[3]),
    ]
}

#[inline]
#[target_feature(enable = "neon")]
fn dot_f32(a: &[F32], b: &[F32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<4>();
    let (b_lanes, b_rest) = b.as_chunks::<4>();
    let (a_fours, a_last) = a_lanes.as_chunks::<4>();
    let (b_fours, b_last) = b_lanes.as_chunks::<4>();
    let mut sums = [vdupq_n_f32(0.0); 4];
    for (a, b) in a_fours.iter().zip(b_fours) {
        sums[0] = vfmaq_f32(sums[0], load_f32(&a[0]), load_f32(&b[0]));
        sums[1] = vfmaq_f32(sums[1], load_f32(&a[1]), load_f32(&b[1]));
        sums[2] = vfmaq_f32(sums[2], load_f32(&a[2]), load_f32(&b[2]));
        sums[3] = vfmaq_f32(sums[3], load_f32(&a[3]), load_f32(&b[3]));
    }
    for (a, b) in a_last.iter().zip(b_last) {
        sums[0] = vfmaq_f32(sums[0], load_f32(a), load_f32(b));
    }
    sum_f32(sums) + scalar::dot_few_f32(a_rest, b_rest)
}

#[inline]
#[target_feature(enable = "neon")]
fn dot_f16(a: &[F16], b: &[F16]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<4>();
    let (b_lanes, b_rest) = b.as_chunks::<4>();
    let (a_fours, a_last) = a_lanes.as_chunks::<4>();
    let (b_fours, b_last) = b_lanes.as_chunks::<4>();
    let mut sums = [vdupq_n_f32(0.0); 4];
    for (a, b) in a_fours.iter().zip(b_fours) {
        sums[0] = vfmaq_f32(sums[0], load_f16(&a[0]), load_f16(&b[0]));
        sums[1] = vfmaq_f32(sums[1], load_f16(&a[1]), load_f16(&b[1]));
        sums[2] = vfmaq_f32(sums[2], load_f16(&a[2]), load_f16(&b[2]));
        sums[3] = vfmaq_f32(sums[3], load_f16(&a[3]), load_f16(&b[3]));
    }
    for (a, b) in a_last.iter().zip(b_last) {
        sums[0] = vfmaq_f32(sums[0], load_f16(a), load_f16(b));
    }
    sum_f32(sums) + scalar::dot_few_f16(a_rest, b_rest)
}

#[target_feature(enable = "neon")]
fn quantise(vector: &[f32], factor: f32, codes: &mut [i8]) {
    let (lanes, rest) = vector.as_chunks::<4>();
    let (pairs, last) = lanes.as_chunks::<2>();
    let (chunks, rest_codes) = codes.as_chunks_mut::<8>();
    for (values, codes) in pairs.iter().zip(chunks) {
        let low = vqmovn_s32(rounded(&values[0], factor));
        let high = vqmovn_s32(rounded(&values[1], factor));
        let packed = vqmovn_s16(vcombine_s16(low, high));
        // SAFETY: writes the 8 bytes that `codes` borrows, at any alignment.
        unsafe { vst1_s8(codes.as_mut_ptr(), packed) }
    }
    let (last_codes, rest_codes) = rest_codes.split_at_mut(last.as_flattened().len());
    scalar::quantise(last.as_flattened(), factor, last_codes);
    scalar::quantise(rest, factor, rest_codes);
}

/// Products in −127..=127 as integers, rounded to nearest even, 0 for what is not a number: the
/// comparisons hand it on, and the conversion makes 0 of it.
#[inline]
#[target_feature(enable = "neon")]
fn rounded(values: &[f32; 4], factor: f32) -> int32x4_t {
    // SAFETY: reads the 16 bytes that `values` borrows.
    let values = unsafe { vld1q_f32(values.as_ptr()) };
    let products = vmulq_n_f32(values, factor);
    let products = vmaxq_f32(products, vdupq_n_f32(-127.0));
    vcvtnq_s32_f32(vminq_f32(products, vdupq_n_f32(127.0)))
}

/// `sums` plus the products of codes, four to a lane.
#[inline]
#[target_feature(enable = "neon")]
fn add_products(sums: int32x4_t, a: int8x16_t, b: int8x16_t) -> int32x4_t {
    let products = vmull_s8(vget_low_s8(a), vget_low_s8(b));
    vpadalq_s16(sums, vmlal_high_s8(products, a, b))
}

#[inline]
#[target_feature(enable = "neon")]
fn load(codes: &[i8; 16]) -> int8x16_t {
    // SAFETY: reads the 16 bytes that `codes` borrows.
    unsafe { vld1q_s8(codes.as_ptr()) }
}

#[inline]
#[target_feature(enable = "neon")]
fn load_f32(values: &[F32; 4]) -> float32x4_t {
    // SAFETY: reads the 16 bytes that `values` borrows, as bytes, which need no alignment.
    vreinterpretq_f32_u8(unsafe { vld1q_u8(values.as_ptr().cast()) })
}

/// Four halves, as `scalar::f16_to_f32` does it.
#[inline]
#[target_feature(enable = "neon")]
fn load_f16(values: &[F16; 4]) -> float32x4_t {
    // SAFETY: reads the 8 bytes that `values` borrows, as bytes, which need no alignment.
    let halves = vreinterpret_u16_u8(unsafe { vld1_u8(values.as_ptr().cast()) });
    let halves = vmovl_u16(halves);
    let magnitudes = vshlq_n_u32::<13>(vandq_u32(halves, vdupq_n_u32(0x7fff)));
    let signs = vshlq_n_u32::<16>(vandq_u32(halves, vdupq_n_u32(0x8000)));
    let scale = f32::from_bits((127 + 127 - 15) << 23);
    let finite = vmulq_n_f32(vreinterpretq_f32_u32(magnitudes), scale);
    let special = vcgeq_u32(magnitudes, vdupq_n_u32(0x7c00 << 13));
    let exponents = vandq_u32(special, vdupq_n_u32(0x7f80_0000));
    let bits = vorrq_u32(vreinterpretq_u32_f32(finite), vorrq_u32(exponents, signs));
    vreinterpretq_f32_u32(bits)
}

#[inline]
#[target_feature(enable = "neon")]
fn sum_f32(sums: [float32x4_t; 4]) -> f32 {
    vaddvq_f32(vaddq_f32(
        vaddq_f32(sums[0], sums[1]),
        vaddq_f32(sums[2], sums[3]),
    ))
}

#[target_feature(enable = "neon")]
unsafe extern "C" fn metric_i8(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: the caller keeps the contract of a `PairMetric`; both are dropped before it gets the
    // result.
    let (a, b) = unsafe { pair(a, b, len) };
    -(dot_i8(a, b) as f32)
}

#[target_feature(enable = "neon")]
unsafe extern "C" fn metric_f32(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: as in `metric_i8`.
    let (a, b) = unsafe { pair(a, b, len) };
    -dot_f32(a, b)
}

#[target_feature(enable = "neon")]
unsafe extern "C" fn metric_f16(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: as in `metric_i8`.
    let (a, b) = unsafe { pair(a, b, len) };
    -dot_f16(a, b)
}
