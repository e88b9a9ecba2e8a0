//! How do many receivers hear of the same things, each at its own pace?
//!
//! A ring of the newest items under one short lock. Whoever tells puts in what one commit says, and then wakes all who
//! wait, so that a commit of many items wakes each of them once; a receiver takes what it lacks in one go.
//! Invariants: a receiver gets each item that was put in after it was made, in order and once, or hears that it
//! missed some, and gets each behind those; who finds nothing leaves its waker under the same lock, so
//! that no wake-up is lost; an item is gone once everybody has it; whoever tells waits for no receiver.

use std::{
    collections::{HashMap, VecDeque},
    task::{Context, Poll, Waker},
};

use crate::sync::{Arc, Mutex};

/// Items that a receiver takes in one go: what it holds beside the ring.
const TAKEN_AT_ONCE: usize = 64;

/// What a receiver hears.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Word {
    /// There were items, which were handed over.
    Told,
    /// So many items were dropped before they were taken; none where the teller said that something is not told.
    Missed(u64),
    /// There will be none any more.
    Closed,
}

struct Held<T> {
    /// `None` says that something happened that is not told.
    item: Option<T>,
    /// Receivers that have not taken it.
    lacking: usize,
}

struct Ring<T> {
    held: VecDeque<Held<T>>,
    /// Number of the oldest of these.
    first: u64,
    receivers: usize,
    /// Who waits, by the number of the receiver.
    waiting: HashMap<u64, Waker>,
    /// Receivers that there ever were.
    numbers: u64,
    closed: bool,
}

impl<T> Ring<T> {
    /// What a receiver that takes number `next` next has not taken.
    fn lacked(&mut self, next: u64) -> impl Iterator<Item = &mut Held<T>> {
        let taken = next.saturating_sub(self.first) as usize;
        self.held.iter_mut().skip(taken)
    }

    /// Drops what everybody has.
    fn forget(&mut self) {
        while self.held.front().is_some_and(|held| held.lacking == 0) {
            self.held.pop_front();
            self.first += 1;
        }
    }
}

impl<T: Clone> Ring<T> {
    /// Hands over what stands from number `next` on; `None` where nothing does.
    fn take(&mut self, next: &mut u64, into: &mut VecDeque<T>) -> Option<Word> {
        if *next < self.first {
            let missed = self.first - *next;
            *next = self.first;
            return Some(Word::Missed(missed));
        }
        let mut word = self.closed.then_some(Word::Closed);
        let mut taken = 0;
        for held in self.lacked(*next).take(TAKEN_AT_ONCE) {
            match &held.item {
                Some(item) => into.push_back(item.clone()),
                None if taken == 0 => word = Some(Word::Missed(0)),
                // What stands in front of it is handed over first.
                None => break,
            }
            held.lacking = held.lacking.saturating_sub(1);
            taken += 1;
            if held.item.is_none() {
                break;
            }
            word = Some(Word::Told);
        }
        *next += taken;
        self.forget();
        word
    }
}

/// Where items are put in. Dropping it closes the channel: receivers get what it holds, and then hear of the end.
pub struct Teller<T> {
    ring: Arc<Mutex<Ring<T>>>,
    capacity: usize,
}

impl<T> Teller<T> {
    /// A channel that holds `capacity` items for those who have not taken them.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            ring: Arc::new(Mutex::new(Ring {
                held: VecDeque::new(),
                first: 0,
                receivers: 0,
                waiting: HashMap::new(),
                numbers: 0,
                closed: false,
            })),
            capacity,
        }
    }

    /// A receiver of what is put in from now on.
    #[must_use]
    pub fn receiver(&self) -> Receiver<T> {
        let mut ring = self.ring.lock();
        ring.receivers += 1;
        ring.numbers += 1;
        Receiver {
            ring: Arc::clone(&self.ring),
            next: ring.first + ring.held.len() as u64,
            number: ring.numbers,
        }
    }

    /// Puts in an item, or (`None`) that something happened that is not told. Who waits sleeps on until
    /// [`Self::wake`].
    pub fn put(&self, item: Option<T>) {
        let mut ring = self.ring.lock();
        let lacking = ring.receivers;
        if lacking == 0 {
            return;
        }
        ring.held.push_back(Held { item, lacking });
        if ring.held.len() > self.capacity {
            ring.held.pop_front();
            ring.first += 1;
        }
    }

    /// Wakes all who wait.
    pub fn wake(&self) {
        let waiting: Vec<_> = {
            let mut ring = self.ring.lock();
            ring.waiting.drain().map(|(_, waker)| waker).collect()
        };
        // Outside the lock: a woken receiver takes it at once.
        for waker in waiting {
            waker.wake();
        }
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        self.ring.lock().closed = true;
        self.wake();
    }
}

/// Who hears of the items.
pub struct Receiver<T> {
    ring: Arc<Mutex<Ring<T>>>,
    /// Number of the item that it takes next.
    next: u64,
    number: u64,
}

impl<T: Clone> Receiver<T> {
    /// Moves what is new behind the end of `into`, or has this task woken once there is something. Who asks no more is
    /// woken once in vain at most.
    pub fn poll_take(&mut self, context: &mut Context<'_>, into: &mut VecDeque<T>) -> Poll<Word> {
        let mut ring = self.ring.lock();
        if let Some(word) = ring.take(&mut self.next, into) {
            return Poll::Ready(word);
        }
        let before = ring.waiting.insert(self.number, context.waker().clone());
        drop(ring);
        // Outside the lock: the last waker of a task drops the task, and with it perhaps a receiver.
        drop(before);
        Poll::Pending
    }
}

impl<T> Drop for Receiver<T> {
    fn drop(&mut self) {
        let mut ring = self.ring.lock();
        ring.receivers = ring.receivers.saturating_sub(1);
        for held in ring.lacked(self.next) {
            held.lacking = held.lacking.saturating_sub(1);
        }
        ring.forget();
        let waker = ring.waiting.remove(&self.number);
        drop(ring);
        drop(waker);
    }
}

#[cfg(all(test, not(pulsedb_loom)))]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::Wake,
    };

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl<T: Clone> Receiver<T> {
        fn hear(&mut self) -> (Option<Word>, Vec<T>) {
            let mut taken = VecDeque::new();
            let polled = self.poll_take(&mut Context::from_waker(Waker::noop()), &mut taken);
            let word = match polled {
                Poll::Ready(word) => Some(word),
                Poll::Pending => None,
            };
            (word, taken.into())
        }
    }

    #[test]
    fn each_receiver_gets_each_item_once_and_in_order() {
        let teller = Teller::new(1000);
        teller.put(Some(0));
        let mut early = teller.receiver();
        (1..=100).for_each(|item| teller.put(Some(item)));
        let mut late = teller.receiver();
        teller.put(Some(101));
        let first = TAKEN_AT_ONCE as i32;
        assert_eq!(early.hear(), (Some(Word::Told), (1..=first).collect()));
        let rest = (first + 1..=101).collect();
        assert_eq!(early.hear(), (Some(Word::Told), rest));
        assert_eq!(early.hear(), (None, vec![]));
        assert_eq!(late.hear(), (Some(Word::Told), vec![101]));
        drop(teller);
        assert_eq!(early.hear(), (Some(Word::Closed), vec![]));
    }

    #[test]
    fn who_falls_behind_hears_how_much_it_missed() {
        let teller = Teller::new(2);
        let mut receiver = teller.receiver();
        (1..=5).for_each(|item| teller.put(Some(item)));
        assert_eq!(receiver.hear(), (Some(Word::Missed(3)), vec![]));
        assert_eq!(receiver.hear(), (Some(Word::Told), vec![4, 5]));
        (6..=8).for_each(|item| teller.put(Some(item)));
        drop(teller);
        assert_eq!(receiver.hear(), (Some(Word::Missed(1)), vec![]));
        assert_eq!(receiver.hear(), (Some(Word::Told), vec![7, 8]));
        assert_eq!(receiver.hear(), (Some(Word::Closed), vec![]));
    }

    #[test]
    fn what_is_not_told_is_heard_of_in_its_place() {
        let teller = Teller::new(10);
        let mut receiver = teller.receiver();
        for item in [Some(1), None, None, Some(2)] {
            teller.put(item);
        }
        assert_eq!(receiver.hear(), (Some(Word::Told), vec![1]));
        assert_eq!(receiver.hear(), (Some(Word::Missed(0)), vec![]));
        assert_eq!(receiver.hear(), (Some(Word::Missed(0)), vec![]));
        assert_eq!(receiver.hear(), (Some(Word::Told), vec![2]));
    }

    #[test]
    fn an_item_is_held_for_those_who_lack_it_and_no_longer() {
        let teller = Teller::new(10);
        let item = Arc::new(());
        let holders = || Arc::strong_count(&item) - 1;
        teller.put(Some(Arc::clone(&item)));
        assert_eq!(holders(), 0, "nobody listens");
        let (mut one, two) = (teller.receiver(), teller.receiver());
        teller.put(Some(Arc::clone(&item)));
        drop(one.hear());
        assert_eq!(holders(), 1);
        let three = teller.receiver();
        drop(two);
        assert_eq!(holders(), 0);
        teller.put(Some(Arc::clone(&item)));
        drop((one, three));
        assert_eq!(holders(), 0);
    }

    #[test]
    fn who_waits_is_woken_once_for_many_items_and_for_the_end() {
        let teller = Teller::new(10);
        let woken = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let (mut receiver, mut taken) = (teller.receiver(), VecDeque::new());
        let gone = teller.receiver();
        assert!(receiver.poll_take(&mut context, &mut taken).is_pending());
        assert!(receiver.poll_take(&mut context, &mut taken).is_pending());
        drop(gone);
        teller.put(Some(1));
        teller.put(Some(2));
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        teller.wake();
        teller.wake();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert!(receiver.poll_take(&mut context, &mut taken).is_ready());
        assert!(receiver.poll_take(&mut context, &mut taken).is_pending());
        drop(teller);
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
        assert_eq!(taken, [1, 2]);
    }
}
