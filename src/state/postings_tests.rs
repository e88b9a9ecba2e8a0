//! Does every row that passes a filter stand behind its postings?

use std::collections::BTreeMap;

use super::*;
use crate::{
    model::{Lsn, Timestamp},
    state::Row,
};

fn values(importance: f32, archived: bool) -> Values {
    Values {
        importance,
        archived,
        ..Row::example(Lsn::new(1), 1).initial_values()
    }
}

fn traits(domain: &str, tag: &str) -> Traits {
    Traits {
        domain: vec![domain.into()],
        tags: BTreeMap::from([("key".into(), tag.into())]),
        ..Traits::default()
    }
}

/// Ten rows of changing kinds and agents; the last has traits that cannot be read.
fn postings() -> Postings {
    let mut postings = Postings::default();
    let mut batch = Batch::default();
    for row in 0..10_u32 {
        let kind = if row % 2 == 0 {
            ExperienceKind::Fact
        } else {
            ExperienceKind::Generic
        };
        let importance = row as f32 / 10.0;
        batch.columns(row, kind, row % 3, &values(importance, row == 4));
        let traits = traits(if row < 5 { "low" } else { "high" }, &row.to_string());
        batch.traits(row, (row < 9).then_some(&traits));
    }
    postings.add(&batch);
    postings.set_covered(10);
    postings
}

fn matches(filter: &SearchFilter) -> Option<Vec<u32>> {
    let matches = postings().matches(filter, None, 0..10)?;
    Some(matches.into_iter().collect())
}

fn everything() -> SearchFilter {
    SearchFilter {
        exclude_archived: false,
        ..SearchFilter::default()
    }
}

#[test]
fn what_restricts_nothing_has_no_matches_of_its_own() {
    assert_eq!(matches(&everything()), None);
    assert_eq!(matches(&SearchFilter::default()), None);
    let zero = SearchFilter {
        min_importance: Some(0.0),
        ..everything()
    };
    assert_eq!(matches(&zero), None);
}

#[test]
fn each_part_of_a_filter_finds_its_rows() {
    let domain = |names: &[&str]| SearchFilter {
        domains: names.iter().map(|name| (*name).into()).collect(),
        ..everything()
    };
    assert_eq!(matches(&domain(&["low"])), Some(vec![0, 1, 2, 3, 4, 9]));
    assert_eq!(matches(&domain(&["low", "high"])), Some((0..10).collect()));
    assert_eq!(matches(&domain(&["none"])), Some(vec![9]));
    let tag = |value: &str| SearchFilter {
        tags_all: BTreeMap::from([("key".into(), value.into())]),
        ..everything()
    };
    assert_eq!(matches(&tag("3")), Some(vec![3, 9]));
    assert_eq!(matches(&tag("low")), Some(vec![9]));
    let kind = SearchFilter {
        experience_types: vec![ExperienceKind::Fact],
        ..everything()
    };
    assert_eq!(matches(&kind), Some(vec![0, 2, 4, 6, 8]));
    let active = SearchFilter {
        exclude_archived: true,
        ..kind
    };
    assert_eq!(matches(&active), Some(vec![0, 2, 6, 8]));
    let important = SearchFilter {
        min_importance: Some(0.5),
        ..everything()
    };
    assert_eq!(matches(&important), Some((5..10).collect()));
    let all = SearchFilter {
        domains: vec!["high".into()],
        experience_types: vec![ExperienceKind::Fact],
        min_importance: Some(0.65),
        ..SearchFilter::default()
    };
    assert_eq!(matches(&all), Some(vec![8]));
}

#[test]
fn agents_and_rows_are_given_from_outside() {
    let of = |agents: &[u32], rows| {
        let matches = postings().matches(&everything(), Some(agents), rows);
        matches.map(|matches| matches.into_iter().collect::<Vec<_>>())
    };
    assert_eq!(of(&[0], 0..10), Some(vec![0, 3, 6, 9]));
    assert_eq!(of(&[0, 1], 2..5), Some(vec![3, 4]));
    assert_eq!(of(&[], 0..10), Some(vec![]));
    assert_eq!(of(&[7], 0..10), Some(vec![]));
    let since = SearchFilter {
        since: Some(Timestamp::from_millis(1)),
        ..everything()
    };
    let matches = postings().matches(&since, None, 7..9);
    assert_eq!(matches.map(|matches| matches.len()), Some(2));
}

#[test]
fn rows_that_stand_for_what_they_were_are_stale() {
    let mut postings = postings();
    // Row 4 has been added as archived only.
    let mut again = |change: &dyn Fn(&mut Batch)| {
        let mut batch = Batch::default();
        change(&mut batch);
        postings.add(&batch);
        postings.stale()
    };
    let columns = |row, value, archived| {
        move |batch: &mut Batch| {
            let (kind, agent) = (ExperienceKind::Generic, row % 3);
            batch.columns(row, kind, agent, &values(value, archived));
        }
    };
    assert_eq!(again(&columns(3, 0.3, false)), 0, "nothing new");
    assert_eq!(again(&columns(3, 0.3, true)), 1, "archived");
    assert_eq!(again(&columns(3, 0.9, false)), 1, "the same row");
    assert_eq!(again(&columns(7, 0.1, false)), 2, "fallen");
    assert_eq!(again(&columns(1, 0.8, false)), 3, "risen");
    assert_eq!(
        again(&|batch| batch.traits(0, Some(&traits("low", "0")))),
        3
    );
    assert_eq!(
        again(&|batch| batch.traits(0, Some(&traits("high", "0")))),
        4
    );
    assert_eq!(again(&|batch| batch.traits(2, None)), 5);
}

#[test]
fn a_row_of_two_versions_is_found_by_both() {
    let mut postings = postings();
    let mut batch = Batch::default();
    batch.traits(3, Some(&traits("high", "3")));
    batch.columns(3, ExperienceKind::Generic, 0, &values(0.9, true));
    postings.add(&batch);
    for domain in ["low", "high"] {
        let filter = SearchFilter {
            domains: vec![domain.into()],
            ..SearchFilter::default()
        };
        let matches = postings.matches(&filter, None, 0..10).unwrap();
        assert!(matches.contains(3));
    }
}

#[test]
fn values_that_one_row_has_alone_take_few_bytes() {
    let mut postings = Postings::default();
    let mut batch = Batch::default();
    for row in 0..10_000 {
        batch.traits(row, Some(&traits("all", &row.to_string())));
    }
    postings.add(&batch);
    let bytes = postings.bytes();
    assert!(bytes < 70 * 10_000, "{bytes}");
}
