//! How does a handle live that follows the log's files?
//!
//! Whenever `TAIL` changes, the system's own thread has the follower of a handle that only reads look, and the relay of
//! one that writes, and whose watchers are not to be told by its commits, tell them what is published. A
//! thread does the same every few moments in case nobody told, and ends it all: it lets go of the files, and whoever
//! waits for that hears of it.

use std::time::Duration;

use crate::{
    db::engine::Engine,
    edge::{block_on::block_on, pool},
    error::Result,
    log::TAIL_FILE,
    sync::Arc,
    watch::{bell::Watched, relay::Relay},
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
        let Some(follower) = &self.follower else {
            return;
        };
        let watched_tail = || {
            let follower = Arc::clone(follower);
            self.watched_tail(move || {
                follower.look(false);
            })
        };
        let mut watched = watched_tail();
        loop {
            // News that nobody told of: the file may be another one now.
            if follower.look(true) || watched.is_none() {
                watched = watched_tail();
            }
            if !self.pauses.pause(self.poll_interval()) {
                break;
            }
        }
        drop(watched);
        block_on(self.indexing.ended());
        follower.end();
        self.let_go();
        self.ended.open(Ok(()));
    }

    /// The life of the thread that tells a writer's watchers.
    pub(super) fn relay_until_closed(&self, relay: &Arc<Relay>) {
        let told = Arc::clone(relay);
        let watched = self.watched_tail(move || {
            told.tell();
        });
        while relay.tell() && self.pauses.pause(self.poll_interval()) {}
        drop(watched);
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.config.watch_config.poll_interval_ms)
    }

    /// Has `look` called when `TAIL` changes; `None` where nobody tells of that.
    fn watched_tail(&self, look: impl Fn() + Send + 'static) -> Option<Watched> {
        let tells = self.vfs.tells_of_changes();
        tells
            .then(|| Watched::new(&self.path.join(TAIL_FILE), look))
            .flatten()
    }
}
