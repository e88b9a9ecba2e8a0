//! Does the index of contents lack nothing, and forget what is deleted?

use std::{
    cell::{Cell, RefCell},
    collections::BTreeSet,
};

use proptest::prelude::*;

use super::*;

/// A content of which there are few, and whose hashes collide in what entries hold.
fn hash(content: u8) -> ContentHash {
    let mut hash = [0; 16];
    hash[0] = content / 2;
    hash[15] = content;
    ContentHash(hash)
}

#[derive(Clone, Debug)]
enum Step {
    Add(Vec<u8>),
    Delete(prop::sample::Index),
    Look(u8),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        prop::collection::vec(0_u8..6, 1..80).prop_map(Step::Add),
        any::<prop::sample::Index>().prop_map(Step::Delete),
        any::<prop::sample::Index>().prop_map(Step::Delete),
        (0_u8..6).prop_map(Step::Look),
    ]
}

proptest! {
    #[test]
    fn every_living_row_is_found(steps in prop::collection::vec(step(), 1..60)) {
        let index = ContentIndex::default();
        let mut rows: Vec<u8> = Vec::new();
        let dead = RefCell::new(BTreeSet::new());
        for step in steps {
            match step {
                Step::Add(more) => rows.extend(more),
                Step::Delete(_) if rows.is_empty() => {}
                Step::Delete(at) => {
                    dead.borrow_mut().insert(at.index(rows.len()) as u32);
                }
                Step::Look(content) => {
                    let is_dead = |row: u32| dead.borrow().contains(&row);
                    let content_of = |row: u32| rows[row as usize];
                    index.catch_up(
                        rows.len() as u32,
                        |row| (!is_dead(row)).then(|| hash(content_of(row))),
                        is_dead,
                    );
                    let found = index.first_with(&hash(content), 3, |row| {
                        if is_dead(row) {
                            Met::Deleted
                        } else if content_of(row) == content {
                            Met::Wanted
                        } else {
                            Met::Other
                        }
                    });
                    let living = (0..rows.len() as u32)
                        .filter(|row| !is_dead(*row) && content_of(*row) == content);
                    prop_assert_eq!(found, living.take(3).collect::<Vec<_>>());
                }
            }
        }
    }
}

#[test]
fn rows_that_come_and_go_take_no_memory_for_long() {
    let index = ContentIndex::default();
    let living = 1_000;
    for end in (0..100 * living).step_by(50) {
        let is_deleted = |row: u32| row + living < end;
        let hash_of = |row: u32| {
            let mut hash = [0; 16];
            hash[..4].copy_from_slice(&row.wrapping_mul(2_654_435_761).to_be_bytes());
            Some(ContentHash(hash))
        };
        index.catch_up(end, hash_of, is_deleted);
        let entries = index.bytes() / ENTRY_BYTES;
        assert!(
            entries as f64 <= 2.2 * f64::from(living),
            "{entries} at {end}"
        );
    }
}

#[test]
fn the_same_content_deleted_again_and_again_is_met_once() {
    let index = ContentIndex::default();
    let met = Cell::new(0);
    for round in 1..=500_u32 {
        index.catch_up(round, |_| Some(hash(1)), |_| false);
        let found = index.first_with(&hash(1), 1, |row| {
            met.set(met.get() + 1);
            if row + 1 == round {
                Met::Wanted
            } else {
                Met::Deleted
            }
        });
        assert_eq!(found, [round - 1]);
    }
    assert!(met.get() <= 1_000, "{}", met.get());
}
