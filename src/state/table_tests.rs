//! Do the tables show each snapshot its rows, whatever is added, changed or freed meanwhile?

use super::*;
use crate::model::{CollectiveId, DecayConfig};

const NEWEST: Lsn = Lsn::new(u64::MAX);

/// A table whose row `n` has the LSN, the time and the id `n + 1`.
fn table(rows: u32) -> Table {
    let definition = Collective {
        id: CollectiveId::from_u128(1),
        name: "c".into(),
        owner_id: None,
        embedding_dimension: 4,
        decay: DecayConfig::default(),
        embedder: None,
        created_at: Timestamp::from_millis(0),
        vectors: Default::default(),
        precisions: Default::default(),
    };
    let table = Table::new(1, &definition);
    for number in 0..rows {
        table.fill(number, row(number));
    }
    table
}

fn row(number: u32) -> Row {
    Row::example(lsn(number), u128::from(number) + 1)
}

/// The LSN of a row of [`table`].
fn lsn(number: u32) -> Lsn {
    Lsn::new(u64::from(number) + 1)
}

fn upwards(table: &Table, from: u32, lsn: Lsn) -> Vec<u32> {
    let mut numbers = Vec::new();
    table.for_each_from(from, lsn, |visited| {
        numbers.push(visited.number);
        true
    });
    numbers
}

fn downwards(table: &Table, below: u32, lsn: Lsn) -> Vec<u32> {
    let mut numbers = Vec::new();
    table.for_each_below(below, lsn, |visited| {
        numbers.push(visited.number);
        true
    });
    numbers
}

/// Rows beside the borders of chunks, and beyond the end of the doubling.
const BORDERS: [u32; 14] = [
    0, 1, 15, 16, 17, 31, 32, 33, 1023, 1024, 1025, 2047, 2048, 2049,
];

#[test]
fn walks_cross_the_borders_of_chunks_in_both_directions() {
    let table = table(2_100);
    for border in BORDERS {
        let expected: Vec<u32> = (border..2_100).collect();
        assert_eq!(
            upwards(&table, border, NEWEST),
            expected,
            "up from {border}"
        );
        let expected: Vec<u32> = (0..border).rev().collect();
        assert_eq!(
            downwards(&table, border, NEWEST),
            expected,
            "down below {border}"
        );
    }
    assert!(upwards(&table, 2_100, NEWEST).is_empty());
    assert!(upwards(&table, u32::MAX, NEWEST).is_empty());
    assert_eq!(downwards(&table, u32::MAX, NEWEST).len(), 2_100);
}

#[test]
fn walks_stop_when_told_to() {
    let table = table(100);
    let mut seen = Vec::new();
    table.for_each_from(14, NEWEST, |visited| {
        seen.push(visited.number);
        seen.len() < 4
    });
    assert_eq!(seen, [14, 15, 16, 17]);
    seen.clear();
    table.for_each_below(33, NEWEST, |visited| {
        seen.push(visited.number);
        seen.len() < 3
    });
    assert_eq!(seen, [32, 31, 30]);
}

#[test]
fn a_walk_of_an_empty_table_visits_nothing() {
    let table = table(0);
    assert!(upwards(&table, 0, NEWEST).is_empty());
    assert!(downwards(&table, u32::MAX, NEWEST).is_empty());
    assert_eq!(table.seek(Timestamp::from_millis(1), 1), 0);
    assert!(table.row(0, NEWEST).is_none());
}

#[test]
fn a_snapshot_sees_neither_later_rows_nor_later_deletions() {
    let table = table(40);
    table.with_slot(16, |slot| slot.delete(Lsn::new(50)));
    assert_eq!(
        upwards(&table, 0, lsn(19)),
        (0..20).collect::<Vec<_>>(),
        "before the deletion"
    );
    let without: Vec<u32> = (0..40).filter(|number| *number != 16).collect();
    assert_eq!(upwards(&table, 0, Lsn::new(50)), without);
    assert!(table.row(16, Lsn::new(49)).is_some());
    assert!(table.row(16, Lsn::new(50)).is_none());
    assert!(table.row(20, lsn(19)).is_none());
}

#[test]
fn a_second_deletion_changes_nothing() {
    let table = table(1);
    let first = table.with_slot(0, |slot| slot.delete(Lsn::new(5)));
    let second = table.with_slot(0, |slot| slot.delete(Lsn::new(3)));
    assert_eq!((first, second), (Some(true), Some(false)));
    assert!(table.row(0, Lsn::new(4)).is_some());
}

#[test]
fn a_row_has_the_values_of_its_time() {
    let table = table(1);
    let initial = row(0).initial_values();
    let changed = Values {
        applications: 7,
        ..initial
    };
    table.with_slot(0, |slot| slot.push(Lsn::new(9), changed, Lsn::new(5)));
    assert_eq!(
        table.row(0, Lsn::new(8)).map(|row| row.values),
        Some(initial)
    );
    assert_eq!(
        table.row(0, Lsn::new(9)).map(|row| row.values),
        Some(changed)
    );
}

#[test]
fn seek_finds_the_first_row_at_or_behind() {
    let table = table(2_100);
    for number in BORDERS {
        let time = Timestamp::from_millis(i64::from(number) + 1);
        let id = u128::from(number) + 1;
        assert_eq!(table.seek(time, id), number);
        assert_eq!(
            table.seek(time, id - 1),
            number,
            "between its predecessor and it"
        );
        assert_eq!(table.seek(time, id + 1), number + 1, "just behind it");
    }
    assert_eq!(table.seek(Timestamp::from_millis(0), 0), 0);
    assert_eq!(table.seek(Timestamp::from_millis(i64::MAX), 0), 2_100);
}

#[test]
fn seek_takes_no_notice_of_a_chunk_that_is_not_filled_yet() {
    let table = table(16);
    // What a reader meets between the two steps of filling row 16.
    let mut chunks = Chunks::clone(&table.chunks.load().unwrap());
    chunks.push(Some(Arc::new(Chunk::new(1))));
    table.chunks.store(Some(Arc::new(chunks)));
    assert_eq!(table.seek(Timestamp::from_millis(5), 0), 4);
    assert_eq!(table.seek(Timestamp::from_millis(17), 0), 16);
}

#[test]
fn a_chunk_goes_with_its_last_row() {
    let table = table(100);
    let freed = |index: usize| table.chunks.with(|chunks| chunks.unwrap()[index].is_none());
    for number in (16..32).rev() {
        table.with_slot(number, |slot| slot.delete(Lsn::new(200)));
        assert!(!freed(1), "row {number} still needs it");
        table.forget(number, NEWEST);
    }
    assert!(freed(1));
    assert!(!freed(0) && !freed(2));

    let rest: Vec<u32> = (0..100).filter(|n| !(16..32).contains(n)).collect();
    assert_eq!(upwards(&table, 0, NEWEST), rest);
    assert_eq!(upwards(&table, 20, NEWEST), rest[16..]);
    let reversed: Vec<u32> = rest.iter().copied().rev().collect();
    assert_eq!(downwards(&table, 100, NEWEST), reversed);
    assert_eq!(downwards(&table, 20, NEWEST), reversed[68..]);
    assert!(table.row(20, NEWEST).is_none());

    // Rows on both sides are found, and what was freed leads to what comes next.
    let seek = |number: i64| table.seek(Timestamp::from_millis(number + 1), 0);
    assert_eq!((seek(15), seek(33), seek(40)), (15, 33, 40));
    assert!((16..=32).contains(&seek(20)));
    assert!((16..=32).contains(&seek(32)));
}

#[test]
fn a_freed_first_chunk_does_not_hide_the_rest() {
    let table = table(100);
    for number in 0..16 {
        table.forget(number, NEWEST);
    }
    let seek = |number: i64| table.seek(Timestamp::from_millis(number + 1), 0);
    assert!(seek(3) <= 16);
    assert_eq!((seek(17), seek(99), seek(100)), (17, 99, 100));
    assert_eq!(upwards(&table, 0, NEWEST).first(), Some(&16));
    // Rows go on being added behind.
    table.fill(100, row(100));
    assert_eq!(upwards(&table, 100, NEWEST), [100]);
}

#[test]
fn a_held_definition_outlives_its_successor() {
    let table = table(0);
    let define = |lsn: u64, name: &str, horizon: u64| {
        let definition = Collective {
            id: CollectiveId::from_u128(1),
            name: name.into(),
            owner_id: None,
            embedding_dimension: 4,
            decay: DecayConfig::default(),
            embedder: None,
            created_at: Timestamp::from_millis(0),
            vectors: Default::default(),
            precisions: Default::default(),
        };
        table.define(Lsn::new(lsn), Arc::new(definition), Lsn::new(horizon));
    };
    define(1, "first", 0);
    define(5, "second", 4);
    let name = |lsn| table.definition(Lsn::new(lsn)).map(|it| it.name.clone());
    assert_eq!(name(4).as_deref(), Some("first"));
    assert_eq!(name(5).as_deref(), Some("second"));
}
