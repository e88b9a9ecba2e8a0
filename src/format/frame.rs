//! How does one record stand in the log?
//!
//! A frame is a header of 64 bytes, a payload, and zeros up to the next multiple of 64. Frames
//! start at multiples of 64 in their file, so a vector at the start of a payload can be read in
//! place. The header's CRC is seeded with the segment's seed, so bytes of an earlier use of the file
//! never pass; it covers the payload's CRC, which is unseeded and can therefore be computed before
//! LSN and segment are known. Together they cover every bit of header and payload.
//!
//! A frame that decodes is what a writer wrote. Whether it is part of the history (its commit may
//! be cut off) is for the log to decide.

use std::fmt;

use crc32fast::Hasher;

use super::{MAX_COLLECTIVE_NUMBER, RowKind, array_at, put_at};
use crate::model::{Lsn, Timestamp, limits::MAX_DIMENSION};

/// Frames start at multiples of this, counted from the start of the file.
pub const FRAME_ALIGN: u64 = 64;
/// Bytes of a frame's header.
pub const FRAME_HEADER_LEN: usize = 64;
/// Most bytes of one payload. The largest record of the model needs less than 1 MiB; the bound
/// keeps a damaged length from reaching far.
pub const MAX_PAYLOAD: u32 = 16 * 1024 * 1024;

const CLOSES_COMMIT: u8 = 1;
/// Of CRC-32, bits reversed.
const CRC_POLYNOMIAL: u32 = 0xedb8_8320;

/// What a record is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum RecordKind {
    /// A collective as it stands from now on.
    Collective = 1,
    /// A collective and everything in it is gone.
    CollectiveDeleted = 2,
    /// An experience's immutable part and first values.
    Body = 3,
    /// An experience's small mutable values.
    Vitals = 4,
    /// An experience's large mutable values.
    Traits = 5,
    /// An experience is gone.
    ExperienceDeleted = 6,
    /// The writer closed the database.
    Close = 7,
    /// A relation.
    Relation = 8,
    /// A relation is gone.
    RelationDeleted = 9,
    /// An insight, written as a body.
    Insight = 10,
    /// An insight is gone.
    InsightDeleted = 11,
    /// What an agent does from now on.
    Activity = 12,
    /// An agent's activity is over.
    ActivityEnded = 13,
    /// Another vector of an experience, by another model.
    Embedding = 14,
    /// The same of an insight.
    InsightEmbedding = 15,
}

impl RecordKind {
    /// What kind of row the record is about; `None` where it is about none.
    #[must_use]
    pub const fn row_kind(self) -> Option<RowKind> {
        Some(match self {
            Self::Body
            | Self::Vitals
            | Self::Traits
            | Self::ExperienceDeleted
            | Self::Embedding => RowKind::Experience,
            Self::Relation | Self::RelationDeleted => RowKind::Relation,
            Self::Insight | Self::InsightDeleted | Self::InsightEmbedding => RowKind::Insight,
            Self::Collective
            | Self::CollectiveDeleted
            | Self::Close
            | Self::Activity
            | Self::ActivityEnded => return None,
        })
    }

    /// Whether the record makes a row.
    #[must_use]
    pub const fn makes_row(self) -> bool {
        matches!(self, Self::Body | Self::Relation | Self::Insight)
    }

    /// Whether the record ends a row.
    #[must_use]
    pub const fn ends_row(self) -> bool {
        matches!(
            self,
            Self::ExperienceDeleted | Self::RelationDeleted | Self::InsightDeleted
        )
    }
}

impl TryFrom<u8> for RecordKind {
    type Error = FrameFault;

    fn try_from(code: u8) -> Result<Self, FrameFault> {
        Ok(match code {
            1 => Self::Collective,
            2 => Self::CollectiveDeleted,
            3 => Self::Body,
            4 => Self::Vitals,
            5 => Self::Traits,
            6 => Self::ExperienceDeleted,
            7 => Self::Close,
            8 => Self::Relation,
            9 => Self::RelationDeleted,
            10 => Self::Insight,
            11 => Self::InsightDeleted,
            12 => Self::Activity,
            13 => Self::ActivityEnded,
            14 => Self::Embedding,
            15 => Self::InsightEmbedding,
            _ => return Err(FrameFault::Kind(code)),
        })
    }
}

/// Why bytes are not a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum FrameFault {
    /// All 64 bytes are zero: nothing was ever written here.
    Zero,
    /// There are fewer bytes than the header, or than it announces.
    Short,
    /// The header is not what was written, or belongs to another use of the file.
    Checksum,
    /// The payload is longer than [`MAX_PAYLOAD`], or shorter than its vector.
    Length(u32),
    /// No record has this code.
    Kind(u8),
    /// A flag is set that this version does not know.
    Flags(u8),
    /// The dimension is outside its limits, or the record is one without a vector.
    Dimension(u16),
    /// No collective has this number.
    Collective(u32),
    /// The LSN is 0, or not above `durable_upto`.
    Lsn(u64),
    /// The payload is not what was written.
    PayloadChecksum,
}

impl fmt::Display for FrameFault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Zero => f.write_str("nothing was written here"),
            Self::Short => f.write_str("the frame passes the end of its file"),
            Self::Checksum => f.write_str("the header's checksum does not match"),
            Self::Length(len) => write!(f, "a payload cannot have {len} bytes here"),
            Self::Kind(code) => write!(f, "no record has kind {code}"),
            Self::Flags(flags) => write!(f, "unknown flags {flags:#04x}"),
            Self::Dimension(found) => write!(f, "dimension {found} does not fit the kind"),
            Self::Collective(number) => write!(f, "no collective has number {number}"),
            Self::Lsn(lsn) => write!(f, "LSN {lsn} is not above what was durable before it"),
            Self::PayloadChecksum => f.write_str("the payload's checksum does not match"),
        }
    }
}

impl std::error::Error for FrameFault {}

/// The fixed part of a frame.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the payload, at most [`MAX_PAYLOAD`].
    pub payload_len: u32,
    /// [`payload_crc`] of the payload.
    pub payload_crc: u32,
    /// What the payload is.
    pub kind: RecordKind,
    /// Whether this is the last frame of its commit.
    pub closes_commit: bool,
    /// Number of `f32` at the start of the payload: 1–4096 in a body, an insight or an embedding, 0 in
    /// every other record, and in bodies and insights whose vector compaction has left out.
    pub dimension: u16,
    /// The record's number, never 0, above every LSN before it.
    pub lsn: Lsn,
    /// When it was committed; never before the frame in front of it.
    pub time: Timestamp,
    /// Number of the collective, at most [`MAX_COLLECTIVE_NUMBER`], never reused; 0 for records of none.
    pub collective: u32,
    /// Row number, unique in its table and never reused; 0 for records of no row.
    pub row: u32,
    /// The id of what the record is about; 0 for records about nothing.
    pub entity: u128,
    /// The newest LSN known durable when the frame was written; below `lsn`.
    pub durable_upto: Lsn,
}

impl FrameHeader {
    /// The header of the record that ends a log, for a log that is durable up to `durable_upto`.
    #[must_use]
    pub fn close(lsn: Lsn, time: Timestamp, durable_upto: Lsn) -> Self {
        Self {
            payload_len: 0,
            payload_crc: payload_crc(&[]),
            kind: RecordKind::Close,
            closes_commit: true,
            dimension: 0,
            lsn,
            time,
            collective: 0,
            row: 0,
            entity: 0,
            durable_upto,
        }
    }

    /// The header's bytes in a segment with this seed.
    #[must_use]
    pub fn encode(&self, seed: u32) -> [u8; FRAME_HEADER_LEN] {
        let mut out = [0; FRAME_HEADER_LEN];
        put_at(&mut out, 4, &self.payload_len.to_le_bytes());
        put_at(&mut out, 8, &self.payload_crc.to_le_bytes());
        put_at(&mut out, 12, &[self.kind as u8]);
        put_at(
            &mut out,
            13,
            &[u8::from(self.closes_commit) * CLOSES_COMMIT],
        );
        put_at(&mut out, 14, &self.dimension.to_le_bytes());
        put_at(&mut out, 16, &self.lsn.get().to_le_bytes());
        put_at(&mut out, 24, &self.time.as_millis().to_le_bytes());
        put_at(&mut out, 32, &self.collective.to_le_bytes());
        put_at(&mut out, 36, &self.row.to_le_bytes());
        put_at(&mut out, 40, &self.entity.to_be_bytes());
        put_at(&mut out, 56, &self.durable_upto.get().to_le_bytes());
        let crc = header_crc(&out, seed);
        put_at(&mut out, 0, &crc.to_le_bytes());
        out
    }

    /// Reads the header at the start of `bytes`, which may be longer.
    pub fn decode(bytes: &[u8], seed: u32) -> Result<Self, FrameFault> {
        let bytes: &[u8; FRAME_HEADER_LEN] = bytes.first_chunk().ok_or(FrameFault::Short)?;
        // First, since under one seed of 2³² zeros are a valid checksum of zeros.
        if *bytes == [0; FRAME_HEADER_LEN] {
            return Err(FrameFault::Zero);
        }
        if header_crc(bytes, seed) != u32::from_le_bytes(array_at(bytes, 0)) {
            return Err(FrameFault::Checksum);
        }
        let [kind, flags] = array_at(bytes, 12);
        if flags & !CLOSES_COMMIT != 0 {
            return Err(FrameFault::Flags(flags));
        }
        let header = Self {
            payload_len: frame_payload_len(bytes),
            payload_crc: u32::from_le_bytes(array_at(bytes, 8)),
            kind: RecordKind::try_from(kind)?,
            closes_commit: flags & CLOSES_COMMIT != 0,
            dimension: u16::from_le_bytes(array_at(bytes, 14)),
            lsn: Lsn::new(u64::from_le_bytes(array_at(bytes, 16))),
            time: Timestamp::from_millis(i64::from_le_bytes(array_at(bytes, 24))),
            collective: u32::from_le_bytes(array_at(bytes, 32)),
            row: u32::from_le_bytes(array_at(bytes, 36)),
            entity: u128::from_be_bytes(array_at(bytes, 40)),
            durable_upto: Lsn::new(u64::from_le_bytes(array_at(bytes, 56))),
        };
        header.check()?;
        Ok(header)
    }

    /// The number of the table that the row stands in; that of the experiences for a record of no row.
    #[must_use]
    pub const fn table(&self) -> u32 {
        match self.kind.row_kind() {
            Some(kind) => kind.table(self.collective),
            None => self.collective,
        }
    }

    /// Bytes from the start of this frame to the start of the next.
    #[must_use]
    pub const fn frame_len(&self) -> u64 {
        frame_len(self.payload_len)
    }

    fn check(&self) -> Result<(), FrameFault> {
        let vector_len = u32::from(self.dimension) * 4;
        if self.payload_len > MAX_PAYLOAD || self.payload_len < vector_len {
            return Err(FrameFault::Length(self.payload_len));
        }
        let dimension_fits = match self.kind {
            RecordKind::Body | RecordKind::Insight => usize::from(self.dimension) <= MAX_DIMENSION,
            RecordKind::Embedding | RecordKind::InsightEmbedding => {
                (1..=MAX_DIMENSION).contains(&usize::from(self.dimension))
            }
            _ => self.dimension == 0,
        };
        if !dimension_fits {
            return Err(FrameFault::Dimension(self.dimension));
        }
        if self.collective > MAX_COLLECTIVE_NUMBER {
            return Err(FrameFault::Collective(self.collective));
        }
        // Also refuses LSN 0, which is above nothing.
        if self.lsn <= self.durable_upto {
            return Err(FrameFault::Lsn(self.lsn.get()));
        }
        Ok(())
    }
}

/// Bytes of a frame with a payload of this length, padding included.
#[must_use]
pub const fn frame_len(payload_len: u32) -> u64 {
    (FRAME_HEADER_LEN as u64 + payload_len as u64).next_multiple_of(FRAME_ALIGN)
}

/// Bytes of the payload behind a header that was decoded before. Does not look at the checksum.
#[must_use]
pub fn frame_payload_len(header: &[u8]) -> u32 {
    u32::from_le_bytes(array_at(header, 4))
}

/// Components of the vector that the payload begins with, behind a header that was decoded before.
#[must_use]
pub fn frame_dimension(header: &[u8]) -> u16 {
    u16::from_le_bytes(array_at(header, 14))
}

/// The checksum of a payload.
#[must_use]
pub fn payload_crc(payload: &[u8]) -> u32 {
    crc32fast::hash(payload)
}

/// Reads the frame at the start of `bytes`, checking both checksums. Answers its header and its
/// payload without the padding, which carries nothing and is not looked at.
pub fn verify_frame(bytes: &[u8], seed: u32) -> Result<(FrameHeader, &[u8]), FrameFault> {
    let header = FrameHeader::decode(bytes, seed)?;
    let len = usize::try_from(header.payload_len).map_err(|_| FrameFault::Short)?;
    let payload = bytes
        .get(FRAME_HEADER_LEN..)
        .and_then(|rest| rest.get(..len))
        .ok_or(FrameFault::Short)?;
    if payload_crc(payload) != header.payload_crc {
        return Err(FrameFault::PayloadChecksum);
    }
    Ok((header, payload))
}

/// The one seed under which these bytes begin with a valid frame header, and that header; `None` where
/// none could stand there. The payload's checksum has no seed: whoever calls compares it, and knows.
/// For a segment whose header block is lost, and the seed with it.
#[must_use]
pub fn implied_seed(bytes: &[u8]) -> Option<(u32, FrameHeader)> {
    let head: &[u8; FRAME_HEADER_LEN] = bytes.first_chunk()?;
    // A checksum is a sequence of steps that can be taken back, from the last byte to the first.
    let mut register = !u32::from_le_bytes(array_at(head, 0));
    for &byte in head.get(4..)?.iter().rev() {
        for _ in 0..8 {
            register = if register >> 31 == 1 {
                ((register ^ CRC_POLYNOMIAL) << 1) | 1
            } else {
                register << 1
            };
        }
        register ^= u32::from(byte);
    }
    let seed = !register;
    let header = FrameHeader::decode(head, seed).ok()?;
    Some((seed, header))
}

/// Everything but the checksum itself, on top of the segment's seed.
fn header_crc(bytes: &[u8; FRAME_HEADER_LEN], seed: u32) -> u32 {
    let mut hasher = Hasher::new_with_initial(seed);
    hasher.update(bytes.get(4..).unwrap_or_default());
    hasher.finalize()
}
