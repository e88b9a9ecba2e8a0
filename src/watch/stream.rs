//! How does one subscriber receive its events?
//!
//! Live events come from a channel; a subscriber that starts at a cursor, or is told that it lagged, reads
//! what it missed from the log, up to the snapshot of that moment, and goes on live. Every event carries
//! its LSN and the stream delivers strictly increasing LSNs: what both sources tell is told once. What the log
//! does not tell any more is a gap, behind which the stream goes on.
//!
//! All state between two polls is in the stream itself, so dropping a `recv` future loses nothing.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    error::{PulseDBError, Result},
    log::SegmentSet,
    model::{Cursor, InstanceId, Lsn, Timeline, WatchEvent, WatchItem},
    state::Snapshot,
    sync::Arc,
    telemetry::Counter,
    watch::{
        channel::Word,
        event::{Batch, Scope, Source},
        hub::{Events, Reach, Subscription},
        told::Told,
        wanted::Wanted,
    },
};

/// Events read from the log at once while catching up.
const CATCH_UP_EVENTS: usize = 256;

type View = Snapshot<Arc<SegmentSet>>;
/// The reading of the log under way.
pub type Reading<T> = Pin<Box<dyn Future<Output = Result<T>> + Send>>;

/// Runs the reading of the log where it may wait for a disk.
pub trait Offload<T>: Send + Sync {
    /// Runs `job` on a thread that may wait.
    fn offload(&self, job: Box<dyn FnOnce() -> Result<T> + Send>) -> Reading<T>;
}

enum State {
    /// The channel tells.
    Live(Events),
    /// The log holds more than the channel will tell.
    Behind(Events),
    /// Reading the log up to the LSN.
    CatchingUp(Events, Lsn, Reading<Batch>),
    /// The log was read as far as the channel will not tell.
    CaughtUp(Events),
    /// What the snapshot sees is told; records up to the LSN were looked at.
    Present(Events, Arc<View>, Lsn),
    /// Looking at more of it.
    Looking(Events, Arc<View>, Reading<Batch>),
    /// Nothing more will come.
    Ended,
}

/// What happens in a collective or in all of the database, from a moment on, in the order of LSNs, each event once.
///
/// Dropping the stream unsubscribes. The stream ends (`None`) when the database is closed or the
/// collective that it watches is deleted. It is a [`Stream`], too.
#[must_use = "a stream does nothing unless it is polled"]
pub struct WatchItems {
    state: State,
    subscription: Subscription,
    /// Markers that come before everything else.
    marks: VecDeque<WatchItem>,
    /// What was told last, or read.
    backlog: Option<Arc<Vec<Arc<Told>>>>,
    /// How many of that were looked at.
    looked_at: usize,
    /// Events of that which were delivered and are not counted yet: the counter is shared with all other subscribers.
    uncounted: u64,
    /// Up to where the log was read into the backlog; `None` where it holds what is there.
    read: Option<Lsn>,
    /// The history that the last LSN is of.
    timeline: Timeline,
    /// Where whoever stops now has to go on, while what is there is told.
    resume: Option<Cursor>,
    /// Whether word is due that everything was told.
    live_due: bool,
    wanted: Wanted,
    offload: Arc<dyn Offload<Batch>>,
}

impl std::fmt::Debug for WatchItems {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("WatchItems")
            .field("scope", &self.subscription.scope())
            .field("cursor", &self.cursor())
            .finish_non_exhaustive()
    }
}

impl WatchItems {
    /// Everything behind `from`, for a subscription that was made before. `live` where the log has nothing
    /// to add to what the channel tells: where `from` is the snapshot that was taken after subscribing.
    pub(crate) fn new(
        mut subscription: Subscription,
        from: Cursor,
        live: bool,
        wanted: Wanted,
        offload: Arc<dyn Offload<Batch>>,
    ) -> Self {
        subscription.heard.set(from.lsn);
        let events = subscription.take_events();
        let mut marks = VecDeque::new();
        if live {
            marks.push_back(WatchItem::Live(from));
        }
        Self {
            state: events.map_or(State::Ended, |events| {
                if live {
                    State::Live(events)
                } else {
                    State::Behind(events)
                }
            }),
            subscription,
            marks,
            backlog: None,
            looked_at: 0,
            uncounted: 0,
            read: Some(from.lsn),
            timeline: from.timeline,
            resume: None,
            live_due: !live,
            wanted,
            offload,
        }
    }

    /// The next item; `None` when there will be none any more.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`] where the stream lagged and the database was closed before it had
    /// caught up; [`PulseDBError::Corrupted`] where the records it missed are damaged;
    /// [`PulseDBError::Backpressure`] where too many reads wait. The stream ends after an error: nothing is
    /// left out silently, and who watches again from [`WatchItems::cursor`] has missed nothing.
    pub async fn recv(&mut self) -> Option<Result<WatchItem>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Where to go on after a restart: everything up to here was delivered, or is not wanted. While what is
    /// there is told after a gap, it is still in front of the gap.
    pub fn cursor(&self) -> Cursor {
        self.resume.unwrap_or_else(|| self.at(self.position()))
    }

    /// Up to which LSN everything was delivered.
    pub fn position(&self) -> Lsn {
        self.subscription.heard.lsn()
    }

    fn at(&self, lsn: Lsn) -> Cursor {
        Cursor {
            timeline: self.timeline,
            lsn,
        }
    }

    /// The next event of the backlog that is new and wanted.
    fn next_known(&mut self) -> Option<Arc<WatchEvent>> {
        let heard = &self.subscription.heard;
        while let Some(told) = self
            .backlog
            .as_ref()
            .and_then(|all| all.get(self.looked_at))
        {
            self.looked_at += 1;
            let Some(event) = told.event() else {
                // Only the log can say why.
                self.backlog = None;
                self.state = match std::mem::replace(&mut self.state, State::Ended) {
                    State::Live(events) => State::Behind(events),
                    other => other,
                };
                return None;
            };
            let new = self.read.is_none() || heard.take(told.lsn());
            if new && self.wanted.wants(event) {
                return Some(Arc::clone(event));
            }
        }
        self.backlog = None;
        self.count_events();
        if let Some(read) = self.read {
            self.subscription.heard.advance(read);
        }
        None
    }

    fn keep(&mut self, batch: Batch) {
        let events = batch.events.into_iter();
        let events = events.map(|(_, event)| Arc::new(event.into()));
        self.look_at(Arc::new(events.collect()));
    }

    /// Counts an event that is delivered, with those before it where it is the last of the backlog.
    fn count_event(&mut self) {
        self.uncounted += 1;
        let known = self.backlog.as_ref().map_or(0, |all| all.len());
        if self.looked_at >= known {
            self.count_events();
        }
    }

    fn count_events(&mut self) {
        if self.uncounted > 0 {
            self.count(Counter::WatchEvents, self.uncounted);
            self.uncounted = 0;
        }
    }

    fn look_at(&mut self, events: Arc<Vec<Arc<Told>>>) {
        self.backlog = Some(events);
        self.looked_at = 0;
    }

    /// Starts to read what the channel will not tell.
    fn start_catching_up(&mut self, events: Events) -> Result<State> {
        let last = self.at(self.position());
        let (view, reach) = self.subscription.hub().view_behind(last)?;
        self.timeline = view.cursor.timeline;
        let last = match reach {
            Reach::Whole => last.lsn,
            Reach::From(lsn) => {
                self.live_due = true;
                if self.wanted.state_after_gap {
                    self.resume = Some(last);
                    self.marks.push_back(WatchItem::Gap {
                        from: last,
                        to: view.cursor,
                    });
                    // The snapshot is kept; of the log nothing in front of it is needed any more.
                    self.subscription.heard.set(view.lsn());
                    self.subscription.heard.paid();
                    self.read = None;
                    return Ok(State::Present(events, view, Lsn::ZERO));
                }
                let to = self.at(lsn);
                self.marks.push_back(WatchItem::Gap { from: last, to });
                self.subscription.heard.set(lsn);
                self.read = Some(lsn);
                lsn
            }
        };
        let upto = view.lsn();
        let first = Lsn::new(last.get().saturating_add(1));
        let (scope, instance) = self.source();
        let reading = self.offload.offload(Box::new(move || {
            Source::new(&view, instance).some_events(first, upto, scope, CATCH_UP_EVENTS)
        }));
        Ok(State::CatchingUp(events, upto, reading))
    }

    fn look_on(&self, view: &Arc<View>, seen: Lsn) -> Reading<Batch> {
        let first = Lsn::new(seen.get().saturating_add(1));
        let (scope, instance) = self.source();
        let view = Arc::clone(view);
        self.offload.offload(Box::new(move || {
            Source::new(&view, instance).some_present(first, scope, CATCH_UP_EVENTS)
        }))
    }

    fn source(&self) -> (Scope, InstanceId) {
        let scope = self.subscription.scope();
        (scope, self.subscription.hub().instance())
    }

    fn count(&self, counter: Counter, more: u64) {
        self.subscription.hub().telemetry().count(counter, more);
    }

    /// From here on the channel tells everything.
    fn caught_up(&mut self) {
        self.subscription.heard.paid();
        if std::mem::take(&mut self.live_due) {
            let live = WatchItem::Live(self.at(self.position()));
            self.marks.push_back(live);
        }
    }
}

impl Drop for WatchItems {
    fn drop(&mut self) {
        self.count_events();
    }
}

impl Stream for WatchItems {
    type Item = Result<WatchItem>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(mark) = this.marks.pop_front() {
                if matches!(mark, WatchItem::Gap { .. }) {
                    this.count(Counter::WatchGaps, 1);
                }
                return Poll::Ready(Some(Ok(mark)));
            }
            if let Some(event) = this.next_known() {
                this.count_event();
                return Poll::Ready(Some(Ok(WatchItem::Event(event))));
            }
            let events = match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Live(mut events) => match events.poll_take(context) {
                    Poll::Ready(Word::Missed(missed)) => {
                        if missed > 0 {
                            this.count(Counter::WatchLagged, 1);
                        }
                        events
                    }
                    Poll::Ready(Word::Closed) => continue,
                    Poll::Ready(Word::Told(told)) => {
                        this.look_at(told);
                        this.state = State::Live(events);
                        continue;
                    }
                    Poll::Pending => {
                        this.state = State::Live(events);
                        return Poll::Pending;
                    }
                },
                State::Behind(events) => events,
                State::CatchingUp(events, upto, mut reading) => {
                    match reading.as_mut().poll(context) {
                        Poll::Pending => {
                            this.state = State::CatchingUp(events, upto, reading);
                            return Poll::Pending;
                        }
                        Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                        Poll::Ready(Ok(batch)) => {
                            let read = batch.read;
                            this.read = Some(read);
                            this.keep(batch);
                            this.state = if read < upto {
                                State::Behind(events)
                            } else {
                                State::CaughtUp(events)
                            };
                            continue;
                        }
                    }
                }
                State::CaughtUp(events) => {
                    this.caught_up();
                    this.state = State::Live(events);
                    continue;
                }
                State::Present(events, view, seen) if seen < view.lsn() => {
                    let reading = this.look_on(&view, seen);
                    this.state = State::Looking(events, view, reading);
                    continue;
                }
                State::Present(events, view, _) => {
                    this.resume = None;
                    this.read = Some(view.lsn());
                    this.state = State::CaughtUp(events);
                    continue;
                }
                State::Looking(events, view, mut reading) => match reading.as_mut().poll(context) {
                    Poll::Pending => {
                        this.state = State::Looking(events, view, reading);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Ok(batch)) => {
                        let read = batch.read;
                        this.keep(batch);
                        this.state = State::Present(events, view, read);
                        continue;
                    }
                },
            };
            match this.start_catching_up(events) {
                Ok(state) => this.state = state,
                Err(error) => return Poll::Ready(Some(Err(error))),
            }
        }
    }
}

/// The changes of a collective's experiences, from the subscription on, in the order of their LSNs, each once.
///
/// Dropping the stream unsubscribes. The stream ends (`None`) when the database is closed or
/// the collective is deleted, which is its last event. It is a [`Stream`], too.
#[must_use = "a stream does nothing unless it is polled"]
#[derive(Debug)]
pub struct WatchStream(WatchItems);

impl WatchStream {
    pub(crate) const fn new(items: WatchItems) -> Self {
        Self(items)
    }

    /// The next event; `None` when there will be none any more.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// [`PulseDBError::Gap`] where the stream was slower than the log is kept; it goes on behind the gap. The
    /// other errors are those of [`WatchItems::recv`], and the stream ends after them.
    pub async fn recv(&mut self) -> Option<Result<Arc<WatchEvent>>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Where to go on after a restart, with [`PulseDB::watch`](crate::PulseDB::watch).
    pub fn cursor(&self) -> Cursor {
        self.0.cursor()
    }

    /// Up to which LSN everything was delivered.
    pub fn position(&self) -> Lsn {
        self.0.position()
    }
}

impl Stream for WatchStream {
    type Item = Result<Arc<WatchEvent>>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            let item = match std::task::ready!(Pin::new(&mut self.0).poll_next(context)) {
                None => None,
                Some(Ok(WatchItem::Event(event))) => Some(Ok(event)),
                Some(Ok(WatchItem::Live(_))) => continue,
                Some(Ok(WatchItem::Gap { from, to })) => Some(Err(PulseDBError::Gap { from, to })),
                Some(Err(error)) => Some(Err(error)),
            };
            return Poll::Ready(item);
        }
    }
}
