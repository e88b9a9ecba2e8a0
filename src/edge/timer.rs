//! How does a future give up after a while, without a runtime's timer?
//!
//! One thread per process, started at the first deadline, sleeps until the nearest one. Deadlines
//! are rare (a write that found no room), so a list under a lock is enough.

use std::{
    future::Future,
    pin::Pin,
    sync::OnceLock,
    task::{Context, Poll, Waker},
    time::{Duration, Instant},
};

use parking_lot::{Condvar, Mutex};

struct Timers {
    waiting: Mutex<Vec<(Instant, Waker)>>,
    earlier: Condvar,
}

static TIMERS: OnceLock<Option<&'static Timers>> = OnceLock::new();

/// Becomes ready when `duration` has passed.
pub struct Sleep {
    deadline: Instant,
    registered: Option<Waker>,
}

impl Sleep {
    /// Starts now.
    #[allow(
        clippy::disallowed_methods,
        reason = "deadlines of callers, never stored"
    )]
    pub fn new(duration: Duration) -> Self {
        let now = Instant::now();
        Self {
            deadline: now.checked_add(duration).unwrap_or(now),
            registered: None,
        }
    }
}

impl Future for Sleep {
    type Output = ();

    #[allow(
        clippy::disallowed_methods,
        reason = "deadlines of callers, never stored"
    )]
    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if Instant::now() >= self.deadline {
            return Poll::Ready(());
        }
        let waker = context.waker();
        if !self
            .registered
            .as_ref()
            .is_some_and(|known| known.will_wake(waker))
        {
            self.registered = Some(waker.clone());
            let Some(timers) = TIMERS.get_or_init(start) else {
                // Without a thread there is no timer; waiting for ever would be worse.
                return Poll::Ready(());
            };
            timers.waiting.lock().push((self.deadline, waker.clone()));
            timers.earlier.notify_one();
        }
        Poll::Pending
    }
}

fn start() -> Option<&'static Timers> {
    let timers: &'static Timers = Box::leak(Box::new(Timers {
        waiting: Mutex::new(Vec::new()),
        earlier: Condvar::new(),
    }));
    super::pool::spawn("timer", || run(timers)).ok()?;
    Some(timers)
}

#[allow(
    clippy::disallowed_methods,
    reason = "deadlines of callers, never stored"
)]
fn run(timers: &Timers) {
    let mut waiting = timers.waiting.lock();
    loop {
        let now = Instant::now();
        let due: Vec<_> = waiting.extract_if(.., |(at, _)| *at <= now).collect();
        if !due.is_empty() {
            parking_lot::MutexGuard::unlocked(&mut waiting, || {
                for (_, waker) in due {
                    waker.wake();
                }
            });
            continue;
        }
        match waiting.iter().map(|(at, _)| *at).min() {
            Some(next) => {
                timers.earlier.wait_until(&mut waiting, next);
            }
            None => timers.earlier.wait(&mut waiting),
        }
    }
}
