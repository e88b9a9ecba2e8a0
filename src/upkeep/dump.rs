//! What does the log say, record by record?
//!
//! A page of decoded records as of one snapshot, damage in its place among them. Called by the surface,
//! on a thread that may wait for the medium.

use std::sync::Arc;

use crate::{
    error::{PulseDBError, Result},
    format::{Record, entity_of, logged},
    log::{Frame, SegmentSet},
    model::{Damage, LogEntry, LogItem, LogOptions, LogPage},
    state::Snapshot,
};

/// A page ends behind so many bytes of records.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// The records that `options` ask for, as `view` sees them.
pub(crate) fn page(view: &Snapshot<Arc<SegmentSet>>, options: &LogOptions) -> LogPage {
    let mut page = LogPage {
        items: Vec::new(),
        next: None,
    };
    let mut bytes = 0;
    for found in view.segments.iter_from(options.from, view.lsn()) {
        if let Ok(frame) = &found
            && (page.items.len() >= options.limit || bytes >= PAGE_BYTES)
        {
            page.next = Some(frame.header.lsn);
            return page;
        }
        page.items.push(match found {
            Ok(frame) => {
                bytes += frame.header.frame_len();
                match entry(view, &frame, options) {
                    Ok(entry) => LogItem::Record(Box::new(entry)),
                    Err(error) => LogItem::Damaged(Damage {
                        entity: entity_of(&frame.header),
                        ..damage(error)
                    }),
                }
            }
            Err(error) => LogItem::Damaged(damage(error)),
        });
    }
    page
}

fn damage(error: PulseDBError) -> Damage {
    let (file, offset, what) = match error {
        PulseDBError::Corrupted { file, offset, what } => (file, offset, what),
        other => (Default::default(), 0, other.to_string()),
    };
    Damage {
        file,
        offset,
        what,
        entity: None,
    }
}

fn entry(
    view: &Snapshot<Arc<SegmentSet>>,
    frame: &Frame<'_>,
    options: &LogOptions,
) -> Result<LogEntry> {
    let header = &frame.header;
    let payload = frame.verified_payload()?;
    let record = Record::decode(header, payload)
        .and_then(|record| {
            logged(
                header.dimension,
                record,
                options.contents,
                options.embeddings,
            )
        })
        .map_err(|error| frame.corrupted(error.to_string()))?;
    let segment = view.segments.segment(frame.place.segment);
    Ok(LogEntry {
        lsn: header.lsn,
        timestamp: header.time,
        closes_commit: header.closes_commit,
        durable_upto: header.durable_upto,
        collective: header.collective,
        row: header.row,
        entity: entity_of(header),
        file: segment.map_or_else(Default::default, |segment| segment.path().to_owned()),
        offset: frame.place.offset(),
        bytes: header.frame_len(),
        record,
    })
}
