//! Where are the codes of the rows that are in no graph?
//!
//! In blocks of [`BLOCK_ROWS`] rows, made by the first search that meets them: the commit path pays
//! nothing, and a program that never searches neither. A block is made once, when all its rows are
//! filled, and never changes; rows behind the last whole block are compared as they are. Blocks are
//! derived from what never changes about rows, so whoever makes one makes the same.

use std::{ops::Range, sync::OnceLock};

use crate::{
    simd::AlignedCodes,
    sync::Arc,
    vector::codes::{Codes, Measure, Units, encode, padded},
};

/// Rows of a block: enough for the kernels to run long, few enough that the rest, which is compared
/// in f32, costs microseconds.
pub const BLOCK_ROWS: u32 = 64;

/// Blocks that come and go together.
const CHUNK_BLOCKS: u32 = 16;

/// Rows of a chunk.
const CHUNK_ROWS: u32 = BLOCK_ROWS * CHUNK_BLOCKS;

/// What is to be known of a row to make its code.
#[derive(Clone, Copy, Debug)]
pub enum RowVector<'a> {
    /// The row is gone for everybody.
    Gone,
    /// There is a row, but its vector cannot be read.
    Unreadable,
    /// Its vector and 1 / ‖vector‖.
    Vector(&'a [f32], f32),
}

/// The codes of [`BLOCK_ROWS`] rows.
#[derive(Debug)]
pub struct Block {
    codes: AlignedCodes,
    units: Vec<f32>,
    errors: Vec<f32>,
}

impl Block {
    fn new<'v>(dimension: usize, first: u32, mut vector: impl FnMut(u32) -> RowVector<'v>) -> Self {
        let rows = BLOCK_ROWS as usize;
        let width = padded(dimension);
        let mut codes = AlignedCodes::zeroed(rows * width);
        let (units, errors): (Vec<f32>, Vec<f32>) = (first..)
            .zip(codes.chunks_exact_mut(width))
            .map(|(row, code)| match vector(row) {
                RowVector::Gone => Measure::GONE,
                RowVector::Unreadable => Measure::NOTHING,
                RowVector::Vector(vector, inverse_norm) => encode(vector, inverse_norm, code),
            })
            .map(|measure| (measure.unit, measure.error))
            .unzip();
        Self {
            codes,
            units,
            errors,
        }
    }

    /// The codes in row order. They have no sketches: in runs as short as this one these cost more than they save.
    #[must_use]
    pub fn codes(&self) -> Codes<'_> {
        Codes {
            codes: &self.codes,
            width: self.codes.len() / BLOCK_ROWS as usize,
            units: Units::Each(&self.units),
            errors: &self.errors,
            sketches: None,
        }
    }

    /// The code of the row of this number, which must be one of the block's.
    #[must_use]
    pub fn code_of(&self, row: u32) -> Option<(&[i8], Measure)> {
        self.codes().row((row % BLOCK_ROWS) as usize)
    }
}

/// The blocks of [`CHUNK_ROWS`] rows.
#[derive(Debug, Default)]
struct Chunk([OnceLock<Box<Block>>; CHUNK_BLOCKS as usize]);

/// The codes of the rows in no graph, an immutable value whose blocks fill up.
#[derive(Clone, Debug, Default)]
pub struct Tail {
    dimension: usize,
    /// Number of the first chunk.
    first: u32,
    chunks: Vec<Arc<Chunk>>,
}

impl Tail {
    /// No codes.
    #[must_use]
    pub fn new(dimension: u16) -> Self {
        Self {
            dimension: usize::from(dimension),
            ..Self::default()
        }
    }

    /// The rows for which there are whole blocks, made or to be made.
    #[must_use]
    pub fn rows(&self) -> Range<u32> {
        let end = self.first as usize + self.chunks.len();
        self.first * CHUNK_ROWS..end as u32 * CHUNK_ROWS
    }

    /// The tail with room for the blocks of the rows below `end`.
    #[must_use]
    pub fn reaching(&self, end: u32) -> Self {
        let mut grown = self.clone();
        while grown.rows().end < end {
            grown.chunks.push(Arc::default());
        }
        grown
    }

    /// The tail without the chunks whose rows are all below `row`.
    #[must_use]
    pub fn without_below(&self, row: u32) -> Self {
        let first = (row / CHUNK_ROWS).max(self.first);
        let fewer = (first - self.first) as usize;
        Self {
            dimension: self.dimension,
            first,
            chunks: self.chunks.get(fewer..).unwrap_or_default().to_vec(),
        }
    }

    /// The block that `row` is in, all of whose rows must be filled; made if it is not there yet.
    /// `None` outside of [`Tail::rows`].
    pub fn block<'v>(&self, row: u32, vector: impl FnMut(u32) -> RowVector<'v>) -> Option<&Block> {
        let block = row / BLOCK_ROWS;
        let chunk = (block / CHUNK_BLOCKS).checked_sub(self.first)?;
        let cell = self
            .chunks
            .get(chunk as usize)?
            .0
            .get((block % CHUNK_BLOCKS) as usize)?;
        let made =
            cell.get_or_init(|| Box::new(Block::new(self.dimension, block * BLOCK_ROWS, vector)));
        Some(made)
    }

    /// Bytes of the codes made so far.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let cells = self.chunks.iter().flat_map(|chunk| &chunk.0);
        let made = cells.filter_map(OnceLock::get).map(|block| {
            let measures = 2 * size_of_val(block.errors.as_slice());
            (block.codes.len() + measures) as u64
        });
        made.sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vector::codes::QueryCode;

    #[test]
    fn blocks_are_made_once_and_hold_what_rows_hold() {
        let vectors: Vec<[f32; 3]> = (0..2048).map(|i| [1.0, i as f32, -0.5]).collect();
        let tail = Tail::new(3).reaching(2048);
        assert_eq!(tail.rows(), 0..2048);
        let mut asked = Vec::new();
        let block = tail.block(130, |row| {
            asked.push(row);
            match row {
                129 => RowVector::Gone,
                131 => RowVector::Unreadable,
                row => RowVector::Vector(
                    &vectors[row as usize],
                    1.0 / (1.25 + f32::from(row as u16).powi(2)).sqrt(),
                ),
            }
        });
        let codes = block.unwrap().codes();
        assert_eq!(asked, (128..192).collect::<Vec<u32>>());
        assert_eq!(codes.row(1).unwrap().1, Measure::GONE);
        assert_eq!(codes.row(3).unwrap().1, Measure::NOTHING);
        let norm = (1.25 + 140.0_f32.powi(2)).sqrt();
        let query = QueryCode::new(vectors[140].map(|value| value / norm).to_vec());
        let (code, measure) = codes.row(12).unwrap();
        let (middle, off) = query.interval(crate::simd::dot_i8(query.codes(), code), measure);
        assert!(
            (middle - 1.0).abs() <= off && off < 0.05,
            "{middle} ± {off}"
        );
        tail.block(191, |_| unreachable!("the block is there"));
        // A code, its step, its error.
        assert_eq!(tail.bytes(), 64 * (64 + 4 + 4));
    }

    #[test]
    fn chunks_go_whole_and_what_stays_is_shared() {
        let tail = Tail::new(3).reaching(3000);
        assert_eq!(tail.rows(), 0..3072);
        tail.block(2500, |_| RowVector::Gone);
        let fewer = tail.without_below(2047);
        assert_eq!(fewer.rows(), 1024..3072);
        assert!(fewer.block(1023, |_| RowVector::Gone).is_none());
        assert!(
            fewer
                .block(2500, |_| unreachable!("it was made before"))
                .is_some()
        );
        assert_eq!(fewer.reaching(10).rows(), 1024..3072);
    }
}
