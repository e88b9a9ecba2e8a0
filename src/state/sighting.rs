//! Which rows does an experience repeat, and up to where was that looked for?
//!
//! Pure. Whoever wants to record looks for duplicates in a snapshot; the committer compares with the rows
//! since. Both ask [`Comparison`], so that they mean the same by a duplicate, and both order by
//! [`best_first`].
//!
//! Why that is enough: rows stand in the order of their commits, so the rows below
//! [`Sighting::until`] are those that the snapshot had. Of those, no row becomes a duplicate later: bodies
//! never change, and what is deleted or expired does not come back. So whether those that were found
//! still live is all that is left to ask.

use crate::{
    model::{ContentHash, Duplicate, ExperienceId, limits::MAX_DUPLICATES},
    vector::similarity::Query,
};

/// What is looked for.
#[derive(Clone, Debug, PartialEq)]
pub struct Sought {
    /// The vector of the experience, as long as those of its collective.
    pub vector: Vec<f32>,
    /// Hash of its content.
    pub hash: ContentHash,
    /// Whether rows of the same content are duplicates.
    pub same_content: bool,
    /// From which similarity on rows are; `None` where they never are.
    pub threshold: Option<f32>,
}

/// A row that is a duplicate.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Found {
    /// Its number.
    pub row: u32,
    /// Its id.
    pub id: u128,
    /// Its similarity, where that was asked for.
    pub similarity: Option<f32>,
    /// Whether the content is the same, where that was asked for.
    pub same_content: bool,
}

impl From<Found> for Duplicate {
    fn from(found: Found) -> Self {
        Self {
            id: ExperienceId::from_u128(found.id),
            similarity: found.similarity,
            same_content: found.same_content,
        }
    }
}

/// What was found in a snapshot.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Sighting {
    /// The rows from this number on were not looked at.
    pub until: u32,
    /// The best duplicates below it, best first; at most [`MAX_DUPLICATES`].
    pub found: Vec<Found>,
    /// Whether there may be more, worse than all of these.
    pub more: bool,
}

impl Sighting {
    /// What is left of it once some of the rows are gone; `None` where others would have to take their
    /// places that nobody has looked for.
    #[must_use]
    pub fn left(&self, mut lives: impl FnMut(&Found) -> bool) -> Option<Vec<Found>> {
        let mut left = self.found.clone();
        left.retain(|found| lives(found));
        (!self.more || !left.is_empty()).then_some(left)
    }
}

/// What is sought, made ready to be compared with many rows.
pub struct Comparison<'a> {
    sought: &'a Sought,
    query: Option<Query<'a>>,
}

impl<'a> Comparison<'a> {
    /// Compares with `sought`.
    #[must_use]
    pub fn new(sought: &'a Sought) -> Self {
        Self {
            sought,
            query: sought.threshold.map(|_| Query::new(&sought.vector)),
        }
    }

    /// The row as a duplicate, if it is one.
    #[must_use]
    pub fn found(
        &self,
        (row, id): (u32, u128),
        hash: ContentHash,
        vector: &[f32],
        inverse_norm: f32,
    ) -> Option<Found> {
        let same_content = self.sought.same_content && self.sought.hash == hash;
        let similarity = self
            .query
            .as_ref()
            .map(|query| query.similarity(vector, inverse_norm));
        let near = similarity.zip(self.sought.threshold);
        let is_near = near.is_some_and(|(similarity, threshold)| similarity >= threshold);
        (same_content || is_near).then_some(Found {
            row,
            id,
            similarity,
            same_content,
        })
    }
}

/// Orders duplicates, best first, and keeps the best; whether some were left out.
pub fn best_first(found: &mut Vec<Found>) -> bool {
    found.sort_unstable_by(|a, b| {
        let by_content = b.same_content.cmp(&a.same_content);
        by_content.then_with(|| {
            if a.same_content {
                a.row.cmp(&b.row)
            } else {
                let likeness = |found: &Found| found.similarity.unwrap_or(f32::NEG_INFINITY);
                likeness(b)
                    .total_cmp(&likeness(a))
                    .then(a.id.cmp(&b.id))
                    .then(a.row.cmp(&b.row))
            }
        })
    });
    found.dedup_by_key(|found| found.row);
    let more = found.len() > MAX_DUPLICATES;
    found.truncate(MAX_DUPLICATES);
    more
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn sought(same_content: bool, threshold: Option<f32>) -> Sought {
        Sought {
            vector: vec![3.0, 4.0],
            hash: ContentHash([7; 16]),
            same_content,
            threshold,
        }
    }

    #[test]
    fn a_row_is_a_duplicate_by_what_was_asked_for() {
        let (same, other) = (ContentHash([7; 16]), ContentHash([8; 16]));
        let far = [-4.0_f32, 3.0];
        let ask = |sought: &Sought, hash, vector: &[f32]| {
            Comparison::new(sought).found((1, 2), hash, vector, 0.2)
        };
        let by_content = sought(true, None);
        let found = ask(&by_content, same, &far).unwrap();
        assert!(found.same_content && found.similarity.is_none());
        assert_eq!(ask(&by_content, other, &[3.0, 4.0]), None);

        let near = sought(false, Some(1.0));
        let found = ask(&near, same, &[3.0, 4.0]).unwrap();
        assert_eq!((found.same_content, found.similarity), (false, Some(1.0)));
        assert_eq!(ask(&near, same, &far), None);

        let either = sought(true, Some(0.5));
        let found = ask(&either, same, &far).unwrap();
        assert!(found.same_content && found.similarity.unwrap().abs() < 1e-6);
        assert!(ask(&either, other, &[3.0, 4.0]).is_some());
        assert_eq!(ask(&either, other, &far), None);
    }

    #[test]
    fn a_sighting_whose_rows_are_all_gone_says_nothing_where_there_were_more() {
        let one = Found {
            row: 1,
            id: 1,
            similarity: None,
            same_content: true,
        };
        let mut sighting = Sighting {
            until: 9,
            found: vec![one, Found { row: 2, ..one }],
            more: false,
        };
        assert_eq!(sighting.left(|_| false), Some(Vec::new()));
        sighting.more = true;
        assert_eq!(sighting.left(|_| false), None);
        assert_eq!(sighting.left(|found| found.row == 2).unwrap().len(), 1);
    }

    fn found() -> impl Strategy<Value = Found> {
        (0_u32..40, prop::option::of(0_u8..4), any::<bool>()).prop_map(
            |(row, similarity, same_content)| Found {
                row,
                id: u128::from(row) * 7 % 40,
                similarity: similarity.map(|steps| f32::from(steps) / 4.0),
                same_content,
            },
        )
    }

    proptest! {
        #[test]
        fn the_best_come_first_and_none_better_is_left_out(
            all in prop::collection::btree_map(0_u32..40, found(), 0..40),
        ) {
            let all: Vec<Found> = all.into_iter().map(|(row, one)| Found { row, ..one }).collect();
            let mut best = all.iter().chain(&all).copied().collect();
            let more = best_first(&mut best);
            prop_assert_eq!(more, all.len() > MAX_DUPLICATES);
            prop_assert_eq!(best.len(), all.len().min(MAX_DUPLICATES));
            let rank = |one: &Found| {
                let likeness = if one.same_content { 0.0 } else { one.similarity.unwrap_or(-1.0) };
                let order = if one.same_content { (one.row.into(), 0) } else { (one.id, one.row) };
                (!one.same_content, (-likeness * 8.0) as i32, order)
            };
            for pair in best.windows(2) {
                prop_assert!(rank(&pair[0]) < rank(&pair[1]));
            }
            for one in &all {
                let is_in = best.iter().any(|known| known.row == one.row);
                prop_assert!(is_in || best.iter().all(|known| rank(known) < rank(one)));
            }
        }
    }
}
