//! How fast is an exact search beside faiss Flat, and does it find the same?

use std::collections::HashSet;

use anyhow::Result;

use super::{
    Bench, K,
    index::{self, How, Index},
    judge_recall,
    peers::Graph,
    python::Python,
    truth::Truth,
};
use crate::{
    queries::per_second,
    report::{Report, Target},
    rounds::{Contender, interleave},
    scan,
};

/// Scores closer than this may swap places: the two add up in different orders.
const TIE: f64 = 2e-6;
const FAISS: &str = "faiss IndexFlatIP";

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    for &rows in &bench.settings.rows {
        one_size(bench, rows, report)?;
    }
    Ok(())
}

fn one_size(bench: &Bench<'_>, rows: usize, report: &mut Report) -> Result<()> {
    bench.work.with(|dir| {
        let all = bench.first(rows)?;
        let dimension = bench.dimension();
        let mut ours = Index::open(&dir.join("ours"), index::config(dimension), Vec::new())?;
        ours.load(all, dimension, |_| Vec::new())?;
        ours.rebuild()?;
        let answers = bench.answers(|query| ours.rows(query, How::Exact))?;
        let truth = Truth::get(&bench.vectors, all, K, None)?;
        let case = format!("exact, {rows} rows");
        judge_recall(report, &case, truth.recall(&answers), 1.0);

        let python = Python::prepare(&dir.join("python"), &bench.vectors, all)
            .and_then(|python| python.start("faiss-cpu", "faiss-flat"));
        let mut faiss = match python {
            Ok(faiss) => faiss,
            Err(error) => {
                report.note(format!("SKIPPED {FAISS}: {error:#}"));
                return ours.close().map(drop);
            }
        };
        report.note(format!("{FAISS}: {}", faiss.version));
        faiss.build()?;
        let theirs = faiss.answers(&bench.vectors, 0)?;
        let same = answers.iter().zip(&theirs).zip(bench.vectors.queries());
        let same = same.filter(|((a, b), query)| {
            let score = |row: usize| scan::score(all, dimension, query, row);
            let differs = |(a, b): (&usize, &usize)| a != b && (score(*a) - score(*b)).abs() > TIE;
            let different: HashSet<_> = a.iter().collect();
            different.len() == b.len() && !a.iter().zip(b.iter()).any(differs)
        });
        report.compare(
            &format!("{case}: same top {K} but for scores within {TIE:e}"),
            "queries",
            &[same.count() as f64],
            (FAISS, &[theirs.len() as f64]),
            Some(Target::AtLeast(1.0)),
        );

        let (vectors, measure) = (&bench.vectors, bench.settings.measure);
        let queries: Vec<Vec<f32>> = vectors.queries().map(<[f32]>::to_vec).collect();
        let faiss = std::cell::RefCell::new(faiss);
        let contenders = vec![
            Contender::new("ours", || {
                per_second(vectors, measure, |query| {
                    ours.search(query, How::Exact).map(drop)
                })
            }),
            Contender::new("ours, batch", || {
                let began = std::time::Instant::now();
                let mut done = 0;
                while done == 0 || began.elapsed() < measure {
                    done += ours.exact_batch(&queries)?.len();
                }
                Ok(done as f64 / began.elapsed().as_secs_f64())
            }),
            Contender::new("faiss", || faiss.borrow_mut().run(0, measure, false)),
            Contender::new("faiss, batch", || faiss.borrow_mut().run(0, measure, true)),
        ];
        let measured = interleave(&case, bench.settings.rounds, contenders)?;
        let bound = if rows >= 100_000 { 8.0 } else { 3.0 };
        for (what, mine, peer, theirs, target) in [
            ("one by one", "ours", "one by one", "faiss", Some(bound)),
            ("one by one", "ours", "batch", "faiss, batch", None),
            ("batch", "ours, batch", "batch", "faiss, batch", None),
        ] {
            report.compare(
                &format!("{case}, {what}"),
                "queries/s",
                measured.of(mine)?,
                (&format!("{FAISS}, {peer}"), measured.of(theirs)?),
                target.map(Target::AtLeast),
            );
        }
        ours.close().map(drop)
    })
}
