//! What does a reader do about a manifest that another process has replaced?
//!
//! Pure. A reader goes on from where it stands if the segments that it has mapped are still those of the
//! log, and every one behind them begins where it will have arrived; else it begins anew, from a
//! checkpoint where there is one. What it has told its watchers stays told: whether they missed
//! something, or were told what is in no log any more, is decided here as well.

use crate::{
    format::{Manifest, SEGMENT_HEADER_LEN, SegmentEntry, SegmentHeader},
    model::{InstanceId, Lsn, Timeline},
};

/// Where a reader stands.
#[derive(Clone, Debug)]
pub(crate) struct Own {
    /// Its database.
    pub(crate) instance: InstanceId,
    /// The history that it follows.
    pub(crate) timeline: Timeline,
    /// The newest LSN that it has applied.
    pub(crate) applied: Lsn,
    /// The segments of the manifest that it went by; the last one is the one that was active then.
    pub(crate) named: Vec<SegmentEntry>,
    /// How far it shows the last of them.
    pub(crate) end: u64,
}

/// What is to be done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Step {
    /// Its segments are those of the log.
    Stay,
    /// More segments follow.
    Extend(Extension),
    /// Its segments are not those of the log any more.
    Rebuild,
    /// The directory holds another database now.
    Foreign,
}

/// What became of the segment that was the last, and what follows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Extension {
    /// It ended there; `None` where it is still the last, or nothing ever stood in it.
    pub(crate) sealed: Option<u64>,
    /// It is no segment of the log any more: nothing ever stood in it.
    pub(crate) blank: bool,
    /// Those behind it, the active one last.
    pub(crate) more: Vec<SegmentEntry>,
}

/// What a reader that stands at `own` does when it finds this manifest.
pub(crate) fn step(own: &Own, found: &Manifest) -> Step {
    if found.instance_id != own.instance {
        return Step::Foreign;
    }
    let Some((last, before)) = own.named.split_last() else {
        return Step::Rebuild;
    };
    let found_before = found.segments.get(..before.len()).unwrap_or_default();
    if !same(before, found_before) {
        return Step::Rebuild;
    }
    let rest = found.segments.get(before.len()..).unwrap_or_default();
    let is_last = |entry: &SegmentEntry| (entry.id, entry.first_lsn) == (last.id, last.first_lsn);
    let extension = match rest.split_first() {
        Some((entry, [])) if is_last(entry) && entry.end == 0 => {
            return if found.timeline == own.timeline {
                Step::Stay
            } else {
                // A history that goes on in the same segment is none that this reader knows.
                Step::Rebuild
            };
        }
        // What was shown of it is not in the log.
        Some((entry, _)) if is_last(entry) && entry.end < own.end => return Step::Rebuild,
        Some((entry, more)) if is_last(entry) => Extension {
            sealed: Some(entry.end),
            blank: false,
            more: more.to_vec(),
        },
        Some(_) if own.end == SEGMENT_HEADER_LEN as u64 => Extension {
            sealed: None,
            blank: true,
            more: rest.to_vec(),
        },
        _ => return Step::Rebuild,
    };
    // The active one is the last, and there always is one.
    match extension.more.split_last() {
        Some((active, sealed)) if active.end == 0 && sealed.iter().all(|one| one.end != 0) => {
            Step::Extend(extension)
        }
        _ => Step::Rebuild,
    }
}

/// Does a segment go on where a reader has arrived that has applied everything before it, up to
/// `applied`? Not so if something was cut off behind its back, or was left out that it has not seen.
pub(crate) fn goes_on(header: &SegmentHeader, applied: Lsn) -> bool {
    header.previous_lsn == applied && header.cleaned <= applied
}

/// What watchers know of the past that a reader shows after it began anew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Past {
    /// The same, and the log tells everything that happened since.
    Known,
    /// The log does not tell everything up to this LSN; what they were told may be in no log any more.
    Lost(Lsn),
}

/// What became of the past of a reader that had applied everything up to `applied`, if the log now
/// consists of the segments with these headers, ends at `last` and keeps history from `retained`.
pub(crate) fn past<'a>(
    applied: Lsn,
    headers: impl IntoIterator<Item = &'a SegmentHeader>,
    last: Lsn,
    retained: Lsn,
) -> Past {
    let next = headers
        .into_iter()
        .filter(|header| header.first_lsn > applied)
        .min_by_key(|header| header.first_lsn);
    let cut = match next {
        Some(next) if next.previous_lsn < applied => {
            Some(Lsn::new(next.first_lsn.get().saturating_sub(1)))
        }
        None if last < applied => Some(Lsn::new(applied.get().saturating_add(1))),
        _ => None,
    };
    match cut {
        Some(lsn) => Past::Lost(lsn.max(retained)),
        None if retained > applied => Past::Lost(retained),
        None => Past::Known,
    }
}

/// Whether these are the same segments, whatever is known of their ends.
fn same(one: &[SegmentEntry], other: &[SegmentEntry]) -> bool {
    let name = |entry: &SegmentEntry| (entry.id, entry.first_lsn);
    one.iter().map(name).eq(other.iter().map(name))
}

#[cfg(test)]
#[path = "plan_tests.rs"]
mod tests;
