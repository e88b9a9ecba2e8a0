//! Does a filtered search find every row that passes as of its snapshot, while others change rows
//! and catch up?
//!
//! A writer changes the importance of rows through the shipped `Applier`; searches bring the shipped
//! filter index up to date, each for itself, and compare its candidates with a walk.
//!
//! Mutations, each tried, each makes the named models fail:
//! - `Table::revise` notes the row before it pushes the version, or notes nothing:
//!   `a_published_change_is_found`, `the_first_search_meets_a_change`;
//! - `Work::read_noted` empties `taken` before it has read: `a_published_change_is_found`,
//!   `an_older_snapshot_is_answered_in_full`;
//! - `FilterIndex::candidates` looks at the notes before it holds the postings:
//!   `an_older_snapshot_is_answered_in_full`; after it has let go of them: `a_published_change_is_found`,
//!   `an_older_snapshot_is_answered_in_full`;
//! - `Work::read` adds the newest version only: `an_older_snapshot_is_answered_in_full`;
//! - `Work::read` takes a row with a newer version for read: all three.
//!
//! That noted rows also reach the postings of a rebuild that takes several searches, the property
//! test beside the shipped code shows.

use std::sync::Arc;

use loom::thread;
use pulsedb::{
    SearchFilter,
    state::{Row, Values},
};
use pulsedb_loom_tests::{
    explore,
    tables::{View, Writer, record, table, value},
};

const BOUND: f32 = 0.75;

/// A search for the important.
fn search(view: &View) {
    let filter = SearchFilter {
        min_importance: Some(BOUND),
        ..SearchFilter::default()
    };
    let table = table(view);
    let index = table.filter_index();
    index.catch_up(table, view.lsn(), |_: &Row, _: &Values| None);
    let candidates = index
        .candidates(&filter, None, 0..table.row_count())
        .expect("the filter restricts");
    table.for_each_from(0, view.lsn(), |row| {
        let passes = row.values().importance >= BOUND;
        assert!(
            !passes || candidates.contains(row.number),
            "row {} is missing at {:?}",
            row.number,
            view.lsn()
        );
        true
    });
}

#[test]
fn a_published_change_is_found() {
    explore(|| {
        let (mut writer, published) = Writer::new(2);
        // The index is there, and covers the rows.
        search(&published.load().expect("nobody clears it"));
        let other = thread::spawn({
            let published = Arc::clone(&published);
            move || search(&published.load().expect("nobody clears it"))
        });
        let committer = thread::spawn(move || {
            writer.commit(&[|lsn| value(1, lsn, 1.0)]);
            writer
        });
        search(&published.load().expect("nobody clears it"));
        let writer = committer.join().unwrap();
        // Whatever the others have done, or are doing, what is published is found.
        let last = published.load().expect("nobody clears it");
        assert_eq!(last.lsn(), writer.lsn());
        search(&last);
        other.join().unwrap();
        search(&last);
    });
}

#[test]
fn the_first_search_meets_a_change() {
    explore(|| {
        let (mut writer, published) = Writer::new(1);
        let committer = thread::spawn(move || {
            writer.commit(&[|lsn| value(0, lsn, 1.0)]);
            writer.commit(&[|lsn| record(1, lsn), |lsn| value(1, lsn, 1.0)]);
        });
        search(&published.load().expect("nobody clears it"));
        search(&published.load().expect("nobody clears it"));
        committer.join().unwrap();
        search(&published.load().expect("nobody clears it"));
    });
}

#[test]
fn an_older_snapshot_is_answered_in_full() {
    explore(|| {
        let (mut writer, published) = Writer::new(1);
        writer.commit(&[|lsn| value(0, lsn, 1.0)]);
        let held = published.load().expect("nobody clears it");
        let committer = thread::spawn(move || writer.commit(&[|lsn| value(0, lsn, 0.0)]));
        let other = thread::spawn({
            let published = Arc::clone(&published);
            move || search(&published.load().expect("nobody clears it"))
        });
        search(&held);
        committer.join().unwrap();
        other.join().unwrap();
        search(&held);
    });
}
