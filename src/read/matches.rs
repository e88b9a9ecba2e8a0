//! Which rows may pass a filter, without looking at each?
//!
//! The bridge from a compiled filter to the collective's postings: a filtered search brings them up
//! to date first. What comes back may name rows that do not pass, or that the snapshot does not
//! show, but lacks none that does; the row decides ([`Reader::passes`]).

use std::ops::{Bound, Range};

use roaring::RoaringBitmap;

use crate::{
    model::OrderBy,
    read::{filter::Compiled, list, reader::Reader},
    state::{Table, postings, replay},
};

/// The rows that may pass. `None` where the filter restricts nothing, or no more than to what is
/// not archived: then it takes the row to tell, and nearly all pass.
pub fn candidates(reader: &Reader, table: &Table, filter: &Compiled<'_>) -> Option<RoaringBitmap> {
    let asked = filter.asked();
    let (rows, in_time) = rows_in_time(table, filter);
    let by_values = !asked.domains.is_empty()
        || !asked.tags_all.is_empty()
        || !asked.experience_types.is_empty()
        || asked.min_importance.is_some()
        || asked.min_confidence.is_some()
        || filter.agents().is_some();
    if !by_values {
        // Time alone needs no postings.
        let by_time = asked.since.is_some() || asked.until.is_some();
        return by_time.then(|| in_time.unwrap_or_else(|| postings::range(&rows)));
    }
    let index = table.filter_index();
    index.catch_up(table, reader.lsn(), |row, values| {
        // A row whose traits cannot be read stays a candidate, and says so when it is checked.
        replay::traits_at(&reader.view.segments, row, values).ok()
    });
    let mut candidates = index.candidates(asked, filter.agents(), rows)?;
    if let Some(in_time) = in_time {
        candidates &= in_time;
    }
    Some(candidates)
}

/// Between which numbers the rows stand that were recorded when the filter asks for; and which they are,
/// where they do not stand in the order of time. None newer than the call is missing that a snapshot
/// taken before it shows.
fn rows_in_time(table: &Table, filter: &Compiled<'_>) -> (Range<u32>, Option<RoaringBitmap>) {
    let asked = filter.asked();
    let since = asked.since.map_or(Bound::Unbounded, Bound::Included);
    let until = asked.until.map_or(Bound::Unbounded, Bound::Excluded);
    let span = list::time_span(since, until);
    let count = table.row_count();
    match table.numbers(OrderBy::Time, &span) {
        Some(numbers) if asked.until.is_some() => (numbers, None),
        Some(numbers) => (numbers.start.min(count)..count, None),
        None if span == (Bound::Unbounded, Bound::Unbounded) => (0..count, None),
        None => (0..count, Some(table.numbers_within(OrderBy::Time, &span))),
    }
}
