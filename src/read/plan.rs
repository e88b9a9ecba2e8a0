//! How is a search answered best?
//!
//! Pure: what is known of the collective and the filter goes in, a way to answer comes out. Each
//! way is complete; they differ in what they cost. Counts of matches are upper bounds.

use crate::model::SearchPlan as Plan;

/// What a plan depends on.
#[derive(Clone, Copy, Debug)]
pub struct Question {
    /// Rows of the collective.
    pub rows: u64,
    /// Those of them that stand in graphs.
    pub in_graphs: u64,
    /// Most rows that may pass the filter; `None` where it restricts nothing.
    pub matches: Option<u64>,
    /// Results wanted.
    pub k: usize,
    /// Breadth of a graph's search.
    pub ef: usize,
    /// Whether only the true best will do.
    pub exact: bool,
}

/// What the steps cost, in nanoseconds on one core.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// Comparing the next of codes that stand one behind the other.
    pub scan_row_ns: u64,
    /// Comparing the codes of a row that stands anywhere.
    pub gather_row_ns: u64,
    /// Searching a graph, for each unit of its breadth `ef`.
    pub graph_ef_ns: u64,
}

impl Default for Costs {
    /// Measured with 100,000 int8 codes of 384 components on a CPU with AVX2. Others are faster in all
    /// three; only the ratios count. With `ef` 64 they say that gathering the matches is as fast as
    /// walking the graph with a filter at 47·√rows matches.
    fn default() -> Self {
        Self {
            scan_row_ns: 40,
            gather_row_ns: 50,
            graph_ef_ns: 1_700,
        }
    }
}

/// The breadth of a graph's search: what is configured, but enough for the results to choose from.
#[must_use]
pub fn breadth(configured: usize, k: usize, weighted: bool) -> usize {
    configured.max(over_fetch(k, weighted))
}

/// How many of the best codes are compared again exactly. Twice as many as are wanted make up for
/// the coarseness of the codes; where the energy counts, too, a less similar row may win.
#[must_use]
pub const fn over_fetch(k: usize, weighted: bool) -> usize {
    k.saturating_mul(if weighted { 4 } else { 2 })
}

/// The cheapest way that answers in full.
#[must_use]
pub fn plan(question: &Question, costs: &Costs) -> Plan {
    let rows = question.rows;
    let matches = question.matches.unwrap_or(rows).min(rows);
    if matches == 0 || question.k == 0 {
        return Plan::Nothing;
    }
    let filtered = matches < rows;
    let scan = rows.saturating_mul(costs.scan_row_ns);
    let gather = matches.saturating_mul(costs.gather_row_ns);
    let (without_graph, cost) = if filtered && gather < scan {
        (Plan::Matches, gather)
    } else {
        (Plan::Scan, scan)
    };
    // A graph shows the nearest of many: where all matches are wanted it is but a detour.
    let all_wanted = matches <= question.k as u64;
    if question.exact || question.in_graphs == 0 || all_wanted {
        return without_graph;
    }
    let tail = rows.saturating_sub(question.in_graphs);
    let walk = (question.ef as u64).saturating_mul(costs.graph_ef_ns);
    // A walk goes on until it has met enough nodes that match: the rarer they are, the longer.
    let walk = u128::from(walk) * u128::from(rows) / u128::from(matches);
    let graph = walk + u128::from(tail.saturating_mul(costs.scan_row_ns));
    match (graph < u128::from(cost), filtered) {
        (false, _) => without_graph,
        (true, true) => Plan::FilteredGraph,
        (true, false) => Plan::Graph,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LARGE: Question = Question {
        rows: 100_000,
        in_graphs: 100_000,
        matches: None,
        k: 10,
        ef: 64,
        exact: false,
    };

    fn of(question: Question) -> Plan {
        plan(&question, &Costs::default())
    }

    fn matching(matches: u64) -> Question {
        Question {
            matches: Some(matches),
            ..LARGE
        }
    }

    #[test]
    fn a_large_collection_is_asked_through_its_graphs() {
        assert_eq!(of(LARGE), Plan::Graph);
        assert_eq!(of(matching(100_000)), Plan::Graph);
        assert_eq!(of(matching(u64::MAX)), Plan::Graph);
        assert_eq!(of(matching(99_999)), Plan::FilteredGraph);
    }

    #[test]
    fn nothing_is_done_for_nothing() {
        let empty = Question {
            rows: 0,
            in_graphs: 0,
            ..LARGE
        };
        assert_eq!(of(empty), Plan::Nothing);
        assert_eq!(of(matching(0)), Plan::Nothing);
        assert_eq!(of(Question { k: 0, ..LARGE }), Plan::Nothing);
        let exact = Question {
            exact: true,
            ..matching(0)
        };
        assert_eq!(of(exact), Plan::Nothing);
    }

    #[test]
    fn matches_are_gathered_up_to_some_roots_of_the_rows() {
        for rows in [100_000, 300_000, 1_000_000_u64] {
            let at = |matches| {
                of(Question {
                    rows,
                    in_graphs: rows,
                    matches: Some(matches),
                    ..LARGE
                })
            };
            let crossing = 47 * rows.isqrt();
            assert_eq!(at(1), Plan::Matches);
            assert_eq!(at(crossing * 95 / 100), Plan::Matches, "{rows} rows");
            assert_eq!(at(crossing * 105 / 100), Plan::FilteredGraph, "{rows} rows");
        }
    }

    #[test]
    fn without_graphs_all_that_matters_is_where_the_codes_stand() {
        let at = |matches| {
            of(Question {
                in_graphs: 0,
                ..matching(matches)
            })
        };
        assert_eq!((at(1), at(79_000)), (Plan::Matches, Plan::Matches));
        assert_eq!((at(80_000), at(100_000)), (Plan::Scan, Plan::Scan));
    }

    #[test]
    fn an_exact_search_never_walks_a_graph() {
        for matches in [None, Some(10), Some(50_000), Some(100_000)] {
            let exact = of(Question {
                matches,
                exact: true,
                ..LARGE
            });
            let graphless = of(Question {
                matches,
                in_graphs: 0,
                ..LARGE
            });
            assert_eq!(exact, graphless);
        }
    }

    #[test]
    fn when_all_matches_are_wanted_no_graph_is_walked() {
        let all = |k, rows, matches| {
            of(Question {
                k,
                rows,
                in_graphs: rows,
                matches,
                ..LARGE
            })
        };
        assert_eq!(all(1_000, 1_000_000, Some(1_000)), Plan::Matches);
        assert_eq!(all(1_000, 800, None), Plan::Scan);
        assert_eq!(all(10, 10, None), Plan::Scan);
    }

    #[test]
    fn small_graphs_and_long_tails_are_scanned() {
        let small = Question {
            rows: 2_500,
            in_graphs: 2_500,
            ..LARGE
        };
        assert_eq!(of(small), Plan::Scan);
        let tail = Question {
            in_graphs: 1_000,
            ..LARGE
        };
        assert_eq!(of(tail), Plan::Scan);
        let wide = Question { ef: 4_000, ..LARGE };
        assert_eq!(of(wide), Plan::Scan);
    }

    #[test]
    fn costs_beyond_all_bounds_do_not_overflow() {
        let huge = Question {
            rows: u64::MAX,
            in_graphs: u64::MAX,
            matches: Some(1 << 62),
            k: usize::MAX,
            ef: usize::MAX,
            exact: false,
        };
        assert_ne!(of(huge), Plan::Nothing);
        assert_eq!(over_fetch(usize::MAX, true), usize::MAX);
    }

    #[test]
    fn results_have_enough_to_choose_from() {
        assert_eq!(breadth(64, 10, false), 64);
        assert_eq!(breadth(64, 50, false), 100);
        assert_eq!(breadth(64, 50, true), 200);
    }
}
