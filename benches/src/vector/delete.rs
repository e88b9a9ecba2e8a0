//! What is left of recall, speed, memory and files after most rows were deleted?
//!
//! Beside an untouched database of the same rows. Rows go in an order drawn by chance.

use anyhow::Result;

use super::{
    Bench, K, RECALL,
    index::{self, How, Index},
    judge_recall,
    truth::Truth,
};
use crate::{
    queries::per_second,
    report::{Report, Target},
    rounds::{Contender, interleave},
    vectors::Random,
};

const PERCENT: [usize; 3] = [10, 50, 90];
/// Rounds of one and the same thing differ by so much; less is no loss.
const NOISE: f64 = 0.95;
/// Graphs are rebuilt when more of them is dead, so less may still stand there.
const REBUILT_PAST_PERCENT: usize = 20;
/// What is left of memory and files may be more than what is left of the rows by this factor.
const SLACK: f64 = 1.25;

pub(super) fn run(bench: &Bench<'_>, report: &mut Report) -> Result<()> {
    bench.work.with(|dir| {
        let (rows, dimension) = (bench.first(bench.rows)?, bench.dimension());
        let make = |name: &str| -> Result<Index> {
            let config = index::config(dimension);
            let mut index = Index::open(&dir.join(name), config, Vec::new())?;
            index.load(rows, dimension, |_| Vec::new())?;
            index.rebuild()?;
            Ok(index)
        };
        let (whole, index) = (make("whole")?, make("deleted")?);
        let (memory, files) = (index.memory()?, index.file_bytes()?);

        let mut order: Vec<u32> = (0..bench.rows as u32).collect();
        let mut random = Random::seeded(0x2019);
        for at in (1..order.len()).rev() {
            order.swap(at, random.below(at as u64 + 1) as usize);
        }
        let mut gone = 0;
        for percent in PERCENT {
            let until = bench.rows * percent / 100;
            for row in order.get(gone..until).unwrap_or_default() {
                index.delete(*row as usize)?;
            }
            gone = until;
            let case = format!("{percent} % deleted");
            let mut left = order.get(gone..).unwrap_or_default().to_vec();
            left.sort_unstable();
            let truth = Truth::get(&bench.vectors, rows, K, Some(&left))?;
            let at_once = bench.answers(|query| index.rows(query, How::AsItComes))?;
            let recall = truth.recall(&at_once);
            judge_recall(report, &format!("{case}, at once"), recall, RECALL);
            index.settle()?;
            let settled = bench.answers(|query| index.rows(query, How::AsItComes))?;
            let recall = truth.recall(&settled);
            judge_recall(report, &format!("{case}, after upkeep"), recall, RECALL);

            let (vectors, measure) = (&bench.vectors, bench.settings.measure);
            let qps = |index| {
                move || {
                    per_second(vectors, measure, |query| {
                        Index::search(index, query, How::AsItComes).map(drop)
                    })
                }
            };
            let contenders = vec![
                Contender::new("deleted", qps(&index)),
                Contender::new("whole", qps(&whole)),
            ];
            let measured = interleave(&case, bench.settings.rounds, contenders)?;
            report.compare(
                &case,
                "queries/s",
                measured.of("deleted")?,
                ("nothing deleted", measured.of("whole")?),
                Some(Target::AtLeast(NOISE)),
            );
            let bound = (100 - percent) as f64 / 100.0 * SLACK;
            let target = (percent > REBUILT_PAST_PERCENT).then_some(Target::AtMost(bound));
            let mut shrinks = |what: &str, before: u64, after: u64| {
                if before > 0 {
                    let peer = ("before", &[before as f64][..]);
                    let case = format!("{case}: {what}");
                    report.compare(&case, "bytes", &[after as f64], peer, target);
                }
            };
            shrinks("files of the index", files, index.file_bytes()?);
            if let (Some(before), Some(after)) = (memory, index.memory()?) {
                shrinks("memory of the index", before, after);
            }
        }
        index.close()?;
        whole.close().map(drop)
    })
}
