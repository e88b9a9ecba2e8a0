//! Is what is retired let go of once, and never while somebody uses it?
//!
//! Two readers hold the owner of a thing that is being retired, as snapshots hold a segment; a third
//! thread empties the shipped `Bin`, as the upkeep thread does, and closes it.
//!
//! Mutations, each tried, each makes `nothing_is_let_go_of_early_or_forgotten` fail:
//! - `Retiring::retire_into` lays the thing into the bin at once;
//! - `Bin::add` drops the thing where the bin is open.

use loom::{
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    thread,
};
use pulsedb::log::retire::{Bin, Retiring};
use pulsedb_loom_tests::explore;

#[test]
fn nothing_is_let_go_of_early_or_forgotten() {
    explore(|| {
        let users = Arc::new(AtomicUsize::new(2));
        let emptied = Arc::new(AtomicUsize::new(0));
        let bin = std::sync::Arc::new(Bin::default());
        let owner = std::sync::Arc::new(Retiring::new(7_u32));
        owner.retire_into(&bin);
        let readers: Vec<_> = (0..2)
            .map(|_| {
                let (owner, users) = (std::sync::Arc::clone(&owner), Arc::clone(&users));
                thread::spawn(move || {
                    assert_eq!(**owner, 7);
                    users.fetch_sub(1, Ordering::SeqCst);
                    drop(owner);
                })
            })
            .collect();
        drop(owner);
        let look = |things: Vec<std::sync::Arc<u32>>| {
            if !things.is_empty() {
                assert_eq!(users.load(Ordering::SeqCst), 0, "somebody still reads it");
            }
            emptied.fetch_add(things.len(), Ordering::SeqCst);
        };
        look(bin.empty());
        for reader in readers {
            reader.join().unwrap();
        }
        look(bin.close());
        assert_eq!(emptied.load(Ordering::SeqCst), 1);
    });
}
