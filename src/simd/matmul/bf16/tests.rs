//! Is the product that of the rounded factors, by every instruction set of this CPU?
//!
//! AVX512-BF16 and AMX run where the CPU has them; each test says which ones it ran.
#![allow(clippy::unwrap_used, clippy::print_stdout)]

use std::cmp::Ordering;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::simd::matmul::{
    bf16::portable::{halves, rounded},
    tests::numbers,
};

fn all() -> Vec<&'static Kernels> {
    let mut all = vec![portable()];
    #[cfg(target_arch = "x86_64")]
    all.extend(
        [x86_avx512::kernels(), amx::kernels()]
            .into_iter()
            .flatten(),
    );
    println!("{all:?}");
    all
}

fn near(number: f32) -> f64 {
    f64::from(f32::from_bits(u32::from(rounded(number)) << 16))
}

/// All that a product may be asked for.
#[derive(Debug)]
struct Asked {
    count: usize,
    width: usize,
    depth: usize,
    onto: usize,
}

/// Compares a product with the sums in f64 of the same rounded factors, and says what it gave.
fn check(kernels: &Kernels, asked: &Asked) -> Vec<f32> {
    let &Asked {
        count,
        width,
        depth,
        onto,
    } = asked;
    let padded = width.next_multiple_of(COLUMNS);
    // Rows lie apart, and what lies between them is not theirs.
    let (a_stride, out_stride) = (depth + 3, padded + 5);
    let a = numbers(count * a_stride, 1);
    let columns = numbers(width * depth, 2);
    let bias = numbers(padded, 3);
    let before = numbers(count * out_stride, 4);
    let panels = kernels.panels_of_columns(&columns, depth);
    let rows = Rows {
        values: &a,
        stride: a_stride,
    };
    // In place, over what other rows left.
    let mut pairs = Pairs::default();
    kernels.round(
        Rows {
            values: &before,
            stride: 1,
        },
        count.min(7),
        40.min(before.len() / 8),
        &mut pairs,
    );
    kernels.round(rows, count, depth, &mut pairs);
    let onto = [Onto::Nothing, Onto::Bias(&bias), Onto::Itself][onto];
    let mut out = before.clone();
    kernels.product(&pairs, &panels, onto, &mut out, out_stride);
    for (at, (found, before)) in out.iter().zip(&before).enumerate() {
        let (row, column) = (at / out_stride, at % out_stride);
        if column >= padded {
            assert_eq!(found, before, "{kernels:?} {asked:?}: behind the row");
            continue;
        }
        let started = match onto {
            Onto::Nothing => 0.0,
            Onto::Bias(bias) => bias[column],
            Onto::Itself => *before,
        };
        let (mut sum, mut size) = (f64::from(started), 1.0);
        if column < width {
            for step in 0..depth {
                let product = near(a[row * a_stride + step]) * near(columns[column * depth + step]);
                (sum, size) = (sum + product, size + product.abs());
            }
        }
        let error = (f64::from(*found) - sum).abs() / size;
        assert!(
            error < 1e-6,
            "{kernels:?} {asked:?}: {error} at {row}, {column}"
        );
    }
    out
}

#[test]
fn products_of_every_shape_are_those_of_the_rounded_factors() {
    let shapes = [
        (1, 1, 1),
        (1, 16, 384),
        (2, 17, 3),
        (3, 32, 32),
        (5, 48, 31),
        (6, 33, 256),
        (7, 16, 257),
        (12, 32, 64),
        (13, 64, 769),
        (16, 32, 33),
        (31, 47, 512),
        (32, 64, 384),
        (33, 96, 40),
        (96, 32, 1536),
        (97, 16, 385),
    ];
    for kernels in all() {
        for (count, width, depth) in shapes {
            for onto in 0..3 {
                check(
                    kernels,
                    &Asked {
                        count,
                        width,
                        depth,
                        onto,
                    },
                );
            }
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(60))]

    #[test]
    fn products_of_any_shape(
        count in 1_usize..70, width in 1_usize..70, depth in 1_usize..450, onto in 0_usize..3,
    ) {
        for kernels in all() {
            check(kernels, &Asked { count, width, depth, onto });
        }
    }

    #[test]
    fn rounding_is_to_the_nearest_and_to_the_even_one_of_two(bits in vec(any::<u32>(), 1..100)) {
        let numbers: Vec<f32> = bits
            .iter()
            // Half of them lie in the middle between two.
            .map(|bits| f32::from_bits(if bits & 1 == 0 { bits & 0xffff_0000 | 0x8000 } else { *bits }))
            .collect();
        for number in numbers.iter().copied().filter(|number| number.is_normal()) {
            // The two numbers of half the bits that it lies between.
            let below = number.to_bits() >> 16;
            let distance = |half: u32| {
                let half = f64::from(f32::from_bits(half << 16));
                (half - f64::from(number)).abs()
            };
            let nearest = match distance(below).total_cmp(&distance(below + 1)) {
                Ordering::Less => below,
                Ordering::Equal => below + (below & 1),
                Ordering::Greater => below + 1,
            };
            // What lies beyond the largest is infinite, and infinitely far by that measure.
            if distance(below + 1).is_finite() {
                prop_assert_eq!(u32::from(rounded(number)), nearest);
            }
        }
        let expected: Vec<f32> = numbers.iter().map(|n| f32::from_bits(u32::from(rounded(*n)) << 16)).collect();
        for kernels in all() {
            let mut pairs = Pairs::default();
            kernels.round(Rows { values: &numbers, stride: numbers.len() }, 1, numbers.len(), &mut pairs);
            let found = pairs.rows().values[..pairs.width * COLUMNS].iter().flat_map(|pair| halves(*pair));
            for (at, found) in found.enumerate() {
                let expected = expected.get(at).copied().unwrap_or(0.0);
                let same = found.to_bits() == expected.to_bits() || found.is_nan() && expected.is_nan();
                prop_assert!(same, "{:?} {}: {} not {}", kernels, at, found, expected);
            }
        }
    }
}

#[test]
fn row_does_not_depend_on_the_rows_beside_it() {
    let (depth, width, count) = (420, 48, 71);
    let a = numbers(count * depth, 1);
    for kernels in all() {
        let panels = kernels.panels_of_columns(&numbers(width * depth, 2), depth);
        let product = |values: &[f32]| {
            let mut pairs = Pairs::default();
            let count = values.len() / depth;
            kernels.round(
                Rows {
                    values,
                    stride: depth,
                },
                count,
                depth,
                &mut pairs,
            );
            let mut out = vec![0.0; count * width];
            kernels.product(&pairs, &panels, Onto::Nothing, &mut out, width);
            out
        };
        let together = product(&a);
        for beside in [1, 2, 16, 17, 40] {
            for (rows, expected) in a
                .chunks(beside * depth)
                .zip(together.chunks(beside * width))
            {
                assert_eq!(product(rows), expected, "{kernels:?}, {beside} rows");
            }
        }
    }
}

#[test]
fn nothing_times_anything_is_nothing() {
    for kernels in all() {
        let mut out = [7.0; 32];
        let mut pairs = Pairs::default();
        let panels = kernels.panels_of_columns(&[], 0);
        kernels.product(&pairs, &panels, Onto::Nothing, &mut out, 16);
        kernels.round(
            Rows {
                values: &[],
                stride: 0,
            },
            2,
            0,
            &mut pairs,
        );
        kernels.product(&pairs, &panels, Onto::Itself, &mut out, 16);
        assert_eq!(out, [7.0; 32]);
    }
}

#[test]
#[should_panic(expected = "assertion")]
fn panels_of_another_depth_are_refused() {
    let panels = portable().panels_of_columns(&[1.0; 40], 40);
    let mut pairs = Pairs::default();
    portable().round(
        Rows {
            values: &[1.0; 32],
            stride: 32,
        },
        1,
        32,
        &mut pairs,
    );
    portable().product(&pairs, &panels, Onto::Nothing, &mut [0.0; 16], 16);
}

#[test]
#[allow(clippy::disallowed_methods, reason = "all end within the test")]
fn threads_multiply_side_by_side() {
    // Tiles are the thread's own, and the system keeps them apart.
    let asked = Asked {
        count: 40,
        width: 64,
        depth: 400,
        onto: 2,
    };
    for kernels in all() {
        let expected = check(kernels, &asked);
        std::thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    for _ in 0..5 {
                        assert_eq!(check(kernels, &asked), expected);
                    }
                });
            }
        });
    }
}
