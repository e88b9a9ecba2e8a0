//! Who commits, and in which order?
//!
//! Exactly one thread at a time holds the role of committer: its own thread, or, while that is
//! idle, a caller that may block and saves two hand-offs by committing itself. The role is the
//! lock around the [`Pipeline`]; whoever holds it runs [`step`]s.
//!
//! The order of a step is the order of decision 4 of the design, and the types make any other
//! order not compile: a `Sequenced` group becomes `Durable` only by the log, only `Durable` can be
//! applied, only `Applied` can be published, and only then are the answers given.
//!
//! A failure to make a group durable poisons the queue: the group, all that waits, and all that
//! comes later are answered with it. A panic anywhere in the step does the same, and ends no thread:
//! the committer's goes on to its orderly end, and a caller that lends itself gets its answer.
//! Nothing is retried.

use std::panic::{AssertUnwindSafe, catch_unwind};

use super::{
    group::Ticket,
    queue::{Queue, Stopped},
};
use crate::sync::Mutex;

/// What the committer drives, stage by stage.
pub trait Pipeline {
    /// What is asked.
    type Request;
    /// What each request is answered.
    type Answer: Clone;
    /// Why writing stopped.
    type Failure: Clone;
    /// Requests with everything decided: refusals, ids, row numbers, LSNs.
    type Sequenced;
    /// Sequenced requests that the log holds.
    type Durable;
    /// Durable requests that the tables hold.
    type Applied;

    /// How many requests may share one sync; the group is cut accordingly.
    fn group_limit(&self) -> usize;
    /// Decides everything that can be refused, against the state and the requests before.
    fn sequence(&mut self, requests: Vec<Self::Request>) -> Self::Sequenced;
    /// Appends and syncs.
    fn make_durable(&mut self, sequenced: Self::Sequenced) -> Result<Self::Durable, Self::Failure>;
    /// Brings the tables up to date; cannot fail.
    fn apply(&mut self, durable: Self::Durable) -> Self::Applied;
    /// Lets readers see it.
    fn publish(&mut self, applied: &Self::Applied);
    /// Tells watchers.
    fn broadcast(&mut self, applied: &Self::Applied);
    /// One answer per request, in their order.
    fn answers(&mut self, applied: Self::Applied) -> Vec<Self::Answer>;
    /// The answer to a request that a failure overtook.
    fn failed(failure: &Self::Failure) -> Self::Answer;
    /// The failure that a panic amounts to.
    fn panicked() -> Self::Failure;
}

type QueueOf<P> =
    Queue<<P as Pipeline>::Request, <P as Pipeline>::Answer, <P as Pipeline>::Failure>;

/// A queue and the one pipeline behind it.
pub struct Committer<P: Pipeline> {
    queue: QueueOf<P>,
    role: Mutex<P>,
}

impl<P: Pipeline> Committer<P> {
    /// An idle committer.
    pub fn new(pipeline: P) -> Self {
        Self {
            queue: Queue::default(),
            role: Mutex::new(pipeline),
        }
    }

    /// Hands a request to the committer's thread. After this the request will be committed or
    /// refused whether or not the ticket is kept.
    pub fn submit(&self, request: P::Request) -> Result<Ticket<P::Answer>, Stopped<P::Failure>> {
        self.queue.push(request)
    }

    /// As [`Self::submit`], for a caller that may block: where nobody commits, the caller does.
    pub fn submit_lending(
        &self,
        request: P::Request,
    ) -> Result<Ticket<P::Answer>, Stopped<P::Failure>> {
        let Some(mut pipeline) = self.role.try_lock() else {
            return self.queue.push(request);
        };
        let ticket = self.queue.push_quietly(request)?;
        while !ticket.is_answered() && step(&self.queue, &mut *pipeline) {}
        Ok(ticket)
    }

    /// The life of the committer's thread: commits whatever comes until the queue is stopped and
    /// empty.
    pub fn run(&self) {
        while self.queue.wait_for_work() {
            // Given back after each step: whoever else needs the role waits for this lock, and would
            // wait for ever beside callers that never pause.
            step(&self.queue, &mut *self.role.lock());
        }
        // The queue is empty, but a caller may be in the middle of the step that emptied it.
        drop(self.role.lock());
    }

    /// Lets nothing more enter; [`Self::run`] returns once all that entered is answered.
    pub fn stop(&self) {
        self.queue.stop();
    }

    /// Stops writing for good with a failure that happened outside a step.
    pub fn poison(&self, failure: P::Failure) {
        let answer = P::failed(&failure);
        let (_, group) = self.queue.poison(failure);
        group.answer_all(&answer);
    }

    /// Why nothing enters, if so.
    pub fn stopped(&self) -> Option<Stopped<P::Failure>> {
        self.queue.stopped()
    }

    /// Takes the role for work that must not run beside a commit. Waits for the step under way.
    pub fn with_pipeline<T>(&self, work: impl FnOnce(&mut P) -> T) -> T {
        work(&mut *self.role.lock())
    }
}

/// Commits what waits; false where nothing does. For the holder of the role only.
fn step<P: Pipeline>(queue: &QueueOf<P>, pipeline: &mut P) -> bool {
    let Some((requests, group)) = queue.take() else {
        return false;
    };
    let total = requests.len();
    let mut answers = Vec::with_capacity(total);
    // After a panic the pipeline may be half way through a change. It is safe to keep because a
    // poisoned queue never hands out another request, so no step touches it again.
    let outcome = catch_unwind(AssertUnwindSafe(|| {
        commit_parts(pipeline, requests, &mut answers)
    }));
    if let Err(failure) = outcome.unwrap_or_else(|_| Err(P::panicked())) {
        let failed = P::failed(&failure);
        // The parts before are durable and visible, so they keep their answers.
        answers.resize(total, failed.clone());
        let (_, waiting) = queue.poison(failure);
        waiting.answer_all(&failed);
    }
    group.answer(answers);
    true
}

fn commit_parts<P: Pipeline>(
    pipeline: &mut P,
    requests: Vec<P::Request>,
    answers: &mut Vec<P::Answer>,
) -> Result<(), P::Failure> {
    let limit = pipeline.group_limit().max(1);
    let mut requests = requests.into_iter();
    while requests.len() > 0 {
        let part = requests.by_ref().take(limit).collect();
        let sequenced = pipeline.sequence(part);
        let durable = pipeline.make_durable(sequenced)?;
        let applied = pipeline.apply(durable);
        pipeline.publish(&applied);
        pipeline.broadcast(&applied);
        answers.extend(pipeline.answers(applied));
    }
    Ok(())
}
