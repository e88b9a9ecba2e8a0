//! Where do requests wait for the committer?
//!
//! One list under one short lock. Taking it takes everything that waits, together with the group
//! those requests share, and leaves an empty group for the next: group commit forms by itself
//! while a sync runs, without timers. Invariants: a request is taken exactly once, in the order of
//! arrival; after [`Queue::stop`] or [`Queue::poison`] nothing enters; what entered before a stop
//! is still taken, what entered before a poisoning is answered with its reason. The bound on waiting
//! bytes stands in front of the queue (`edge::admission`).

use super::group::{Group, Ticket};
use crate::sync::{Arc, Condvar, Mutex};

/// Why the queue takes nothing more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Stopped<F> {
    /// The database is being closed.
    Closed,
    /// Writing failed for good.
    Poisoned(F),
}

struct State<R, A, F> {
    waiting: Vec<R>,
    group: Arc<Group<A>>,
    stopped: Option<Stopped<F>>,
}

/// Requests `R` that wait for answers `A`, or for the failure `F` of the writer.
pub struct Queue<R, A, F> {
    state: Mutex<State<R, A, F>>,
    work: Condvar,
}

impl<R, A, F> Default for Queue<R, A, F> {
    fn default() -> Self {
        Self {
            state: Mutex::new(State {
                waiting: Vec::new(),
                group: Arc::default(),
                stopped: None,
            }),
            work: Condvar::new(),
        }
    }
}

impl<R, A, F: Clone> Queue<R, A, F> {
    /// Lets a request wait, and wakes the committer's thread.
    pub fn push(&self, request: R) -> Result<Ticket<A>, Stopped<F>> {
        let ticket = self.push_quietly(request)?;
        self.work.notify_one();
        Ok(ticket)
    }

    /// Lets a request wait for a committer that needs no waking: the caller holds the role.
    pub(super) fn push_quietly(&self, request: R) -> Result<Ticket<A>, Stopped<F>> {
        let mut state = self.state.lock();
        if let Some(stopped) = &state.stopped {
            return Err(stopped.clone());
        }
        state.waiting.push(request);
        Ok(state.group.join())
    }

    /// Takes all that waits, with the group it shares. `None` where nothing does.
    pub(super) fn take(&self) -> Option<(Vec<R>, Arc<Group<A>>)> {
        let mut state = self.state.lock();
        if state.waiting.is_empty() {
            return None;
        }
        let waiting = std::mem::take(&mut state.waiting);
        // The next group will be about as large.
        state.waiting.reserve(waiting.len());
        Some((waiting, std::mem::take(&mut state.group)))
    }

    /// Waits until something waits (true), or the queue is stopped and empty (false).
    pub(super) fn wait_for_work(&self) -> bool {
        let mut state = self.state.lock();
        loop {
            if !state.waiting.is_empty() {
                return true;
            }
            if state.stopped.is_some() {
                return false;
            }
            state = self.work.wait(state);
        }
    }

    /// Lets nothing more enter. What entered is still taken. Idempotent.
    pub fn stop(&self) {
        let mut state = self.state.lock();
        if state.stopped.is_none() {
            state.stopped = Some(Stopped::Closed);
        }
        drop(state);
        self.work.notify_all();
    }

    /// Lets nothing more enter, and hands back what waits, to be answered with the failure.
    pub(super) fn poison(&self, failure: F) -> (Vec<R>, Arc<Group<A>>) {
        let mut state = self.state.lock();
        if !matches!(state.stopped, Some(Stopped::Poisoned(_))) {
            state.stopped = Some(Stopped::Poisoned(failure));
        }
        let rest = (
            std::mem::take(&mut state.waiting),
            std::mem::take(&mut state.group),
        );
        drop(state);
        self.work.notify_all();
        rest
    }

    /// Why nothing enters, if so.
    pub fn stopped(&self) -> Option<Stopped<F>> {
        self.state.lock().stopped.clone()
    }
}
