//! Where does the history end that is to be restored?
//!
//! Behind the last commit that ends at or before a point. Frames stand in the order of their LSNs and of
//! their times, and a commit stands in one segment, so a walk over the segments in their order meets the
//! first frame beyond the point, and the cut is the last end of a commit before it.

use std::sync::Arc;

use crate::{
    error::{PulseDBError, Result},
    format::{FrameHeader, SEGMENT_HEADER_LEN, SegmentHeader},
    log::{Pieces, Step, Walk},
    model::{BackupInfo, Lsn, RestorePoint, Timestamp},
    vfs::VfsFile,
};

/// The end of a commit.
#[derive(Clone, Copy, Debug)]
pub(super) struct Whole {
    pub(super) lsn: Lsn,
    pub(super) time: Timestamp,
}

/// What of a segment lies before the point.
#[derive(Debug)]
pub(super) struct Before {
    /// Where it ends.
    pub(super) end: u64,
    /// The last commit in it; `None` if there is none.
    pub(super) last: Option<Whole>,
    /// Whether the point is in this segment, so that all further ones lie behind it.
    pub(super) is_cut: bool,
}

/// Refuses a point that the backup does not reach.
pub(super) fn check_reach(info: &BackupInfo, point: RestorePoint) -> Result<()> {
    let fits = match point {
        RestorePoint::Lsn(lsn) => info.history_from <= lsn && lsn <= info.cursor.lsn,
        // What was committed after it began may be missing. Where its history begins in time is known
        // when the commit is found.
        RestorePoint::Time(time) => time <= info.created_at.max(info.last_write),
    };
    if fits {
        Ok(())
    } else {
        Err(out_of_reach(info, point))
    }
}

/// The error of a point that is outside of a backup.
pub(super) fn out_of_reach(info: &BackupInfo, point: RestorePoint) -> PulseDBError {
    let value = match point {
        RestorePoint::Lsn(lsn) => format!("LSN {lsn}"),
        RestorePoint::Time(time) => time.to_string(),
    };
    let limit = format!(
        "backup {} reaches from LSN {} to LSN {}, which was the newest at {}",
        info.id,
        info.history_from,
        info.cursor.lsn,
        info.created_at.max(info.last_write)
    );
    PulseDBError::validation("until", value, limit)
}

/// Looks through the frames of a segment, whose file ends where they do.
pub(super) fn before(
    file: Arc<dyn VfsFile>,
    header: &SegmentHeader,
    end: u64,
    point: RestorePoint,
) -> Before {
    let is_beyond = |frame: &FrameHeader| match point {
        RestorePoint::Lsn(lsn) => frame.lsn > lsn,
        RestorePoint::Time(time) => frame.time > time,
    };
    let start = SEGMENT_HEADER_LEN as u64;
    let before_first = header.first_lsn.get().saturating_sub(1);
    let walk = Walk::new(
        Pieces::new(file, end),
        header.seed,
        start,
        end,
        before_first,
    );
    let mut whole = Before {
        end: start,
        last: None,
        is_cut: true,
    };
    for step in walk {
        // What is damaged says nothing; the frames around it do.
        let Step::Frame { at, header } = step else {
            continue;
        };
        if is_beyond(&header) {
            return whole;
        }
        if header.closes_commit {
            whole.end = at + header.frame_len();
            whole.last = Some(Whole {
                lsn: header.lsn,
                time: header.time,
            });
        }
    }
    Before {
        end,
        is_cut: false,
        ..whole
    }
}
