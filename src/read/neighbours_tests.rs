//! Do neighbours lend what they should, and is no more asked of them than that?

use std::collections::BTreeMap;

use super::*;

/// Tasks in which every row stands next to the rows beside its number.
struct Line {
    /// Similarity and words of each row.
    rows: Vec<(f32, Vec<f32>)>,
    /// Rows where a task begins.
    starts: Vec<u32>,
    looked: BTreeMap<u32, usize>,
    asked: BTreeMap<u32, usize>,
    /// How far estimates are off.
    off: f32,
    compared: Vec<u32>,
}

impl Line {
    fn new(rows: Vec<(f32, Vec<f32>)>, starts: &[u32]) -> Self {
        Self {
            rows,
            starts: starts.to_vec(),
            looked: BTreeMap::new(),
            asked: BTreeMap::new(),
            off: 0.0,
            compared: Vec::new(),
        }
    }

    fn task(&self, row: u32) -> usize {
        self.starts.iter().filter(|start| **start <= row).count()
    }

    fn candidates(&self, rows: &[u32]) -> Vec<Candidate> {
        rows.iter()
            .map(|row| {
                let (dense, words) = &self.rows[*row as usize];
                Candidate {
                    row: *row,
                    id: u128::from(*row),
                    dense: Some(*dense + self.off),
                    lexical: Some(words.iter().sum()).filter(|sum: &f32| *sum > 0.0),
                }
            })
            .collect()
    }
}

impl Surroundings for Line {
    fn expect(&mut self, _: &[u32]) {}

    fn near(&mut self, row: u32, near: &mut Vec<Near>) -> Result<()> {
        *self.asked.entry(row).or_default() += 1;
        let at = |other: Option<u32>, second| {
            other
                .filter(|other| (*other as usize) < self.rows.len())
                .filter(|other| self.task(*other) == self.task(row))
                .map(|row| Near { row, second })
        };
        let all = [
            at(row.checked_sub(2), true),
            at(row.checked_sub(1), false),
            at(row.checked_add(1), false),
            at(row.checked_add(2), true),
        ];
        near.extend(all.into_iter().flatten());
        Ok(())
    }

    fn sights(&mut self, rows: &[u32]) -> Result<Sights> {
        assert!(rows.is_sorted_by(|a, b| a < b));
        let mut sights = Sights::default();
        for row in rows {
            *self.looked.entry(*row).or_default() += 1;
            let (dense, words) = &self.rows[*row as usize];
            let parts = (0..).zip(words.iter().copied());
            let first = sights.words.len();
            sights.words.extend(parts.filter(|(_, part)| *part > 0.0));
            sights.of.push(Sight {
                id: u128::from(*row),
                dense: Some(*dense + self.off),
                words: first..sights.words.len(),
            });
        }
        Ok(sights)
    }

    fn exactly(&mut self, rows: &[u32]) -> Result<Vec<Option<f32>>> {
        self.compared.extend(rows);
        let dense = |row: &u32| Some(self.rows[*row as usize].0);
        Ok(rows.iter().map(dense).collect())
    }
}

fn how(evidence: NeighbourEvidence) -> Ranking {
    Ranking {
        fusion: Fusion::MinMax,
        weights: FusionWeights::default(),
        evidence,
        focus: focus(10),
        compared: 20,
    }
}

fn rows(ranked: &[Ranked]) -> Vec<u32> {
    ranked.iter().map(|ranked| ranked.row).collect()
}

#[test]
fn a_row_gets_the_words_that_it_lacks_from_the_best_neighbour() {
    let mut line = Line::new(
        vec![
            (0.0, vec![2.0, 0.0, 4.0]),
            (0.0, vec![2.0, 1.0, 0.0]),
            (0.0, vec![8.0, 4.0, 0.0]),
        ],
        &[0],
    );
    let candidates = line.candidates(&[0, 1, 2]);
    let evidence = NeighbourEvidence {
        direct: 0.5,
        second: 0.25,
    };
    let ranked = rank(candidates, &how(evidence), &mut line).unwrap();
    let lent: BTreeMap<u32, (f32, f32)> = ranked
        .iter()
        .map(|ranked| (ranked.row, ranked.parts.lexical.unwrap()))
        .map(|(row, part)| (row, (part.own, part.lent)))
        .collect();
    // Row 0: nothing of the first word (8 · .25 is no more than 2), 4 · .25 of the second (1 · .5 is less).
    assert_eq!(lent[&0], (6.0, 1.0));
    // Row 1: 8 · .5 − 2 of the first, 4 · .5 − 1 of the second, 4 · .5 of the third.
    assert_eq!(lent[&1], (3.0, 5.0));
    // Row 2: 4 · .25 of the third.
    assert_eq!(lent[&2], (12.0, 1.0));
}

#[test]
fn similarity_lends_what_it_has_above_the_mean() {
    let mut line = Line::new(
        vec![(0.5, vec![]), (0.25, vec![]), (0.0, vec![]), (0.25, vec![])],
        &[0],
    );
    let candidates = line.candidates(&[0, 1, 2, 3]);
    let evidence = NeighbourEvidence {
        direct: 0.5,
        second: 0.25,
    };
    let ranked = rank(candidates, &how(evidence), &mut line).unwrap();
    let lent: BTreeMap<u32, f32> = ranked
        .iter()
        .map(|ranked| (ranked.row, ranked.parts.dense.unwrap().lent))
        .collect();
    let expected = [(0, 0.0), (1, 0.125), (2, 0.0625), (3, 0.0)];
    assert_eq!(lent, BTreeMap::from(expected));
    assert!(ranked.iter().all(|ranked| ranked.parts.lexical.is_none()));
    for ranked in &ranked {
        assert_eq!(
            ranked.score.to_bits(),
            ranked.parts.dense.unwrap().share.to_bits()
        );
    }
}

#[test]
fn rows_that_no_index_proposed_join_and_other_tasks_do_not() {
    // Rows 1 and 3 are far from the query by themselves, and stand next to the best row.
    let quiet = || (0.1, vec![0.0]);
    let mut line = Line::new(
        vec![
            quiet(),
            quiet(),
            (0.9, vec![5.0]),
            quiet(),
            (0.8, vec![4.0]),
            quiet(),
            quiet(),
            quiet(),
        ],
        &[0, 5],
    );
    let candidates = line.candidates(&[2, 4, 6]);
    let ranked = rank(
        candidates.clone(),
        &how(NeighbourEvidence::default()),
        &mut line,
    )
    .unwrap();
    assert_eq!(rows(&ranked), [2, 4, 1, 3, 0, 5, 6, 7]);
    let by_itself = rank(candidates, &how(NeighbourEvidence::NONE), &mut line).unwrap();
    assert_eq!(rows(&by_itself), [2, 4, 6]);
}

#[test]
fn each_row_is_asked_once_and_only_around_the_best() {
    let count = 3_000_u32;
    let mut line = Line::new(
        (0..count)
            .map(|row| {
                (
                    f32::from(u16::try_from(row * 7919 % 1000).unwrap()),
                    vec![1.0],
                )
            })
            .collect(),
        &[0],
    );
    let proposed: Vec<u32> = (0..count).step_by(15).collect();
    let candidates = line.candidates(&proposed);
    let ranked = rank(candidates, &how(NeighbourEvidence::default()), &mut line).unwrap();
    assert_eq!(ranked.len(), proposed.len() + focus(10) * 4);
    assert_eq!(line.asked.len(), focus(10) * 5);
    assert!(line.looked.len() <= focus(10) * 9, "{}", line.looked.len());
    assert!(
        line.looked
            .values()
            .chain(line.asked.values())
            .all(|times| *times == 1)
    );
    assert_eq!(
        (focus(3), focus(50), focus(usize::MAX)),
        (20, 50, usize::MAX)
    );
    assert!(focus(10) <= POOL, "an index proposes enough to look around");
}

#[test]
fn who_stands_beside_the_best_is_lifted_wherever_it_came_from() {
    // Row 30 is a candidate that is not among the best; row 31 is the best of all.
    let mut rows: Vec<(f32, Vec<f32>)> = (0..40_u8).map(|row| (f32::from(row), vec![])).collect();
    rows[30].0 = 0.0;
    rows[31].0 = 100.0;
    let mut line = Line::new(rows, &[0]);
    let all: Vec<u32> = (0..40).collect();
    let mut how = how(NeighbourEvidence::default());
    how.focus = 1;
    let ranked = rank(line.candidates(&all), &how, &mut line).unwrap();
    let place = ranked.iter().position(|ranked| ranked.row == 30).unwrap();
    assert!(ranked[place].parts.dense.unwrap().lent > 20.0);
    let lent = ranked
        .iter()
        .filter(|ranked| ranked.parts.dense.unwrap().lent > 0.0);
    let mut lent: Vec<u32> = lent.map(|ranked| ranked.row).collect();
    lent.sort_unstable();
    assert_eq!(lent, [29, 30, 31, 32, 33]);
}

#[test]
fn without_neighbours_evidence_changes_nothing() {
    let alone: Vec<u32> = (0..40).collect();
    let mut line = Line::new(
        (0..40_u16)
            .map(|row| (f32::from(row * 17 % 40), vec![f32::from(row * 23 % 7)]))
            .collect(),
        &alone,
    );
    let candidates = line.candidates(&alone);
    let with = rank(
        candidates.clone(),
        &how(NeighbourEvidence::default()),
        &mut line,
    )
    .unwrap();
    let without = rank(candidates, &how(NeighbourEvidence::NONE), &mut line).unwrap();
    assert_eq!(with, without);
    assert!(line.looked.is_empty());
}

#[test]
fn what_cannot_be_read_is_told() {
    struct Broken;
    impl Surroundings for Broken {
        fn expect(&mut self, _: &[u32]) {}
        fn near(&mut self, row: u32, near: &mut Vec<Near>) -> Result<()> {
            near.push(Near {
                row: row + 1,
                second: false,
            });
            Ok(())
        }
        fn sights(&mut self, _: &[u32]) -> Result<Sights> {
            Err(crate::PulseDBError::Closed)
        }
        fn exactly(&mut self, rows: &[u32]) -> Result<Vec<Option<f32>>> {
            Ok(vec![None; rows.len()])
        }
    }
    let candidate = Candidate {
        row: 1,
        id: 1,
        dense: Some(1.0),
        lexical: None,
    };
    assert!(
        rank(
            vec![candidate],
            &how(NeighbourEvidence::default()),
            &mut Broken
        )
        .is_err()
    );
    let alone = rank(vec![candidate], &how(NeighbourEvidence::NONE), &mut Broken).unwrap();
    assert_eq!(rows(&alone), [1]);
    assert_eq!(alone[0].parts.dense, None);
}

#[test]
fn of_the_best_similarities_are_no_estimates() {
    let dense = |row: u16| f32::from(row * 17 % 64) / 64.0;
    let mut line = Line::new((0..64).map(|row| (dense(row), vec![])).collect(), &[0]);
    line.off = 0.125;
    let candidates = line.candidates(&(0..64).collect::<Vec<_>>());
    for evidence in [NeighbourEvidence::NONE, NeighbourEvidence::default()] {
        line.compared.clear();
        let ranked = rank(candidates.clone(), &how(evidence), &mut line).unwrap();
        assert_eq!(line.compared.len(), 20);
        for one in ranked {
            let off = if line.compared.contains(&one.row) {
                0.0
            } else {
                line.off
            };
            let expected = dense(one.row as u16) + off;
            assert_eq!(one.similarity().to_bits(), expected.to_bits());
        }
    }
}
