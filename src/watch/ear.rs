//! How does a thread that waits for events hear by itself that another process has written?
//!
//! It sleeps where the system tells of changes of a file, and looks by itself, instead of sleeping until the thread of the
//! [`bell`](super::bell) has looked and wakes it: a wake-up fewer, of tens of microseconds. One thread at a time
//! has the ear; the bell's thread hears of everything as well, so nothing depends on who looks first.
//! Linux alone: elsewhere there is no ear to take.

use std::{path::PathBuf, task::Waker, time::Duration};

use parking_lot::{MappedMutexGuard, Mutex, MutexGuard};

/// Hears of changes of one file, for one thread at a time.
#[derive(Debug)]
pub struct Ear {
    path: PathBuf,
    /// Made for the first who listens, and anew once the file has gone.
    sense: Mutex<Option<Sense>>,
}

/// The thread that holds this hears of the file.
pub struct Listening<'a>(MappedMutexGuard<'a, Sense>);

impl Ear {
    /// Of the file at `path`.
    pub const fn new(path: PathBuf) -> Self {
        Self {
            path,
            sense: Mutex::new(None),
        }
    }

    /// Takes the ear; `None` where somebody else has it, or the system does not tell.
    pub fn take(&self) -> Option<Listening<'_>> {
        let mut sense = self.sense.try_lock()?;
        if sense.as_ref().is_none_or(Sense::is_deaf) {
            *sense = Sense::of(&self.path);
        }
        MutexGuard::try_map(sense, Option::as_mut)
            .ok()
            .map(Listening)
    }
}

impl Listening<'_> {
    /// Ends the pause of whoever listens.
    pub fn waker(&self) -> Waker {
        self.0.waker()
    }

    /// Pauses until woken, for as long as `limit` at most, or until the file has changed: then true.
    pub fn pause(&mut self, limit: Option<Duration>) -> bool {
        self.0.pause(limit)
    }
}

#[cfg(target_os = "linux")]
use linux::Sense;

#[cfg(target_os = "linux")]
mod linux {
    use std::{mem::MaybeUninit, os::fd::OwnedFd, path::Path, task::Wake};

    use rustix::{
        event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
        fs::{Timespec, inotify},
        io,
    };

    use super::{Duration, Waker};
    use crate::sync::{
        Arc,
        atomic::{AtomicU8, Ordering},
    };

    /// Room for changes that were not looked at; all alike are one.
    const CHANGE_BYTES: usize = 1024;

    const AWAKE: u8 = 0;
    const ASLEEP: u8 = 1;
    const NUDGED: u8 = 2;

    /// What wakes the thread beside the file.
    #[derive(Debug)]
    struct Nudge {
        state: AtomicU8,
        /// Readable after a nudge of one who sleeps.
        event: OwnedFd,
    }

    impl Wake for Nudge {
        fn wake(self: Arc<Self>) {
            if self.state.swap(NUDGED, Ordering::SeqCst) == ASLEEP {
                // Fails only where it is readable already.
                let _ = io::write(&self.event, &1_u64.to_ne_bytes());
            }
        }
    }

    #[derive(Debug)]
    pub(super) struct Sense {
        changes: OwnedFd,
        nudge: Arc<Nudge>,
        deaf: bool,
    }

    impl Sense {
        pub(super) fn of(path: &Path) -> Option<Self> {
            let made = || {
                let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
                let changes = inotify::init(flags)?;
                inotify::add_watch(&changes, path, inotify::WatchFlags::MODIFY)?;
                let event = eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?;
                io::Result::Ok((changes, event))
            };
            let (changes, event) = made()
                .inspect_err(|error| {
                    tracing::debug!(%error, "a thread that waits does not hear of changes itself");
                })
                .ok()?;
            Some(Self {
                changes,
                nudge: Arc::new(Nudge {
                    state: AtomicU8::new(AWAKE),
                    event,
                }),
                deaf: false,
            })
        }

        /// Whether the file that it listened to has gone.
        pub(super) fn is_deaf(&self) -> bool {
            self.deaf
        }

        pub(super) fn waker(&self) -> Waker {
            Waker::from(Arc::clone(&self.nudge))
        }

        pub(super) fn pause(&mut self, limit: Option<Duration>) -> bool {
            let state = &self.nudge.state;
            let slept = state
                .compare_exchange(AWAKE, ASLEEP, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok();
            let mut told = [
                PollFd::new(&self.changes, PollFlags::IN),
                PollFd::new(&self.nudge.event, PollFlags::IN),
            ];
            // A limit that no clock reaches is none.
            let limit = limit.and_then(|limit| Timespec::try_from(limit).ok());
            // Interrupted it has paused for a shorter time.
            let polled = slept && poll(&mut told, limit.as_ref()).is_ok();
            // Whoever was nudged up to here looks next at what it was nudged for.
            state.store(AWAKE, Ordering::SeqCst);
            let [changed, nudged] = told.map(|one| polled && !one.revents().is_empty());
            if nudged {
                let _ = io::read(&self.nudge.event, &mut [0; 8]);
            }
            if changed {
                self.read_changes();
            }
            changed
        }

        /// Takes what was told; the last word of a file is that it has gone.
        fn read_changes(&mut self) {
            let mut buffer = [MaybeUninit::uninit(); CHANGE_BYTES];
            let mut changes = inotify::Reader::new(&self.changes, &mut buffer);
            while let Ok(change) = changes.next() {
                self.deaf |= change.events().contains(inotify::ReadFlags::IGNORED);
                if changes.is_buffer_empty() {
                    break;
                }
            }
        }
    }
}

/// Nobody is ever one.
#[cfg(not(target_os = "linux"))]
#[derive(Debug)]
enum Sense {}

#[cfg(not(target_os = "linux"))]
impl Sense {
    fn of(_: &std::path::Path) -> Option<Self> {
        None
    }

    fn is_deaf(&self) -> bool {
        match *self {}
    }

    fn waker(&self) -> Waker {
        match *self {}
    }

    fn pause(&mut self, _: Option<Duration>) -> bool {
        match *self {}
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use std::{fs, thread};

    use super::*;

    const LONG: Option<Duration> = Some(Duration::from_secs(60));
    const SHORT: Option<Duration> = Some(Duration::from_millis(20));

    #[test]
    fn one_hears_of_changes_and_of_nudges() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        let ear = Ear::new(path.clone());
        assert!(ear.take().is_none(), "there is no file");
        fs::write(&path, "before").unwrap();
        let mut listening = ear.take().unwrap();
        assert!(ear.take().is_none(), "somebody else has it");
        assert!(!listening.pause(SHORT));
        fs::read(&path).unwrap();
        assert!(!listening.pause(SHORT));
        fs::write(&path, "behind").unwrap();
        assert!(listening.pause(LONG));
        assert!(!listening.pause(SHORT), "told once");
        let waker = listening.waker();
        waker.wake_by_ref();
        assert!(!listening.pause(LONG), "nudged before");
        let nudging = thread::spawn(move || {
            thread::sleep(Duration::from_millis(20));
            waker.wake();
        });
        assert!(!listening.pause(None), "nudged in its sleep");
        nudging.join().unwrap();
        assert!(!listening.pause(SHORT));
    }

    #[test]
    fn another_file_of_that_name_is_heard_by_the_next() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("file");
        fs::write(&path, "one").unwrap();
        let ear = Ear::new(path.clone());
        let mut listening = ear.take().unwrap();
        fs::remove_file(&path).unwrap();
        fs::write(&path, "another").unwrap();
        assert!(listening.pause(LONG), "it has gone");
        drop(listening);
        let mut listening = ear.take().unwrap();
        assert!(!listening.pause(SHORT));
        fs::write(&path, "changed").unwrap();
        assert!(listening.pause(LONG));
    }
}
