//! Which results are good and not all alike?
//!
//! Pure. Maximal marginal relevance: each next result is the one whose score, less its likeness to the nearest result before
//! it, is highest. The first one is always the best; ties go to the better one. `n·k` likenesses are asked for.

use crate::model::Diversity;

/// The places of the `k` chosen among candidates that come best first, with scores in \[0, 1\], in the order of
/// choice. `likeness` of two places is clamped to \[0, 1\].
pub fn choose(
    scores: &[f32],
    k: usize,
    diversity: Diversity,
    mut likeness: impl FnMut(usize, usize) -> f32,
) -> Vec<usize> {
    struct Left {
        place: usize,
        score: f32,
        /// Likeness to the nearest of the chosen.
        nearest: f32,
    }
    let relevance = diversity.relevance.clamp(0.0, 1.0);
    let mut left: Vec<Left> = scores
        .iter()
        .enumerate()
        .map(|(place, score)| Left {
            place,
            score: *score,
            nearest: 0.0,
        })
        .collect();
    let mut chosen: Vec<usize> = Vec::with_capacity(k.min(scores.len()));
    while chosen.len() < k && !left.is_empty() {
        let worth = |left: &Left| relevance * left.score - (1.0 - relevance) * left.nearest;
        let mut best = 0;
        if let Some(last) = chosen.last() {
            let mut highest = f32::NEG_INFINITY;
            for (at, candidate) in left.iter_mut().enumerate() {
                let like = likeness(*last, candidate.place);
                candidate.nearest = candidate.nearest.max(like.clamp(0.0, 1.0));
                let worth = worth(candidate);
                if worth > highest {
                    (best, highest) = (at, worth);
                }
            }
        }
        // Not `swap_remove`: ties go to the better one, which stands in front.
        chosen.push(left.remove(best).place);
    }
    chosen
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn with(relevance: f32) -> Diversity {
        Diversity { relevance }
    }

    #[test]
    fn a_duplicate_falls_behind() {
        // 0 and 1 say the same; 2 is another matter, a little less to the point.
        let scores = [0.9, 0.89, 0.7];
        let like = |a: usize, b: usize| if a + b == 1 { 1.0 } else { 0.1 };
        assert_eq!(choose(&scores, 3, Diversity::default(), like), [0, 2, 1]);
        assert_eq!(choose(&scores, 2, Diversity::default(), like), [0, 2]);
        assert_eq!(choose(&scores, 3, with(1.0), like), [0, 1, 2]);
    }

    #[test]
    fn a_likeness_that_is_no_number_counts_as_none() {
        let chosen = choose(&[0.9, 0.8, 0.7], 5, with(0.5), |_, _| f32::NAN);
        assert_eq!(chosen, [0, 1, 2]);
        assert_eq!(choose(&[], 5, with(0.5), |_, _| 1.0), [0_usize; 0]);
        assert_eq!(choose(&[1.0], 0, with(0.5), |_, _| 1.0), [0_usize; 0]);
    }

    proptest! {
        #[test]
        fn each_is_chosen_once_and_the_best_first(
            mut scores in proptest::collection::vec(0.0_f32..1.0, 1..30),
            k in 0_usize..40, relevance in 0.0_f32..=1.0, seed: u64,
        ) {
            scores.sort_unstable_by(|a, b| b.total_cmp(a));
            let like = |a: usize, b: usize| {
                let mixed = seed.wrapping_mul((a.max(b) * 31 + a.min(b) + 1) as u64);
                (mixed >> 40) as f32 / (1_u64 << 24) as f32
            };
            let chosen = choose(&scores, k, with(relevance), like);
            prop_assert_eq!(chosen.len(), k.min(scores.len()));
            prop_assert!(chosen.first().is_none_or(|first| *first == 0));
            let mut sorted = chosen.clone();
            sorted.sort_unstable();
            sorted.dedup();
            prop_assert_eq!(sorted.len(), chosen.len());
            let by_score: Vec<usize> = (0..k.min(scores.len())).collect();
            prop_assert_eq!(choose(&scores, k, with(1.0), like), by_score);
        }
    }
}
