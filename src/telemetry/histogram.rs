//! How are values of all sizes counted in little memory, without a lock?
//!
//! Buckets that are 1/16 of a power of two wide (the idea of HdrHistogram, Gil Tene): up to 31 each value has its own;
//! above, a value is known to 1/16, and the middle of its bucket is at most 1/32 off. Counting is one relaxed addition to a
//! bucket and one to the sum; who reads meanwhile sees some values and not others, and nothing else.

use std::sync::atomic::{AtomicU64, Ordering};

/// Buckets for each power of two.
const PARTS: u64 = 16;
/// Powers of two with parts of their own; from 2^42 nanoseconds on (73 minutes) everything is in the last bucket.
const POWERS: u64 = 38;
/// All buckets: the first row stands for the values below [`PARTS`].
const BUCKETS: usize = ((POWERS + 1) * PARTS) as usize;

/// A histogram that any number of threads add to; five kilobytes.
pub(crate) struct Histogram {
    buckets: Box<[AtomicU64]>,
    sum: AtomicU64,
    max: AtomicU64,
}

impl Default for Histogram {
    fn default() -> Self {
        Self {
            buckets: (0..BUCKETS).map(|_| AtomicU64::new(0)).collect(),
            sum: AtomicU64::new(0),
            max: AtomicU64::new(0),
        }
    }
}

impl Histogram {
    /// Counts a value.
    pub(crate) fn add(&self, value: u64) {
        if let Some(bucket) = self.buckets.get(bucket_of(value)) {
            bucket.fetch_add(1, Ordering::Relaxed);
        }
        self.sum.fetch_add(value, Ordering::Relaxed);
        // Usually it is not the greatest, and then nobody waits for anybody.
        if value > self.max.load(Ordering::Relaxed) {
            self.max.fetch_max(value, Ordering::Relaxed);
        }
    }
}

/// What histograms have counted together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Counted {
    buckets: Vec<u64>,
    /// Values.
    pub(crate) count: u64,
    /// Their sum.
    pub(crate) sum: u64,
    /// The greatest.
    pub(crate) max: u64,
}

impl Default for Counted {
    fn default() -> Self {
        Self {
            buckets: vec![0; BUCKETS],
            count: 0,
            sum: 0,
            max: 0,
        }
    }
}

impl Counted {
    /// Adds what this one has counted.
    pub(crate) fn take_in(&mut self, histogram: &Histogram) {
        for (all, one) in self.buckets.iter_mut().zip(&histogram.buckets) {
            let more = one.load(Ordering::Relaxed);
            *all += more;
            self.count += more;
        }
        self.sum = self.sum.wrapping_add(histogram.sum.load(Ordering::Relaxed));
        self.max = self.max.max(histogram.max.load(Ordering::Relaxed));
    }

    /// The value that `share` of them are not above, at most 1/32 off; 0 where there is none.
    pub(crate) fn percentile(&self, share: f64) -> u64 {
        // The smallest count that is at least this share of all.
        let wanted = ((self.count as f64 * share).ceil() as u64).max(1);
        let mut below = 0;
        for (bucket, count) in self.buckets.iter().enumerate() {
            below += count;
            if below >= wanted {
                // The greatest is known exactly, and nothing is above it.
                return middle_of(bucket).min(self.max);
            }
        }
        self.max
    }
}

/// Where a value is counted.
const fn bucket_of(value: u64) -> usize {
    if value < PARTS {
        return value as usize;
    }
    // At least 4, since the value has at least the bit of 16.
    let power = 63 - value.leading_zeros() as u64;
    let row = power - (PARTS.trailing_zeros() as u64) + 1;
    // The four bits behind the highest.
    let part = (value >> (row - 1)) - PARTS;
    let bucket = row * PARTS + part;
    if bucket < BUCKETS as u64 {
        bucket as usize
    } else {
        BUCKETS - 1
    }
}

/// The middle of what is counted there.
const fn middle_of(bucket: usize) -> u64 {
    let (row, part) = (bucket as u64 / PARTS, bucket as u64 % PARTS);
    if row == 0 {
        return part;
    }
    let width = 1 << (row - 1);
    (PARTS + part) * width + (width - 1) / 2
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn counted(values: &[u64]) -> Counted {
        let histogram = Histogram::default();
        values.iter().for_each(|value| histogram.add(*value));
        let mut counted = Counted::default();
        counted.take_in(&histogram);
        counted
    }

    /// By definition.
    fn exact(values: &[u64], share: f64) -> u64 {
        let mut sorted = values.to_vec();
        sorted.sort_unstable();
        let rank = ((sorted.len() as f64 * share).ceil() as usize).max(1);
        sorted[rank - 1]
    }

    #[test]
    fn small_values_are_exact_and_buckets_are_gapless() {
        for value in 0..32 {
            assert_eq!(middle_of(bucket_of(value)), value);
        }
        for value in 0..100_000_u64 {
            let (here, next) = (bucket_of(value), bucket_of(value + 1));
            assert!(next == here || next == here + 1, "{value}");
        }
        assert_eq!(bucket_of(u64::MAX), BUCKETS - 1);
        assert_eq!(bucket_of((1 << 42) - 1), BUCKETS - 1);
    }

    #[test]
    fn nothing_has_no_percentiles() {
        let none = counted(&[]);
        assert_eq!((none.count, none.percentile(0.5), none.max), (0, 0, 0));
    }

    #[test]
    fn threads_lose_nothing() {
        let histogram = Histogram::default();
        std::thread::scope(|scope| {
            for thread in 0..4_u64 {
                let histogram = &histogram;
                scope.spawn(move || (0..10_000).for_each(|n| histogram.add(n * 4 + thread)));
            }
        });
        let mut all = Counted::default();
        all.take_in(&histogram);
        assert_eq!((all.count, all.max), (40_000, 39_999));
        assert_eq!(all.sum, 39_999 * 40_000 / 2);
    }

    proptest! {
        #[test]
        fn percentiles_are_near_the_exact_ones(
            values in prop::collection::vec(
                prop_oneof![0..100_u64, 0..1_000_000_u64, 0..(1_u64 << 41)],
                1..200,
            ),
            share in 0.0..=1.0_f64,
        ) {
            let counted = counted(&values);
            prop_assert_eq!(counted.count, values.len() as u64);
            prop_assert_eq!(counted.max, *values.iter().max().unwrap());
            prop_assert_eq!(counted.sum, values.iter().sum::<u64>());
            let (exact, told) = (exact(&values, share), counted.percentile(share));
            prop_assert!(told.abs_diff(exact) as f64 <= exact as f64 / 32.0 + 0.5, "{} {}", told, exact);
        }
    }
}
