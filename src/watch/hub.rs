//! Who is watching what, and what does each still need of the log?
//!
//! One channel per watched collective and one for the whole database, each made at its first
//! subscription and gone with its last. A commit costs a look at a counter where nobody watches, and else one walk over its
//! records, of which only those make events that somebody watches: how many subscriptions and channels
//! there are beside costs nothing. Records of new experiences are kept while they are being written, and whoever takes an
//! event first makes it of that; they count for that very commit, and for those who were subscribed by then: else the log is
//! read. The committer tells a hub, or whoever follows the log of another process's: the hub only asks that what it is told
//! of is published.

use std::collections::{HashMap, hash_map::Entry};

use parking_lot::Mutex;

use crate::{
    error::{PulseDBError, Result},
    format::Fork,
    log::{OutFrame, SegmentSet},
    model::{Cursor, InstanceId, Lsn, Timeline},
    protocol::{heard::Heard, publish::Published},
    state::Snapshot,
    sync::{
        Arc,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
    telemetry::Telemetry,
    watch::{
        channel::{Receiver, Teller},
        event::{Scope, Source},
        told::Told,
    },
};

type View = Snapshot<Arc<SegmentSet>>;

/// Where a subscriber hears of events. Told of nothing but a miss, it reads the log itself and fails loudly where that
/// is damaged, instead of missing something silently.
pub type Events = Receiver<Arc<Told>>;

struct Channel {
    teller: Teller<Arc<Told>>,
    /// LSN of the newest event: who has not heard it may have to read the log for it.
    told: Lsn,
    /// How far each subscriber is.
    subscribers: HashMap<u64, Arc<Heard>>,
}

impl Channel {
    fn put(&mut self, told: Arc<Told>) {
        self.told = told.lsn();
        self.teller.put(told);
    }

    /// Up to where all have heard everything, if somebody has not heard all.
    fn lagging(&self) -> Option<Lsn> {
        let all = self.subscribers.values();
        all.filter_map(|heard| heard.lagging(self.told)).min()
    }
}

/// A subscription to a channel. Dropping it gives up the place; the last one takes the channel along.
pub struct Subscription {
    /// How far the subscriber is; it keeps this current.
    pub heard: Arc<Heard>,
    /// What is told.
    events: Option<Events>,
    scope: Scope,
    number: u64,
    hub: Arc<Hub>,
}

impl Subscription {
    /// What is told, to be taken once.
    pub fn take_events(&mut self) -> Option<Events> {
        self.events.take()
    }

    /// Of what.
    pub fn scope(&self) -> Scope {
        self.scope
    }

    /// From whom.
    pub fn hub(&self) -> &Arc<Hub> {
        &self.hub
    }
}

impl Drop for Subscription {
    fn drop(&mut self) {
        self.hub.unsubscribe(self.scope, self.number);
    }
}

/// The events of a commit that is not durable yet.
struct Foresight {
    /// LSNs of its first and last record.
    lsns: (Lsn, Lsn),
    /// Each with the number of its collective.
    events: Vec<(u32, Told)>,
}

#[derive(Default)]
struct Channels {
    all: Option<Channel>,
    of: HashMap<u32, Channel>,
    next: u64,
    /// For those who are subscribed now: whoever comes may want more.
    foreseen: Option<Foresight>,
}

impl Channels {
    fn len(&self) -> usize {
        self.of.len() + usize::from(self.all.is_some())
    }

    /// Whether somebody watches the collective of this number.
    fn has(&self, number: u32) -> bool {
        self.all.is_some() || self.of.contains_key(&number)
    }

    fn iter(&self) -> impl Iterator<Item = &Channel> {
        self.of.values().chain(&self.all)
    }

    /// Tells the events of a commit, each with the number of its collective, and wakes who waits for it.
    fn tell(&mut self, events: Vec<(u32, Told)>) {
        let mut told = Vec::new();
        for (number, event) in events {
            self.put(event, number);
            if told.last() != Some(&number) {
                told.push(number);
            }
        }
        // A channel that comes again has nothing left to send.
        for number in told {
            if let Some(channel) = self.of.get_mut(&number) {
                channel.teller.send();
            }
        }
        if let Some(all) = &mut self.all {
            all.teller.send();
        }
    }

    fn put(&mut self, event: Told, number: u32) {
        let event = Arc::new(event);
        if let Some(all) = &mut self.all {
            all.put(Arc::clone(&event));
        }
        if let Entry::Occupied(mut channel) = self.of.entry(number) {
            channel.get_mut().put(Arc::clone(&event));
            if event.ends_collective() {
                channel.remove();
            }
        }
    }

    /// Tells everybody that the log has more than will be told, up to what `view` shows.
    fn have_look(&mut self, view: &View) {
        for channel in self.of.values_mut().chain(&mut self.all) {
            channel.told = view.lsn();
            channel.teller.send_untold();
        }
        // Nothing will happen any more in a collective that is gone.
        self.of
            .retain(|number, _| view.tables.get(*number).is_some());
    }
}

/// Where a holder of a cursor can go on from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Reach {
    /// The log tells everything behind the cursor.
    Whole,
    /// It tells everything behind this LSN only.
    From(Lsn),
}

/// The channels of a database.
pub struct Hub {
    channels: Mutex<Option<Channels>>,
    open: AtomicUsize,
    capacity: usize,
    instance: InstanceId,
    published: Arc<Published<View>>,
    /// The log does not tell everything that happened up to here any more.
    history_begins: AtomicU64,
    /// The histories that led to the present one.
    forks: Box<dyn Fn() -> Vec<Fork> + Send + Sync>,
    /// Whether another process may be ahead, so that a cursor behind what is published may be right.
    follows: bool,
    telemetry: Arc<Telemetry>,
}

/// What a hub is made of.
pub struct Parts {
    /// Events that a channel holds.
    pub capacity: usize,
    /// Whose applications events count.
    pub instance: InstanceId,
    /// What is visible.
    pub published: Arc<Published<View>>,
    /// The log tells everything behind this LSN.
    pub history_begins: Lsn,
    /// The timelines after the first, in their order.
    pub forks: Box<dyn Fn() -> Vec<Fork> + Send + Sync>,
    /// Whether another process writes, and may be ahead.
    pub follows: bool,
    /// Counts what is delivered.
    pub telemetry: Arc<Telemetry>,
}

impl Hub {
    /// A hub that nobody has subscribed to.
    pub fn new(parts: Parts) -> Self {
        Self {
            channels: Mutex::new(Some(Channels::default())),
            open: AtomicUsize::new(0),
            capacity: parts.capacity,
            instance: parts.instance,
            published: parts.published,
            history_begins: AtomicU64::new(parts.history_begins.get()),
            forks: parts.forks,
            follows: parts.follows,
            telemetry: parts.telemetry,
        }
    }

    /// Subscribes; `None` where the database is closed. The receiver hears of every later commit, and perhaps
    /// of some that a snapshot taken after this call already shows. Who starts at a cursor names its
    /// LSN: from here on the log is spared for it.
    pub fn subscribe(self: &Arc<Self>, scope: Scope, from: Option<Lsn>) -> Option<Subscription> {
        let mut channels = self.channels.lock();
        let channels = channels.as_mut()?;
        channels.foreseen = None;
        channels.next += 1;
        let number = channels.next;
        let heard = Arc::new(from.map_or_else(Heard::nothing_needed, Heard::needing));
        let capacity = self.capacity;
        let made = || Channel {
            teller: Teller::new(capacity),
            told: Lsn::ZERO,
            subscribers: HashMap::new(),
        };
        let channel = match scope {
            Scope::All => channels.all.get_or_insert_with(made),
            Scope::Collective(collective) => channels.of.entry(collective).or_insert_with(made),
        };
        let events = Some(channel.teller.receiver());
        channel.subscribers.insert(number, Arc::clone(&heard));
        self.open.store(channels.len(), Ordering::SeqCst);
        Some(Subscription {
            heard,
            events,
            scope,
            number,
            hub: Arc::clone(self),
        })
    }

    fn unsubscribe(&self, scope: Scope, number: u64) {
        let mut channels = self.channels.lock();
        let Some(channels) = channels.as_mut() else {
            return;
        };
        // Perhaps nobody is left to take it.
        channels.foreseen = None;
        let left = |channel: &mut Channel| {
            channel.subscribers.remove(&number);
            !channel.subscribers.is_empty()
        };
        match scope {
            Scope::All => {
                channels.all.take_if(|all| !left(all));
            }
            Scope::Collective(collective) => {
                if let Entry::Occupied(mut channel) = channels.of.entry(collective)
                    && !left(channel.get_mut())
                {
                    channel.remove();
                }
            }
        }
        self.open.store(channels.len(), Ordering::SeqCst);
    }

    /// Who counts what is delivered.
    pub fn telemetry(&self) -> &Telemetry {
        &self.telemetry
    }

    /// How many channels there are, and subscriptions to them.
    pub fn count(&self) -> (usize, usize) {
        let channels = self.channels.lock();
        channels.as_ref().map_or((0, 0), |channels| {
            let subscribers = channels.iter().map(|channel| channel.subscribers.len());
            (channels.len(), subscribers.sum())
        })
    }

    /// Up to where all subscribers have heard everything; `None` where they have heard all there is. A
    /// walk over all subscriptions: for compaction, not for commits.
    pub fn lagging(&self) -> Option<Lsn> {
        let channels = self.channels.lock();
        channels.as_ref()?.iter().filter_map(Channel::lagging).min()
    }

    /// Notes that the log may lose what was replaced or deleted up to `lsn`.
    pub fn history_begins(&self, lsn: Lsn) {
        self.history_begins.fetch_max(lsn.get(), Ordering::AcqRel);
    }

    /// What is visible now.
    ///
    /// # Errors
    /// `Closed`.
    pub fn view(&self) -> Result<Arc<View>> {
        self.published.load().ok_or(PulseDBError::Closed)
    }

    /// What is visible now, to read all that happened behind `last` from, and how much of that it tells.
    ///
    /// # Errors
    /// `Closed`.
    pub fn view_behind(&self, last: Cursor) -> Result<(Arc<View>, Reach)> {
        let view = self.view()?;
        // Looked at behind the load: a view that lacks something was published after the note of it.
        let begins = Lsn::new(self.history_begins.load(Ordering::Acquire));
        let reach = self.reach(&view, last, begins);
        Ok((view, reach))
    }

    fn reach(&self, view: &View, last: Cursor, begins: Lsn) -> Reach {
        let now = view.cursor;
        let survived = if last.timeline == now.timeline {
            if last.lsn > now.lsn && !self.follows {
                return Reach::From(now.lsn);
            }
            last.lsn
        } else {
            let forks = (self.forks)();
            let is_ancestor = last.timeline < now.timeline
                && (last.timeline == Timeline::FIRST
                    || forks.iter().any(|fork| fork.timeline == last.timeline));
            let next = forks.iter().find(|fork| fork.timeline > last.timeline);
            let Some(next) = next.filter(|_| is_ancestor) else {
                return Reach::From(now.lsn);
            };
            // Up to where the histories are the same. What is gone of that by now was there.
            let before = Lsn::new(next.first_lsn.get().saturating_sub(1));
            let found = view.segments.commit_at(before).unwrap_or(Lsn::ZERO);
            found.max(begins.min(before))
        };
        let goes_on = last.lsn.min(survived).max(begins);
        if goes_on == last.lsn {
            Reach::Whole
        } else {
            Reach::From(goes_on)
        }
    }

    /// Whose applications events count.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Keeps the records that the log is being given, where they alone make the events, so that little is left to do
    /// once they are durable. Nobody is told.
    pub fn foresee(&self, frames: &[OutFrame]) {
        if self.open.load(Ordering::SeqCst) == 0 {
            return;
        }
        let (Some(first), Some(last)) = (frames.first(), frames.last()) else {
            return;
        };
        let mut channels = self.channels.lock();
        if let (Some(channels), Ok(view)) = (channels.as_mut(), self.view()) {
            let source = Source::new(&view, self.instance);
            let events = source.foreseen(frames, |number| channels.has(number));
            channels.foreseen = events.map(|events| Foresight {
                lsns: (first.header.lsn, last.header.lsn),
                events,
            });
        }
    }

    /// Tells the watchers of the records `first..=view.lsn()`, which `view` shows. What is published by then
    /// is `view`, or newer.
    pub fn committed(&self, view: &View, first: Lsn) {
        if self.open.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut channels = self.channels.lock();
        let Some(channels) = channels.as_mut() else {
            return;
        };
        let foreseen = channels.foreseen.take();
        let events = match foreseen.filter(|one| one.lsns == (first, view.lsn())) {
            Some(foreseen) => Ok(foreseen.events),
            None => {
                let source = Source::new(view, self.instance);
                let made = source.events(first, view.lsn(), |number| channels.has(number));
                made.map(|made| {
                    let told = made.into_iter();
                    told.map(|(number, event)| (number, event.into())).collect()
                })
            }
        };
        match events {
            Ok(events) => channels.tell(events),
            Err(error) => {
                tracing::error!(%error, "a commit could not be told to watchers");
                channels.have_look(view);
            }
        }
        self.open.store(channels.len(), Ordering::SeqCst);
    }

    /// Has every watcher look for itself what became of the log: `view` does not tell all of it.
    pub fn lost(&self, view: &View) {
        let mut channels = self.channels.lock();
        if let Some(channels) = channels.as_mut() {
            channels.have_look(view);
            self.open.store(channels.len(), Ordering::SeqCst);
        }
    }

    /// Ends all streams, once they have delivered what they hold.
    pub fn close(&self) {
        *self.channels.lock() = None;
        self.open.store(0, Ordering::SeqCst);
    }
}
