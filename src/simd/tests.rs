//! Does every instruction set of this CPU agree with the plain loops?
#![allow(unsafe_code)]

use proptest::{collection::vec, prelude::*};

use super::{kernels::Kernels, *};

/// The tables that this CPU can run, with a note on the others.
fn tables() -> Vec<&'static Kernels> {
    #[cfg(target_arch = "x86_64")]
    let special = [
        ("AVX2", x86_avx2::kernels()),
        ("AVX-512", x86_avx512::kernels()),
    ];
    #[cfg(target_arch = "aarch64")]
    let special = [("NEON", neon::kernels())];
    #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
    let special = [];
    let mut tables = vec![scalar::kernels()];
    for (name, table) in special {
        match table {
            Some(table) => tables.push(table),
            None => println!("not tested: this CPU lacks {name}"),
        }
    }
    tables
}

fn dot_in_i64(a: &[i8], b: &[i8]) -> i32 {
    let sum: i64 = a
        .iter()
        .zip(b)
        .map(|(a, b)| i64::from(*a) * i64::from(*b))
        .sum();
    i32::try_from(sum).unwrap()
}

/// The products' sum, and how far a sum in f32 may be from it.
fn dot_in_f64(a: &[f32], b: &[f32]) -> (f64, f64) {
    let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
    let size: f64 = products.clone().map(f64::abs).sum();
    (products.sum(), 1e-5 * size + 1e-30)
}

fn call<T>(metric: PairMetric, a: &[T], b: &[T], len: usize) -> f32 {
    assert!(size_of_val(a) == size_of_val(b));
    // SAFETY: both slices are borrowed during the call; the callers say how many elements they hold.
    unsafe {
        metric(
            a.as_ptr().expose_provenance(),
            b.as_ptr().expose_provenance(),
            len,
        )
    }
}

/// A code, often one of the extremes.
fn code() -> impl Strategy<Value = i8> {
    prop_oneof![Just(127_i8), Just(-127), Just(0), -127_i8..=127]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn codes_of_any_length_and_alignment(
        pairs in vec((code(), code()), 0..600), skip in 0_usize..70,
    ) {
        let (a, b): (Vec<i8>, Vec<i8>) = pairs.into_iter().unzip();
        let skip = skip.min(a.len());
        let (a, b) = (&a[skip..], &b[skip..]);
        let expected = dot_in_i64(a, b);
        prop_assert_eq!(dot_i8(a, b), expected);
        for table in tables() {
            prop_assert_eq!(table.dot_i8(a, b), expected, "{}", table.name);
            prop_assert_eq!(call(table.metric_i8, a, b, a.len()), -(expected as f32));
        }
    }

    #[test]
    fn rows_and_queries(
        blocks in 1_usize..8, stored in 0_usize..70, asked in 0_usize..11, skip in 0_usize..5,
        codes in vec(code(), 1000..1100),
    ) {
        let width = 64 * blocks;
        // A length that the width does not divide, so that no two rows are the same.
        let cut = |len: usize, from: usize| -> Vec<i8> {
            codes.iter().copied().cycle().skip(from).take(len).collect()
        };
        let (rows, queries) = (cut(skip + stored * width, 0), cut(skip + asked * width, 333));
        let (rows, queries) = (&rows[skip..], &queries[skip..]);
        let expected: Vec<i32> = rows
            .chunks_exact(width)
            .flat_map(|row| queries.chunks_exact(width).map(|query| dot_in_i64(row, query)))
            .collect();
        let mut dots = vec![7];
        dot_i8_queries(queries, width, rows, &mut dots);
        prop_assert_eq!(&dots[1..], expected.as_slice());
        for table in tables() {
            let mut dots = vec![-1; stored * asked];
            if asked > 0 {
                table.dot_queries_i8(queries, width, rows, &mut dots);
            }
            prop_assert_eq!(&dots, &expected, "{}", table.name);
            for (at, query) in queries.chunks_exact(width).enumerate() {
                let mut dots = vec![-1; stored];
                table.dot_rows_i8(query, rows, &mut dots);
                let expected: Vec<i32> = expected.iter().copied().skip(at).step_by(asked).collect();
                prop_assert_eq!(&dots, &expected, "{}", table.name);
                // The same rows one by one, as if they stood anywhere.
                let rows: Vec<&[i8]> = rows.chunks_exact(width).collect();
                for (four, expected) in rows.as_chunks().0.iter().zip(expected.as_chunks().0) {
                    prop_assert_eq!(&table.dot_four_i8(query, *four), expected, "{}", table.name);
                }
                let mut dots = vec![7];
                dot_i8_each(query, &rows, &mut dots);
                prop_assert_eq!(&dots[1..], expected.as_slice());
            }
        }
    }

    #[test]
    fn nibbles(
        blocks in 1_usize..5, stored in 0_usize..12, skip in 0_usize..5,
        codes in vec(code(), 1000..1100),
    ) {
        let width = NIBBLES_PADDING * blocks;
        let cut = |len: usize, from: usize| -> Vec<i8> {
            codes.iter().copied().cycle().skip(from).take(len).collect()
        };
        let (rows, query) = (cut(stored * width, 0), cut(skip + width, 333));
        let query = &query[skip..];
        let upper = |code: &i8| i64::from((code.cast_unsigned() ^ 0x80) >> 4);
        let product = |row: &[i8]| -> i64 {
            row.iter().map(upper).zip(query).map(|(nibble, code)| nibble * i64::from(*code)).sum()
        };
        let expected: Vec<i32> = rows.chunks_exact(width).map(|row| i32::try_from(product(row)).unwrap()).collect();
        let mut packed = vec![0; skip + stored * width / 2];
        let packed = &mut packed[skip..];
        for (row, packed) in rows.chunks_exact(width).zip(packed.chunks_exact_mut(width / 2)) {
            pack_nibbles(row, packed);
        }
        let mut dots = vec![7];
        dot_nibbles(query, packed, &mut dots);
        prop_assert_eq!(&dots[1..], expected.as_slice());
        for table in tables() {
            let mut dots = vec![-1; stored];
            table.dot_rows_nibbles(query, packed, &mut dots);
            prop_assert_eq!(&dots, &expected, "{}", table.name);
        }
    }

    #[test]
    fn rows_of_any_lengths(
        query in vec(code(), 60..70), rows in vec(vec(code(), 0..130), 0..9), whole in any::<bool>(),
    ) {
        // The shorter of two rules, also where some are as long as the kernels want them.
        let rows: Vec<&[i8]> = rows
            .iter()
            .map(|row| if whole { &row[..row.len().min(64)] } else { row.as_slice() })
            .collect();
        let query = if whole { &query[..query.len().min(64)] } else { query.as_slice() };
        let expected: Vec<i32> = rows.iter().map(|row| dot_in_i64(query, row)).collect();
        let mut dots = Vec::new();
        dot_i8_each(query, &rows, &mut dots);
        prop_assert_eq!(dots, expected);
    }

    #[test]
    fn floats_of_any_length_and_alignment(
        pairs in vec((-1.0_f32..1.0, -1.0_f32..1.0), 0..500), shift in 0_usize..4,
    ) {
        let (a, b): (Vec<f32>, Vec<f32>) = pairs.into_iter().unzip();
        let (expected, tolerance) = dot_in_f64(&a, &b);
        // The metrics are called with addresses of no alignment.
        let bytes = |v: &[f32]| -> Vec<u8> {
            vec![0; shift].into_iter().chain(v.iter().flat_map(|v| v.to_ne_bytes())).collect()
        };
        let (a_bytes, b_bytes) = (bytes(&a), bytes(&b));
        for table in tables() {
            let (a_bytes, b_bytes) = (&a_bytes[shift..], &b_bytes[shift..]);
            let distance = call(table.metric_f32, a_bytes, b_bytes, a.len());
            let dot = f64::from(-distance);
            prop_assert!((dot - expected).abs() <= tolerance, "{} {dot} {expected}", table.name);
            let dot = table.dot_f32(a_bytes.as_chunks().0, b_bytes.as_chunks().0);
            prop_assert_eq!(dot, -distance, "{}", table.name);
        }
        let dot = dot_f32(a_bytes[shift..].as_chunks().0, b_bytes[shift..].as_chunks().0);
        prop_assert!((f64::from(dot) - expected).abs() <= tolerance);
    }

    #[test]
    fn halves_of_any_length_and_alignment(
        pairs in vec((-1.0_f32..1.0, -1.0_f32..1.0), 0..500), shift in 0_usize..2,
    ) {
        let halves: Vec<(f32, f32)> = pairs
            .into_iter()
            .map(|(a, b)| (through_f16(a), through_f16(b)))
            .collect();
        let (a, b): (Vec<f32>, Vec<f32>) = halves.into_iter().unzip();
        let (expected, tolerance) = dot_in_f64(&a, &b);
        let bytes = |v: &[f32]| -> Vec<u8> {
            let mut halves = vec![0; v.len()];
            f32_to_f16(v, &mut halves);
            vec![0; shift].into_iter().chain(halves.iter().flat_map(|h| h.to_ne_bytes())).collect()
        };
        let (a_bytes, b_bytes) = (bytes(&a), bytes(&b));
        for table in tables() {
            let (a_bytes, b_bytes) = (&a_bytes[shift..], &b_bytes[shift..]);
            let distance = call(table.metric_f16, a_bytes, b_bytes, a.len());
            let dot = f64::from(-distance);
            prop_assert!((dot - expected).abs() <= tolerance, "{} {dot} {expected}", table.name);
            let dot = table.dot_f16(a_bytes.as_chunks().0, b_bytes.as_chunks().0);
            prop_assert_eq!(dot, -distance, "{}", table.name);
        }
        let dot = dot_f16(a_bytes[shift..].as_chunks().0, b_bytes[shift..].as_chunks().0);
        prop_assert!((f64::from(dot) - expected).abs() <= tolerance);
    }

    #[test]
    fn codes_are_the_same_everywhere(
        values in vec(prop_oneof![-2.0_f32..2.0, any::<f32>()], 0..300),
        factor in prop_oneof![Just(127.0_f32), Just(0.5), 1.0_f32..1e4],
    ) {
        let mut expected = vec![1; values.len()];
        for (value, code) in values.iter().zip(&mut expected) {
            let product = value * factor;
            *code = if product.is_nan() {
                0
            } else {
                product.round_ties_even().clamp(-127.0, 127.0) as i8
            };
        }
        for table in tables() {
            let mut codes = vec![1; values.len()];
            table.quantise(&values, factor, &mut codes);
            prop_assert_eq!(&codes, &expected, "{}", table.name);
        }
    }

    #[test]
    fn halves_are_the_same_everywhere(bits in vec(any::<u32>(), 0..100)) {
        let values: Vec<f32> = bits.into_iter().map(f32::from_bits).collect();
        let mut expected = vec![1; values.len()];
        scalar::kernels().f32_to_f16(&values, &mut expected);
        for table in tables() {
            let mut halves = vec![1; values.len()];
            table.f32_to_f16(&values, &mut halves);
            prop_assert_eq!(&halves, &expected, "{}", table.name);
        }
    }
}

fn through_f16(value: f32) -> f32 {
    let mut half = [0];
    f32_to_f16(&[value], &mut half);
    scalar::f16_to_f32(half[0])
}

#[test]
fn extremes_do_not_saturate() {
    for len in [32, 64, 384, 4096] {
        let (high, low) = (vec![127_i8; len], vec![-127_i8; len]);
        let most = 127 * 127 * i32::try_from(len).unwrap();
        for table in tables() {
            assert_eq!(table.dot_i8(&high, &high), most, "{}", table.name);
            assert_eq!(table.dot_i8(&low, &low), most, "{}", table.name);
            assert_eq!(table.dot_i8(&low, &high), -most, "{}", table.name);
            assert_eq!(table.dot_i8(&high, &low), -most, "{}", table.name);
        }
    }
}

#[test]
fn odd_widths_and_unfinished_rows() {
    let rows: Vec<i8> = (0..70).collect();
    let mut dots = Vec::new();
    dot_i8_queries(&[1, 0, 2], 3, &rows[..11], &mut dots);
    assert_eq!(dots, [4, 13, 22]);
    dot_i8_queries(&[1, 0, 0, 1, 9], 2, &rows[..4], &mut dots);
    assert_eq!(dots[3..], [0, 1, 2, 3]);
    dot_i8_queries(&[], 0, &rows, &mut dots);
    dot_i8_queries(&rows, 64, &rows[..10], &mut dots);
    dot_i8_queries(&rows[..10], 64, &rows, &mut dots);
    assert_eq!(dots.len(), 7);
    assert_eq!(dot_i8(&[3, 4], &[5]), 15);
}

#[test]
fn codes_are_rounded_to_even_and_clamped() {
    let table = [
        (0.5_f32, 0_i8),
        (1.5, 2),
        (2.5, 2),
        (-0.5, 0),
        (-1.5, -2),
        (-2.5, -2),
        (0.499_999_97, 0),
        (126.5, 126),
        (126.500_01, 127),
        (127.5, 127),
        (-128.0, -127),
        (3e9, 127),
        (-3e38, -127),
        (f32::INFINITY, 127),
        (f32::NEG_INFINITY, -127),
        (f32::NAN, 0),
    ];
    // Twice, so that vector registers see them and the plain end does.
    let (values, expected): (Vec<f32>, Vec<i8>) = table.iter().chain(&table).copied().unzip();
    for kernels in tables() {
        for len in [values.len(), 16, 5] {
            let mut codes = vec![9; len];
            kernels.quantise(&values[..len], 1.0, &mut codes);
            assert_eq!(codes, expected[..len], "{}", kernels.name);
        }
    }
    let mut codes = [9; 6];
    quantise(&[1.0, -0.26], 10.0, &mut codes);
    assert_eq!(codes, [10, -3, 0, 0, 0, 0]);
    quantise(&[1.0; 9], 3.0, &mut codes);
    assert_eq!(codes, [3; 6]);
}

#[test]
fn halves() {
    let tiny = 2.0_f32.powi(-24);
    let table = [
        (0.0_f32, 0x0000_u16),
        (-0.0, 0x8000),
        (1.0, 0x3c00),
        (-2.0, 0xc000),
        (1.0 / 3.0, 0x3555),
        // Halfway between two halves: to the even one.
        (1.0 + 2.0_f32.powi(-11), 0x3c00),
        (1.0 + 3.0 * 2.0_f32.powi(-11), 0x3c02),
        (65504.0, 0x7bff),
        (65519.996, 0x7bff),
        (65520.0, 0x7c00),
        (1e30, 0x7c00),
        (f32::INFINITY, 0x7c00),
        (f32::NEG_INFINITY, 0xfc00),
        (f32::NAN, 0x7e00),
        // Subnormal.
        (2.0_f32.powi(-14), 0x0400),
        (2.0_f32.powi(-14) - tiny, 0x03ff),
        (2.0_f32.powi(-14) - tiny / 4.0, 0x0400),
        (tiny, 0x0001),
        (-tiny, 0x8001),
        (tiny / 2.0, 0x0000),
        (tiny * 0.500_001, 0x0001),
        (tiny * 1.5, 0x0002),
        (tiny * 2.5, 0x0002),
        (f32::MIN_POSITIVE, 0x0000),
        (1e-45, 0x0000),
    ];
    let (values, expected): (Vec<f32>, Vec<u16>) = table.into_iter().unzip();
    for kernels in tables() {
        let mut halves = vec![1; values.len()];
        kernels.f32_to_f16(&values, &mut halves);
        assert_eq!(halves, expected, "{}", kernels.name);
    }
}

#[test]
fn every_half_survives_f32() {
    for half in 0..=u16::MAX {
        let value = scalar::f16_to_f32(half);
        let mut back = [0];
        f32_to_f16(&[value], &mut back);
        let quiet = if value.is_nan() { half | 0x0200 } else { half };
        assert_eq!(back[0], quiet);
        let (one, half) = ([0x00_u8, 0x3c], half.to_le_bytes());
        if value.is_finite() {
            for table in tables() {
                // Eight of them, so that vector registers see it.
                let (ones, halves) = (one.repeat(32), half.repeat(32));
                let dot = -call(table.metric_f16, &ones, &halves, 32);
                assert_eq!(dot, 32.0 * value, "{}", table.name);
            }
        }
    }
}

#[test]
fn lengths_are_measured_in_f64() {
    assert_eq!(squared_norm(&[]), 0.0);
    assert_eq!(squared_norm(&[3.0; 11]), 99.0);
    assert!(squared_norm(&[f32::MAX; 9]).is_finite());
    assert!(squared_norm(&[f32::MIN_POSITIVE; 3]) > 0.0);
}
