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
    /// No record in it has a lower LSN; also its file name.
    pub first_lsn: Lsn,
    /// The newest commit before this segment; durable when this file is published.
    pub previous_lsn: Lsn,
    /// Seeds the checksums of its frame headers; random.
    pub seed: u32,
    /// Its number, never reused, never 0.
    pub id: u32,
    /// How its frames are encrypted; 0 = not at all.
    pub cipher: u32,
    /// With which key; 0 = none.
    pub key: u32,
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
        })
    }
}

/// The name of the segment that starts with this LSN; names sort as their LSNs do.
#[must_use]
pub fn segment_file_name(first_lsn: Lsn) -> String {
    format!("{:016x}{SUFFIX}", first_lsn.get())
}

/// The LSN in a segment's name; `None` for every other name.
#[must_use]
pub fn segment_first_lsn(name: &str) -> Option<Lsn> {
    let lsn = Lsn::new(u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?);
    (segment_file_name(lsn) == name).then_some(lsn)
}
