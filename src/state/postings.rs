//! Which rows of a collective may pass a filter?
//!
//! A posting per domain, tag with its value, kind and agent: a compressed bitmap of row numbers
//! (Lemire et al., Roaring Bitmaps, Software: Practice and Experience 48(4), 2018). Importance and
//! confidence are ordered columns ([`super::bins`]). Time needs nothing: rows stand in its order.
//!
//! Postings lie by excess, never by omission: a row is added for each version of its values that
//! somebody may see, and never removed; the row itself decides. Hence
//! - a posting is found by a hash of what it stands for, and what collides shares one;
//! - what can be left out is no posting of what is archived, since a row may be that to one snapshot
//!   and not to another, but one of the rows that are not, or were not;
//! - a row whose traits cannot be read stands behind every domain and every tag.

use std::{
    borrow::Cow,
    collections::{HashMap, hash_map::Entry},
    hash::{DefaultHasher, Hash, Hasher},
    ops::Range,
};

use roaring::{MultiOps, RoaringBitmap};

use crate::{
    format::Traits,
    model::{ExperienceKind, SearchFilter},
    state::{
        bins::{Bins, bin},
        values::Values,
    },
};

/// What a posting stands for.
#[derive(Hash)]
enum Facet<'a> {
    Domain(&'a str),
    Tag(&'a str, &'a str),
    Kind(ExperienceKind),
    Agent(u32),
    /// Not archived.
    Active,
    /// Of unknown domains and tags.
    Unreadable,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
struct Key(u64);

impl Facet<'_> {
    fn key(&self) -> Key {
        // Without a secret: collisions, even made on purpose, cost time and nothing else.
        let mut hasher = DefaultHasher::new();
        self.hash(&mut hasher);
        Key(hasher.finish())
    }
}

/// The rows of a posting. Values that one row has alone are many, and get no bitmap.
#[derive(Clone, Debug)]
enum Rows {
    One(u32),
    Many(RoaringBitmap),
}

impl Rows {
    /// Adds a row; false where it is known.
    fn insert(&mut self, row: u32) -> bool {
        match self {
            Self::One(known) if *known == row => false,
            Self::One(known) => {
                *self = Self::Many([*known, row].into_iter().collect());
                true
            }
            Self::Many(rows) => rows.insert(row),
        }
    }
}

/// Versions of rows that were read and are about to be added: made without holding up those who
/// read the postings.
#[derive(Debug, Default)]
pub struct Batch {
    entries: Vec<(u32, Key)>,
    numbers: Vec<Numbers>,
    dead: Vec<u32>,
}

/// What is no name of a version.
#[derive(Debug)]
struct Numbers {
    row: u32,
    /// Bins.
    importance: u8,
    confidence: u8,
    archived: bool,
}

impl Batch {
    /// A version of a row: everything but its traits.
    pub fn columns(&mut self, row: u32, kind: ExperienceKind, agent: u32, values: &Values) {
        self.entries.push((row, Facet::Kind(kind).key()));
        self.entries.push((row, Facet::Agent(agent).key()));
        if !values.archived {
            self.entries.push((row, Facet::Active.key()));
        }
        self.numbers.push(Numbers {
            row,
            importance: bin(values.importance),
            confidence: bin(values.confidence),
            archived: values.archived,
        });
    }

    /// The traits of a version, or that they cannot be read.
    pub fn traits(&mut self, row: u32, traits: Option<&Traits>) {
        let Some(traits) = traits else {
            self.entries.push((row, Facet::Unreadable.key()));
            return;
        };
        let domains = traits.domain.iter().map(|domain| Facet::Domain(domain));
        let tags = traits
            .tags
            .iter()
            .map(|(key, value)| Facet::Tag(key, value));
        self.entries
            .extend(domains.chain(tags).map(|facet| (row, facet.key())));
    }

    /// A row that only older snapshots see.
    pub fn dead(&mut self, row: u32) {
        self.dead.push(row);
    }

    /// Makes room for the next.
    pub fn clear(&mut self) {
        self.entries.clear();
        self.numbers.clear();
        self.dead.clear();
    }
}

/// The postings and columns of a collective.
#[derive(Clone, Debug, Default)]
pub struct Postings {
    rows_of: HashMap<Key, Rows>,
    importance: Bins,
    confidence: Bins,
    covered: u32,
    /// Rows that may stand where no snapshot sees them any more.
    stale: RoaringBitmap,
}

impl Postings {
    /// Adds versions of rows.
    pub fn add(&mut self, batch: &Batch) {
        for &(row, key) in &batch.entries {
            let new = match self.rows_of.entry(key) {
                Entry::Occupied(mut known) => known.get_mut().insert(row),
                Entry::Vacant(unknown) => {
                    unknown.insert(Rows::One(row));
                    true
                }
            };
            // What a covered row gets anew puts something else of it out of date.
            if new && row < self.covered {
                self.stale.insert(row);
            }
        }
        for numbers in &batch.numbers {
            let row = numbers.row;
            let alone = self.importance.add(row, numbers.importance)
                & self.confidence.add(row, numbers.confidence);
            if !alone || (numbers.archived && self.is_active(row)) {
                self.stale.insert(row);
            }
        }
        self.stale.extend(&batch.dead);
    }

    fn is_active(&self, row: u32) -> bool {
        match self.rows_of.get(&Facet::Active.key()) {
            Some(Rows::One(known)) => *known == row,
            Some(Rows::Many(rows)) => rows.contains(row),
            None => false,
        }
    }

    /// Rows below this number were added.
    pub fn covered(&self) -> u32 {
        self.covered
    }

    /// Notes that rows below this number were added.
    pub fn set_covered(&mut self, covered: u32) {
        self.covered = covered;
    }

    /// How many rows may stand where no snapshot sees them any more; more of them are a reason to
    /// rebuild.
    pub fn stale(&self) -> u64 {
        self.stale.len()
    }

    /// Those of `rows` that may pass, as far as they are covered; `agents` are the codes of
    /// `filter.source_agents`. `None` where the filter restricts nothing here: leaving out what is
    /// archived does not count, since that is the rule and not the choice of a few rows.
    pub fn matches(
        &self,
        filter: &SearchFilter,
        agents: Option<&[u32]>,
        rows: Range<u32>,
    ) -> Option<RoaringBitmap> {
        let least = [
            (&self.importance, filter.min_importance),
            (&self.confidence, filter.min_confidence),
        ]
        .map(|(bins, min)| (bins, min.map_or(0, bin)));
        let mut parts = self.chosen(filter, agents);
        let in_time = filter.since.is_some() || filter.until.is_some();
        if parts.is_empty() && least.iter().all(|(_, bin)| *bin == 0) && !in_time {
            return None;
        }
        if filter.exclude_archived {
            parts.push(self.any(std::iter::once(Facet::Active)));
        }
        // The fewest first: what follows then is at most as much work as they are.
        parts.sort_by_key(|part| part.len());
        let mut parts = parts.into_iter();
        let mut matches = match (parts.next(), parts.next()) {
            (None, _) => range(&rows),
            (Some(only), None) => only.into_owned(),
            (Some(Cow::Owned(first)), Some(second)) => first & second.as_ref(),
            (Some(first), Some(second)) => first.as_ref() & second.as_ref(),
        };
        for part in parts {
            matches &= part.as_ref();
        }
        keep(&mut matches, &rows);
        for (bins, bin) in least {
            if bin > 0 {
                matches = bins.at_least(bin, matches);
            }
        }
        Some(matches)
    }

    /// One part for each of the filter's choices, all of which a row has to be in.
    fn chosen(&self, filter: &SearchFilter, agents: Option<&[u32]>) -> Vec<Cow<'_, RoaringBitmap>> {
        let mut parts = Vec::new();
        if !filter.domains.is_empty() {
            let domains = filter.domains.iter().map(|domain| Facet::Domain(domain));
            parts.push(self.any(domains.chain([Facet::Unreadable])));
        }
        for (key, value) in &filter.tags_all {
            parts.push(self.any([Facet::Tag(key, value), Facet::Unreadable].into_iter()));
        }
        if !filter.experience_types.is_empty() {
            parts.push(self.any(filter.experience_types.iter().copied().map(Facet::Kind)));
        }
        if let Some(agents) = agents {
            parts.push(self.any(agents.iter().copied().map(Facet::Agent)));
        }
        parts
    }

    /// The rows behind any of these.
    fn any<'a>(&self, facets: impl Iterator<Item = Facet<'a>>) -> Cow<'_, RoaringBitmap> {
        let mut single = Vec::new();
        let mut bitmaps = Vec::new();
        for facet in facets {
            match self.rows_of.get(&facet.key()) {
                Some(Rows::One(row)) => single.push(*row),
                Some(Rows::Many(rows)) => bitmaps.push(rows),
                None => {}
            }
        }
        match (bitmaps.as_slice(), single.is_empty()) {
            ([only], true) => Cow::Borrowed(*only),
            _ => {
                let mut rows = bitmaps.union();
                rows.extend(single);
                Cow::Owned(rows)
            }
        }
    }

    /// About how many bytes it takes.
    pub fn bytes(&self) -> usize {
        let bitmaps = self.rows_of.values().map(|rows| match rows {
            Rows::One(_) => 0,
            Rows::Many(rows) => rows.serialized_size(),
        });
        let table = self.rows_of.capacity() * size_of::<(Key, Rows)>();
        table + bitmaps.sum::<usize>() + self.importance.bytes() + self.confidence.bytes()
    }
}

/// All rows of a range.
#[must_use]
pub fn range(rows: &Range<u32>) -> RoaringBitmap {
    let mut all = RoaringBitmap::new();
    all.insert_range(rows.clone());
    all
}

/// Takes out what is not in a range.
pub fn keep(bitmap: &mut RoaringBitmap, rows: &Range<u32>) {
    bitmap.remove_range(..rows.start);
    bitmap.remove_range(rows.end..);
}

#[cfg(test)]
#[path = "postings_tests.rs"]
mod tests;
