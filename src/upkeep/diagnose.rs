//! How large is what, and what of it is alive?
//!
//! Counts what the tables of one snapshot show; nothing of the log is read but the newest record's
//! header. Called by the surface, on a thread that may take its time.

use std::sync::Arc;

use crate::{
    error::Result,
    log::SegmentSet,
    model::{SegmentDiagnosis, Timestamp},
    state::{Snapshot, Table},
    vector::store::GraphFiles,
};

/// Bytes of memory that a row takes in its table and in the index of ids, about.
pub(crate) const ROW_BYTES: u64 = 140;

/// The segments of a snapshot.
pub(crate) fn segments(view: &Snapshot<Arc<SegmentSet>>) -> Vec<SegmentDiagnosis> {
    let segments = view.segments.segments();
    let last = segments.last().map(|segment| segment.id());
    segments
        .iter()
        .map(|segment| SegmentDiagnosis {
            id: segment.id(),
            first_lsn: segment.header().first_lsn,
            used_bytes: segment.end(),
            file_bytes: segment.capacity(),
            active: Some(segment.id()) == last,
        })
        .collect()
}

/// Time of the newest record that can be read.
pub(crate) fn last_write(view: &Snapshot<Arc<SegmentSet>>) -> Option<Timestamp> {
    let place = view.segments.find(view.lsn())?;
    let frame = view.segments.frame(place).ok()?;
    Some(frame.header.time)
}

/// Rows of a collective: given out, and visible ones that were changed.
pub(crate) fn rows(view: &Snapshot<Arc<SegmentSet>>, table: &Table) -> (u64, u64) {
    let mut changed = 0;
    table.for_each_from(0, view.lsn(), |row| {
        changed += u64::from(!row.unchanged());
        true
    });
    (u64::from(table.row_count()), changed)
}

/// Bytes of the files of graphs.
pub(crate) fn index_file_bytes(files: &GraphFiles) -> Result<u64> {
    let names = files.list()?;
    // A builder may take one away meanwhile.
    let lengths = names
        .iter()
        .filter_map(|name| files.open(name).ok()?.len().ok());
    Ok(lengths.sum())
}
