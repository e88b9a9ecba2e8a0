//! How is it done with AVX-512 and its dot product of bytes (F, BW and VNNI)?
//!
//! VNNI multiplies unsigned bytes by signed ones and adds four neighbours to a lane of 32 bits. One
//! factor is made unsigned by adding 128 (flipping its upper bit), and what that adds to the
//! result, 128 · Σ of the other, is taken off at the end. Lanes wrap, so only the result has to fit.

use std::arch::x86_64::*;

use super::{
    kernels::{F16, F32, Kernels, Parts, four, pair},
    scalar, x86_avx2,
};

/// If the CPU has them.
pub(super) fn kernels() -> Option<&'static Kernels> {
    static KERNELS: Kernels = Kernels {
        name: "AVX-512",
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
    // Every such CPU has AVX2, FMA and F16C, which the compiler takes AVX-512 F to include.
    let there = is_x86_feature_detected!("avx512f")
        && is_x86_feature_detected!("avx512bw")
        && is_x86_feature_detected!("avx512vnni");
    there.then_some(&KERNELS)
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_i8(a: &[i8], b: &[i8]) -> i32 {
    let (a_chunks, a_rest) = a.as_chunks();
    let (b_chunks, b_rest) = b.as_chunks();
    let ones = _mm512_set1_epi8(1);
    let (mut dot, mut sum) = (_mm512_setzero_si512(), _mm512_setzero_si512());
    for (a, b) in a_chunks.iter().zip(b_chunks) {
        let b = load(b);
        dot = _mm512_dpbusd_epi32(dot, unsigned(load(a)), b);
        sum = _mm512_dpbusd_epi32(sum, ones, b);
    }
    let dot = _mm512_sub_epi32(dot, _mm512_slli_epi32::<7>(sum));
    _mm512_reduce_add_epi32(dot) + scalar::dot_i8(a_rest, b_rest)
}

/// Rows that follow each other, four at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_rows_i8(query: &[i8], rows: &[i8], dots: &mut [i32]) {
    let width = query.len();
    let offset = offset(query);
    let fours = rows.chunks_exact(4 * width);
    let last = fours.remainder().chunks_exact(width);
    let (dots, last_dots) = dots.as_chunks_mut::<4>();
    for (rows, dots) in fours.zip(dots) {
        x86_avx2::prefetch_behind(rows);
        *dots = dot_unsigned_four(query, four(rows, width)).map(|dot| dot.wrapping_sub(offset));
    }
    for (row, dot) in last.zip(last_dots) {
        *dot = dot_i8(row, query);
    }
}

/// Rows that stand anywhere.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_four_i8(query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
    let offset = offset(query);
    dot_unsigned_four(query, rows).map(|dot| dot.wrapping_sub(offset))
}

/// The products of the query and each row plus 128. Each part of the query is loaded once for all of
/// them, and their sums are added up across lanes together.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_unsigned_four(query: &[i8], [a, b, c, d]: [&[i8]; 4]) -> [i32; 4] {
    let rows = a.as_chunks().0.iter().zip(b.as_chunks().0);
    let rows = rows.zip(c.as_chunks().0.iter().zip(d.as_chunks().0));
    let mut sums = [_mm512_setzero_si512(); 4];
    for (query, ((a, b), (c, d))) in query.as_chunks().0.iter().zip(rows) {
        let query = load(query);
        sums[0] = _mm512_dpbusd_epi32(sums[0], unsigned(load(a)), query);
        sums[1] = _mm512_dpbusd_epi32(sums[1], unsigned(load(b)), query);
        sums[2] = _mm512_dpbusd_epi32(sums[2], unsigned(load(c)), query);
        sums[3] = _mm512_dpbusd_epi32(sums[3], unsigned(load(d)), query);
    }
    sum_four(sums)
}

/// Four queries together: each part of a row is loaded and made unsigned once for all of them.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_queries_i8(queries: &[i8], width: usize, rows: &[i8], dots: &mut [i32]) {
    let groups = queries.chunks(4 * width).map(|queries| {
        let mut offsets = [0; 4];
        for (query, of) in queries.chunks_exact(width).zip(&mut offsets) {
            *of = offset(query);
        }
        (queries, offsets)
    });
    let groups: Vec<_> = groups.collect();
    let asked = queries.len() / width;
    let rows = rows.chunks_exact(width);
    for (row, dots) in rows.zip(dots.chunks_exact_mut(asked)) {
        x86_avx2::prefetch_behind(row);
        for ((queries, offsets), dots) in groups.iter().zip(dots.chunks_mut(4)) {
            match dots.first_chunk_mut() {
                Some(dots) => *dots = dot_four_queries(queries, offsets, row),
                None => {
                    for (query, dot) in queries.chunks_exact(width).zip(dots) {
                        *dot = dot_i8(row, query);
                    }
                }
            }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_four_queries(queries: &[i8], offsets: &[i32; 4], row: &[i8]) -> [i32; 4] {
    let [a, b, c, d] = four(queries, row.len());
    let queries = a.as_chunks().0.iter().zip(b.as_chunks().0);
    let queries = queries.zip(c.as_chunks().0.iter().zip(d.as_chunks().0));
    let mut sums = [_mm512_setzero_si512(); 4];
    for (row, ((a, b), (c, d))) in row.as_chunks().0.iter().zip(queries) {
        let row = unsigned(load(row));
        sums[0] = _mm512_dpbusd_epi32(sums[0], row, load(a));
        sums[1] = _mm512_dpbusd_epi32(sums[1], row, load(b));
        sums[2] = _mm512_dpbusd_epi32(sums[2], row, load(c));
        sums[3] = _mm512_dpbusd_epi32(sums[3], row, load(d));
    }
    let mut dots = sum_four(sums);
    for (dot, offset) in dots.iter_mut().zip(offsets) {
        *dot = dot.wrapping_sub(*offset);
    }
    dots
}

/// Rows of nibbles that follow each other, four at a time.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_rows_nibbles(query: &[i8], rows: &[i8], dots: &mut [i32]) {
    let width = query.len() / 2;
    let fours = rows.chunks_exact(4 * width);
    let last = fours.remainder().chunks_exact(width);
    let (dots, last_dots) = dots.as_chunks_mut::<4>();
    for (rows, dots) in fours.zip(dots) {
        x86_avx2::prefetch_behind(rows);
        *dots = dot_four_nibbles(query, four(rows, width));
    }
    for (row, dot) in last.zip(last_dots) {
        *dot = scalar::dot_nibbles(query, row);
    }
}

/// Nibbles are unsigned as they are.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn dot_four_nibbles(query: &[i8], [a, b, c, d]: [&[i8]; 4]) -> [i32; 4] {
    let rows = a.as_chunks().0.iter().zip(b.as_chunks().0);
    let rows = rows.zip(c.as_chunks().0.iter().zip(d.as_chunks().0));
    let (lines, _) = query.as_chunks().0.as_chunks();
    let mut sums = [_mm512_setzero_si512(); 4];
    for ([low, high], ((a, b), (c, d))) in lines.iter().zip(rows) {
        let query = (load(low), load(high));
        sums[0] = add_nibbles(sums[0], load(a), query);
        sums[1] = add_nibbles(sums[1], load(b), query);
        sums[2] = add_nibbles(sums[2], load(c), query);
        sums[3] = add_nibbles(sums[3], load(d), query);
    }
    sum_four(sums)
}

/// `sums` plus the products of 128 nibbles in 64 bytes, the lower ones with the first part of a query.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn add_nibbles(sums: __m512i, packed: __m512i, (low, high): (__m512i, __m512i)) -> __m512i {
    let lower = _mm512_set1_epi8(0x0F);
    let sums = _mm512_dpbusd_epi32(sums, _mm512_and_si512(packed, lower), low);
    let upper = _mm512_and_si512(_mm512_srli_epi16::<4>(packed), lower);
    _mm512_dpbusd_epi32(sums, upper, high)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn dot_f32(a: &[F32], b: &[F32]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<16>();
    let (b_lanes, b_rest) = b.as_chunks::<16>();
    let (a_fours, a_last) = a_lanes.as_chunks::<4>();
    let (b_fours, b_last) = b_lanes.as_chunks::<4>();
    let mut sums = [_mm512_setzero_ps(); 4];
    for (a, b) in a_fours.iter().zip(b_fours) {
        sums[0] = _mm512_fmadd_ps(load_f32(&a[0]), load_f32(&b[0]), sums[0]);
        sums[1] = _mm512_fmadd_ps(load_f32(&a[1]), load_f32(&b[1]), sums[1]);
        sums[2] = _mm512_fmadd_ps(load_f32(&a[2]), load_f32(&b[2]), sums[2]);
        sums[3] = _mm512_fmadd_ps(load_f32(&a[3]), load_f32(&b[3]), sums[3]);
    }
    for (a, b) in a_last.iter().zip(b_last) {
        sums[0] = _mm512_fmadd_ps(load_f32(a), load_f32(b), sums[0]);
    }
    sum_f32(sums) + scalar::dot_few_f32(a_rest, b_rest)
}

#[inline]
#[target_feature(enable = "avx512f")]
fn dot_f16(a: &[F16], b: &[F16]) -> f32 {
    let (a_lanes, a_rest) = a.as_chunks::<16>();
    let (b_lanes, b_rest) = b.as_chunks::<16>();
    let (a_fours, a_last) = a_lanes.as_chunks::<4>();
    let (b_fours, b_last) = b_lanes.as_chunks::<4>();
    let mut sums = [_mm512_setzero_ps(); 4];
    for (a, b) in a_fours.iter().zip(b_fours) {
        sums[0] = _mm512_fmadd_ps(load_f16(&a[0]), load_f16(&b[0]), sums[0]);
        sums[1] = _mm512_fmadd_ps(load_f16(&a[1]), load_f16(&b[1]), sums[1]);
        sums[2] = _mm512_fmadd_ps(load_f16(&a[2]), load_f16(&b[2]), sums[2]);
        sums[3] = _mm512_fmadd_ps(load_f16(&a[3]), load_f16(&b[3]), sums[3]);
    }
    for (a, b) in a_last.iter().zip(b_last) {
        sums[0] = _mm512_fmadd_ps(load_f16(a), load_f16(b), sums[0]);
    }
    sum_f32(sums) + scalar::dot_few_f16(a_rest, b_rest)
}

#[target_feature(enable = "avx512f")]
fn quantise(vector: &[f32], factor: f32, codes: &mut [i8]) {
    let (lanes, rest) = vector.as_chunks::<16>();
    let (chunks, rest_codes) = codes.as_chunks_mut::<16>();
    let factors = _mm512_set1_ps(factor);
    for (values, codes) in lanes.iter().zip(chunks) {
        // SAFETY: reads the 64 bytes that `values` borrows, at any alignment.
        let values = unsafe { _mm512_loadu_ps(values.as_ptr()) };
        let products = _mm512_mul_ps(values, factors);
        let numbers = _mm512_cmp_ps_mask::<_CMP_ORD_Q>(products, products);
        let products = _mm512_max_ps(products, _mm512_set1_ps(-127.0));
        let products = _mm512_min_ps(products, _mm512_set1_ps(127.0));
        // Rounds to nearest even: Rust code runs in the default floating-point environment.
        let rounded = _mm512_maskz_cvtps_epi32(numbers, products);
        // SAFETY: writes the 16 bytes that `codes` borrows, at any alignment.
        unsafe { _mm_storeu_si128(codes.as_mut_ptr().cast(), _mm512_cvtepi32_epi8(rounded)) }
    }
    scalar::quantise(rest, factor, rest_codes);
}

#[target_feature(enable = "avx512f")]
fn f32_to_f16(values: &[f32], out: &mut [u16]) {
    let (lanes, rest) = values.as_chunks::<16>();
    let (halves, rest_halves) = out.as_chunks_mut::<16>();
    for (values, halves) in lanes.iter().zip(halves) {
        // SAFETY: reads the 64 bytes that `values` borrows, at any alignment.
        let values = unsafe { _mm512_loadu_ps(values.as_ptr()) };
        let packed = _mm512_cvtps_ph::<_MM_FROUND_TO_NEAREST_INT>(values);
        // SAFETY: writes the 32 bytes that `halves` borrows, at any alignment.
        unsafe { _mm256_storeu_si256(halves.as_mut_ptr().cast(), packed) }
    }
    scalar::f32_to_f16(rest, rest_halves);
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(codes: &[i8; 64]) -> __m512i {
    // SAFETY: reads the 64 bytes that `codes` borrows, at any alignment.
    unsafe { _mm512_loadu_si512(codes.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_f32(values: &[F32; 16]) -> __m512 {
    // SAFETY: reads the 64 bytes that `values` borrows, at any alignment.
    unsafe { _mm512_loadu_ps(values.as_ptr().cast()) }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load_f16(values: &[F16; 16]) -> __m512 {
    // SAFETY: reads the 32 bytes that `values` borrows, at any alignment.
    _mm512_cvtph_ps(unsafe { _mm256_loadu_si256(values.as_ptr().cast()) })
}

/// Each code plus 128.
#[inline]
#[target_feature(enable = "avx512f")]
fn unsigned(codes: __m512i) -> __m512i {
    _mm512_xor_si512(codes, _mm512_set1_epi8(i8::MIN))
}

/// What a dot product of `codes`, whole registers of them, and an unsigned vector is too large by: 128 · Σ codes.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn offset(codes: &[i8]) -> i32 {
    let ones = _mm512_set1_epi8(1);
    let mut sum = _mm512_setzero_si512();
    for codes in codes.as_chunks().0 {
        sum = _mm512_dpbusd_epi32(sum, ones, load(codes));
    }
    _mm512_reduce_add_epi32(_mm512_slli_epi32::<7>(sum))
}

/// The sum of each.
#[inline]
#[target_feature(enable = "avx512f")]
fn sum_four(sums: [__m512i; 4]) -> [i32; 4] {
    x86_avx2::sum_four([
        folded(sums[0]),
        folded(sums[1]),
        folded(sums[2]),
        folded(sums[3]),
    ])
}

/// The sum of the two halves.
#[inline]
#[target_feature(enable = "avx512f")]
fn folded(sums: __m512i) -> __m256i {
    _mm256_add_epi32(
        _mm512_castsi512_si256(sums),
        _mm512_extracti64x4_epi64::<1>(sums),
    )
}

#[inline]
#[target_feature(enable = "avx512f")]
fn sum_f32(sums: [__m512; 4]) -> f32 {
    _mm512_reduce_add_ps(_mm512_add_ps(
        _mm512_add_ps(sums[0], sums[1]),
        _mm512_add_ps(sums[2], sums[3]),
    ))
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
unsafe extern "C" fn metric_i8(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: the caller keeps the contract of a `PairMetric`; both are dropped before it gets the
    // result.
    let (a, b) = unsafe { pair(a, b, len) };
    -(dot_i8(a, b) as f32)
}

#[target_feature(enable = "avx512f")]
unsafe extern "C" fn metric_f32(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: as in `metric_i8`.
    let (a, b) = unsafe { pair(a, b, len) };
    -dot_f32(a, b)
}

#[target_feature(enable = "avx512f")]
unsafe extern "C" fn metric_f16(a: usize, b: usize, len: usize) -> f32 {
    // SAFETY: as in `metric_i8`.
    let (a, b) = unsafe { pair(a, b, len) };
    -dot_f16(a, b)
}
