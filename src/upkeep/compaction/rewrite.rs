//! How do adjacent segments become one that holds only what is needed?
//!
//! Twice over their frames: which are kept, and then a copy of those. LSNs, order and payloads stay, but
//! for vectors that a re-embedding has replaced, which leave their bodies;
//! where the last record of a commit goes, the last one that is kept ends the commit in its place.
//! Each payload is compared with its checksum before it is copied: damage ends the attempt, and the
//! segments stay as they are.

use std::path::Path;

use crate::{
    error::Result,
    format::{FRAME_ALIGN, FrameHeader, SegmentHeader, payload_crc},
    log::{Frame, Place, Relocation, Segment, SegmentBuilder, SegmentMeta},
    sync::Arc,
    vfs::Vfs,
};

use super::live::{Judge, Keep};

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
    with_vector: bool,
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
        let keep = judge.keep(&frame);
        if keep != Keep::Nothing {
            let with_vector = keep == Keep::Whole;
            bytes += shortened(&frame.header, with_vector).frame_len();
            kept.push(Kept {
                unit: frame.place.unit,
                closes_commit: false,
                with_vector,
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
            let (place, bytes) = push(builder, &frame, kept)?;
            let units = bytes / FRAME_ALIGN;
            way.get_or_insert_with(|| Relocation::new(to, place.unit))
                .copy(kept.unit, units as u32);
            pace(bytes)?;
        }
        let way = way.unwrap_or_else(|| Relocation::new(to, 0));
        moved.push((segment.id(), Arc::new(way)));
    }
    Ok(moved)
}

fn push(builder: &mut SegmentBuilder, frame: &Frame<'_>, kept: &Kept) -> Result<(Place, u64)> {
    let mut header = shortened(&frame.header, kept.with_vector);
    header.closes_commit = kept.closes_commit;
    let mut payload = frame.verified_payload()?;
    let left_out = frame.header.payload_len.saturating_sub(header.payload_len);
    if left_out > 0 {
        payload = payload.get(left_out as usize..).unwrap_or_default();
        header.payload_crc = payload_crc(payload);
    }
    Ok((builder.push(&header, payload)?, header.frame_len()))
}

/// The header of a frame, perhaps without its vector; the checksum is still that of the whole.
const fn shortened(header: &FrameHeader, with_vector: bool) -> FrameHeader {
    let mut header = *header;
    if !with_vector {
        let vector = header.dimension as u32 * size_of::<f32>() as u32;
        header.payload_len = header.payload_len.saturating_sub(vector);
        header.dimension = 0;
    }
    header
}
