//! Does the protocol keep its order, and does everybody get exactly one answer?

use std::{
    future::Future,
    pin::{Pin, pin},
    sync::atomic::{AtomicUsize, Ordering},
    task::{Context, Poll, Wake, Waker},
    thread,
};

use super::{
    commit::{Committer, Pipeline},
    group::{Group, Ticket},
    publish::{History, Published},
    queue::{Queue, Stopped},
    stop::Latch,
};
use crate::sync::{Arc, Mutex};

type Failure = &'static str;
type Answer = Result<u32, Failure>;
type Trace = Arc<Mutex<Vec<String>>>;

/// Writes down each stage, with the requests it is given; answers a request with ten times its
/// number. Request 13 makes it panic in apply; from `fail_at` on nothing becomes durable.
struct Recorder {
    trace: Trace,
    limit: usize,
    fail_at: Option<u32>,
}

impl Recorder {
    fn note(&self, stage: &str, requests: &[u32]) {
        self.trace.lock().push(format!("{stage} {requests:?}"));
    }
}

impl Pipeline for Recorder {
    type Request = u32;
    type Answer = Answer;
    type Failure = Failure;
    type Sequenced = Vec<u32>;
    type Durable = Vec<u32>;
    type Applied = Vec<u32>;

    fn group_limit(&self) -> usize {
        self.limit
    }

    fn sequence(&mut self, requests: Vec<u32>) -> Vec<u32> {
        self.note("sequence", &requests);
        requests
    }

    fn make_durable(&mut self, sequenced: Vec<u32>) -> Result<Vec<u32>, Failure> {
        self.note("durable", &sequenced);
        match self.fail_at {
            Some(first) if sequenced.iter().any(|request| *request >= first) => Err("disk"),
            _ => Ok(sequenced),
        }
    }

    fn apply(&mut self, durable: Vec<u32>) -> Vec<u32> {
        self.note("applied", &durable);
        assert!(!durable.contains(&13), "the panic that the test wants");
        durable
    }

    fn publish(&mut self, applied: &Vec<u32>) {
        self.note("published", applied);
    }

    fn broadcast(&mut self, applied: &Vec<u32>) {
        self.note("broadcast", applied);
    }

    fn answers(&mut self, applied: Vec<u32>) -> Vec<Answer> {
        self.note("answers", &applied);
        applied
            .into_iter()
            .map(|request| Ok(request * 10))
            .collect()
    }

    fn failed(failure: &Failure) -> Answer {
        Err(failure)
    }

    fn panicked() -> Failure {
        "panic"
    }
}

fn committer(limit: usize, fail_at: Option<u32>) -> (Committer<Recorder>, Trace) {
    let trace = Trace::default();
    let recorder = Recorder {
        trace: Arc::clone(&trace),
        limit,
        fail_at,
    };
    (Committer::new(recorder), trace)
}

/// Submits the requests, then commits everything and ends.
fn run(committer: &Committer<Recorder>, requests: &[u32]) -> Vec<Option<Answer>> {
    let tickets: Vec<_> = requests
        .iter()
        .map(|request| committer.submit(*request).unwrap())
        .collect();
    committer.stop();
    committer.run();
    tickets.iter().map(Ticket::take).collect()
}

/// Counts how often it is woken.
#[derive(Default)]
struct Bell {
    rung: AtomicUsize,
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.rung.fetch_add(1, Ordering::SeqCst);
    }
}

impl Bell {
    fn rung(&self) -> usize {
        self.rung.load(Ordering::SeqCst)
    }
}

fn poll<F: Future>(future: Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
    future.poll(&mut Context::from_waker(&Waker::from(Arc::clone(bell))))
}

#[test]
fn the_steps_have_one_order() {
    let (committer, trace) = committer(usize::MAX, None);
    // The waiter notes when it is woken, so that the last step shows in the same trace.
    struct Acknowledged(Trace);
    impl Wake for Acknowledged {
        fn wake(self: Arc<Self>) {
            self.0.lock().push("acknowledged".into());
        }
    }
    let waker = Waker::from(Arc::new(Acknowledged(Arc::clone(&trace))));
    let mut context = Context::from_waker(&waker);
    let mut first = pin!(committer.submit(1).unwrap());
    let second = committer.submit(2).unwrap();
    assert_eq!(first.as_mut().poll(&mut context), Poll::Pending);
    committer.stop();
    committer.run();
    assert_eq!(
        *trace.lock(),
        [
            "sequence [1, 2]",
            "durable [1, 2]",
            "applied [1, 2]",
            "published [1, 2]",
            "broadcast [1, 2]",
            "answers [1, 2]",
            "acknowledged",
        ]
    );
    assert_eq!(first.poll(&mut context), Poll::Ready(Ok(10)));
    assert_eq!(second.take(), Some(Ok(20)));
}

#[test]
fn a_group_limit_of_one_syncs_each_request_by_itself() {
    let (committer, trace) = committer(1, None);
    let answers = run(&committer, &[1, 2, 3]);
    assert_eq!(answers, [Some(Ok(10)), Some(Ok(20)), Some(Ok(30))]);
    let syncs: Vec<_> = trace
        .lock()
        .iter()
        .filter(|stage| stage.starts_with("durable"))
        .cloned()
        .collect();
    assert_eq!(syncs, ["durable [1]", "durable [2]", "durable [3]"]);
}

#[test]
fn a_group_limit_of_none_is_taken_as_one() {
    let (committer, _) = committer(0, None);
    assert_eq!(run(&committer, &[1, 2]), [Some(Ok(10)), Some(Ok(20))]);
}

#[test]
fn a_failure_keeps_the_answers_of_the_parts_before_it() {
    let (committer, trace) = committer(2, Some(3));
    let answers = run(&committer, &[1, 2, 3, 4, 5]);
    assert_eq!(
        answers,
        [
            Some(Ok(10)),
            Some(Ok(20)),
            Some(Err("disk")),
            Some(Err("disk")),
            Some(Err("disk"))
        ]
    );
    assert!(!trace.lock().contains(&"applied [3, 4]".to_owned()));
    assert!(!trace.lock().contains(&"sequence [5]".to_owned()));
    assert_eq!(committer.stopped(), Some(Stopped::Poisoned("disk")));
    assert_eq!(committer.submit(6).err(), Some(Stopped::Poisoned("disk")));
}

#[test]
fn a_panic_poisons_and_keeps_the_answers_of_the_parts_before_it() {
    let (committer, trace) = committer(1, None);
    let answers = run(&committer, &[1, 13, 2]);
    assert_eq!(
        answers,
        [Some(Ok(10)), Some(Err("panic")), Some(Err("panic"))]
    );
    assert_eq!(committer.stopped(), Some(Stopped::Poisoned("panic")));
    assert!(!trace.lock().contains(&"published [13]".to_owned()));
}

#[test]
fn a_panic_does_not_end_the_thread_that_committed() {
    let (committer, _) = committer(usize::MAX, None);
    let committer = Arc::new(committer);
    let thread = thread::spawn({
        let committer = Arc::clone(&committer);
        move || committer.run()
    });
    let ticket = committer.submit(13).unwrap();
    thread.join().unwrap();
    assert_eq!(ticket.take(), Some(Err("panic")));
}

#[test]
fn a_panic_does_not_end_the_caller_that_lent_itself() {
    let (committer, _) = committer(usize::MAX, None);
    let ticket = committer.submit_lending(13).unwrap();
    assert_eq!(ticket.take(), Some(Err("panic")));
    assert_eq!(
        committer.submit_lending(1).err(),
        Some(Stopped::Poisoned("panic"))
    );
    assert_eq!(
        committer.with_pipeline(|recorder| recorder.limit),
        usize::MAX
    );
}

#[test]
fn a_lent_thread_commits_what_waits_before_its_own_request() {
    let (committer, trace) = committer(usize::MAX, None);
    let earlier = committer.submit(1).unwrap();
    let own = committer.submit_lending(2).unwrap();
    assert_eq!(own.take(), Some(Ok(20)));
    assert_eq!(earlier.take(), Some(Ok(10)));
    assert_eq!(
        trace.lock().first().map(String::as_str),
        Some("sequence [1, 2]")
    );
}

#[test]
fn where_somebody_commits_a_lending_caller_only_queues() {
    let (committer, trace) = committer(usize::MAX, None);
    let ticket = committer.with_pipeline(|_| committer.submit_lending(1).unwrap());
    assert!(!ticket.is_answered());
    assert!(trace.lock().is_empty());
    committer.stop();
    committer.run();
    assert_eq!(ticket.take(), Some(Ok(10)));
}

#[test]
fn a_stop_refuses_what_comes_later_and_answers_what_came_before() {
    let (committer, _) = committer(usize::MAX, None);
    let before = committer.submit(1).unwrap();
    committer.stop();
    committer.stop();
    assert_eq!(committer.submit(2).err(), Some(Stopped::Closed));
    assert_eq!(committer.submit_lending(3).err(), Some(Stopped::Closed));
    assert!(!before.is_answered());
    committer.run();
    assert_eq!(before.take(), Some(Ok(10)));
    assert_eq!(committer.stopped(), Some(Stopped::Closed));
}

#[test]
fn a_poisoning_answers_all_that_waits() {
    let (committer, trace) = committer(usize::MAX, None);
    let waiting = committer.submit(1).unwrap();
    committer.poison("sync");
    assert_eq!(waiting.take(), Some(Err("sync")));
    assert_eq!(committer.submit(2).err(), Some(Stopped::Poisoned("sync")));
    committer.run();
    assert!(trace.lock().is_empty());
}

#[test]
fn the_first_failure_is_the_one_that_stays() {
    let (committer, _) = committer(usize::MAX, None);
    committer.stop();
    committer.poison("first");
    committer.poison("second");
    committer.stop();
    assert_eq!(committer.stopped(), Some(Stopped::Poisoned("first")));
}

#[test]
fn a_dropped_ticket_leaves_its_request_to_be_committed() {
    let (committer, trace) = committer(usize::MAX, None);
    drop(committer.submit(1).unwrap());
    let kept = committer.submit(2).unwrap();
    committer.stop();
    committer.run();
    assert_eq!(kept.take(), Some(Ok(20)));
    assert!(trace.lock().contains(&"applied [1, 2]".to_owned()));
}

#[test]
fn a_cancelled_waiter_is_not_woken() {
    let queue: Queue<u32, u32, Failure> = Queue::default();
    let bell = Arc::new(Bell::default());
    let mut cancelled = Box::pin(queue.push(1).unwrap());
    let mut kept = Box::pin(queue.push(2).unwrap());
    assert_eq!(poll(cancelled.as_mut(), &bell), Poll::Pending);
    assert_eq!(poll(kept.as_mut(), &bell), Poll::Pending);
    drop(cancelled);
    let (requests, group) = queue.take().unwrap();
    assert_eq!(requests, [1, 2]);
    group.answer([10, 20]);
    assert_eq!(bell.rung(), 1);
    assert_eq!(poll(kept.as_mut(), &bell), Poll::Ready(20));
}

#[test]
fn an_answer_is_given_once() {
    let group = Arc::new(Group::default());
    let ticket = group.join();
    assert!(!ticket.is_answered());
    assert_eq!(ticket.take(), None);
    group.answer([1]);
    group.answer([2]);
    assert!(ticket.is_answered());
    assert_eq!(ticket.take(), Some(1));
    group.answer_all(&3);
    assert!(ticket.is_answered());
    assert_eq!(ticket.take(), None);
}

#[test]
fn only_the_last_waker_of_a_ticket_is_woken() {
    let group = Arc::new(Group::default());
    let mut ticket = pin!(group.join());
    let (first, last) = (Arc::new(Bell::default()), Arc::new(Bell::default()));
    assert_eq!(poll(ticket.as_mut(), &first), Poll::Pending);
    assert_eq!(poll(ticket.as_mut(), &last), Poll::Pending);
    group.answer([1]);
    assert_eq!((first.rung(), last.rung()), (0, 1));
    assert_eq!(poll(ticket.as_mut(), &last), Poll::Ready(1));
}

#[test]
fn a_waker_that_owns_another_ticket_of_its_group_can_be_dropped_by_a_poll() {
    struct Task {
        _owned: Ticket<u32>,
    }
    impl Wake for Task {
        fn wake(self: Arc<Self>) {}
    }
    let group = Arc::new(Group::default());
    let mut ticket = pin!(group.join());
    let task = Waker::from(Arc::new(Task {
        _owned: group.join(),
    }));
    assert_eq!(
        ticket.as_mut().poll(&mut Context::from_waker(&task)),
        Poll::Pending
    );
    drop(task);
    assert_eq!(poll(ticket.as_mut(), &Arc::default()), Poll::Pending);
    group.answer([1, 2]);
    assert_eq!(ticket.take(), Some(1));
}

#[test]
fn each_group_answers_its_own_requests() {
    let queue: Queue<u32, u32, Failure> = Queue::default();
    let first = queue.push(1).unwrap();
    let (_, earlier) = queue.take().unwrap();
    let second = queue.push(2).unwrap();
    assert!(queue.take().is_some_and(|(requests, _)| requests == [2]));
    earlier.answer_all(&7);
    assert_eq!(first.take(), Some(7));
    assert!(!second.is_answered());
    assert!(queue.take().is_none());
}

#[test]
fn a_latch_keeps_its_first_value_and_wakes_everybody() {
    let latch = Latch::default();
    let bell = Arc::new(Bell::default());
    let mut early = pin!(latch.wait());
    let mut other = pin!(latch.wait());
    let second_bell = Arc::new(Bell::default());
    assert_eq!(poll(early.as_mut(), &bell), Poll::Pending);
    assert_eq!(poll(early.as_mut(), &bell), Poll::Pending);
    assert_eq!(poll(other.as_mut(), &second_bell), Poll::Pending);
    assert_eq!(latch.get(), None);
    latch.open(1);
    latch.open(2);
    assert_eq!((bell.rung(), second_bell.rung()), (1, 1));
    assert_eq!(poll(early.as_mut(), &bell), Poll::Ready(1));
    assert_eq!(poll(pin!(latch.wait()), &bell), Poll::Ready(1));
    assert_eq!(latch.get(), Some(1));
}

#[test]
fn history_knows_the_oldest_value_that_is_held() {
    let published = Published::new(Arc::new(0));
    let mut history = History::default();
    history.push(&published.load().unwrap());
    let mut held = None;
    for value in 1..1_000 {
        let next = Arc::new(value);
        history.push(&next);
        published.store(next);
        if value == 400 {
            held = published.load();
        }
        let oldest = if value < 400 { value } else { 400 };
        assert_eq!(history.oldest().as_deref(), Some(&oldest));
    }
    drop(held);
    assert_eq!(history.oldest().as_deref(), Some(&999));
    published.clear();
    assert_eq!(published.load(), None);
    assert_eq!(history.oldest(), None);
}
