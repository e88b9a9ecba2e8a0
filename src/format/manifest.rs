//! Of which files does a database consist?
//!
//! The manifest is replaced whole, never changed in place. Behind magic and version it is made of
//! tagged fields, like a payload; the last four bytes are the checksum of all before. Called by the
//! manifest engine.

use super::{
    DecodeError, FORMAT_VERSION, FRAME_ALIGN, FileFault, SEGMENT_HEADER_LEN, UnknownFields,
    fields::{Field, FieldWriter, Fields, missing},
};
use crate::model::{InstanceId, Lsn, Timeline, Timestamp};

const MAGIC: [u8; 8] = *b"PULSEMAN";
const HEADER_LEN: usize = 12;
const CRC_LEN: usize = 4;

/// How the last writer made commits durable; it decides what an unclean open may assume.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub enum SyncModeCode {
    /// Acknowledged after fdatasync.
    Normal = 1,
    /// Acknowledged after write.
    Fast = 2,
    /// Each commit synced by itself and read back.
    Paranoid = 3,
}

/// A timeline after the first.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Fork {
    /// The timeline.
    pub timeline: Timeline,
    /// Its first LSN; everything below belongs to earlier ones.
    pub first_lsn: Lsn,
}

/// A live segment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SegmentEntry {
    /// Its number, as in its header.
    pub id: u32,
    /// As in its header and its name.
    pub first_lsn: Lsn,
    /// Where its valid bytes end; 0 for the active segment, which is the last one.
    pub end: u64,
}

/// The root of a database.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Manifest {
    /// The database's identity, for ever.
    pub instance_id: InstanceId,
    /// When the database was created.
    pub created_at: Timestamp,
    /// Counts the manifests of this database, from 1.
    pub generation: u64,
    /// The timeline that new records belong to.
    pub timeline: Timeline,
    /// All timelines after the first, in their order.
    pub forks: Vec<Fork>,
    /// History below this LSN is gone; 0 where all of it is there.
    pub retained_from: Lsn,
    /// The number of the next new segment.
    pub next_segment: u32,
    /// The live segments, in the order of their LSNs.
    pub segments: Vec<SegmentEntry>,
    /// The newest checkpoint; 0 where there is none.
    pub checkpoint: Lsn,
    /// How the last writer made commits durable.
    pub sync_mode: SyncModeCode,
    /// First LSN that the newest writer may have issued. Only a `Close` frame from there on says
    /// that the database was closed; an earlier one closed an earlier session.
    pub session: Lsn,
    /// What a newer build stored.
    pub unknown: UnknownFields,
}

impl Manifest {
    /// The file's bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(256 + self.segments.len() * 20 + self.forks.len() * 12);
        out.extend_from_slice(&MAGIC);
        out.extend_from_slice(&FORMAT_VERSION.to_le_bytes());
        let mut writer = FieldWriter::new(&mut out);
        writer.bytes(1, &self.instance_id.as_u128().to_be_bytes());
        writer.time(2, Some(self.created_at));
        writer.bytes(3, &self.generation.to_le_bytes());
        writer.bytes(4, &self.timeline.get().to_le_bytes());
        writer.nested_unless_empty(5, |out| {
            for fork in &self.forks {
                out.extend_from_slice(&fork.timeline.get().to_le_bytes());
                out.extend_from_slice(&fork.first_lsn.get().to_le_bytes());
            }
        });
        writer.lsn(6, self.retained_from);
        writer.bytes(7, &self.next_segment.to_le_bytes());
        writer.nested_unless_empty(8, |out| {
            for segment in &self.segments {
                out.extend_from_slice(&segment.id.to_le_bytes());
                out.extend_from_slice(&segment.first_lsn.get().to_le_bytes());
                out.extend_from_slice(&segment.end.to_le_bytes());
            }
        });
        writer.lsn(9, self.checkpoint);
        writer.u8(10, self.sync_mode as u8);
        writer.lsn(11, self.session);
        writer.unknown(&self.unknown);
        let crc = crc32fast::hash(&out);
        out.extend_from_slice(&crc.to_le_bytes());
        out
    }

    /// Reads the file's bytes, all of them.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        super::check_file(bytes, MAGIC)?;
        let payload = bytes
            .get(HEADER_LEN..bytes.len().saturating_sub(CRC_LEN))
            .ok_or(FileFault::Length)?;
        Ok(Self::decode_fields(payload)?)
    }

    fn decode_fields(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut instance_id = None;
        let mut created_at = None;
        let mut generation = None;
        let mut timeline = None;
        let mut forks = Vec::new();
        let mut retained_from = Lsn::ZERO;
        let mut next_segment = None;
        let mut segments = Vec::new();
        let mut checkpoint = Lsn::ZERO;
        let mut sync_mode = None;
        let mut session = Lsn::ZERO;
        let mut unknown = UnknownFields::default();
        let mut fields = Fields::new(payload);
        while let Some(field) = fields.next_field()? {
            match field.tag {
                1 => {
                    let id = field
                        .array("manifest.instance_id")
                        .map(u128::from_be_bytes)?;
                    instance_id = Some(InstanceId::from_u128(id));
                }
                2 => created_at = Some(field.time("manifest.created_at")?),
                3 => generation = Some(field.u64("manifest.generation")?),
                4 => timeline = Some(Timeline::new(field.u32("manifest.timeline")?)),
                5 => forks = read_forks(&field)?,
                6 => retained_from = field.lsn("manifest.retained_from")?,
                7 => next_segment = Some(field.u32("manifest.next_segment")?),
                8 => segments = read_segments(&field)?,
                9 => checkpoint = field.lsn("manifest.checkpoint")?,
                10 => sync_mode = Some(read_sync_mode(&field)?),
                11 => session = field.lsn("manifest.session")?,
                _ => {
                    unknown = UnknownFields::keep(fields.keep_from(&field, payload)?);
                    break;
                }
            }
        }
        Ok(Self {
            instance_id: instance_id.ok_or(missing("manifest.instance_id", 1))?,
            created_at: created_at.ok_or(missing("manifest.created_at", 2))?,
            generation: generation.ok_or(missing("manifest.generation", 3))?,
            timeline: timeline.ok_or(missing("manifest.timeline", 4))?,
            forks,
            retained_from,
            next_segment: next_segment.ok_or(missing("manifest.next_segment", 7))?,
            segments,
            checkpoint,
            sync_mode: sync_mode.ok_or(missing("manifest.sync_mode", 10))?,
            session,
            unknown,
        })
    }
}

fn read_forks(field: &Field<'_>) -> Result<Vec<Fork>, DecodeError> {
    const NAME: &str = "manifest.forks";
    let (entries, rest) = field.bytes.as_chunks::<12>();
    if !rest.is_empty() {
        return Err(field.wrong(NAME, "an entry is cut off"));
    }
    let forks: Vec<Fork> = entries
        .iter()
        .map(|entry| Fork {
            timeline: Timeline::new(u32::from_le_bytes(super::array_at(entry, 0))),
            first_lsn: Lsn::new(u64::from_le_bytes(super::array_at(entry, 4))),
        })
        .collect();
    let ascend = forks.is_sorted_by(|a, b| a.timeline < b.timeline && a.first_lsn < b.first_lsn);
    if ascend {
        Ok(forks)
    } else {
        Err(field.wrong(NAME, "the entries do not ascend"))
    }
}

fn read_segments(field: &Field<'_>) -> Result<Vec<SegmentEntry>, DecodeError> {
    const NAME: &str = "manifest.segments";
    let (entries, rest) = field.bytes.as_chunks::<20>();
    if !rest.is_empty() {
        return Err(field.wrong(NAME, "an entry is cut off"));
    }
    let segments: Vec<SegmentEntry> = entries
        .iter()
        .map(|entry| SegmentEntry {
            id: u32::from_le_bytes(super::array_at(entry, 0)),
            first_lsn: Lsn::new(u64::from_le_bytes(super::array_at(entry, 4))),
            end: u64::from_le_bytes(super::array_at(entry, 12)),
        })
        .collect();
    if !segments.is_sorted_by(|a, b| a.first_lsn < b.first_lsn) {
        return Err(field.wrong(NAME, "the entries do not ascend"));
    }
    let sealed = |entry: &SegmentEntry| {
        entry.end >= SEGMENT_HEADER_LEN as u64 && entry.end.is_multiple_of(FRAME_ALIGN)
    };
    if let Some((last, others)) = segments.split_last()
        && !(others.iter().all(sealed) && (last.end == 0 || sealed(last)))
    {
        return Err(field.wrong(NAME, "an end is not that of a segment"));
    }
    Ok(segments)
}

fn read_sync_mode(field: &Field<'_>) -> Result<SyncModeCode, DecodeError> {
    Ok(match field.u8("manifest.sync_mode")? {
        1 => SyncModeCode::Normal,
        2 => SyncModeCode::Fast,
        3 => SyncModeCode::Paranoid,
        _ => return Err(field.wrong("manifest.sync_mode", "no mode has this code")),
    })
}
