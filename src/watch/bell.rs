//! Who wakes a thread that waits for what another process writes?
//!
//! The system, where it tells of changes of files (inotify, kqueue), and a clock in any case: a file
//! system over a network tells nothing, and a watch may be lost with the file that it was on.

use std::{path::Path, time::Duration};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Condvar, Mutex};

use crate::sync::Arc;

/// What one thread waits at.
#[derive(Debug, Default)]
pub struct Bell {
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Debug, Default)]
struct State {
    rung: bool,
    ended: bool,
}

/// Why the waiting is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wake {
    /// Somebody rang.
    Rung,
    /// Nobody rang for so long.
    TimedOut,
    /// There is nothing to wait for any more.
    Ended,
}

impl Bell {
    /// Wakes who waits, or lets him not wait the next time.
    pub fn ring(&self) {
        self.state.lock().rung = true;
        self.changed.notify_one();
    }

    /// From now on nobody waits.
    pub fn end(&self) {
        self.state.lock().ended = true;
        self.changed.notify_one();
    }

    /// Waits until it rings, at most `timeout`.
    pub fn wait(&self, timeout: Duration) -> Wake {
        let mut state = self.state.lock();
        if !state.rung && !state.ended {
            self.changed.wait_for(&mut state, timeout);
        }
        let rung = std::mem::take(&mut state.rung);
        match (state.ended, rung) {
            (true, _) => Wake::Ended,
            (false, true) => Wake::Rung,
            (false, false) => Wake::TimedOut,
        }
    }
}

/// A file that the system watches; dropping this ends it.
#[derive(Debug)]
pub struct Watched(#[expect(dead_code, reason = "held for its drop")] RecommendedWatcher);

impl Watched {
    /// Has `bell` ring when what is in the file at `path` changes; `None` where the system does not tell.
    pub fn new(path: &Path, bell: &Arc<Bell>) -> Option<Self> {
        let bell = Arc::clone(bell);
        let rings = move |event: notify::Result<Event>| match event {
            // Whoever reads the file opens it: that is no news.
            Ok(event) if event.kind.is_access() => {}
            // Of an error only a look helps.
            Ok(_) | Err(_) => bell.ring(),
        };
        let watched = notify::recommended_watcher(rings).and_then(|mut watcher| {
            watcher.watch(path, RecursiveMode::NonRecursive)?;
            Ok(watcher)
        });
        match watched {
            Ok(watcher) => Some(Self(watcher)),
            Err(error) => {
                tracing::debug!(%error, "the system does not tell of changes; they are polled for");
                None
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_ring_is_not_lost_and_heard_once() {
        let bell = Bell::default();
        assert_eq!(bell.wait(Duration::ZERO), Wake::TimedOut);
        bell.ring();
        bell.ring();
        assert_eq!(bell.wait(LONG), Wake::Rung);
        assert_eq!(bell.wait(Duration::ZERO), Wake::TimedOut);
        bell.end();
        bell.ring();
        assert_eq!(bell.wait(LONG), Wake::Ended);
        assert_eq!(bell.wait(LONG), Wake::Ended);
    }

    #[test]
    fn writes_ring_and_reads_do_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "before").unwrap();
        let bell = Arc::new(Bell::default());
        let watched = Watched::new(&path, &bell).unwrap();
        std::fs::read(&path).unwrap();
        assert_eq!(bell.wait(Duration::from_millis(100)), Wake::TimedOut);
        std::fs::write(&path, "behind").unwrap();
        assert_eq!(bell.wait(LONG), Wake::Rung);
        drop(watched);
        assert!(Watched::new(&dir.path().join("none"), &bell).is_none());
    }
}
