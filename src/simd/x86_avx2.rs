//! How is it done with AVX2, FMA and F16C (x86-64 since 2013)?
//!
//! AVX2 multiplies unsigned bytes by signed ones and adds neighbours with saturation to 16 bits.
//! So one factor is made positive and its sign moved to the other: |a| · ±b. Codes are at most 127
//! in magnitude, so two products are at most 2 · 127² = 32258, which does not saturate.

use std::arch::x86_64::*;

use super::{
    kernels::{F16, F32, Kernels, Parts, four, pair},
    scalar,
};

/// How far ahead, in bytes, rows are asked for: the CPU's own prefetchers are late where four rows
/// are read side by side. Measured at 384 dimensions, anything from 1.5 to 12 KiB is as good.
const PREFETCH_AHEAD: usize = 3072;

/// If the CPU has them.
pub(super) fn kernels() -> Option<&'static Kernels> {
    static KERNELS: Kernels = Kernels {
        name: "AVX2",
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
    let there = is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("fma")
        && is_x86_feature_detected!("f16c");
    there.then_some(&KERNELS)
}

#[inline]
#[target_feature(enable = "avx2")]
fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let (a_chunks, a_rest) = a.as_chunks::<32>();
    let (b_chunks, b_rest) = b.as_chunks::<32>();
    let (a_pairs, a_last) = a_chunks.as_chunks::<2>();
    let (b_pairs, b_last) = b_chunks.as_chunks::<2>();
    let (mut even, mut odd) = (_mm256_setzero_si256(), _mm256_setzero_si256());
    for (a, b) in a_pairs.iter().zip(b_pairs) {
        let (a0, a1) = (load(&a[0]), load(&a[1]));
        even = add_products(even, _mm256_abs_epi8(a0), a0, load(&b[0]));
        odd = add_products(odd, _mm256_abs_epi8(a1), a1, load(&b[1]));
    }
    for (a, b) in a_last.iter().zip(b_last) {
        let a = load(a);
        even = add_products(even, _mm256_abs_epi8(a), a, load(b));
    }
    sum_i32(_mm256_add_epi32(even, odd)) + scalar::dot_i8(a_rest, b_rest)
}

/// Rows that follow each other, four at a time.
#[target_feature(enable = "avx2")]
fn dot_rows_i8(query: &[i8], rows: &[i8], dots: &mut [i32]) {
    let width = query.len();
    let fours = rows.chunks_exact(4 * width);
    let last = fours.remainder().chunks_exact(width);
    let (dots, last_dots) = dots.as_chunks_mut::<4>();
    for (rows, dots) in fours.zip(dots) {
        prefetch_behind(rows);
        *dots = dot_four_i8(query, four(rows, width));
    }
    for (row, dot) in last.zip(last_dots) {
        *dot = dot_i8(query, row);
    }
}

/// Each part of the query is loaded and made positive once for all four rows, and their sums are
/// added up across lanes together.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_four_i8(query: &[i8], [a, b, c, d]: [&[i8]; 4]) -> [i32; 4] {
    let rows = a.as_chunks().0.iter().zip(b.as_chunks().0);
    let rows = rows.zip(c.as_chunks().0.iter().zip(d.as_chunks().0));
    let mut sums = [_mm256_setzero_si256(); 4];
    for (query, ((a, b), (c, d))) in query.as_chunks().0.iter().zip(rows) {
        let query = load(query);
        let positive = _mm256_abs_epi8(query);
        sums[0] = add_products(sums[0], positive, query, load(a));
        sums[1] = add_products(sums[1], positive, query, load(b));
        sums[2] = add_products(sums[2], positive, query, load(c));
        sums[3] = add_products(sums[3], positive, query, load(d));
    }
    sum_four(sums)
}

/// Four queries at a time to each row.
#[target_feature(enable = "avx2")]
fn dot_queries_i8(queries: &[i8], width: usize, rows: &[i8], dots: &mut [i32]) {
    let asked = queries.len() / width;
    let rows = rows.chunks_exact(width);
    for (row, dots) in rows.zip(dots.chunks_exact_mut(asked)) {
        prefetch_behind(row);
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

/// Rows of nibbles that follow each other, four at a time.
#[target_feature(enable = "avx2")]
fn dot_rows_nibbles(query: &[i8], rows: &[i8], dots: &mut [i32]) {
    let width = query.len() / 2;
    let fours = rows.chunks_exact(4 * width);
    let last = fours.remainder().chunks_exact(width);
    let (dots, last_dots) = dots.as_chunks_mut::<4>();
    for (rows, dots) in fours.zip(dots) {
        prefetch_behind(rows);
        *dots = dot_four_nibbles(query, four(rows, width));
    }
    for (row, dot) in last.zip(last_dots) {
        *dot = scalar::dot_nibbles(query, row);
    }
}

/// Nibbles are at most 15, so four products are at most 4 · 15 · 127 = 7620, which does not saturate.
#[inline]
#[target_feature(enable = "avx2")]
fn dot_four_nibbles(query: &[i8], [a, b, c, d]: [&[i8]; 4]) -> [i32; 4] {
    let rows = lines(a).iter().zip(lines(b));
    let rows = rows.zip(lines(c).iter().zip(lines(d)));
    let query = query.as_chunks().0.as_chunks().0;
    let mut sums = [_mm256_setzero_si256(); 4];
    for ([q0, q1, q2, q3], ((a, b), (c, d))) in query.iter().zip(rows) {
        let (query, next) = ((load(q0), load(q2)), (load(q1), load(q3)));
        sums[0] = add_nibbles(add_nibbles(sums[0], load(&a[0]), query), load(&a[1]), next);
        sums[1] = add_nibbles(add_nibbles(sums[1], load(&b[0]), query), load(&b[1]), next);
        sums[2] = add_nibbles(add_nibbles(sums[2], load(&c[0]), query), load(&c[1]), next);
        sums[3] = add_nibbles(add_nibbles(sums[3], load(&d[0]), query), load(&d[1]), next);
    }
    sum_four(sums)
}

/// Lines of 64 bytes, as two registers each.
#[inline]
fn lines(nibbles: &[i8]) -> &[[[i8; 32]; 2]] {
    nibbles.as_chunks().0.as_chunks().0
}

/// `sums` plus the products of 64 nibbles in 32 bytes, the lower ones with the first part of a query.
#[inline]
#[target_feature(enable = "avx2")]
fn add_nibbles(sums: __m256i, packed: __m256i, (low, high): (__m256i, __m256i)) -> __m256i {
    let lower = _mm256_set1_epi8(0x0F);
    let low = _mm256_maddubs_epi16(_mm256_and_si256(packed, lower), low);
    let upper = _mm256_and_si256(_mm256_srli_epi16::<4>(packed), lower);
    let pairs = _mm256_add_epi16(low, _mm256_maddubs_epi16(upper, high));
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

#[inline]
#[target_feature(enable = "avx2,fma")]
fn dot_f32(a: &[F32], b: &[F32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let (a_fours, a_last) = a_lanes.as_chunks::<4>();
    let (b_fours, b_last) = b_lanes.as_chunks::<4>();
    let mut sums = [_mm256_setzero_ps(); 4];
    for (a, b) in a_fours.iter().zip(b_fours) {
        sums[0] = _mm256_fmadd_ps(load_f32(&a[0]), load_f32(&b[0]), sums[0]);
        sums[1] = _mm256_fmadd_ps(load_f32(&a[1]), load_f32(&b[1]), sums[1]);
        sums[2] = _mm256_fmadd_ps(load_f32(&a[2]), load_f32(&b[2]), sums[2]);
        sums[3] = _mm256_fmadd_ps(load_f32(&a[3]), load_f32(&b[3]), sums[3]);
    }
    for (a, b) in a_last.iter().zip(b_last) {
        sums[0] = _mm256_fmadd_ps(load_f32(a), load_f32(b), sums[0]);
    }
    sum_f32(sums) + scalar::dot_few_f32(a_rest, b_rest)
}

#[inline]
#[target_feature(enable = "avx2,fma,f16c")]
fn dot_f16(a: &[F16], b: &[F16]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<8>();
    let (b_lanes, b_rest) = b.as_chunks::<8>();
    let (a_fours, a_last) = a_lanes.as_chunks::<4>();
    let (b_fours, b_last) = b_lanes.as_chunks::<4>();
    let mut sums = [_mm256_setzero_ps(); 4];
    for (a, b) in a_fours.iter().zip(b_fours) {
        sums[0] = _mm256_fmadd_ps(load_f16(&a[0]), load_f16(&b[0]), sums[0]);
        sums[1] = _mm256_fmadd_ps(load_f16(&a[1]), load_f16(&b[1]), sums[1]);
        sums[2] = _mm256_fmadd_ps(load_f16(&a[2]), load_f16(&b[2]), sums[2]);
        sums[3] = _mm256_fmadd_ps(load_f16(&a[3]), load_f16(&b[3]), sums[3]);
    }
    for (a, b) in a_last.iter().zip(b_last) {
        sums[0] = _mm256_fmadd_ps(load_f16(a), load_f16(b), sums[0]);
    }
    sum_f32(sums) + scalar::dot_few_f16(a_rest, b_rest)
}

#[target_feature(enable = "avx2")]
fn quantise(vector: &[f32], factor: f32, codes: &mut [i8]) {
    let (lanes, rest) = vector.as_chunks::<8>();
    let (fours, last) = lanes.as_chunks::<4>();
    let (chunks, rest_codes) = codes.as_chunks_mut::<32>();
    let factors = _mm256_set1_ps(factor);
    // Packing works within halves of registers and leaves groups of four codes in this order.
    let order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7);
    for (values, codes) in fours.iter().zip(chunks) {
        let low = _mm256_packs_epi32(rounded(&values[0], factors), rounded(&values[1], factors));
        let high = _mm256_packs_epi32(rounded(&values[2], factors), rounded(&values[3], factors));
        let packed = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        // SAFETY: writes the 32 bytes that `codes` borrows, at any alignment.
        unsafe { _mm256_storeu_si256(codes.as_mut_ptr().cast(), packed) }
    }
    let (last_codes, rest_codes) = rest_codes.split_at_mut(last.as_flattened().len());
    scalar::quantise(last.as_flattened(), factor, last_codes);
    scalar::quantise(rest, factor, rest_codes);
}

/// Products in −127..=127 as integers, 0 for what is not a number.
#[inline]
#[target_feature(enable = "avx2")]
fn rounded(values: &[f32; 8], factors: __m256) -> __m256i {
    // SAFETY: reads the 32 bytes that `values` borrows, at any alignment.
    let values = unsafe { _mm256_loadu_ps(values.as_ptr()) };
    let products = _mm256_mul_ps(values, factors);
    let products = _mm256_and_ps(products, _mm256_cmp_ps::<_CMP_ORD_Q>(products, products));
    let products = _mm256_max_ps(products, _mm256_set1_ps(-127.0));
    let products = _mm256_min_ps(products, _mm256_set1_ps(127.0));
    // Rounds to nearest even: Rust code runs in the default floating-point environment.
    _mm256_cvtps_epi32(products)
}

#[target_feature(enable = "avx2,f16c")]
fn f32_to_f16(values: &[f32], out: &mut [u16]) {
    let (lanes, rest) = values.as_chunks::<8>();
    let (halves, rest_halves) = out.as_chunks_mut::<8>();
    for (values, halves) in lanes.iter().zip(halves) {
        // SAFETY: reads the 32 bytes that `values` borrows, at any alignment.
        let values = unsafe { _mm256_loadu_ps(values.as_ptr()) };
        let packed = _mm256_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values);
        // SAFETY: writes the 16 bytes that `halves` borrows, at any alignment.
        unsafe { _mm_storeu_si128(halves.as_mut_ptr().cast(), packed) }
    }
    scalar::f32_to_f16(rest, rest_halves);
}

/// `sums` plus the products `a · b`, four neighbours to a lane; `positive` is |a|.
#[inline]
#[target_feature(enable = "avx2")]
fn add_products(sums: __m256i, positive: __m256i, a: __m256i, b: __m256i) -> __m256i {
    let pairs = _mm256_maddubs_epi16(positive, _mm256_sign_epi8(b, a));
    _mm256_add_epi32(sums, _mm256_madd_epi16(pairs, _mm256_set1_epi16(1)))
}

/// Asks for what is [`PREFETCH_AHEAD`] behind `rows`, line by line.
#[inline]
pub(super) fn prefetch_behind(rows: &[i8]) {
    for line in rows.as_chunks::<64>().0 {
        let ahead = line.as_ptr().wrapping_add(PREFETCH_AHEAD);
        // SAFETY: a prefetch is a hint that reads nothing into the program and never faults,
        // wherever its address points; SSE is part of x86-64.
        unsafe { _mm_prefetch::<_MM_HINT_T0>(ahead) }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(codes: &[i8; 32]) -> __m256i {
    // SAFETY: reads the 32 bytes that `codes` borrows, at any alignment.
    unsafe { _mm256_loadu_si256(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load_f32(values: &[F32; 8]) -> __m256 {
    // SAFETY: reads the 32 bytes that `values` borrows, at any alignment.
    unsafe { _mm256_loadu_ps(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx2,f16c")]
fn load_f16(values: &[F16; 8]) -> __m256 {
    // SAFETY: reads the 16 bytes that `values` borrows, at any alignment.
    _mm256_cvtph_ps(unsafe { _mm_loadu_si128(values.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_i32(sums: __m256i) -> i32 {
    let sums = _mm_add_epi32(
        _mm256_castsi256_si128(sums),
        _mm256_extracti128_si256::<1>(sums),
    );
    let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b00_00_11_10>(sums));
    let sums = _mm_add_epi32(sums, _mm_shuffle_epi32::<0b00_00_00_01>(sums));
    _mm_cvtsi128_si32(sums)
}

/// The sum of each.
#[inline]
#[target_feature(enable = "avx2")]
pub(super) fn sum_four(sums: [__m256i; 4]) -> [i32; 4] {
    let low = _mm256_hadd_epi32(sums[0], sums[1]);
    let high = _mm256_hadd_epi32(sums[2], sums[3]);
    let halves = _mm256_hadd_epi32(low, high);
    let whole = _mm_add_epi32(
        _mm256_castsi256_si128(halves),
        _mm256_extracti128_si256::<1>(halves),
    );
    let mut four = [0; 4];
    // SAFETY: writes the 16 bytes of `four`, at any alignment.
    unsafe { _mm_storeu_si128(four.as_mut_ptr().cast(), whole) }
    four
}

#[inline]
#[target_feature(enable = "avx2")]
fn sum_f32(sums: [__m256; 4]) -> f32 {
    let sum = _mm256_add_ps(
        _mm256_add_ps(sums[0], sums[1]),
        _mm256_add_ps(sums[2], sums[3]),
    );
    let sum = _mm_add_ps(_mm256_castps256_ps128(sum), _mm256_extractf128_ps::<1>(sum));
    let sum = _mm_add_ps(sum, _mm_movehl_ps(sum, sum));
    _mm_cvtss_f32(_mm_add_ss(sum, _mm_movehdup_ps(sum)))
}

#[target_feature(enable = "avx2")]
unsafe extern "C" fn metric_i8(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: the caller keeps the contract of a `PairMetric`; both are dropped before it gets the
    // result.
    let (a, b) = unsafe { pair(a, b, len) };
    -(dot_i8(a, b) as f32)
}

#[target_feature(enable = "avx2,fma")]
unsafe extern "C" fn metric_f32(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: as in `metric_i8`.
    let (a, b) = unsafe { pair(a, b, len) };
    -dot_f32(a, b)
}

#[target_feature(enable = "avx2,fma,f16c")]
unsafe extern "C" fn metric_f16(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: as in `metric_i8`.
    let (a, b) = unsafe { pair(a, b, len) };
    -dot_f16(a, b)
}
