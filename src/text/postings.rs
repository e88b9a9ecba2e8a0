//! In which rows is a term, and how often?
//!
//! The lists of (row, times) of all terms of a run, each by row, kept in one of two ways. A *scattered* list has gaps and
//! counts of as few bytes as they need, and is read from its beginning. A *dense* one, of a term that many rows have, has
//! two bytes for each and is read in place, from any stretch of [`STRETCH_ROWS`] rows on. Reading is total: what is no list
//! is a short one.

use crate::simd;

/// Rows of a stretch: their scores and lengths stay in the first-level cache while one list after the other is added up.
pub const STRETCH_ROWS: u32 = 1 << (u16::BITS - TF_BITS);

/// Times that count: once more would add nearly nothing to a score.
pub const MAX_TF: u32 = 1 << TF_BITS;
const TF_BITS: u32 = 4;

/// Rows in a stretch, on average, from which on a list is dense: they take four times as many bytes as it takes to find them.
const DENSE_ROWS: usize = 8;

/// Bytes of a scattered list that are asked for beforehand: most have no more, and the CPU sees where the others go on.
const EXPECTED_BYTES: usize = 128;

/// The bit in the place of a list that says that it is dense.
const DENSE: u32 = 1 << (u32::BITS - 1);

/// A row that has the term, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The row, counted from the first of its run.
    pub row: u32,
    /// How often the term is in it; 1–[`MAX_TF`].
    pub tf: u32,
}

/// A row that has the term, and how often, within a stretch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Packed(u16);

impl Packed {
    fn new(posting: &Posting) -> Self {
        let tf = posting.tf.clamp(1, MAX_TF) - 1;
        Self(((posting.row % STRETCH_ROWS) << TF_BITS | tf) as u16)
    }

    /// The row, counted from the first of the stretch.
    #[inline]
    #[must_use]
    pub const fn row(self) -> u16 {
        self.0 >> TF_BITS
    }

    /// How often the term is in it, beyond once.
    #[inline]
    #[must_use]
    pub const fn again(self) -> u16 {
        self.0 % MAX_TF as u16
    }
}

/// The list of a term.
#[derive(Clone, Copy, Debug)]
pub enum List<'a> {
    /// Of a term that few rows have.
    Scattered(Scattered<'a>),
    /// Of a term that many have.
    Dense(Dense<'a>),
}

impl List<'_> {
    /// Rows that have the term.
    #[must_use]
    pub fn count(&self) -> usize {
        match self {
            Self::Scattered(list) => list.count,
            Self::Dense(list) => list.count(),
        }
    }

    /// Shows all of it.
    pub fn each(&self, mut see: impl FnMut(Posting)) {
        match self {
            Self::Scattered(list) => list.each(see),
            Self::Dense(list) => {
                for number in 0..list.ends.len().saturating_sub(1) {
                    let first = number as u32 * STRETCH_ROWS;
                    for posting in list.stretch(number) {
                        see(Posting {
                            row: first + u32::from(posting.row()),
                            tf: u32::from(posting.again()) + 1,
                        });
                    }
                }
            }
        }
    }
}

/// A list that is read from its beginning.
#[derive(Clone, Copy, Debug)]
pub struct Scattered<'a> {
    count: usize,
    bytes: &'a [u8],
}

impl Scattered<'_> {
    /// Rows that have the term.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Shows all of it.
    pub fn each(&self, mut see: impl FnMut(Posting)) {
        let (mut bytes, mut row) = (self.bytes, u32::MAX);
        for _ in 0..self.count {
            let value = read_varint(&mut bytes);
            row = row.wrapping_add((value >> 1) as u32).wrapping_add(1);
            let tf = match value & 1 {
                1 => 1,
                _ => read_varint(&mut bytes) as u32,
            };
            see(Posting { row, tf });
        }
    }
}

/// A list that is read in place.
#[derive(Clone, Copy, Debug)]
pub struct Dense<'a> {
    /// Where what is in front of it ends among all postings, then where its stretches do.
    ends: &'a [u32],
    /// Of all lists.
    postings: &'a [Packed],
}

impl<'a> Dense<'a> {
    /// Rows that have the term.
    #[must_use]
    pub fn count(&self) -> usize {
        let ends = self.ends.first().zip(self.ends.last());
        ends.map_or(0, |(first, last)| (last - first) as usize)
    }

    /// The part of it in the stretch of this number, by row.
    #[inline]
    #[must_use]
    pub fn stretch(&self, number: usize) -> &'a [Packed] {
        let postings = match self.ends.get(number..) {
            Some([start, end, ..]) => self.postings.get(*start as usize..*end as usize),
            _ => None,
        };
        postings.unwrap_or_default()
    }
}

/// The lists of a run, by number.
#[derive(Debug, Default)]
pub struct Lists {
    /// Stretches of the run.
    stretches: usize,
    /// Where each list begins: among the bytes of scattered ones, or which of the dense ones it is.
    places: Box<[u32]>,
    scattered: Box<[u8]>,
    /// Where each stretch of each dense list ends, behind a 0.
    ends: Box<[u32]>,
    dense: Box<[Packed]>,
}

impl Lists {
    /// The list of this number.
    #[must_use]
    pub fn get(&self, number: usize) -> Option<List<'_>> {
        let place = *self.places.get(number)?;
        if place & DENSE == 0 {
            let mut bytes = self.scattered.get(place as usize..)?;
            let count = read_varint(&mut bytes) as usize;
            return Some(List::Scattered(Scattered { count, bytes }));
        }
        Some(List::Dense(Dense {
            ends: self.ends_at(place)?,
            postings: &self.dense,
        }))
    }

    /// Where the stretches of the dense list at this place end.
    fn ends_at(&self, place: u32) -> Option<&[u32]> {
        let first = (place & !DENSE) as usize * self.stretches;
        self.ends.get(first..=first + self.stretches)
    }

    /// Asks the CPU for where the list of this number begins.
    pub fn expect_place(&self, number: usize) {
        simd::prefetch(self.places.get(number..=number).unwrap_or_default());
    }

    /// Asks the CPU for the beginning of the list of this number.
    pub fn expect(&self, number: usize) {
        match self.places.get(number) {
            Some(place) if place & DENSE == 0 => {
                let bytes = self.scattered.get(*place as usize..).unwrap_or_default();
                simd::prefetch(bytes.get(..EXPECTED_BYTES).unwrap_or(bytes));
            }
            Some(place) => simd::prefetch(self.ends_at(*place).unwrap_or_default()),
            None => {}
        }
    }

    /// Bytes of memory that they take.
    #[must_use]
    pub fn bytes(&self) -> usize {
        let dense = size_of_val(&*self.ends) + size_of_val(&*self.dense);
        size_of_val(&*self.places) + self.scattered.len() + dense
    }
}

/// Lists in the making.
#[derive(Debug, Default)]
pub struct ListsWriter {
    stretches: usize,
    places: Vec<u32>,
    scattered: Vec<u8>,
    ends: Vec<u32>,
    dense: Vec<Packed>,
}

impl ListsWriter {
    /// None yet, of a run of so many rows.
    #[must_use]
    pub fn new(rows: usize) -> Self {
        Self {
            stretches: rows.div_ceil(STRETCH_ROWS as usize),
            ends: vec![0],
            ..Self::default()
        }
    }

    /// Adds a list and answers its number.
    pub fn push(&mut self, postings: &[Posting]) -> u32 {
        if postings.len() < DENSE_ROWS * self.stretches {
            self.places.push(self.scattered.len() as u32);
            self.push_scattered(postings);
        } else {
            let dense = (self.ends.len() - 1) / self.stretches.max(1);
            self.places.push(DENSE | dense as u32);
            self.push_dense(postings);
        }
        (self.places.len() - 1) as u32
    }

    fn push_scattered(&mut self, postings: &[Posting]) {
        let out = &mut self.scattered;
        write_varint(postings.len() as u64, out);
        let mut before = u32::MAX;
        for posting in postings {
            let gap = posting.row.wrapping_sub(before).wrapping_sub(1);
            before = posting.row;
            write_varint(u64::from(gap) << 1 | u64::from(posting.tf == 1), out);
            if posting.tf != 1 {
                write_varint(posting.tf.into(), out);
            }
        }
    }

    fn push_dense(&mut self, mut postings: &[Posting]) {
        for number in 1..=self.stretches as u32 {
            let end = number.saturating_mul(STRETCH_ROWS);
            let inside = postings.partition_point(|posting| posting.row < end);
            let (inside, behind) = postings.split_at(inside);
            postings = behind;
            self.dense.extend(inside.iter().map(Packed::new));
            self.ends.push(self.dense.len() as u32);
        }
    }

    /// All of them.
    #[must_use]
    pub fn finish(self) -> Lists {
        Lists {
            stretches: self.stretches,
            places: self.places.into(),
            scattered: self.scattered.into(),
            ends: self.ends.into(),
            dense: self.dense.into(),
        }
    }
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn read_varint(bytes: &mut &[u8]) -> u64 {
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            break;
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    /// Postings of rows with these gaps between them.
    fn postings(gaps: &[(u32, u32)]) -> Vec<Posting> {
        let mut row = 0;
        let next = |(gap, tf): &(u32, u32)| {
            row += gap + 1;
            Posting {
                row: row - 1,
                tf: *tf,
            }
        };
        gaps.iter().map(next).collect()
    }

    proptest! {
        #[test]
        fn lists_are_read_as_they_were_written(
            lists in prop::collection::vec(
                prop::collection::vec((prop_oneof![20 => 0..40u32, 1 => 0..9000u32], 1..=MAX_TF), 0..300),
                0..4,
            ),
        ) {
            let lists: Vec<Vec<Posting>> = lists.iter().map(|gaps| postings(gaps)).collect();
            let last = |list: &Vec<Posting>| list.last().map_or(0, |last| last.row + 1);
            let rows = lists.iter().map(last).max().unwrap_or(0);
            let mut writer = ListsWriter::new(rows as usize);
            for (number, list) in (0..).zip(&lists) {
                prop_assert_eq!(writer.push(list), number);
            }
            let written = writer.finish();
            for (number, list) in lists.iter().enumerate() {
                let read = written.get(number).unwrap();
                let mut found = Vec::new();
                read.each(|posting| found.push(posting));
                prop_assert_eq!(&found, list);
                prop_assert_eq!(read.count(), list.len());
            }
            prop_assert!(written.get(lists.len()).is_none());
        }
    }

    #[test]
    fn a_list_is_dense_where_many_rows_have_its_term() {
        let mut writer = ListsWriter::new(3 * STRETCH_ROWS as usize);
        let every = |step: usize| -> Vec<Posting> {
            let rows = (0..3 * STRETCH_ROWS).step_by(step);
            rows.map(|row| Posting { row, tf: 1 }).collect()
        };
        writer.push(&every(600));
        writer.push(&every(500));
        writer.push(&every(1));
        let lists = writer.finish();
        let dense = |number| matches!(lists.get(number), Some(List::Dense(_)));
        assert_eq!([dense(0), dense(1), dense(2)], [false, true, true]);
        let Some(List::Dense(all)) = lists.get(2) else {
            panic!("it is dense");
        };
        assert_eq!(all.stretch(2).len(), STRETCH_ROWS as usize);
        assert_eq!(all.stretch(3).len(), 0);
    }
}
