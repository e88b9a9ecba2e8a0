//! Can rows be recorded for long as fast as one thread builds a graph of them?
//!
//! The tail is kept short, so that nearly all rows are in graphs when the last is acknowledged.

use std::time::Instant;

use anyhow::Result;

use super::{
    Bench,
    index::{self, Index},
    peers::Bare,
};
use crate::{
    report::{Report, Target, spread},
    rounds::{Contender, interleave},
};

/// The tail holds this part of the rows.
const TAIL: usize = 10;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    let (rows, dimension) = (bench.first(bench.rows)?, bench.dimension());
    let mut until_quiet = Vec::new();
    let contenders = vec![
        Contender::new("ours", || {
            bench.work.with(|dir| {
                let config = index::short_tail_config(dimension, bench.rows / TAIL);
                let mut ours = Index::open(dir, config, Vec::new())?;
                let began = Instant::now();
                ours.load(rows, dimension, |_| Vec::new())?;
                let rate = bench.rows as f64 / began.elapsed().as_secs_f64();
                ours.settle()?;
                until_quiet.push(began.elapsed().as_secs_f64());
                ours.close()?;
                Ok(rate)
            })
        }),
        Contender::new("bare", || {
            let (_, built) = Bare::build(rows, dimension)?;
            Ok(built.rows_per_second)
        }),
    ];
    let measured = interleave("ingest", bench.long_rounds(), contenders)?;
    report.compare(
        &format!(
            "sustained ingest, {} rows, a tail of {}",
            bench.rows,
            bench.rows / TAIL
        ),
        "rows/s",
        measured.of("ours")?,
        ("building the bare int8 graph", measured.of("bare")?),
        Some(Target::AtLeast(0.8)),
    );
    report.note(format!(
        "ingest: {} s until the background was done",
        spread(&until_quiet)
    ));
    Ok(())
}
