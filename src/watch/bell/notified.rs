//! How do other systems tell?
//!
//! As the `notify` crate has it: on a thread of its own, which looks.

use std::{
    fmt,
    path::PathBuf,
    sync::Arc,
    task::Waker,
    time::{Duration, Instant},
};

use notify::{Event, RecommendedWatcher, RecursiveMode, Watcher};
use parking_lot::{Condvar, Mutex};

use super::Looks;

/// Has a look when a file changes.
pub struct Bell {
    /// The file; `None` where nobody tells of its changes.
    path: Option<PathBuf>,
    looks: Arc<dyn Looks>,
    watcher: Mutex<Option<RecommendedWatcher>>,
    word: Mutex<Word>,
    changed: Condvar,
}

/// What the thread that always listens has to hear.
#[derive(Default)]
struct Word {
    knock: bool,
    end: bool,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Bell {
    /// A thread of the system's looks when what is in the file changes.
    ///
    /// # Errors
    /// None here.
    pub fn new(path: Option<PathBuf>, looks: Arc<dyn Looks>) -> std::io::Result<Self> {
        Ok(Self {
            path,
            looks,
            watcher: Mutex::new(None),
            word: Mutex::default(),
            changed: Condvar::new(),
        })
    }

    /// Begins to watch, unless it does; `anew`: the file of that name may be another one now.
    pub fn watch(&self, anew: bool) {
        let mut watcher = self.watcher.lock();
        if let Some(path) = &self.path
            && (anew || watcher.is_none())
        {
            let looks = Arc::clone(&self.looks);
            let hears = move |event: notify::Result<Event>| match event {
                // Whoever reads the file opens it: that is no news.
                Ok(event) if event.kind.is_access() => {}
                // Of an error only a look helps.
                Ok(_) | Err(_) => looks.look(),
            };
            let watched = notify::recommended_watcher(hears).and_then(|mut watcher| {
                watcher.watch(path, RecursiveMode::NonRecursive)?;
                Ok(watcher)
            });
            *watcher = watched
                .inspect_err(|error| tracing::debug!(%error, "the system does not tell of changes; they are polled for"))
                .ok();
        }
    }

    /// Looks at each knock, for as long as `time`; false where the end has come. For one thread.
    #[allow(
        clippy::disallowed_methods,
        reason = "for how long a thread sleeps, never stored"
    )]
    pub fn listen(&self, time: Duration) -> bool {
        let until = Instant::now() + time;
        loop {
            let mut word = self.word.lock();
            let is_news = |word: &mut Word| !word.knock && !word.end;
            let over = self.changed.wait_while_until(&mut word, is_news, until);
            let Word { knock, end } = *word;
            word.knock = false;
            drop(word);
            if end {
                *self.watcher.lock() = None;
                return false;
            }
            if knock {
                self.looks.look();
            }
            if over.timed_out() {
                return true;
            }
        }
    }

    /// Has the thread that always listens look.
    pub fn knock(&self) {
        self.word.lock().knock = true;
        self.changed.notify_one();
    }

    /// Ends the listening, for ever.
    pub fn end(&self) {
        self.word.lock().end = true;
        self.changed.notify_one();
    }
}

/// A thread of the application that listens: there is none, since the system tells threads of its own.
#[derive(Debug)]
pub enum Listener {}

impl Listener {
    /// `None`.
    pub fn new(_: &Arc<Bell>) -> Option<Self> {
        None
    }

    /// Never called.
    pub fn waker(&self) -> Waker {
        match *self {}
    }

    /// Never called.
    pub fn sleep(&self, _: Option<Duration>) {
        match *self {}
    }
}
