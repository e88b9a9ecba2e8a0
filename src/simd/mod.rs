//! How are vectors compared and shortened as fast as this CPU can?
//!
//! One table of kernels per instruction set, chosen at the first call by what the CPU has. Integer
//! results, codes and halves are the same bits from every table; sums of f32 differ in their last
//! places, since each table adds in its own order. [`squared_norm`] is in no table: what is stored
//! with a vector does not depend on the machine that stored it.
//!
//! Codes are signed bytes in −127..=127. −128 is never made by [`quantise`] and never handed in: the
//! AVX2 kernels multiply |a| by ±b, and neither 128 nor two products of it fit where these go.
#![allow(unsafe_code)]

mod aligned;
mod kernels;
#[cfg(feature = "embed")]
pub mod matmul;
#[cfg(target_arch = "aarch64")]
mod neon;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_avx512;

use std::sync::OnceLock;

/// Bytes of a cache line.
#[cfg(target_arch = "x86_64")]
const CACHE_LINE: usize = 64;

pub use aligned::AlignedCodes;
use kernels::Kernels;
pub use kernels::{F16, F32, PairMetric};

/// The dot product of two vectors of codes. Of vectors of different lengths the shorter one rules.
#[must_use]
pub fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let (a, b) = common(a, b);
    chosen().dot_i8(a, b)
}

/// Appends the dot products of each of `rows` and each of `queries`, in one pass over the rows: all
/// of the first row, then all of the second. Both are vectors of `width` codes without gaps between
/// them; a last one that is not whole is left out. Fast for multiples of 64.
pub fn dot_i8_queries(queries: &[i8], width: usize, rows: &[i8], dots: &mut Vec<i32>) {
    let count = |codes: &[i8]| codes.len().checked_div(width).unwrap_or(0);
    let (asked, stored) = (count(queries), count(rows));
    let (Some(queries), Some(rows)) = (queries.get(..asked * width), rows.get(..stored * width))
    else {
        return;
    };
    let before = dots.len();
    dots.resize(before + asked * stored, 0);
    let Some(dots) = dots.get_mut(before..).filter(|dots| !dots.is_empty()) else {
        return;
    };
    if !width.is_multiple_of(kernels::PADDING) {
        scalar::dot_queries_i8(queries, width, rows, dots);
    } else if asked == 1 {
        chosen().dot_rows_i8(queries, rows, dots);
    } else {
        chosen().dot_queries_i8(queries, width, rows, dots);
    }
}

/// Appends the dot products of `query` and each of `rows`, which stand anywhere. Fast for vectors of
/// the same length, a multiple of 64.
pub fn dot_i8_each(query: &[i8], rows: &[&[i8]], dots: &mut Vec<i32>) {
    let whole = query.len().is_multiple_of(kernels::PADDING);
    let (fours, last) = rows.as_chunks::<4>();
    for four in fours {
        if whole && four.iter().all(|row| row.len() == query.len()) {
            dots.extend(chosen().dot_four_i8(query, *four));
        } else {
            dots.extend(four.map(|row| dot_i8(query, row)));
        }
    }
    dots.extend(last.iter().map(|row| dot_i8(query, row)));
}

/// Codes of a query that is compared with nibbles are padded with zeros to multiples of this many; half as many bytes hold the
/// nibbles of a row.
pub const NIBBLES_PADDING: usize = kernels::NIBBLES_PADDING;

/// Packs the upper half of each code plus 128, a number in 0..=15, two to a byte: 64 bytes hold those of 128 codes, the first 64 of
/// them below the others. Codes that are missing count as 0; those that `packed` has no room for are left out.
pub fn pack_nibbles(codes: &[i8], packed: &mut [i8]) {
    let mut parts = codes.chunks(kernels::PADDING);
    for line in packed.chunks_mut(kernels::PADDING) {
        let (first, second) = (parts.next(), parts.next());
        let codes = |part: Option<&'_ [i8]>, at: usize| {
            let code = part.and_then(|part| part.get(at)).copied().unwrap_or(0);
            code.cast_unsigned() ^ 0x80
        };
        for (at, packed) in line.iter_mut().enumerate() {
            *packed = ((codes(first, at) >> 4) | (codes(second, at) & 0xF0)).cast_signed();
        }
    }
}

/// Appends the dot products of `query` and each row of [nibbles](pack_nibbles) of `rows`, which have no gaps between them. The query's
/// length is a multiple of [`NIBBLES_PADDING`]; what is behind the last whole row is left out.
pub fn dot_nibbles(query: &[i8], rows: &[i8], dots: &mut Vec<i32>) {
    let width = query.len() / 2;
    let stored = rows.len().checked_div(width).unwrap_or(0);
    let before = dots.len();
    dots.resize(before + stored, 0);
    if let (Some(rows), Some(dots)) = (rows.get(..stored * width), dots.get_mut(before..))
        && stored > 0
    {
        if query.len().is_multiple_of(NIBBLES_PADDING) {
            chosen().dot_rows_nibbles(query, rows, dots);
        } else {
            scalar::dot_rows_nibbles(query, rows, dots);
        }
    }
}

/// The dot product of two vectors of f32, in f32. Of vectors of different lengths the shorter one
/// rules.
#[must_use]
pub fn dot_f32(a: &[F32], b: &[F32]) -> f32 {
    let (a, b) = common(a, b);
    chosen().dot_f32(a, b)
}

/// The same of numbers where they belong.
#[must_use]
pub fn dot_numbers(a: &[f32], b: &[f32]) -> f32 {
    dot_f32(bytes_of(a), bytes_of(b))
}

/// The same of half-precision numbers.
#[must_use]
pub fn dot_f16(a: &[F16], b: &[F16]) -> f32 {
    let (a, b) = common(a, b);
    chosen().dot_f16(a, b)
}

/// Asks the CPU to fetch `values`, which are read soon: what stands anywhere is waited for one after
/// the other otherwise.
#[inline]
pub fn prefetch<T>(values: &[T]) {
    #[cfg(target_arch = "x86_64")]
    {
        use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
        let start = values.as_ptr().cast::<i8>();
        // Counted from the start of its first line, or the last one might be left out.
        let before = start.addr() % CACHE_LINE;
        for line in (0..before + size_of_val(values)).step_by(CACHE_LINE) {
            // SAFETY: a hint that reads nothing and cannot fault, whatever the address; SSE, which
            // has it, is part of x86-64.
            unsafe { _mm_prefetch::<_MM_HINT_T0>(start.wrapping_sub(before).wrapping_add(line)) }
        }
    }
    // Elsewhere there is no stable hint, and nothing depends on it.
    #[cfg(not(target_arch = "x86_64"))]
    let _ = values;
}

/// 1 / ‖v‖, as it is stored with a vector. What f32 cannot hold saturates; whoever compares such vectors
/// computes it anew.
#[must_use]
pub fn inverse_norm(vector: &[f32]) -> f32 {
    stored_inverse_norm(1.0 / squared_norm(vector).sqrt())
}

/// The same of a vector of which it is known in f64.
#[must_use]
pub fn stored_inverse_norm(exact: f64) -> f32 {
    exact.clamp(f64::from(f32::MIN_POSITIVE), f64::from(f32::MAX)) as f32
}

/// ‖v‖², summed in f64 in lanes so that it vectorises.
#[must_use]
pub fn squared_norm(vector: &[f32]) -> f64 {
    let (chunks, rest) = vector.as_chunks::<8>();
    let mut lanes = [0.0_f64; 8];
    for chunk in chunks {
        for (lane, value) in lanes.iter_mut().zip(chunk) {
            *lane += f64::from(*value) * f64::from(*value);
        }
    }
    let rest: f64 = rest
        .iter()
        .map(|value| f64::from(*value) * f64::from(*value))
        .sum();
    lanes.iter().sum::<f64>() + rest
}

/// Codes of `vector`: `value · factor` rounded to the nearest integer, to the even one of two, and
/// clamped to ±127. What is not a number becomes 0, as do codes behind the vector's end. Values
/// that `codes` has no room for are left out.
pub fn quantise(vector: &[f32], factor: f32, codes: &mut [i8]) {
    let len = vector.len().min(codes.len());
    let (codes, padding) = codes.split_at_mut(len);
    padding.fill(0);
    let (vector, _) = vector.split_at(len);
    chosen().quantise(vector, factor, codes);
}

/// IEEE half-precision bits of `values`, rounded to the nearest, to the even one of two; what is too
/// large becomes infinite. The shorter of the two slices rules.
pub fn f32_to_f16(values: &[f32], out: &mut [u16]) {
    let len = values.len().min(out.len());
    let (values, _) = values.split_at(len);
    let (out, _) = out.split_at_mut(len);
    chosen().f32_to_f16(values, out);
}

/// Minus the dot product of codes. Any length; fast for multiples of 64.
#[must_use]
pub fn metric_i8() -> PairMetric {
    chosen().metric_i8
}

/// Minus the dot product of f32.
#[must_use]
pub fn metric_f32() -> PairMetric {
    chosen().metric_f32
}

/// Minus the dot product of IEEE half-precision numbers, summed in f32.
#[must_use]
pub fn metric_f16() -> PairMetric {
    chosen().metric_f16
}

/// The best table that this CPU can run.
fn chosen() -> &'static Kernels {
    static CHOSEN: OnceLock<&Kernels> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        let best = x86_avx512::kernels().or_else(x86_avx2::kernels);
        #[cfg(target_arch = "aarch64")]
        let best = neon::kernels();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let best = None;
        best.unwrap_or(scalar::kernels())
    })
}

fn bytes_of(numbers: &[f32]) -> &[F32] {
    // SAFETY: four bytes each, without padding, of any value, and aligned enough for bytes.
    unsafe { std::slice::from_raw_parts(numbers.as_ptr().cast(), numbers.len()) }
}

/// Both cut to the length of the shorter one.
fn common<'a, T>(a: &'a [T], b: &'a [T]) -> (&'a [T], &'a [T]) {
    let len = a.len().min(b.len());
    (a.split_at(len).0, b.split_at(len).0)
}
