//! Was this part of a segment in memory a moment ago?
//!
//! Asking the system costs as much as a whole warm read, so an answer holds for a block of the file
//! and for [`MOMENT_MILLIS`]: what was in memory then, and is being read, is not what the system
//! evicts first. Where it is wrong, one read waits for the medium on a thread that should not.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, Ordering},
};

use crate::{model::Timestamp, vfs::Map};

/// Bytes of a block: small enough that the first reads after a cold start soon find whole ones, large
/// enough that what is known of a GiB stays in the first-level cache.
const BLOCK_BYTES: u64 = 256 * 1024;

/// How long an answer holds.
const MOMENT_MILLIS: i64 = 1_024;

/// When each block of a map was last seen to be in memory.
#[derive(Debug)]
pub(super) struct Residency(Box<[AtomicU64]>);

impl Residency {
    /// Nothing known about a map of `len` bytes.
    pub(super) fn new(len: u64) -> Self {
        let blocks = len.div_ceil(BLOCK_BYTES);
        Self((0..blocks).map(|_| AtomicU64::new(0)).collect())
    }

    /// Is `range` of `map` in memory at `now`, as far as was seen in this moment? Behind `end`, where
    /// nothing is read, it need not be.
    #[inline]
    pub(super) fn covers(&self, map: &Map, range: Range<u64>, end: u64, now: Timestamp) -> bool {
        let moment = (now.as_millis() / MOMENT_MILLIS) as u64;
        let mut blocks = range.start / BLOCK_BYTES..range.end.div_ceil(BLOCK_BYTES);
        let all_seen = blocks.all(|block| {
            let start = block * BLOCK_BYTES;
            let seen = usize::try_from(block).ok().and_then(|at| self.0.get(at));
            seen.is_some_and(|seen| {
                if seen.load(Ordering::Relaxed) == moment {
                    return true;
                }
                let resident = map.is_resident(start..(start + BLOCK_BYTES).min(end));
                if resident {
                    seen.store(moment, Ordering::Relaxed);
                }
                resident
            })
        });
        all_seen || map.is_resident(range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::vfs::{OpenMode, OsVfs, Vfs};

    #[test]
    fn what_was_seen_holds_for_a_moment_and_holes_are_never_seen() {
        let dir = tempfile::tempdir().unwrap();
        let file = OsVfs
            .open(&dir.path().join("segment"), OpenMode::CreateNew)
            .unwrap();
        let len = 4 * BLOCK_BYTES;
        file.write_all_at(&vec![7; BLOCK_BYTES as usize + 100], 0)
            .unwrap();
        file.write_all_at(&[7], len - 1).unwrap();
        let map = file.map(len).unwrap();
        let residency = Residency::new(len);
        let now = Timestamp::from_millis(10 * MOMENT_MILLIS);
        let end = BLOCK_BYTES + 100;
        let covers = |range, end, now| residency.covers(&map, range, end, now);
        assert!(covers(0..end, end, now));
        let seen = |block: usize| residency.0[block].load(Ordering::Relaxed);
        assert_eq!((seen(0), seen(1)), (10, 10));
        let hole = 2 * BLOCK_BYTES..2 * BLOCK_BYTES + 64;
        assert!(!covers(hole.clone(), len, now));
        assert!(!covers(0..len + 1, len, now), "beyond the map");
        let later = Timestamp::from_millis(11 * MOMENT_MILLIS);
        assert!(!covers(hole, len, later));
        assert!(covers(0..64, end, later));
        assert_eq!((seen(0), seen(1), seen(2)), (11, 10, 0));
    }
}
