//! Which rows have the highest scores?
//!
//! MaxScore over windows of rows: what a term can add at most within a window is known from the heads of its
//! blocks. Terms that together cannot lift a row above the worst of the best so far do not name candidates; they
//! only add to those that the others name, as long as that can matter. So the answer is that of scoring every row.
//! Ties go to the smaller row.

use std::{cmp::Reverse, ops::Range};

use super::{
    cursor::{Cursor, Probe},
    postings::{List, Posting},
    question::Question,
    run::Run,
    score::{Bm25, Weight},
};
use crate::sync::Arc;

pub use super::score::as_f32;

/// Rows that are looked at together: their scores stay in the first-level cache.
const WINDOW_ROWS: u32 = 2048;
/// Rows of which one word holds the bits.
const WORD: usize = u64::BITS as usize;
/// Rows beyond the best that may come together before the best are chosen: a part of these, and some. Choosing takes
/// a few nanoseconds for each of all, and only then it is known what is in vain.
const SPARE_PART: usize = 4;
const SPARE_LEAST: usize = 8;

/// A row and its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The row.
    pub row: u32,
    /// The score, in parts of [`super::score`].
    pub score: u32,
}

impl Scored {
    /// What is better has less.
    fn place(&self) -> (Reverse<u32>, u32) {
        (Reverse(self.score), self.row)
    }
}

/// The terms of a question with their weights over some runs.
pub struct Scorer<'a> {
    runs: Vec<(&'a Run, Lists<'a>)>,
}

/// The lists of a run for the terms of a question: the number of each there, and how much it counts.
type Lists<'a> = Vec<(usize, List<'a>, Weight)>;

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
        let mut lists: Vec<(&Run, Lists<'a>)> =
            runs.iter().map(|run| (&**run, Lists::new())).collect();
        for (number, (term, times)) in question.terms.iter().enumerate() {
            let found: Vec<_> = runs.iter().map(|run| run.list(term)).collect();
            let df = found.iter().flatten().map(|list| list.count() as u64).sum();
            let weight = bm25.weight(df, *times);
            for ((_, lists), list) in lists.iter_mut().zip(found) {
                lists.extend(list.map(|list| (number, list, weight)));
            }
        }
        Self { runs: lists }
    }

    /// The `k` best of the rows that have a term of the question and are `accepted`, best first. Only rows that
    /// may be among the best are asked for.
    pub fn best(&self, k: usize, mut accepted: impl FnMut(u32) -> bool) -> Vec<Scored> {
        let mut best = Best::new(k);
        let mut window = Window::default();
        for (run, lists) in self.runs.iter().filter(|_| k > 0) {
            let cursors = lists.iter();
            let mut cursors: Vec<Cursor<'_>> = cursors
                .filter_map(|(_, list, weight)| Cursor::new(run, *list, *weight))
                .collect();
            if !cursors.is_empty() {
                window.pass(run, &mut cursors, &mut best, &mut accepted);
            }
        }
        best.sorted()
    }

    /// What rates rows one by one.
    #[must_use]
    pub fn rater(&self) -> Rater<'a> {
        let probe = |(number, list, weight): &(usize, List<'a>, Weight)| {
            (*number, Probe::new(*list, *weight))
        };
        let probes =
            |(run, lists): &(&'a Run, Lists<'a>)| (*run, lists.iter().map(probe).collect());
        Rater {
            runs: self.runs.iter().map(probes).collect(),
        }
    }
}

/// Rates rows one by one; rows near each other cost little, and nothing is read before a row needs it.
pub struct Rater<'a> {
    runs: Vec<(&'a Run, Vec<(usize, Probe<'a>)>)>,
}

impl Rater<'_> {
    /// Puts what each term of the question adds to the score of this row into its place in `parts`.
    pub fn rate(&mut self, row: u32, parts: &mut [u32]) {
        let run = self.runs.partition_point(|(run, _)| run.rows().end <= row);
        let Some((run, probes)) = self.runs.get_mut(run) else {
            return;
        };
        let Some(row) = row.checked_sub(run.rows().start) else {
            return;
        };
        let length = run.length(row);
        for (number, probe) in probes {
            if let Some(part) = parts.get_mut(*number) {
                *part = probe.score(row, length);
            }
        }
    }
}

/// The best rows so far, and some that were among them.
struct Best {
    k: usize,
    found: Vec<Scored>,
    /// `k` rows score no less, so a later one must score more.
    threshold: Option<u32>,
}

impl Best {
    fn new(k: usize) -> Self {
        Self {
            k,
            found: Vec::new(),
            threshold: None,
        }
    }

    fn in_vain(&self, most: u32) -> bool {
        self.threshold.is_some_and(|threshold| most <= threshold)
    }

    /// Rows come in ascending order.
    fn push(&mut self, one: Scored) {
        self.found.push(one);
        if self.found.len() >= self.k.saturating_add(self.k / SPARE_PART + SPARE_LEAST) {
            self.choose();
        }
    }

    /// Leaves the `k` best, in no order.
    fn choose(&mut self) {
        if let Some(last) = self
            .k
            .checked_sub(1)
            .filter(|last| *last < self.found.len())
        {
            let (_, worst, _) = self.found.select_nth_unstable_by_key(last, Scored::place);
            self.threshold = Some(worst.score);
            self.found.truncate(self.k);
        }
    }

    fn sorted(mut self) -> Vec<Scored> {
        self.choose();
        self.found.sort_unstable_by_key(Scored::place);
        self.found
    }
}

/// The scores of the rows that are looked at together.
struct Window {
    scores: Vec<u32>,
    /// A bit for each row that is a candidate; of the others the score is 0.
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
        let mut order: Vec<(u32, usize)> = Vec::with_capacity(cursors.len());
        let mut sums: Vec<u32> = Vec::with_capacity(cursors.len());
        for from in (0..count).step_by(WINDOW_ROWS as usize) {
            let to = count.min(from.saturating_add(WINDOW_ROWS));
            let bounds = cursors.iter_mut().enumerate();
            let bounds = bounds.map(|(number, cursor)| (cursor.most(from, to), number));
            order.clear();
            order.extend(bounds.filter(|(most, _)| *most > 0));
            order.sort_unstable();
            // What the terms up to each can add together.
            sums.clear();
            sums.extend(order.iter().scan(0_u32, |sum, (most, _)| {
                *sum = sum.saturating_add(*most);
                Some(*sum)
            }));
            let idle = sums.iter().take_while(|sum| best.in_vain(**sum)).count();
            for (_, number) in order.get(idle..).unwrap_or_default() {
                if let Some(cursor) = cursors.get_mut(*number) {
                    self.name(run, cursor, from..to);
                }
            }
            let rest = order.iter().zip(&sums).take(idle);
            for ((_, number), left) in rest.rev() {
                if !self.keep(|score| !best.in_vain(score.saturating_add(*left))) {
                    break;
                }
                if let Some(cursor) = cursors.get_mut(*number) {
                    self.complete(run, cursor, from..to);
                }
            }
            self.drain(|offset, score| {
                let row = rows.start + from + offset;
                if !best.in_vain(score) && accepted(row) {
                    best.push(Scored { row, score });
                }
            });
        }
    }

    /// Makes candidates of the rows that have a term.
    fn name(&mut self, run: &Run, cursor: &mut Cursor<'_>, rows: Range<u32>) {
        let weight = cursor.weight;
        let Self { scores, touched } = self;
        let add = |posting: Posting| {
            let offset = posting.row - rows.start;
            let score = weight.score(posting.tf, run.length(posting.row));
            if let Some(sum) = scores.get_mut(offset as usize) {
                *sum = sum.saturating_add(score);
            }
            if let Some(bits) = touched.get_mut((offset / u64::BITS) as usize) {
                *bits |= 1 << (offset % u64::BITS);
            }
        };
        cursor.each_in(rows.start, rows.end, |_| true, add);
    }

    /// Adds what a term has of the candidates.
    fn complete(&mut self, run: &Run, cursor: &mut Cursor<'_>, rows: Range<u32>) {
        let weight = cursor.weight;
        let Self { scores, touched } = self;
        let word = |row: u32| ((row - rows.start) / u64::BITS) as usize;
        // Whether there is one about there.
        let wanted = |block: Range<u32>| {
            let words = touched.get(word(block.start)..=word(block.end - 1));
            words.is_some_and(|words| words.iter().any(|bits| *bits != 0))
        };
        let add = |posting: Posting| {
            let bits = touched.get(word(posting.row)).copied().unwrap_or(0);
            if bits >> ((posting.row - rows.start) % u64::BITS) & 1 == 1
                && let Some(sum) = scores.get_mut((posting.row - rows.start) as usize)
            {
                let score = weight.score(posting.tf, run.length(posting.row));
                *sum = sum.saturating_add(score);
            }
        };
        cursor.each_in(rows.start, rows.end, wanted, add);
    }

    /// Leaves those candidates whose scores are to be kept; whether there are any.
    fn keep(&mut self, keep: impl Fn(u32) -> bool) -> bool {
        let mut any = false;
        for (bits, scores) in self.touched.iter_mut().zip(self.scores.chunks_mut(WORD)) {
            let mut left = *bits;
            while left != 0 {
                let bit = left.trailing_zeros();
                left &= left - 1;
                if let Some(score) = scores.get_mut(bit as usize)
                    && !keep(*score)
                {
                    *score = 0;
                    *bits &= !(1 << bit);
                }
            }
            any |= *bits != 0;
        }
        any
    }

    /// Shows the candidates and their scores, by row, and leaves none.
    fn drain(&mut self, mut see: impl FnMut(u32, u32)) {
        for (number, bits) in self.touched.iter_mut().enumerate() {
            while *bits != 0 {
                let offset = number as u32 * u64::BITS + bits.trailing_zeros();
                *bits &= *bits - 1;
                let score = self.scores.get_mut(offset as usize);
                see(offset, score.map_or(0, std::mem::take));
            }
        }
    }
}
