//! Does a table know which orders its rows keep, and list them in both?

use std::ops::Bound;

use proptest::{collection::vec, prelude::*};

use super::*;
use crate::{
    model::{Collective, CollectiveId, DecayConfig, Lsn},
    state::table::Table,
};

fn table() -> Table {
    Table::new(
        1,
        &Collective {
            id: CollectiveId::from_u128(1),
            name: "c".into(),
            owner_id: None,
            embedding_dimension: 4,
            decay: DecayConfig::default(),
            embedder: None,
            created_at: Timestamp::default(),
            vectors: Default::default(),
            precisions: Default::default(),
        },
    )
}

fn row(number: u32, time: i64, id: u128) -> Row {
    Row {
        time: Timestamp::from_millis(time),
        ..Row::example(Lsn::new(u64::from(number) + 1), id)
    }
}

fn bound() -> impl Strategy<Value = Bound<Key>> {
    let key = (0..12_i64, 0..12_u128).prop_map(|(time, id)| (Timestamp::from_millis(time), id));
    prop_oneof![
        Just(Bound::Unbounded),
        key.clone().prop_map(Bound::Included),
        key.prop_map(Bound::Excluded),
    ]
}

fn all(table: &Table, order: OrderBy, span: &Span, direction: Direction) -> Vec<Place> {
    let (mut places, mut after) = (Vec::new(), None);
    loop {
        let piece = table.sorted(order, span, direction, after);
        after = piece.last().copied();
        places.extend(&piece);
        if piece.is_empty() {
            return places;
        }
    }
}

proptest! {
    #[test]
    fn rows_are_listed_in_either_order(
        rows in vec((0..12_i64, 0..12_u128), 0..40),
        more in vec((0..12_i64, 0..12_u128), 0..10),
        span in (bound(), bound()),
    ) {
        use std::ops::RangeBounds;
        let table = table();
        let mut filled = Vec::new();
        for part in [rows, more] {
            for (time, id) in part {
                let number = filled.len() as u32;
                filled.push(row(number, time, id));
                table.fill(number, row(number, time, id));
            }
            for order in [OrderBy::Time, OrderBy::Id] {
                let span = match order {
                    OrderBy::Time => span,
                    OrderBy::Id => {
                        let key = |(_, id): Key| (Timestamp::default(), id);
                        (span.0.map(key), span.1.map(key))
                    }
                };
                let mut plain: Vec<Place> = (0..)
                    .zip(&filled)
                    .map(|(number, row)| (key_of(order, row), number))
                    .filter(|(key, _)| span.contains(key))
                    .collect();
                let stands = filled.is_sorted_by_key(|row| key_of(order, row));
                match table.numbers(order, &span) {
                    Some(numbers) => {
                        prop_assert!(stands);
                        let numbers = numbers.start..numbers.end.min(filled.len() as u32);
                        let expected: Vec<u32> = plain.iter().map(|(_, number)| *number).collect();
                        prop_assert_eq!(numbers.collect::<Vec<_>>(), expected);
                    }
                    None => prop_assert!(!stands),
                }
                plain.sort_unstable();
                prop_assert_eq!(&all(&table, order, &span, Direction::Ascending), &plain);
                let within = table.numbers_within(order, &span);
                prop_assert_eq!(within.len(), plain.len() as u64);
                plain.reverse();
                prop_assert_eq!(&all(&table, order, &span, Direction::Descending), &plain);
            }
        }
    }
}

#[test]
fn an_index_forgets_rows_that_are_gone() {
    let table = table();
    let count = 4 * STALE_LEAST;
    for number in 0..count {
        let id = u128::from(count - number);
        table.fill(number, row(number, 1, id));
    }
    let everything = (Bound::Unbounded, Bound::Unbounded);
    let listed = |table: &Table| all(table, OrderBy::Id, &everything, Direction::Ascending).len();
    assert_eq!(listed(&table), count as usize);
    let lsn = Lsn::new(u64::from(count) + 1);
    for number in 0..2 * STALE_LEAST {
        table.delete(number, lsn);
        table.forget(number, lsn);
    }
    assert_eq!(listed(&table), (count - 2 * STALE_LEAST) as usize);
}
