//! How are codes compared with several queries at once?
//!
//! Codes that stand one behind the other are read once for all queries; what their intervals cannot
//! exclude goes through each query's sieve.

use std::collections::BinaryHeap;

use crate::{
    error::Result,
    read::sieve::{Score, Sieve},
    simd::{self, AlignedCodes},
    vector::codes::{Codes, Measure, QueryCode},
};

/// One pass of some queries over codes.
pub struct Pass<'a> {
    /// What came through so far, of each query.
    pub sieves: Vec<Sieve<'a>>,
    /// The codes of all queries, one behind the other, and bytes of each.
    queries: AlignedCodes,
    width: usize,
    /// Codes that were compared, for whoever wants to know.
    pub codes_compared: u64,
    dots: Vec<i32>,
    highest: Vec<f32>,
    /// Of each query.
    found: Vec<Found>,
}

impl<'a> Pass<'a> {
    /// Nothing seen yet.
    pub fn new(sieves: Vec<Sieve<'a>>) -> Self {
        let width = sieves.first().map_or(0, |sieve| sieve.code.codes().len());
        let mut queries = AlignedCodes::zeroed(width * sieves.len());
        for (place, sieve) in queries.chunks_exact_mut(width.max(1)).zip(&sieves) {
            place.copy_from_slice(sieve.code.codes());
        }
        Self {
            found: vec![Found::default(); sieves.len()],
            sieves,
            queries,
            width,
            codes_compared: 0,
            dots: Vec::new(),
            highest: Vec::new(),
        }
    }

    /// Offers each row of the run to each query. `number` gives the row number of a code.
    pub fn compare(
        &mut self,
        codes: &Codes<'_>,
        number: impl Fn(usize) -> Option<u32>,
        energy: impl Fn(u32) -> Result<Option<f32>>,
    ) -> Result<()> {
        let rows = codes.errors.len();
        self.codes_compared += rows as u64;
        let sketched = self.sieves.len() == 1 && codes.sketches.is_some();
        let together = if sketched {
            BOUNDS_TOGETHER
        } else {
            CODES_TOGETHER
        };
        for first in (0..rows).step_by(together) {
            let run = codes.slice(first..first + together);
            let number = |at| number(first + at);
            if sketched {
                self.by_sketches(&run, number, &energy)?;
            } else {
                self.by_codes(&run, number, &energy)?;
            }
        }
        Ok(())
    }

    fn by_codes(
        &mut self,
        codes: &Codes<'_>,
        number: impl Fn(usize) -> Option<u32>,
        energy: impl Fn(u32) -> Result<Option<f32>>,
    ) -> Result<()> {
        self.dots.clear();
        simd::dot_i8_queries(&self.queries, self.width, codes.codes, &mut self.dots);
        let queries = self.sieves.len();
        for (query, sieve) in self.sieves.iter_mut().enumerate() {
            let dots = self.dots.iter().skip(query).step_by(queries);
            sieve.code.highest(dots.copied(), codes, &mut self.highest);
            for (highest, first) in groups(&self.highest) {
                if sieve.in_vain(largest(highest)) {
                    continue;
                }
                for (at, highest) in (first..).zip(highest) {
                    if sieve.in_vain(*highest) {
                        continue;
                    }
                    let dot = self.dots.get(at * queries + query);
                    if let (Some(dot), Some((_, measure)), Some(row)) =
                        (dot, codes.row(at), number(at))
                    {
                        let interval = sieve.code.interval(*dot, measure);
                        sieve.offer(row, interval, &energy)?;
                    }
                }
            }
        }
        Ok(())
    }

    /// The same for one query: the codes of only those rows are compared that their sketches do not exclude.
    fn by_sketches(
        &mut self,
        codes: &Codes<'_>,
        number: impl Fn(usize) -> Option<u32>,
        energy: impl Fn(u32) -> Result<Option<f32>>,
    ) -> Result<()> {
        let Some(sieve) = self.sieves.first_mut() else {
            return Ok(());
        };
        self.highest.clear();
        for first in (0..codes.errors.len()).step_by(SKETCHES_TOGETHER) {
            let run = codes.slice(first..first + SKETCHES_TOGETHER);
            if let Some(sketches) = run.sketches {
                let query = sieve.code.codes_for_sketches();
                self.dots.clear();
                simd::dot_nibbles(query, sketches.nibbles(), &mut self.dots);
                (sieve.code).highest_sketched(&self.dots, &run, &sketches, &mut self.highest);
            }
        }
        let fetch = |at| {
            if let Some((code, _)) = codes.row(at) {
                simd::prefetch(code);
            }
        };
        let known = |query: &QueryCode, at| {
            let (code, measure) = codes.row(at)?;
            let dot = simd::dot_i8(query.codes(), code);
            Some((number(at)?, query.interval(dot, measure)))
        };
        promising_first(sieve, &self.highest, fetch, known, energy)
    }

    /// Compares each row of the run with each query; [`Pass::offer_found`] offers them.
    pub fn find(&mut self, codes: &Codes<'_>, number: impl Fn(usize) -> Option<u32>) {
        self.dots.clear();
        simd::dot_i8_queries(&self.queries, self.width, codes.codes, &mut self.dots);
        let queries = self.sieves.len();
        for (at, dots) in self.dots.chunks(queries.max(1)).enumerate() {
            let (Some(measure), Some(row)) = (codes.measure(at), number(at)) else {
                continue;
            };
            let each = self.sieves.iter().zip(&mut self.found).zip(dots);
            for ((sieve, found), dot) in each {
                found.push(row, sieve.code.interval(*dot, measure));
            }
        }
        self.codes_compared += codes.errors.len() as u64;
    }

    /// Whether the best so far of each query exclude others.
    pub fn is_full(&self) -> bool {
        self.sieves.iter().all(Sieve::is_full)
    }

    /// Compares rows that stand anywhere with each query, and forgets their codes; [`Pass::offer_found`] offers them.
    pub fn compare_each(&mut self, gathered: &mut Gathered<'_>) {
        for (sieve, found) in self.sieves.iter().zip(&mut self.found) {
            self.dots.clear();
            simd::dot_i8_each(sieve.code.codes(), &gathered.codes, &mut self.dots);
            for ((row, measure), dot) in gathered.rows.iter().zip(&self.dots) {
                found.push(*row, sieve.code.interval(*dot, *measure));
            }
        }
        self.codes_compared += gathered.rows.len() as u64;
        gathered.rows.clear();
        gathered.codes.clear();
    }

    /// Whether so many rows were found that the best of them should exclude others.
    pub fn has_found_enough(&self) -> bool {
        // Each query has found as many.
        let found = self.found.first();
        found.is_some_and(|found| found.rows.len() >= FOUND_ROWS)
    }

    /// Offers the rows that were found, and forgets them. `fetch` has what `energy` looks at fetched.
    pub fn offer_found(
        &mut self,
        fetch: impl Fn(u32),
        energy: impl Fn(u32) -> Result<Option<f32>>,
    ) -> Result<()> {
        for (sieve, found) in self.sieves.iter_mut().zip(&mut self.found) {
            let known = |_: &QueryCode, at| found.rows.get(at).copied();
            let fetch = |at| {
                if let Some((row, _)) = found.rows.get(at) {
                    fetch(*row);
                }
            };
            promising_first(sieve, &found.highest, fetch, known, &energy)?;
            found.highest.clear();
            found.rows.clear();
        }
        Ok(())
    }
}

/// Rows that were compared, but not offered yet.
#[derive(Clone, Default)]
struct Found {
    /// The highest similarity of each.
    highest: Vec<f32>,
    /// Their numbers and intervals.
    rows: Vec<(u32, (f32, f32))>,
}

impl Found {
    fn push(&mut self, row: u32, (middle, off): (f32, f32)) {
        self.highest.push(middle + off);
        self.rows.push((row, (middle, off)));
    }
}

/// Rows that stand anywhere, and their codes, which are on their way from memory.
#[derive(Default)]
pub struct Gathered<'c> {
    rows: Vec<(u32, Measure)>,
    codes: Vec<&'c [i8]>,
}

impl<'c> Gathered<'c> {
    /// Has the code of a row fetched.
    pub fn fetch(&mut self, row: u32, (code, measure): (&'c [i8], Measure)) {
        simd::prefetch(code);
        self.rows.push((row, measure));
        self.codes.push(code);
    }

    /// Whether it is time to compare them.
    pub fn is_enough(&self) -> bool {
        self.rows.len() == GATHERED_ROWS
    }
}

/// Offers the rows whose highest possible similarities are given. The best of each group come first, in order of what they
/// promise: they exclude most of the others. `known` tells the number of a row and the interval of its similarity, and looks at what
/// `fetch` has fetched.
fn promising_first(
    sieve: &mut Sieve<'_>,
    highest: &[f32],
    fetch: impl Fn(usize),
    known: impl Fn(&QueryCode, usize) -> Option<(u32, (f32, f32))>,
    energy: impl Fn(u32) -> Result<Option<f32>>,
) -> Result<()> {
    let offer = |sieve: &mut Sieve<'_>, rows: &[(f32, usize)]| {
        rows.iter().for_each(|(_, at)| fetch(*at));
        for (highest, at) in rows {
            if sieve.in_vain(*highest) {
                continue;
            }
            if let Some((row, interval)) = known(&sieve.code, *at) {
                sieve.offer(row, interval, &energy)?;
            }
        }
        Ok(())
    };
    let promising = groups(highest)
        .map(|(highest, first)| (Score(largest(highest)), first))
        .filter(|(best, _)| !sieve.in_vain(best.0));
    let mut promising: BinaryHeap<(Score, usize)> = promising.collect();
    let (mut next, mut left) = (Vec::new(), Vec::new());
    while let Some((Score(best), first)) = promising.pop() {
        // What a row must reach only rises, and what the others promise only falls.
        if sieve.in_vain(best) {
            break;
        }
        let rows = || (first..).zip(highest.iter().skip(first).take(GROUP_ROWS));
        let Some((at, _)) = rows().find(|(_, highest)| **highest == best) else {
            continue;
        };
        next.push((best, at));
        left.extend(
            rows()
                .filter(|(other, highest)| *other != at && !sieve.in_vain(**highest))
                .map(|(other, highest)| (*highest, other)),
        );
        if next.len() == FETCHED_TOGETHER {
            offer(sieve, &next)?;
            next.clear();
        }
    }
    offer(sieve, &next)?;
    left.retain(|(highest, _)| !sieve.in_vain(*highest));
    left.sort_unstable_by(|(a, _), (b, _)| b.total_cmp(a));
    left.chunks(FETCHED_TOGETHER)
        .try_for_each(|rows| offer(sieve, rows))
}

/// Rows that are passed over together, and the number of the first.
fn groups(highest: &[f32]) -> impl Iterator<Item = (&[f32], usize)> {
    highest.chunks(GROUP_ROWS).zip((0..).step_by(GROUP_ROWS))
}

/// Rows whose codes are compared before the first of them is offered.
const CODES_TOGETHER: usize = 64;

/// Rows whose sketches are compared before what they allow is computed: few enough for the first-level cache.
const SKETCHES_TOGETHER: usize = 4096;

/// Rows of which it is known what their sketches allow before the first of them is offered: the more, the fewer codes are compared
/// before the best are known; few enough for the second-level cache.
const BOUNDS_TOGETHER: usize = 1 << 17;

/// Promising rows that are fetched together: enough to overlap the waits for memory, few enough that the first of them still
/// exclude others.
const FETCHED_TOGETHER: usize = 8;

/// Rows that are passed over together.
const GROUP_ROWS: usize = 16;

/// The largest of some numbers, in lanes so that it vectorises.
fn largest(numbers: &[f32]) -> f32 {
    let larger = |a: f32, b: f32| if b > a { b } else { a };
    let mut largest = [f32::NEG_INFINITY; 8];
    let (lanes, rest) = numbers.as_chunks::<8>();
    for lane in lanes {
        for (largest, number) in largest.iter_mut().zip(lane) {
            *largest = larger(*largest, *number);
        }
    }
    let all = largest.iter().chain(rest);
    all.copied().fold(f32::NEG_INFINITY, larger)
}

/// Rows that are compared before the best of them are offered: enough that these exclude most of the others.
const FOUND_ROWS: usize = 1024;

/// Rows whose codes are fetched together: enough to overlap the waits for memory, few enough to stay in
/// the first-level cache.
const GATHERED_ROWS: usize = 32;
