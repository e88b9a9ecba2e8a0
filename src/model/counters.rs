//! How do counts of several instances become one?
//!
//! A count of applications is a grow-only counter with one cell per instance (Shapiro, Preguiça, Baquero,
//! Zawirski: "Conflict-free Replicated Data Types", SSS 2011): each instance raises its own cell only.
//! So two states of a counter merge to the greater of each cell, whatever was merged before, in
//! whatever order and however often, and no application is lost or counted twice.

use std::collections::BTreeMap;

use super::InstanceId;

/// Raises each cell of `counts` to that of `others`, where that is greater. Cells of zero stay away: they
/// say nothing.
pub fn merge(counts: &mut BTreeMap<InstanceId, u32>, others: &BTreeMap<InstanceId, u32>) {
    for (instance, count) in others {
        if *count > 0 {
            let cell = counts.entry(*instance).or_default();
            *cell = (*cell).max(*count);
        }
    }
}

/// What all instances counted together (saturating).
#[must_use]
pub fn total(counts: &BTreeMap<InstanceId, u32>) -> u32 {
    counts
        .values()
        .fold(0, |sum, count| sum.saturating_add(*count))
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    type Counts = BTreeMap<InstanceId, u32>;

    fn instance(number: u128) -> InstanceId {
        InstanceId::from_u128(number)
    }

    fn counts() -> impl Strategy<Value = Counts> {
        let count = prop_oneof![1..9_u32, Just(u32::MAX)];
        proptest::collection::btree_map((0..5_u128).prop_map(instance), count, 0..5)
    }

    fn merged(one: &Counts, other: &Counts) -> Counts {
        let mut merged = one.clone();
        merge(&mut merged, other);
        merged
    }

    proptest! {
        #[test]
        fn merging_is_commutative_associative_and_idempotent(
            (a, b, c) in (counts(), counts(), counts()),
        ) {
            prop_assert_eq!(merged(&a, &b), merged(&b, &a));
            prop_assert_eq!(merged(&merged(&a, &b), &c), merged(&a, &merged(&b, &c)));
            prop_assert_eq!(merged(&a, &a), a.clone());
            prop_assert_eq!(merged(&merged(&a, &b), &b), merged(&a, &b));
        }

        /// Instances that count, and meet in any order, any number of times.
        #[test]
        fn no_application_is_lost_or_counted_twice(
            steps in vec((0..4_usize, 0..4_usize, any::<bool>()), 0..60),
        ) {
            let mut replicas = vec![Counts::new(); 4];
            let mut truth = Counts::new();
            for (one, other, counts) in steps {
                if counts {
                    for counted in [&mut replicas[one], &mut truth] {
                        *counted.entry(instance(one as u128)).or_default() += 1;
                    }
                } else {
                    let theirs = replicas[other].clone();
                    merge(&mut replicas[one], &theirs);
                }
            }
            let everything = replicas.iter().fold(Counts::new(), |all, one| merged(&all, one));
            prop_assert_eq!(total(&everything), total(&truth));
            prop_assert_eq!(everything, truth);
        }
    }

    #[test]
    fn a_total_saturates() {
        let counts = Counts::from([(instance(1), u32::MAX), (instance(2), 7)]);
        assert_eq!(total(&counts), u32::MAX);
        assert_eq!(
            merged(&Counts::new(), &Counts::from([(instance(1), 0)])),
            Counts::new()
        );
    }
}
