//! How are watchers told by somebody else than the committer?
//!
//! A relay knows up to where they were told everything, and tells what was published since whenever it is asked to.
//! One thread tells at a time, so events stay in order; whoever compacts asks how far it is.

use parking_lot::Mutex;

use crate::{
    model::{Cursor, Lsn, Timeline},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    watch::hub::{Hub, Reach},
};

/// Tells the watchers of a writer what was published, whenever it is asked to.
pub struct Relay {
    hub: Arc<Hub>,
    timeline: Timeline,
    /// LSN up to which they were told everything.
    told: AtomicU64,
    telling: Mutex<()>,
}

impl Relay {
    /// Everything up to `newest` needs no telling.
    pub fn new(hub: Arc<Hub>, newest: Cursor) -> Self {
        Self {
            hub,
            timeline: newest.timeline,
            told: AtomicU64::new(newest.lsn.get()),
            telling: Mutex::new(()),
        }
    }

    /// Up to where they were told everything.
    pub fn told(&self) -> Lsn {
        Lsn::new(self.told.load(Ordering::Acquire))
    }

    /// Tells what was published since the last time; false once the database is closed.
    pub fn tell(&self) -> bool {
        let _one_at_a_time = self.telling.lock();
        let last = Cursor {
            timeline: self.timeline,
            lsn: self.told(),
        };
        let Ok((view, reach)) = self.hub.view_behind(last) else {
            return false;
        };
        if view.lsn() > last.lsn {
            let first = Lsn::new(last.lsn.get().saturating_add(1));
            match reach {
                Reach::Whole => self.hub.committed(&view, first),
                // A compaction that was called for spares nothing for watchers.
                Reach::From(_) => self.hub.lost(&view),
            }
            self.told.store(view.lsn().get(), Ordering::Release);
        }
        true
    }
}
