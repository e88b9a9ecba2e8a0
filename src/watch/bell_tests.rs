//! Who is told of a change, and who looks.

use std::{
    path::PathBuf,
    sync::{Arc, mpsc},
    thread::{self, JoinHandle},
    time::Duration,
};

#[cfg(target_os = "linux")]
use super::bell::Listener;
use super::bell::{Bell, Looks};

const LONG: Duration = Duration::from_secs(60);
const SHORT: Duration = Duration::from_millis(100);

/// Says when there was a look; a glance leaves it at that where `quick`.
struct Told {
    looks: mpsc::Sender<&'static str>,
    quick: bool,
}

impl Looks for Told {
    fn look(&self) {
        self.looks.send("look").unwrap_or_default();
    }

    fn glance(&self) -> bool {
        self.looks.send("glance").unwrap_or_default();
        self.quick
    }
}

fn bell(path: Option<PathBuf>, quick: bool) -> (Arc<Bell>, mpsc::Receiver<&'static str>) {
    let (looks, looked) = mpsc::channel();
    let bell = Bell::new(path, Arc::new(Told { looks, quick })).unwrap();
    bell.watch(false);
    (Arc::new(bell), looked)
}

fn listening(bell: &Arc<Bell>, time: Duration) -> JoinHandle<bool> {
    let bell = Arc::clone(bell);
    thread::spawn(move || bell.listen(time))
}

#[test]
fn listening_is_over_at_the_end() {
    let (bell, _) = bell(None, true);
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
    let (bell, looked) = bell(Some(path.clone()), true);
    let thread = listening(&bell, LONG);
    std::fs::read(&path).unwrap();
    assert!(looked.recv_timeout(SHORT).is_err());
    std::fs::write(&path, "behind").unwrap();
    assert_eq!(looked.recv_timeout(LONG), Ok("look"));
    bell.end();
    assert!(!thread.join().unwrap());
}

#[test]
fn another_file_of_that_name_is_watched_when_asked() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    let (bell, looked) = bell(Some(path.clone()), true);
    for content in ["one", "another"] {
        let _ = std::fs::remove_file(&path);
        std::fs::write(&path, "").unwrap();
        bell.watch(true);
        let thread = listening(&bell, SHORT);
        std::fs::write(&path, content).unwrap();
        assert_eq!(looked.recv_timeout(LONG), Ok("look"));
        assert!(thread.join().unwrap());
        while looked.try_recv().is_ok() {}
    }
}

#[cfg(target_os = "linux")]
#[test]
fn of_those_who_sleep_the_listener_is_told_and_hands_on_what_takes_long() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("file");
    std::fs::write(&path, "before").unwrap();
    for quick in [true, false] {
        let (bell, looked) = bell(Some(path.clone()), quick);
        let thread = listening(&bell, LONG);
        let listener = Listener::new(&bell).unwrap();
        let writes = || {
            thread::sleep(SHORT);
            std::fs::OpenOptions::new()
                .append(true)
                .open(&path)
                .and_then(|mut file| std::io::Write::write_all(&mut file, b"!"))
                .unwrap();
        };
        thread::scope(|scope| {
            scope.spawn(writes);
            listener.sleep(None);
        });
        assert_eq!(looked.recv_timeout(LONG), Ok("glance"));
        let more = looked.recv_timeout(SHORT);
        assert_eq!(
            more,
            if quick {
                Err(mpsc::RecvTimeoutError::Timeout)
            } else {
                Ok("look")
            }
        );
        // Nobody sleeps but the one who always listens.
        writes();
        assert_eq!(looked.recv_timeout(LONG), Ok("look"));
        bell.end();
        assert!(!thread.join().unwrap());
    }
}

#[cfg(target_os = "linux")]
#[test]
fn no_wake_is_lost_and_none_is_needed_while_awake() {
    use std::sync::atomic::{AtomicUsize, Ordering};

    let dir = tempfile::tempdir().unwrap();
    let (bell, _looked) = bell(Some(dir.path().to_owned()), true);
    let listener = Listener::new(&bell).unwrap();
    listener.waker().wake();
    listener.sleep(None);
    let (ping, pong) = (AtomicUsize::new(0), AtomicUsize::new(0));
    let waker = listener.waker();
    thread::scope(|scope| {
        scope.spawn(|| {
            for round in 1..=10_000 {
                ping.store(round, Ordering::SeqCst);
                waker.wake_by_ref();
                while pong.load(Ordering::SeqCst) < round {
                    std::hint::spin_loop();
                }
            }
        });
        for round in 1..=10_000 {
            while ping.load(Ordering::SeqCst) < round {
                listener.sleep(None);
            }
            pong.store(round, Ordering::SeqCst);
        }
    });
    let begin = std::time::Instant::now();
    listener.sleep(Some(SHORT));
    listener.sleep(Some(SHORT));
    assert!(
        begin.elapsed() >= SHORT,
        "wakes are forgotten once they were heard"
    );
}
