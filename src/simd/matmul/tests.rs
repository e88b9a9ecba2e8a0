//! Does every instruction set of this CPU give the product that three nested loops in f64 give?
//!
//! AVX-512 and NEON run where the CPU has them; each test says which ones it ran.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use super::*;

fn all() -> Vec<&'static Tiles> {
    #[cfg(target_arch = "x86_64")]
    let others = [x86_avx2::tiles(), x86_avx512::tiles()];
    #[cfg(target_arch = "aarch64")]
    let others = [neon::tiles()];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let others = [];
    let mut all = vec![scalar::tiles()];
    all.extend(others.into_iter().flatten());
    println!("{:?}", all.iter().map(|t| t.name).collect::<Vec<_>>());
    all
}

/// Numbers in -1..1 that a seed names.
pub(super) fn numbers(len: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut next = || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 40) as f32 / (1 << 23) as f32 - 1.0
    };
    (0..len).map(|_| next()).collect()
}

/// The sums in f64, and the sums of magnitudes that rounding is measured by.
fn exact(
    a: &[f32],
    a_stride: usize,
    columns: &[f32],
    depth: usize,
) -> impl Fn(usize, usize) -> (f64, f64) {
    move |row, column| {
        let (mut sum, mut size) = (0.0, 0.0);
        for step in 0..depth {
            let x = f64::from(a[row * a_stride + step]) * f64::from(columns[column * depth + step]);
            (sum, size) = (sum + x, size + x.abs());
        }
        (sum, size)
    }
}

#[test]
fn tiles_of_every_shape_are_the_exact_product() {
    let shapes: [(usize, usize, usize); 12] = [
        (1, 1, 1),
        (1, 16, 384),
        (2, 17, 3),
        (3, 32, 32),
        (5, 48, 31),
        (6, 33, 256),
        (7, 16, 257),
        (11, 80, 100),
        (12, 32, 64),
        (13, 64, 513),
        (25, 47, 512),
        (40, 96, 1536),
    ];
    for tiles in all() {
        for (seed, (count, width, depth)) in shapes.into_iter().enumerate() {
            let seed = seed as u64;
            // Rows lie apart, and what lies between them is not theirs.
            let (a_stride, out_stride) = (depth + 3, width.next_multiple_of(COLUMNS) + 5);
            let a = numbers(count * a_stride, seed);
            let columns = numbers(width * depth, seed + 100);
            let bias = numbers(width.next_multiple_of(COLUMNS), seed + 200);
            let before = numbers(count * out_stride, seed + 300);
            let panels = Panels::of_columns(&columns, depth);
            let exact = exact(&a, a_stride, &columns, depth);
            for onto in [Onto::Nothing, Onto::Bias(&bias), Onto::Itself] {
                let mut out = before.clone();
                let rows = Rows {
                    values: &a,
                    stride: a_stride,
                };
                product_with(tiles, rows, count, &panels, onto, &mut out, out_stride);
                for (at, (found, before)) in out.iter().zip(&before).enumerate() {
                    let (row, column) = (at / out_stride, at % out_stride);
                    let started = match onto {
                        _ if column >= panels.count() * COLUMNS => {
                            assert_eq!(found, before, "{}: behind the row", tiles.name);
                            continue;
                        }
                        Onto::Nothing => 0.0,
                        Onto::Bias(bias) => bias[column],
                        Onto::Itself => *before,
                    };
                    let (sum, size) = if column < width {
                        exact(row, column)
                    } else {
                        (0.0, 0.0)
                    };
                    let (expected, size) = (sum + f64::from(started), size + 1.0);
                    let error = (f64::from(*found) - expected).abs() / size;
                    assert!(
                        error < 1e-6,
                        "{} {count}x{width}x{depth}: {error}",
                        tiles.name
                    );
                }
            }
        }
    }
}

#[test]
fn row_does_not_depend_on_the_rows_beside_it() {
    let (depth, width, count) = (300, 48, 23);
    let a = numbers(count * depth, 1);
    let panels = Panels::of_columns(&numbers(width * depth, 2), depth);
    for tiles in all() {
        let mut together = vec![0.0; count * width];
        let rows = Rows {
            values: &a,
            stride: depth,
        };
        product_with(
            tiles,
            rows,
            count,
            &panels,
            Onto::Nothing,
            &mut together,
            width,
        );
        for (row, expected) in together.chunks_exact(width).enumerate() {
            let mut alone = vec![0.0; width];
            let rows = Rows {
                values: &a[row * depth..],
                stride: depth,
            };
            product_with(tiles, rows, 1, &panels, Onto::Nothing, &mut alone, width);
            assert_eq!(alone, expected, "{}", tiles.name);
        }
    }
}

#[test]
fn packing_rows_is_packing_the_columns_of_the_transpose() {
    let (depth, width) = (19, 37);
    let rows = numbers(depth * width, 3);
    let mut columns = vec![0.0; rows.len()];
    for row in 0..depth {
        for column in 0..width {
            columns[column * depth + row] = rows[row * width + column];
        }
    }
    // In place, over what a larger matrix left.
    let mut of_rows = Panels::of_columns(&numbers(100 * 64, 4), 64);
    of_rows.set_rows(&rows, width, width, depth);
    let of_columns = Panels::of_columns(&columns, depth);
    assert_eq!((of_rows.count(), of_rows.depth()), (3, depth));
    for panel in 0..3 {
        assert_eq!(
            of_rows.steps(panel, 0..depth),
            of_columns.steps(panel, 0..depth)
        );
    }
    assert!(of_rows.steps(3, 0..depth).is_empty());
}

#[test]
fn nothing_times_anything_is_nothing() {
    let mut out = [7.0; 16];
    let none = Rows {
        values: &[],
        stride: 0,
    };
    product(
        none,
        0,
        &Panels::of_columns(&[1.0; 16], 1),
        Onto::Nothing,
        &mut out,
        16,
    );
    assert_eq!(out, [7.0; 16]);
    product(none, 1, &Panels::default(), Onto::Itself, &mut out, 16);
    assert_eq!(out, [7.0; 16]);
}

#[test]
#[should_panic(expected = "assertion failed")]
fn tile_that_would_leave_its_rows_stops() {
    let rows = Rows {
        values: &[1.0; 9],
        stride: 5,
    };
    let mut out = [0.0; 32];
    product(
        rows,
        2,
        &Panels::of_columns(&[1.0; 5 * 16], 5),
        Onto::Nothing,
        &mut out,
        16,
    );
}
