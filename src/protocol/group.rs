//! How does the answer of one commit reach everybody who waits for it?
//!
//! Requests that are committed together share one [`Group`]. Each request holds a [`Ticket`]: the
//! group and its place in it. One lock and one pass wake the whole batch; there is no channel per
//! request. Invariants: every ticket gets exactly one answer; an answer is stored before its
//! waiter is woken; a dropped ticket leaves its answer unread and disturbs nobody.

use std::{
    future::Future,
    pin::Pin,
    task::{Context, Poll, Waker},
};

use crate::sync::{Arc, Mutex};

enum Slot<A> {
    /// Not answered, and nobody has asked yet.
    Unasked,
    /// Not answered; wake this one.
    Asked(Waker),
    /// Answered, not yet picked up.
    Answered(A),
    /// Picked up, or the ticket was dropped.
    Done,
}

/// The answers of requests that are committed together.
pub struct Group<A> {
    slots: Mutex<Vec<Slot<A>>>,
}

impl<A> Default for Group<A> {
    fn default() -> Self {
        Self {
            slots: Mutex::new(Vec::new()),
        }
    }
}

impl<A> Group<A> {
    /// One more request joins; for [`crate::protocol::queue`], under its lock.
    pub(super) fn join(self: &Arc<Self>) -> Ticket<A> {
        let mut slots = self.slots.lock();
        let place = slots.len();
        slots.push(Slot::Unasked);
        Ticket {
            group: Arc::clone(self),
            place,
        }
    }

    /// Stores the answers in the order of joining and wakes everybody. Requests beyond the last
    /// answer stay unanswered, so the caller must bring one for each.
    pub fn answer(&self, answers: impl IntoIterator<Item = A>) {
        let mut wakers = Vec::new();
        {
            let mut slots = self.slots.lock();
            for (slot, answer) in slots.iter_mut().zip(answers) {
                match std::mem::replace(slot, Slot::Done) {
                    Slot::Unasked => *slot = Slot::Answered(answer),
                    Slot::Asked(waker) => {
                        *slot = Slot::Answered(answer);
                        wakers.push(waker);
                    }
                    Slot::Answered(first) => *slot = Slot::Answered(first),
                    Slot::Done => {}
                }
            }
        }
        // Outside the lock: a woken waiter takes it at once.
        for waker in wakers {
            waker.wake();
        }
    }

    /// Answers everybody who has no answer yet with a copy of `answer`.
    pub fn answer_all(&self, answer: &A)
    where
        A: Clone,
    {
        let count = self.slots.lock().len();
        self.answer(std::iter::repeat_n(answer.clone(), count));
    }
}

/// The right to one answer. As a future it is cancel-safe: dropping it gives up the answer, not
/// the request.
pub struct Ticket<A> {
    group: Arc<Group<A>>,
    place: usize,
}

impl<A> Ticket<A> {
    /// Whether the answer is there.
    pub fn is_answered(&self) -> bool {
        let slots = self.group.slots.lock();
        matches!(
            slots.get(self.place),
            Some(Slot::Answered(_) | Slot::Done) | None
        )
    }

    /// The answer, if it is there and was not picked up. Callers await; tests look.
    #[cfg(any(test, pulsedb_loom))]
    pub fn take(&self) -> Option<A> {
        let mut slots = self.group.slots.lock();
        let slot = slots.get_mut(self.place)?;
        match std::mem::replace(slot, Slot::Done) {
            Slot::Answered(answer) => Some(answer),
            other => {
                *slot = other;
                None
            }
        }
    }
}

impl<A> Future for Ticket<A> {
    type Output = A;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<A> {
        let mut slots = self.group.slots.lock();
        let Some(slot) = slots.get_mut(self.place) else {
            return Poll::Pending;
        };
        match std::mem::replace(slot, Slot::Done) {
            Slot::Answered(answer) => Poll::Ready(answer),
            Slot::Done => Poll::Pending,
            unanswered @ (Slot::Unasked | Slot::Asked(_)) => {
                *slot = Slot::Asked(context.waker().clone());
                drop(slots);
                // Outside the lock: the last waker of a task drops the task, and with it perhaps
                // another ticket of this group.
                drop(unanswered);
                Poll::Pending
            }
        }
    }
}

impl<A> Drop for Ticket<A> {
    fn drop(&mut self) {
        let mut slots = self.group.slots.lock();
        if let Some(slot) = slots.get_mut(self.place) {
            let abandoned = std::mem::replace(slot, Slot::Done);
            drop(slots);
            drop(abandoned);
        }
    }
}
