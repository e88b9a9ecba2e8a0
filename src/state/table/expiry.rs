//! Which rows of a table have expired, and is it worth asking?
//!
//! A table knows a moment before which no living row of it expires: the committer lowers it with each row
//! and each version, and whoever walks the rows sets it to what the walk found. Readers need none of this:
//! they leave expired rows out by themselves. Invariant: the moment is never too late, if whoever
//! [takes](Table::take_expiry) it does so while nothing is being applied, and then walks a snapshot of
//! everything that was.

use super::{AllRows, Rows};
use crate::{model::Timestamp, sync::atomic::Ordering};

/// No living row expires.
pub(super) const NEVER: u64 = u64::MAX;
/// Nobody has asked the rows.
pub(super) const UNKNOWN: u64 = 0;

/// What a walk met.
#[derive(Debug, Default)]
pub struct ExpiryWalk {
    /// Ids of rows that have expired.
    pub expired: Vec<u128>,
    /// When the first of the others does.
    pub next: Option<Timestamp>,
    /// Where the walk is to go on; `None` at its end.
    pub go_on: Option<usize>,
}

impl AllRows {
    /// Notes that a row expires then. For the committer.
    pub(super) fn note_expiry(&self, pinned: bool, expires_at: Option<Timestamp>) {
        if let Some(at) = expires_at
            && !pinned
        {
            self.expect_expiry(at);
        }
    }

    /// Notes that rows are to be asked at `at`.
    pub fn expect_expiry(&self, at: Timestamp) {
        self.next_expiry.fetch_min(moment(at), Ordering::AcqRel);
    }

    /// Whether rows may have expired at `now`. If so, they are taken to be asked: who takes them sees to
    /// it that what is left to expire is [expected](Table::expect_expiry) again.
    pub fn take_expiry(&self, now: Timestamp) -> bool {
        if self.next_expiry.load(Ordering::Acquire) > moment(now) {
            return false;
        }
        self.next_expiry.store(NEVER, Ordering::Release);
        true
    }
}

impl Rows {
    /// The visible rows that have expired at `now`, from the chunk `from` on, chunk by chunk until there
    /// are `enough`. What nobody has asked for before does not stay in memory.
    #[must_use]
    pub fn expired(&self, from: usize, now: Timestamp, enough: usize) -> ExpiryWalk {
        let mut walk = ExpiryWalk::default();
        for (index, chunk) in self.chunks.iter().enumerate().skip(from) {
            if walk.expired.len() >= enough {
                walk.go_on = Some(index);
                break;
            }
            let Some(chunk) = chunk else { continue };
            chunk.with_slots(|slots| {
                for slot in slots {
                    let Some(row) = slot.visible(self.lsn) else {
                        continue;
                    };
                    let (expires_at, pinned) = if slot.unchanged() {
                        (row.expires_at, row.pinned)
                    } else {
                        let values = slot.values(row, self.lsn);
                        (values.expires_at, values.pinned)
                    };
                    match expires_at.filter(|_| !pinned) {
                        Some(at) if at <= now => walk.expired.push(row.id),
                        Some(at) => walk.next = Some(walk.next.map_or(at, |next| next.min(at))),
                        None => {}
                    }
                }
            });
        }
        walk
    }
}

/// Moments before 1970 are as good as 1970: both are past.
fn moment(at: Timestamp) -> u64 {
    u64::try_from(at.as_millis()).unwrap_or(0)
}
