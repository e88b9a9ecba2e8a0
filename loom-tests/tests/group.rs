//! Does a waiter learn of its answer whenever it registers, and whoever else gives up?
//!
//! Mutations, each tried, each makes the named models fail:
//! - `Group::answer` does not store the answer of whoever asked already:
//!   `a_waiter_is_woken_before_or_after` (deadlock);
//! - `Group::answer` does not wake: `a_waiter_is_woken_before_or_after` (deadlock);
//! - `Ticket::poll` keeps the waker of the first poll: `the_last_waker_counts` (deadlock);
//! - `Ticket::drop` removes its slot from the list: `a_dropped_ticket_disturbs_nobody` (deadlock).

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{Context, Waker},
};

use loom::{future::block_on, thread};
use pulsedb::protocol::commit::Committer;
use pulsedb_loom_tests::{explore, pipeline::Numbering};

fn committer() -> Arc<Committer<Numbering>> {
    Arc::new(Committer::new(Numbering::new(usize::MAX).0))
}

fn run(committer: &Arc<Committer<Numbering>>) -> thread::JoinHandle<()> {
    committer.stop();
    let committer = Arc::clone(committer);
    thread::spawn(move || committer.run())
}

#[test]
fn a_waiter_is_woken_before_or_after() {
    explore(|| {
        let committer = committer();
        let first = committer.submit(1).expect("it is open");
        let second = committer.submit(2).expect("it is open");
        let thread = run(&committer);
        let waiter = thread::spawn(move || assert_eq!(block_on(first), Ok(1)));
        assert_eq!(block_on(second), Ok(2));
        waiter.join().unwrap();
        thread.join().unwrap();
    });
}

#[test]
fn the_last_waker_counts() {
    explore(|| {
        let committer = committer();
        let mut ticket = committer.submit(1).expect("it is open");
        let thread = run(&committer);
        // As a select does that polls from one task and is then moved to another.
        let polled = Pin::new(&mut ticket).poll(&mut Context::from_waker(Waker::noop()));
        if polled.is_pending() {
            assert_eq!(block_on(ticket), Ok(1));
        }
        thread.join().unwrap();
    });
}

#[test]
fn a_dropped_ticket_disturbs_nobody() {
    explore(|| {
        let committer = committer();
        let mut given_up = committer.submit(1).expect("it is open");
        let kept = committer.submit(2).expect("it is open");
        let thread = run(&committer);
        let cancelled = thread::spawn(move || {
            let _ = Pin::new(&mut given_up).poll(&mut Context::from_waker(Waker::noop()));
            drop(given_up);
        });
        assert_eq!(block_on(kept), Ok(2));
        cancelled.join().unwrap();
        thread.join().unwrap();
    });
}
