//! How does a commit travel to others?
//!
//! One envelope per commit: length and checksum in front, then the frames of its records, each with
//! its header as in a segment of seed 0 and without padding. The document calls this the change feed. Every
//! decoder is a total function of its bytes. `watch` makes the changes, applications read them.

use super::{
    DecodeError, FRAME_HEADER_LEN, FrameHeader, Record, array_at, entity_of, frame_payload_len,
    logged, verify_frame,
};
use crate::model::{Change, ChangeCommit, ChangeRecord, Cursor, Lsn, Timeline, Timestamp};

/// Length and checksum.
const ENVELOPE_LEN: usize = 8;
/// Version, kind, two bytes reserved, timeline, LSN, and time or the timeline and LSN of the other end.
const COMMIT_HEADER_LEN: usize = 24;
const GAP_LEN: usize = 28;
/// The version that this build writes, and the newest that it reads.
const VERSION: u8 = 1;
const COMMIT: u8 = 1;
const GAP: u8 = 2;
/// A commit is at most as long as a segment: what says to be longer is none.
const MAX_BYTES: u32 = 1 << 31;

/// Appends one record of a commit.
pub fn append_record(header: &FrameHeader, payload: &[u8], frames: &mut Vec<u8>) {
    frames.extend_from_slice(&header.encode(0));
    frames.extend_from_slice(payload);
}

/// The bytes of a change.
#[must_use]
pub fn encode_change(change: &Change) -> Vec<u8> {
    let mut out = vec![0; ENVELOPE_LEN];
    match change {
        Change::Commit(commit) => {
            out.reserve(COMMIT_HEADER_LEN + commit.frames.len());
            out.extend_from_slice(&[VERSION, COMMIT, 0, 0]);
            put_cursor(&mut out, commit.cursor);
            out.extend_from_slice(&commit.timestamp.as_millis().to_le_bytes());
            out.extend_from_slice(&commit.frames);
        }
        Change::Gap { from, to } => {
            out.extend_from_slice(&[VERSION, GAP, 0, 0]);
            put_cursor(&mut out, *to);
            put_cursor(&mut out, *from);
        }
    }
    let body = out.get(ENVELOPE_LEN..).unwrap_or_default();
    let (len, crc) = (body.len() as u32, crc32fast::hash(body));
    super::put_at(&mut out, 0, &len.to_le_bytes());
    super::put_at(&mut out, 4, &crc.to_le_bytes());
    out
}

/// The change at the start of `bytes`, and how many of them it takes; `None` where they end before it
/// does. Every record of a commit was decoded once.
pub fn decode_change(bytes: &[u8]) -> Result<Option<(Change, usize)>, DecodeError> {
    let Some((head, rest)) = bytes.split_first_chunk::<ENVELOPE_LEN>() else {
        return Ok(None);
    };
    let len = u32::from_le_bytes(array_at(head, 0));
    if len > MAX_BYTES {
        return Err(wrong("change.length", "it is longer than any commit"));
    }
    let len = len as usize;
    let Some(body) = rest.get(..len) else {
        return Ok(None);
    };
    if crc32fast::hash(body) != u32::from_le_bytes(array_at(head, 4)) {
        return Err(wrong("change.checksum", "it does not match the bytes"));
    }
    let [version, kind, first, second] = array_at(body, 0);
    if len < COMMIT_HEADER_LEN || version != VERSION || [first, second] != [0, 0] {
        return Err(wrong("change.version", "this build does not know it"));
    }
    let change = match kind {
        COMMIT => {
            let commit = ChangeCommit {
                cursor: cursor_at(body, 4),
                timestamp: Timestamp::from_millis(i64::from_le_bytes(array_at(body, 16))),
                frames: body.get(COMMIT_HEADER_LEN..).unwrap_or_default().to_vec(),
            };
            records_of(&commit)?;
            Change::Commit(commit)
        }
        GAP if len == GAP_LEN => Change::Gap {
            from: cursor_at(body, 16),
            to: cursor_at(body, 4),
        },
        _ => return Err(wrong("change.kind", "there is no such kind")),
    };
    Ok(Some((change, ENVELOPE_LEN + len)))
}

/// The records of a commit.
pub fn records_of(commit: &ChangeCommit) -> Result<Vec<ChangeRecord>, DecodeError> {
    let mut records = Vec::new();
    let mut rest = commit.frames.as_slice();
    while !rest.is_empty() {
        let (header, payload) = verify_frame(rest, 0)
            .map_err(|_| wrong("change.records", "there is no frame where one should be"))?;
        let record = Record::decode(&header, payload)?;
        records.push(ChangeRecord {
            lsn: header.lsn,
            collective: header.collective,
            row: header.row,
            entity: entity_of(&header),
            record: logged(header.dimension, record, true, true)?,
        });
        let len = FRAME_HEADER_LEN + frame_payload_len(rest) as usize;
        rest = rest.get(len..).unwrap_or_default();
    }
    match records.last() {
        Some(last) if last.lsn == commit.cursor.lsn => Ok(records),
        _ => Err(wrong("change.cursor", "it is not that of the last record")),
    }
}

fn put_cursor(out: &mut Vec<u8>, cursor: Cursor) {
    out.extend_from_slice(&cursor.timeline.get().to_le_bytes());
    out.extend_from_slice(&cursor.lsn.get().to_le_bytes());
}

fn cursor_at(bytes: &[u8], at: usize) -> Cursor {
    Cursor {
        timeline: Timeline::new(u32::from_le_bytes(array_at(bytes, at))),
        lsn: Lsn::new(u64::from_le_bytes(array_at(bytes, at + 4))),
    }
}

const fn wrong(field: &'static str, what: &'static str) -> DecodeError {
    DecodeError {
        field,
        tag: 0,
        offset: 0,
        what,
    }
}
