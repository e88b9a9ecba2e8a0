//! How is it done with AVX-512? Twelve rows of two panels: 24 sums, two registers for the lines of
//! weights, and the row's number comes as a broadcast operand of the multiplication.

use std::arch::x86_64::*;

use super::{COLUMNS, Line, Start, Tile, Tiles, ask_for};

/// If the CPU has it.
pub(super) fn tiles() -> Option<&'static Tiles> {
    static TILES: Tiles = Tiles {
        name: "AVX-512",
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
    is_x86_feature_detected!("avx512f").then_some(&TILES)
}

#[target_feature(enable = "avx512f")]
fn tile<const ROWS: usize, const PANELS: usize>(tile: Tile<'_>) {
    tile.check(ROWS, PANELS * COLUMNS);
    let mut sums = [[_mm512_setzero_ps(); PANELS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        let from = match tile.start {
            Start::Zero => continue,
            Start::Bias(bias) => bias,
            Start::Sums => &tile.out[row * tile.out_stride..],
        };
        for (sum, from) in sums.iter_mut().zip(from.as_chunks().0) {
            *sum = load(from);
        }
    }
    let panels = [tile.b, tile.second];
    let starts: [*const f32; ROWS] =
        std::array::from_fn(|row| tile.a[row * tile.a_stride..].as_ptr());
    let ahead = tile.ahead.as_ptr();
    for step in 0..tile.b.len() {
        ask_for(ahead.wrapping_add(step));
        let mut lines = [_mm512_setzero_ps(); PANELS];
        for (line, panel) in lines.iter_mut().zip(&panels) {
            // SAFETY: `check` saw that the second panel, where it is used, is as long as the first.
            *line = load(unsafe { panel.get_unchecked(step) });
        }
        for (start, sums) in starts.iter().zip(&mut sums) {
            // SAFETY: `check` saw that `a` reaches to the last step of the last row.
            let a = unsafe { *start.add(step) };
            let a = _mm512_set1_ps(a);
            for (sum, line) in sums.iter_mut().zip(&lines) {
                *sum = _mm512_fmadd_ps(a, *line, *sum);
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
fn load(line: &Line) -> __m512 {
    // SAFETY: reads the 64 bytes that `line` borrows, at any alignment.
    unsafe { _mm512_loadu_ps(line.as_ptr()) }
}
