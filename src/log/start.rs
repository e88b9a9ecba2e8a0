//! From where on does the log have to be read, if there is a checkpoint?
//!
//! A checkpoint fits if the segments up to its commit are the very ones that it was made from, all of
//! them can be opened, and its last frame stands where it says. Then nothing before that need be
//! looked at. Whatever does not fit costs time only: the whole log is read. Called by `recover`.

use crate::{
    format::{Checkpoint, FRAME_HEADER_LEN, FrameHeader, SEGMENT_HEADER_LEN},
    model::{InstanceId, Lsn},
};

use super::{file::OpenFile, segment::SegmentMeta};

/// (LSN, unit) of a frame every so many bytes.
type Index = Vec<(u64, u32)>;

/// Where reading begins.
#[derive(Debug)]
pub(super) struct Start {
    /// Which of the segments.
    pub(super) position: usize,
    /// Offset in its file.
    pub(super) offset: u64,
    /// The commit that everything before is part of.
    pub(super) lsn: Lsn,
    indexes: Vec<Index>,
}

impl Start {
    /// The sparse index of a segment that need not be read at all.
    pub(super) fn known(&mut self, position: usize) -> Option<Index> {
        (position < self.position).then(|| self.index_of(position))
    }

    /// The sparse index of a segment, as far as the checkpoint knows it.
    pub(super) fn index_of(&mut self, position: usize) -> Index {
        self.indexes
            .get_mut(position)
            .map(std::mem::take)
            .unwrap_or_default()
    }
}

/// Where to begin with this checkpoint, or why it does not fit.
pub(super) fn of(
    checkpoint: &Checkpoint,
    instance_id: InstanceId,
    metas: &[SegmentMeta],
    opened: &[Option<OpenFile>],
) -> Result<Start, String> {
    let header = checkpoint.header();
    if header.instance_id != instance_id {
        return Err(format!("it belongs to database {}", header.instance_id));
    }
    let about = &checkpoint.directory().segments;
    let covered = metas.partition_point(|meta| meta.first_lsn <= header.lsn);
    let covered = metas.get(..covered).unwrap_or_default();
    let same = about.iter().map(|segment| segment.id);
    if !same.eq(covered.iter().map(|meta| meta.id)) {
        return Err("it is about other segments".to_owned());
    }
    let position = covered.len().checked_sub(1);
    let Some((position, last)) = position.and_then(|at| Some((at, opened.get(at)?.as_ref()?)))
    else {
        return Err("its last segment is not there".to_owned());
    };
    for (meta, open) in covered.iter().zip(opened).take(position) {
        let whole = |open: &OpenFile| meta.end != 0 && meta.end <= open.map.len();
        if !open.as_ref().is_some_and(whole) {
            return Err(format!("segment {} is not whole", meta.id));
        }
    }
    let end = match covered.last() {
        Some(meta) if meta.end != 0 => meta.end.min(last.map.len()),
        _ => last.map.len(),
    };
    let offset = behind_last_frame(checkpoint, last)
        .filter(|offset| *offset <= end)
        .ok_or("its last frame is not in the log")?;
    Ok(Start {
        position,
        offset,
        lsn: header.lsn,
        indexes: about.iter().map(|segment| segment.index.clone()).collect(),
    })
}

/// Where the last frame that the checkpoint covers ends, if it is there.
fn behind_last_frame(checkpoint: &Checkpoint, open: &OpenFile) -> Option<u64> {
    let header = checkpoint.header();
    if header.frame_segment != open.header.id {
        return None;
    }
    let at = header.frame_at;
    if at == 0 {
        return Some(SEGMENT_HEADER_LEN as u64);
    }
    let bytes = open.map.get(at..at.checked_add(FRAME_HEADER_LEN as u64)?)?;
    let frame = FrameHeader::decode(bytes, open.header.seed).ok()?;
    (frame.lsn == header.frame_lsn && at >= SEGMENT_HEADER_LEN as u64)
        .then(|| at.checked_add(frame.frame_len()))?
}
