//! Who says that another process has written?
//!
//! The system, where it tells of changes of files (inotify, kqueue). Each thread that has to wake for it costs a watcher
//! tens of microseconds, so whoever the system wakes looks itself: on Linux also a thread of the application that waits for what the look
//! tells it. And a clock in any case: a file system over a network tells nothing, and a watch may be lost with the
//! file that it was on.

/// What there is to do when it rings.
pub trait Looks: Send + Sync {
    /// Looks at what has changed, however long that takes.
    fn look(&self);

    /// The same where it takes a moment only; false where there is more to it.
    fn glance(&self) -> bool {
        false
    }
}

#[cfg(target_os = "linux")]
mod inotify;
#[cfg(not(target_os = "linux"))]
mod notified;

#[cfg(target_os = "linux")]
pub use inotify::{Bell, Listener};
#[cfg(not(target_os = "linux"))]
pub use notified::{Bell, Listener};
