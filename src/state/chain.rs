//! How does something that changes keep the versions that snapshots still need?
//!
//! A chain of immutable entries, newest first, behind one cell. The committer pushes; readers walk
//! to the newest entry at or below their LSN. A push drops every entry that no live snapshot can
//! see: of those at or below the horizon (the oldest live snapshot) only the newest stays.

use crate::{
    model::Lsn,
    sync::{Arc, Swap},
};

/// One version.
#[derive(Debug)]
pub struct Entry<T> {
    /// Since when it holds.
    pub lsn: Lsn,
    /// The value.
    pub value: T,
    /// Entries from here on.
    length: u32,
    /// Length at which a push looks for what can be dropped, so that a chain which an old snapshot
    /// keeps long is not walked at every push.
    look_at: u32,
    previous: Option<Arc<Entry<T>>>,
}

const FIRST_LOOK: u32 = 2;

/// All versions that are still needed.
#[derive(Debug)]
pub struct Chain<T>(Swap<Entry<T>>);

impl<T> Default for Chain<T> {
    fn default() -> Self {
        Self(Swap::new(None))
    }
}

impl<T: Clone> Chain<T> {
    /// The newest version at or below `lsn`.
    pub fn at<R>(&self, lsn: Lsn, look: impl FnOnce(&T) -> R) -> Option<R> {
        self.0.with(|newest| {
            let mut entry = newest.map(Arc::as_ref);
            while let Some(version) = entry {
                if version.lsn <= lsn {
                    return Some(look(&version.value));
                }
                entry = version.previous.as_deref();
            }
            None
        })
    }

    /// Shows every version that somebody at or above `horizon` may see, newest first, and since
    /// when it holds. False if none of them holds at the horizon yet.
    pub fn since(&self, horizon: Lsn, mut look: impl FnMut(Lsn, &T)) -> bool {
        self.0.with(|newest| {
            let mut entry = newest.map(Arc::as_ref);
            while let Some(version) = entry {
                look(version.lsn, &version.value);
                if version.lsn <= horizon {
                    return true;
                }
                entry = version.previous.as_deref();
            }
            false
        })
    }

    /// Adds the newest version, and drops what nobody at or above `horizon` can see, or leaves a
    /// part of it for a later push.
    pub fn push(&self, lsn: Lsn, value: T, horizon: Lsn) {
        let previous = self.0.load();
        // While an old snapshot is held there is nothing to cut, however often one looks.
        let looks = previous
            .as_ref()
            .is_some_and(|newest| newest.lsn <= horizon || newest.length >= newest.look_at);
        let (previous, look_at) = match previous {
            Some(newest) if looks => {
                let kept = trimmed(newest, horizon);
                let look_at = kept.length.saturating_mul(2).max(FIRST_LOOK);
                (Some(kept), look_at)
            }
            Some(newest) => {
                let look_at = newest.look_at;
                (Some(newest), look_at)
            }
            None => (None, FIRST_LOOK),
        };
        let length = previous.as_ref().map_or(0, |newest| newest.length);
        self.0.store(Some(Arc::new(Entry {
            lsn,
            value,
            length: length.saturating_add(1),
            look_at,
            previous,
        })));
    }
}

/// The chain from `newest` on, cut behind the first entry at or below the horizon.
fn trimmed<T: Clone>(newest: Arc<Entry<T>>, horizon: Lsn) -> Arc<Entry<T>> {
    let mut kept = vec![&newest];
    let mut oldest = &newest;
    while oldest.lsn > horizon
        && let Some(previous) = &oldest.previous
    {
        kept.push(previous);
        oldest = previous;
    }
    if oldest.previous.is_none() {
        // Nothing to cut: share the chain as it is.
        return newest;
    }
    let mut rebuilt = None;
    for (length, version) in (1..).zip(kept.into_iter().rev()) {
        rebuilt = Some(Arc::new(Entry {
            lsn: version.lsn,
            value: version.value.clone(),
            length,
            look_at: FIRST_LOOK,
            previous: rebuilt,
        }));
    }
    rebuilt.unwrap_or(newest)
}

impl<T> Drop for Entry<T> {
    /// A long chain (an old snapshot was held) is dropped in a loop, not by recursion.
    fn drop(&mut self) {
        let mut next = self.previous.take();
        while let Some(entry) = next {
            match Arc::into_inner(entry) {
                Some(mut owned) => next = owned.previous.take(),
                None => break,
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NO_HORIZON: Lsn = Lsn::ZERO;

    fn at(chain: &Chain<u64>, lsn: u64) -> Option<u64> {
        chain.at(Lsn::new(lsn), |value| *value)
    }

    fn length(chain: &Chain<u64>) -> u32 {
        chain.0.load().map_or(0, |newest| newest.length)
    }

    fn chain(lsns: impl IntoIterator<Item = u64>, horizon: Lsn) -> Chain<u64> {
        let chain = Chain::default();
        for lsn in lsns {
            chain.push(Lsn::new(lsn), lsn, horizon);
        }
        chain
    }

    #[test]
    fn each_snapshot_finds_the_newest_version_it_may_see() {
        let chain = chain([3, 5, 9], NO_HORIZON);
        let seen: Vec<_> = [2, 3, 4, 5, 8, 9, 10].map(|lsn| at(&chain, lsn)).into();
        let expected = [None, Some(3), Some(3), Some(5), Some(5), Some(9), Some(9)];
        assert_eq!(seen, expected);
    }

    #[test]
    fn the_version_that_holds_at_the_horizon_stays() {
        // The version at the horizon is the only one, the newest, or one in the middle.
        for horizon in 1..=12 {
            let chain = chain([3, 5, 9], NO_HORIZON);
            chain.push(Lsn::new(13), 13, Lsn::new(horizon));
            for lsn in horizon..=14 {
                let newest = [3, 5, 9, 13].into_iter().rfind(|version| *version <= lsn);
                assert_eq!(at(&chain, lsn), newest, "at {lsn}, horizon {horizon}");
            }
        }
        let only = chain([5], NO_HORIZON);
        only.push(Lsn::new(6), 6, Lsn::new(5));
        assert_eq!((at(&only, 5), at(&only, 6)), (Some(5), Some(6)));
    }

    #[test]
    fn what_somebody_may_see_is_shown() {
        let chain = chain([3, 5, 9], NO_HORIZON);
        let since = |horizon| {
            let mut seen = Vec::new();
            let reached = chain.since(Lsn::new(horizon), |lsn, value| {
                seen.push((lsn.get(), *value))
            });
            (seen, reached)
        };
        assert_eq!(since(2), (vec![(9, 9), (5, 5), (3, 3)], false));
        assert_eq!(since(3), (vec![(9, 9), (5, 5), (3, 3)], true));
        assert_eq!(since(8), (vec![(9, 9), (5, 5)], true));
        assert_eq!(since(9), (vec![(9, 9)], true));
    }

    #[test]
    fn what_nobody_can_see_is_dropped() {
        let chain = chain([], NO_HORIZON);
        for lsn in 1..100 {
            chain.push(Lsn::new(lsn), lsn, Lsn::new(lsn - 1));
        }
        assert_eq!(length(&chain), 2);
    }

    #[test]
    fn an_old_snapshot_keeps_its_version_and_leaves_nothing_behind() {
        let chain = chain([1], NO_HORIZON);
        for lsn in 2..1_000 {
            chain.push(Lsn::new(lsn), lsn, Lsn::new(1));
        }
        assert_eq!(at(&chain, 1), Some(1));
        assert_eq!(length(&chain), 999);
        chain.push(Lsn::new(1_000), 1_000, Lsn::new(999));
        assert_eq!(length(&chain), 2);
    }

    #[test]
    fn a_group_that_changes_one_row_often_keeps_few_versions() {
        let chain = chain([1], NO_HORIZON);
        let mut horizon = Lsn::new(1);
        let mut longest = 0;
        for lsn in 2..1_000 {
            // Ten changes of a group share the horizon of its beginning.
            if lsn % 10 == 0 {
                horizon = Lsn::new(lsn - 1);
            }
            chain.push(Lsn::new(lsn), lsn, horizon);
            longest = longest.max(length(&chain));
        }
        assert!(longest <= 24, "{longest} versions");
    }

    #[test]
    fn a_million_versions_are_dropped_without_recursion() {
        let chain = chain(1..=1_000_000, NO_HORIZON);
        assert_eq!(length(&chain), 1_000_000);
        drop(chain);
    }

    #[test]
    fn a_reader_that_holds_a_middle_keeps_it_from_being_dropped() {
        let chain = chain(1..=1_000, NO_HORIZON);
        let held = chain.0.load();
        drop(chain);
        assert_eq!(held.map(|entry| entry.length), Some(1_000));
    }
}
