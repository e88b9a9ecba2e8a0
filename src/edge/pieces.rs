//! How does long work become a stream that holds little?
//!
//! The work is done piece by piece on a pool, each piece when the one before it was taken: whoever stops
//! polling stops the work. All state between two polls is in the stream, so a dropped `next` future loses
//! nothing; a dropped stream ends the work after the piece that is under way.

use std::{
    collections::VecDeque,
    future::{Future, poll_fn},
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    edge::{block_on::block_on, pool::Pool},
    error::Result,
};

/// Makes the next piece, perhaps an empty one; `None` at the end.
pub type Work<T> = Box<dyn FnMut() -> Result<Option<Vec<T>>> + Send>;

type Turn<T> = (Work<T>, Result<Option<Vec<T>>>);

enum State<T> {
    /// Nothing is under way.
    Idle(Work<T>),
    /// A piece is.
    Working(Pin<Box<dyn Future<Output = Result<Turn<T>>> + Send>>),
    /// Nothing more will come.
    Ended,
}

/// The items of some work, in order. It ends after an error.
pub struct Pieces<T> {
    pool: Arc<Pool>,
    state: State<T>,
    ready: VecDeque<T>,
}

impl<T: Send + Unpin + 'static> Pieces<T> {
    /// The items that `work` makes on `pool`.
    pub fn new(pool: Arc<Pool>, work: Work<T>) -> Self {
        Self {
            pool,
            state: State::Idle(work),
            ready: VecDeque::new(),
        }
    }

    /// The next item; `None` at the end.
    pub async fn recv(&mut self) -> Option<Result<T>> {
        poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// The same on the caller's thread, which may wait.
    pub fn recv_here(&mut self) -> Option<Result<T>> {
        loop {
            if let Some(item) = self.ready.pop_front() {
                return Some(Ok(item));
            }
            match std::mem::replace(&mut self.state, State::Ended) {
                State::Idle(mut work) => {
                    let made = work();
                    if let Err(error) = self.take((work, made)) {
                        return Some(Err(error));
                    }
                }
                working @ State::Working(_) => {
                    self.state = working;
                    return block_on(self.recv());
                }
                State::Ended => return None,
            }
        }
    }

    /// Takes a piece in; the state stays that of the end where there is none.
    fn take(&mut self, (work, made): Turn<T>) -> Result<()> {
        if let Some(items) = made? {
            self.ready.extend(items);
            self.state = State::Idle(work);
        }
        Ok(())
    }
}

impl<T: Send + Unpin + 'static> Stream for Pieces<T> {
    type Item = Result<T>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(item) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(item)));
            }
            match std::mem::replace(&mut this.state, State::Ended) {
                State::Idle(mut work) => {
                    let turn = this.pool.run(move || {
                        let made = work();
                        (work, made)
                    });
                    this.state = State::Working(Box::pin(turn));
                }
                State::Working(mut turn) => match turn.as_mut().poll(context) {
                    Poll::Pending => {
                        this.state = State::Working(turn);
                        return Poll::Pending;
                    }
                    Poll::Ready(turn) => {
                        if let Err(error) = turn.and_then(|turn| this.take(turn)) {
                            return Poll::Ready(Some(Err(error)));
                        }
                    }
                },
                State::Ended => return Poll::Ready(None),
            }
        }
    }
}
