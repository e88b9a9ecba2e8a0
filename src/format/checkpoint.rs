//! What does a checkpoint hold, and how is one row found in it?
//!
//! All state that is derived from the log, as of one commit. Behind a header of 184 bytes stand
//! sections of fixed-length records that are read in place, and at last the directory, which an open
//! decodes whole. [`Checkpoint::parse`] checks every byte against its checksum, and whatever follows
//! from the counts, before anything is handed out; nothing is copied but the directory.
//!
//! Written by `upkeep`, which streams the sections in the order of [`CheckpointLayout`]; read by the
//! tables, for as long as rows are asked for that nobody has asked for before.

mod directory;
mod records;
mod slots;

use std::ops::Range;

use bytes::Bytes;

use super::{DecodeError, FORMAT_VERSION, FileFault, array_at, put_at};
use crate::model::{InstanceId, Lsn, Timeline, Timestamp};

pub use directory::{
    CheckpointActivity, CheckpointCollective, CheckpointDamage, CheckpointDirectory,
    CheckpointSegment, RowRun,
};
pub use records::{
    CheckpointEdge, CheckpointEmbedding, CheckpointGrave, CheckpointKey, CheckpointRow,
    CheckpointVersion, FramePlace,
};
pub use slots::{SlotTable, id_hash, id_slots, key_hash, key_slot, key_slots, slot_of};

const ID_SLOT_LEN: usize = 4;
const KEY_SLOT_LEN: usize = 8;

/// Bytes of the header; a multiple of 8, as is the length of every section before the texts.
pub const CHECKPOINT_HEADER_LEN: usize = 184;

const MAGIC: [u8; 8] = *b"PULSECKP";
const CRC_AT: usize = CHECKPOINT_HEADER_LEN - 4;
const SUFFIX: &str = ".ckpt";
/// The directory starts at a multiple of this.
const ALIGN: u64 = 8;

/// The header of a checkpoint.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointHeader {
    /// The database that it belongs to.
    pub instance_id: InstanceId,
    /// The timeline that was written when it was made.
    pub timeline: Timeline,
    /// The commit that it shows the state after.
    pub lsn: Lsn,
    /// Snapshots from here on find their versions and deleted rows in it.
    pub horizon: Lsn,
    /// Segment of the last frame that it covers.
    pub frame_segment: u32,
    /// Where that frame starts in its file; 0 where the segment holds none that it covers.
    pub frame_at: u64,
    /// The frame's LSN.
    pub frame_lsn: Lsn,
    /// The number that the next collective gets.
    pub next_collective: u32,
    /// Time of the newest record.
    pub last_time: Timestamp,
    /// The greatest id of any record.
    pub last_id: u128,
    /// How much there is of what.
    pub counts: CheckpointCounts,
    /// The checksum of everything behind the header.
    pub body_crc: u32,
}

/// How many records and bytes the sections have.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct CheckpointCounts {
    /// Rows.
    pub rows: u64,
    /// Versions of rows.
    pub versions: u64,
    /// Rows that are deleted.
    pub graves: u64,
    /// Slots of the table of ids, an even number.
    pub id_slots: u64,
    /// Keys.
    pub keys: u64,
    /// Slots of the table of keys.
    pub key_slots: u64,
    /// Edges, two of each relation.
    pub edges: u64,
    /// Vectors that stand beside the bodies.
    pub embeddings: u64,
    /// Bytes of the keys' texts.
    pub key_text: u64,
    /// Bytes of the directory.
    pub directory: u64,
}

/// The sections, as byte ranges of the file, in their order.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointLayout {
    /// Rows, by collective and number.
    pub rows: Range<u64>,
    /// Versions, by collective, row and LSN.
    pub versions: Range<u64>,
    /// Graves, by collective and row.
    pub graves: Range<u64>,
    /// The table of ids.
    pub id_slots: Range<u64>,
    /// Keys, by collective and row.
    pub keys: Range<u64>,
    /// The table of keys.
    pub key_slots: Range<u64>,
    /// Edges, by collective, row and relation.
    pub edges: Range<u64>,
    /// Vectors beside the bodies, by collective, row and epoch.
    pub embeddings: Range<u64>,
    /// The keys' texts.
    pub key_text: Range<u64>,
    /// The directory, up to the end of the file.
    pub directory: Range<u64>,
}

impl CheckpointCounts {
    /// Where the sections are; `None` if no file can be so long.
    #[must_use]
    pub fn layout(&self) -> Option<CheckpointLayout> {
        let mut end = CHECKPOINT_HEADER_LEN as u64;
        let mut next = |count: u64, len: usize| {
            let start = end;
            end = start.checked_add(count.checked_mul(len as u64)?)?;
            Some(start..end)
        };
        let rows = next(self.rows, CheckpointRow::LEN)?;
        let versions = next(self.versions, CheckpointVersion::LEN)?;
        let graves = next(self.graves, CheckpointGrave::LEN)?;
        let id_slots = next(self.id_slots, ID_SLOT_LEN)?;
        let keys = next(self.keys, CheckpointKey::LEN)?;
        let key_slots = next(self.key_slots, KEY_SLOT_LEN)?;
        let edges = next(self.edges, CheckpointEdge::LEN)?;
        let embeddings = next(self.embeddings, CheckpointEmbedding::LEN)?;
        let key_text = next(self.key_text, 1)?;
        let start = end.checked_next_multiple_of(ALIGN)?;
        Some(CheckpointLayout {
            rows,
            versions,
            graves,
            id_slots,
            keys,
            key_slots,
            edges,
            embeddings,
            key_text,
            directory: start..start.checked_add(self.directory)?,
        })
    }
}

impl CheckpointHeader {
    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; CHECKPOINT_HEADER_LEN] {
        let counts = &self.counts;
        let mut out = [0; CHECKPOINT_HEADER_LEN];
        put_at(&mut out, 0, &MAGIC);
        put_at(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        put_at(&mut out, 12, &self.timeline.get().to_le_bytes());
        put_at(&mut out, 16, &self.instance_id.as_u128().to_be_bytes());
        put_at(&mut out, 32, &self.lsn.get().to_le_bytes());
        put_at(&mut out, 40, &self.horizon.get().to_le_bytes());
        put_at(&mut out, 48, &self.frame_at.to_le_bytes());
        put_at(&mut out, 56, &self.frame_lsn.get().to_le_bytes());
        put_at(&mut out, 64, &self.frame_segment.to_le_bytes());
        put_at(&mut out, 68, &self.next_collective.to_le_bytes());
        put_at(&mut out, 72, &self.last_time.as_millis().to_le_bytes());
        put_at(&mut out, 80, &self.last_id.to_be_bytes());
        put_at(&mut out, 96, &counts.rows.to_le_bytes());
        put_at(&mut out, 104, &counts.versions.to_le_bytes());
        put_at(&mut out, 112, &counts.graves.to_le_bytes());
        put_at(&mut out, 120, &counts.id_slots.to_le_bytes());
        put_at(&mut out, 128, &counts.keys.to_le_bytes());
        put_at(&mut out, 136, &counts.key_slots.to_le_bytes());
        put_at(&mut out, 144, &counts.key_text.to_le_bytes());
        put_at(&mut out, 152, &counts.directory.to_le_bytes());
        put_at(&mut out, 160, &counts.edges.to_le_bytes());
        put_at(&mut out, 168, &counts.embeddings.to_le_bytes());
        put_at(&mut out, 176, &self.body_crc.to_le_bytes());
        let crc = crc32fast::hash(out.get(..CRC_AT).unwrap_or_default());
        put_at(&mut out, CRC_AT, &crc.to_le_bytes());
        out
    }

    /// Reads the header at the start of `bytes`, which may be longer.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let bytes: &[u8; CHECKPOINT_HEADER_LEN] = bytes.first_chunk().ok_or(FileFault::Length)?;
        super::check_file(bytes, MAGIC)?;
        let number = |at| u64::from_le_bytes(array_at(bytes, at));
        let header = Self {
            timeline: Timeline::new(u32::from_le_bytes(array_at(bytes, 12))),
            instance_id: InstanceId::from_u128(u128::from_be_bytes(array_at(bytes, 16))),
            lsn: Lsn::new(number(32)),
            horizon: Lsn::new(number(40)),
            frame_at: number(48),
            frame_lsn: Lsn::new(number(56)),
            frame_segment: u32::from_le_bytes(array_at(bytes, 64)),
            next_collective: u32::from_le_bytes(array_at(bytes, 68)),
            last_time: Timestamp::from_millis(i64::from_le_bytes(array_at(bytes, 72))),
            last_id: u128::from_be_bytes(array_at(bytes, 80)),
            counts: CheckpointCounts {
                rows: number(96),
                versions: number(104),
                graves: number(112),
                id_slots: number(120),
                keys: number(128),
                key_slots: number(136),
                key_text: number(144),
                directory: number(152),
                edges: number(160),
                embeddings: number(168),
            },
            body_crc: u32::from_le_bytes(array_at(bytes, 176)),
        };
        if header.frame_lsn > header.lsn || header.horizon > header.lsn {
            return Err(FileFault::Field(DecodeError {
                field: "checkpoint.lsn",
                tag: 0,
                offset: 32,
                what: "it is behind what the checkpoint covers",
            }));
        }
        Ok(header)
    }
}

/// A checkpoint whose bytes are whole.
#[derive(Debug)]
pub struct Checkpoint {
    bytes: Bytes,
    header: CheckpointHeader,
    layout: CheckpointLayout,
    directory: CheckpointDirectory,
}

impl Checkpoint {
    /// Checks a file's bytes, all of them.
    pub fn parse(bytes: Bytes) -> Result<Self, FileFault> {
        let header = CheckpointHeader::decode(&bytes)?;
        let layout = header.counts.layout().ok_or(FileFault::Length)?;
        if layout.directory.end != bytes.len() as u64 {
            return Err(FileFault::Length);
        }
        let body = bytes.get(CHECKPOINT_HEADER_LEN..).unwrap_or_default();
        if crc32fast::hash(body) != header.body_crc {
            return Err(FileFault::Checksum);
        }
        let directory = part(&bytes, &layout.directory);
        let directory = CheckpointDirectory::decode(directory, header.counts.rows)?;
        Ok(Self {
            bytes,
            header,
            layout,
            directory,
        })
    }

    /// Its header.
    #[must_use]
    pub const fn header(&self) -> &CheckpointHeader {
        &self.header
    }

    /// Its directory.
    #[must_use]
    pub const fn directory(&self) -> &CheckpointDirectory {
        &self.directory
    }

    /// Bytes of the file.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.layout.directory.end
    }

    /// The collective with this number.
    #[must_use]
    pub fn collective(&self, number: u32) -> Option<&CheckpointCollective> {
        let all = &self.directory.collectives;
        let found = all.binary_search_by_key(&number, |one| one.number).ok()?;
        all.get(found)
    }

    /// The rows of a run.
    pub fn rows(&self, run: RowRun) -> impl Iterator<Item = (u32, CheckpointRow)> {
        let rows = self.records::<{ CheckpointRow::LEN }>(&self.layout.rows);
        let from = usize::try_from(run.at).unwrap_or(usize::MAX);
        let records = rows.get(from..).unwrap_or_default().iter();
        run.rows()
            .zip(records.map(|record| CheckpointRow::decode(record)))
    }

    /// The versions of these rows of a collective, by row and LSN.
    pub fn versions(
        &self,
        collective: u32,
        rows: Range<u32>,
    ) -> impl Iterator<Item = CheckpointVersion> {
        let all = self.records::<{ CheckpointVersion::LEN }>(&self.layout.versions);
        of_rows(all, collective, rows).map(|record| CheckpointVersion::decode(record))
    }

    /// The graves of these rows of a collective, by row.
    pub fn graves_in(
        &self,
        collective: u32,
        rows: Range<u32>,
    ) -> impl Iterator<Item = CheckpointGrave> {
        let all = self.records::<{ CheckpointGrave::LEN }>(&self.layout.graves);
        of_rows(all, collective, rows).map(|record| CheckpointGrave::decode(record))
    }

    /// All graves, by collective and row.
    pub fn graves(&self) -> impl Iterator<Item = CheckpointGrave> {
        let all = self.records::<{ CheckpointGrave::LEN }>(&self.layout.graves);
        all.iter().map(|record| CheckpointGrave::decode(record))
    }

    /// Collective and number of the row with this id, and where its body stands.
    #[must_use]
    pub fn find_id(&self, id: u128) -> Option<((u32, u32), FramePlace)> {
        self.find_ids(id).next()
    }

    /// The same of all rows with this id: one that is not deleted, if there is one, and then those that
    /// had it before.
    pub fn find_ids(&self, id: u128) -> impl Iterator<Item = ((u32, u32), FramePlace)> {
        let rows = self.records::<{ CheckpointRow::LEN }>(&self.layout.rows);
        let table = self.records::<ID_SLOT_LEN>(&self.layout.id_slots);
        slots::probe(table, id_hash(id))
            .map_while(|slot| slots::number_in(u32::from_le_bytes(*slot)))
            .filter_map(|number| Some((number, rows.get(usize::try_from(number).ok()?)?)))
            .filter(move |(_, record)| records::id_of(*record) == id)
            .filter_map(|(number, record)| {
                Some((self.owner_of(number.into())?, records::place_of(record)))
            })
    }

    /// Whose row the `at`th of all rows is.
    fn owner_of(&self, at: u64) -> Option<(u32, u32)> {
        let all = &self.directory.collectives;
        // Of those that begin there, all but the last have no rows.
        let behind = all.partition_point(|one| one.at <= at);
        let collective = all.get(behind.checked_sub(1)?)?;
        let behind = collective.runs.partition_point(|run| run.at <= at);
        let run = collective.runs.get(behind.checked_sub(1)?)?;
        let offset = u32::try_from(at.checked_sub(run.at)?).ok()?;
        Some((collective.number, run.first.checked_add(offset)?))
    }

    /// The row of a collective that has this idempotency key.
    #[must_use]
    pub fn find_key(&self, collective: u32, key: &str) -> Option<u32> {
        let keys = self.records::<{ CheckpointKey::LEN }>(&self.layout.keys);
        let table = self.records::<KEY_SLOT_LEN>(&self.layout.key_slots);
        let hash = key_hash(collective, key);
        slots::probe(table, hash)
            .map(|slot| u64::from_le_bytes(*slot))
            .map_while(|slot| Some((slot, slots::number_in(slot as u32)?)))
            .filter(|(slot, number)| *slot == key_slot(hash, number.wrapping_add(1)))
            .find_map(|(_, number)| {
                let number = usize::try_from(number).ok()?;
                let record = CheckpointKey::decode(keys.get(number)?);
                let found = record.collective == collective && self.key_text(keys, number)? == key;
                found.then_some(record.row)
            })
    }

    /// The edges at these rows of a collective, by row and relation.
    pub fn edges(&self, collective: u32, rows: Range<u32>) -> impl Iterator<Item = CheckpointEdge> {
        let all = self.records::<{ CheckpointEdge::LEN }>(&self.layout.edges);
        of_rows(all, collective, rows).filter_map(|record| CheckpointEdge::decode(record))
    }

    /// The vectors beside the bodies of these rows of a collective, by row and epoch.
    pub fn embeddings(
        &self,
        collective: u32,
        rows: Range<u32>,
    ) -> impl Iterator<Item = CheckpointEmbedding> {
        let all = self.records::<{ CheckpointEmbedding::LEN }>(&self.layout.embeddings);
        of_rows(all, collective, rows).map(|record| CheckpointEmbedding::decode(record))
    }

    /// The idempotency key of a row.
    #[must_use]
    pub fn key_of(&self, collective: u32, row: u32) -> Option<&str> {
        let keys = self.records::<{ CheckpointKey::LEN }>(&self.layout.keys);
        let owner = (collective, row);
        let number = keys
            .binary_search_by_key(&owner, |record| records::owner_of(record))
            .ok()?;
        self.key_text(keys, number)
    }

    fn key_text(&self, keys: &[[u8; CheckpointKey::LEN]], number: usize) -> Option<&str> {
        let start = match number.checked_sub(1) {
            None => 0,
            Some(before) => CheckpointKey::decode(keys.get(before)?).text_end,
        };
        let end = CheckpointKey::decode(keys.get(number)?).text_end;
        let texts = part(&self.bytes, &self.layout.key_text);
        std::str::from_utf8(part_checked(texts, start, end)?).ok()
    }

    fn records<const N: usize>(&self, section: &Range<u64>) -> &[[u8; N]] {
        part(&self.bytes, section).as_chunks::<N>().0
    }
}

/// The records of these rows of a collective; all of them are sorted by their owners.
fn of_rows<const N: usize>(
    records: &[[u8; N]],
    collective: u32,
    rows: Range<u32>,
) -> impl Iterator<Item = &[u8; N]> {
    let first = (collective, rows.start);
    let from = records.partition_point(|record| records::owner_of(record) < first);
    let behind = records.get(from..).unwrap_or_default().iter();
    behind.take_while(move |record| records::owner_of(*record) < (collective, rows.end))
}

/// A section of a file whose length was compared with the layout.
fn part<'a>(bytes: &'a [u8], range: &Range<u64>) -> &'a [u8] {
    part_checked(bytes, range.start, range.end).unwrap_or_default()
}

fn part_checked(bytes: &[u8], start: u64, end: u64) -> Option<&[u8]> {
    bytes.get(usize::try_from(start).ok()?..usize::try_from(end).ok()?)
}

/// The name of the checkpoint of this LSN; names sort as their LSNs do.
#[must_use]
pub fn checkpoint_file_name(lsn: Lsn) -> String {
    format!("{:016x}{SUFFIX}", lsn.get())
}

/// The LSN in a checkpoint's name; `None` for every other name.
#[must_use]
pub fn checkpoint_file_lsn(name: &str) -> Option<Lsn> {
    let lsn = Lsn::new(u64::from_str_radix(name.strip_suffix(SUFFIX)?, 16).ok()?);
    (checkpoint_file_name(lsn) == name).then_some(lsn)
}
