//! Does a walk keep its order, and leave nothing behind for the next one?

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn nodes_are_ordered_by_nearness_then_place(
        (a, b) in (any::<i32>(), any::<i32>()), (x, y) in (any::<u32>(), any::<u32>()),
    ) {
        let (first, second) = (Candidate::new(x, a), Candidate::new(y, b));
        prop_assert_eq!((first.slot(), first.nearness()), (x, a));
        prop_assert_eq!(first.cmp(&second), a.cmp(&b).then(y.cmp(&x)));
    }

    #[test]
    fn numbers_keep_their_order_as_integers(a in any::<f32>(), b in any::<f32>()) {
        prop_assert_eq!(ordered(a).cmp(&ordered(b)), a.total_cmp(&b));
        prop_assert_eq!(unordered(ordered(a)).to_bits(), a.to_bits());
    }

    #[test]
    fn a_node_is_visited_once_and_forgotten_at_the_end(
        slots in proptest::collection::vec(0_u32..5000, 0..300),
    ) {
        let mut visited = Visited::default();
        for round in 0..2 {
            visited.reach(5000);
            let mut seen = std::collections::HashSet::new();
            for slot in &slots {
                prop_assert_eq!(visited.visit(*slot), seen.insert(*slot), "round {}", round);
            }
            visited.clear();
            prop_assert!(visited.bits.iter().all(|word| *word == 0));
        }
    }
}

#[test]
fn what_is_beyond_the_graph_is_never_visited() {
    let mut visited = Visited::default();
    visited.reach(64);
    assert!(visited.visit(63));
    assert!(!visited.visit(64));
}

#[test]
fn the_nearest_are_kept_and_handed_out_in_order() {
    let mut front = Front {
        ef: 3,
        ..Front::default()
    };
    let mut odd = |slot: u32| (slot != 99).then_some(slot % 2 == 1);
    for (slot, nearness) in [(1, 5), (2, 9), (3, 7), (5, -1), (7, 6), (9, -2), (4, -3)] {
        assert_eq!(
            front.offer(Candidate::new(slot, nearness), &mut odd),
            Some(())
        );
    }
    assert_eq!(front.offer(Candidate::new(99, 8), &mut odd), None);
    let popped: Vec<u32> = std::iter::from_fn(|| front.next().map(Candidate::slot)).collect();
    assert_eq!(popped, [2, 99, 3, 7, 1], "and no farther one");
    let mut nearest = Vec::new();
    front.drain_nearest(|near| nearest.push((near.slot(), near.nearness())));
    assert_eq!(nearest, [(3, 7), (7, 6), (1, 5)]);
    assert!(front.nearest.is_empty());
}
