//! Does an exact search cost more than the arithmetic it cannot avoid?
//!
//! k = 10 by exact scan over the mapped log, one query at a time on one thread, beside a bare loop of simsimd
//! dot products over a flat array with a heap of the best k. Both must find the same rows.

mod bare;

pub(crate) use bare::{Scored, score};

use std::collections::{HashMap, HashSet};

use anyhow::{Result, ensure};
use pulsedb::ExperienceId;

use crate::{
    machine, ours,
    queries::per_query,
    report::{Report, Target},
    rounds::{Contender, interleave},
    settings::Settings,
    vectors::Vectors,
    workdir::WorkDir,
};

const K: usize = 10;
/// Queries whose answers are compared.
const CHECKED_QUERIES: usize = 100;
/// Scores closer than this may swap places: the two add up in different orders.
const TIE: f64 = 2e-6;
/// With its vector an experience of about 2.2 KiB, so that vectors lie in the log as far apart as in `ingest`.
const CONTENT_BYTES: usize = 460;

/// Runs the bench and leaves its table.
pub(crate) fn run(settings: &Settings) -> Result<()> {
    let work = WorkDir::new(&settings.dir)?;
    let most = settings.rows.iter().copied().max().unwrap_or(0);
    let vectors = Vectors::get(settings.data.as_deref(), most)?;
    let mut header = machine::describe(&settings.dir)?;
    header.push(format!("vectors: {}", vectors.origin));
    header.push(format!("simsimd kernels: {}", bare::kernels()));
    let mut report = Report::new("scan", settings, header);
    for &rows in &settings.rows {
        work.with(|dir| one_size(rows, &vectors, settings, dir, &mut report))?;
    }
    report.finish()
}

fn one_size(
    rows: usize,
    vectors: &Vectors,
    settings: &Settings,
    dir: &std::path::Path,
    report: &mut Report,
) -> Result<()> {
    let (dimension, all) = (vectors.dimension, vectors.first(rows));
    ensure!(
        all.len() == rows * dimension,
        "there are not {rows} rows of data"
    );
    let content = "a word or two ".repeat(CONTENT_BYTES / 14);
    // A database has one writer; the two kinds of handles each get their own.
    let blocking = ours::Blocking::open(&dir.join("blocking"), ours::scan_config(dimension), &[])?;
    let ids = blocking.load(all.chunks_exact(dimension), &content)?;
    let runtime = tokio::runtime::Builder::new_current_thread().build()?;
    let asynchronous = runtime.block_on(async {
        let config = ours::scan_config(dimension);
        let db = ours::Async::open(&dir.join("async"), config, &[]).await?;
        db.load(all.chunks_exact(dimension), &content).await?;
        anyhow::Ok(db)
    })?;
    rustix::fs::sync();

    let row_of: HashMap<ExperienceId, usize> = ids.iter().copied().zip(0..).collect();
    let agreement = Agreement::of(vectors, all, |query| {
        let ids = blocking.search(query, K)?;
        Ok(ids
            .iter()
            .filter_map(|id| row_of.get(id).copied())
            .collect())
    })?;

    let measure = settings.measure;
    let contenders = vec![
        Contender::new("ours, blocking", || {
            per_query(vectors, measure, |query| {
                blocking.search(query, K).map(drop)
            })
        }),
        Contender::new("ours, async", || {
            per_query(vectors, measure, |query| {
                runtime.block_on(asynchronous.search(query, K)).map(drop)
            })
        }),
        Contender::new("bare", || {
            per_query(vectors, measure, |query| {
                std::hint::black_box(bare::top(all, dimension, query, K));
                Ok(())
            })
        }),
    ];
    let measured = interleave(&format!("{rows} rows"), settings.rounds, contenders)?;
    let theirs = ("bare simsimd loop", measured.of("bare")?);
    let blocking_us = measured.of("ours, blocking")?;
    let case = format!("exact k = {K}, {rows} rows, blocking");
    report.compare(
        &case,
        "µs/query",
        blocking_us,
        theirs,
        Some(Target::AtMost(1.2)),
    );
    let case = format!("exact k = {K}, {rows} rows, async on a current-thread runtime");
    report.compare(&case, "µs/query", measured.of("ours, async")?, theirs, None);
    agreement.tell(rows, report);
    blocking.close()?;
    runtime.block_on(asynchronous.close())
}

/// For how many queries both name the same rows.
#[derive(Default)]
struct Agreement {
    queries: usize,
    identical: usize,
    but_for_ties: usize,
}

impl Agreement {
    fn of(
        vectors: &Vectors,
        rows: &[f32],
        ours: impl Fn(&[f32]) -> Result<Vec<usize>>,
    ) -> Result<Self> {
        let mut agreement = Self::default();
        for query in vectors.queries().take(CHECKED_QUERIES) {
            let found = ours(query)?;
            let bare = bare::top(rows, vectors.dimension, query, K);
            let score = |row: usize| bare::score(rows, vectors.dimension, query, row);
            // As many different rows: one named twice is no answer.
            let same = found.iter().collect::<HashSet<_>>().len() == bare.len();
            agreement.queries += 1;
            if same && found.iter().zip(&bare).all(|(a, b)| *a == b.row) {
                agreement.identical += 1;
            } else if same
                && found
                    .iter()
                    .zip(&bare)
                    .all(|(a, b)| (score(*a) - b.score).abs() <= TIE)
            {
                agreement.but_for_ties += 1;
            }
        }
        Ok(agreement)
    }

    fn tell(&self, rows: usize, report: &mut Report) {
        report.note(format!(
            "{rows} rows: of {} queries {} have the identical top {K}, {} but for scores within {TIE:e}, {} differ",
            self.queries,
            self.identical,
            self.but_for_ties,
            self.queries - self.identical - self.but_for_ties
        ));
        let agreed = (self.identical + self.but_for_ties) as f64;
        report.compare(
            &format!("same top {K}, {rows} rows"),
            "queries",
            &[agreed],
            ("bare simsimd loop", &[self.queries as f64]),
            Some(Target::AtLeast(1.0)),
        );
    }
}
