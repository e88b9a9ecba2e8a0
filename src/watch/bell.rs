//! Who says that another process has written?
//!
//! The system, where it tells of changes of files (inotify, kqueue). Each thread that has to wake for it costs a watcher
//! tens of microseconds, so whoever the system wakes looks itself: on Linux also a thread of the application that waits for what the look
//! tells it. And a clock in any case: a file system over a network tells nothing, and a watch may be lost with the
//! file that it was on.

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
mod kqueue;

#[cfg(target_os = "linux")]
pub use inotify::{Bell, Listener};
#[cfg(not(target_os = "linux"))]
pub use kqueue::{Bell, Listener};

#[cfg(test)]
mod tests {
    use std::{
        path::PathBuf,
        sync::{Arc, mpsc},
        thread,
        time::Duration,
    };

    use super::*;

    const LONG: Duration = Duration::from_secs(60);
    const SHORT: Duration = Duration::from_millis(100);

    fn bell(path: Option<PathBuf>) -> (Arc<Bell>, mpsc::Receiver<()>) {
        let (sender, looked) = mpsc::channel();
        let look = move || sender.send(()).unwrap_or_default();
        let bell = Bell::new(path, look).unwrap();
        bell.watch(false);
        (Arc::new(bell), looked)
    }

    #[test]
    fn listening_is_over_at_the_end() {
        let (bell, _) = bell(None);
        assert!(bell.listen(Duration::ZERO));
        bell.end();
        assert!(!bell.listen(LONG));
        assert!(!bell.listen(LONG));
    }

    #[test]
    fn writes_are_told_and_reads_are_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        std::fs::write(&path, "before").unwrap();
        let (bell, looked) = bell(Some(path.clone()));
        let listens = Arc::clone(&bell);
        let thread = thread::spawn(move || listens.listen(LONG));
        std::fs::read(&path).unwrap();
        assert!(looked.recv_timeout(SHORT).is_err());
        std::fs::write(&path, "behind").unwrap();
        looked.recv_timeout(LONG).unwrap();
        bell.end();
        assert!(!thread.join().unwrap());
    }

    #[test]
    fn a_file_that_comes_later_is_watched_when_asked_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let (bell, looked) = bell(Some(path.clone()));
        for content in ["one", "another"] {
            let _ = std::fs::remove_file(&path);
            std::fs::write(&path, "").unwrap();
            bell.watch(true);
            let listens = Arc::clone(&bell);
            let thread = thread::spawn(move || listens.listen(SHORT));
            std::fs::write(&path, content).unwrap();
            looked.recv_timeout(LONG).unwrap();
            assert!(thread.join().unwrap());
            while looked.try_recv().is_ok() {}
        }
    }
}
