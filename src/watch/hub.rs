//! Who is watching what?
//!
//! One broadcast channel per watched collective, made at the first subscription. A commit costs a
//! look at a counter where nobody watches, and the making of events only for collectives that
//! somebody does watch.

use std::{
    collections::HashMap,
    sync::atomic::{AtomicUsize, Ordering},
};

use parking_lot::Mutex;
use tokio::sync::broadcast;

use crate::{
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
}

/// The channels of a database.
pub struct Hub {
    channels: Mutex<Option<HashMap<u32, Channel>>>,
    open: AtomicUsize,
    capacity: usize,
    instance: InstanceId,
    published: Arc<Published<View>>,
}

impl Hub {
    /// Channels that hold `capacity` events each.
    pub fn new(capacity: usize, instance: InstanceId, published: Arc<Published<View>>) -> Self {
        Self {
            channels: Mutex::new(Some(HashMap::new())),
            open: AtomicUsize::new(0),
            capacity,
            instance,
            published,
        }
    }

    /// Subscribes to a collective. The receiver hears of every later commit, and perhaps of some
    /// that the snapshot taken after this call already shows.
    pub fn subscribe(
        &self,
        number: u32,
        collective: CollectiveId,
    ) -> Option<broadcast::Receiver<Told>> {
        let mut channels = self.channels.lock();
        let channels = channels.as_mut()?;
        let channel = channels.entry(number).or_insert_with(|| Channel {
            sender: broadcast::channel(self.capacity).0,
            collective,
        });
        let receiver = channel.sender.subscribe();
        self.open.store(channels.len(), Ordering::SeqCst);
        Some(receiver)
    }

    /// What is visible now.
    pub fn view(&self) -> Option<Arc<View>> {
        self.published.load()
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

    fn tell(&self, view: &View, first: Lsn, number: u32, channel: &Channel) {
        let source = Source {
            view,
            number,
            collective: channel.collective,
            instance: self.instance,
        };
        match source.events(first, view.lsn(), usize::MAX) {
            Ok((events, _)) => {
                for event in events {
                    // Fails only where the last receiver has just gone.
                    let _ = channel.sender.send(Some(Arc::new(event)));
                }
            }
            Err(error) => {
                tracing::error!(%error, "a commit could not be told to watchers");
                let _ = channel.sender.send(None);
            }
        }
    }

    /// Ends all streams, once they have delivered what they hold.
    pub fn close(&self) {
        *self.channels.lock() = None;
        self.open.store(0, Ordering::SeqCst);
    }
}
