//! Which rows have the highest scores?
//!
//! Stretch by stretch, what the terms of the question add is summed up for all rows of it, in one pass without a branch over what
//! each term has there; then the sums are passed once for those above the worst of the best so far. So the answer is
//! that of scoring every row. Ties go to the smaller row.

use std::cmp::Reverse;

use super::{
    postings::{Dense, List, Packed, STRETCH_ROWS},
    question::Question,
    run::{self, Run},
    score::{Bm25, Shares, Unit},
};
use crate::{simd, sync::Arc};

/// Rows beyond the best that may come together before the best are chosen: a part of these, and some. Choosing takes
/// a few nanoseconds for each of all, and only then it is known what is in vain.
const SPARE_PART: usize = 4;
const SPARE_LEAST: usize = 8;

/// Sums that are compared together, as a vector or a few of the CPU.
const TOGETHER: usize = 32;

/// A row and its score.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Scored {
    /// The row.
    pub row: u32,
    /// The score, in the unit of the question.
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
    shares: Shares,
    unit: Unit,
}

/// What a run has of a term of a question.
struct Asked<'a> {
    /// The number of the term in the question.
    number: usize,
    /// Its mark.
    mark: u64,
    /// The most that a row scores, about.
    weight: u32,
    rows: Rows<'a>,
}

/// The rows of a run that have a term.
enum Rows<'a> {
    /// Few, with what each scores, counted from the first of the run.
    Few(Vec<Scored>),
    /// Many.
    Many(Dense<'a>),
}

impl<'a> Rows<'a> {
    /// Those of a list of this run, of a term of this weight.
    fn of(run: &Run, list: List<'a>, weight: u32, shares: &Shares) -> Self {
        let list = match list {
            List::Dense(list) => return Self::Many(list),
            List::Scattered(list) => list,
        };
        let mut rows = Vec::with_capacity(list.count());
        list.each(|posting| {
            let again = posting.tf.saturating_sub(1) as u16;
            rows.push(Scored {
                row: posting.row,
                score: shares.score(weight, again, run.length(posting.row)),
            });
        });
        Self::Few(rows)
    }
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
        let terms = || question.terms.iter().map(|(term, _)| &**term);
        let lists: Vec<Vec<_>> = runs.iter().map(|run| run.lists(terms())).collect();
        let weights = question
            .terms
            .iter()
            .enumerate()
            .map(|(number, (_, times))| {
                let lists = lists.iter().filter_map(|lists| lists.get(number)?.as_ref());
                bm25.weight(lists.map(|list| list.count() as u64).sum(), *times)
            });
        let weights: Vec<f32> = weights.collect();
        let (shares, unit) = (bm25.shares(), Unit::of(weights.iter().sum()));
        let marks = terms().map(run::mark);
        let terms: Vec<(u64, u32)> = marks
            .zip(weights.iter().map(|weight| unit.count(*weight)))
            .collect();
        let runs = runs.iter().zip(lists).map(|(run, lists)| {
            let lists = lists.into_iter().zip(&terms).enumerate();
            let asked = lists.filter_map(|(number, (list, (mark, weight)))| {
                Some(Asked {
                    number,
                    mark: *mark,
                    weight: *weight,
                    rows: Rows::of(run, list?, *weight, &shares),
                })
            });
            (&**run, asked.collect())
        });
        Self {
            runs: runs.collect(),
            shares,
            unit,
        }
    }

    /// A score as others know it.
    #[must_use]
    pub fn value(&self, score: u32) -> f32 {
        self.unit.value(score)
    }

    /// How many rows have the term of this number.
    #[must_use]
    pub fn rows_with(&self, number: usize) -> u64 {
        let asked = self.runs.iter().flat_map(|(_, asked)| asked);
        let asked = asked.filter(|asked| asked.number == number);
        let counts = asked.map(|asked| match &asked.rows {
            Rows::Few(rows) => rows.len() as u64,
            Rows::Many(list) => list.count() as u64,
        });
        counts.sum()
    }

    /// The `k` best of the rows that have a term of the question and are `accepted`, best first. Only rows that
    /// may be among the best are asked for.
    pub fn best(&self, k: usize, mut accepted: impl FnMut(u32) -> bool) -> Vec<Scored> {
        let mut best = Best::new(k);
        let mut sums = Sums::default();
        for (run, asked) in self.runs.iter().filter(|_| k > 0) {
            sums.pass((run, asked), &self.shares, &mut best, &mut accepted);
        }
        best.sorted()
    }

    /// Shows what each term of the question adds to the score of this row, with its number, for those that do.
    pub fn rate(&self, row: u32, mut see: impl FnMut(usize, u32)) {
        let run = self.runs.partition_point(|(run, _)| run.rows().end <= row);
        let Some((run, asked)) = self.runs.get(run) else {
            return;
        };
        let Some(row) = row.checked_sub(run.rows().start) else {
            return;
        };
        let (length, marks) = (run.length(row), run.marks(row));
        for asked in asked.iter().filter(|asked| asked.mark & marks != 0) {
            let score = match &asked.rows {
                Rows::Few(rows) => {
                    let at = rows.binary_search_by_key(&row, |one| one.row).ok();
                    at.and_then(|at| rows.get(at)).map(|one| one.score)
                }
                Rows::Many(list) => {
                    let inside = list.stretch((row / STRETCH_ROWS) as usize);
                    let row = (row % STRETCH_ROWS) as u16;
                    let at = inside.binary_search_by_key(&row, |one| one.row()).ok();
                    let one = at.and_then(|at| inside.get(at));
                    one.map(|one| self.shares.score(asked.weight, one.again(), length))
                }
            };
            if let Some(score) = score {
                see(asked.number, score);
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

/// The rows of a stretch: how long they are, and their scores as far as they are summed up.
struct Sums {
    lengths: Box<[u8; STRETCH_ROWS as usize]>,
    scores: Box<[u32; STRETCH_ROWS as usize]>,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            lengths: Box::new([0; STRETCH_ROWS as usize]),
            scores: Box::new([0; STRETCH_ROWS as usize]),
        }
    }
}

impl Sums {
    /// Brings what a run has into the best.
    fn pass(
        &mut self,
        (run, asked): (&Run, &[Asked<'_>]),
        shares: &Shares,
        best: &mut Best,
        accepted: &mut impl FnMut(u32) -> bool,
    ) {
        // Of what is scattered, what is left.
        let mut left: Vec<&[Scored]> = vec![&[]; asked.len()];
        for (left, asked) in left.iter_mut().zip(asked) {
            if let Rows::Few(rows) = &asked.rows {
                *left = rows;
            }
        }
        for number in 0..run.stretches() {
            let mut any = false;
            run.lengths(number, &mut self.lengths);
            for (asked, left) in asked.iter().zip(&mut left) {
                any |= match &asked.rows {
                    Rows::Few(_) => self.add_few(number, left),
                    Rows::Many(list) => {
                        // What the next stretch has of it stands behind.
                        simd::prefetch(list.stretch(number + 1));
                        self.add(list.stretch(number), asked.weight, shares)
                    }
                };
            }
            if any {
                let first = number as u32 * STRETCH_ROWS;
                let rows = (run.rows().len() as u32 - first).min(STRETCH_ROWS);
                self.drain(run.rows().start + first, rows as usize, best, accepted);
            }
        }
    }

    /// Adds those of the rows left that are in the stretch of this number; whether there are any.
    fn add_few(&mut self, number: usize, left: &mut &[Scored]) -> bool {
        let before = left.len();
        while let Some((one, behind)) = left.split_first()
            && (one.row / STRETCH_ROWS) as usize == number
        {
            *left = behind;
            if let Some(sum) = self.scores.get_mut((one.row % STRETCH_ROWS) as usize) {
                *sum += one.score;
            }
        }
        left.len() < before
    }

    /// Adds what a term of this weight has; whether that is anything.
    fn add(&mut self, postings: &[Packed], weight: u32, shares: &Shares) -> bool {
        for one in postings {
            let row = usize::from(one.row());
            // Both are known to be there, so that nothing is asked.
            if let (Some(length), Some(sum)) = (self.lengths.get(row), self.scores.get_mut(row)) {
                *sum += shares.score(weight, one.again(), *length);
            }
        }
        !postings.is_empty()
    }

    /// Moves those of the first so many rows to the best that are among them, and leaves no sums. The first is number `start`.
    fn drain(
        &mut self,
        start: u32,
        rows: usize,
        best: &mut Best,
        accepted: &mut impl FnMut(u32) -> bool,
    ) {
        let sums = self.scores.get_mut(..rows.next_multiple_of(TOGETHER));
        let (sums, _) = sums.unwrap_or_default().as_chunks_mut::<TOGETHER>();
        for (first, sums) in (start..).step_by(TOGETHER).zip(sums) {
            let floor = best.floor();
            // Sums are below 2³¹, so a difference has the upper bit where one is above the floor.
            let above = |all: u32, sum: &u32| all | floor.wrapping_sub(*sum);
            if sums.iter().fold(0, above) >> (u32::BITS - 1) != 0 {
                for (row, score) in (first..).zip(*sums) {
                    if score > best.floor() && accepted(row) {
                        best.push(Scored { row, score });
                    }
                }
            }
            *sums = [0; TOGETHER];
        }
    }
}
