//! What do these products give on a CPU without such instructions? The measure of the others, for tests:
//! too slow to be worth anything else.

use super::{
    super::{Start, Tile, Tiles, product_with},
    COLUMNS, Kernels, LINE_STEPS, Onto, Pair, Pairs, Panels,
};

/// Any CPU can run these.
pub fn portable() -> &'static Kernels {
    static KERNELS: Kernels = Kernels {
        name: "portable",
        round,
        product,
    };
    &KERNELS
}

/// The nearest bf16, the even one of two.
pub(super) fn rounded(number: f32) -> u16 {
    if number.is_nan() {
        return 0x7fc0;
    }
    if number.is_subnormal() {
        return (number.to_bits() >> 16) as u16 & 0x8000;
    }
    let bits = number.to_bits();
    ((bits + 0x7fff + (bits >> 16 & 1)) >> 16) as u16
}

fn round(numbers: &[f32; LINE_STEPS], line: &mut [Pair; COLUMNS]) {
    for ([low, high], pair) in numbers.as_chunks().0.iter().zip(line) {
        pair.0 = u32::from(rounded(*low)) | u32::from(rounded(*high)) << 16;
    }
}

/// The two numbers.
pub(super) fn halves(pair: Pair) -> [f32; 2] {
    [
        f32::from_bits(pair.0 << 16),
        f32::from_bits(pair.0 & 0xffff_0000),
    ]
}

fn product(
    rows: &Pairs,
    panels: &Panels<Pair>,
    onto: Onto<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    static TILES: Tiles<Pair> = Tiles {
        name: "portable",
        narrow: &[tile],
        wide: &[],
    };
    let count = rows.count;
    product_with(&TILES, rows.rows(), count, panels, onto, out, out_stride);
}

/// One row, in the order of AVX512-BF16. Products are exact, so adding them is what a fused addition does.
fn tile(tile: Tile<'_, Pair>) {
    tile.check(1, COLUMNS);
    let mut sums = [0.0; COLUMNS];
    match tile.start {
        Start::Zero => {}
        Start::Bias(bias) => sums.copy_from_slice(&bias[..COLUMNS]),
        Start::Sums => sums.copy_from_slice(&tile.out[..COLUMNS]),
    }
    for (a, line) in tile.a.iter().zip(tile.b) {
        let [low, high] = halves(*a);
        for (sum, b) in sums.iter_mut().zip(line) {
            let b = halves(*b);
            *sum += high * b[1];
            *sum += low * b[0];
        }
    }
    tile.out[..COLUMNS].copy_from_slice(&sums);
}
