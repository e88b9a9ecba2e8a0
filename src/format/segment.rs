//! What does a segment file start with?
//!
//! One block of 4096 bytes, written and synced before the manifest names the file, and never
//! written again. Frames follow from byte 4096 on. Called by the log.

use super::{FORMAT_VERSION, FileFault, array_at, put_at};
use crate::model::{InstanceId, Lsn, Timeline};

/// Bytes of a segment's header, and the offset of its first frame.
pub const SEGMENT_HEADER_LEN: usize = 4096;

const MAGIC: [u8; 8] = *b"PULSELOG";
const CRC_AT: usize = SEGMENT_HEADER_LEN - 4;
const SUFFIX: &str = ".seg";

/// The header of a segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentHeader {
    /// The timeline that its records belong to.
    pub timeline: Timeline,
    /// The database that it belongs to.
    pub instance_id: InstanceId,
    /// No record in it has a lower LSN; also in its file name.
    pub first_lsn: Lsn,
    /// The newest commit before this segment; durable when this file is published.
    pub previous_lsn: Lsn,
    /// Seeds the checksums of its frame headers; random.
    pub seed: u32,
    /// Its number, never reused, never 0; also in its file name.
    pub id: u32,
    /// How its frames are encrypted; 0 = not at all.
    pub cipher: u32,
    /// With which key; 0 = none.
    pub key: u32,
    /// Nothing that was deleted or replaced at or below this LSN is in it; 0 in a segment as the
    /// writer left it.
    pub cleaned: Lsn,
}

impl SegmentHeader {
    /// The header's block.
    #[must_use]
    pub fn encode(&self) -> [u8; SEGMENT_HEADER_LEN] {
        let mut out = [0; SEGMENT_HEADER_LEN];
        put_at(&mut out, 0, &MAGIC);
        put_at(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        put_at(&mut out, 12, &self.timeline.get().to_le_bytes());
        put_at(&mut out, 16, &self.instance_id.as_u128().to_be_bytes());
        put_at(&mut out, 32, &self.first_lsn.get().to_le_bytes());
        put_at(&mut out, 40, &self.previous_lsn.get().to_le_bytes());
        put_at(&mut out, 48, &self.seed.to_le_bytes());
        put_at(&mut out, 52, &self.id.to_le_bytes());
        put_at(&mut out, 56, &self.cipher.to_le_bytes());
        put_at(&mut out, 60, &self.key.to_le_bytes());
        put_at(&mut out, 64, &self.cleaned.get().to_le_bytes());
        let crc = crc32fast::hash(out.get(..CRC_AT).unwrap_or_default());
        put_at(&mut out, CRC_AT, &crc.to_le_bytes());
        out
    }

    /// Reads the block at the start of `bytes`, which may be longer.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let block: &[u8; SEGMENT_HEADER_LEN] = bytes.first_chunk().ok_or(FileFault::Length)?;
        super::check_file(block, MAGIC)?;
        Ok(Self {
            timeline: Timeline::new(u32::from_le_bytes(array_at(block, 12))),
            instance_id: InstanceId::from_u128(u128::from_be_bytes(array_at(block, 16))),
            first_lsn: Lsn::new(u64::from_le_bytes(array_at(block, 32))),
            previous_lsn: Lsn::new(u64::from_le_bytes(array_at(block, 40))),
            seed: u32::from_le_bytes(array_at(block, 48)),
            id: u32::from_le_bytes(array_at(block, 52)),
            cipher: u32::from_le_bytes(array_at(block, 56)),
            key: u32::from_le_bytes(array_at(block, 60)),
            cleaned: Lsn::new(u64::from_le_bytes(array_at(block, 64))),
        })
    }
}

/// The name of a segment; names sort as their first LSNs do.
#[must_use]
pub fn segment_file_name(first_lsn: Lsn, id: u32) -> String {
    format!("{:016x}-{id:08x}{SUFFIX}", first_lsn.get())
}

/// First LSN and number of the segment of this name; `None` for every other name.
#[must_use]
pub fn parse_segment_file_name(name: &str) -> Option<(Lsn, u32)> {
    let (lsn, id) = name.strip_suffix(SUFFIX)?.split_once('-')?;
    let lsn = Lsn::new(u64::from_str_radix(lsn, 16).ok()?);
    let id = u32::from_str_radix(id, 16).ok()?;
    (segment_file_name(lsn, id) == name).then_some((lsn, id))
}
