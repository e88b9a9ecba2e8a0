//! How long does a query take, asked one after the other?

use std::time::{Duration, Instant};

use anyhow::Result;

use crate::{report::median, vectors::Vectors};

/// A round has at least so many queries, however short its time.
const MIN_QUERIES: usize = 5;

/// Median time of a query in µs, over queries one after the other for about `measure`.
pub(crate) fn per_query(
    vectors: &Vectors,
    measure: Duration,
    search: impl FnMut(&[f32]) -> Result<()>,
) -> Result<f64> {
    Ok(median(&times(vectors, measure, search)?))
}

/// Queries per second, one after the other for about `measure`.
pub(crate) fn per_second(
    vectors: &Vectors,
    measure: Duration,
    search: impl FnMut(&[f32]) -> Result<()>,
) -> Result<f64> {
    let started = Instant::now();
    let done = times(vectors, measure, search)?.len();
    Ok(done as f64 / started.elapsed().as_secs_f64())
}

/// The time of each query in µs.
pub(crate) fn times(
    vectors: &Vectors,
    measure: Duration,
    mut search: impl FnMut(&[f32]) -> Result<()>,
) -> Result<Vec<f64>> {
    let started = Instant::now();
    let mut times = Vec::new();
    for query in vectors.queries().cycle() {
        if times.len() >= MIN_QUERIES && started.elapsed() >= measure {
            break;
        }
        let began = Instant::now();
        search(query)?;
        times.push(began.elapsed().as_secs_f64() * 1e6);
    }
    Ok(times)
}
