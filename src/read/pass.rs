//! How are codes compared with several queries at once?
//!
//! Codes that stand one behind the other are read once for all queries; what their intervals cannot
//! exclude goes through each query's sieve.

use crate::{
    error::Result,
    read::sieve::Sieve,
    simd::{self, AlignedCodes},
    vector::codes::{Codes, Measure},
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
        self.dots.clear();
        simd::dot_i8_queries(&self.queries, self.width, codes.codes, &mut self.dots);
        self.codes_compared += codes.errors.len() as u64;
        let queries = self.sieves.len();
        for (query, sieve) in self.sieves.iter_mut().enumerate() {
            let dots = self.dots.iter().skip(query).step_by(queries);
            sieve.code.highest(dots.copied(), codes, &mut self.highest);
            for (at, highest) in self.highest.iter().enumerate() {
                if sieve.in_vain(*highest) {
                    continue;
                }
                let dot = self.dots.get(at * queries + query);
                if let (Some(dot), Some((_, measure)), Some(row)) = (dot, codes.row(at), number(at))
                {
                    let interval = sieve.code.interval(*dot, measure);
                    sieve.offer(row, interval, &energy)?;
                }
            }
        }
        Ok(())
    }

    /// Offers rows that stand anywhere to each query.
    pub fn compare_each(
        &mut self,
        rows: &[(u32, &[i8], Measure)],
        energy: impl Fn(u32) -> Result<Option<f32>>,
    ) -> Result<()> {
        let codes: Vec<&[i8]> = rows.iter().map(|(_, code, _)| *code).collect();
        for sieve in &mut self.sieves {
            self.dots.clear();
            simd::dot_i8_each(sieve.code.codes(), &codes, &mut self.dots);
            for ((row, _, measure), dot) in rows.iter().zip(&self.dots) {
                let interval = sieve.code.interval(*dot, *measure);
                sieve.offer(*row, interval, &energy)?;
            }
        }
        self.codes_compared += rows.len() as u64;
        Ok(())
    }
}
