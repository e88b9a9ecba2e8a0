//! Does everybody who waits for the end learn of it, and of the same end?
//!
//! Mutations, each tried, each makes the named models fail:
//! - `Latch::open` overwrites: `the_first_value_stays`;
//! - `Latch::open` wakes only the first waiter: `waiters_before_and_after_are_released` (deadlock).

use std::sync::Arc;

use loom::{future::block_on, thread};
use pulsedb::protocol::stop::Latch;
use pulsedb_loom_tests::explore;

#[test]
fn waiters_before_and_after_are_released() {
    explore(|| {
        let latch = Arc::new(Latch::default());
        let waiter = |latch: &Arc<Latch<u32>>| {
            let latch = Arc::clone(latch);
            thread::spawn(move || block_on(latch.wait()))
        };
        let first = waiter(&latch);
        let second = waiter(&latch);
        latch.open(7);
        assert_eq!(first.join().unwrap(), 7);
        assert_eq!(second.join().unwrap(), 7);
        assert_eq!(block_on(latch.wait()), 7);
    });
}

#[test]
fn the_first_value_stays() {
    explore(|| {
        let latch = Arc::new(Latch::default());
        let other = thread::spawn({
            let latch = Arc::clone(&latch);
            move || {
                latch.open(1);
                latch.get()
            }
        });
        latch.open(2);
        let seen = latch.get();
        assert!(seen.is_some());
        assert_eq!(other.join().unwrap(), seen);
        assert_eq!(block_on(latch.wait()), seen.unwrap());
    });
}
