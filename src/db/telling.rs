//! Who tells the watchers, and where do they read what they were not told?
//!
//! A writer's commits tell them, or a [`Relay`] that follows the commits from a thread of its own; in a handle that
//! only reads, the follower of the files.

use parking_lot::Mutex;

use crate::{
    edge::pool::Pool,
    error::Result,
    model::{Cursor, Lsn, Timeline},
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    upkeep::follow::Audience,
    watch::{
        hub::{Hub, Reach},
        stream::{Offload, Reading},
    },
    write::pipeline::{Broadcast, View},
};

/// Lets streams read the log on the readers' threads.
pub(crate) struct OnReaders(pub(crate) Arc<Pool>);

impl<T: Send + 'static> Offload<T> for OnReaders {
    fn offload(&self, job: Box<dyn FnOnce() -> Result<T> + Send>) -> Reading<T> {
        let read = self.0.run(job);
        Box::pin(async move { read.await? })
    }
}

/// The watchers of a writer.
pub(super) struct TellHub {
    /// Who they are.
    pub(super) hub: Arc<Hub>,
    /// Who tells the watchers instead.
    pub(super) relay: Option<Arc<Relay>>,
}

impl Broadcast for TellHub {
    fn committed(&mut self, view: &Arc<View>, first: Lsn) {
        if self.relay.is_none() {
            self.hub.committed(view, first);
        }
    }

    fn heard_by_all(&self) -> Option<Lsn> {
        let told = self.relay.as_ref().map(|relay| relay.told());
        self.hub.lagging().into_iter().chain(told).min()
    }

    fn history_begins(&mut self, lsn: Lsn) {
        self.hub.history_begins(lsn);
    }
}

/// Tells the watchers of a writer what was published, whenever it is asked to.
pub(super) struct Relay {
    hub: Arc<Hub>,
    timeline: Timeline,
    /// LSN up to which they were told everything.
    told: AtomicU64,
    telling: Mutex<()>,
}

impl Relay {
    /// Everything up to `newest` needs no telling.
    pub(super) fn new(hub: Arc<Hub>, newest: Cursor) -> Self {
        Self {
            hub,
            timeline: newest.timeline,
            told: AtomicU64::new(newest.lsn.get()),
            telling: Mutex::new(()),
        }
    }

    /// Up to where they were told everything.
    pub(super) fn told(&self) -> Lsn {
        Lsn::new(self.told.load(Ordering::Acquire))
    }

    /// Tells what was published since the last time; false once the database is closed.
    pub(super) fn tell(&self) -> bool {
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

/// The watchers of this process.
pub(super) struct ToldByFollower(pub(super) Arc<Hub>);

impl Audience for ToldByFollower {
    fn history_begins(&self, lsn: Lsn) {
        self.0.history_begins(lsn);
    }

    fn committed(&self, view: &Arc<View>, first: Lsn) {
        self.0.committed(view, first);
    }

    fn lost(&self, view: &Arc<View>) {
        self.0.lost(view);
    }
}
