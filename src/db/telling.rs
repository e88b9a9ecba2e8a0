//! Who tells the watchers, and where do they read what they were not told?
//!
//! A writer's commits tell them, or a [`Relay`] on a thread of its own, at which they knock; in a handle that
//! only reads, the follower of the files.

use crate::{
    edge::pool::Pool,
    error::Result,
    log::OutFrame,
    model::Lsn,
    sync::Arc,
    upkeep::follow::Audience,
    watch::{
        bell::Bell,
        hub::Hub,
        relay::Relay,
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
    /// Who tells the watchers instead, and how it hears that there is something to tell.
    pub(super) relay: Option<(Arc<Relay>, Arc<Bell>)>,
}

impl Broadcast for TellHub {
    fn foresee(&mut self, frames: &[OutFrame]) {
        if self.relay.is_none() {
            self.hub.foresee(frames);
        }
    }

    fn committed(&mut self, view: &Arc<View>, first: Lsn) {
        match &self.relay {
            Some((_, bell)) => bell.knock(),
            None => self.hub.committed(view, first),
        }
    }

    fn heard_by_all(&self) -> Option<Lsn> {
        let told = self.relay.as_ref().map(|(relay, _)| relay.told());
        self.hub.lagging().into_iter().chain(told).min()
    }

    fn history_begins(&mut self, lsn: Lsn) {
        self.hub.history_begins(lsn);
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
