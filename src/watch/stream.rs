//! How does one subscriber receive its events?
//!
//! Live events come from a broadcast channel; a subscriber that is told it lagged reads what it
//! missed from the log, up to the snapshot of that moment, and goes on live. Every event carries
//! its LSN and the stream delivers strictly increasing LSNs: what both sources tell is told once.
//!
//! All state between two polls is in the stream itself, so dropping a `recv` future loses nothing.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::atomic::{AtomicU64, Ordering},
    task::{Context, Poll},
};

use futures_core::Stream;
use tokio::sync::broadcast::{
    Receiver,
    error::{RecvError, TryRecvError},
};

use crate::{
    error::Result,
    model::{CollectiveId, Lsn, WatchEvent, WatchFilter},
    sync::Arc,
    watch::{
        event,
        hub::{Hub, Subscription, Told},
    },
};

/// Events read from the log at once while catching up.
const CATCH_UP_EVENTS: usize = 256;

type Live = Receiver<Told>;
type Received = (Live, Result<Told, RecvError>);
/// Events of the log and the LSN up to which it was read.
pub type CaughtUp = Result<(Vec<WatchEvent>, Lsn)>;
/// The reading of the log under way.
pub type CatchUp = Pin<Box<dyn Future<Output = CaughtUp> + Send>>;

/// Runs the reading of the log where it may wait for a disk.
pub trait Offload: Send + Sync {
    /// Runs `job` on a thread that may wait.
    fn offload(&self, job: Box<dyn FnOnce() -> CaughtUp + Send>) -> CatchUp;
}

enum State {
    /// Ask the channel.
    Live(Live),
    /// Waiting for the channel.
    Waiting(Pin<Box<dyn Future<Output = Received> + Send>>),
    /// The log holds more than the channel will tell.
    Behind(Live),
    /// Reading the log up to the LSN.
    CatchingUp(Live, Lsn, CatchUp),
    /// Nothing more will come.
    Ended,
}

/// The events of a collective, from the subscription on, in the order of their LSNs, each once.
///
/// Dropping the stream unsubscribes. The stream ends (`None`) when the database is closed or
/// the collective is deleted.
#[must_use = "a stream does nothing unless it is polled"]
pub struct WatchStream {
    state: State,
    backlog: VecDeque<Arc<WatchEvent>>,
    last: Lsn,
    /// Up to where the log was read into the backlog.
    read: Lsn,
    /// What the hub knows of `last`.
    position: Arc<AtomicU64>,
    filter: WatchFilter,
    number: u32,
    collective: CollectiveId,
    hub: Arc<Hub>,
    offload: Arc<dyn Offload>,
}

impl std::fmt::Debug for WatchStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchStream")
            .field("collective", &self.collective)
            .field("last", &self.last)
            .finish_non_exhaustive()
    }
}

impl WatchStream {
    /// Everything after `last`, which the caller's snapshot shows, for a subscription that was made
    /// before that snapshot was taken.
    pub(crate) fn new(
        subscription: Subscription,
        last: Lsn,
        filter: WatchFilter,
        number: u32,
        collective: CollectiveId,
        hub: Arc<Hub>,
        offload: Arc<dyn Offload>,
    ) -> Self {
        let position = subscription.position;
        position.store(last.get(), Ordering::Release);
        Self {
            state: State::Live(subscription.receiver),
            backlog: VecDeque::new(),
            last,
            read: last,
            position,
            filter,
            number,
            collective,
            hub,
            offload,
        }
    }

    /// The next event; `None` when there will be none any more.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// [`crate::PulseDBError::Closed`] where the stream lagged and the database was closed before it had
    /// caught up; [`crate::PulseDBError::Corrupted`] where the records it missed are damaged. The stream
    /// ends after an error: nothing is left out silently.
    pub async fn recv(&mut self) -> Option<Result<Arc<WatchEvent>>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Up to which LSN everything was delivered.
    pub fn position(&self) -> Lsn {
        self.last
    }

    fn catch_up(&self) -> Result<(Lsn, CatchUp)> {
        let view = self.hub.view_behind(self.last)?;
        let upto = view.lsn();
        let first = Lsn::new(self.last.get().saturating_add(1));
        let (number, collective) = (self.number, self.collective);
        let instance = self.hub.instance();
        let job = move || {
            event::Source {
                view: &view,
                number,
                collective,
                instance,
            }
            .events(first, upto, CATCH_UP_EVENTS)
        };
        Ok((upto, self.offload.offload(Box::new(job))))
    }

    /// Takes an event in; true where it is new and wanted.
    fn accept(&mut self, event: &WatchEvent) -> bool {
        if event.lsn <= self.last {
            return false;
        }
        self.advance(event.lsn);
        event::wanted(&self.filter, event)
    }

    /// Everything up to `lsn` was delivered.
    fn advance(&mut self, lsn: Lsn) {
        if lsn > self.last {
            self.last = lsn;
            self.position.store(lsn.get(), Ordering::Release);
        }
    }

    fn start_catching_up(&mut self, receiver: Live) -> Result<()> {
        let (upto, future) = self.catch_up()?;
        self.state = State::CatchingUp(receiver, upto, future);
        Ok(())
    }
}

impl Stream for WatchStream {
    type Item = Result<Arc<WatchEvent>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(event) = this.backlog.pop_front() {
                if this.accept(&event) {
                    return Poll::Ready(Some(Ok(event)));
                }
                continue;
            }
            this.advance(this.read);
            let (receiver, received) = match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Live(mut receiver) => match receiver.try_recv() {
                    Ok(event) => (receiver, Ok(event)),
                    Err(TryRecvError::Lagged(missed)) => (receiver, Err(RecvError::Lagged(missed))),
                    Err(TryRecvError::Closed) => (receiver, Err(RecvError::Closed)),
                    Err(TryRecvError::Empty) => {
                        this.state = State::Waiting(Box::pin(async move {
                            let received = receiver.recv().await;
                            (receiver, received)
                        }));
                        continue;
                    }
                },
                State::Waiting(mut waiting) => match waiting.as_mut().poll(context) {
                    Poll::Ready(received) => received,
                    Poll::Pending => {
                        this.state = State::Waiting(waiting);
                        return Poll::Pending;
                    }
                },
                State::Behind(receiver) => (receiver, Err(RecvError::Lagged(0))),
                State::CatchingUp(receiver, upto, mut reading) => {
                    match reading.as_mut().poll(context) {
                        Poll::Pending => {
                            this.state = State::CatchingUp(receiver, upto, reading);
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                        Poll::Ready(Ok((events, read))) => {
                            this.backlog.extend(events.into_iter().map(Arc::new));
                            this.read = read;
                            this.state = if read < upto {
                                State::Behind(receiver)
                            } else {
                                State::Live(receiver)
                            };
                            continue;
                        }
                    }
                }
            };
            match received {
                Ok(Some(event)) => {
                    this.state = State::Live(receiver);
                    if this.accept(&event) {
                        return Poll::Ready(Some(Ok(event)));
                    }
                }
                Ok(None) | Err(RecvError::Lagged(_)) => {
                    if let Err(error) = this.start_catching_up(receiver) {
                        return Poll::Ready(Some(Err(error)));
                    }
                }
                Err(RecvError::Closed) => {}
            }
        }
    }
}
