//! Which rows have the highest scores?
//!
//! MaxScore over windows of rows: what a term can add at most within a window is known from the heads of its
//! blocks. Terms that together cannot lift a row above the worst of the best so far do not name candidates; they
//! only add to those that the others name, as long as that can matter. So the answer is that of scoring every row.
//! Ties go to the smaller row.

use std::{cmp::Reverse, collections::BinaryHeap};

use super::{
    postings::{BLOCK, List, Posting},
    question::Question,
    run::Run,
    score::{Bm25, Weight},
};
use crate::sync::Arc;

pub use super::score::as_f32;

/// Rows that are looked at together: their scores stay in the first-level cache.
const WINDOW_ROWS: u32 = 2048;

/// A row and its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The row.
    pub row: u32,
    /// The score, in parts of [`super::score`].
    pub score: u32,
}

/// The terms of a question with their weights over some runs.
pub struct Scorer<'a> {
    runs: &'a [Arc<Run>],
    terms: Vec<(&'a str, Weight)>,
}

impl<'a> Scorer<'a> {
    /// The terms of `question`, weighted by how rare they are in the runs.
    #[must_use]
    pub fn new(runs: &'a [Arc<Run>], question: &'a Question, (k1, b): (f32, f32)) -> Self {
        let bm25 = Bm25 {
            k1,
            b,
            rows: runs.iter().map(|run| run.documents).sum(),
            words: runs.iter().map(|run| run.words).sum(),
        };
        let weighted = |(term, times): &'a (Box<str>, u32)| {
            let lists = runs.iter().filter_map(|run| run.list(term));
            let df = lists.map(|list| list.count() as u64).sum();
            (&**term, bm25.weight(df, *times))
        };
        Self {
            runs,
            terms: question.terms.iter().map(weighted).collect(),
        }
    }

    /// The `k` best of the rows that have a term of the question and are `accepted`, best first. Only rows that
    /// may be among the best are asked for.
    pub fn best(&self, k: usize, mut accepted: impl FnMut(u32) -> bool) -> Vec<Scored> {
        let mut best = Best {
            k,
            heap: BinaryHeap::with_capacity(k + 1),
        };
        let mut window = Window::default();
        for run in self.runs.iter().filter(|_| k > 0) {
            let mut cursors: Vec<Cursor<'_>> = self
                .terms
                .iter()
                .filter_map(|(term, weight)| Cursor::new(run, run.list(term)?, *weight))
                .collect();
            if !cursors.is_empty() {
                window.pass(run, &mut cursors, &mut best, &mut accepted);
            }
        }
        let sorted = best.heap.into_sorted_vec();
        sorted
            .into_iter()
            .map(|Reverse((score, Reverse(row)))| Scored { row, score })
            .collect()
    }

    /// What rates rows one by one.
    #[must_use]
    pub fn rater(&self) -> Rater<'a> {
        let lists = |run: &'a Arc<Run>| {
            let list = |(number, (term, weight)): (usize, &(&'a str, Weight))| {
                let cursor = Cursor::new(run, run.list(term)?, *weight)?;
                Some((number, cursor))
            };
            (
                &**run,
                self.terms.iter().enumerate().filter_map(list).collect(),
            )
        };
        Rater {
            runs: self.runs.iter().map(lists).collect(),
        }
    }
}

/// The terms of a run that a question has, each with its number there.
type Lists<'a> = Vec<(usize, Cursor<'a>)>;

/// Rates rows one by one; rows near each other cost little.
pub struct Rater<'a> {
    runs: Vec<(&'a Run, Lists<'a>)>,
}

impl Rater<'_> {
    /// Puts what each term of the question adds to the score of this row into its place in `parts`.
    pub fn rate(&mut self, row: u32, parts: &mut [u32]) {
        let run = self.runs.partition_point(|(run, _)| run.rows().end <= row);
        let Some((run, lists)) = self.runs.get_mut(run) else {
            return;
        };
        let Some(row) = row.checked_sub(run.rows().start) else {
            return;
        };
        for (number, cursor) in lists {
            if let Some(part) = parts.get_mut(*number) {
                *part = cursor.score_anywhere(row);
            }
        }
    }
}

/// The best rows so far, the worst of them on top.
struct Best {
    k: usize,
    heap: BinaryHeap<Reverse<(u32, Reverse<u32>)>>,
}

impl Best {
    /// A row must score more, given that rows come in ascending order.
    fn threshold(&self) -> Option<u32> {
        if self.heap.len() < self.k {
            return None;
        }
        self.heap.peek().map(|Reverse((score, _))| *score)
    }

    fn in_vain(&self, most: u32) -> bool {
        self.threshold().is_some_and(|threshold| most <= threshold)
    }

    fn push(&mut self, row: u32, score: u32) {
        self.heap.push(Reverse((score, Reverse(row))));
        if self.heap.len() > self.k {
            self.heap.pop();
        }
    }
}

/// A walk over the postings of a term in one run.
struct Cursor<'a> {
    run: &'a Run,
    list: List<'a>,
    weight: Weight,
    /// The block that is read.
    block: usize,
    postings: Vec<Posting>,
    at: usize,
    /// Whether `postings` are those of `block`.
    read: bool,
    /// What a row of a list of one block can score.
    most: u32,
}

impl<'a> Cursor<'a> {
    fn new(run: &'a Run, list: List<'a>, weight: Weight) -> Option<Self> {
        let mut cursor = Self {
            run,
            list,
            weight,
            block: 0,
            postings: Vec::with_capacity(list.count().min(BLOCK)),
            at: 0,
            read: false,
            most: 0,
        };
        if list.blocks() <= 1 {
            cursor.read();
            let scores = cursor.postings.iter().map(|posting| cursor.score(*posting));
            cursor.most = scores.max()?;
        }
        Some(cursor)
    }

    fn read(&mut self) {
        if !self.read {
            self.list.read(self.block, &mut self.postings);
            self.read = true;
            self.at = 0;
        }
    }

    fn score(&self, posting: Posting) -> u32 {
        self.weight.score(posting.tf, self.run.length(posting.row))
    }

    /// Goes to the block in which rows from `row` on begin; false behind the last one.
    fn seek_block(&mut self, row: u32) -> bool {
        let blocks = self.list.blocks();
        if blocks > 1 {
            let before = self.block;
            while self
                .list
                .head(self.block)
                .is_some_and(|head| head.last < row)
            {
                self.block += 1;
            }
            self.read &= self.block == before;
        }
        self.block < blocks
    }

    /// The most that a row in `from..to` can score with this term.
    fn most(&mut self, from: u32, to: u32) -> u32 {
        if !self.seek_block(from) {
            return 0;
        }
        if self.list.blocks() <= 1 {
            let rows = (self.postings.first(), self.postings.last());
            return match rows {
                (Some(first), Some(last)) if first.row < to && last.row >= from => self.most,
                _ => 0,
            };
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

    /// Shows the postings in `from..to`.
    fn each_in(&mut self, from: u32, to: u32, mut see: impl FnMut(u32, u32)) {
        while self.seek_block(from) {
            self.read();
            let (run, weight) = (self.run, self.weight);
            let behind = self.postings.get(self.at..).unwrap_or_default();
            let skipped = behind.partition_point(|posting| posting.row < from);
            let inside = behind.get(skipped..).unwrap_or_default();
            let seen = inside.iter().take_while(|posting| posting.row < to);
            let seen = seen.map(|posting| {
                see(
                    posting.row,
                    weight.score(posting.tf, run.length(posting.row)),
                );
            });
            self.at += skipped + seen.count();
            if self.at < self.postings.len() || self.block + 1 >= self.list.blocks() {
                return;
            }
            self.block += 1;
            self.read = false;
        }
    }

    /// The score of any row.
    fn score_anywhere(&mut self, row: u32) -> u32 {
        let head = |block: usize| self.list.head(block);
        let is_here = match head(self.block) {
            Some(head) => {
                let before = self
                    .block
                    .checked_sub(1)
                    .and_then(|before| self.list.head(before));
                row <= head.last && before.is_none_or(|before| row > before.last)
            }
            // A list of one block, or behind the last one.
            None => self.list.blocks() <= 1,
        };
        if !is_here {
            let (mut from, mut to) = (0, self.list.blocks());
            while from < to {
                let middle = from.midpoint(to);
                if head(middle).is_some_and(|head| head.last < row) {
                    from = middle + 1;
                } else {
                    to = middle;
                }
            }
            self.block = from;
            self.read = false;
        }
        if self.block >= self.list.blocks() {
            return 0;
        }
        self.read();
        let found = self
            .postings
            .binary_search_by_key(&row, |posting| posting.row);
        let posting = found.ok().and_then(|at| self.postings.get(at));
        posting.map_or(0, |posting| self.score(*posting))
    }

    /// The score of a row that is not before those asked for so far.
    fn score_of(&mut self, row: u32) -> u32 {
        if !self.seek_block(row) {
            return 0;
        }
        self.read();
        let behind = self.postings.get(self.at..).unwrap_or_default();
        self.at += behind.partition_point(|posting| posting.row < row);
        match self.postings.get(self.at) {
            Some(posting) if posting.row == row => self.score(*posting),
            _ => 0,
        }
    }
}

/// The scores of the rows that are looked at together.
struct Window {
    scores: Vec<u32>,
    touched: Vec<u64>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            scores: vec![0; WINDOW_ROWS as usize],
            touched: vec![0; WINDOW_ROWS.div_ceil(u64::BITS) as usize],
        }
    }
}

impl Window {
    fn pass(
        &mut self,
        run: &Run,
        cursors: &mut [Cursor<'_>],
        best: &mut Best,
        accepted: &mut impl FnMut(u32) -> bool,
    ) {
        let rows = run.rows();
        let count = rows.end - rows.start;
        for from in (0..count).step_by(WINDOW_ROWS as usize) {
            let to = count.min(from.saturating_add(WINDOW_ROWS));
            let mut order: Vec<(u32, usize)> = cursors
                .iter_mut()
                .enumerate()
                .map(|(number, cursor)| (cursor.most(from, to), number))
                .filter(|(most, _)| *most > 0)
                .collect();
            order.sort_unstable();
            // What the terms up to each can add together.
            let together = |most: &mut u32, one: &(u32, usize)| {
                *most = most.saturating_add(one.0);
                Some(*most)
            };
            let sums: Vec<u32> = order.iter().scan(0, together).collect();
            let idle = sums.iter().take_while(|sum| best.in_vain(**sum)).count();
            let Some(naming) = order.get(idle..).filter(|naming| !naming.is_empty()) else {
                continue;
            };
            for (_, number) in naming {
                if let Some(cursor) = cursors.get_mut(*number) {
                    cursor.each_in(from, to, |row, score| self.add(row - from, score));
                }
            }
            let rest = order.get(..idle).unwrap_or_default();
            let Self { scores, touched } = self;
            for (word, bits) in touched.iter_mut().enumerate() {
                while *bits != 0 {
                    let offset = word as u32 * u64::BITS + bits.trailing_zeros();
                    *bits &= *bits - 1;
                    let score = scores.get_mut(offset as usize).map_or(0, std::mem::take);
                    let row = from + offset;
                    if let Some(score) = completed(score, row, rest, &sums, cursors, best)
                        && accepted(rows.start + row)
                    {
                        best.push(rows.start + row, score);
                    }
                }
            }
        }
    }

    #[inline]
    fn add(&mut self, offset: u32, score: u32) {
        if let Some(sum) = self.scores.get_mut(offset as usize) {
            *sum = sum.saturating_add(score);
        }
        if let Some(bits) = self.touched.get_mut((offset / u64::BITS) as usize) {
            *bits |= 1 << (offset % u64::BITS);
        }
    }
}

/// The score of a row together with what the other terms add; `None` if it cannot be among the best.
fn completed(
    mut score: u32,
    row: u32,
    rest: &[(u32, usize)],
    sums: &[u32],
    cursors: &mut [Cursor<'_>],
    best: &Best,
) -> Option<u32> {
    for ((_, number), left) in rest.iter().zip(sums).rev() {
        if best.in_vain(score.saturating_add(*left)) {
            return None;
        }
        let added = cursors
            .get_mut(*number)
            .map_or(0, |cursor| cursor.score_of(row));
        score = score.saturating_add(added);
    }
    (!best.in_vain(score)).then_some(score)
}
