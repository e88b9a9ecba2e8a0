//! Who says that another process has written?
//!
//! The system, where it tells of changes of files (inotify, kqueue): on the thread that it tells, since each
//! thread further that has to wake costs a watcher tens of microseconds. And a clock in any case: a file system over a
//! network tells nothing, and a watch may be lost with the file that it was on.

use std::{path::Path, time::Duration};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Condvar, Mutex};

/// Pauses of one thread, until there is nothing more to do.
#[derive(Debug, Default)]
pub struct Pauses {
    ended: Mutex<bool>,
    changed: Condvar,
}

impl Pauses {
    /// Ends the pause, and there are no more.
    pub fn end(&self) {
        *self.ended.lock() = true;
        self.changed.notify_one();
    }

    /// Pauses for `time`; false where the end has come.
    pub fn pause(&self, time: Duration) -> bool {
        let mut ended = self.ended.lock();
        if !*ended {
            self.changed.wait_for(&mut ended, time);
        }
        !*ended
    }
}

/// A file that the system watches; dropping this ends it.
#[derive(Debug)]
pub struct Watched(#[expect(dead_code, reason = "held for its drop")] RecommendedWatcher);

impl Watched {
    /// Has `look` called, on a thread of the watch, when what is in the file at `path` changes; `None` where the
    /// system does not tell.
    pub fn new(path: &Path, look: impl Fn() + Send + 'static) -> Option<Self> {
        let hears = move |event: notify::Result<Event>| match event {
            // Whoever reads the file opens it: that is no news.
            Ok(event) if event.kind.is_access() => {}
            // Of an error only a look helps.
            Ok(_) | Err(_) => look(),
        };
        let watched = notify::recommended_watcher(hears).and_then(|mut watcher| {
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
    use std::sync::mpsc;

    use super::*;

    const LONG: Duration = Duration::from_secs(60);

    #[test]
    fn a_pause_is_over_at_the_end() {
        let pauses = Pauses::default();
        assert!(pauses.pause(Duration::ZERO));
        pauses.end();
        assert!(!pauses.pause(LONG));
        assert!(!pauses.pause(LONG));
    }

    #[test]
    fn writes_are_told_and_reads_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "before").unwrap();
        let (sender, told) = mpsc::channel();
        let look = move || sender.send(()).unwrap_or_default();
        let watched = Watched::new(&path, look.clone()).unwrap();
        std::fs::read(&path).unwrap();
        assert!(told.recv_timeout(Duration::from_millis(100)).is_err());
        std::fs::write(&path, "behind").unwrap();
        told.recv_timeout(LONG).unwrap();
        drop(watched);
        assert!(Watched::new(&dir.path().join("none"), look).is_none());
    }
}
