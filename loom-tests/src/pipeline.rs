//! What stands behind the committer in the models?

use loom::cell::UnsafeCell;
use pulsedb::protocol::commit::Pipeline;
use std::sync::{
    Arc,
    atomic::{AtomicUsize, Ordering::Relaxed},
};

/// A request that makes the log fail.
pub const FAILING: usize = 100;
/// A request that makes apply panic.
pub const PANICKING: usize = 200;

/// What a request is answered: the number it was given, or why not.
pub type Answer = Result<usize, &'static str>;

/// Numbers the requests. Every stage writes to a cell that loom watches, so that two committers at
/// once are found however briefly they meet.
pub struct Numbering {
    watched: UnsafeCell<()>,
    /// How many requests went through; not loom's, to be read after the threads have ended.
    committed: Arc<AtomicUsize>,
    limit: usize,
}

impl Numbering {
    /// A pipeline that commits at most `limit` requests at once, and the number it has committed.
    pub fn new(limit: usize) -> (Self, Arc<AtomicUsize>) {
        let committed = Arc::new(AtomicUsize::new(0));
        let pipeline = Self {
            watched: UnsafeCell::new(()),
            committed: Arc::clone(&committed),
            limit,
        };
        (pipeline, committed)
    }

    fn touch(&self) {
        self.watched.with_mut(|_| ());
        // Gives another committer the chance to come in between.
        loom::thread::yield_now();
        self.watched.with_mut(|_| ());
    }
}

impl Pipeline for Numbering {
    type Request = usize;
    type Answer = Answer;
    type Failure = &'static str;
    type Sequenced = Vec<usize>;
    type Durable = Vec<usize>;
    type Applied = Vec<usize>;

    fn group_limit(&self) -> usize {
        self.limit
    }

    fn sequence(&mut self, requests: Vec<usize>) -> Vec<usize> {
        self.watched.with_mut(|_| ());
        requests
    }

    fn make_durable(&mut self, sequenced: Vec<usize>) -> Result<Vec<usize>, &'static str> {
        self.touch();
        if sequenced.contains(&FAILING) {
            return Err("disk");
        }
        Ok(sequenced)
    }

    fn apply(&mut self, durable: Vec<usize>) -> Vec<usize> {
        if durable.contains(&PANICKING) {
            // Not `panic!`: the message would be printed once for each execution.
            std::panic::resume_unwind(Box::new("the panic of the model"));
        }
        self.committed.fetch_add(durable.len(), Relaxed);
        durable
    }

    fn publish(&mut self, _: &Vec<usize>) {
        self.watched.with_mut(|_| ());
    }

    fn broadcast(&mut self, _: &Vec<usize>) {}

    fn answers(&mut self, applied: Vec<usize>) -> Vec<Answer> {
        applied.into_iter().map(Ok).collect()
    }

    fn failed(failure: &&'static str) -> Answer {
        Err(failure)
    }

    fn panicked() -> &'static str {
        "panic"
    }
}
