//! How many searches may be inside a graph at once?
//!
//! The library answers more callers than it has contexts with an error. Here they wait, in no
//! particular order; a search lasts less than a millisecond.

use crate::sync::{Condvar, Mutex};

/// A number of places; whoever wants one waits until one is free.
#[derive(Debug)]
pub struct Slots {
    free: Mutex<usize>,
    released: Condvar,
}

/// A place that is taken, until this is dropped.
#[derive(Debug)]
pub struct Permit<'a>(&'a Slots);

impl Slots {
    /// So many places, at least one.
    #[must_use]
    pub fn new(places: usize) -> Self {
        Self {
            free: Mutex::new(places.max(1)),
            released: Condvar::new(),
        }
    }

    /// Takes a place, waiting for one if need be.
    pub fn enter(&self) -> Permit<'_> {
        let mut free = self.free.lock();
        while *free == 0 {
            free = self.released.wait(free);
        }
        *free = free.saturating_sub(1);
        Permit(self)
    }
}

impl Drop for Permit<'_> {
    fn drop(&mut self) {
        let mut free = self.0.free.lock();
        *free = free.saturating_add(1);
        drop(free);
        self.0.released.notify_one();
    }
}
