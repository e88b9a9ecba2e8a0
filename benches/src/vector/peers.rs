//! Which other graphs are searched, and what must each be able to do?
//!
//! All are built by one thread with M = 16 and ef 128, and asked by one thread. What runs in this process is here;
//! `python.rs` drives the others.

use std::{
    cmp::Reverse,
    collections::BinaryHeap,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use hnsw_rs::prelude::{DistDot, Hnsw};
use usearch::{Index, IndexOptions, MetricKind, ScalarKind};

use super::{EF_BUILD, K, M, codes::Codes, cpu};
use crate::{
    queries::per_second,
    scan::{self, Scored},
    vectors::Vectors,
};

/// The bare graph re-ranks so many times k candidates, as the engine does.
const OVERFETCH: usize = 2;

/// A graph that can be asked.
pub(super) trait Graph {
    /// The rows that it finds for each query.
    fn answers(&mut self, vectors: &Vectors, ef: usize) -> Result<Vec<Vec<usize>>>;

    /// Queries per second over about `measure`.
    fn qps(&mut self, vectors: &Vectors, ef: usize, measure: Duration) -> Result<f64>;
}

/// What building a graph took.
#[derive(Clone, Copy)]
pub(super) struct Built {
    pub(super) rows_per_second: f64,
    pub(super) bytes_per_row: f64,
}

impl Built {
    pub(super) fn new(rows: usize, took: Duration, bytes: u64) -> Self {
        Self {
            rows_per_second: rows as f64 / took.as_secs_f64(),
            bytes_per_row: bytes as f64 / rows as f64,
        }
    }
}

/// For graphs that answer one query at a time.
macro_rules! one_at_a_time {
    ($type:ty) => {
        impl Graph for $type {
            fn answers(&mut self, vectors: &Vectors, ef: usize) -> Result<Vec<Vec<usize>>> {
                vectors
                    .queries()
                    .map(|query| self.search(query, ef))
                    .collect()
            }

            fn qps(&mut self, vectors: &Vectors, ef: usize, measure: Duration) -> Result<f64> {
                per_second(vectors, measure, |query| {
                    std::hint::black_box(self.search(query, ef)?);
                    Ok(())
                })
            }
        }
    };
}

/// usearch over int8 codes with a kernel of ours, and an exact re-rank from a flat array: the engine without
/// a database around it.
pub(super) struct Bare<'a> {
    index: Index,
    codes: Codes,
    rows: &'a [f32],
    dimension: usize,
}

impl<'a> Bare<'a> {
    pub(super) fn build(rows: &'a [f32], dimension: usize) -> Result<(Self, Built)> {
        let began = Instant::now();
        let codes = Codes::of(rows, dimension);
        let width = codes.width;
        let mut index = empty(width, ScalarKind::I8)?;
        let (dot, _) = super::kernels::pick();
        index.change_metric::<i8>(Box::new(move |a, b| {
            // SAFETY: usearch hands over stored rows and queries, each of `width` components.
            -(unsafe { dot(a, b, width) } as f32)
        }));
        let n = rows.len() / dimension;
        index.reserve_capacity_and_threads(n, 1)?;
        for (row, code) in codes.iter().enumerate() {
            index.add(row as u64, code)?;
        }
        // Nothing is added from here on.
        index.compact()?;
        let took = began.elapsed();
        let built = Built::new(n, took, index.memory_usage() as u64);
        let bare = Self {
            index,
            codes,
            rows,
            dimension,
        };
        Ok((bare, built))
    }

    fn search(&self, query: &[f32], ef: usize) -> Result<Vec<usize>> {
        self.index.change_expansion_search(ef);
        let found = self.index.search(&self.codes.code(query), OVERFETCH * K)?;
        Ok(self.rerank(query, found.keys.iter().map(|key| *key as usize)))
    }

    /// The plan `filtered graph`: `allowed` has one bit per row.
    pub(super) fn filtered(&self, query: &[f32], ef: usize, allowed: &[u64]) -> Result<Vec<usize>> {
        self.index.change_expansion_search(ef);
        let code = self.codes.code(query);
        let found = self.index.filtered_search(&code, OVERFETCH * K, |key| {
            let word = allowed.get(key as usize / 64);
            word.is_some_and(|word| word >> (key % 64) & 1 == 1)
        })?;
        Ok(self.rerank(query, found.keys.iter().map(|key| *key as usize)))
    }

    /// The plan `scan of the matches`.
    pub(super) fn scan(&self, query: &[f32], matching: &[u32]) -> Vec<usize> {
        let code = self.codes.code(query);
        let mut best = BinaryHeap::with_capacity(OVERFETCH * K + 1);
        let mut worst = i32::MIN;
        for &row in matching {
            let Some(score) = self.codes.score(&code, row as usize) else {
                continue;
            };
            if score > worst || best.len() < OVERFETCH * K {
                best.push(Reverse((score, row)));
                if best.len() > OVERFETCH * K {
                    best.pop();
                    worst = best.peek().map_or(worst, |Reverse((score, _))| *score);
                }
            }
        }
        self.rerank(query, best.iter().map(|Reverse((_, row))| *row as usize))
    }

    fn rerank(&self, query: &[f32], candidates: impl Iterator<Item = usize>) -> Vec<usize> {
        let score = |row| scan::score(self.rows, self.dimension, query, row);
        let mut best: Vec<_> = candidates
            .map(|row| Scored {
                score: score(row),
                row,
            })
            .collect();
        best.sort_unstable_by(|a, b| b.cmp(a));
        best.truncate(K);
        best.iter().map(|scored| scored.row).collect()
    }
}

one_at_a_time!(Bare<'_>);

/// usearch over f32 as it comes.
pub(super) struct Plain(Index);

impl Plain {
    pub(super) fn build(rows: &[f32], dimension: usize) -> Result<(Self, Built)> {
        let began = Instant::now();
        let index = empty(dimension, ScalarKind::F32)?;
        let n = rows.len() / dimension;
        index.reserve_capacity_and_threads(n, 1)?;
        for (row, vector) in rows.chunks_exact(dimension).enumerate() {
            index.add(row as u64, vector)?;
        }
        let took = began.elapsed();
        let built = Built::new(n, took, index.memory_usage() as u64);
        Ok((Self(index), built))
    }

    /// Which kernels it took.
    pub(super) fn kernels(&self) -> String {
        self.0.hardware_acceleration()
    }

    fn search(&self, query: &[f32], ef: usize) -> Result<Vec<usize>> {
        self.0.change_expansion_search(ef);
        let found = self.0.search(query, K)?;
        Ok(found.keys.iter().map(|key| *key as usize).collect())
    }
}

one_at_a_time!(Plain);

/// The crate `hnsw_rs` over f32.
pub(super) struct HnswRs(Hnsw<'static, f32, DistDot>);

impl HnswRs {
    pub(super) fn build(rows: &[f32], dimension: usize) -> Result<(Self, Built)> {
        let before = cpu::rss()?;
        let began = Instant::now();
        let n = rows.len() / dimension;
        let mut graph = Hnsw::new(M, n, 16, EF_BUILD, DistDot);
        for (row, vector) in rows.chunks_exact(dimension).enumerate() {
            graph.insert((vector, row));
        }
        graph.set_searching_mode(true);
        let took = began.elapsed();
        let bytes = cpu::rss()?.saturating_sub(before);
        Ok((Self(graph), Built::new(n, took, bytes)))
    }

    fn search(&self, query: &[f32], ef: usize) -> Result<Vec<usize>> {
        let found = self.0.search(query, K, ef);
        Ok(found.iter().map(|neighbour| neighbour.d_id).collect())
    }
}

one_at_a_time!(HnswRs);

fn empty(dimensions: usize, quantization: ScalarKind) -> Result<Index> {
    Index::new(&IndexOptions {
        dimensions,
        metric: MetricKind::IP,
        quantization,
        connectivity: M,
        expansion_add: EF_BUILD,
        expansion_search: EF_BUILD,
        multi: false,
    })
    .context("usearch")
}
