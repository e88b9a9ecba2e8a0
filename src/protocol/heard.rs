//! How far has one subscriber heard, and what does it still need of the log?
//!
//! A subscriber is told live, and reads the log for what it was told too late for. Both sources know the LSN of
//! what they tell: [`Heard::take`] lets through what is new, so that what both tell is taken once.
//! The rule that nothing is lost: load what is published only after the channel has said that something was
//! missed (or after subscribing), read everything up to that, and take the channel's word for the rest.
//!
//! The subscriber moves it; compaction looks at it from other threads, to spare what is needed.

use crate::{
    model::Lsn,
    sync::atomic::{AtomicU64, Ordering},
};

/// The place of one subscriber.
#[derive(Debug)]
pub struct Heard {
    /// Everything up to here was taken; the greatest number while nothing is needed yet.
    lsn: AtomicU64,
    /// Up to here the log has to be read, whatever the channel tells; the greatest number while it is not
    /// known how far.
    owed: AtomicU64,
}

impl Heard {
    /// Of a subscriber that has not looked yet where it begins, and so needs nothing.
    #[must_use]
    pub fn nothing_needed() -> Self {
        Self {
            lsn: AtomicU64::new(u64::MAX),
            owed: AtomicU64::new(0),
        }
    }

    /// Of a subscriber that is going to read everything behind `lsn` from the log.
    #[must_use]
    pub fn needing(lsn: Lsn) -> Self {
        Self {
            lsn: AtomicU64::new(lsn.get()),
            owed: AtomicU64::new(u64::MAX),
        }
    }

    /// Everything up to `lsn` was taken, or is not going to be; back, too.
    pub fn set(&self, lsn: Lsn) {
        self.lsn.store(lsn.get(), Ordering::Release);
    }

    /// The log was read as far as was owed: the rest the channel tells.
    pub fn paid(&self) {
        self.owed.store(0, Ordering::Release);
    }

    /// Up to where everything was taken.
    #[must_use]
    pub fn lsn(&self) -> Lsn {
        Lsn::new(self.lsn.load(Ordering::Acquire))
    }

    /// Takes what happened at `lsn`, where it is new.
    pub fn take(&self, lsn: Lsn) -> bool {
        if lsn <= self.lsn() {
            return false;
        }
        self.set(lsn);
        true
    }

    /// Everything up to `lsn` was told.
    pub fn advance(&self, lsn: Lsn) {
        let _ = self.take(lsn);
    }

    /// Up to where everything was taken, if there is more: the channel has told up to `told`.
    #[must_use]
    pub fn lagging(&self, told: Lsn) -> Option<Lsn> {
        let owed = self.owed.load(Ordering::Acquire).max(told.get());
        Some(self.lsn()).filter(|lsn| lsn.get() < owed)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_twice_is_taken_once() {
        let heard = Heard::needing(Lsn::new(4));
        let told = [3, 4, 5, 5, 7, 6, 8].map(|lsn| heard.take(Lsn::new(lsn)));
        assert_eq!(told, [false, false, true, false, true, false, true]);
    }

    #[test]
    fn the_log_is_spared_for_who_needs_it() {
        assert_eq!(Heard::nothing_needed().lagging(Lsn::new(9)), None);
        let heard = Heard::needing(Lsn::new(4));
        assert_eq!(heard.lagging(Lsn::ZERO), Some(Lsn::new(4)));
        heard.advance(Lsn::new(6));
        assert_eq!(heard.lagging(Lsn::ZERO), Some(Lsn::new(6)));
        heard.paid();
        assert_eq!(heard.lagging(Lsn::new(6)), None);
        assert_eq!(heard.lagging(Lsn::new(7)), Some(Lsn::new(6)));
    }
}
