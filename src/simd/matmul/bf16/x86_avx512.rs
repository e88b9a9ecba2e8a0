//! How is it done with AVX512-BF16? The tiles of AVX-512 for f32, with pairs for numbers: one instruction
//! adds two products to each of sixteen sums, the second step's first.

use std::arch::x86_64::*;

use super::{
    super::{COLUMNS, Line, Onto, Panels, Start, Tile, Tiles, ask_for, product_with},
    Kernels, LINE_STEPS, Pair, Pairs,
};

static TILES: Tiles<Pair> = Tiles {
    name: "AVX512-BF16",
    narrow: &[
        tile::<1, 1>,
        tile::<2, 1>,
        tile::<3, 1>,
        tile::<4, 1>,
        tile::<5, 1>,
        tile::<6, 1>,
        tile::<7, 1>,
        tile::<8, 1>,
        tile::<9, 1>,
        tile::<10, 1>,
        tile::<11, 1>,
        tile::<12, 1>,
    ],
    wide: &[
        tile::<1, 2>,
        tile::<2, 2>,
        tile::<3, 2>,
        tile::<4, 2>,
        tile::<5, 2>,
        tile::<6, 2>,
        tile::<7, 2>,
        tile::<8, 2>,
        tile::<9, 2>,
        tile::<10, 2>,
        tile::<11, 2>,
        tile::<12, 2>,
    ],
};

/// If the CPU has it.
pub(super) fn kernels() -> Option<&'static Kernels> {
    static KERNELS: Kernels = Kernels {
        name: "AVX512-BF16",
        round,
        product,
    };
    let there = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    there.then_some(&KERNELS)
}

#[target_feature(enable = "avx512f,avx512bf16")]
pub(super) fn round(numbers: &[f32; LINE_STEPS], line: &mut [Pair; COLUMNS]) {
    let (low, high) = numbers.split_at(COLUMNS);
    // SAFETY: each reads 64 of the 128 bytes that `numbers` borrows, at any alignment; the store writes the
    // 64 bytes that `line` borrows, of which any pattern of bits is a value.
    unsafe {
        let low = _mm512_loadu_ps(low.as_ptr());
        let high = _mm512_loadu_ps(high.as_ptr());
        let pairs: __m512i = std::mem::transmute(_mm512_cvtne2ps_pbh(high, low));
        _mm512_storeu_si512(line.as_mut_ptr().cast(), pairs);
    }
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn product(
    rows: &Pairs,
    panels: &Panels<Pair>,
    onto: Onto<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    product_with(
        &TILES,
        rows.rows(),
        rows.count,
        panels,
        onto,
        out,
        out_stride,
    );
}

#[target_feature(enable = "avx512f,avx512bf16")]
fn tile<const ROWS: usize, const PANELS: usize>(tile: Tile<'_, Pair>) {
    tile.check(ROWS, PANELS * COLUMNS);
    let mut sums = [[_mm512_setzero_ps(); PANELS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        let from = match tile.start {
            Start::Zero => continue,
            Start::Bias(bias) => bias,
            Start::Sums => &tile.out[row * tile.out_stride..],
        };
        for (sum, from) in sums.iter_mut().zip(from.as_chunks::<COLUMNS>().0) {
            // SAFETY: reads the 64 bytes that `from` borrows, at any alignment.
            *sum = unsafe { _mm512_loadu_ps(from.as_ptr()) };
        }
    }
    let panels = [tile.b, tile.second];
    let starts: [*const Pair; ROWS] =
        std::array::from_fn(|row| tile.a[row * tile.a_stride..].as_ptr());
    let ahead = tile.ahead.as_ptr();
    for step in 0..tile.b.len() {
        ask_for(ahead.wrapping_add(step));
        let mut lines = [halves(_mm512_setzero_si512()); PANELS];
        for (line, panel) in lines.iter_mut().zip(&panels) {
            // SAFETY: `check` saw that the second panel, where it is used, is as long as the first.
            *line = load(unsafe { panel.get_unchecked(step) });
        }
        for (start, sums) in starts.iter().zip(&mut sums) {
            // SAFETY: `check` saw that `a` reaches to the last step of the last row.
            let a = unsafe { *start.add(step) };
            let a = halves(_mm512_set1_epi32(a.0.cast_signed()));
            for (sum, line) in sums.iter_mut().zip(&lines) {
                *sum = _mm512_dpbf16_ps(*sum, a, *line);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let out = &mut tile.out[row * tile.out_stride..];
        for (sum, out) in sums.iter().zip(out.as_chunks_mut::<COLUMNS>().0) {
            // SAFETY: writes the 64 bytes that `out` borrows, at any alignment.
            unsafe { _mm512_storeu_ps(out.as_mut_ptr(), *sum) }
        }
    }
}

#[inline]
#[target_feature(enable = "avx512f")]
fn load(line: &Line<Pair>) -> __m512bh {
    // SAFETY: reads the 64 bytes that `line` borrows, at any alignment.
    halves(unsafe { _mm512_loadu_si512(line.as_ptr().cast()) })
}

#[inline]
#[target_feature(enable = "avx512f")]
fn halves(bits: __m512i) -> __m512bh {
    // SAFETY: both are 64 bytes, of which any pattern is a value.
    unsafe { std::mem::transmute(bits) }
}
