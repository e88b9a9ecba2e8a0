//! Order, bounds, cancellation and containment, with models that are a line long.
#![allow(clippy::unwrap_used, clippy::indexing_slicing, clippy::panic)]

use std::{
    sync::mpsc::{self, Receiver, Sender},
    task::{Context, Poll, Wake, Waker},
    thread,
    time::{Duration, Instant},
};

use super::*;

/// Waits for a future on this thread.
fn wait<F: Future>(future: F) -> F::Output {
    struct Unpark(thread::Thread);
    impl Wake for Unpark {
        fn wake(self: Arc<Self>) {
            self.0.unpark();
        }
    }
    let waker = Waker::from(Arc::new(Unpark(thread::current())));
    let mut future = std::pin::pin!(future);
    loop {
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        thread::park_timeout(Duration::from_secs(5));
    }
}

/// Says what it was given, and answers when it is let; `panic` panics, `bad` is an error, `long` takes a
/// pause and has to be let twice.
struct Stub {
    seen: Mutex<Sender<Vec<String>>>,
    go: Mutex<Receiver<()>>,
}

impl Encode for Stub {
    fn prepare(&self) -> Result<()> {
        Ok(())
    }

    fn encode(&self, texts: &[&str], _: Priority, pause: &dyn Fn()) -> Result<Vec<Vec<f32>>> {
        // The test may have ended already; then nobody listens.
        let _ = self
            .seen
            .lock()
            .send(texts.iter().map(|&text| text.to_owned()).collect());
        let _ = self.go.lock().recv();
        if texts.contains(&"long") {
            pause();
            let _ = self.go.lock().recv();
        }
        assert!(!texts.contains(&"panic"), "as asked");
        if texts.contains(&"bad") {
            return Err(PulseDBError::Embedding("as asked".into()));
        }
        Ok(texts.iter().map(|text| vec![text.len() as f32]).collect())
    }
}

struct Gate {
    seen: Receiver<Vec<String>>,
    go: Sender<()>,
}

impl Gate {
    fn next(&self) -> Vec<String> {
        self.seen.recv_timeout(Duration::from_secs(10)).unwrap()
    }

    fn open(&self, times: usize) {
        (0..times).for_each(|_| self.go.send(()).unwrap());
    }
}

fn pool(threads: usize) -> (Pool, Gate) {
    let ((seen_in, seen), (go, go_out)) = (mpsc::channel(), mpsc::channel());
    let stub = Stub {
        seen: Mutex::new(seen_in),
        go: Mutex::new(go_out),
    };
    (Pool::new(threads, stub), Gate { seen, go })
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|&text| text.to_owned()).collect()
}

fn is_embedding_error(result: &Result<Vec<Vec<f32>>>) -> bool {
    matches!(result, Err(PulseDBError::Embedding(_)))
}

#[test]
fn answers_stand_in_the_order_of_the_texts() {
    let (pool, gate) = pool(2);
    gate.open(100);
    let lengths: Vec<String> = (0..100).map(|n| "x".repeat(n)).collect();
    let vectors = wait(pool.submit(lengths, Priority::Ingest).unwrap()).unwrap();
    assert_eq!(
        vectors.concat(),
        (0..100).map(|n| n as f32).collect::<Vec<_>>()
    );
    assert!(
        wait(pool.submit(Vec::new(), Priority::Query).unwrap())
            .unwrap()
            .is_empty()
    );
}

#[test]
fn queries_go_before_what_was_queued_earlier_and_callers_share_a_batch() {
    let (pool, gate) = pool(1);
    let first = pool.submit(texts(&["first"]), Priority::Ingest).unwrap();
    assert_eq!(gate.next(), ["first"]);
    let bulk = pool.submit(texts(&["a", "b"]), Priority::Ingest).unwrap();
    let more = pool.submit(texts(&["c"]), Priority::Ingest).unwrap();
    let one = pool.submit(texts(&["one?"]), Priority::Query).unwrap();
    let two = pool.submit(texts(&["two?"]), Priority::Query).unwrap();
    gate.open(3);
    assert_eq!(gate.next(), ["one?", "two?"]);
    assert_eq!(gate.next(), ["a", "b", "c"]);
    for (future, count) in [(first, 1), (bulk, 2), (more, 1), (one, 1), (two, 1)] {
        assert_eq!(wait(future).unwrap().len(), count);
    }
}

#[test]
fn batches_keep_to_the_token_budget() {
    let (pool, gate) = pool(1);
    let first = pool.submit(texts(&["first"]), Priority::Ingest).unwrap();
    gate.next();
    let long = vec!["x".repeat(4000); 9];
    let bulk = pool.submit(long, Priority::Ingest).unwrap();
    gate.open(4);
    assert_eq!(
        [gate.next().len(), gate.next().len(), gate.next().len()],
        [4, 4, 1]
    );
    assert_eq!(wait(bulk).unwrap().len(), 9);
    wait(first).unwrap();
}

#[test]
fn questions_are_answered_in_the_midst_of_texts_to_be_stored() {
    let (pool, gate) = pool(1);
    let bulk = pool.submit(texts(&["long"]), Priority::Ingest).unwrap();
    assert_eq!(gate.next(), ["long"]);
    let one = pool.submit(texts(&["one?"]), Priority::Query).unwrap();
    let two = pool.submit(texts(&["two?"]), Priority::Query).unwrap();
    let left = pool.submit(texts(&["left?"]), Priority::Query).unwrap();
    drop(left);
    let later = pool.submit(texts(&["later"]), Priority::Ingest).unwrap();
    // The pause, and what it finds.
    gate.open(2);
    assert_eq!(gate.next(), ["one?", "two?"]);
    assert_eq!(wait(one).unwrap(), [[4.0]]);
    assert_eq!(wait(two).unwrap(), [[4.0]]);
    let mut bulk = std::pin::pin!(bulk);
    let mut context = Context::from_waker(Waker::noop());
    assert!(bulk.as_mut().poll(&mut context).is_pending());
    gate.open(2);
    assert_eq!(wait(bulk).unwrap(), [[4.0]]);
    assert_eq!(wait(later).unwrap(), [[5.0]]);
}

#[test]
fn questions_are_not_interrupted() {
    let (pool, gate) = pool(1);
    let long = pool.submit(texts(&["long"]), Priority::Query).unwrap();
    assert_eq!(gate.next(), ["long"]);
    let other = pool.submit(texts(&["other"]), Priority::Query).unwrap();
    gate.open(2);
    assert_eq!(wait(long).unwrap(), [[4.0]]);
    gate.open(1);
    assert_eq!(wait(other).unwrap(), [[5.0]]);
}

#[test]
fn full_queue_refuses_everything_or_nothing_and_only_its_own_kind() {
    let (pool, gate) = pool(1);
    let first = pool.submit(texts(&["first"]), Priority::Ingest).unwrap();
    gate.next();
    let huge = || vec!["x".repeat(QUEUE_BYTES / 4); 3];
    let waiting = pool.submit(huge(), Priority::Ingest).unwrap();
    let refused = pool.submit(huge(), Priority::Ingest);
    assert!(matches!(
        refused.err(),
        Some(PulseDBError::Backpressure { waited_ms: 0, .. })
    ));
    let query = pool.submit(texts(&["?"]), Priority::Query).unwrap();
    // What was given up makes room at once.
    drop(waiting);
    let second = pool.submit(huge(), Priority::Ingest).unwrap();
    gate.open(100);
    assert_eq!(wait(query).unwrap(), [[1.0]]);
    assert_eq!(wait(second).unwrap().len(), 3);
    wait(first).unwrap();
}

#[test]
fn request_larger_than_the_queue_is_not_refused_for_ever() {
    let (pool, gate) = pool(1);
    gate.open(100);
    let vast = vec!["x".repeat(QUEUE_BYTES / 2); 3];
    assert_eq!(
        wait(pool.submit(vast, Priority::Ingest).unwrap())
            .unwrap()
            .len(),
        3
    );
}

#[test]
fn dropped_future_takes_its_texts_back() {
    let (pool, gate) = pool(1);
    let first = pool.submit(texts(&["first"]), Priority::Ingest).unwrap();
    gate.next();
    drop(pool.submit(texts(&["never"]), Priority::Ingest).unwrap());
    let last = pool.submit(texts(&["last"]), Priority::Ingest).unwrap();
    gate.open(2);
    assert_eq!(gate.next(), ["last"]);
    wait(last).unwrap();
    wait(first).unwrap();
}

#[test]
fn bad_text_fails_only_its_caller_and_the_thread_goes_on() {
    for bad in ["panic", "bad"] {
        let (pool, gate) = pool(1);
        let first = pool.submit(texts(&["first"]), Priority::Ingest).unwrap();
        gate.next();
        let good = pool.submit(texts(&["good"]), Priority::Ingest).unwrap();
        let failing = pool
            .submit(texts(&["fine", bad]), Priority::Ingest)
            .unwrap();
        let later = pool.submit(texts(&["later"]), Priority::Ingest).unwrap();
        gate.open(100);
        assert!(is_embedding_error(&wait(failing)));
        for future in [first, good, later] {
            assert_eq!(wait(future).unwrap().len(), 1);
        }
        let after = pool.submit(texts(&["after"]), Priority::Query).unwrap();
        assert_eq!(wait(after).unwrap(), [[5.0]]);
    }
}

#[test]
fn unprepared_model_fails_everything_with_its_reason() {
    struct Missing;
    impl Encode for Missing {
        fn prepare(&self) -> Result<()> {
            Err(PulseDBError::Embedding("no model here".into()))
        }

        fn encode(&self, _: &[&str], _: Priority, _: &dyn Fn()) -> Result<Vec<Vec<f32>>> {
            panic!("never asked")
        }
    }
    let pool = Pool::new(2, Missing);
    let error = wait(pool.submit(texts(&["a", "b"]), Priority::Query).unwrap()).unwrap_err();
    assert!(error.to_string().contains("no model here"));
}

#[test]
fn model_that_answers_too_little_is_an_error() {
    struct Mute;
    impl Encode for Mute {
        fn prepare(&self) -> Result<()> {
            Ok(())
        }

        fn encode(&self, _: &[&str], _: Priority, _: &dyn Fn()) -> Result<Vec<Vec<f32>>> {
            Ok(Vec::new())
        }
    }
    let pool = Pool::new(1, Mute);
    assert!(is_embedding_error(&wait(
        pool.submit(texts(&["a"]), Priority::Query).unwrap()
    )));
}

#[test]
fn dropping_the_pool_answers_what_waits_and_does_not_wait_itself() {
    let (pool, gate) = pool(1);
    let running = pool.submit(texts(&["running"]), Priority::Ingest).unwrap();
    gate.next();
    let queued = pool.submit(texts(&["queued"]), Priority::Ingest).unwrap();
    let start = Instant::now();
    drop(pool);
    assert!(start.elapsed() < Duration::from_secs(2));
    assert!(matches!(wait(queued), Err(PulseDBError::Closed)));
    gate.open(1);
    assert_eq!(wait(running).unwrap(), [[7.0]]);
    // The thread is gone, and with it its model: nobody sends any more.
    assert!(gate.seen.recv_timeout(Duration::from_secs(10)).is_err());
}
