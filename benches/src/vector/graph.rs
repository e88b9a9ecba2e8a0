//! Is a search through the API as fast as the bare graph, and faster than what people use instead?
//!
//! Ours is `search_similar` as it comes. The bare graph is asked at the same ef; every other peer at the
//! smallest multiple of 8 where its recall suffices, which is told for ours, too.

use std::{cell::RefCell, time::Instant};

use anyhow::{Context, Result};

use super::{
    BOUND, Bench, K, RECALL, flight,
    index::{self, How, Index},
    judge_recall,
    peers::{Bare, Built, Graph, HnswRs, Plain},
    python::{Peer, Python},
    truth::Truth,
};
use crate::{
    queries::per_second,
    report::{Report, Target, median, spread},
    rounds::{Contender, interleave},
};

/// The highest ef that is tried, in steps of [`EF_STEP`].
const EF_STEPS: usize = 64;
const EF_STEP: usize = 8;
const MAX_BYTES_PER_ROW: f64 = 650.0;

/// The names of the peers, as contenders and in the table.
const BARE: &str = "bare int8 graph";
const PLAIN: &str = "usearch f32 as it comes";
const HNSW_RS: &str = "hnsw_rs";
const HNSWLIB: &str = "hnswlib (batch)";
const FAISS: &str = "faiss HNSWFlat (batch)";

/// Against whom, how much faster a search and how much faster a build have to be.
const TARGETS: &[(&str, f64, Option<f64>)] = &[
    (PLAIN, 3.0, None),
    (HNSWLIB, 1.3, Some(1.5)),
    (FAISS, 1.3, None),
    (HNSW_RS, 5.0, None),
];

/// A peer that is built, and what is known of it.
struct Entrant<'a> {
    name: &'static str,
    graph: Box<dyn Graph + 'a>,
    builds: Vec<Built>,
    ef: usize,
    recall: f64,
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    bench.work.with(|dir| {
        let rows = bench.first(bench.rows)?;
        let dimension = bench.dimension();
        let config = index::config(dimension);
        let mut ours = Index::open(&dir.join("ours"), config, Vec::new())?;
        ours.load(rows, dimension, |_| Vec::new())?;
        ours.settle()?;
        let truth = Truth::get(&bench.vectors, rows, K, None)?;

        let mut python = Vec::new();
        match Python::prepare(&dir.join("python"), &bench.vectors, rows) {
            Ok(environment) => {
                for (name, package, peer) in [
                    (HNSWLIB, "hnswlib", "hnswlib"),
                    (FAISS, "faiss-cpu", "faiss-hnsw"),
                ] {
                    match environment.start(package, peer) {
                        Ok(peer) => {
                            report.note(format!("{name}: {}", peer.version));
                            python.push((name, peer));
                        }
                        Err(error) => report.note(format!("SKIPPED {name}: {error:#}")),
                    }
                }
            }
            Err(error) => report.note(format!("SKIPPED {HNSWLIB}, {FAISS}: {error:#}")),
        }
        let (our_builds, mut entrants) = build(bench, rows, &ours, python, report)?;
        for entrant in &mut entrants {
            let graph = &mut entrant.graph;
            (entrant.ef, entrant.recall) = smallest_ef(entrant.name, |ef| {
                Ok(truth.recall(&graph.answers(&bench.vectors, ef)?))
            })?;
        }
        let asked = Asked::of(bench, &ours, &truth, &mut entrants)?;
        searches(bench, &ours, &asked, &mut entrants, &our_builds, report)?;
        memory(bench, &ours, &entrants, report)?;
        flight::run(bench, dir, ours, report)
    })
}

/// What is known of our own searches before they are timed.
struct Asked {
    default_recall: f64,
    ef: usize,
    recall: f64,
    /// Of the bare graph at our default ef.
    bare_recall: f64,
}

impl Asked {
    fn of(
        bench: &Bench<'_>,
        ours: &Index,
        truth: &Truth,
        entrants: &mut [Entrant<'_>],
    ) -> Result<Self> {
        let recall = |how| -> Result<f64> {
            let answers = bench.answers(|query| ours.rows(query, how))?;
            Ok(truth.recall(&answers))
        };
        let default_recall = recall(How::AsItComes)?;
        let (ef, tuned) = smallest_ef("ours", |ef| recall(How::Ef(ef)))?;
        let mut bare_recall = f64::NAN;
        if let Some(bare) = entrants.iter_mut().find(|entrant| entrant.name == BARE) {
            let answers = bare.graph.answers(&bench.vectors, index::default_ef())?;
            bare_recall = truth.recall(&answers);
        }
        Ok(Self {
            default_recall,
            ef,
            recall: tuned,
            bare_recall,
        })
    }
}

/// Builds all: ours, the bare graph and those in Python in rounds; the slow ones once.
fn build<'a>(
    bench: &Bench<'_>,
    rows: &'a [f32],
    ours: &Index,
    python: Vec<(&'static str, Peer)>,
    report: &mut Report,
) -> Result<(Vec<f64>, Vec<Entrant<'a>>)> {
    let dimension = bench.dimension();
    let bare: RefCell<Option<Bare<'a>>> = RefCell::new(None);
    let mut peers: Vec<_> = python
        .into_iter()
        .map(|(name, peer)| (name, peer, Vec::new()))
        .collect();
    let mut bare_builds = Vec::new();
    let mut contenders = vec![
        Contender::new("ours", || {
            let began = Instant::now();
            ours.rebuild()?;
            Ok(bench.rows as f64 / began.elapsed().as_secs_f64())
        }),
        Contender::new(BARE, || {
            // The one before goes first: there is room for one.
            bare.replace(None);
            let (graph, built) = Bare::build(rows, dimension)?;
            bare.replace(Some(graph));
            bare_builds.push(built);
            Ok(built.rows_per_second)
        }),
    ];
    for (name, peer, builds) in &mut peers {
        contenders.push(Contender::new(name, || {
            let built = peer.build()?;
            builds.push(built);
            Ok(built.rows_per_second)
        }));
    }
    let measured = interleave("graph, build", bench.long_rounds(), contenders)?;
    let mine = measured.of("ours")?.to_vec();
    let bare_rates: Vec<_> = bare_builds
        .iter()
        .map(|b: &Built| b.rows_per_second)
        .collect();
    report.compare(
        "build, one thread",
        "rows/s",
        &mine,
        (BARE, &bare_rates),
        None,
    );

    eprintln!("graph, build: {PLAIN}");
    let (plain, plain_built) = Plain::build(rows, dimension)?;
    report.note(format!("{PLAIN}: its kernels are {}", plain.kernels()));
    eprintln!("graph, build: {HNSW_RS}");
    let (hnsw_rs, hnsw_rs_built) = HnswRs::build(rows, dimension)?;

    let entrant = |name, graph, builds| Entrant {
        name,
        graph,
        builds,
        ef: 0,
        recall: f64::NAN,
    };
    let mut entrants = Vec::new();
    if let Some(graph) = bare.into_inner() {
        entrants.push(entrant(
            BARE,
            Box::new(graph) as Box<dyn Graph>,
            bare_builds,
        ));
    }
    entrants.push(entrant(PLAIN, Box::new(plain), vec![plain_built]));
    for (name, peer, builds) in peers {
        entrants.push(entrant(name, Box::new(peer), builds));
    }
    entrants.push(entrant(HNSW_RS, Box::new(hnsw_rs), vec![hnsw_rs_built]));
    for entrant in entrants.iter().filter(|entrant| entrant.name != BARE) {
        let target = target_of(entrant.name).and_then(|(_, build)| build);
        report.compare(
            "build, one thread",
            "rows/s",
            &mine,
            (entrant.name, &rates(&entrant.builds)),
            target.map(Target::AtLeast),
        );
    }
    Ok((mine, entrants))
}

fn searches(
    bench: &Bench<'_>,
    ours: &Index,
    asked: &Asked,
    entrants: &mut [Entrant<'_>],
    our_builds: &[f64],
    report: &mut Report,
) -> Result<()> {
    const DEFAULT: &str = "ours, as it comes";
    const TUNED: &str = "ours, smallest ef";
    const BARE_SAME: &str = "bare int8 graph, same ef";
    let (vectors, measure) = (&bench.vectors, bench.settings.measure);
    let qps = |how| move || per_second(vectors, measure, |query| ours.search(query, how).map(drop));
    let default_ef = index::default_ef();
    // The bare graph runs twice, at two efs.
    let graphs: Vec<_> = entrants
        .iter_mut()
        .map(|entrant| (entrant.name, entrant.ef, RefCell::new(&mut entrant.graph)))
        .collect();
    let mut contenders = vec![
        Contender::new(DEFAULT, qps(How::AsItComes)),
        Contender::new(TUNED, qps(How::Ef(asked.ef))),
    ];
    for (name, ef, graph) in &graphs {
        contenders.push(Contender::new(name, || {
            graph.borrow_mut().qps(vectors, *ef, measure)
        }));
        if *name == BARE {
            contenders.push(Contender::new(BARE_SAME, || {
                graph.borrow_mut().qps(vectors, default_ef, measure)
            }));
        }
    }
    let measured = interleave("graph, search", bench.settings.rounds, contenders)?;
    drop(graphs);
    let mine = measured.of(DEFAULT)?;
    judge_recall(
        report,
        "search_similar as it comes",
        asked.default_recall,
        RECALL,
    );
    let mut compare = |case: &str, ours, peer: &str, theirs, target: Option<f64>| {
        let case = format!("{case}, {} rows", bench.rows);
        let target = target.map(Target::AtLeast);
        report.compare(&case, "queries/s", ours, (peer, theirs), target);
    };
    let case = format!("search_similar as it comes (ef {default_ef})");
    compare(
        &case,
        mine,
        "bare int8 graph at the same ef",
        measured.of(BARE_SAME)?,
        Some(0.9),
    );
    for entrant in entrants.iter() {
        let peer = format!("{}, ef {}", entrant.name, entrant.ef);
        let target = target_of(entrant.name).map(|(search, _)| search);
        compare(&case, mine, &peer, measured.of(entrant.name)?, target);
    }
    let case = format!("search with the smallest ef ({})", asked.ef);
    for entrant in entrants.iter() {
        let peer = format!("{}, ef {}", entrant.name, entrant.ef);
        compare(
            &case,
            measured.of(TUNED)?,
            &peer,
            measured.of(entrant.name)?,
            None,
        );
    }

    let titles = [
        "graph",
        "ef",
        "recall",
        "queries/s",
        "built, rows/s",
        "bytes/row",
    ];
    let mut cells = vec![titles.map(str::to_owned).to_vec()];
    let our_bytes = ours.memory()?.map(|bytes| bytes as f64 / bench.rows as f64);
    let bytes = |bytes: Option<f64>| bytes.map_or("–".to_owned(), |bytes| format!("{bytes:.0}"));
    for (name, ef, recall) in [
        (DEFAULT, default_ef, asked.default_recall),
        (TUNED, asked.ef, asked.recall),
    ] {
        cells.push(vec![
            name.to_owned(),
            ef.to_string(),
            format!("{recall:.4}"),
            spread(measured.of(name)?),
            spread(our_builds),
            bytes(our_bytes),
        ]);
    }
    for entrant in entrants.iter() {
        let built = |qps: &[f64], ef: usize, recall: f64| {
            vec![
                entrant.name.to_owned(),
                ef.to_string(),
                format!("{recall:.4}"),
                spread(qps),
                spread(&rates(&entrant.builds)),
                bytes(entrant.bytes_per_row()),
            ]
        };
        cells.push(built(
            measured.of(entrant.name)?,
            entrant.ef,
            entrant.recall,
        ));
        if entrant.name == BARE {
            cells.push(built(
                measured.of(BARE_SAME)?,
                default_ef,
                asked.bare_recall,
            ));
        }
    }
    report.table(&format!("graphs of {} rows", bench.rows), cells);
    Ok(())
}

fn memory(
    bench: &Bench<'_>,
    ours: &Index,
    entrants: &[Entrant<'_>],
    report: &mut Report,
) -> Result<()> {
    let Some(bytes) = ours.memory()? else {
        report.note("the engine does not say how much memory its index takes".into());
        return Ok(());
    };
    let mine = [bytes as f64 / bench.rows as f64];
    let case = "memory of the index";
    let bound = (BOUND, &[MAX_BYTES_PER_ROW][..]);
    report.compare(case, "bytes/row", &mine, bound, Some(Target::AtMost(1.0)));
    for entrant in entrants {
        let Some(theirs) = entrant.bytes_per_row() else {
            continue;
        };
        let judged = [HNSWLIB, FAISS].contains(&entrant.name);
        let target = judged.then_some(Target::AtMost(0.4));
        report.compare(case, "bytes/row", &mine, (entrant.name, &[theirs]), target);
    }
    Ok(())
}

/// The smallest ef that finds enough, and what it finds; the highest one where none does. Recall all but rises with ef, so this
/// halves the range.
fn smallest_ef(name: &str, mut recall: impl FnMut(usize) -> Result<f64>) -> Result<(usize, f64)> {
    // Fewer candidates than k make no answer.
    let (mut low, mut high) = (K.div_ceil(EF_STEP), EF_STEPS);
    let mut found = recall(high * EF_STEP)?;
    while low < high {
        let middle = usize::midpoint(low, high);
        let here = recall(middle * EF_STEP).with_context(|| name.to_owned())?;
        if here >= RECALL {
            (high, found) = (middle, here);
        } else {
            low = middle + 1;
        }
    }
    eprintln!(
        "graph: {name} has recall {found:.4} at ef {}",
        high * EF_STEP
    );
    Ok((high * EF_STEP, found))
}

fn rates(builds: &[Built]) -> Vec<f64> {
    builds.iter().map(|built| built.rows_per_second).collect()
}

fn target_of(name: &str) -> Option<(f64, Option<f64>)> {
    let target = TARGETS.iter().find(|(peer, ..)| *peer == name);
    target.map(|(_, search, build)| (*search, *build))
}

impl Entrant<'_> {
    /// Of the first build: a process that builds again has memory left over from before.
    fn bytes_per_row(&self) -> Option<f64> {
        self.builds
            .first()
            .map(|built| median(&[built.bytes_per_row]))
    }
}
