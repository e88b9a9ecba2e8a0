//! How is it done with NEON? Six rows of four registers: 24 sums, four registers for a line of
//! weights, and four for the rows' numbers.

use std::arch::{aarch64::*, is_aarch64_feature_detected};

use super::{COLUMNS, Start, Tile, Tiles};

/// If the CPU has it, as every one that runs an operating system does.
pub(super) fn tiles() -> Option<&'static Tiles> {
    static TILES: Tiles = Tiles {
        name: "NEON",
        narrow: &[
            tile::<1>, tile::<2>, tile::<3>, tile::<4>, tile::<5>, tile::<6>,
        ],
        wide: &[],
    };
    is_aarch64_feature_detected!("neon").then_some(&TILES)
}

/// There is no stable hint for what is needed soon; the CPU's own prefetchers see a plain sequence.
#[target_feature(enable = "neon")]
fn tile<const ROWS: usize>(tile: Tile<'_>) {
    tile.check(ROWS, COLUMNS);
    let mut sums = [[vdupq_n_f32(0.0); 4]; ROWS];
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
    for (step, line) in tile.b.iter().enumerate() {
        let line = load(line);
        for (start, sums) in starts.iter().zip(&mut sums) {
            // SAFETY: `check` saw that `a` reaches to the last step of the last row.
            let a = unsafe { *start.add(step) };
            for (sum, b) in sums.iter_mut().zip(&line) {
                *sum = vfmaq_n_f32(*sum, *b, a);
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        let out = &mut tile.out[row * tile.out_stride..][..COLUMNS];
        for (sum, out) in sums.iter().zip(out.as_chunks_mut::<4>().0) {
            // SAFETY: writes the 16 bytes that `out` borrows.
            unsafe { vst1q_f32(out.as_mut_ptr(), *sum) }
        }
    }
}

#[inline]
#[target_feature(enable = "neon")]
fn load(values: &[f32]) -> [float32x4_t; 4] {
    let values = &values[..COLUMNS];
    let at = |number: usize| {
        // SAFETY: reads 16 of the 64 bytes that `values` borrows.
        unsafe { vld1q_f32(values.as_ptr().add(4 * number)) }
    };
    [at(0), at(1), at(2), at(3)]
}
