//! How does somebody hear of whole commits, to repeat them elsewhere?
//!
//! From the log alone, commit by commit; a subscription only says when there is more. Commits come whole and in
//! order, each once; the record of a clean close is no change and is left out. What the log does not tell any
//! more is a gap.

use std::{
    collections::VecDeque,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    error::{PulseDBError, Result},
    format::{RecordKind, append_record, decode_change, encode_change, records_of},
    log::SegmentSet,
    model::{Change, ChangeCommit, ChangeRecord, Cursor, Lsn},
    state::Snapshot,
    sync::Arc,
    watch::{
        channel::Word,
        hub::{Events, Hub, Reach, Subscription},
        stream::{Offload, Reading},
    },
};

/// Commits are read from the log until they come to so many bytes.
const BATCH_BYTES: usize = 1024 * 1024;

type View = Snapshot<Arc<SegmentSet>>;

/// Commits, and up to where the log was read for them.
pub struct Commits {
    changes: VecDeque<Change>,
    read: Lsn,
}

enum State {
    /// Look whether there is more.
    Due,
    /// Reading some of it.
    Reading(Reading<Commits>),
    /// Nothing more will come.
    Ended,
}

/// The commits of a database behind a cursor, in order, each once; from
/// [`PulseDB::change_feed`](crate::PulseDB::change_feed). It is a [`Stream`].
#[must_use = "a stream does nothing unless it is polled"]
pub struct ChangeFeed {
    state: State,
    /// Where it hears that there is more; `None` where it ends with what there is.
    events: Option<Events>,
    subscription: Option<Subscription>,
    hub: Arc<Hub>,
    ready: VecDeque<Change>,
    /// Up to where commits were handed out.
    cursor: Cursor,
    /// Up to where the log was read.
    read: Lsn,
    /// Whether it has begun at the begin of a commit.
    started: bool,
    offload: Arc<dyn Offload<Commits>>,
}

impl std::fmt::Debug for ChangeFeed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ChangeFeed")
            .field("cursor", &self.cursor)
            .finish_non_exhaustive()
    }
}

impl ChangeFeed {
    /// Everything behind `from`. With a subscription it waits for what is committed later.
    pub(crate) fn new(
        hub: Arc<Hub>,
        mut subscription: Option<Subscription>,
        from: Cursor,
        offload: Arc<dyn Offload<Commits>>,
    ) -> Self {
        let events = subscription.as_mut().and_then(Subscription::take_events);
        Self {
            state: State::Due,
            events,
            subscription,
            hub,
            ready: VecDeque::new(),
            cursor: from,
            read: from.lsn,
            started: false,
            offload,
        }
    }

    /// The next commit, or word of a gap; `None` when there will be none any more: where it does not follow,
    /// behind the newest commit, else when the database is closed.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`] where the database was closed before everything was read,
    /// [`PulseDBError::Corrupted`] where a record is damaged, [`PulseDBError::Backpressure`] where too many reads
    /// wait. The feed ends after an error.
    pub async fn recv(&mut self) -> Option<Result<Change>> {
        std::future::poll_fn(|context| Pin::new(&mut *self).poll_next(context)).await
    }

    /// Up to where commits were handed out: where to go on after a restart.
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// Hands out a change that was read.
    fn hand_out(&mut self) -> Option<Change> {
        let change = self.ready.pop_front()?;
        self.cursor = match &change {
            Change::Commit(commit) => commit.cursor,
            Change::Gap { to, .. } => *to,
        };
        self.note(self.cursor.lsn);
        Some(change)
    }

    fn note(&self, lsn: Lsn) {
        if let Some(subscription) = &self.subscription {
            subscription.heard.set(lsn);
        }
    }

    /// Takes what was told up to here: what is loaded behind it shows that, and what is told later wakes. Whether there
    /// is nothing more, and never will be.
    fn has_ended(&mut self, context: &mut Context<'_>) -> bool {
        let Some(events) = &mut self.events else {
            return false;
        };
        let mut more = false;
        loop {
            match events.poll_take(context) {
                Poll::Ready(Word::Told(told)) => {
                    more |= told.iter().any(|one| one.lsn() > self.read)
                }
                Poll::Ready(Word::Missed(_)) => more = true,
                Poll::Ready(Word::Closed) => return self.started && !more,
                Poll::Pending => return false,
            }
        }
    }

    /// Starts to read on; `None` where there is nothing more by now.
    fn read_on(&mut self, context: &mut Context<'_>) -> Result<Option<State>> {
        if self.has_ended(context) {
            return Ok(Some(State::Ended));
        }
        let asked = Cursor {
            lsn: self.read,
            ..self.cursor
        };
        let (view, reach) = self.hub.view_behind(asked)?;
        let mut first = self.read;
        if let Reach::From(lsn) = reach {
            let to = Cursor {
                timeline: view.cursor.timeline,
                lsn,
            };
            let from = self.cursor;
            self.ready.push_back(Change::Gap { from, to });
            first = lsn;
        } else if !std::mem::replace(&mut self.started, true) {
            // A cursor of an event may stand within a commit, which is then handed out whole.
            let begins = view.segments.commit_at(asked.lsn);
            let (_, whole) = self.hub.view_behind(Cursor {
                timeline: view.cursor.timeline,
                lsn: begins.unwrap_or(asked.lsn),
            })?;
            if whole == Reach::Whole {
                first = begins.unwrap_or(asked.lsn);
            }
        }
        if reach == Reach::Whole {
            self.cursor.timeline = view.cursor.timeline;
        }
        self.read = first;
        if first >= view.lsn() {
            return Ok((!self.ready.is_empty()).then_some(State::Due));
        }
        let job = Box::new(move || commits(&view, first));
        Ok(Some(State::Reading(self.offload.offload(job))))
    }
}

impl Stream for ChangeFeed {
    type Item = Result<Change>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if let Some(change) = this.hand_out() {
                return Poll::Ready(Some(Ok(change)));
            }
            match std::mem::replace(&mut this.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Due => match this.read_on(context) {
                    Err(error) => return Poll::Ready(Some(Err(error))),
                    Ok(Some(state)) => this.state = state,
                    Ok(None) => {
                        if this.events.is_none() {
                            return Poll::Ready(None);
                        }
                        if let Some(subscription) = &this.subscription {
                            subscription.heard.paid();
                        }
                        this.state = State::Due;
                        return Poll::Pending;
                    }
                },
                State::Reading(mut reading) => match reading.as_mut().poll(context) {
                    Poll::Pending => {
                        this.state = State::Reading(reading);
                        return Poll::Pending;
                    }
                    Poll::Ready(Err(error)) => return Poll::Ready(Some(Err(error))),
                    Poll::Ready(Ok(commits)) => {
                        this.ready.extend(commits.changes);
                        this.read = commits.read;
                        this.state = State::Due;
                    }
                },
            }
        }
    }
}

/// The commits behind `last`, as many as make a batch.
fn commits(view: &View, last: Lsn) -> Result<Commits> {
    let mut found = Commits {
        changes: VecDeque::new(),
        read: view.lsn(),
    };
    let mut frames = Vec::new();
    let mut bytes = 0;
    let first = Lsn::new(last.get().saturating_add(1));
    for frame in view.segments.iter_from(first, view.lsn()) {
        let frame = frame.inspect_err(|error| view.segments.note_damage(error))?;
        let header = &frame.header;
        if header.kind != RecordKind::Close {
            let payload = frame.verified_payload();
            let payload = payload.inspect_err(|error| view.segments.note_damage(error))?;
            append_record(header, payload, &mut frames);
        }
        if header.closes_commit && !frames.is_empty() {
            bytes += frames.len();
            found.changes.push_back(Change::Commit(ChangeCommit {
                cursor: Cursor {
                    timeline: view.cursor.timeline,
                    lsn: header.lsn,
                },
                timestamp: header.time,
                frames: std::mem::take(&mut frames),
            }));
            if bytes >= BATCH_BYTES {
                found.read = header.lsn;
                break;
            }
        }
    }
    Ok(found)
}

impl Change {
    /// As bytes, with their length and checksum in front: changes can be written one behind the other.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        encode_change(self)
    }

    /// The change at the start of `bytes`, and how many of them it takes; `None` where they end before it does.
    /// Total: whatever the bytes are, this answers.
    ///
    /// ```
    /// use pulsedb::{Change, Cursor, Lsn, Timeline};
    ///
    /// # fn main() -> pulsedb::Result<()> {
    /// let at = |lsn| Cursor { timeline: Timeline::FIRST, lsn: Lsn::new(lsn) };
    /// let gap = Change::Gap { from: at(3), to: at(9) };
    /// let bytes = gap.to_bytes();
    /// assert_eq!(Change::from_bytes(&bytes)?, Some((gap, bytes.len())));
    /// assert_eq!(Change::from_bytes(&bytes[..bytes.len() - 1])?, None);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] where they are not what was written, or are of a newer version.
    pub fn from_bytes(bytes: &[u8]) -> Result<Option<(Self, usize)>> {
        decode_change(bytes).map_err(|error| {
            PulseDBError::validation("bytes", error, "they must be those of a change")
        })
    }

    /// As a line of JSON, without the line feed.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] where a record cannot be read.
    pub fn to_json(&self) -> Result<String> {
        #[derive(serde::Serialize)]
        #[serde(rename_all = "snake_case")]
        enum Line {
            Commit {
                cursor: Cursor,
                timestamp: crate::model::Timestamp,
                records: Vec<ChangeRecord>,
            },
            Gap {
                from: Cursor,
                to: Cursor,
            },
        }
        let line = match self {
            Self::Commit(commit) => Line::Commit {
                cursor: commit.cursor,
                timestamp: commit.timestamp,
                records: commit.records()?,
            },
            Self::Gap { from, to } => Line::Gap {
                from: *from,
                to: *to,
            },
        };
        serde_json::to_string(&line)
            .map_err(|error| PulseDBError::conflict(format!("a line cannot be written: {error}")))
    }
}

impl ChangeCommit {
    /// Its records, decoded.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] where one cannot be read.
    pub fn records(&self) -> Result<Vec<ChangeRecord>> {
        records_of(self).map_err(|error| {
            PulseDBError::validation("commit", error, "it must be as it was handed out")
        })
    }
}
