//! How is it done without instructions of a kind? The measure of the others, and slow.

use super::{COLUMNS, Start, Tile, Tiles};

/// Any CPU can run these.
pub(super) fn tiles() -> &'static Tiles {
    static TILES: Tiles = Tiles {
        name: "scalar",
        narrow: &[tile::<1>, tile::<2>],
        wide: &[],
    };
    &TILES
}

/// Two rows are what sixteen registers of four numbers have room for.
fn tile<const ROWS: usize>(tile: Tile<'_>) {
    tile.check(ROWS, COLUMNS);
    let mut sums = [[0.0; COLUMNS]; ROWS];
    for (row, sums) in sums.iter_mut().enumerate() {
        match tile.start {
            Start::Zero => {}
            Start::Bias(bias) => sums.copy_from_slice(&bias[..COLUMNS]),
            Start::Sums => sums.copy_from_slice(&tile.out[row * tile.out_stride..][..COLUMNS]),
        }
    }
    for (step, line) in tile.b.iter().enumerate() {
        for (row, sums) in sums.iter_mut().enumerate() {
            let a = tile.a[row * tile.a_stride + step];
            for (sum, b) in sums.iter_mut().zip(line) {
                *sum += a * b;
            }
        }
    }
    for (row, sums) in sums.iter().enumerate() {
        tile.out[row * tile.out_stride..][..COLUMNS].copy_from_slice(sums);
    }
}
