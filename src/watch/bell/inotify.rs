//! How does Linux tell, and whom?
//!
//! One inotify for a handle, and an epoll for each thread that listens to it, exclusively: of those that sleep the system wakes
//! one, the one that has been in its list for longest. The thread that always listens is kept at the end of that list.

use std::{
    fmt,
    mem::MaybeUninit,
    os::fd::OwnedFd,
    path::PathBuf,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU8, Ordering},
    },
    task::{Wake, Waker},
    time::{Duration, Instant},
};

use rustix::{
    event::{
        EventfdFlags, Timespec,
        epoll::{self, EventData, EventFlags},
        eventfd,
    },
    fs::inotify::{self, WatchFlags},
    io,
};

use super::Looks;

const RING: u64 = 0;
const KNOCK: u64 = 1;
/// The system's call takes milliseconds, as an `i32`.
const LONGEST: Duration = Duration::from_secs(3600);

/// Rings when a file changes; whoever hears that looks at it.
pub struct Bell {
    /// The file; `None` where nobody tells of its changes.
    path: Option<PathBuf>,
    looks: Arc<dyn Looks>,
    /// `None` where there are none left, or the system has no such thing.
    inotify: Option<OwnedFd>,
    watches: AtomicBool,
    /// Of the thread that always listens.
    ears: Ears,
    ended: AtomicBool,
}

impl fmt::Debug for Bell {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Bell")
            .field("path", &self.path)
            .finish_non_exhaustive()
    }
}

impl Bell {
    /// Those who listen look when what is in the file changes.
    ///
    /// # Errors
    /// Where the process may open no more files.
    pub fn new(path: Option<PathBuf>, looks: Arc<dyn Looks>) -> std::io::Result<Self> {
        let ears = Ears::new()?;
        let flags = inotify::CreateFlags::CLOEXEC | inotify::CreateFlags::NONBLOCK;
        let told = || inotify::init(flags).and_then(|told| ears.add(&told).map(|()| told));
        let inotify = path.is_some().then(told).transpose();
        let inotify = inotify.unwrap_or_else(|error| {
            tracing::debug!(%error, "the system does not tell of changes; they are polled for");
            None
        });
        Ok(Self {
            path,
            looks,
            inotify,
            ears,
            watches: AtomicBool::new(false),
            ended: AtomicBool::new(false),
        })
    }

    /// Begins to watch, unless it does; `anew`: the file of that name may be another one now.
    pub fn watch(&self, anew: bool) {
        if let (Some(inotify), Some(path)) = (&self.inotify, &self.path)
            && (anew || !self.watches.load(Ordering::Relaxed))
        {
            let watch = inotify::add_watch(inotify, path, WatchFlags::MODIFY);
            self.watches.store(watch.is_ok(), Ordering::Relaxed);
        }
    }

    /// Looks whenever it rings, for as long as `time`; false where the end has come. For one thread.
    #[allow(
        clippy::disallowed_methods,
        reason = "for how long a thread sleeps, never stored"
    )]
    pub fn listen(&self, time: Duration) -> bool {
        let begin = Instant::now();
        while !self.ended.load(Ordering::Acquire) {
            let heard = self.ears.hear(Some(time.saturating_sub(begin.elapsed())));
            if heard.knock {
                self.ears.hush();
            }
            if heard.ring {
                self.hush();
            }
            if heard.ring || heard.knock {
                self.looks.look();
            }
            if begin.elapsed() >= time {
                return true;
            }
        }
        false
    }

    /// Has the thread that always listens look.
    pub fn knock(&self) {
        self.ears.knock();
    }

    /// Ends the listening, for ever.
    pub fn end(&self) {
        self.ended.store(true, Ordering::Release);
        self.knock();
    }

    /// Forgets all that was told: before a look, which would else miss what is told meanwhile. What were left would wake
    /// nobody else, and what is told again while it waits to be read wakes nobody at all.
    fn hush(&self) {
        if let Some(inotify) = &self.inotify {
            let mut told = [MaybeUninit::<u8>::uninit(); 1024];
            while io::read(inotify, &mut told).is_ok_and(|(_, room)| room.is_empty()) {}
        }
    }
}

/// How a thread of the application waits: it looks when the bell rings, and is woken by what it waits for. Where a look may take
/// long it leaves it to the thread that always listens.
#[derive(Debug)]
pub struct Listener {
    bell: Arc<Bell>,
    knocker: Arc<Knocker>,
}

impl Listener {
    /// `None` where the system does not tell, or the process may open no more files.
    pub fn new(bell: &Arc<Bell>) -> Option<Self> {
        let inotify = bell.inotify.as_ref()?;
        let ears = Ears::new().ok()?;
        ears.add(inotify).ok()?;
        bell.ears.go_last(inotify);
        let knocker = Knocker {
            ears,
            state: AtomicU8::new(AWAKE),
        };
        Some(Self {
            bell: Arc::clone(bell),
            knocker: Arc::new(knocker),
        })
    }

    /// Ends the next sleep, or that of now.
    pub fn waker(&self) -> Waker {
        Waker::from(Arc::clone(&self.knocker))
    }

    /// Sleeps until it is woken, or has looked, or `time` is over; or for no reason.
    pub fn sleep(&self, time: Option<Duration>) {
        let Knocker { ears, state } = &*self.knocker;
        let slept = state.compare_exchange(AWAKE, ASLEEP, Ordering::AcqRel, Ordering::Acquire);
        if slept.is_err() {
            state.swap(AWAKE, Ordering::AcqRel);
            return;
        }
        let heard = ears.hear(time);
        state.swap(AWAKE, Ordering::AcqRel);
        if heard.knock {
            ears.hush();
        }
        if heard.ring {
            self.bell.hush();
            if !self.bell.looks.glance() {
                self.bell.knock();
            }
        }
    }
}

const AWAKE: u8 = 0;
const ASLEEP: u8 = 1;
/// Not to sleep.
const WOKEN: u8 = 2;

/// Wakes a thread, where it sleeps: to knock takes a call of the system.
#[derive(Debug)]
struct Knocker {
    ears: Ears,
    state: AtomicU8,
}

impl Wake for Knocker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(WOKEN, Ordering::AcqRel) == ASLEEP {
            self.ears.knock();
        }
    }
}

/// What a thread sleeps on.
#[derive(Debug)]
struct Ears {
    epoll: OwnedFd,
    knocks: OwnedFd,
}

#[derive(Default)]
struct Heard {
    ring: bool,
    knock: bool,
}

impl Ears {
    fn new() -> io::Result<Self> {
        let ears = Self {
            epoll: epoll::create(epoll::CreateFlags::CLOEXEC)?,
            knocks: eventfd(0, EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK)?,
        };
        let data = EventData::new_u64(KNOCK);
        epoll::add(&ears.epoll, &ears.knocks, data, EventFlags::IN)?;
        Ok(ears)
    }

    /// Joins those that the system wakes.
    fn add(&self, inotify: &OwnedFd) -> io::Result<()> {
        let flags = EventFlags::IN | EventFlags::EXCLUSIVE;
        epoll::add(&self.epoll, inotify, EventData::new_u64(RING), flags)
    }

    /// Goes to the end of their list.
    fn go_last(&self, inotify: &OwnedFd) {
        // Who is told nothing polls.
        let _ = epoll::delete(&self.epoll, inotify);
        let _ = self.add(inotify);
    }

    /// What there is to hear, within `time`.
    fn hear(&self, time: Option<Duration>) -> Heard {
        let time = time.and_then(|time| Timespec::try_from(time.min(LONGEST)).ok());
        let mut events = [MaybeUninit::uninit(); 2];
        let mut heard = Heard::default();
        if let Ok((events, _)) = epoll::wait(&self.epoll, &mut events, time.as_ref()) {
            for event in events {
                match event.data.u64() {
                    KNOCK => heard.knock = true,
                    _ => heard.ring = true,
                }
            }
        }
        heard
    }

    fn knock(&self) {
        // Fails where more knocks are not counted any more.
        let _ = io::write(&self.knocks, &1_u64.to_ne_bytes());
    }

    /// Forgets knocks.
    fn hush(&self) {
        let _ = io::read(&self.knocks, &mut [0; 8]);
    }
}
