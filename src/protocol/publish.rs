//! Which state do readers see, and how old is the oldest that somebody still holds?
//!
//! One cell. A call loads it once, at its top, and works on that immutable value to its end. The
//! committer alone publishes, always a newer value: no reader sees time going backwards.
//! [`History`] remembers, without owning them, the values that readers may still hold.

use std::collections::VecDeque;

use crate::sync::{Arc, Swap, Weak};

/// The cell.
pub struct Published<T> {
    current: Swap<T>,
}

impl<T> Published<T> {
    /// A cell that shows `first`.
    pub fn new(first: Arc<T>) -> Self {
        Self {
            current: Swap::new(Some(first)),
        }
    }

    /// What is visible now.
    pub fn load(&self) -> Option<Arc<T>> {
        self.current.load()
    }

    /// Looks at what is visible now without counting a reference to it: for short looks that many
    /// threads take at once.
    pub fn with<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        self.current.with(look)
    }

    /// Shows `next` to every later load. For the committer only.
    pub fn store(&self, next: Arc<T>) {
        self.current.store(Some(next));
    }

    /// Shows nothing any more: the database is closed.
    pub fn clear(&self) {
        self.current.store(None);
    }
}

/// The published values that may still be held, oldest first. Owned by the committer.
pub struct History<T> {
    values: VecDeque<Weak<T>>,
    /// Length at which dead entries in the middle are swept, so that one old reader does not
    /// make the list grow with every commit.
    sweep_at: usize,
}

const FIRST_SWEEP: usize = 64;

impl<T> Default for History<T> {
    fn default() -> Self {
        Self {
            values: VecDeque::new(),
            sweep_at: FIRST_SWEEP,
        }
    }
}

impl<T> History<T> {
    /// Remembers a value that is being published.
    pub fn push(&mut self, value: &Arc<T>) {
        self.values.push_back(Arc::downgrade(value));
        if self.values.len() >= self.sweep_at {
            self.values.retain(|value| value.strong_count() > 0);
            self.sweep_at = (self.values.len() * 2).max(FIRST_SWEEP);
        }
    }

    /// The oldest value that anybody holds; the published one at the latest.
    pub fn oldest(&mut self) -> Option<Arc<T>> {
        while let Some(front) = self.values.front() {
            if let Some(value) = front.upgrade() {
                return Some(value);
            }
            self.values.pop_front();
        }
        None
    }
}
