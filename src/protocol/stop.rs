//! How does `close` learn that everything has ended?
//!
//! A latch that opens once, with a value. Any number of waiters, before or after; none waits for
//! ever once it is open.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::sync::Mutex;

/// A value that arrives once.
pub struct Latch<T> {
    state: Mutex<(Option<T>, Vec<Waker>)>,
}

impl<T> Default for Latch<T> {
    fn default() -> Self {
        Self {
            state: Mutex::new((None, Vec::new())),
        }
    }
}

impl<T: Clone> Latch<T> {
    /// Opens the latch; later calls change nothing.
    pub fn open(&self, value: T) {
        let wakers = {
            let mut state = self.state.lock();
            if state.0.is_none() {
                state.0 = Some(value);
            }
            std::mem::take(&mut state.1)
        };
        for waker in wakers {
            waker.wake();
        }
    }

    /// The value, if it is there.
    pub fn get(&self) -> Option<T> {
        self.state.lock().0.clone()
    }

    /// Waits for the value; cancel-safe.
    pub fn wait(&self) -> Wait<'_, T> {
        Wait { latch: self }
    }
}

/// The future of [`Latch::wait`].
pub struct Wait<'a, T> {
    latch: &'a Latch<T>,
}

impl<T: Clone> Future for Wait<'_, T> {
    type Output = T;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<T> {
        let mut state = self.latch.state.lock();
        if let Some(value) = &state.0 {
            return Poll::Ready(value.clone());
        }
        let waker = context.waker();
        if !state.1.iter().any(|known| known.will_wake(waker)) {
            state.1.push(waker.clone());
        }
        Poll::Pending
    }
}
