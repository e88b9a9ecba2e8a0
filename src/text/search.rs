//! Which rows have the highest scores?
//!
//! Stretch by stretch, what the terms of the question add is summed up for all rows of it. What a term can add at most within a
//! stretch is known before: stretches that cannot win are passed over, and terms that together can add little
//! are not summed up but looked up, for the rows that the others bring near the worst of the best so far. So the answer is
//! that of scoring every row. Ties go to the smaller row.

use std::cmp::Reverse;

use super::{
    postings::{Dense, List, Packed, STRETCH_ROWS},
    question::Question,
    run::{self, Lengths, Run},
    score::{Bm25, Scores, Weight},
};
use crate::sync::Arc;

pub use super::score::as_f32;

/// The part of the worst of the best that the terms which are only looked up can add together. With more, too many
/// rows are near; with less, too much is summed up.
const LOOKED_UP_PART: u32 = 2;
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

/// What a run has of a term of a question.
struct Asked<'a> {
    /// The number of the term in the question.
    number: usize,
    /// Its mark.
    mark: u64,
    weight: Weight,
    rows: Rows<'a>,
}

/// The rows of a run that have a term.
enum Rows<'a> {
    /// Few, with what each scores, counted from the first of the run.
    Few(Vec<Scored>),
    /// Many, and what they score.
    Many(Dense<'a>, Arc<Scores>),
}

/// What a term has in one stretch.
struct Part<'s> {
    /// The most that a row scores.
    most: u32,
    rows: Inside<'s>,
}

/// The rows of a stretch that have a term.
enum Inside<'s> {
    Few(&'s [Scored]),
    Many(&'s [Packed], &'s Scores),
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
        let mut asked: Vec<(&Run, Vec<Asked<'a>>)> =
            runs.iter().map(|run| (&**run, Vec::new())).collect();
        for (number, (term, times)) in question.terms.iter().enumerate() {
            let lists: Vec<_> = runs.iter().map(|run| run.list(term)).collect();
            let df = lists.iter().flatten().map(|list| list.count() as u64).sum();
            let (weight, mark) = (bm25.weight(df, *times), run::mark(term));
            let mut scores = None;
            for ((run, asked), list) in asked.iter_mut().zip(lists) {
                let rows = match list {
                    None => continue,
                    Some(List::Dense(list)) => {
                        let scores =
                            scores.get_or_insert_with(|| Arc::new(Scores::new(weight, df)));
                        Rows::Many(list, Arc::clone(scores))
                    }
                    Some(List::Scattered(list)) => {
                        let mut rows = Vec::with_capacity(list.count());
                        list.each(|posting| {
                            let score = weight.score(posting.tf, run.length(posting.row));
                            rows.push(Scored {
                                row: posting.row,
                                score,
                            });
                        });
                        Rows::Few(rows)
                    }
                };
                asked.push(Asked {
                    number,
                    mark,
                    weight,
                    rows,
                });
            }
        }
        Self { runs: asked }
    }

    /// How many rows have the term of this number.
    #[must_use]
    pub fn rows_with(&self, number: usize) -> u64 {
        let asked = self.runs.iter().flat_map(|(_, asked)| asked);
        let asked = asked.filter(|asked| asked.number == number);
        let counts = asked.map(|asked| match &asked.rows {
            Rows::Few(rows) => rows.len() as u64,
            Rows::Many(list, _) => list.count() as u64,
        });
        counts.sum()
    }

    /// The `k` best of the rows that have a term of the question and are `accepted`, best first. Only rows that
    /// may be among the best are asked for.
    pub fn best(&self, k: usize, mut accepted: impl FnMut(u32) -> bool) -> Vec<Scored> {
        let mut best = Best::new(k);
        let mut sums = Sums::default();
        for (run, asked) in self.runs.iter().filter(|_| k > 0) {
            sums.pass(run, asked, &mut best, &mut accepted);
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
                Rows::Few(rows) => Inside::Few(rows).score(row, length),
                Rows::Many(list, scores) => {
                    let stretch = list.stretch((row / STRETCH_ROWS) as usize);
                    Inside::Many(stretch.postings, scores).score(row, length)
                }
            };
            if score > 0 {
                see(asked.number, score);
            }
        }
    }
}

impl Asked<'_> {
    /// The rows, where they are few.
    fn few(&self) -> &[Scored] {
        match &self.rows {
            Rows::Few(rows) => rows,
            Rows::Many(..) => &[],
        }
    }

    /// What it has in a stretch. `left` are the few rows from there on; those behind it are left.
    fn inside<'s>(&'s self, stretch: usize, left: &mut &'s [Scored]) -> Part<'s> {
        match &self.rows {
            Rows::Few(_) => {
                let is_inside = |one: &&Scored| (one.row / STRETCH_ROWS) as usize == stretch;
                let inside = left.iter().take_while(is_inside).count();
                let (inside, behind) = left.split_at(inside);
                *left = behind;
                Part {
                    most: inside.iter().map(|one| one.score).max().unwrap_or(0),
                    rows: Inside::Few(inside),
                }
            }
            Rows::Many(list, scores) => {
                let stretch = list.stretch(stretch);
                let none = stretch.postings.is_empty();
                let most = || self.weight.score(stretch.max_tf, stretch.min_length);
                Part {
                    most: if none { 0 } else { most() },
                    rows: Inside::Many(stretch.postings, scores),
                }
            }
        }
    }
}

impl Inside<'_> {
    /// What a row of so many words scores, counted from the first of the run; 0 where it does not have the term.
    fn score(&self, row: u32, length: u16) -> u32 {
        match self {
            Self::Few(rows) => {
                let found = rows.binary_search_by_key(&row, |one| one.row).ok();
                let found = found.and_then(|at| rows.get(at));
                found.map_or(0, |one| one.score)
            }
            Self::Many(rows, scores) => {
                let row = (row % STRETCH_ROWS) as u16;
                let found = rows.binary_search_by_key(&row, |one| one.row()).ok();
                let found = found.and_then(|at| rows.get(at));
                found.map_or(0, |one| scores.of(one.again(), length))
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

/// The scores of the rows of a stretch, as far as they are summed up.
struct Sums {
    scores: Box<[u32; STRETCH_ROWS as usize]>,
    /// The rows whose sum has come near the best.
    near: Vec<u16>,
}

impl Default for Sums {
    fn default() -> Self {
        Self {
            scores: Box::new([0; STRETCH_ROWS as usize]),
            near: Vec::with_capacity(STRETCH_ROWS as usize),
        }
    }
}

impl Sums {
    /// Brings what a run has into the best.
    fn pass(
        &mut self,
        run: &Run,
        asked: &[Asked<'_>],
        best: &mut Best,
        accepted: &mut impl FnMut(u32) -> bool,
    ) {
        let mut left: Vec<&[Scored]> = asked.iter().map(Asked::few).collect();
        let mut parts: Vec<Part<'_>> = Vec::with_capacity(asked.len());
        for number in 0..run.stretches() {
            let all = asked.iter().zip(&mut left);
            let all = all.map(|(asked, left)| asked.inside(number, left));
            parts.clear();
            parts.extend(all.filter(|part| part.most > 0));
            parts.sort_unstable_by_key(|part| part.most);
            let most = |parts: &[Part<'_>]| {
                let most = parts.iter().map(|part| part.most);
                most.fold(0, u32::saturating_add)
            };
            if most(&parts) <= best.floor() {
                continue;
            }
            let mut together = 0_u32;
            let is_little = |part: &&Part<'_>| {
                together = together.saturating_add(part.most);
                together <= best.floor() / LOOKED_UP_PART
            };
            let little = parts.iter().take_while(is_little).count();
            let (little, much) = parts.split_at(little);
            let rest = Rest {
                parts: little,
                most: most(little),
                first: number as u32 * STRETCH_ROWS,
                lengths: run.lengths_from(number as u32 * STRETCH_ROWS),
            };
            let enough = best.floor().saturating_sub(rest.most);
            for part in much {
                self.add(&part.rows, rest.lengths, enough);
            }
            self.drain(run.rows().start, &rest, best, accepted);
        }
    }

    /// Adds what a term has to all rows. Those of which the sum exceeds `enough` now are near.
    fn add(&mut self, rows: &Inside<'_>, lengths: Lengths<'_>, enough: u32) {
        let Self { scores, near } = self;
        let mut add = |row: u16, score: u32| {
            if let Some(sum) = scores.get_mut(usize::from(row)) {
                let before = *sum;
                *sum = before.saturating_add(score);
                if before <= enough && *sum > enough {
                    near.push(row);
                }
            }
        };
        match rows {
            Inside::Few(rows) => {
                for one in *rows {
                    add((one.row % STRETCH_ROWS) as u16, one.score);
                }
            }
            Inside::Many(rows, scores) => {
                for one in *rows {
                    let length = lengths.of(one.row());
                    add(one.row(), scores.of(one.again(), length));
                }
            }
        }
    }

    /// Moves those rows to the best that are among them, by row, and leaves no sums.
    fn drain(
        &mut self,
        start: u32,
        rest: &Rest<'_>,
        best: &mut Best,
        accepted: &mut impl FnMut(u32) -> bool,
    ) {
        self.near.sort_unstable();
        for at in self.near.drain(..) {
            let sum = self.scores.get(usize::from(at)).copied().unwrap_or(0);
            let score = rest.completed(at, sum, best.floor());
            let row = start + rest.first + u32::from(at);
            if score > best.floor() && accepted(row) {
                best.push(Scored { row, score });
            }
        }
        self.scores.fill(0);
    }
}

/// What is not summed up of a stretch.
struct Rest<'s> {
    /// Who can add the most comes last.
    parts: &'s [Part<'s>],
    /// What all of them can add together.
    most: u32,
    /// Its first row, counted from the first of the run.
    first: u32,
    lengths: Lengths<'s>,
}

impl Rest<'_> {
    /// The score of a row of the stretch that has this sum, or, where that cannot exceed `floor`, something that does not.
    fn completed(&self, at: u16, sum: u32, floor: u32) -> u32 {
        let (mut score, mut left) = (sum, self.most);
        let length = self.lengths.of(at);
        let row = self.first + u32::from(at);
        for part in self.parts.iter().rev() {
            if score.saturating_add(left) <= floor {
                break;
            }
            score = score.saturating_add(part.rows.score(row, length));
            left = left.saturating_sub(part.most);
        }
        score
    }
}
