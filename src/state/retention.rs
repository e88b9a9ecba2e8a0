//! How far back does history have to reach?
//!
//! Pure. Notes now and then how long the log was at which LSN and time, and says from there where so
//! many bytes or so much time ago it was. The answer is as coarse as the notes: it reaches further
//! back than asked, never less far.

use std::collections::VecDeque;

use crate::model::{Lsn, Timestamp};

/// Notes per span: the answer is at most about a thousandth of the span too old.
const NOTES_PER_SPAN: u64 = 1000;
/// Least distance of two notes in bytes, and in milliseconds.
const LEAST_BYTES: u64 = 64 * 1024;
const LEAST_MS: u64 = 100;

/// A moment in the life of the log.
#[derive(Clone, Copy, Debug)]
pub struct Note {
    /// The newest commit.
    pub lsn: Lsn,
    /// When it was made.
    pub time: Timestamp,
    /// How long the log was behind it.
    pub bytes: u64,
}

/// Where a span of bytes, or of time, begins, whichever reaches further back.
#[derive(Debug)]
pub struct Retention {
    bytes: u64,
    ms: u64,
    /// Oldest first; the first is the newest that is old enough.
    notes: VecDeque<Note>,
    newest: Option<Note>,
}

impl Retention {
    /// Spans so many bytes and so many milliseconds.
    #[must_use]
    pub const fn new(bytes: u64, ms: u64) -> Self {
        Self {
            bytes,
            ms,
            notes: VecDeque::new(),
            newest: None,
        }
    }

    /// Notes the present; moments ascend.
    pub fn note(&mut self, note: Note) {
        self.newest = Some(note);
        let due = self.notes.back().is_none_or(|last| {
            let bytes = note.bytes.saturating_sub(last.bytes);
            bytes >= (self.bytes / NOTES_PER_SPAN).max(LEAST_BYTES)
                || milliseconds(last.time, note.time) >= (self.ms / NOTES_PER_SPAN).max(LEAST_MS)
        });
        if due {
            self.notes.push_back(note);
        }
        while self.notes.get(1).is_some_and(|next| self.is_past(next)) {
            self.notes.pop_front();
        }
    }

    /// What has been replaced at or below this LSN is not needed for the span; zero where all of it
    /// is. Where there is no span, nothing is.
    #[must_use]
    pub fn floor(&self) -> Lsn {
        if self.bytes == 0 && self.ms == 0 {
            return Lsn::new(u64::MAX);
        }
        match self.notes.front() {
            Some(note) if self.is_past(note) => note.lsn,
            _ => Lsn::ZERO,
        }
    }

    /// Does the span begin behind this moment?
    fn is_past(&self, note: &Note) -> bool {
        self.newest.is_some_and(|newest| {
            newest.bytes.saturating_sub(note.bytes) >= self.bytes
                && milliseconds(note.time, newest.time) >= self.ms
        })
    }
}

fn milliseconds(from: Timestamp, to: Timestamp) -> u64 {
    u64::try_from(to.as_millis().saturating_sub(from.as_millis())).unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn without_a_span_nothing_is_needed() {
        assert_eq!(Retention::new(0, 0).floor(), Lsn::new(u64::MAX));
    }

    proptest! {
        #[test]
        fn the_floor_is_behind_the_span_and_not_far(
            bytes in prop_oneof![Just(0), 1u64..1 << 30],
            ms in prop_oneof![Just(0), 1u64..1 << 30],
            steps in proptest::collection::vec((1u64..1 << 22, 0i64..5000), 1..400),
        ) {
            prop_assume!(bytes + ms > 0);
            let mut retention = Retention::new(bytes, ms);
            let mut all: Vec<Note> = Vec::new();
            let (mut total, mut time) = (0, 0);
            for (number, (more, later)) in steps.into_iter().enumerate() {
                total += more;
                time += later;
                let note = Note {
                    lsn: Lsn::new(number as u64 + 1),
                    time: Timestamp::from_millis(time),
                    bytes: total,
                };
                all.push(note);
                retention.note(note);
                let exact = all.iter().rev()
                    .find(|old| total - old.bytes >= bytes
                        && (time - old.time.as_millis()) as u64 >= ms)
                    .map_or(Lsn::ZERO, |old| old.lsn);
                let floor = retention.floor();
                prop_assert!(floor <= exact);
                let wanted = all.iter().filter(|old| retention.is_past(old));
                let skipped = wanted.skip_while(|old| old.lsn <= floor).count();
                if let (true, Some(first)) = (skipped > 1, all.iter().find(|old| old.lsn > floor)) {
                    let last = all.iter().rfind(|old| retention.is_past(old)).unwrap();
                    prop_assert!(last.bytes - first.bytes < (bytes / NOTES_PER_SPAN).max(LEAST_BYTES));
                    let later = milliseconds(first.time, last.time);
                    prop_assert!(later < (ms / NOTES_PER_SPAN).max(LEAST_MS));
                }
            }
        }
    }
}
