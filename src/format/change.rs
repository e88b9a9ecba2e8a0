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

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]

    use proptest::{collection::vec, prelude::*};

    use super::*;
    use crate::format::{RecordKind, payload_crc};

    fn header(lsn: u64, kind: RecordKind, payload: &[u8]) -> FrameHeader {
        FrameHeader {
            payload_len: payload.len() as u32,
            payload_crc: payload_crc(payload),
            kind,
            closes_commit: false,
            dimension: 0,
            lsn: Lsn::new(lsn),
            time: Timestamp::from_millis(5),
            collective: 1,
            row: 2,
            entity: 3,
            durable_upto: Lsn::ZERO,
        }
    }

    fn commit(agents: &[String]) -> ChangeCommit {
        let mut frames = Vec::new();
        for (agent, lsn) in agents.iter().zip(10..) {
            let mut payload = Vec::new();
            crate::format::encode_activity_end(agent, &mut payload);
            let header = header(lsn, RecordKind::ActivityEnded, &payload);
            append_record(&header, &payload, &mut frames);
        }
        ChangeCommit {
            cursor: cursor(9 + agents.len() as u64),
            timestamp: Timestamp::from_millis(77),
            frames,
        }
    }

    fn cursor(lsn: u64) -> Cursor {
        Cursor {
            timeline: Timeline::new(3),
            lsn: Lsn::new(lsn),
        }
    }

    proptest! {
        #[test]
        fn what_was_written_is_read_and_nothing_else_is(
            agents in vec("[a-z]{1,20}", 1..5),
            behind in vec(any::<u8>(), 0..9),
            bit in any::<prop::sample::Index>(),
            cut in any::<prop::sample::Index>(),
        ) {
            let gap = Change::Gap { from: cursor(4), to: cursor(9) };
            for change in [Change::Commit(commit(&agents)), gap] {
                let bytes = encode_change(&change);
                let len = bytes.len();
                let whole = [&bytes[..], &behind].concat();
                prop_assert_eq!(decode_change(&whole), Ok(Some((change.clone(), len))));
                prop_assert_eq!(decode_change(&bytes[..cut.index(len)]), Ok(None));
                let mut flipped = bytes.clone();
                let bit = bit.index(len * 8);
                flipped[bit / 8] ^= 1 << (bit % 8);
                // A length that grew asks for more.
                prop_assert!(!matches!(decode_change(&flipped), Ok(Some(_))), "bit {bit}");
            }
        }

        #[test]
        fn any_bytes_have_an_answer(bytes in vec(any::<u8>(), 0..200)) {
            let _ = decode_change(&bytes);
            let mut right = (bytes.len() as u32).to_le_bytes().to_vec();
            right.extend(crc32fast::hash(&bytes).to_le_bytes());
            right.extend(bytes);
            let _ = decode_change(&right);
        }
    }

    #[test]
    fn records_are_those_of_the_commit() {
        let mut commit = commit(&["ann".into(), "bob".into()]);
        let records = records_of(&commit).unwrap();
        assert_eq!((records.len(), records[1].lsn), (2, Lsn::new(11)));
        commit.cursor.lsn = Lsn::new(12);
        assert!(records_of(&commit).is_err());
        commit.frames.clear();
        assert!(records_of(&commit).is_err(), "no commit is empty");
    }
}
