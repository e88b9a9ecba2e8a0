//! How good is a ranking?
//!
//! Pure. A ranking is the places of the documents found, best first; what is right comes with a grade of at least 1. All
//! metrics are in \[0, 1\].

use std::collections::BTreeMap;

/// The share of what is right among the first `k`.
pub(crate) fn recall(ranking: &[usize], relevant: &BTreeMap<usize, u32>, k: usize) -> f64 {
    let found = ranking
        .iter()
        .take(k)
        .filter(|place| relevant.contains_key(place));
    found.count() as f64 / relevant.len().max(1) as f64
}

/// Normalised discounted cumulative gain of the first `k`: a grade counts `1 / log2(rank + 1)`, and the whole is divided by
/// what the best ranking would have (Järvelin and Kekäläinen, 2002; grades are gains, as in `trec_eval`).
pub(crate) fn ndcg(ranking: &[usize], relevant: &BTreeMap<usize, u32>, k: usize) -> f64 {
    let gain = |grades: &mut dyn Iterator<Item = u32>| -> f64 {
        (1..=k)
            .zip(grades)
            .map(|(rank, grade)| f64::from(grade) / (rank as f64 + 1.0).log2())
            .sum()
    };
    let mut best: Vec<u32> = relevant.values().copied().collect();
    best.sort_unstable_by(|a, b| b.cmp(a));
    let ideal = gain(&mut best.into_iter());
    if ideal == 0.0 {
        return 0.0;
    }
    let grade = |place: &usize| relevant.get(place).copied().unwrap_or(0);
    gain(&mut ranking.iter().map(grade)) / ideal
}

/// One divided by the rank of the first right answer; 0 where there is none.
pub(crate) fn reciprocal_rank(ranking: &[usize], relevant: &BTreeMap<usize, u32>) -> f64 {
    let first = ranking
        .iter()
        .position(|place| relevant.contains_key(place));
    first.map_or(0.0, |place| 1.0 / (place as f64 + 1.0))
}

/// The value that a share of the sorted samples is not above.
pub(crate) fn percentile(samples: &[f64], share: f64) -> f64 {
    let mut sorted = samples.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len() as f64 * share).ceil() as usize;
    sorted.get(at.saturating_sub(1)).copied().unwrap_or(0.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Places 3, 5 and 8 are right, 5 most of all.
    fn relevant() -> BTreeMap<usize, u32> {
        BTreeMap::from([(3, 1), (5, 2), (8, 1)])
    }

    fn near(a: f64, b: f64) {
        assert!((a - b).abs() < 1e-9, "{a} is not {b}");
    }

    #[test]
    fn recall_is_as_counted_by_hand() {
        let ranking = [1, 3, 2, 5, 4];
        near(recall(&ranking, &relevant(), 1), 0.0);
        near(recall(&ranking, &relevant(), 2), 1.0 / 3.0);
        near(recall(&ranking, &relevant(), 4), 2.0 / 3.0);
        near(recall(&ranking, &relevant(), 100), 2.0 / 3.0);
        near(recall(&[], &relevant(), 10), 0.0);
    }

    #[test]
    fn ndcg_is_as_counted_by_hand() {
        // Ranks 2 and 4: 1/log2(3) + 2/log2(5); best: 2/log2(2) + 1/log2(3) + 1/log2(4).
        let found = 0.630_929_753_571 + 2.0 * 0.430_676_558_073;
        let ideal = 2.0 + 0.630_929_753_571 + 0.5;
        near(ndcg(&[1, 3, 2, 5, 4], &relevant(), 10), found / ideal);
        // Of the first two: 1/log2(3); best: 2 + 1/log2(3).
        let ideal = 2.0 + 0.630_929_753_571;
        near(ndcg(&[1, 3], &relevant(), 2), 0.630_929_753_571 / ideal);
        near(ndcg(&[5, 8, 3], &relevant(), 10), 1.0);
        near(ndcg(&[1, 2], &relevant(), 10), 0.0);
        near(ndcg(&[1], &BTreeMap::new(), 10), 0.0);
    }

    #[test]
    fn the_first_right_answer_counts() {
        near(reciprocal_rank(&[1, 8, 5], &relevant()), 0.5);
        near(reciprocal_rank(&[5], &relevant()), 1.0);
        near(reciprocal_rank(&[1], &relevant()), 0.0);
    }

    #[test]
    fn percentiles_are_samples() {
        let samples = [4.0, 1.0, 3.0, 2.0];
        near(percentile(&samples, 0.5), 2.0);
        near(percentile(&samples, 0.99), 4.0);
        near(percentile(&samples, 0.0), 1.0);
        near(percentile(&[], 0.5), 0.0);
    }
}
