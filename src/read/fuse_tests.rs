//! Is a common ranking bounded, monotone, and the same whatever the order and scale of what it is made of?

use proptest::prelude::*;

use super::*;

const METHODS: [Fusion; 3] = [
    Fusion::MinMax,
    Fusion::ZScore,
    Fusion::ReciprocalRank { constant: 10 },
];

/// Multiples of 1/64: sums and shifts of them are exact, so that nothing depends on rounding.
fn coarse(score: i32) -> f32 {
    f32::from(i16::try_from(score).unwrap()) / 64.0
}

fn rows(scores: &[(Option<i32>, Option<i32>)]) -> Vec<Channels> {
    (0..)
        .zip(scores)
        .map(|(id, (dense, lexical))| Channels {
            id,
            dense: dense.map(coarse),
            lexical: lexical.map(coarse),
        })
        .collect()
}

fn ids(rows: &[Channels], fused: &[Fused]) -> Vec<u128> {
    fused.iter().map(|fused| rows[fused.index].id).collect()
}

fn any_rows() -> impl Strategy<Value = Vec<Channels>> {
    let score = || proptest::option::weighted(0.8, -64_i32..640);
    proptest::collection::vec((score(), score()), 0..40).prop_map(|scores| rows(&scores))
}

fn any_weights() -> impl Strategy<Value = FusionWeights> {
    (0_u8..5, 0_u8..5).prop_map(|(dense, lexical)| FusionWeights {
        dense: f32::from(dense),
        lexical: f32::from(lexical),
    })
}

proptest! {
    #[test]
    fn every_row_is_ranked_once_and_its_score_is_the_sum_of_its_parts(
        rows in any_rows(), weights in any_weights(),
    ) {
        for fusion in METHODS {
            let fused = fuse(&rows, fusion, &weights);
            let mut seen: Vec<usize> = fused.iter().map(|fused| fused.index).collect();
            seen.sort_unstable();
            prop_assert_eq!(seen, (0..rows.len()).collect::<Vec<_>>());
            prop_assert!(fused.windows(2).all(|pair| pair[0].score >= pair[1].score));
            for row in &fused {
                prop_assert!(row.score.is_finite());
                prop_assert_eq!(row.score.to_bits(), (row.dense + row.lexical).to_bits());
                if fusion != Fusion::ZScore {
                    prop_assert!((0.0..=1.000_001).contains(&row.score), "{:?}", row);
                }
            }
        }
    }

    #[test]
    fn the_order_of_the_rows_does_not_matter(rows in any_rows(), turn in 0_usize..40) {
        let mut turned = rows.clone();
        turned.rotate_left(turn % rows.len().max(1));
        for fusion in [Fusion::MinMax, Fusion::ReciprocalRank { constant: 60 }] {
            let weights = FusionWeights::default();
            prop_assert_eq!(
                ids(&rows, &fuse(&rows, fusion, &weights)),
                ids(&turned, &fuse(&turned, fusion, &weights))
            );
        }
    }

    #[test]
    fn scales_do_not_matter(rows in any_rows(), shift in -100_i32..100, weights in any_weights()) {
        let moved: Vec<Channels> = rows
            .iter()
            .map(|row| Channels {
                dense: row.dense.map(|score| 4.0 * score + coarse(shift)),
                lexical: row.lexical.map(|score| 2.0 * score),
                ..*row
            })
            .collect();
        for fusion in [Fusion::MinMax, Fusion::ReciprocalRank { constant: 10 }] {
            prop_assert_eq!(fuse(&rows, fusion, &weights), fuse(&moved, fusion, &weights));
        }
    }

    #[test]
    fn who_gains_never_falls_behind(
        rows in any_rows(), which in any::<prop::sample::Index>(), more in 1_i32..200, words: bool,
        weights in any_weights(),
    ) {
        prop_assume!(!rows.is_empty());
        let which = which.index(rows.len());
        let mut raised = rows.clone();
        let row = &mut raised[which];
        let score = if words { &mut row.lexical } else { &mut row.dense };
        prop_assume!(score.is_some());
        *score = score.map(|score| score + coarse(more));
        for fusion in [Fusion::MinMax, Fusion::ReciprocalRank { constant: 10 }] {
            let place = |rows: &[Channels]| -> (usize, f32) {
                let fused = fuse(rows, fusion, &weights);
                let at = fused.iter().position(|fused| fused.index == which).unwrap();
                (at, fused[at].score)
            };
            let (before, after) = (place(&rows), place(&raised));
            // Shares are rounded: rows that were equal may change places by that much.
            let behind = fuse(&raised, fusion, &weights)
                .iter()
                .filter(|other| other.score > after.1 + 1e-5)
                .count();
            prop_assert!(behind <= before.0, "{:?}: {:?} then {:?}", fusion, before, after);
        }
    }
}

#[test]
fn both_kinds_count_by_their_weights() {
    let rows = rows(&[(Some(64), None), (Some(0), Some(64)), (Some(32), Some(32))]);
    let weigh = |dense, lexical| {
        let fused = fuse(&rows, Fusion::MinMax, &FusionWeights { dense, lexical });
        (ids(&rows, &fused), fused[0].score)
    };
    assert_eq!(weigh(1.0, 0.0), (vec![0, 2, 1], 1.0));
    assert_eq!(weigh(0.0, 1.0), (vec![1, 2, 0], 1.0));
    assert_eq!(weigh(3.0, 1.0), (vec![0, 2, 1], 0.75));
    assert_eq!(weigh(1.0, 1.0), (vec![0, 1, 2], 0.5), "ties by id");
}

#[test]
fn a_kind_that_the_query_does_not_have_takes_no_weight() {
    for fusion in [Fusion::MinMax, Fusion::ReciprocalRank { constant: 60 }] {
        let words = rows(&[(None, Some(5)), (None, Some(9))]);
        let fused = fuse(&words, fusion, &FusionWeights::default());
        assert_eq!((ids(&words, &fused), fused[0].score), (vec![1, 0], 1.0));
        let meaning = rows(&[(Some(-5), None), (Some(-9), None)]);
        let fused = fuse(&meaning, fusion, &FusionWeights::default());
        assert_eq!((ids(&meaning, &fused), fused[0].score), (vec![0, 1], 1.0));
    }
}

#[test]
fn places_count_as_the_formula_says() {
    let rows = rows(&[(Some(3), Some(1)), (Some(2), None), (Some(3), Some(2))]);
    let fused = fuse(
        &rows,
        Fusion::ReciprocalRank { constant: 1 },
        &FusionWeights::default(),
    );
    // Rows 0 and 2 share the first place of similarity; row 1 holds no word.
    let scores: Vec<(usize, f32)> = fused.iter().map(|row| (row.index, row.score)).collect();
    assert_eq!(
        scores,
        [(2, 0.5 + 0.5), (0, 0.5 + 0.5 * 2.0 / 3.0), (1, 0.25)]
    );
}

#[test]
fn standard_deviations_count_as_the_formula_says() {
    let rows = rows(&[(Some(0), None), (Some(64), None), (Some(128), None)]);
    let fused = fuse(&rows, Fusion::ZScore, &FusionWeights::default());
    let best = (1.5_f32).sqrt();
    assert!((fused[0].score - best).abs() < 1e-6 && fused[1].score == 0.0);
    assert!((fused[2].score + best).abs() < 1e-6);
}

#[test]
fn numbers_that_are_none_are_the_worst_and_extremes_do_not_overflow() {
    let row = |id, dense| Channels {
        id,
        dense: Some(dense),
        lexical: Some(dense),
    };
    let rows = [
        row(0, f32::NAN),
        row(1, f32::INFINITY),
        row(2, f32::MAX),
        row(3, -f32::MAX),
        row(4, 0.0),
    ];
    for fusion in METHODS {
        let fused = fuse(&rows, fusion, &FusionWeights::default());
        assert_eq!(fused[0].index, 2);
        assert!(fused.iter().all(|row| row.score.is_finite()));
    }
    assert_eq!(fuse(&[], Fusion::MinMax, &FusionWeights::default()), []);
    let nothing = fuse(
        &[Channels {
            id: 1,
            dense: None,
            lexical: None,
        }],
        Fusion::MinMax,
        &FusionWeights {
            dense: 0.0,
            lexical: 0.0,
        },
    );
    assert_eq!(nothing[0].score.to_bits(), 0.0_f32.to_bits());
}
