//! Is every request that enters answered exactly once, whatever ends the queue?
//!
//! Two callers push while a third ends it, by a stop or a poisoning, and the committer's thread
//! takes what is there. Whoever got a ticket gets an answer; nobody waits for ever.
//!
//! Mutations, each tried, each makes the named models fail:
//! - `Queue::push` does not notify: `a_push_wakes_the_committer` (deadlock);
//! - `Queue::stop` does not notify: `a_push_wakes_the_committer` (deadlock);
//! - `Queue::push_quietly` does not ask whether it is stopped:
//!   `what_entered_before_a_stop_is_answered` (deadlock);
//! - `Queue::wait_for_work` looks for a stop before it looks for work:
//!   `what_entered_before_a_stop_is_answered`;
//! - `Queue::take` leaves the group in place: `what_entered_before_a_stop_is_answered`;
//! - `Committer::poison` answers nobody: `what_a_poisoning_overtakes_is_answered` (deadlock).

use std::sync::{Arc, atomic::Ordering::Relaxed};

use loom::{future::block_on, thread};
use pulsedb::protocol::{commit::Committer, queue::Stopped};
use pulsedb_loom_tests::{
    explore,
    pipeline::{FAILING, Numbering},
};

#[test]
fn a_push_wakes_the_committer() {
    explore(|| {
        let (pipeline, committed) = Numbering::new(usize::MAX);
        let committer = Arc::new(Committer::new(pipeline));
        let thread = thread::spawn({
            let committer = Arc::clone(&committer);
            move || committer.run()
        });
        let ticket = committer.submit(1).expect("nothing stopped it");
        assert_eq!(block_on(ticket), Ok(1));
        committer.stop();
        thread.join().unwrap();
        assert_eq!(committed.load(Relaxed), 1);
    });
}

#[test]
fn what_entered_before_a_stop_is_answered() {
    explore(|| {
        let (pipeline, committed) = Numbering::new(usize::MAX);
        let committer = Arc::new(Committer::new(pipeline));
        let thread = thread::spawn({
            let committer = Arc::clone(&committer);
            move || committer.run()
        });
        let caller = thread::spawn({
            let committer = Arc::clone(&committer);
            move || match committer.submit(1) {
                Ok(ticket) => {
                    assert_eq!(block_on(ticket), Ok(1));
                    1
                }
                Err(stopped) => {
                    assert_eq!(stopped, Stopped::Closed);
                    0
                }
            }
        });
        let early = committer.submit(2).expect("nothing stopped it");
        committer.stop();
        thread.join().unwrap();
        assert_eq!(early.take(), Some(Ok(2)));
        let entered = caller.join().unwrap();
        assert_eq!(committed.load(Relaxed), entered + 1);
    });
}

#[test]
fn what_a_poisoning_overtakes_is_answered() {
    explore(|| {
        let (pipeline, committed) = Numbering::new(usize::MAX);
        let committer = Arc::new(Committer::new(pipeline));
        let thread = thread::spawn({
            let committer = Arc::clone(&committer);
            move || committer.run()
        });
        let caller = thread::spawn({
            let committer = Arc::clone(&committer);
            move || match committer.submit(1) {
                Ok(ticket) => block_on(ticket),
                Err(Stopped::Poisoned(failure)) => Err(failure),
                Err(Stopped::Closed) => unreachable!("nobody closed it"),
            }
        });
        committer.poison("sync");
        let answer = caller.join().unwrap();
        thread.join().unwrap();
        // Committed and told so, or neither.
        match answer {
            Ok(number) => assert_eq!((number, committed.load(Relaxed)), (1, 1)),
            Err(failure) => assert_eq!((failure, committed.load(Relaxed)), ("sync", 0)),
        }
        assert_eq!(committer.stopped(), Some(Stopped::Poisoned("sync")));
    });
}

#[test]
fn a_failing_group_answers_itself_and_what_waits() {
    explore(|| {
        let (pipeline, committed) = Numbering::new(usize::MAX);
        let committer = Arc::new(Committer::new(pipeline));
        let thread = thread::spawn({
            let committer = Arc::clone(&committer);
            move || committer.run()
        });
        let caller = thread::spawn({
            let committer = Arc::clone(&committer);
            move || match committer.submit(1) {
                Ok(ticket) => block_on(ticket),
                Err(stopped) => {
                    assert_eq!(stopped, Stopped::Poisoned("disk"));
                    Err("disk")
                }
            }
        });
        let failing = committer.submit(FAILING);
        if let Ok(ticket) = failing {
            assert_eq!(block_on(ticket), Err("disk"));
        }
        let answer = caller.join().unwrap();
        thread.join().unwrap();
        // The other request came in a group before, or shared the failure.
        assert!(matches!(answer, Ok(1) | Err("disk")));
        assert_eq!(committed.load(Relaxed), usize::from(answer.is_ok()));
    });
}
