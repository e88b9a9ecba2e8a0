//! What is known of a segment whose header block is damaged?
//!
//! Manifest and file name say which segment it is, and the seed of its checksums comes back from any of
//! its frames, since checksums can be computed backwards. What stood in the block besides is unknown: for
//! that stands what makes nobody rely on it, and such a segment is neither appended to nor compacted.
//! Pure. Called by `file`, `raw` and `backup::restore`.

use crate::{
    format::{
        FRAME_HEADER_LEN, FrameHeader, SEGMENT_HEADER_LEN, SegmentHeader, implied_seed, payload_crc,
    },
    model::{InstanceId, Lsn, Timeline},
};

use super::{pieces::Source, place::UNIT_BYTES, segment::SegmentMeta};

/// The seed of the first frame in `source` that is intact but for it. Older frames do not count: they are
/// of an earlier use of the file.
pub(super) fn find_seed<S: Source>(source: &mut S, first_lsn: Lsn) -> Option<u32> {
    let mut at = SEGMENT_HEADER_LEN as u64;
    while let Some(bytes) = source.slice(at, FRAME_HEADER_LEN as u64) {
        let is_written = bytes.iter().any(|&byte| byte != 0);
        let implied = is_written.then(|| implied_seed(bytes)).flatten();
        if let Some((seed, header)) = implied
            && header.lsn >= first_lsn
            && is_payload(source, at + FRAME_HEADER_LEN as u64, &header)
        {
            return Some(seed);
        }
        at += UNIT_BYTES;
    }
    None
}

fn is_payload<S: Source>(source: &mut S, at: u64, header: &FrameHeader) -> bool {
    source
        .slice(at, u64::from(header.payload_len))
        .is_some_and(|payload| payload_crc(payload) == header.payload_crc)
}

/// What can be said in place of the header block of `meta`, of which `source` has the bytes. Where no frame
/// tells the seed there must be none, or, if the segment `may_be_empty`, nothing that counts.
pub(crate) fn implied_header<S: Source>(
    source: &mut S,
    meta: &SegmentMeta,
    instance_id: InstanceId,
    may_be_empty: bool,
) -> Option<SegmentHeader> {
    let is_empty = may_be_empty || meta.end == SEGMENT_HEADER_LEN as u64;
    let seed = find_seed(source, meta.first_lsn).or(is_empty.then_some(0))?;
    Some(SegmentHeader {
        timeline: Timeline::FIRST,
        instance_id,
        first_lsn: meta.first_lsn,
        // A follower takes it for a gap, and says so.
        previous_lsn: Lsn::ZERO,
        seed,
        id: meta.id,
        cipher: 0,
        key: 0,
        // As if nothing had been left out of it: tombstones of what may be in it stay.
        cleaned: Lsn::ZERO,
    })
}
