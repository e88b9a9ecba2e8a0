//! Does a subscriber hear of every commit after its snapshot, each once?
//!
//! The committer runs the shipped step: publish, then broadcast, which looks whether anybody listens
//! and then tells. The subscriber does what `db/watching.rs` does: subscribe, which counts it, then
//! load its snapshot, then drop what that already shows. tokio's broadcast channel is not loom's, so
//! the hub here is a list under a lock beside the counter; the tables and `Published` are shipped.
//!
//! Mutations, each tried, each makes the model fail:
//! - `commit_parts` broadcasts before it publishes: what is committed meanwhile is lost, or a watcher
//!   is woken for what it cannot read;
//! - the subscriber (below, as in `db/watching.rs`) loads before it subscribes: what is committed in
//!   between is lost.

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
    protocol::commit::{Committer, Pipeline},
    state::Mutation,
};
use pulsedb_loom_tests::{
    explore,
    tables::{Writer, record, table},
};

/// As `watch::hub::Hub`: a counter that is looked at without the lock, and the channels.
struct Hub {
    open: AtomicUsize,
    channel: Mutex<Option<VecDeque<Lsn>>>,
}

impl Hub {
    fn subscribe(&self) {
        let mut channel = self.channel.lock().unwrap();
        channel.get_or_insert_default();
        self.open.store(1, SeqCst);
    }

    fn committed(&self, lsn: Lsn) {
        if self.open.load(SeqCst) == 0 {
            return;
        }
        if let Some(channel) = self.channel.lock().unwrap().as_mut() {
            channel.push_back(lsn);
        }
    }

    fn receive(&self) -> Option<Lsn> {
        self.channel.lock().unwrap().as_mut()?.pop_front()
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

#[test]
fn subscribe_then_load_loses_nothing_and_repeats_nothing() {
    explore(|| {
        let (writer, published) = Writer::new(0);
        let hub = Arc::new(Hub {
            open: AtomicUsize::new(0),
            channel: Mutex::new(None),
        });
        let committer = Committer::new(Telling {
            writer,
            hub: Arc::clone(&hub),
        });
        let first = committer.submit(|lsn| record(0, lsn)).unwrap();
        let second = committer.submit(|lsn| record(1, lsn)).unwrap();
        committer.stop();
        let committer = thread::spawn(move || committer.run());
        hub.subscribe();
        let mut last = published.load().expect("nobody clears it").lsn();
        let mut heard: Vec<u64> = (2..=last.get()).collect();
        let mut receive = || {
            while let Some(lsn) = hub.receive() {
                // A woken watcher can read what it heard of.
                let view = published.load().expect("nobody clears it");
                let row = lsn.get() as u32 - 2;
                assert!(table(&view).row(row, view.lsn()).is_some());
                if lsn > last {
                    last = lsn;
                    heard.push(lsn.get());
                }
            }
        };
        receive();
        committer.join().unwrap();
        receive();
        assert_eq!(heard, [2, 3]);
        let answers = [first.take(), second.take()];
        assert_eq!(answers, [2, 3].map(|lsn| Some(Some(Lsn::new(lsn)))));
    });
}
