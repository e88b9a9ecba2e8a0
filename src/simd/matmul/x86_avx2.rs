//! How is it done with AVX2 and FMA? Six rows of two registers: twelve sums, which hide the latency
//! of two multiplications at once, two registers for a line of weights, and two to spare.

use std::arch::x86_64::*;

use super::{COLUMNS, Start, Tile, Tiles, ask_for};

/// If the CPU has them.
pub(super) fn tiles() -> Option<&'static Tiles> {
    static TILES: Tiles = Tiles {
        name: "AVX2",
        narrow: &[
            tile::<1>, tile::<2>, tile::<3>, tile::<4>, tile::<5>, tile::<6>,
        ],
        wide: &[],
    };
    let there = is_x86_feature_detected!("avx2") && is_x86_feature_detected!("fma");
    there.then_some(&TILES)
}

#[target_feature(enable = "avx2,fma")]
fn tile<const ROWS: usize>(tile: Tile<'_>) {
    tile.check(ROWS, COLUMNS);
    let mut sums = [[_mm256_setzero_ps(); 2]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        let from = match tile.start {
            Start::Zero => continue,
            Start::Bias(bias) => bias,
            Start::Sums => &tile.out[row * tile.out_stride..],
        };
        *sums = load(from);
    }
    let starts: [*const f32; ROWS] =
        std::array::from_fn(|row| tile.a[row * tile.a_stride..].as_ptr());
    let ahead = tile.ahead.as_ptr();
    for (step, line) in tile.b.iter().enumerate() {
        ask_for(ahead.wrapping_add(step));
        let [left, right] = load(line);
        for (start, sums) in starts.iter().zip(&mut sums) {
            // SAFETY: `check` saw that `a` reaches to the last step of the last row.
            let a = unsafe { *start.add(step) };
            let a = _mm256_set1_ps(a);
            sums[0] = _mm256_fmadd_ps(a, left, sums[0]);
            sums[1] = _mm256_fmadd_ps(a, right, sums[1]);
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let out = &mut tile.out[row * tile.out_stride..][..COLUMNS];
        // SAFETY: writes the 64 bytes that `out` borrows, at any alignment.
        unsafe {
            _mm256_storeu_ps(out.as_mut_ptr(), sums[0]);
            _mm256_storeu_ps(out.as_mut_ptr().add(8), sums[1]);
        }
    }
}

#[inline]
#[target_feature(enable = "avx2")]
fn load(values: &[f32]) -> [__m256; 2] {
    let values = &values[..COLUMNS];
    // SAFETY: reads the 64 bytes that `values` borrows, at any alignment.
    unsafe {
        [
            _mm256_loadu_ps(values.as_ptr()),
            _mm256_loadu_ps(values.as_ptr().add(8)),
        ]
    }
}
