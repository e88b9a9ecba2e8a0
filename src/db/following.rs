//! How does a handle live that follows the log's files?
//!
//! Whenever `TAIL` changes, whoever listens to its bell has the follower of a handle that only reads look. One
//! thread always listens, does the same every few moments in case nobody told, and ends it all: it lets go of the files, and whoever
//! waits for that hears of it. Where the watchers of a handle that writes are not to be told by its commits, such a thread has the
//! relay tell them; commits knock, since `TAIL` changes before they are published.

use std::{
    path::{Path, PathBuf},
    time::Duration,
};

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

    /// Starts the thread that tells a writer's watchers, where its commits do not.
    pub(super) fn start_relay(&self) -> Result<()> {
        let (Some(relay), Some(bell)) = (&self.relay, &self.bell) else {
            return Ok(());
        };
        let (relay, bell) = (Arc::clone(relay), Arc::clone(bell));
        let interval = self.poll_interval();
        pool::spawn(
            "relay",
            move || while relay.tell() && bell.listen(interval) {},
        )
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

/// Rings for `follower` when `TAIL` changes, where the system tells of that.
pub(super) fn bell_of_tail(
    vfs: &dyn Vfs,
    path: &Path,
    follower: Option<&Arc<Follower>>,
) -> Result<Option<Arc<Bell>>> {
    let told = vfs.tells_of_changes().then(|| path.join(TAIL_FILE));
    let follower = follower.cloned();
    let bell = follower.map(|follower| bell_for(follower, told, path));
    bell.transpose()
}

/// Rings for `relay` when a commit knocks.
pub(super) fn bell_of_commits(
    path: &Path,
    relay: Option<&Arc<Relay>>,
) -> Result<Option<Arc<Bell>>> {
    let bell = relay.cloned().map(|relay| bell_for(relay, None, path));
    bell.transpose()
}

fn bell_for(looks: Arc<dyn Looks>, told: Option<PathBuf>, path: &Path) -> Result<Arc<Bell>> {
    let bell = Bell::new(told, looks).map(Arc::new);
    bell.map_err(PulseDBError::io("listen to the commits of", path))
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
}
