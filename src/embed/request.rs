//! How does an answer get from the model's threads to the future that waits for it?
//!
//! One [`Request`] per call, shared by its texts in the queue and its [`Pending`]. It is settled
//! once: by its last vector, by its first error, or by the caller who leaves. Wakers are called
//! outside of its lock. Used by `pool`.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll, Waker},
};

use parking_lot::Mutex;

use crate::error::{PulseDBError, Result};

/// What one caller waits for.
pub(super) struct Request(Mutex<Answer>);

struct Answer {
    vectors: Vec<Vec<f32>>,
    missing: usize,
    state: AnswerState,
    waker: Option<Waker>,
}

#[derive(Default)]
enum AnswerState {
    #[default]
    Waiting,
    Failed(PulseDBError),
    /// The caller has its answer, or left.
    Gone,
}

/// Answers with one vector per text. Dropping it takes back the texts that no thread has taken.
pub(super) struct Pending(pub(super) Arc<Request>);

impl Request {
    /// Waits for `count` vectors.
    pub(super) fn new(count: usize) -> Self {
        Self(Mutex::new(Answer {
            vectors: vec![Vec::new(); count],
            missing: count,
            state: AnswerState::Waiting,
            waker: None,
        }))
    }

    /// Whether a thread should still work for it.
    pub(super) fn is_waiting(&self) -> bool {
        matches!(self.0.lock().state, AnswerState::Waiting)
    }

    pub(super) fn deliver(&self, index: usize, vector: Vec<f32>) {
        let mut answer = self.0.lock();
        if let Some(slot) = answer.vectors.get_mut(index) {
            *slot = vector;
            answer.missing -= 1;
        }
        let waker = if answer.missing == 0 {
            answer.waker.take()
        } else {
            None
        };
        drop(answer);
        waker.into_iter().for_each(Waker::wake);
    }

    pub(super) fn fail(&self, error: &PulseDBError) {
        let mut answer = self.0.lock();
        if matches!(answer.state, AnswerState::Waiting) {
            answer.state = AnswerState::Failed(error.clone());
        }
        let waker = answer.waker.take();
        drop(answer);
        waker.into_iter().for_each(Waker::wake);
    }
}

impl Future for Pending {
    type Output = Result<Vec<Vec<f32>>>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let mut answer = self.0.0.lock();
        if answer.missing > 0 && matches!(answer.state, AnswerState::Waiting) {
            answer.waker = Some(context.waker().clone());
            return Poll::Pending;
        }
        match std::mem::replace(&mut answer.state, AnswerState::Gone) {
            AnswerState::Waiting => Poll::Ready(Ok(std::mem::take(&mut answer.vectors))),
            AnswerState::Failed(error) => Poll::Ready(Err(error)),
            AnswerState::Gone => Poll::Ready(Err(PulseDBError::Closed)),
        }
    }
}

impl Drop for Pending {
    fn drop(&mut self) {
        let mut answer = self.0.0.lock();
        answer.state = AnswerState::Gone;
        answer.waker = None;
    }
}
