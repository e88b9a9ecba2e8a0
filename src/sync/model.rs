//! The primitives of loom builds, with the signatures of the native ones.

use std::sync::Arc;

pub use loom::sync::{MutexGuard, RwLockReadGuard, RwLockWriteGuard, atomic};

/// `loom::sync::Mutex` without the poisoning that `parking_lot` does not have either.
#[derive(Debug, Default)]
pub struct Mutex<T>(loom::sync::Mutex<T>);

impl<T> Mutex<T> {
    /// An unlocked mutex.
    pub fn new(value: T) -> Self {
        Self(loom::sync::Mutex::new(value))
    }

    /// Waits for the lock.
    pub fn lock(&self) -> MutexGuard<'_, T> {
        match self.0.lock() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// The lock, if nobody holds it.
    pub fn try_lock(&self) -> Option<MutexGuard<'_, T>> {
        self.0.try_lock().ok()
    }
}

/// `loom::sync::RwLock` without poisoning.
#[derive(Debug, Default)]
pub struct RwLock<T>(loom::sync::RwLock<T>);

impl<T> RwLock<T> {
    /// An unlocked lock.
    pub fn new(value: T) -> Self {
        Self(loom::sync::RwLock::new(value))
    }

    /// Waits until no writer holds the lock.
    pub fn read(&self) -> RwLockReadGuard<'_, T> {
        match self.0.read() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }

    /// Waits until nobody holds the lock.
    pub fn write(&self) -> RwLockWriteGuard<'_, T> {
        match self.0.write() {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
    }
}

/// `loom::sync::Condvar` without poisoning.
#[derive(Debug, Default)]
pub struct Condvar(loom::sync::Condvar);

impl Condvar {
    /// A condition nobody waits for.
    pub fn new() -> Self {
        Self(loom::sync::Condvar::new())
    }

    /// Releases `guard`, waits for a notification, locks again.
    pub fn wait<'a, T>(&self, guard: MutexGuard<'a, T>) -> MutexGuard<'a, T> {
        match self.0.wait(guard) {
            Ok(guard) => guard,
            Err(poisoned) => poisoned.into_inner(),
        }
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

/// The atomic cell as a lock: what it orders is the same, what arc-swap does inside is not seen.
#[derive(Debug)]
pub struct Swap<T>(Mutex<Option<Arc<T>>>);

impl<T> Swap<T> {
    /// A place holding `value`.
    pub fn new(value: Option<Arc<T>>) -> Self {
        Self(Mutex::new(value))
    }

    /// The value as of now.
    pub fn load(&self) -> Option<Arc<T>> {
        self.0.lock().clone()
    }

    /// Looks at the value.
    pub fn with<R>(&self, look: impl FnOnce(Option<&Arc<T>>) -> R) -> R {
        look(self.load().as_ref())
    }

    /// Replaces the value.
    pub fn store(&self, value: Option<Arc<T>>) {
        *self.0.lock() = value;
    }
}
