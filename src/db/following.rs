//! How does a handle live that follows the log's files?
//!
//! Whenever `TAIL` changes, whoever listens to its bell has the follower of a handle that only reads look, and the relay of
//! one that writes, and whose watchers are not to be told by its commits, tell them what is published. One
//! thread always listens, does the same every few moments in case nobody told, and ends it all: it lets go of the files, and whoever
//! waits for that hears of it.

use std::{path::Path, time::Duration};

use crate::{
    db::engine::Engine,
    edge::{block_on::block_on, pool},
    error::{PulseDBError, Result},
    log::TAIL_FILE,
    sync::Arc,
    upkeep::follow::Follower,
    vfs::Vfs,
    watch::{
        bell::{Bell, Looks},
        relay::Relay,
    },
};

impl Engine {
    /// Starts the threads of a handle that only reads.
    pub(super) fn start_following(self: &Arc<Self>) -> Result<()> {
        let indexing = Arc::clone(&self.indexing);
        let published = Arc::clone(&self.published);
        indexing.add_thread();
        pool::spawn_beside("index", move || indexing.adopt_graphs(|| published.load()))?;
        let engine = Arc::clone(self);
        pool::spawn("follow", move || engine.follow_until_closed())
            .inspect_err(|_| self.indexing.end())
    }

    /// The life of the thread.
    pub(super) fn follow_until_closed(&self) {
        let (Some(follower), Some(bell)) = (&self.follower, &self.bell) else {
            return;
        };
        bell.watch(false);
        loop {
            // News that nobody told of: the file may be another one now.
            bell.watch(follower.look(true));
            if !bell.listen(self.poll_interval()) {
                break;
            }
        }
        block_on(self.indexing.ended());
        follower.end();
        self.let_go();
        self.ended.open(Ok(()));
    }

    /// The life of the thread that tells a writer's watchers.
    pub(super) fn relay_until_closed(&self, relay: &Relay, bell: &Bell) {
        bell.watch(false);
        while relay.tell() && bell.listen(self.poll_interval()) {}
    }

    /// Ends the life of either thread.
    pub(super) fn end_listening(&self) {
        if let Some(bell) = &self.bell {
            bell.end();
        }
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.config.watch_config.poll_interval_ms)
    }
}

/// A bell for the changes of `TAIL`, where anybody wants one.
pub(super) fn bell(
    vfs: &dyn Vfs,
    path: &Path,
    follower: Option<&Arc<Follower>>,
    relay: Option<&Arc<Relay>>,
) -> Result<Option<Arc<Bell>>> {
    let looks: Arc<dyn Looks> = match (follower, relay) {
        (Some(follower), _) => Arc::<Follower>::clone(follower),
        (None, Some(relay)) => Arc::<Relay>::clone(relay),
        (None, None) => return Ok(None),
    };
    let tail = path.join(TAIL_FILE);
    let told = vfs.tells_of_changes().then(|| tail.clone());
    let bell = Bell::new(told, looks).map_err(PulseDBError::io("listen to", tail))?;
    Ok(Some(Arc::new(bell)))
}

impl Looks for Follower {
    fn look(&self) {
        Self::look(self, false);
    }

    fn glance(&self) -> bool {
        Self::glance(self)
    }
}

impl Looks for Relay {
    fn look(&self) {
        self.tell();
    }

    fn glance(&self) -> bool {
        self.tell();
        true
    }
}
