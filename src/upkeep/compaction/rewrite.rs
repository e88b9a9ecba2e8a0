//! How do adjacent segments become one that holds only what is needed?
//!
//! Twice over their frames: which are kept, and then a copy of those. LSNs, order and payloads stay;
//! where the last record of a commit goes, the last one that is kept ends the commit in its place.
//! Each payload is compared with its checksum before it is copied: damage ends the attempt, and the
//! segments stay as they are.

use std::path::Path;

use crate::{
    error::Result,
    format::SegmentHeader,
    log::{Frame, Relocation, Segment, SegmentBuilder, SegmentMeta},
    sync::Arc,
    vfs::Vfs,
};

use super::live::Judge;

/// What came of a run.
pub(crate) struct Rewritten {
    /// The new segment; `None` where nothing was left.
    pub(crate) segment: Option<(Arc<Segment>, SegmentMeta)>,
    /// The ways from the old ones.
    pub(crate) moved: Vec<(u32, Arc<Relocation>)>,
    /// Bytes that were copied.
    pub(crate) bytes: u64,
}

/// A frame to copy.
struct Kept {
    unit: u32,
    closes_commit: bool,
}

/// Rewrites `run` into a segment with this header in the log directory `dir`. `pace` is told of the
/// bytes copied, and may wait; its error ends the attempt.
pub(super) fn rewrite(
    vfs: &Arc<dyn Vfs>,
    dir: &Path,
    header: SegmentHeader,
    run: &[Arc<Segment>],
    judge: &Judge<'_>,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Rewritten> {
    let mut plans = Vec::with_capacity(run.len());
    let mut bytes = 0;
    for segment in run {
        let (kept, kept_bytes) = survey(segment, judge)?;
        plans.push((segment, kept));
        bytes += kept_bytes;
    }
    if bytes == 0 {
        let gone = |segment: &Arc<Segment>| (segment.id(), Arc::new(Relocation::new(header.id, 0)));
        return Ok(Rewritten {
            segment: None,
            moved: run.iter().map(gone).collect(),
            bytes,
        });
    }
    let mut builder = SegmentBuilder::create(vfs, dir, header, bytes)?;
    match copy(&mut builder, &plans, header.id, pace) {
        Ok(moved) => Ok(Rewritten {
            segment: Some(builder.finish()?),
            moved,
            bytes,
        }),
        Err(error) => {
            builder.discard();
            Err(error)
        }
    }
}

/// The frames of a segment that are kept, and their bytes.
fn survey(segment: &Segment, judge: &Judge<'_>) -> Result<(Vec<Kept>, u64)> {
    let mut kept: Vec<Kept> = Vec::new();
    let mut bytes = 0;
    // Where the present commit begins in `kept`.
    let mut commit = 0;
    for frame in segment.frames_from_start() {
        let frame = frame?;
        if judge.keeps(&frame) {
            bytes += frame.header.frame_len();
            kept.push(Kept {
                unit: frame.place.unit,
                closes_commit: false,
            });
        }
        if frame.header.closes_commit {
            if kept.len() > commit
                && let Some(last) = kept.last_mut()
            {
                last.closes_commit = true;
            }
            commit = kept.len();
        }
    }
    Ok((kept, bytes))
}

fn copy(
    builder: &mut SegmentBuilder,
    plans: &[(&Arc<Segment>, Vec<Kept>)],
    to: u32,
    pace: &mut dyn FnMut(u64) -> Result<()>,
) -> Result<Vec<(u32, Arc<Relocation>)>> {
    let mut moved = Vec::with_capacity(plans.len());
    for (segment, kept) in plans {
        let mut way: Option<Relocation> = None;
        for kept in kept {
            let frame = segment.frame(kept.unit)?;
            let place = push(builder, &frame, kept.closes_commit)?;
            let units = frame.header.frame_len() / crate::format::FRAME_ALIGN;
            way.get_or_insert_with(|| Relocation::new(to, place.unit))
                .copy(kept.unit, units as u32);
            pace(frame.header.frame_len())?;
        }
        let way = way.unwrap_or_else(|| Relocation::new(to, 0));
        moved.push((segment.id(), Arc::new(way)));
    }
    Ok(moved)
}

fn push(
    builder: &mut SegmentBuilder,
    frame: &Frame<'_>,
    closes_commit: bool,
) -> Result<crate::log::Place> {
    let mut header = frame.header;
    header.closes_commit = closes_commit;
    builder.push(&header, frame.verified_payload()?)
}
