//! Which segments are worth rewriting, and which of them together?
//!
//! Pure. A segment is worth it when enough of it is dead. Adjacent ones become one, as far as that fits
//! into a segment; so do small ones side by side, since each crash leaves one: a segment that was
//! small twice over is not small any more, so nothing is merged again and again.

use crate::model::Timeline;

/// A segment is small below this share of a full one.
const SMALL_SHARE: u64 = 4;

/// What is known of a sealed segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// Its id.
    pub(super) id: u32,
    /// Timeline of its records; one segment has one.
    pub(super) timeline: Timeline,
    /// Bytes of its file behind the header.
    pub(super) bytes: u64,
    /// Bytes that somebody needs.
    pub(super) live: u64,
    /// Whether it can be read to its end.
    pub(super) whole: bool,
}

impl Candidate {
    fn is_worth_it(&self, dead_percent: u8) -> bool {
        let dead = self.bytes.saturating_sub(self.live);
        self.whole
            && dead > 0
            && dead.saturating_mul(100) >= self.bytes.saturating_mul(dead_percent.into())
    }
}

/// Runs of ids to rewrite into one segment each, which holds at most `room` bytes; `candidates` are
/// all sealed segments in the order of their LSNs.
pub(super) fn runs(candidates: &[Candidate], dead_percent: u8, room: u64) -> Vec<Vec<u32>> {
    let is_small = |c: &Candidate| c.whole && c.bytes < room / SMALL_SHARE;
    let joins = |c: &Candidate| c.is_worth_it(dead_percent) || is_small(c);
    let mut runs = Vec::new();
    let mut run: Vec<Candidate> = Vec::new();
    let mut end = |run: &mut Vec<Candidate>| {
        let gains = run.len() > 1 || run.iter().any(|c| c.is_worth_it(dead_percent));
        if gains {
            runs.push(run.iter().map(|c| c.id).collect());
        }
        run.clear();
    };
    for candidate in candidates {
        if !joins(candidate) {
            end(&mut run);
            continue;
        }
        let live: u64 = run.iter().map(|c| c.live).sum();
        let fits = live.saturating_add(candidate.live) <= room
            && run.iter().all(|c| c.timeline == candidate.timeline);
        if !fits {
            end(&mut run);
        }
        run.push(*candidate);
    }
    end(&mut run);
    runs
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const ROOM: u64 = 1000;

    fn candidate(id: u32, bytes: u64, live: u64) -> Candidate {
        Candidate {
            id,
            timeline: Timeline::FIRST,
            bytes,
            live,
            whole: true,
        }
    }

    #[test]
    fn what_is_mostly_alive_or_damaged_stays() {
        let damaged = Candidate {
            whole: false,
            ..candidate(2, 1000, 0)
        };
        let all = [candidate(1, 1000, 800), damaged, candidate(3, 1000, 700)];
        assert_eq!(runs(&all, 25, ROOM), [[3]]);
    }

    #[test]
    fn neighbours_become_one_as_far_as_they_fit() {
        let all = [
            candidate(1, 1000, 400),
            candidate(2, 1000, 500),
            candidate(3, 1000, 300),
            candidate(4, 1000, 990),
            candidate(5, 1000, 0),
        ];
        assert_eq!(runs(&all, 25, ROOM), [vec![1, 2], vec![3], vec![5]]);
    }

    #[test]
    fn small_ones_side_by_side_become_one_and_a_lone_one_stays() {
        let all = [
            candidate(1, 100, 100),
            candidate(2, 200, 200),
            candidate(3, 1000, 1000),
            candidate(4, 100, 100),
        ];
        assert_eq!(runs(&all, 25, ROOM), [[1, 2]]);
    }

    #[test]
    fn timelines_are_not_mixed() {
        let mut all = [candidate(1, 1000, 100), candidate(2, 1000, 100)];
        all[1].timeline = Timeline::new(2);
        assert_eq!(runs(&all, 25, ROOM), [[1], [2]]);
    }

    proptest! {
        #[test]
        fn runs_are_adjacent_fit_and_come_to_an_end(
            sizes in proptest::collection::vec((0u64..=ROOM, 0u64..=100), 0..30),
        ) {
            let mut all: Vec<Candidate> = sizes.iter().zip(1..)
                .map(|(&(bytes, percent), id)| candidate(id, bytes, bytes * percent / 100))
                .collect();
            // Rewriting again and again ends, since each time segments or dead bytes get fewer.
            for round in 0..100 {
                let planned = runs(&all, 25, ROOM);
                if planned.is_empty() {
                    break;
                }
                prop_assert!(round < 60, "it does not end");
                for run in &planned {
                    let positions: Vec<usize> = run.iter()
                        .map(|id| all.iter().position(|c| c.id == *id).unwrap())
                        .collect();
                    prop_assert!(positions.windows(2).all(|pair| pair[0] + 1 == pair[1]));
                    let live: u64 = positions.iter().map(|at| all[*at].live).sum();
                    prop_assert!(live <= ROOM);
                    let first = positions[0];
                    let id = 1000 + round * 100 + first as u32;
                    all.splice(first..first + run.len(), (live > 0).then(|| candidate(id, live, live)));
                }
            }
        }
    }
}
