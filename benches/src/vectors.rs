//! Which vectors are searched?
//!
//! Real embeddings where `PULSEDB_BENCH_DATA` names a folder with them (row-major little-endian f16, 384 to a
//! row), else clustered unit vectors from a seeded generator. Always of length one.

use std::{fs, path::Path};

use anyhow::{Context, Result, ensure};
use half::f16;

const DIMENSION: usize = 384;
const QUERIES: usize = 500;
/// Length of the noise of [`Vectors::mixed`], where the rows have length one.
const MIX_NOISE: f32 = 0.1;

/// Rows to search and queries to search for.
pub(crate) struct Vectors {
    pub(crate) dimension: usize,
    /// Where they come from, for the header.
    pub(crate) origin: String,
    rows: Vec<f32>,
    queries: Vec<f32>,
}

impl Vectors {
    /// At least `rows` rows, if the data has as many.
    pub(crate) fn get(data: Option<&Path>, rows: usize) -> Result<Self> {
        let Some(dir) = data else {
            return Ok(Self::make(rows));
        };
        Ok(Self {
            dimension: DIMENSION,
            origin: "real embeddings from PULSEDB_BENCH_DATA (f16 widened to f32, normalised)"
                .into(),
            rows: read(&dir.join("dev-100k.f16"))?,
            queries: read(&dir.join("dev-queries-500.f16"))?,
        })
    }

    /// The components of the first `rows` rows, or of as many as there are.
    pub(crate) fn first(&self, rows: usize) -> &[f32] {
        self.rows.get(..rows * self.dimension).unwrap_or(&self.rows)
    }

    pub(crate) fn queries(&self) -> impl Iterator<Item = &[f32]> + Clone {
        self.queries.chunks_exact(self.dimension)
    }

    /// `n` rows that are not in the data but like it: each between two of its rows, at a random place, and a
    /// little off the line.
    pub(crate) fn mixed(&self, n: usize, seed: u64) -> Vec<f32> {
        let mut random = Random::seeded(seed);
        let rows = (self.rows.len() / self.dimension) as u64;
        let mut mixed = Vec::with_capacity(n * self.dimension);
        for _ in 0..n {
            let mut pick = || {
                let at = random.below(rows.max(1)) as usize * self.dimension;
                self.rows.get(at..at + self.dimension).unwrap_or_default()
            };
            let (a, b) = (pick(), pick());
            let share = random.below(1 << 24) as f32 / (1 << 24) as f32;
            let mut row = random.unit_vector(self.dimension);
            for ((x, a), b) in row.iter_mut().zip(a).zip(b) {
                *x = MIX_NOISE * *x + share * a + (1.0 - share) * b;
            }
            normalise(&mut row);
            mixed.extend_from_slice(&row);
        }
        mixed
    }

    /// Points around √n centres, as embeddings of texts gather around topics.
    fn make(rows: usize) -> Self {
        let mut random = Random::seeded(0x2010);
        let clusters = ((rows as f64).sqrt() as usize).max(1);
        let centres: Vec<_> = (0..clusters)
            .map(|_| random.unit_vector(DIMENSION))
            .collect();
        let mut points = |n: usize| {
            let mut points = Vec::with_capacity(n * DIMENSION);
            for _ in 0..n {
                let centre = centres.get(random.below(clusters as u64) as usize);
                let mut point = random.unit_vector(DIMENSION);
                for (x, c) in point.iter_mut().zip(centre.into_iter().flatten()) {
                    *x = 0.8 * *x + c;
                }
                normalise(&mut point);
                points.extend_from_slice(&point);
            }
            points
        };
        let (rows, queries) = (points(rows), points(QUERIES));
        Self {
            dimension: DIMENSION,
            origin: format!(
                "made by the bench: unit vectors around {clusters} centres, seeded (set PULSEDB_BENCH_DATA for real ones)"
            ),
            rows,
            queries,
        }
    }
}

fn read(file: &Path) -> Result<Vec<f32>> {
    let bytes = fs::read(file).with_context(|| file.display().to_string())?;
    let row_bytes = 2 * DIMENSION;
    ensure!(
        !bytes.is_empty() && bytes.len().is_multiple_of(row_bytes),
        "{}: {} bytes are not rows of {row_bytes}",
        file.display(),
        bytes.len()
    );
    let mut vectors: Vec<f32> = bytes
        .as_chunks::<2>()
        .0
        .iter()
        .map(|pair| f16::from_le_bytes(*pair).to_f32())
        .collect();
    for vector in vectors.chunks_exact_mut(DIMENSION) {
        normalise(vector);
    }
    Ok(vectors)
}

fn normalise(vector: &mut [f32]) {
    let square: f64 = vector.iter().map(|x| f64::from(*x) * f64::from(*x)).sum();
    let norm = square.sqrt();
    if norm > 0.0 {
        for x in vector {
            *x = (f64::from(*x) / norm) as f32;
        }
    }
}

/// A small generator (SplitMix64), so that every run sees the same data.
pub(crate) struct Random(u64);

impl Random {
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(seed)
    }

    fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        z ^ (z >> 31)
    }

    /// A number below `bound`; its bias is of no account for such small bounds.
    pub(crate) fn below(&mut self, bound: u64) -> u64 {
        self.next() % bound
    }

    /// A direction, all about equally likely: components that are sums of uniform numbers are nearly normal.
    pub(crate) fn unit_vector(&mut self, dimension: usize) -> Vec<f32> {
        let mut vector: Vec<f32> = (0..dimension)
            .map(|_| {
                let sum: u64 = (0..4).map(|_| self.next() >> 48).sum();
                sum as f32 / 65_536.0 - 2.0
            })
            .collect();
        normalise(&mut vector);
        vector
    }
}
