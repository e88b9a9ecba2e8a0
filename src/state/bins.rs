//! Which rows have at least this value?
//!
//! A column of numbers in [0, 1] as a bit-sliced index (O'Neil, Quass: Improved Query Performance
//! with Variant Indexes, SIGMOD 1997): the interval is cut into 64 equal bins, and bitmap i holds
//! the rows whose bin's number has bit i set. A question takes six steps over bitmaps, where one
//! bitmap per bin would take a union of up to 64, and a row is in six bitmaps at most.
//!
//! It lies by excess only: rows of the bin that the bound falls into are all included, and a row
//! that was added with several values stands at the bitwise or of their bins, which is not below
//! any of them. That is why it answers "at least" and nothing else.

use roaring::RoaringBitmap;

const BITS: usize = 6;
const HIGHEST: u8 = (1 << BITS) - 1;

/// The bin of a value; never decreases as the value grows.
#[must_use]
pub fn bin(value: f32) -> u8 {
    // The conversion saturates, and takes what is no number for 0.
    ((value * f32::from(HIGHEST + 1)) as u8).min(HIGHEST)
}

/// The bins of a column's rows.
#[derive(Clone, Debug, Default)]
pub struct Bins {
    slices: [RoaringBitmap; BITS],
}

impl Bins {
    /// Adds a row with a value of this bin. False where the row already stands, and goes on to
    /// stand, for another.
    pub fn add(&mut self, row: u32, bin: u8) -> bool {
        let mut alone = true;
        for (bit, slice) in self.slices.iter_mut().enumerate() {
            if bin >> bit & 1 == 1 {
                slice.insert(row);
            } else {
                alone &= !slice.contains(row);
            }
        }
        alone
    }

    /// Those of `rows` that may have a value of this bin or a higher one.
    #[must_use]
    pub fn at_least(&self, bin: u8, rows: RoaringBitmap) -> RoaringBitmap {
        let mut above = RoaringBitmap::new();
        let mut equal = rows;
        for (bit, slice) in self.slices.iter().enumerate().rev() {
            if bin >> bit & 1 == 1 {
                equal &= slice;
            } else {
                above |= &equal & slice;
            }
        }
        above | equal
    }

    /// Bytes of its bitmaps.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.slices.iter().map(RoaringBitmap::serialized_size).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bins_ascend_with_the_values() {
        let mut last = 0;
        for step in 0..=1000_u16 {
            let now = bin(f32::from(step) / 1000.0);
            assert!(now == last || now == last + 1, "at {step}");
            last = now;
        }
        assert_eq!((bin(0.0), last), (0, HIGHEST));
        assert_eq!((bin(-1.0), bin(7.0), bin(f32::NAN)), (0, HIGHEST, 0));
        // The bound of a bin belongs to it.
        assert_eq!((bin(0.5), bin(0.499_999)), (32, 31));
    }

    #[test]
    fn each_bound_finds_the_rows_above_it() {
        let mut bins = Bins::default();
        for row in 0..64_u8 {
            bins.add(u32::from(row), row);
        }
        let all: RoaringBitmap = (0..64).collect();
        for bound in 0..64_u8 {
            let expected: RoaringBitmap = (u32::from(bound)..64).collect();
            assert_eq!(bins.at_least(bound, all.clone()), expected);
        }
        let some: RoaringBitmap = [3, 40, 63, 70].into_iter().collect();
        let expected: RoaringBitmap = [40, 63].into_iter().collect();
        assert_eq!(bins.at_least(40, some), expected);
    }

    #[test]
    fn a_row_of_two_values_is_found_by_both() {
        for (one, other) in (0..64_u8).flat_map(|one| (0..64).map(move |other| (one, other))) {
            let mut bins = Bins::default();
            assert!(bins.add(7, one));
            assert_eq!(bins.add(7, other), one & !other == 0);
            let bound = one.max(other);
            assert!(bins.at_least(bound, [7].into_iter().collect()).contains(7));
        }
    }
}
