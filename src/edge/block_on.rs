//! How does a program without a runtime wait for a future?

use std::{
    future::Future,
    pin::pin,
    sync::Arc,
    task::{Context, Poll, Wake, Waker},
    thread::{self, Thread},
    time::{Duration, Instant},
};

/// How a thread sleeps.
pub trait Sleep {
    /// Ends the next sleep of this thread, or that of now.
    fn waker(&self) -> Waker;

    /// Sleeps until woken, or until `time` is over; or for no reason.
    fn sleep(&self, time: Option<Duration>);
}

/// As the standard library has it.
pub struct Parked;

impl Sleep for Parked {
    fn waker(&self) -> Waker {
        Waker::from(Arc::new(Unpark(thread::current())))
    }

    fn sleep(&self, time: Option<Duration>) {
        match time {
            None => thread::park(),
            Some(time) => thread::park_timeout(time),
        }
    }
}

struct Unpark(Thread);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        self.0.unpark();
    }
}

/// Runs `future` on this thread, which sleeps while there is nothing to do.
pub fn block_on<F: Future>(future: F) -> F::Output {
    block_on_by(&Parked, future)
}

/// The same, and the thread sleeps as `sleep` has it.
pub fn block_on_by<F: Future>(sleep: &impl Sleep, future: F) -> F::Output {
    let mut future = pin!(future);
    // Reads are ready at once: nobody need be able to wake them.
    if let Poll::Ready(output) = future
        .as_mut()
        .poll(&mut Context::from_waker(Waker::noop()))
    {
        return output;
    }
    let waker = sleep.waker();
    let mut context = Context::from_waker(&waker);
    loop {
        match future.as_mut().poll(&mut context) {
            Poll::Ready(output) => return output,
            Poll::Pending => sleep.sleep(None),
        }
    }
}

/// The same, for as long as `timeout`; `None` where the future is not ready by then.
#[allow(
    clippy::disallowed_methods,
    reason = "deadlines of callers, never stored"
)]
pub fn block_on_for<F: Future>(
    sleep: &impl Sleep,
    future: F,
    timeout: Duration,
) -> Option<F::Output> {
    let begin = Instant::now();
    let mut future = pin!(future);
    let waker = sleep.waker();
    let mut context = Context::from_waker(&waker);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut context) {
            return Some(output);
        }
        let left = timeout.saturating_sub(begin.elapsed());
        if left.is_zero() {
            return None;
        }
        sleep.sleep(Some(left));
    }
}
