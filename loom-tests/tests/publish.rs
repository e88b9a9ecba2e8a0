//! Does a snapshot show whole commits, only its own past, and always the same?
//!
//! A writer applies commits of two records each through the shipped `Applier`, and publishes them;
//! readers load and walk at any moment in between.
//!
//! Mutations, each tried, each makes the named models fail:
//! - `Slot::visible` does not compare the row's LSN: `a_reader_sees_whole_commits_of_its_past`;
//! - `Slot::visible` does not compare `deleted_at` with its LSN: `a_deletion_is_seen_with_its_commit`;
//! - `Applier::bury` takes the graves above the horizon, too: `a_deletion_is_seen_with_its_commit`;
//! - `Writer::commit` below, as `protocol/commit.rs`, publishes before it has applied:
//!   `a_reader_sees_whole_commits_of_its_past`;
//! - `chain::trimmed` cuts before the entry at the horizon, or hands back nothing where it has nothing
//!   to cut: `values_at_a_held_snapshot_stay`;
//! - `History::oldest` forgets what it hands out: `the_horizon_is_never_newer_than_a_held_snapshot`;
//! - `Table::seek` starts in a chunk without rows:
//!   `a_search_by_time_is_not_misled_by_a_growing_table`.

use std::sync::Arc;

use loom::thread;
use pulsedb::{Lsn, Timestamp};
use pulsedb_loom_tests::{
    explore,
    tables::{Writer, delete, record, revise, table, walk},
};

#[test]
fn a_reader_sees_whole_commits_of_its_past() {
    explore(|| {
        let (mut writer, published) = Writer::new(0);
        let committer = thread::spawn(move || {
            writer.commit(&[|lsn| record(0, lsn), |lsn| record(1, lsn)]);
            writer.commit(&[|lsn| record(2, lsn), |lsn| revise(0, lsn)]);
        });
        let mut last = Lsn::ZERO;
        for _ in 0..2 {
            let view = published.load().expect("nobody clears it");
            assert!(view.lsn() >= last, "time went backwards");
            last = view.lsn();
            let lsn = Lsn::new;
            // LSN 1 defined the collective.
            let expected = match last.get() {
                1 => vec![],
                3 => vec![(0, Lsn::ZERO), (1, Lsn::ZERO)],
                5 => vec![(0, lsn(5)), (1, Lsn::ZERO), (2, Lsn::ZERO)],
                torn => panic!("{torn} is inside a commit"),
            };
            assert_eq!(walk(&view), expected);
        }
        committer.join().unwrap();
    });
}

#[test]
fn a_deletion_is_seen_with_its_commit() {
    explore(|| {
        let (mut writer, published) = Writer::new(2);
        let ids = writer.ids();
        let committer = thread::spawn(move || {
            writer.commit(&[|_| delete(0), |lsn| record(2, lsn)]);
            // Buries what the first has deleted, where nobody holds an older snapshot.
            writer.commit(&[|_| delete(1)]);
        });
        let view = published.load().expect("nobody clears it");
        for _ in 0..2 {
            let rows: Vec<u32> = walk(&view).into_iter().map(|(row, _)| row).collect();
            let expected: &[u32] = match view.lsn().get() {
                3 => &[0, 1],
                5 => &[1, 2],
                6 => &[2],
                torn => panic!("{torn} is inside a commit"),
            };
            assert_eq!(rows, expected);
            for row in 0..3 {
                let seen = table(&view).row(row, view.lsn()).is_some();
                assert_eq!(seen, expected.contains(&row));
                // The index of ids may know more than the snapshot shows, never less.
                let known = ids.get(u128::from(row) + 1);
                assert!(!seen || known.is_some_and(|known| known.row == row));
            }
        }
        committer.join().unwrap();
    });
}

#[test]
fn values_at_a_held_snapshot_stay() {
    explore(|| {
        let (mut writer, published) = Writer::new(1);
        writer.commit(&[|lsn| revise(0, lsn)]);
        let reader = thread::spawn({
            let published = Arc::clone(&published);
            move || {
                let view = published.load().expect("nobody clears it");
                let first = walk(&view);
                assert_eq!(first, [(0, view.lsn())], "each commit gives new values");
                assert_eq!(walk(&view), first, "the values of a snapshot changed");
            }
        });
        let held = published.load().expect("nobody clears it");
        writer.commit(&[|lsn| revise(0, lsn)]);
        writer.commit(&[|lsn| revise(0, lsn)]);
        assert_eq!(walk(&held), [(0, held.lsn())]);
        drop(held);
        reader.join().unwrap();
    });
}

#[test]
fn the_horizon_is_never_newer_than_a_held_snapshot() {
    explore(|| {
        let (mut writer, published) = Writer::new(0);
        let reader = thread::spawn({
            let published = Arc::clone(&published);
            move || published.load().expect("nobody clears it")
        });
        writer.commit(&[|lsn| record(0, lsn)]);
        let held = published.load().expect("nobody clears it");
        writer.commit(&[|lsn| record(1, lsn)]);
        assert!(writer.horizon() <= held.lsn());
        let other = reader.join().unwrap();
        writer.commit(&[|lsn| record(2, lsn)]);
        assert_eq!(writer.horizon(), held.lsn().min(other.lsn()));
        drop((held, other));
        assert_eq!(writer.horizon(), writer.lsn());
    });
}

#[test]
fn a_search_by_time_is_not_misled_by_a_growing_table() {
    explore(|| {
        // Sixteen rows fill the first chunk; the next row begins another.
        let (mut writer, published) = Writer::new(16);
        let committer = thread::spawn(move || writer.commit(&[|lsn| record(16, lsn)]));
        let view = published.load().expect("nobody clears it");
        // Row n has the LSN, and the time, n + 2.
        let row = table(&view).seek(Timestamp::from_millis(7), 0);
        assert_eq!(row, 5);
        committer.join().unwrap();
    });
}
