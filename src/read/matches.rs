//! Which rows may pass a filter, without looking at each?
//!
//! The bridge from a compiled filter to the collective's postings: a filtered search brings them up
//! to date first. What comes back may name rows that do not pass, or that the snapshot does not
//! show, but lacks none that does; the row decides ([`Reader::passes`]).

use std::ops::Range;

use roaring::RoaringBitmap;

use crate::{
    read::{filter::Compiled, reader::Reader},
    state::{Table, postings, replay},
};

/// The rows that may pass. `None` where the filter restricts nothing, or no more than to what is
/// not archived: then it takes the row to tell, and nearly all pass.
pub fn candidates(reader: &Reader, table: &Table, filter: &Compiled<'_>) -> Option<RoaringBitmap> {
    let asked = filter.asked();
    let rows = rows_in_time(table, filter);
    let by_values = !asked.domains.is_empty()
        || !asked.tags_all.is_empty()
        || !asked.experience_types.is_empty()
        || asked.min_importance.is_some()
        || asked.min_confidence.is_some()
        || filter.agents().is_some();
    if !by_values {
        // Time alone needs no postings.
        let by_time = asked.since.is_some() || asked.until.is_some();
        return by_time.then(|| postings::range(&rows));
    }
    let index = table.filter_index();
    index.catch_up(table, reader.lsn(), |row, values| {
        // A row whose traits cannot be read stays a candidate, and says so when it is checked.
        replay::traits_at(&reader.view.segments, row, values).ok()
    });
    index.candidates(asked, filter.agents(), rows)
}

/// The rows recorded when the filter asks for: they stand in the order of time.
pub fn rows_in_time(table: &Table, filter: &Compiled<'_>) -> Range<u32> {
    let asked = filter.asked();
    let start = asked.since.map_or(0, |since| table.seek(since, 0));
    let end = asked
        .until
        .map_or_else(|| table.row_count(), |until| table.seek(until, 0));
    start.min(end)..end
}
