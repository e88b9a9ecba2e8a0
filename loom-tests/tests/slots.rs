//! Are there ever more searches in a graph than it has places, and does anybody wait for ever?
//!
//! Three callers want the one place of the shipped `Slots`; each says whom it sees inside.
//!
//! Mutations, each tried, each makes `no_more_callers_than_places` fail:
//! - `Slots::enter` does not look again after it was woken, `if` for `while`;
//! - `Permit::drop` notifies nobody.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use pulsedb::vector::slots::Slots;
use pulsedb_loom_tests::explore;

#[test]
fn no_more_callers_than_places() {
    explore(|| {
        let slots = Arc::new(Slots::new(1));
        let inside = Arc::new(AtomicUsize::new(0));
        let caller = |slots: Arc<Slots>, inside: Arc<AtomicUsize>| {
            move || {
                let _permit = slots.enter();
                assert_eq!(
                    inside.fetch_add(1, Ordering::SeqCst),
                    0,
                    "too many are inside"
                );
                inside.fetch_sub(1, Ordering::SeqCst);
            }
        };
        let others: Vec<_> = (0..2)
            .map(|_| thread::spawn(caller(Arc::clone(&slots), Arc::clone(&inside))))
            .collect();
        caller(slots, inside)();
        for other in others {
            other.join().unwrap();
        }
    });
}
