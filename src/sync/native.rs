//! The primitives of ordinary builds.

use std::sync::Arc;

use arc_swap::ArcSwapOption;
pub use parking_lot::{Mutex, MutexGuard, RwLock};
pub use std::sync::atomic;

/// A condition variable whose waits hand the guard through, as loom's do.
#[derive(Debug, Default)]
pub struct Condvar(parking_lot::Condvar);

impl Condvar {
    /// A condition nobody waits for.
    pub fn new() -> Self {
        Self::default()
    }

    /// Releases `guard`, waits for a notification, locks again. May wake for no reason.
    pub fn wait<'a, T>(&self, mut guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        self.0.wait(&mut guard);
        guard
    }

    /// Wakes one waiter.
    pub fn notify_one(&self) {
        self.0.notify_one();
    }

    /// Wakes all waiters.
    pub fn notify_all(&self) {
        self.0.notify_all();
    }
}

/// A place for an `Arc` that readers load while a writer replaces it; neither waits.
#[derive(Debug)]
pub struct Swap<T>(ArcSwapOption<T>);

impl<T> Swap<T> {
    /// A place holding `value`.
    pub fn new(value: Option<Arc<T>>) -> Self {
        Self(ArcSwapOption::new(value))
    }

    /// The value as of now.
    pub fn load(&self) -> Option<Arc<T>> {
        self.0.load_full()
    }

    /// Looks at the value without counting a reference.
    #[inline]
    pub fn with<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        look(self.0.load().as_ref())
    }

    /// Replaces the value. A reader that loaded the old one keeps it.
    pub fn store(&self, value: Option<Arc<T>>) {
        self.0.store(value);
    }
}
