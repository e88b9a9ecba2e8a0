//! Which graph is to be built next?
//!
//! Pure. The graphs of a collective are runs of adjacent row numbers, older rows first, as in an
//! LSM tree (O'Neil et al., The Log-Structured Merge-Tree, 1996). A graph grows by *extension*: a
//! copy of it takes the younger rows in, which costs an insertion for each of those and little more
//! than a copy for its own. So a run is extended as long as it is not much larger than what it takes
//! in; the sizes of the runs are then geometric, a search visits few, and a row is inserted a
//! logarithmic number of times. While rows come faster than graphs are built, no row is inserted
//! twice: merging waits until the tail is short again.

use std::ops::Range;

use super::codes::padded;

/// Bytes of the code of a row in the tail, and of what belongs to it.
#[must_use]
pub const fn tail_row_bytes(dimension: u16) -> u64 {
    (padded(dimension as usize) + 2 * size_of::<f32>()) as u64
}

/// A graph as far as the choice goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Run {
    /// Row numbers.
    pub rows: Range<u32>,
    /// Nodes.
    pub nodes: u32,
    /// Nodes whose rows are deleted.
    pub dead: u32,
}

/// What to build.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Job {
    /// The graphs that the new one replaces, by index.
    pub replaces: Range<usize>,
    /// Whether the first of them is extended; otherwise all rows are inserted anew.
    pub extends: bool,
    /// The rows that the new graph covers.
    pub rows: Range<u32>,
}

/// When to build.
#[derive(Clone, Copy, Debug)]
pub struct Thresholds {
    /// Rows of a collective below which a scan is as fast as a graph.
    pub first_graph: u32,
    /// Rows of the tail that become a graph where there is one already.
    pub tail: u32,
}

/// Copying a node costs about a fortieth of inserting one, so a run this many times as large as what
/// it takes in makes the work a fifth more.
const EXTENSION_RATIO: u32 = 8;

/// A graph with more dead nodes than one in five is built anew: dead nodes are walked like
/// living ones, and their memory never returns.
const DEAD_PARTS: u32 = 5;

/// Tails beyond this many times their threshold are turned into graphs before anything is merged.
const PRESSED: u32 = 2;

/// The most useful thing to build now, if there is one. Rows from `indexed` on are in no graph,
/// `end` is behind the newest row.
#[must_use]
pub fn next(runs: &[Run], indexed: u32, end: u32, thresholds: &Thresholds) -> Option<Job> {
    let tail = end.saturating_sub(indexed);
    let enough = if runs.is_empty() {
        thresholds.first_graph
    } else {
        thresholds.tail
    };
    if tail >= enough.max(1) {
        let pressed = tail >= enough.saturating_mul(PRESSED);
        return Some(absorbing(runs, indexed..end, tail, pressed));
    }
    let rotten = runs
        .iter()
        .position(|run| run.dead > run.nodes / DEAD_PARTS);
    if let Some(index) = rotten {
        return Some(Job {
            replaces: index..index + 1,
            extends: false,
            rows: runs.get(index)?.rows.clone(),
        });
    }
    let (last, older) = runs.split_last()?;
    let job = absorbing(older, last.rows.clone(), last.nodes, false);
    if job.replaces.is_empty() {
        return None;
    }
    Some(Job {
        replaces: job.replaces.start..runs.len(),
        ..job
    })
}

/// The whole collective in one graph.
#[must_use]
pub fn everything(runs: &[Run], end: u32) -> Job {
    Job {
        replaces: 0..runs.len(),
        extends: false,
        rows: 0..end,
    }
}

/// A graph of `rows`, `amount` of them to be inserted, and of the youngest runs that are small
/// enough to be taken in; only of the last run while pressed.
fn absorbing(runs: &[Run], rows: Range<u32>, amount: u32, pressed: bool) -> Job {
    let mut job = Job {
        replaces: runs.len()..runs.len(),
        extends: false,
        rows,
    };
    let mut amount = amount;
    for (index, run) in runs.iter().enumerate().rev() {
        if run.nodes > amount.saturating_mul(EXTENSION_RATIO) || (pressed && job.extends) {
            break;
        }
        job.replaces.start = index;
        job.rows.start = run.rows.start;
        job.extends = true;
        amount = amount.saturating_add(run.nodes);
    }
    // A run with many dead nodes is not worth a copy.
    job.extends = runs
        .get(job.replaces.start)
        .is_some_and(|run| run.dead <= run.nodes / DEAD_PARTS);
    job
}

#[cfg(test)]
mod tests {
    use super::*;

    const THRESHOLDS: Thresholds = Thresholds {
        first_graph: 10_000,
        tail: 4_000,
    };

    fn runs(nodes: &[u32]) -> Vec<Run> {
        let mut start = 0;
        nodes
            .iter()
            .map(|&nodes| {
                let rows = start..start + nodes;
                start += nodes;
                Run {
                    rows,
                    nodes,
                    dead: 0,
                }
            })
            .collect()
    }

    #[test]
    fn small_collectives_get_no_graph() {
        assert_eq!(next(&[], 0, 9_999, &THRESHOLDS), None);
        let job = next(&[], 0, 10_000, &THRESHOLDS).unwrap();
        assert_eq!((job.rows, job.extends), (0..10_000, false));
    }

    #[test]
    fn a_tail_extends_a_run_of_its_size_and_leaves_a_large_one_alone() {
        let job = next(&runs(&[10_000]), 10_000, 14_000, &THRESHOLDS).unwrap();
        assert_eq!(
            job,
            Job {
                replaces: 0..1,
                extends: true,
                rows: 0..14_000
            }
        );
        let job = next(&runs(&[100_000]), 100_000, 104_000, &THRESHOLDS).unwrap();
        assert_eq!(
            job,
            Job {
                replaces: 1..1,
                extends: false,
                rows: 100_000..104_000
            }
        );
        assert_eq!(next(&runs(&[100_000]), 100_000, 103_999, &THRESHOLDS), None);
    }

    #[test]
    fn merging_waits_while_rows_press() {
        let some = runs(&[60_000, 8_000]);
        let calm = next(&some, 68_000, 68_000 + 4_000, &THRESHOLDS).unwrap();
        assert_eq!(calm.replaces, 0..2);
        let pressed = next(&some, 68_000, 68_000 + 8_000, &THRESHOLDS).unwrap();
        assert_eq!((pressed.replaces, pressed.extends), (1..2, true));
        let afterwards = next(&some, 68_000, 68_000, &THRESHOLDS).unwrap();
        assert_eq!(
            afterwards,
            Job {
                replaces: 0..2,
                extends: true,
                rows: 0..68_000
            }
        );
    }

    #[test]
    fn a_run_with_many_dead_nodes_is_built_anew() {
        let mut some = runs(&[100_000, 4_000]);
        some[0].dead = 20_000;
        assert_eq!(next(&some, 104_000, 104_000, &THRESHOLDS), None);
        some[0].dead = 20_001;
        let job = next(&some, 104_000, 104_000, &THRESHOLDS).unwrap();
        assert_eq!(
            job,
            Job {
                replaces: 0..1,
                extends: false,
                rows: 0..100_000
            }
        );
    }

    /// Rows come in steps until a million are there, and everything that is to be built is built.
    #[test]
    fn a_growing_collective_has_few_runs_and_inserts_rows_a_few_times() {
        for step in [1_000, 7_777, 50_000] {
            let mut some: Vec<Run> = Vec::new();
            let (mut end, mut inserted, mut most_runs) = (0, 0_u64, 0);
            while end < 1_000_000 {
                end += step;
                while let Some(job) = next(
                    &some,
                    some.last().map_or(0, |run| run.rows.end),
                    end,
                    &THRESHOLDS,
                ) {
                    let kept = if job.extends {
                        some[job.replaces.start].nodes
                    } else {
                        0
                    };
                    inserted += u64::from(job.rows.end - job.rows.start - kept);
                    let nodes = job.rows.end - job.rows.start;
                    some.splice(
                        job.replaces,
                        [Run {
                            rows: job.rows,
                            nodes,
                            dead: 0,
                        }],
                    );
                    assert!(
                        some.windows(2)
                            .all(|pair| pair[0].rows.end == pair[1].rows.start)
                    );
                }
                most_runs = most_runs.max(some.len());
            }
            assert!(most_runs <= 4, "{most_runs} runs");
            assert!(
                inserted <= 5 * u64::from(end),
                "{inserted} insertions of {end} rows"
            );
        }
    }
}
