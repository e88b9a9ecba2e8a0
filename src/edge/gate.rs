//! How does a call wait until something it needs is so?
//!
//! A gate asks whether it is open at every [`Gate::changed`], and gives up after a while. Nothing is
//! reserved by passing: whoever passes may find the gate closed behind it.

use std::{future::Future, pin::pin, task::Poll, time::Duration};

use tokio::sync::Notify;

use super::timer::Sleep;

/// Where calls wait.
#[derive(Debug, Default)]
pub struct Gate {
    changed: Notify,
}

impl Gate {
    /// What was asked about may be otherwise now.
    pub fn changed(&self) {
        self.changed.notify_waiters();
    }

    /// Waits until `open` says so, at most `timeout`; whether it did. Cancel-safe.
    pub async fn pass(&self, timeout: Duration, open: impl Fn() -> bool) -> bool {
        if open() {
            return true;
        }
        let mut sleep = pin!(Sleep::new(timeout));
        loop {
            // Listens before it asks, so that no change falls between the two.
            let mut changed = pin!(self.changed.notified());
            changed.as_mut().enable();
            if open() {
                return true;
            }
            let timed_out = std::future::poll_fn(|context| {
                if changed.as_mut().poll(context).is_ready() {
                    return Poll::Ready(false);
                }
                sleep.as_mut().poll(context).map(|()| true)
            });
            if timed_out.await {
                return open();
            }
        }
    }
}
