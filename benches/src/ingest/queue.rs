//! How do many tasks use an engine that commits on one thread?
//!
//! The fair way: a writer thread takes all that waits in a channel, commits it as one, and wakes every task by
//! its oneshot. In a closed loop the channel holds at most one record per task.

use std::{
    sync::{
        Arc,
        mpsc::{Receiver, Sender, channel},
    },
    thread,
};

use anyhow::{Context, Result, anyhow};
use tokio::sync::oneshot;

use super::{
    drive::{self, Load, Outcome, Sink},
    engines::Store,
    records::Records,
};

/// Most records of one commit: as many as the largest load has tasks, so it never binds.
const MAX_BATCH: usize = 4096;

struct Waiting {
    record: Vec<u8>,
    done: oneshot::Sender<()>,
}

#[derive(Clone)]
struct Queue {
    records: Arc<Records>,
    channel: Sender<Waiting>,
}

impl Sink for Queue {
    async fn put(&self, n: u64) -> Result<()> {
        let (done, committed) = oneshot::channel();
        let record = self.records.encoded(n).to_vec();
        self.channel
            .send(Waiting { record, done })
            .map_err(|_| anyhow!("the writer thread is gone"))?;
        committed
            .await
            .context("the writer thread dropped a record")
    }
}

/// Loads `store` with tasks through a writer thread.
pub(crate) fn through_writer(
    store: impl Store,
    records: &Arc<Records>,
    load: Load,
) -> Result<Outcome> {
    let (channel, waiting) = channel();
    let writer = thread::spawn(move || drain(store, &waiting));
    let queue = Queue {
        records: Arc::clone(records),
        channel,
    };
    let outcome = drive::runtime()?.block_on(drive::with_tasks(&queue, load));
    drop(queue);
    // The writer's own error says more than the tasks', which only saw it go away.
    writer
        .join()
        .map_err(|_| anyhow!("the writer thread panicked"))??;
    outcome
}

fn drain(mut store: impl Store, waiting: &Receiver<Waiting>) -> Result<()> {
    let (mut batch, mut wake) = (Vec::new(), Vec::new());
    while let Ok(first) = waiting.recv() {
        let more = std::iter::from_fn(|| waiting.try_recv().ok());
        for Waiting { record, done } in std::iter::once(first).chain(more).take(MAX_BATCH) {
            batch.push(record);
            wake.push(done);
        }
        store.commit(&batch)?;
        batch.clear();
        for done in wake.drain(..) {
            // A task that no longer waits has nothing to be told.
            let _ = done.send(());
        }
    }
    Ok(())
}
