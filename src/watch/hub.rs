//! Who is watching what?
//!
//! One broadcast channel per watched collective, made at the first subscription. A commit costs a
//! look at a counter where nobody watches, and the making of events only for collectives that
//! somebody does watch.

use std::{
    collections::HashMap,
    sync::{
        Weak,
        atomic::{AtomicU64, AtomicUsize, Ordering},
    },
};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::{
    error::{PulseDBError, Result},
    log::SegmentSet,
    model::{CollectiveId, InstanceId, Lsn, WatchEvent},
    protocol::publish::Published,
    state::Snapshot,
    sync::Arc,
    watch::event::Source,
};

type View = Snapshot<Arc<SegmentSet>>;

/// What a channel carries: an event, or (`None`) word that the log has one that could not be read.
/// A stream then reads the log itself and fails loudly, instead of missing it silently.
pub type Told = Option<Arc<WatchEvent>>;

struct Channel {
    sender: broadcast::Sender<Told>,
    collective: CollectiveId,
    /// LSN of the newest event: who has not heard it may have to read the log for it.
    told: Lsn,
    /// Up to where each subscriber has heard everything.
    positions: Vec<Weak<AtomicU64>>,
}

impl Channel {
    fn send(&mut self, told: Told, lsn: Lsn) {
        self.told = lsn;
        // Fails only where the last receiver has just gone.
        let _ = self.sender.send(told);
    }

    /// Up to where all have heard everything, if somebody has not heard all.
    fn lagging(&self) -> Option<Lsn> {
        self.positions
            .iter()
            .filter_map(Weak::upgrade)
            .map(|position| Lsn::new(position.load(Ordering::Acquire)))
            .filter(|position| *position < self.told)
            .min()
    }
}

/// A subscription to a channel.
pub struct Subscription {
    /// What is told.
    pub receiver: broadcast::Receiver<Told>,
    /// Up to where the subscriber has heard everything; it keeps this current.
    pub position: Arc<AtomicU64>,
}

/// The channels of a database.
pub struct Hub {
    channels: Mutex<Option<HashMap<u32, Channel>>>,
    open: AtomicUsize,
    capacity: usize,
    instance: InstanceId,
    published: Arc<Published<View>>,
    /// The log does not tell everything that happened up to here any more.
    history_begins: AtomicU64,
}

impl Hub {
    /// Channels that hold `capacity` events each. The log tells everything behind `history_begins`.
    pub fn new(
        capacity: usize,
        instance: InstanceId,
        published: Arc<Published<View>>,
        history_begins: Lsn,
    ) -> Self {
        Self {
            channels: Mutex::new(Some(HashMap::new())),
            open: AtomicUsize::new(0),
            capacity,
            instance,
            published,
            history_begins: AtomicU64::new(history_begins.get()),
        }
    }

    /// Subscribes to a collective. The receiver hears of every later commit, and perhaps of some
    /// that the snapshot taken after this call already shows.
    pub fn subscribe(&self, number: u32, collective: CollectiveId) -> Option<Subscription> {
        let mut channels = self.channels.lock();
        let channels = channels.as_mut()?;
        let channel = channels.entry(number).or_insert_with(|| Channel {
            sender: broadcast::channel(self.capacity).0,
            collective,
            told: Lsn::ZERO,
            positions: Vec::new(),
        });
        let subscription = Subscription {
            receiver: channel.sender.subscribe(),
            // Until it has looked for itself, it needs nothing.
            position: Arc::new(AtomicU64::new(u64::MAX)),
        };
        channel
            .positions
            .retain(|position| position.strong_count() > 0);
        channel
            .positions
            .push(Arc::downgrade(&subscription.position));
        self.open.store(channels.len(), Ordering::SeqCst);
        Some(subscription)
    }

    /// Up to where all subscribers have heard everything; `None` where they have heard all there is.
    pub fn lagging(&self) -> Option<Lsn> {
        let channels = self.channels.lock();
        channels
            .as_ref()?
            .values()
            .filter_map(Channel::lagging)
            .min()
    }

    /// Notes that the log may lose what was replaced or deleted up to `lsn`.
    pub fn history_begins(&self, lsn: Lsn) {
        self.history_begins.fetch_max(lsn.get(), Ordering::AcqRel);
    }

    /// What is visible now, to read all that happened behind `last` from.
    ///
    /// # Errors
    /// `Closed`; `Conflict` where the log does not tell all of it any more.
    pub fn view_behind(&self, last: Lsn) -> Result<Arc<View>> {
        let view = self.published.load().ok_or(PulseDBError::Closed)?;
        // Looked at behind the load: a view that lacks something was published after the note of it.
        let begins = Lsn::new(self.history_begins.load(Ordering::Acquire));
        if last < begins {
            return Err(PulseDBError::conflict(format!(
                "history from LSN {last} to {begins} is gone: the subscriber was too slow; subscribe \
                 again, or raise config.watch_config.max_lag_bytes"
            )));
        }
        Ok(view)
    }

    /// Whose applications events count.
    pub fn instance(&self) -> InstanceId {
        self.instance
    }

    /// Tells the watchers of the records `first..=view.lsn()`, which `view` shows.
    pub fn committed(&self, view: &View, first: Lsn) {
        if self.open.load(Ordering::SeqCst) == 0 {
            return;
        }
        let mut channels = self.channels.lock();
        let Some(channels) = channels.as_mut() else {
            return;
        };
        channels.retain(|number, channel| {
            if channel.sender.receiver_count() == 0 {
                return false;
            }
            self.tell(view, first, *number, channel);
            // The deletion was the last event of a collective.
            view.tables.get(*number).is_some()
        });
        self.open.store(channels.len(), Ordering::SeqCst);
    }

    fn tell(&self, view: &View, first: Lsn, number: u32, channel: &mut Channel) {
        let source = Source {
            view,
            number,
            collective: channel.collective,
            instance: self.instance,
        };
        match source.events(first, view.lsn(), usize::MAX) {
            Ok((events, _)) => {
                for event in events {
                    let lsn = event.lsn;
                    channel.send(Some(Arc::new(event)), lsn);
                }
            }
            Err(error) => {
                tracing::error!(%error, "a commit could not be told to watchers");
                channel.send(None, view.lsn());
            }
        }
    }

    /// Has every watcher look for himself what became of the log: `view` does not tell all of it.
    pub fn lost(&self, view: &View) {
        let mut channels = self.channels.lock();
        for channel in channels.iter_mut().flat_map(HashMap::values_mut) {
            channel.send(None, view.lsn());
        }
    }

    /// Ends all streams, once they have delivered what they hold.
    pub fn close(&self) {
        *self.channels.lock() = None;
        self.open.store(0, Ordering::SeqCst);
    }
}
