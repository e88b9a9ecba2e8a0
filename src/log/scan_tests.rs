//! Is damage told from a torn end, byte by byte?

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::prelude::*;

use super::*;
use crate::{
    format::{FrameHeader, SEGMENT_HEADER_LEN, payload_crc},
    model::{Lsn, Timestamp},
};

const SEED: u32 = 0x5eed_1234;
const LEN: usize = 64 * 1024;
const FIRST: u64 = 100;

/// A segment in the making.
struct Log {
    bytes: Vec<u8>,
    at: usize,
    lsn: u64,
    seed: u32,
    /// Offset of each frame.
    frames: Vec<usize>,
}

impl Log {
    fn new() -> Self {
        Self {
            bytes: vec![0; LEN],
            at: SEGMENT_HEADER_LEN,
            lsn: FIRST,
            seed: SEED,
            frames: Vec::new(),
        }
    }

    fn frame(&mut self, kind: RecordKind, closes_commit: bool, durable: u64, len: usize) {
        let payload = vec![0xa5; len];
        let header = FrameHeader {
            payload_len: len as u32,
            payload_crc: payload_crc(&payload),
            kind,
            closes_commit,
            dimension: 0,
            lsn: Lsn::new(self.lsn),
            time: Timestamp::from_millis(self.lsn as i64),
            collective: 1,
            row: 1,
            entity: 1,
            durable_upto: Lsn::new(durable),
        };
        self.frames.push(self.at);
        self.bytes[self.at..self.at + 64].copy_from_slice(&header.encode(self.seed));
        self.bytes[self.at + 64..self.at + 64 + len].copy_from_slice(&payload);
        self.at += header.frame_len() as usize;
        self.lsn += 1;
    }

    /// A commit of `count` frames, written when everything up to `durable` was durable.
    fn commit(&mut self, count: usize, durable: u64) {
        for index in 1..=count {
            self.frame(RecordKind::Vitals, index == count, durable, 150);
        }
    }

    fn close(&mut self) {
        let durable = self.lsn - 1;
        self.frame(RecordKind::Close, true, durable, 0);
    }

    /// Nothing of this frame reached the medium.
    fn lose(&mut self, frame: usize) {
        let end = self.frames.get(frame + 1).copied().unwrap_or(self.at);
        self.bytes[self.frames[frame]..end].fill(0);
    }

    fn survey(&self) -> Survey {
        survey(self.bytes.as_slice(), &last())
    }

    fn end_of(&self, frame: usize) -> u64 {
        self.frames.get(frame + 1).copied().unwrap_or(self.at) as u64
    }
}

fn last() -> Terms {
    Terms {
        seed: SEED,
        from: SEGMENT_HEADER_LEN as u64,
        after: FIRST - 1,
        limit: LEN as u64,
        durable: 0,
        upto: u64::MAX,
        session: FIRST,
    }
}

fn sealed(end: u64) -> Terms {
    Terms {
        limit: end,
        durable: u64::MAX,
        session: u64::MAX,
        ..last()
    }
}

#[test]
fn an_empty_segment_has_nothing() {
    let found = Log::new().survey();
    assert_eq!(found.end, SEGMENT_HEADER_LEN as u64);
    assert_eq!((found.frames, found.last_lsn), (0, FIRST - 1));
    assert_eq!((found.torn, found.closed), (None, None));
    assert!(found.damage.is_empty());
}

#[test]
fn a_half_commit_at_the_end_is_dropped() {
    let mut log = Log::new();
    log.commit(2, 0);
    log.commit(3, 0);
    log.lose(4);
    let found = log.survey();
    assert_eq!((found.frames, found.last_lsn), (2, FIRST + 1));
    assert_eq!(found.end, log.end_of(1));
    let torn = found.torn.unwrap();
    assert_eq!(torn.at, found.end);
    assert_eq!(torn.bytes, log.end_of(3) - log.end_of(1));
    assert_eq!(found.highest_lsn, FIRST + 3);
}

#[test]
fn behind_a_torn_frame_even_whole_commits_are_dropped() {
    let mut log = Log::new();
    log.commit(1, 0);
    // A group of three commits, none of them synced; the first write was lost.
    for _ in 0..3 {
        log.commit(1, FIRST);
    }
    log.lose(1);
    let found = log.survey();
    assert_eq!((found.frames, found.last_lsn), (1, FIRST));
    assert!(found.damage.is_empty());
    assert_eq!(found.torn.unwrap().at, log.end_of(0));
    assert_eq!(found.highest_lsn, FIRST + 3);
}

#[test]
fn a_later_sync_makes_it_damage() {
    let mut log = Log::new();
    log.commit(1, 0);
    log.commit(2, FIRST);
    log.commit(1, FIRST + 2);
    for (frame, survivors) in [(0, 3), (1, 3), (2, 3)] {
        let mut log = Log {
            bytes: log.bytes.clone(),
            frames: log.frames.clone(),
            ..log
        };
        log.lose(frame);
        let found = log.survey();
        assert_eq!(found.frames, survivors);
        assert_eq!(found.last_lsn, FIRST + 3);
        assert_eq!(found.torn, None);
        assert_eq!(found.damage.len(), 1);
        assert_eq!(found.damage[0].at, log.frames[frame] as u64);
    }
}

#[test]
fn damage_and_a_torn_end_are_told_apart() {
    let mut log = Log::new();
    log.commit(1, 0);
    log.commit(1, FIRST);
    log.commit(1, FIRST + 1);
    log.commit(1, FIRST + 1);
    log.commit(1, FIRST + 1);
    // The second was durable when the third was written; the fourth never was.
    log.bytes[log.frames[1] + 70] ^= 1;
    log.bytes[log.frames[3] + 70] ^= 1;
    let found = log.survey();
    assert_eq!(found.damage.len(), 1);
    assert_eq!(found.damage[0].at, log.frames[1] as u64);
    assert_eq!((found.frames, found.last_lsn), (2, FIRST + 2));
    assert_eq!(found.torn.unwrap().at, log.frames[3] as u64);
}

#[test]
fn a_close_ends_the_log_of_its_session_only() {
    let mut log = Log::new();
    log.commit(1, 0);
    log.close();
    let found = log.survey();
    assert_eq!(found.closed, Some(FIRST + 1));
    assert_eq!((found.end, found.torn), (log.at as u64, None));
    let later = Terms {
        session: FIRST + 2,
        ..last()
    };
    let found = survey(log.bytes.as_slice(), &later);
    assert_eq!(found.closed, None, "somebody opened it since");
    log.commit(1, FIRST + 1);
    let found = survey(log.bytes.as_slice(), &later);
    assert_eq!((found.closed, found.frames), (None, 3));
}

#[test]
fn below_the_end_of_a_sealed_segment_everything_counts() {
    let mut log = Log::new();
    log.commit(1, 0);
    log.commit(2, 0);
    let terms = sealed(log.at as u64);
    for frame in 0..3 {
        let mut log = Log {
            bytes: log.bytes.clone(),
            frames: log.frames.clone(),
            ..log
        };
        log.lose(frame);
        let found = survey(log.bytes.as_slice(), &terms);
        assert_eq!(found.frames, 2, "frame {frame}");
        assert_eq!(found.damage.len(), 1);
        assert_eq!(found.damage[0].at, log.frames[frame] as u64);
        assert_eq!(found.torn, None);
    }
    // Cut short, as by a truncated file.
    let found = survey(&log.bytes[..log.frames[1] + 10], &terms);
    assert_eq!(found.frames, 1);
    assert_eq!(found.damage.len(), 1);
}

#[test]
fn frames_of_another_seed_or_an_earlier_time_do_not_pass() {
    let mut log = Log::new();
    log.commit(1, 0);
    log.seed = SEED + 1;
    log.lsn += 10;
    log.commit(1, FIRST);
    let found = log.survey();
    assert_eq!(found.frames, 1);
    assert!(found.torn.is_some());
    log.seed = SEED;
    log.lsn = FIRST;
    log.commit(1, 0);
    let found = log.survey();
    assert_eq!((found.frames, found.last_lsn), (1, FIRST));
}

#[test]
fn what_is_beyond_the_reach_is_not_looked_at() {
    let mut log = Log::new();
    for durable in 0..3 {
        log.commit(1, if durable == 0 { 0 } else { FIRST + durable - 1 });
    }
    let terms = Terms {
        upto: FIRST + 1,
        durable: FIRST + 1,
        ..last()
    };
    let found = survey(log.bytes.as_slice(), &terms);
    assert_eq!((found.frames, found.last_lsn), (2, FIRST + 1));
    assert_eq!((found.end, found.torn), (log.end_of(1), None));
}

#[test]
fn the_index_is_sparse_and_stops_at_the_end() {
    let mut log = Log::new();
    log.bytes.resize(4 * LEN, 0);
    while log.at < 3 * LEN {
        log.commit(1, log.lsn - 1);
    }
    let terms = Terms {
        limit: 4 * LEN as u64,
        ..last()
    };
    let found = survey(log.bytes.as_slice(), &terms);
    assert_eq!(found.index.len(), 3);
    assert_eq!(found.index[0], (FIRST, 64));
    for (lsn, unit) in &found.index {
        let frame = (lsn - FIRST) as usize;
        assert_eq!(log.frames[frame] as u64, u64::from(*unit) * UNIT_BYTES);
    }
}

proptest! {
    /// Whatever a crash or a bad disk made of the bytes: no panic, and no frame that nobody wrote.
    #[test]
    fn any_damage_leaves_only_what_was_written(
        hits in prop::collection::vec((SEGMENT_HEADER_LEN..12_000_usize, any::<u8>()), 0..40),
        durable in prop::bool::ANY,
    ) {
        let mut log = Log::new();
        for count in [1, 3, 2, 4, 1, 2, 5] {
            let durable = log.lsn - 1;
            log.commit(count, durable);
        }
        log.close();
        for (at, byte) in hits {
            log.bytes[at] = byte;
        }
        let terms = Terms { durable: if durable { u64::MAX } else { 0 }, ..last() };
        let found = survey(log.bytes.as_slice(), &terms);
        prop_assert!(found.frames <= log.frames.len() as u64);
        prop_assert!(found.end <= LEN as u64);
        prop_assert!(found.last_lsn < log.lsn);
        for damage in &found.damage {
            prop_assert!(damage.at <= found.end);
        }
    }
}
