//! Does a subscriber hear of every commit behind where it begins, each once, also where it lags?
//!
//! The committer runs the shipped step: publish, then broadcast, which looks whether anybody listens
//! and then tells. The subscriber does what `db/watching.rs` and `watch/stream.rs` do: subscribe, which counts it, then
//! load its snapshot, then let the shipped `Heard` drop what it knows; where the channel says that it lagged, load
//! what is published, read the log up to there, and go on with the channel. tokio's broadcast channel is not loom's, so
//! the hub here is a ring under a lock beside the counter; the log is the numbers up to the snapshot's; the
//! tables, `Published` and `Heard` are shipped.
//!
//! Mutations, each tried, each makes a model fail:
//! - `commit_parts` broadcasts before it publishes: what is committed meanwhile is lost, or a watcher
//!   is woken for what it cannot read;
//! - the subscriber (below, as in `db/watching.rs`) loads before it subscribes: what is committed in
//!   between is lost;
//! - the subscriber that lags (below, as in `watch/stream.rs`) loads what is published before it asks the channel: what
//!   was dropped in between is lost;
//! - `Heard::take` refuses only what is below its LSN: what channel and log both tell is taken twice.

use std::{collections::VecDeque, sync::Arc};

use loom::{
    sync::{
        Mutex,
        atomic::{AtomicUsize, Ordering::SeqCst},
    },
    thread,
};
use pulsedb::{
    Lsn,
    protocol::{
        commit::{Committer, Pipeline},
        heard::Heard,
        publish::Published,
    },
    state::Mutation,
};
use pulsedb_loom_tests::{
    explore,
    tables::{View, Writer, record, table},
};

/// What a subscriber is told.
enum Word {
    Told(Lsn),
    Lagged,
}

/// As `watch::hub::Hub`: a counter that is looked at without the lock, and a channel.
struct Hub {
    open: AtomicUsize,
    channel: Mutex<Option<Ring>>,
    capacity: usize,
}

#[derive(Default)]
struct Ring {
    held: VecDeque<Lsn>,
    dropped: bool,
    told: Lsn,
}

impl Hub {
    fn holding(capacity: usize) -> Arc<Self> {
        Arc::new(Self {
            open: AtomicUsize::new(0),
            channel: Mutex::new(None),
            capacity,
        })
    }

    fn subscribe(&self) {
        let mut channel = self.channel.lock().unwrap();
        channel.get_or_insert_default();
        self.open.store(1, SeqCst);
    }

    fn committed(&self, lsn: Lsn) {
        if self.open.load(SeqCst) == 0 {
            return;
        }
        if let Some(ring) = self.channel.lock().unwrap().as_mut() {
            ring.held.push_back(lsn);
            ring.told = lsn;
            if ring.held.len() > self.capacity {
                ring.held.pop_front();
                ring.dropped = true;
            }
        }
    }

    fn receive(&self) -> Option<Word> {
        let mut channel = self.channel.lock().unwrap();
        let ring = channel.as_mut()?;
        if std::mem::take(&mut ring.dropped) {
            return Some(Word::Lagged);
        }
        ring.held.pop_front().map(Word::Told)
    }

    fn told(&self) -> Lsn {
        let channel = self.channel.lock().unwrap();
        channel.as_ref().map_or(Lsn::ZERO, |ring| ring.told)
    }
}

/// What a subscriber has heard.
struct Subscriber {
    hub: Arc<Hub>,
    published: Arc<Published<View>>,
    heard: Heard,
    told: Vec<u64>,
}

impl Subscriber {
    /// Reads the log up to what is published.
    fn read_log(&mut self) {
        let upto = self.published.load().expect("nobody clears it").lsn();
        for lsn in self.heard.lsn().get() + 1..=upto.get() {
            self.take(Lsn::new(lsn));
        }
    }

    fn take(&mut self, lsn: Lsn) {
        // A woken watcher can read what it heard of.
        let view = self.published.load().expect("nobody clears it");
        let row = lsn.get() as u32 - 2;
        assert!(table(&view).row(row, view.lsn()).is_some());
        if self.heard.take(lsn) {
            self.told.push(lsn.get());
        }
    }

    fn receive(&mut self) {
        while let Some(word) = self.hub.receive() {
            match word {
                Word::Told(lsn) => self.take(lsn),
                Word::Lagged => self.read_log(),
            }
        }
    }
}

/// Each request is a commit of one row.
struct Telling {
    writer: Writer,
    hub: Arc<Hub>,
}

impl Pipeline for Telling {
    type Request = fn(u64) -> Mutation;
    type Answer = Option<Lsn>;
    type Failure = ();
    type Sequenced = Vec<Self::Request>;
    type Durable = Vec<Self::Request>;
    type Applied = Lsn;

    fn group_limit(&self) -> usize {
        1
    }

    fn sequence(&mut self, requests: Vec<Self::Request>) -> Self::Sequenced {
        requests
    }

    fn make_durable(&mut self, sequenced: Self::Sequenced) -> Result<Self::Durable, ()> {
        Ok(sequenced)
    }

    fn apply(&mut self, durable: Self::Durable) -> Lsn {
        self.writer.apply(&durable);
        self.writer.lsn()
    }

    fn publish(&mut self, _: &Lsn) {
        self.writer.publish();
    }

    fn broadcast(&mut self, applied: &Lsn) {
        self.hub.committed(*applied);
    }

    fn answers(&mut self, applied: Lsn) -> Vec<Option<Lsn>> {
        vec![Some(applied)]
    }

    fn failed((): &()) -> Option<Lsn> {
        None
    }

    fn panicked() {}
}

/// Two commits beside a subscriber that hears of those behind `begin`, or of those behind its snapshot.
fn hears_all(capacity: usize, begin: Option<u64>) {
    explore(move || {
        let (writer, published) = Writer::new(0);
        let hub = Hub::holding(capacity);
        let committer = Committer::new(Telling {
            writer,
            hub: Arc::clone(&hub),
        });
        let first = committer.submit(|lsn| record(0, lsn)).unwrap();
        let second = committer.submit(|lsn| record(1, lsn)).unwrap();
        committer.stop();
        let committer = thread::spawn(move || committer.run());
        hub.subscribe();
        let (heard, told) = match begin {
            Some(begin) => (Heard::needing(Lsn::new(begin)), Vec::new()),
            None => {
                let seen = published.load().expect("nobody clears it").lsn();
                let heard = Heard::nothing_needed();
                heard.set(seen);
                (heard, (2..=seen.get()).collect())
            }
        };
        let mut subscriber = Subscriber {
            hub,
            published,
            heard,
            told,
        };
        if begin.is_some() {
            subscriber.read_log();
            subscriber.heard.paid();
        }
        subscriber.receive();
        committer.join().unwrap();
        subscriber.receive();
        assert_eq!(subscriber.told, [2, 3]);
        let told = subscriber.hub.told();
        assert_eq!(subscriber.heard.lagging(told), None);
        let answers = [first.take(), second.take()];
        assert_eq!(answers, [2, 3].map(|lsn| Some(Some(Lsn::new(lsn)))));
    });
}

#[test]
fn subscribe_then_load_loses_nothing_and_repeats_nothing() {
    hears_all(2, None);
}

#[test]
fn replay_hands_over_to_the_channel() {
    hears_all(2, Some(1));
}

#[test]
fn who_lags_is_caught_up_from_the_log() {
    hears_all(1, None);
    hears_all(1, Some(1));
}
