//! What does a checkpoint say that an open reads in any case?
//!
//! Which segments it is about, with their sparse indexes, so that they need not be scanned; what was
//! known to be damaged in them; and the collectives: definitions, agents, which rows there are, and what
//! agents do.
//! It is small beside the rows, and is decoded whole.

use std::ops::Range;

use super::super::{
    ActivityRecord, CollectiveRecord, DecodeError, RecordKind, RowKind, UnknownFields,
    decode_activity_end, encode_activity_end,
};
use crate::model::{Collective, CollectiveId, Lsn};

/// A segment that the checkpoint is about.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointSegment {
    /// Its number.
    pub id: u32,
    /// (LSN, unit) of a frame every so many bytes, ascending, up to the checkpoint's last frame.
    pub index: Vec<(u64, u32)>,
}

/// Damage that was known when the checkpoint was written.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointDamage {
    /// Number of the segment.
    pub segment: u32,
    /// Byte offset in its file.
    pub offset: u64,
    /// What was found.
    pub what: String,
}

/// Rows with adjacent numbers, all of which the checkpoint has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RowRun {
    /// The number of the first.
    pub first: u32,
    /// How many they are.
    pub count: u32,
    /// Which of all rows of the checkpoint the first one is.
    pub at: u64,
}

impl RowRun {
    /// The numbers.
    #[must_use]
    pub const fn rows(&self) -> Range<u32> {
        self.first..self.first.saturating_add(self.count)
    }
}

/// A version of what an agent does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CheckpointActivity {
    /// The record that it is from; it holds from there on.
    pub lsn: Lsn,
    /// The agent.
    pub agent_id: String,
    /// What it does, under the same name; `None` where its activity is over.
    pub record: Option<ActivityRecord>,
}

/// A table of a collective.
#[derive(Clone, Debug, PartialEq)]
pub struct CheckpointCollective {
    /// The number of the table; that of the collective where its rows are the experiences.
    pub number: u32,
    /// The collective's id.
    pub id: CollectiveId,
    /// Row numbers given out so far.
    pub row_count: u32,
    /// Which of all rows of the checkpoint its first one is.
    pub at: u64,
    /// The collective's definitions, each with the LSN since which it holds, oldest first. At least one with
    /// the experiences, none with the other tables.
    pub definitions: Vec<(Lsn, Collective)>,
    /// Its agents, by code.
    pub agents: Vec<String>,
    /// The rows that there are, ascending, adjacent ones in one run.
    pub runs: Vec<RowRun>,
    /// What agents do and did, by agent and LSN.
    pub activities: Vec<CheckpointActivity>,
    /// Whether those rows do not stand in the order of time, then id, and whether not in that of ids.
    pub out_of_order: [bool; 2],
}

impl CheckpointCollective {
    /// The runs that `rows` reach into.
    pub fn runs_in(&self, rows: Range<u32>) -> impl Iterator<Item = RowRun> {
        let from = self
            .runs
            .partition_point(|run| run.rows().end <= rows.start);
        let runs = self.runs.get(from..).unwrap_or_default().iter().copied();
        runs.take_while(move |run| run.first < rows.end)
            .map(move |run| {
                let first = run.first.max(rows.start);
                RowRun {
                    first,
                    count: run.rows().end.min(rows.end).saturating_sub(first),
                    at: run.at + u64::from(first - run.first),
                }
            })
    }
}

/// The whole of it.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct CheckpointDirectory {
    /// The segments, by LSN.
    pub segments: Vec<CheckpointSegment>,
    /// Known damage.
    pub damage: Vec<CheckpointDamage>,
    /// The tables of the collectives, by number.
    pub collectives: Vec<CheckpointCollective>,
}

impl CheckpointDirectory {
    /// Its bytes.
    #[must_use]
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::new();
        put_count(&mut out, self.segments.len());
        put_count(&mut out, self.damage.len());
        put_count(&mut out, self.collectives.len());
        for segment in &self.segments {
            out.extend_from_slice(&segment.id.to_le_bytes());
            put_count(&mut out, segment.index.len());
            for (lsn, unit) in &segment.index {
                out.extend_from_slice(&lsn.to_le_bytes());
                out.extend_from_slice(&unit.to_le_bytes());
            }
        }
        for damage in &self.damage {
            out.extend_from_slice(&damage.segment.to_le_bytes());
            out.extend_from_slice(&damage.offset.to_le_bytes());
            put_text(&mut out, damage.what.as_bytes());
        }
        for collective in &self.collectives {
            encode_collective(collective, &mut out);
        }
        out
    }

    /// Reads the bytes, all of them; `rows` is how many rows the runs have to name.
    pub fn decode(bytes: &[u8], rows: u64) -> Result<Self, DecodeError> {
        let mut cursor = Cursor {
            rest: bytes,
            len: bytes.len(),
        };
        let [segments, damage, collectives] = [cursor.u32()?, cursor.u32()?, cursor.u32()?];
        let mut directory = Self::default();
        for _ in 0..segments {
            let id = cursor.u32()?;
            let entries = cursor.u32()?;
            let mut index = Vec::new();
            for _ in 0..entries {
                index.push((cursor.u64()?, cursor.u32()?));
            }
            directory.segments.push(CheckpointSegment { id, index });
        }
        for _ in 0..damage {
            directory.damage.push(CheckpointDamage {
                segment: cursor.u32()?,
                offset: cursor.u64()?,
                what: cursor.text()?,
            });
        }
        let (mut at, mut last) = (0, 0);
        for _ in 0..collectives {
            let collective = decode_collective(&mut cursor, &mut at)?;
            if collective.number <= last {
                return Err(cursor.wrong("the collectives do not ascend"));
            }
            last = collective.number;
            directory.collectives.push(collective);
        }
        if at != rows || !cursor.rest.is_empty() {
            return Err(cursor.wrong("the counts do not fit each other"));
        }
        Ok(directory)
    }
}

fn encode_collective(collective: &CheckpointCollective, out: &mut Vec<u8>) {
    out.extend_from_slice(&collective.number.to_le_bytes());
    out.extend_from_slice(&collective.row_count.to_le_bytes());
    out.extend_from_slice(&collective.id.as_u128().to_be_bytes());
    let [by_time, by_id] = collective.out_of_order.map(u32::from);
    out.extend_from_slice(&(by_time | by_id << 1).to_le_bytes());
    put_count(out, collective.definitions.len());
    put_count(out, collective.agents.len());
    put_count(out, collective.runs.len());
    put_count(out, collective.activities.len());
    for (lsn, definition) in &collective.definitions {
        out.extend_from_slice(&lsn.get().to_le_bytes());
        let record = CollectiveRecord {
            collective: definition.clone(),
            unknown: UnknownFields::default(),
        };
        let mut payload = Vec::new();
        record.encode(&mut payload);
        put_text(out, &payload);
    }
    for agent in &collective.agents {
        put_text(out, agent.as_bytes());
    }
    for run in &collective.runs {
        out.extend_from_slice(&run.first.to_le_bytes());
        out.extend_from_slice(&run.count.to_le_bytes());
    }
    for activity in &collective.activities {
        out.extend_from_slice(&activity.lsn.get().to_le_bytes());
        let mut payload = Vec::new();
        let kind = match &activity.record {
            Some(record) => {
                record.encode(&mut payload);
                RecordKind::Activity
            }
            None => {
                encode_activity_end(&activity.agent_id, &mut payload);
                RecordKind::ActivityEnded
            }
        };
        out.push(kind as u8);
        put_text(out, &payload);
    }
}

/// `at` counts the rows of all collectives so far.
fn decode_collective(
    cursor: &mut Cursor<'_>,
    at: &mut u64,
) -> Result<CheckpointCollective, DecodeError> {
    let number = cursor.u32()?;
    let row_count = cursor.u32()?;
    let id = CollectiveId::from_u128(u128::from_be_bytes(*cursor.array()?));
    let out_of_order = match cursor.u32()? {
        flags @ 0..=3 => [flags & 1 != 0, flags & 2 != 0],
        _ => return Err(cursor.wrong("an order has no meaning")),
    };
    let [definitions, agents] = [cursor.u32()?, cursor.u32()?];
    let [runs, activities] = [cursor.u32()?, cursor.u32()?];
    let mut collective = CheckpointCollective {
        number,
        id,
        row_count,
        at: *at,
        definitions: Vec::new(),
        agents: Vec::new(),
        runs: Vec::new(),
        activities: Vec::new(),
        out_of_order,
    };
    for _ in 0..definitions {
        let lsn = Lsn::new(cursor.u64()?);
        let payload = cursor.bytes()?;
        let record = CollectiveRecord::decode(id, payload)?;
        collective.definitions.push((lsn, record.collective));
    }
    let ascend = |(a, _): &(Lsn, Collective), (b, _): &(Lsn, Collective)| a < b;
    let (_, kind) = RowKind::of(number).ok_or_else(|| cursor.wrong("no table has this number"))?;
    if (definitions == 0) != (kind != RowKind::Experience)
        || !collective.definitions.is_sorted_by(ascend)
    {
        return Err(cursor.wrong("the definitions are missing or do not ascend"));
    }
    for _ in 0..agents {
        collective.agents.push(cursor.text()?);
    }
    let mut behind = None;
    for _ in 0..runs {
        let run = RowRun {
            first: cursor.u32()?,
            count: cursor.u32()?,
            at: *at,
        };
        let fits = run.count > 0
            && behind.is_none_or(|behind| run.first > behind)
            && run
                .first
                .checked_add(run.count)
                .is_some_and(|end| end <= row_count);
        if !fits {
            return Err(cursor.wrong("the rows do not ascend"));
        }
        behind = Some(run.rows().end);
        *at += u64::from(run.count);
        collective.runs.push(run);
    }
    for _ in 0..activities {
        let activity = decode_activity(cursor)?;
        collective.activities.push(activity);
    }
    let ascend = |a: &CheckpointActivity, b: &CheckpointActivity| {
        (&a.agent_id, a.lsn) < (&b.agent_id, b.lsn)
    };
    if !collective.activities.is_sorted_by(ascend) {
        return Err(cursor.wrong("the activities do not ascend"));
    }
    Ok(collective)
}

fn decode_activity(cursor: &mut Cursor<'_>) -> Result<CheckpointActivity, DecodeError> {
    let lsn = Lsn::new(cursor.u64()?);
    let kind = cursor.u8()?;
    let payload = cursor.bytes()?;
    match RecordKind::try_from(kind) {
        Ok(RecordKind::Activity) => {
            let record = ActivityRecord::decode(payload)?;
            Ok(CheckpointActivity {
                lsn,
                agent_id: record.agent_id.clone(),
                record: Some(record),
            })
        }
        Ok(RecordKind::ActivityEnded) => Ok(CheckpointActivity {
            lsn,
            agent_id: decode_activity_end(payload)?.to_owned(),
            record: None,
        }),
        _ => Err(cursor.wrong("no activity has this kind")),
    }
}

/// A count; nothing here comes near 2³².
fn put_count(out: &mut Vec<u8>, count: usize) {
    let count = u32::try_from(count).unwrap_or(u32::MAX);
    out.extend_from_slice(&count.to_le_bytes());
}

fn put_text(out: &mut Vec<u8>, text: &[u8]) {
    put_count(out, text.len());
    out.extend_from_slice(text);
}

/// What is left to read.
struct Cursor<'a> {
    rest: &'a [u8],
    len: usize,
}

impl<'a> Cursor<'a> {
    fn array<const N: usize>(&mut self) -> Result<&'a [u8; N], DecodeError> {
        let (head, rest) = self
            .rest
            .split_first_chunk()
            .ok_or_else(|| self.wrong("it is cut off"))?;
        self.rest = rest;
        Ok(head)
    }

    fn u8(&mut self) -> Result<u8, DecodeError> {
        self.array().map(|bytes| u8::from_le_bytes(*bytes))
    }

    fn u32(&mut self) -> Result<u32, DecodeError> {
        self.array().map(|bytes| u32::from_le_bytes(*bytes))
    }

    fn u64(&mut self) -> Result<u64, DecodeError> {
        self.array().map(|bytes| u64::from_le_bytes(*bytes))
    }

    fn bytes(&mut self) -> Result<&'a [u8], DecodeError> {
        let len = self.u32()?;
        let split = usize::try_from(len)
            .ok()
            .and_then(|len| self.rest.split_at_checked(len));
        let (head, rest) = split.ok_or_else(|| self.wrong("a text is cut off"))?;
        self.rest = rest;
        Ok(head)
    }

    fn text(&mut self) -> Result<String, DecodeError> {
        let bytes = self.bytes()?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(self.wrong("a text is not UTF-8")),
        }
    }

    fn wrong(&self, what: &'static str) -> DecodeError {
        let offset = self.len - self.rest.len();
        DecodeError {
            field: "checkpoint.directory",
            tag: 0,
            offset: u32::try_from(offset).unwrap_or(u32::MAX),
            what,
        }
    }
}
