//! How does a reader get at what another process appends?
//!
//! A writer's bytes show in the shared map of its segment; where they end is known from `TAIL`, or from
//! the manifest once the segment is sealed. Nothing behind that is looked at, and nothing is admitted to
//! readers but whole commits, judged by the same rules as in a recovery (`scan`). Called by
//! `upkeep::follow`, on one thread.

use std::{path::Path, path::PathBuf, sync::Arc};

use crate::{
    error::Result,
    format::{FRAME_HEADER_LEN, FrameHeader, SEGMENT_HEADER_LEN},
    model::{InstanceId, Lsn},
    vfs::Vfs,
};

use super::{
    file,
    place::UNIT_BYTES,
    recover::{Replayed, replay},
    scan::{Terms, survey},
    segment::{Segment, SegmentMeta},
    walk::slice,
};

/// How far a segment is read on.
#[derive(Clone, Copy, Debug)]
pub(crate) enum Stretch {
    /// Up to a commit that is durable.
    Upto(Lsn),
    /// Up to its end: it is sealed.
    Sealed(u64),
}

/// What was read of a segment.
#[derive(Debug)]
pub(crate) struct ReadOn {
    /// The newest LSN that counts now.
    pub(crate) last_lsn: Lsn,
    /// What is damaged: (file, offset, what was found).
    pub(crate) damaged: Vec<(PathBuf, u64, String)>,
}

/// Opens and maps a segment that the manifest names, nothing of it read yet. Its lock is taken before its
/// header is compared with the manifest, so that it stays what it is.
///
/// # Errors
/// `Io` and `Corrupted` where there is no such segment of this database.
pub(crate) fn open_segment(
    vfs: &dyn Vfs,
    dir: &Path,
    meta: &SegmentMeta,
    instance_id: InstanceId,
) -> Result<Arc<Segment>> {
    let open = file::open(vfs, dir, meta, instance_id, true)?;
    let segment = open.into_segment(SEGMENT_HEADER_LEN as u64, Vec::new());
    Ok(Arc::new(segment))
}

/// Does the frame `lsn` stand behind those that `segment` shows, the newest of them being `after`, with
/// nothing but whole headers in between? Then all in between was committed before it: behind the end of
/// a segment that was left, nothing is ever appended.
pub(crate) fn reaches(segment: &Segment, after: Lsn, lsn: Lsn) -> bool {
    let bytes = segment.whole_file();
    let (mut at, mut last) = (segment.end(), after);
    while last < lsn {
        let header = slice(bytes, at, FRAME_HEADER_LEN as u64)
            .and_then(|bytes| FrameHeader::decode(bytes, segment.header().seed).ok());
        match header {
            Some(header) if header.lsn > last => {
                at = at.saturating_add(header.frame_len());
                last = header.lsn;
            }
            _ => return false,
        }
    }
    last == lsn && at <= segment.capacity()
}

/// Admits readers to the commits behind those that `segment` shows, the newest of which is `after`, and
/// shows them to `visitor`.
///
/// # Errors
/// `Io`, and what the visitor answers; what it has not been shown then is gone for it.
pub(crate) fn read_on(
    segment: &Segment,
    after: Lsn,
    stretch: Stretch,
    visitor: &mut dyn FnMut(Replayed<'_>) -> Result<()>,
) -> Result<ReadOn> {
    let open_ended = Terms {
        seed: segment.header().seed,
        from: segment.end(),
        after: after
            .get()
            .max(segment.header().first_lsn.get().saturating_sub(1)),
        limit: segment.capacity(),
        durable: u64::MAX,
        upto: u64::MAX,
        session: u64::MAX,
    };
    let terms = match stretch {
        Stretch::Upto(lsn) => Terms {
            durable: lsn.get(),
            upto: lsn.get(),
            ..open_ended
        },
        Stretch::Sealed(end) => Terms {
            limit: end.min(segment.capacity()),
            ..open_ended
        },
    };
    let nothing = ReadOn {
        last_lsn: after,
        damaged: Vec::new(),
    };
    if terms.upto <= terms.after || terms.from >= terms.limit {
        return Ok(nothing);
    }
    let found = survey(segment.whole_file(), &terms);
    let end = match stretch {
        Stretch::Upto(_) => found.end,
        Stretch::Sealed(_) => terms.limit,
    };
    // One entry each so many bytes, however small the steps are in which it is read.
    let mut due = segment.next_index_entry();
    let mut index = found.index.clone();
    index.retain(|&(_, unit)| {
        let at = u64::from(unit) * UNIT_BYTES;
        let is_due = at >= due;
        if is_due {
            due = at + super::scan::INDEX_STEP_BYTES;
        }
        is_due
    });
    segment.grow(after, &index, end);
    replay(segment, &terms, &found, visitor)?;
    let damaged = found.damage.iter();
    Ok(ReadOn {
        last_lsn: after.max(Lsn::new(found.last_lsn)),
        damaged: damaged
            .map(|damage| (segment.path().to_owned(), damage.at, damage.what.clone()))
            .collect(),
    })
}
