//! How does a handle live that follows the log's files?
//!
//! One thread waits for `TAIL` to change, or for a moment to pass. In a handle that only reads it has the
//! follower look; when the end is asked for it lets go of the files, and whoever waits for that hears of it. In
//! one that writes, and whose watchers are not to be told by its commits, it tells them what is published.

use std::time::Duration;

use crate::{
    db::engine::Engine,
    edge::{block_on::block_on, pool},
    error::Result,
    log::TAIL_FILE,
    sync::Arc,
    watch::{
        bell::{Wake, Watched},
        relay::Relay,
    },
};

/// So many looks because of a ring, and one is thorough all the same: under a steady stream of commits
/// nothing ever times out.
const THOROUGH_EVERY: u32 = 256;

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
        let (Some(follower), bell) = (&self.follower, &self.bell) else {
            return;
        };
        let interval = self.poll_interval();
        let mut watched = self.watched_tail();
        // What was written since the open rang for nobody.
        let mut wake = Wake::TimedOut;
        let mut rung = 0;
        loop {
            match wake {
                Wake::Ended => break,
                Wake::Rung => {
                    rung += 1;
                    follower.look(rung % THOROUGH_EVERY == 0);
                }
                Wake::TimedOut => {
                    // News that nobody rang for: the file may be another one now.
                    if follower.look(true) || watched.is_none() {
                        watched = self.watched_tail();
                    }
                }
            }
            wake = bell.wait(interval);
        }
        drop(watched);
        block_on(self.indexing.ended());
        follower.end();
        self.let_go();
        self.ended.open(Ok(()));
    }

    /// The life of the thread that tells a writer's watchers.
    pub(super) fn relay_until_closed(&self, relay: &Relay) {
        let watched = self.watched_tail();
        while relay.tell() && self.bell.wait(self.poll_interval()) != Wake::Ended {}
        drop(watched);
    }

    fn poll_interval(&self) -> Duration {
        Duration::from_millis(self.config.watch_config.poll_interval_ms)
    }

    /// Has the bell ring when `TAIL` changes; `None` where nobody tells of that.
    fn watched_tail(&self) -> Option<Watched> {
        let tells = self.vfs.tells_of_changes();
        tells
            .then(|| Watched::new(&self.path.join(TAIL_FILE), &self.bell))
            .flatten()
    }
}
