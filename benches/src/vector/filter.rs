//! Is a filtered search answered in full, and as fast as the better of the two bare plans?
//!
//! Rows are in domains by chance, with a fixed seed. The bare plans know which rows match without looking:
//! one scans their codes, the other asks the graph with a bit per row; both re-rank.

use anyhow::Result;

use super::{
    Bench, K, RECALL,
    index::{self, How, Index},
    judge_recall,
    peers::Bare,
    truth::Truth,
};
use crate::{
    queries::per_query,
    report::{Report, Target, median},
    rounds::{Contender, interleave},
    vectors::Random,
};

/// A domain, which share of the rows is in it in permille, and how much longer than a search without a filter
/// one in it may take.
const DOMAINS: [Domain; 4] = [
    Domain::new(
        "half",
        500,
        4.0,
        ["half: ours", "half: scan", "half: graph"],
    ),
    Domain::new(
        "tenth",
        100,
        5.0,
        ["tenth: ours", "tenth: scan", "tenth: graph"],
    ),
    Domain::new(
        "hundredth",
        10,
        1.5,
        ["hundredth: ours", "hundredth: scan", "hundredth: graph"],
    ),
    Domain::new(
        "thousandth",
        1,
        1.5,
        ["thousandth: ours", "thousandth: scan", "thousandth: graph"],
    ),
];

const UNFILTERED: &str = "unfiltered";
/// How much longer than the better bare plan ours may take.
const BARE_BOUND: f64 = 1.3;

struct Domain {
    name: &'static str,
    permille: u64,
    bound: f64,
    /// The names of ours, the bare scan and the bare graph as contenders.
    contenders: [&'static str; 3],
}

impl Domain {
    const fn new(
        name: &'static str,
        permille: u64,
        bound: f64,
        contenders: [&'static str; 3],
    ) -> Self {
        Self {
            name,
            permille,
            bound,
            contenders,
        }
    }
}

/// The rows of a domain.
struct Matching {
    domain: &'static Domain,
    rows: Vec<u32>,
    /// The same, one bit per row.
    bits: Vec<u64>,
    /// Of both bare plans.
    recalls: [f64; 2],
}

impl Matching {
    fn contains(&self, row: usize) -> bool {
        let word = self.bits.get(row / 64);
        word.is_some_and(|word| word >> (row % 64) & 1 == 1)
    }
}

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    bench.work.with(|dir| {
        let (rows, dimension) = (bench.first(bench.rows)?, bench.dimension());
        let mut domains = assign(bench.rows);
        let mut ours = Index::open(dir, index::config(dimension), Vec::new())?;
        ours.load(rows, dimension, |row| {
            let of_row = domains.iter().filter(|domain| domain.contains(row));
            of_row.map(|domain| domain.domain.name.to_owned()).collect()
        })?;
        ours.rebuild()?;
        let (bare, _) = Bare::build(rows, dimension)?;
        let ef = index::default_ef();
        for domain in &mut domains {
            recall(bench, rows, &ours, &bare, domain, report)?;
        }

        let (vectors, measure) = (&bench.vectors, bench.settings.measure);
        let (ours, bare) = (&ours, &bare);
        let mut contenders = vec![Contender::new(UNFILTERED, || {
            per_query(vectors, measure, |query| {
                ours.search(query, How::AsItComes).map(drop)
            })
        })];
        for matching in &domains {
            let [mine, scan, graph] = matching.domain.contenders;
            contenders.push(Contender::new(mine, || {
                let how = How::Domain(matching.domain.name);
                per_query(vectors, measure, |query| ours.search(query, how).map(drop))
            }));
            contenders.push(Contender::new(scan, || {
                per_query(vectors, measure, |query| {
                    std::hint::black_box(bare.scan(query, &matching.rows));
                    Ok(())
                })
            }));
            contenders.push(Contender::new(graph, || {
                per_query(vectors, measure, |query| {
                    std::hint::black_box(bare.filtered(query, ef, &matching.bits)?);
                    Ok(())
                })
            }));
        }
        let measured = interleave("filter", bench.settings.rounds, contenders)?;

        let titles = [
            "filter leaves",
            "rows",
            "explain",
            "bare scan: recall",
            "bare graph: recall",
        ];
        let mut cells = vec![titles.map(str::to_owned).to_vec()];
        for matching in &domains {
            let Domain {
                name,
                permille,
                bound,
                contenders: [mine, scan, graph],
            } = *matching.domain;
            let case = format!("filter leaving {} %, p50", permille as f64 / 10.0);
            let mine = measured.of(mine)?;
            let unfiltered = ("ours, unfiltered", measured.of(UNFILTERED)?);
            report.compare(&case, "µs", mine, unfiltered, Some(Target::AtMost(bound)));
            let plans = [
                ("bare scan of the matches", measured.of(scan)?),
                ("bare filtered graph", measured.of(graph)?),
            ];
            // A plan that misses rows is no yardstick.
            let better = plans
                .iter()
                .zip(matching.recalls)
                .filter(|(_, recall)| *recall >= RECALL)
                .map(|(plan, _)| *plan)
                .min_by(|a, b| median(a.1).total_cmp(&median(b.1)));
            for plan in plans {
                let is_better = better.is_some_and(|better| better.0 == plan.0);
                let target = is_better.then_some(Target::AtMost(BARE_BOUND));
                report.compare(&case, "µs", mine, plan, target);
            }
            let query = bench.vectors.queries().next().unwrap_or_default();
            cells.push(vec![
                format!("{} %", permille as f64 / 10.0),
                matching.rows.len().to_string(),
                ours.explain(query, How::Domain(name))?,
                format!("{:.4}", matching.recalls[0]),
                format!("{:.4}", matching.recalls[1]),
            ]);
        }
        report.table("filters", cells);
        Ok(())
    })
}

fn assign(rows: usize) -> Vec<Matching> {
    let mut random = Random::seeded(0x2017);
    DOMAINS
        .iter()
        .map(|domain| {
            let mut bits = vec![0; rows.div_ceil(64)];
            let mut matching = Vec::new();
            for row in 0..rows {
                if random.below(1000) < domain.permille {
                    matching.push(row as u32);
                    if let Some(word) = bits.get_mut(row / 64) {
                        *word |= 1_u64 << (row % 64);
                    }
                }
            }
            Matching {
                domain,
                rows: matching,
                bits,
                recalls: [f64::NAN; 2],
            }
        })
        .collect()
}

/// Judges how much ours finds, and sets what the bare plans find.
fn recall(
    bench: &Bench<'_>,
    rows: &[f32],
    ours: &Index,
    bare: &Bare<'_>,
    matching: &mut Matching,
    report: &mut Report,
) -> Result<()> {
    let truth = Truth::get(&bench.vectors, rows, K, Some(&matching.rows))?;
    let ef = index::default_ef();
    let domain = matching.domain;
    let answers = bench.answers(|query| ours.rows(query, How::Domain(domain.name)))?;
    let case = format!("filter leaving {} %", domain.permille as f64 / 10.0);
    judge_recall(report, &case, truth.recall(&answers), RECALL);
    let full = (answers.len() - truth.short(&answers)) as f64;
    report.compare(
        &format!("{case}: full answers"),
        "queries",
        &[full],
        ("all queries", &[answers.len() as f64]),
        Some(Target::AtLeast(1.0)),
    );
    let scan = bench.answers(|query| Ok(bare.scan(query, &matching.rows)))?;
    let graph = bench.answers(|query| bare.filtered(query, ef, &matching.bits))?;
    matching.recalls = [truth.recall(&scan), truth.recall(&graph)];
    Ok(())
}
