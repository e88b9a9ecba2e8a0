//! How is the list of one term read by a search: forward, or where a row is?
//!
//! Either decodes a block when a row of it is asked for, and not before. What a row scores follows from its posting and
//! its length. Called by [`search`](super::search).

use std::ops::Range;

use super::{
    postings::{Block, List},
    run::Run,
    score::Weight,
};

/// A walk over the postings of a term in one run.
pub(super) struct Cursor<'a> {
    run: &'a Run,
    list: List<'a>,
    weight: Weight,
    /// The block where it is, and its last row.
    block: usize,
    last: u32,
    postings: Block,
    /// The length and the score of each.
    lengths: Vec<u16>,
    scores: Vec<u32>,
    at: usize,
    /// Whether `postings` are those of `block`.
    read: bool,
    /// What a row of a list of one block can score.
    most: u32,
}

impl<'a> Cursor<'a> {
    /// At the beginning; `None` where there is nothing to read.
    pub(super) fn new(run: &'a Run, list: List<'a>, weight: Weight) -> Option<Self> {
        let mut cursor = Self {
            run,
            list,
            weight,
            block: 0,
            last: 0,
            postings: Block::default(),
            lengths: Vec::new(),
            scores: Vec::new(),
            at: 0,
            read: false,
            most: 0,
        };
        if let Some(head) = list.head(0) {
            cursor.last = head.last;
        } else {
            cursor.read();
            cursor.last = *cursor.postings.rows.last()?;
            cursor.most = *cursor.scores.iter().max()?;
        }
        Some(cursor)
    }

    fn read(&mut self) {
        if !self.read {
            self.list.read(self.block, &mut self.postings);
            let Block { rows, tfs } = &self.postings;
            self.lengths.clear();
            self.lengths
                .extend(rows.iter().map(|row| self.run.length(*row)));
            self.weight.scores(tfs, &self.lengths, &mut self.scores);
            self.read = true;
            self.at = 0;
        }
    }

    /// Goes to the block in which rows from `row` on begin; false behind the last one.
    fn seek_block(&mut self, row: u32) -> bool {
        while self.last < row {
            let Some(head) = self.list.head(self.block + 1) else {
                return false;
            };
            self.block += 1;
            self.last = head.last;
            self.read = false;
        }
        true
    }

    /// The most that a row in `from..to` can score with this term.
    pub(super) fn most(&mut self, from: u32, to: u32) -> u32 {
        if !self.seek_block(from) {
            return 0;
        }
        if self.list.blocks() <= 1 {
            let first = self.postings.rows.first();
            return first.map_or(0, |first| if *first < to { self.most } else { 0 });
        }
        let mut most = 0;
        for block in self.block.. {
            let Some(head) = self.list.head(block) else {
                break;
            };
            most = most.max(self.weight.score(head.max_tf, head.min_length));
            if head.last >= to.saturating_sub(1) {
                break;
            }
        }
        most
    }

    /// Shows those of the rows that have the term, and their scores, but for blocks of which no row is `wanted`.
    pub(super) fn each_in(
        &mut self,
        rows: Range<u32>,
        wanted: impl Fn(Range<u32>) -> bool,
        mut see: impl FnMut(u32, u32),
    ) {
        let Range {
            start: mut from,
            end: to,
        } = rows;
        while from < to && self.seek_block(from) {
            let end = to.min(self.last.saturating_add(1));
            if wanted(from..end) {
                self.read();
                let rows = &self.postings.rows;
                let behind = rows.get(self.at..).unwrap_or_default();
                self.at += behind.partition_point(|row| *row < from);
                let behind = rows.get(self.at..).unwrap_or_default();
                let inside = self.at..self.at + behind.partition_point(|row| *row < end);
                self.at = inside.end;
                let rows = rows.get(inside.clone()).unwrap_or_default();
                let scores = self.scores.get(inside).unwrap_or_default();
                rows.iter()
                    .zip(scores)
                    .for_each(|(row, score)| see(*row, *score));
            }
            from = end;
        }
    }
}

/// The postings of a term around the row that was asked for last.
pub(super) struct Probe<'a> {
    list: List<'a>,
    weight: Weight,
    /// The rows of which `postings` tell all.
    known: Range<u32>,
    postings: Block,
}

impl<'a> Probe<'a> {
    /// Nothing read yet.
    pub(super) fn new(list: List<'a>, weight: Weight) -> Self {
        Self {
            list,
            weight,
            known: 0..0,
            postings: Block::default(),
        }
    }

    /// The score of any row, of which the length is given.
    pub(super) fn score(&mut self, row: u32, length: u16) -> u32 {
        if !self.known.contains(&row) {
            let block = self.list.block_of(row);
            self.known = self.list.rows_of(block);
            self.list.read(block, &mut self.postings);
        }
        let Block { rows, tfs } = &self.postings;
        let found = rows.binary_search(&row).ok();
        let tf = found.and_then(|at| tfs.get(at));
        tf.map_or(0, |tf| self.weight.score(*tf, length))
    }
}
