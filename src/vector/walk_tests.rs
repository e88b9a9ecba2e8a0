//! Does a walk keep its order, and leave nothing behind for the next one?

use proptest::prelude::*;

use super::*;

proptest! {
    #[test]
    fn nodes_are_ordered_by_nearness_then_place(
        (a, b) in (any::<i32>(), any::<i32>()), (x, y) in (any::<u32>(), any::<u32>()),
    ) {
        let (first, second) = (Near::new(x, a), Near::new(y, b));
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
        let mut scratch = Scratch::new();
        for round in 0..2 {
            scratch.begin(5000);
            let mut seen = std::collections::HashSet::new();
            for slot in &slots {
                prop_assert_eq!(scratch.visit(*slot), seen.insert(*slot), "round {}", round);
            }
            scratch.end();
            prop_assert!(scratch.visited.iter().all(|word| *word == 0));
        }
    }
}

#[test]
fn what_is_beyond_the_graph_is_never_visited() {
    let mut scratch = Scratch::new();
    scratch.begin(64);
    assert!(scratch.visit(63));
    assert!(!scratch.visit(64));
}
