//! Which rows have the highest scores?
//!
//! MaxScore over windows of rows: what a term can add at most within a window is known from the heads of its
//! blocks. Terms that together cannot lift a row above the worst of the best so far do not name candidates; they
//! only add to those that the others name, as long as that can matter. So the answer is that of scoring every row.
//! Ties go to the smaller row.

use std::{cell::Cell, cmp::Reverse, ops::Range};

use super::{
    cursor::{Cursor, Probe},
    postings::List,
    question::Question,
    run::{self, Run},
    score::{Bm25, Weight},
};
use crate::sync::Arc;

pub use super::score::as_f32;

/// Rows that are looked at together: their scores stay in the first-level cache.
const WINDOW_ROWS: u32 = 2048;
/// Rows that are passed over at once where none of them is among the best.
const CHUNK_ROWS: usize = 32;
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
    runs: Vec<(&'a Run, Vec<Asked<'a>>)>,
}

/// The list of a run for a term of a question.
#[derive(Clone, Copy)]
struct Asked<'a> {
    /// The number of the term in the question.
    number: usize,
    /// Its mark.
    mark: u64,
    list: List<'a>,
    weight: Weight,
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
        let mut lists: Vec<(&Run, Vec<Asked<'a>>)> =
            runs.iter().map(|run| (&**run, Vec::new())).collect();
        for (number, (term, times)) in question.terms.iter().enumerate() {
            let found: Vec<_> = runs.iter().map(|run| run.list(term)).collect();
            let df = found.iter().flatten().map(|list| list.count() as u64).sum();
            let (weight, mark) = (bm25.weight(df, *times), run::mark(term));
            for ((_, lists), list) in lists.iter_mut().zip(found) {
                lists.extend(list.map(|list| Asked {
                    number,
                    mark,
                    list,
                    weight,
                }));
            }
        }
        Self { runs: lists }
    }

    /// How many rows have the term of this number.
    #[must_use]
    pub fn rows_with(&self, number: usize) -> u64 {
        let lists = self.runs.iter().flat_map(|(_, lists)| lists);
        let lists = lists.filter(|asked| asked.number == number);
        lists.map(|asked| asked.list.count() as u64).sum()
    }

    /// The `k` best of the rows that have a term of the question and are `accepted`, best first. Only rows that
    /// may be among the best are asked for.
    pub fn best(&self, k: usize, mut accepted: impl FnMut(u32) -> bool) -> Vec<Scored> {
        let mut best = Best::new(k);
        let mut window = Window::default();
        for (run, lists) in self.runs.iter().filter(|_| k > 0) {
            let cursors = lists.iter();
            let mut cursors: Vec<Cursor<'_>> = cursors
                .filter_map(|asked| Cursor::new(run, asked.list, asked.weight))
                .collect();
            if !cursors.is_empty() {
                window.pass(run.rows(), &mut cursors, &mut best, &mut accepted);
            }
        }
        best.sorted()
    }

    /// What rates rows one by one.
    #[must_use]
    pub fn rater(&self) -> Rater<'a> {
        let probe = |asked: &Asked<'a>| (*asked, Probe::new(asked.list, asked.weight));
        let runs = self.runs.iter();
        let runs = runs.map(|(run, lists)| (*run, lists.iter().map(probe).collect()));
        Rater {
            runs: runs.collect(),
        }
    }
}

/// Rates rows one by one; rows near each other cost little, and nothing is read before a row needs it.
pub struct Rater<'a> {
    runs: Vec<(&'a Run, Vec<(Asked<'a>, Probe<'a>)>)>,
}

impl Rater<'_> {
    /// Shows what each term of the question adds to the score of this row, with its number, for those that do.
    pub fn rate(&mut self, row: u32, mut see: impl FnMut(usize, u32)) {
        let run = self.runs.partition_point(|(run, _)| run.rows().end <= row);
        let Some((run, probes)) = self.runs.get_mut(run) else {
            return;
        };
        let Some(row) = row.checked_sub(run.rows().start) else {
            return;
        };
        let (length, marks) = (run.length(row), run.marks(row));
        for (asked, probe) in probes {
            if asked.mark & marks == 0 {
                continue;
            }
            let part = probe.score(row, length);
            if part > 0 {
                see(asked.number, part);
            }
        }
    }
}

/// The best rows so far, and some that were among them.
struct Best {
    k: usize,
    found: Vec<Scored>,
    /// `k` rows score no less, so a later one must score more; 0 as long as there are fewer.
    floor: u32,
}

impl Best {
    fn new(k: usize) -> Self {
        Self {
            k,
            found: Vec::new(),
            floor: 0,
        }
    }

    /// What a row must score more than.
    fn floor(&self) -> u32 {
        self.floor
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
            self.floor = worst.score;
            self.found.truncate(self.k);
        }
    }

    fn sorted(mut self) -> Vec<Scored> {
        self.choose();
        self.found.sort_unstable_by_key(Scored::place);
        self.found
    }
}

/// The scores of the rows that are looked at together: of candidates more than 0, of the others 0.
struct Window {
    scores: Box<[u32; WINDOW_ROWS as usize]>,
}

impl Default for Window {
    fn default() -> Self {
        Self {
            scores: Box::new([0; WINDOW_ROWS as usize]),
        }
    }
}

impl Window {
    fn pass(
        &mut self,
        rows: Range<u32>,
        cursors: &mut [Cursor<'_>],
        best: &mut Best,
        accepted: &mut impl FnMut(u32) -> bool,
    ) {
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
            let idle = sums.iter().take_while(|sum| **sum <= best.floor()).count();
            for (_, number) in order.get(idle..).unwrap_or_default() {
                if let Some(cursor) = cursors.get_mut(*number) {
                    self.name(cursor, from..to);
                }
            }
            let rest = order.iter().zip(&sums).take(idle);
            for ((_, number), left) in rest.rev() {
                if !self.keep_above(best.floor().saturating_sub(*left)) {
                    break;
                }
                if let Some(cursor) = cursors.get_mut(*number) {
                    self.complete(cursor, from..to);
                }
            }
            self.drain(rows.start + from, best, accepted);
        }
    }

    /// Makes candidates of the rows that have a term.
    fn name(&mut self, cursor: &mut Cursor<'_>, rows: Range<u32>) {
        let first = rows.start;
        cursor.each_in(
            rows,
            |_| true,
            |row, score| {
                if let Some(sum) = self.scores.get_mut(place(row - first)) {
                    *sum = sum.saturating_add(score);
                }
            },
        );
    }

    /// Adds what a term has of the candidates.
    fn complete(&mut self, cursor: &mut Cursor<'_>, rows: Range<u32>) {
        let first = rows.start;
        let scores = Cell::from_mut(self.scores.as_mut_slice()).as_slice_of_cells();
        // Whether there is a candidate about there.
        let wanted = |block: Range<u32>| {
            let scores = scores.get(place(block.start - first)..=place(block.end - 1 - first));
            scores.is_some_and(|scores| scores.iter().any(|score| score.get() > 0))
        };
        let add = |row: u32, score: u32| {
            if let Some(sum) = scores.get(place(row - first)).filter(|sum| sum.get() > 0) {
                sum.set(sum.get().saturating_add(score));
            }
        };
        cursor.each_in(rows, wanted, add);
    }

    /// Leaves the candidates with more than this score; whether there are any.
    fn keep_above(&mut self, floor: u32) -> bool {
        let mut any = 0;
        for score in &mut *self.scores {
            *score = if *score > floor { *score } else { 0 };
            any |= *score;
        }
        any > 0
    }

    /// Moves those candidates to the best that are among them, by row, and leaves none.
    fn drain(&mut self, first: u32, best: &mut Best, accepted: &mut impl FnMut(u32) -> bool) {
        let (chunks, _) = self.scores.as_chunks_mut::<CHUNK_ROWS>();
        for (first, chunk) in (first..).step_by(CHUNK_ROWS).zip(chunks) {
            let floor = best.floor();
            if chunk.iter().any(|score| *score > floor) {
                for (row, score) in (first..).zip(chunk.iter().copied()) {
                    if score > best.floor() && accepted(row) {
                        best.push(Scored { row, score });
                    }
                }
            }
            chunk.fill(0);
        }
    }
}

/// Where the score of the n-th row of a window stands.
fn place(n: u32) -> usize {
    (n % WINDOW_ROWS) as usize
}
