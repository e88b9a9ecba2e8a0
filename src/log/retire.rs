//! Who unmaps a segment that nobody reads any more?
//!
//! Not its last reader, who would wait for the kernel: dropping the last reference lays the rest
//! into a bin, and the upkeep thread empties it. Invariants: what is in the bin has no user any more;
//! each thing is taken out once; once the bin is closed, nobody will empty it, and whoever drops the
//! last reference lets go of the thing at once.

use std::ops::Deref;

use crate::sync::{Arc, Mutex, OnceLock};

/// Things that nobody uses any more, until somebody has the time to let go of them.
#[derive(Debug)]
pub struct Bin<T>(Mutex<Option<Vec<Arc<T>>>>);

impl<T> Default for Bin<T> {
    fn default() -> Self {
        Self(Mutex::new(Some(Vec::new())))
    }
}

impl<T> Bin<T> {
    /// Takes everything out.
    pub fn empty(&self) -> Vec<Arc<T>> {
        self.0
            .lock()
            .as_mut()
            .map(std::mem::take)
            .unwrap_or_default()
    }

    /// Takes everything out, and nothing more in.
    pub fn close(&self) -> Vec<Arc<T>> {
        self.0.lock().take().unwrap_or_default()
    }

    /// Lays `thing` in; hands it back once the bin is closed.
    fn add(&self, thing: Arc<T>) -> Option<Arc<T>> {
        match self.0.lock().as_mut() {
            Some(things) => {
                things.push(thing);
                None
            }
            None => Some(thing),
        }
    }
}

/// A thing that, once it is retired, goes into a bin when this, its owner, is dropped.
#[derive(Debug)]
pub struct Retiring<T> {
    thing: Arc<T>,
    bin: OnceLock<Arc<Bin<T>>>,
}

impl<T> Retiring<T> {
    /// In use until further notice.
    pub fn new(thing: T) -> Self {
        Self {
            thing: Arc::new(thing),
            bin: OnceLock::new(),
        }
    }

    /// From now on the drop lays the thing into `bin`. The first bin counts.
    pub fn retire_into(&self, bin: &Arc<Bin<T>>) {
        let _ = self.bin.set(Arc::clone(bin));
    }
}

impl<T> Deref for Retiring<T> {
    type Target = T;

    fn deref(&self) -> &T {
        &self.thing
    }
}

impl<T> Drop for Retiring<T> {
    fn drop(&mut self) {
        if let Some(bin) = self.bin.get() {
            // What a closed bin hands back is dropped here, outside of its lock.
            drop(bin.add(Arc::clone(&self.thing)));
        }
    }
}
