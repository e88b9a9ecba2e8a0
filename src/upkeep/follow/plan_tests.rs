//! Does a reader that does what the plan says see every commit of the log, and nothing that is not in it?

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use std::collections::BTreeSet;

use proptest::prelude::*;

use super::*;
use crate::format::{Fork, SyncModeCode};

const START: u64 = SEGMENT_HEADER_LEN as u64;
const FRAME: u64 = 64;

/// A segment and the LSNs of its frames.
#[derive(Clone, Debug)]
struct Stored {
    header: SegmentHeader,
    lsns: Vec<u64>,
}

impl Stored {
    fn end(&self) -> u64 {
        START + FRAME * self.lsns.len() as u64
    }
}

/// A log as its writer keeps it.
#[derive(Debug)]
struct Log {
    segments: Vec<Stored>,
    /// Every LSN that was committed and not cut off, whether it is still in the log or not.
    history: BTreeSet<u64>,
    next: u64,
    next_id: u32,
    timeline: u32,
    retained: Lsn,
}

impl Log {
    fn new() -> Self {
        let mut log = Self {
            segments: Vec::new(),
            history: BTreeSet::new(),
            next: 1,
            next_id: 1,
            timeline: 1,
            retained: Lsn::ZERO,
        };
        log.begin();
        log
    }

    fn last(&self) -> Lsn {
        Lsn::new(self.history.last().copied().unwrap_or(0))
    }

    fn begin(&mut self) {
        let header = SegmentHeader {
            timeline: Timeline::new(self.timeline),
            instance_id: InstanceId::from_u128(7),
            first_lsn: Lsn::new(self.next),
            previous_lsn: self.last(),
            seed: 1,
            id: self.next_id,
            cipher: 0,
            key: 0,
            cleaned: Lsn::ZERO,
        };
        self.next_id += 1;
        self.segments.push(Stored {
            header,
            lsns: Vec::new(),
        });
    }

    fn commit(&mut self, count: u64) {
        for _ in 0..count {
            self.segments.last_mut().unwrap().lsns.push(self.next);
            self.history.insert(self.next);
            self.next += 1;
        }
    }

    fn roll(&mut self) {
        if !self.segments.last().unwrap().lsns.is_empty() {
            self.begin();
        }
    }

    /// The writer dies and another one comes; of the last commits some were never durable.
    fn crash(&mut self, cut: u64) {
        let active = self.segments.last_mut().unwrap();
        for _ in 0..cut {
            if let Some(lsn) = active.lsns.pop() {
                self.history.remove(&lsn);
                self.timeline += 1;
            }
        }
        if active.lsns.is_empty() {
            self.segments.pop();
        }
        self.next += 1_000;
        self.begin();
    }

    /// Rewrites some adjacent sealed segments without the frames that `keep` does not name.
    fn compact(&mut self, from: usize, count: usize, keep: u64) {
        let sealed = self.segments.len() - 1;
        let from = from.min(sealed);
        let to = (from + count).min(sealed);
        if from == to {
            return;
        }
        let horizon = self.last();
        let run: Vec<Stored> = self.segments.drain(from..to).collect();
        let lsns: Vec<u64> = run.iter().flat_map(|one| one.lsns.clone()).collect();
        let kept: Vec<u64> = lsns
            .into_iter()
            .enumerate()
            .filter(|(at, _)| keep >> (at % 64) & 1 == 1)
            .map(|(_, lsn)| lsn)
            .collect();
        self.retained = self.retained.max(horizon);
        let id = self.next_id;
        self.next_id += 1;
        if !kept.is_empty() {
            let header = SegmentHeader {
                id,
                cleaned: horizon,
                ..run[0].header
            };
            self.segments.insert(from, Stored { header, lsns: kept });
        }
    }

    fn manifest(&self) -> Manifest {
        let active = self.segments.len() - 1;
        let entries = self.segments.iter().enumerate();
        Manifest {
            instance_id: InstanceId::from_u128(7),
            created_at: crate::model::Timestamp::from_millis(1),
            generation: 1,
            timeline: Timeline::new(self.timeline),
            forks: Vec::<Fork>::new(),
            retained_from: self.retained,
            next_segment: self.next_id,
            segments: entries
                .map(|(at, one)| SegmentEntry {
                    id: one.header.id,
                    first_lsn: one.header.first_lsn,
                    end: if at == active { 0 } else { one.end() },
                })
                .collect(),
            checkpoint: Lsn::ZERO,
            sync_mode: SyncModeCode::Fast,
            session: Lsn::new(1),
            unknown: Default::default(),
        }
    }
}

/// A reader, and what it has seen.
#[derive(Debug)]
struct Reader {
    own: Own,
    seen: BTreeSet<u64>,
}

impl Reader {
    fn new(log: &Log) -> Self {
        Self {
            own: Own {
                instance: InstanceId::from_u128(7),
                timeline: Timeline::new(log.timeline),
                applied: log.last(),
                named: log.manifest().segments,
                end: log.segments.last().unwrap().end(),
            },
            seen: log.history.clone(),
        }
    }

    fn read(&mut self, segment: &Stored) {
        let new: Vec<u64> = segment
            .lsns
            .iter()
            .copied()
            .filter(|lsn| *lsn > self.own.applied.get())
            .collect();
        self.own.applied = Lsn::new(new.last().map_or(self.own.applied.get(), |lsn| *lsn));
        self.seen.extend(new);
        self.own.end = segment.end();
    }

    fn look(&mut self, log: &Log) -> Result<(), TestCaseError> {
        let before = self.own.applied;
        let active = log.segments.last().unwrap();
        match step(&self.own, &log.manifest()) {
            Step::Foreign => return Err(TestCaseError::fail("it is the same database")),
            Step::Stay => self.read(active),
            Step::Extend(extension) => {
                let last = self.own.named.last().unwrap().id;
                if let Some(end) = extension.sealed {
                    let last = log.segments.iter().find(|one| one.header.id == last);
                    prop_assert_eq!(last.unwrap().end(), end);
                    self.read(last.unwrap());
                }
                for entry in &extension.more {
                    let next = log.segments.iter().find(|one| one.header.id == entry.id);
                    let next = next.unwrap();
                    if !goes_on(&next.header, self.own.applied) {
                        return self.begin_anew(log, before);
                    }
                    self.read(next);
                }
            }
            Step::Rebuild => return self.begin_anew(log, before),
        }
        prop_assert_eq!(&self.seen, &log.history);
        *self = Self::new(log);
        Ok(())
    }

    fn begin_anew(&mut self, log: &Log, told: Lsn) -> Result<(), TestCaseError> {
        let headers = log.segments.iter().map(|one| &one.header);
        let past = past(told, headers, log.last(), log.retained);
        if past == Past::Known {
            // Watchers go on with what is behind what they were told: all of that is there to tell.
            let told: BTreeSet<u64> = self.seen.range(..=told.get()).copied().collect();
            prop_assert!(told.is_subset(&log.history));
            let there = log.segments.iter().flat_map(|one| one.lsns.clone());
            let all: BTreeSet<u64> = there.chain(told).collect();
            prop_assert_eq!(&all, &log.history);
        }
        *self = Self::new(log);
        Ok(())
    }
}

#[derive(Clone, Debug)]
enum Act {
    Commit(u64),
    Roll,
    Crash(u64),
    Compact(usize, usize, u64),
    Look,
}

fn act() -> impl Strategy<Value = Act> {
    prop_oneof![
        4 => (1..4_u64).prop_map(Act::Commit),
        2 => Just(Act::Roll),
        1 => (0..3_u64).prop_map(Act::Crash),
        1 => (0..4_usize, 1..4_usize, any::<u64>()).prop_map(|(a, b, c)| Act::Compact(a, b, c)),
        1 => (0..4_usize, 1..4_usize).prop_map(|(a, b)| Act::Compact(a, b, 0)),
        3 => Just(Act::Look),
    ]
}

proptest! {
    #[test]
    fn nothing_is_missed_and_nothing_is_seen_that_is_not_there(
        acts in proptest::collection::vec(act(), 1..60),
    ) {
        let mut log = Log::new();
        let mut reader = Reader::new(&log);
        for act in acts {
            match act {
                Act::Commit(count) => log.commit(count),
                Act::Roll => log.roll(),
                Act::Crash(cut) => log.crash(cut),
                Act::Compact(from, count, keep) => log.compact(from, count, keep),
                Act::Look => reader.look(&log)?,
            }
        }
        reader.look(&log)?;
    }
}

#[test]
fn another_database_is_none_to_follow() {
    let log = Log::new();
    let reader = Reader::new(&log);
    let other = Manifest {
        instance_id: InstanceId::from_u128(8),
        ..log.manifest()
    };
    assert_eq!(step(&reader.own, &other), Step::Foreign);
    assert_eq!(step(&reader.own, &log.manifest()), Step::Stay);
    let unknown = Own {
        named: Vec::new(),
        ..reader.own
    };
    assert_eq!(step(&unknown, &log.manifest()), Step::Rebuild);
}
