//! What does every instruction set bring, and when may it be called?
//!
//! [`Kernels`] is private in its parts: a table is made by one instruction set's file, whose
//! `kernels` hands it out only on a CPU that was seen to have those instructions. Holding a
//! `&Kernels` is thereby the proof that its functions can run.

use std::slice;

/// A distance for graphs: addresses of two vectors, and how many elements each has. At both
/// addresses that many elements must be readable; they need not be aligned.
pub type PairMetric = unsafe extern "C" fn(usize, usize, usize) -> f32;

/// Rows of codes are padded to multiples of this many.
pub(super) const PADDING: usize = 64;

/// Codes of a query that is compared with nibbles are padded to multiples of this many, for which 64 bytes of nibbles stand.
pub(super) const NIBBLES_PADDING: usize = 2 * PADDING;

/// An f32 in native bytes, which need not be aligned.
pub type F32 = [u8; 4];
/// A half-precision number in native bytes, which need not be aligned.
pub type F16 = [u8; 2];

/// The functions of one instruction set. Slices that are compared have the same length.
pub(super) struct Kernels {
    /// For the tests' notes.
    #[cfg_attr(not(test), allow(dead_code, reason = "said by the tests alone"))]
    pub name: &'static str,
    pub parts: Parts,
    pub metric_i8: PairMetric,
    pub metric_f32: PairMetric,
    pub metric_f16: PairMetric,
}

/// The functions that only [`Kernels`] calls. Each is unsafe to call on a CPU without the
/// instructions that it was compiled for, and for no other reason.
pub(super) struct Parts {
    pub dot_i8: unsafe fn(&[i8], &[i8]) -> i32,
    pub dot_four_i8: unsafe fn(&[i8], [&[i8]; 4]) -> [i32; 4],
    pub dot_rows_i8: unsafe fn(&[i8], &[i8], &mut [i32]),
    pub dot_queries_i8: unsafe fn(&[i8], usize, &[i8], &mut [i32]),
    pub dot_rows_nibbles: unsafe fn(&[i8], &[i8], &mut [i32]),
    pub dot_f32: unsafe fn(&[F32], &[F32]) -> f32,
    pub dot_f16: unsafe fn(&[F16], &[F16]) -> f32,
    pub quantise: unsafe fn(&[f32], f32, &mut [i8]),
    pub f32_to_f16: unsafe fn(&[f32], &mut [u16]),
}

impl Kernels {
    /// Of vectors of the same length.
    pub fn dot_i8(&self, a: &[i8], b: &[i8]) -> i32 {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.dot_i8)(a, b) }
    }

    /// Of a query and rows of the same length, a multiple of [`PADDING`].
    pub fn dot_four_i8(&self, query: &[i8], rows: [&[i8]; 4]) -> [i32; 4] {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.dot_four_i8)(query, rows) }
    }

    /// `rows` are as many rows of the query's length, a multiple of [`PADDING`] and not 0, as there
    /// are `dots`.
    pub fn dot_rows_i8(&self, query: &[i8], rows: &[i8], dots: &mut [i32]) {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.dot_rows_i8)(query, rows, dots) }
    }

    /// `queries` and `rows` are whole vectors of `width` codes, a multiple of [`PADDING`] and not 0;
    /// `dots` has a number for each pair, those of one row side by side.
    pub fn dot_queries_i8(&self, queries: &[i8], width: usize, rows: &[i8], dots: &mut [i32]) {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.dot_queries_i8)(queries, width, rows, dots) }
    }

    /// `rows` are as many rows of nibbles, half as long as the query, as there are `dots`; the query's length is a
    /// multiple of [`NIBBLES_PADDING`] and not 0.
    pub fn dot_rows_nibbles(&self, query: &[i8], rows: &[i8], dots: &mut [i32]) {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.dot_rows_nibbles)(query, rows, dots) }
    }

    /// Of vectors of the same length.
    pub fn dot_f32(&self, a: &[F32], b: &[F32]) -> f32 {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.dot_f32)(a, b) }
    }

    /// Of vectors of the same length.
    pub fn dot_f16(&self, a: &[F16], b: &[F16]) -> f32 {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.dot_f16)(a, b) }
    }

    /// Of as many values as there are codes.
    pub fn quantise(&self, vector: &[f32], factor: f32, codes: &mut [i8]) {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.quantise)(vector, factor, codes) }
    }

    /// Of as many values as there are halves.
    pub fn f32_to_f16(&self, values: &[f32], out: &mut [u16]) {
        // SAFETY: this table was handed out, so the CPU has its instructions.
        unsafe { (self.parts.f32_to_f16)(values, out) }
    }
}

/// The first four vectors of `width` codes, which follow each other.
#[inline(always)]
pub(super) fn four(vectors: &[i8], width: usize) -> [&[i8]; 4] {
    let (a, vectors) = vectors.split_at(width);
    let (b, vectors) = vectors.split_at(width);
    let (c, vectors) = vectors.split_at(width);
    [a, b, c, vectors.split_at(width).0]
}

/// Elements of a [`PairMetric`]: plain bytes that need no alignment.
pub(super) trait Element {}
impl Element for i8 {}
impl Element for F32 {}
impl Element for F16 {}

/// The vectors that a [`PairMetric`] was called with.
///
/// # Safety
/// As of [`PairMetric`]: `len` elements are readable at both addresses, and nobody writes them
/// before the caller is done with what it got.
#[inline(always)]
pub(super) unsafe fn pair<'a, T: Element>(a: usize, b: usize, len: usize) -> (&'a [T], &'a [T]) {
    let (a, b) = (
        std::ptr::with_exposed_provenance(a),
        std::ptr::with_exposed_provenance(b),
    );
    // SAFETY: the caller vouches for the memory and its lifetime; every `Element` has alignment 1
    // and any bytes are a value of it.
    unsafe { (slice::from_raw_parts(a, len), slice::from_raw_parts(b, len)) }
}
