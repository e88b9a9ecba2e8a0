//! Is there one committer at a time, and does every end of a step answer everybody?
//!
//! The committer's thread and callers that lend themselves compete for the role. The pipeline's
//! stages touch a cell that loom watches, so two committers at once fail the model. A panic in a
//! stage is caught by the step under test; so is loom's own complaint about the cell, which then
//! shows as an answer that no model expects.
//!
//! Two committers at once cannot be had by a change of one line: the role is the lock that the
//! pipeline is in. Mutations, each tried, each makes the named models fail:
//! - `submit_lending` pushes with `push_quietly` where it does not get the role:
//!   `a_caller_that_lends_itself_and_the_thread_take_turns` (deadlock);
//! - `run` does not wait for the role at its end: `run_returns_after_the_last_step`;
//! - `step` does not answer what waits: `a_panic_answers_everybody` (deadlock);
//! - `step` catches no panic: `a_panic_answers_everybody`.

use std::sync::{Arc, atomic::Ordering::Relaxed};

use loom::{future::block_on, thread};
use pulsedb::protocol::{commit::Committer, queue::Stopped};
use pulsedb_loom_tests::{
    explore,
    pipeline::{Numbering, PANICKING},
};

#[test]
fn a_caller_that_lends_itself_and_the_thread_take_turns() {
    explore(|| {
        let (pipeline, committed) = Numbering::new(usize::MAX);
        let committer = Arc::new(Committer::new(pipeline));
        let thread = thread::spawn({
            let committer = Arc::clone(&committer);
            move || committer.run()
        });
        let lender = thread::spawn({
            let committer = Arc::clone(&committer);
            move || {
                let ticket = committer.submit_lending(1).expect("nothing stopped it");
                assert_eq!(block_on(ticket), Ok(1));
            }
        });
        let ticket = committer.submit(2).expect("nothing stopped it");
        assert_eq!(block_on(ticket), Ok(2));
        lender.join().unwrap();
        committer.stop();
        thread.join().unwrap();
        assert_eq!(committed.load(Relaxed), 2);
    });
}

#[test]
fn two_callers_that_lend_themselves_take_turns() {
    explore(|| {
        let (pipeline, committed) = Numbering::new(1);
        let committer = Arc::new(Committer::new(pipeline));
        let lend = |request, and_stop: bool| {
            let committer = Arc::clone(&committer);
            thread::spawn(move || {
                let ticket = committer.submit_lending(request);
                let answer = ticket.map(|ticket| block_on(ticket));
                if and_stop {
                    committer.stop();
                }
                answer
            })
        };
        let first = lend(1, true);
        let second = lend(2, false);
        committer.run();
        assert_eq!(first.join().unwrap(), Ok(Ok(1)));
        let second = second.join().unwrap();
        assert!(matches!(second, Ok(Ok(2)) | Err(Stopped::Closed)));
        assert_eq!(committed.load(Relaxed), 1 + usize::from(second.is_ok()));
    });
}

#[test]
fn run_returns_after_the_last_step() {
    explore(|| {
        let (pipeline, committed) = Numbering::new(usize::MAX);
        let committer = Arc::new(Committer::new(pipeline));
        let lender = thread::spawn({
            let committer = Arc::clone(&committer);
            move || match committer.submit_lending(1) {
                Ok(ticket) => block_on(ticket).map(|_| 1),
                Err(_) => Ok(0),
            }
        });
        committer.stop();
        committer.run();
        // What `close` looks at next must be final.
        let at_the_end = committed.load(Relaxed);
        assert_eq!(lender.join().unwrap(), Ok(at_the_end));
    });
}

#[test]
fn a_panic_answers_everybody() {
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
                    assert_eq!(stopped, Stopped::Poisoned("panic"));
                    Err("panic")
                }
            }
        });
        if let Ok(ticket) = committer.submit_lending(PANICKING) {
            assert_eq!(block_on(ticket), Err("panic"));
        }
        let answer = caller.join().unwrap();
        // The thread ends in order, although nobody stopped it.
        thread.join().unwrap();
        assert!(matches!(answer, Ok(1) | Err("panic")));
        assert_eq!(committed.load(Relaxed), usize::from(answer.is_ok()));
    });
}
