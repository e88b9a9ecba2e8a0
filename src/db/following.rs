//! How does a handle that only reads live?
//!
//! One thread waits for `TAIL` to change, or for a moment to pass, and has the follower look. When the
//! end is asked for it lets go of the files, and whoever waits for that hears of it.

use std::time::Duration;

use crate::{
    db::engine::Engine,
    edge::{block_on::block_on, pool},
    error::Result,
    log::TAIL_FILE,
    model::Lsn,
    sync::Arc,
    upkeep::follow::Audience,
    watch::{
        bell::{Wake, Watched},
        hub::Hub,
    },
    write::pipeline::View,
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
        let interval = Duration::from_millis(self.config.watch_config.poll_interval_ms);
        let tail = self.path.join(TAIL_FILE);
        let watch = || {
            let tells = self.vfs.tells_of_changes();
            tells.then(|| Watched::new(&tail, bell)).flatten()
        };
        let mut watched = watch();
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
                        watched = watch();
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
