//! How can most codes be excluded by half of their bytes?
//!
//! A *sketch* of a code is the upper half of each of its bytes: `c = 16·h − 120 + r` with `h` in 0..=15 and a rest `r` in
//! −8..=7. What the rests add to a product is bounded by Cauchy–Schwarz,
//!
//! `|c_q·c − (16·c_q·h − 120·Σc_q)| ≤ ‖c_q‖·‖r‖`,
//!
//! and `‖r‖` stands beside each sketch. So whoever passes many rows reads half as much, and the codes of only those rows that
//! the sketches cannot exclude: a further level of what [`codes`](super::codes) do to vectors. Sketches are made from codes
//! alone, where a scan first wants them, and are nowhere but in memory.

use std::ops::Range;

use crate::{
    simd::{AlignedCodes, NIBBLES_PADDING, pack_nibbles},
    vector::codes::{Codes, QueryCode, Units},
};

/// Where `h` is 0, a code is this plus its rest.
const LOWEST: i32 = -120;
/// What one step of `h` stands for.
const STEP: i32 = 16;

/// The sketches of a run of codes.
#[derive(Debug)]
pub struct Sketches {
    nibbles: AlignedCodes,
    rests: Vec<f32>,
}

/// Sketches in memory, whoever owns them: as many nibbles for each row, and ‖r‖.
#[derive(Clone, Copy, Debug)]
pub struct Sketched<'a> {
    nibbles: &'a [i8],
    width: usize,
    rests: &'a [f32],
}

impl Sketches {
    /// Of codes of `dimension` components each.
    #[must_use]
    pub fn new(codes: &Codes<'_>, dimension: usize) -> Self {
        let width = codes.width.next_multiple_of(NIBBLES_PADDING) / 2;
        let mut nibbles = AlignedCodes::zeroed(width * codes.errors.len());
        let rows = codes.codes.chunks_exact(codes.width.max(1));
        let rests = rows
            .zip(nibbles.chunks_exact_mut(width.max(1)))
            .map(|(row, nibbles)| {
                pack_nibbles(row, nibbles);
                // What is behind the components meets zeros of the query.
                rest(row.get(..dimension).unwrap_or(row))
            });
        let rests = rests.collect();
        Self { nibbles, rests }
    }

    /// All of them.
    #[must_use]
    pub fn all(&self) -> Sketched<'_> {
        Sketched {
            nibbles: &self.nibbles,
            width: self.nibbles.len() / self.rests.len().max(1),
            rests: &self.rests,
        }
    }

    /// Bytes in memory.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.nibbles.len() + size_of_val(self.rests.as_slice())
    }
}

/// ‖r‖ of a code.
fn rest(code: &[i8]) -> f32 {
    let squares = code.iter().map(|code| {
        // The lower half of what stands in the byte plus 128.
        let rest = i32::from(code.cast_unsigned() & 0x0F) - STEP / 2;
        rest * rest
    });
    (squares.sum::<i32>() as f32).sqrt()
}

impl<'a> Sketched<'a> {
    /// Those number `rows.start..rows.end`; fewer where they end before.
    #[must_use]
    pub fn slice(&self, rows: &Range<usize>) -> Self {
        let bytes = rows.start * self.width..rows.end * self.width;
        Self {
            nibbles: self.nibbles.get(bytes).unwrap_or_default(),
            width: self.width,
            rests: self.rests.get(rows.clone()).unwrap_or_default(),
        }
    }

    /// The nibbles, row after row.
    #[must_use]
    pub const fn nibbles(&self) -> &'a [i8] {
        self.nibbles
    }
}

impl QueryCode {
    /// Appends the highest similarity that each row of a run may have, from the products with its nibbles.
    pub fn highest_sketched(
        &self,
        dots: &[i32],
        rows: &Codes<'_>,
        sketches: &Sketched<'_>,
        highest: &mut Vec<f32>,
    ) {
        let query = self.measure();
        let (lowest, norm) = (LOWEST * self.sum(), self.norm());
        // What it captures it owns: the loop then stays in wide registers.
        let highest_of = move |dot: i32, rest: f32, row_unit: f32, row_error: f32| {
            let product = (STEP * dot + lowest) as f32 + norm * rest;
            query.unit * row_unit * product + query.off(row_error)
        };
        let parts = dots.iter().zip(sketches.rests).zip(rows.errors);
        match rows.units {
            Units::Same(row_unit) => highest.extend(
                parts.map(move |((dot, rest), error)| highest_of(*dot, *rest, row_unit, *error)),
            ),
            Units::Each(units) => highest.extend(parts.zip(units).map(
                move |(((dot, rest), error), row_unit)| highest_of(*dot, *rest, *row_unit, *error),
            )),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::{
        simd::{dot_i8, dot_nibbles, inverse_norm},
        vector::codes::{Measure, encode, padded},
    };

    proptest! {
        #[test]
        fn no_row_is_nearer_than_its_sketch_allows(
            dimension in 1_usize..300, seed in vec(-1.0_f32..1.0, 300), rows in 1_usize..9, alike in any::<bool>(),
        ) {
            let cut = |from: usize| -> Vec<f32> { seed.iter().copied().cycle().skip(from).take(dimension).collect() };
            let query = cut(1);
            prop_assume!(query.iter().any(|x| x.abs() > 0.01));
            let norm = inverse_norm(&query);
            let code = QueryCode::new(query.iter().map(|x| x * norm).collect());
            let width = padded(dimension);
            let mut codes = AlignedCodes::zeroed(rows * width);
            let (mut units, mut errors) = (Vec::new(), Vec::new());
            for (row, codes) in codes.chunks_exact_mut(width).enumerate() {
                // The first is the query itself, at distance 0.
                let row = cut(if alike { 1 } else { 1 + 7 * row });
                let Measure { unit, error } = encode(&row, inverse_norm(&row), codes);
                units.push(unit);
                errors.push(error);
            }
            let run = Codes { codes: &codes, width, units: Units::Each(&units), errors: &errors, sketches: None };
            let sketches = Sketches::new(&run, dimension);
            let (mut dots, mut highest) = (Vec::new(), Vec::new());
            dot_nibbles(code.codes_for_sketches(), sketches.all().nibbles(), &mut dots);
            code.highest_sketched(&dots, &run, &sketches.all(), &mut highest);
            prop_assert_eq!(highest.len(), rows);
            for (at, highest) in highest.into_iter().enumerate() {
                let (row, measure) = run.row(at).unwrap();
                let (middle, off) = code.interval(dot_i8(code.codes(), row), measure);
                prop_assert!(highest >= middle + off - 1e-5, "{highest} {middle} ± {off}");
            }
        }
    }

    #[test]
    fn a_part_of_them_is_that_of_its_rows() {
        let codes: Vec<i8> = (0..640).map(|i| (i * 37 % 255 - 127) as i8).collect();
        let errors = [0.0; 5];
        let run = Codes {
            codes: &codes,
            width: 128,
            units: Units::Same(0.1),
            errors: &errors,
            sketches: None,
        };
        let sketches = Sketches::new(&run, 128);
        assert_eq!(sketches.bytes(), 5 * (64 + 4));
        let part = sketches.all().slice(&(1..3));
        let own = Sketches::new(&run.slice(1..3), 128);
        assert_eq!(part.nibbles(), own.all().nibbles());
        assert_eq!(part.rests, own.all().rests);
    }
}
