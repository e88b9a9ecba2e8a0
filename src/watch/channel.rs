//! How do many subscribers hear of the same things, each at its own pace?
//!
//! Over tokio's broadcast. A commit is one message, so that whoever waits is woken once for it and takes all of it in one go.
//! Invariants: a receiver gets each item that was sent after it was made, in order and once, or hears that it missed some, and
//! gets those behind them; the messages that wait for the slowest receiver hold no more items than the channel may, since what
//! is too much is emptied, oldest first; a message is gone once everybody has it; whoever tells waits for no receiver.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{Context, Poll},
};

use parking_lot::RwLock;
use tokio::sync::broadcast::{
    self,
    error::{RecvError, TryRecvError},
};

use crate::sync::{Arc, Weak};

/// What a receiver hears.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Word<T> {
    /// These items, of one commit.
    Told(Arc<Vec<T>>),
    /// So many messages were dropped before they were taken; none where the teller said that something is not told.
    Missed(u64),
    /// There will be none any more.
    Closed,
}

/// What a commit tells.
enum Message<T> {
    /// `None` once the channel came to hold too many items.
    Items(RwLock<Option<Arc<Vec<T>>>>),
    /// Something happened that is not told.
    Untold,
}

type Sent<T> = Arc<Message<T>>;

/// Where items are put in. Dropping it closes the channel: receivers get what it holds, and then hear of the end.
pub struct Teller<T> {
    sender: broadcast::Sender<Sent<T>>,
    /// Of the commit that is being told.
    collected: Vec<T>,
    /// Messages with how many items they had, oldest first; those that everybody has hold none any more.
    sent: VecDeque<(Weak<Message<T>>, usize)>,
    /// Items of all of these.
    items: usize,
    capacity: usize,
}

impl<T> Teller<T> {
    /// A channel that holds `capacity` items for those who have not taken them.
    #[must_use]
    pub fn new(capacity: usize) -> Self {
        Self {
            sender: broadcast::channel(capacity).0,
            collected: Vec::new(),
            sent: VecDeque::new(),
            items: 0,
            capacity,
        }
    }

    /// Collects an item for [`Self::send`].
    pub fn put(&mut self, item: T) {
        self.collected.push(item);
    }

    /// Sends what was collected, and wakes all who wait.
    pub fn send(&mut self) {
        if self.collected.is_empty() {
            return;
        }
        let items = std::mem::take(&mut self.collected);
        let count = items.len();
        let message = Arc::new(Message::Items(RwLock::new(Some(Arc::new(items)))));
        self.sent.push_back((Arc::downgrade(&message), count));
        self.items += count;
        // Nobody listens: nobody misses it.
        let _ = self.sender.send(message);
        while self.items > self.capacity
            && let Some((oldest, count)) = self.sent.pop_front()
        {
            self.items -= count;
            if let Some(Message::Items(items)) = oldest.upgrade().as_deref() {
                items.write().take();
            }
        }
    }

    /// Says that something happened that is not told.
    pub fn send_untold(&mut self) {
        self.send();
        let _ = self.sender.send(Arc::new(Message::Untold));
    }

    /// A receiver of what is sent from now on.
    #[must_use]
    pub fn receiver(&self) -> Receiver<T> {
        Receiver(State::Ready(self.sender.subscribe()))
    }
}

impl<T> Drop for Teller<T> {
    fn drop(&mut self) {
        self.send();
    }
}

type Received<T> = (broadcast::Receiver<Sent<T>>, Result<Sent<T>, RecvError>);

enum State<T> {
    Ready(broadcast::Receiver<Sent<T>>),
    Waiting(Pin<Box<dyn Future<Output = Received<T>> + Send>>),
    Closed,
}

/// Who hears of the items.
pub struct Receiver<T>(State<T>);

impl<T: Send + Sync + 'static> Receiver<T> {
    /// The next word, or has this task woken once there is one.
    pub fn poll_take(&mut self, context: &mut Context<'_>) -> Poll<Word<T>> {
        loop {
            let (receiver, received) = match std::mem::replace(&mut self.0, State::Closed) {
                State::Closed => return Poll::Ready(Word::Closed),
                State::Ready(mut receiver) => match receiver.try_recv() {
                    Ok(message) => (receiver, Ok(message)),
                    Err(TryRecvError::Lagged(missed)) => (receiver, Err(RecvError::Lagged(missed))),
                    Err(TryRecvError::Closed) => continue,
                    Err(TryRecvError::Empty) => {
                        self.0 = State::Waiting(Box::pin(async move {
                            let received = receiver.recv().await;
                            (receiver, received)
                        }));
                        continue;
                    }
                },
                State::Waiting(mut waiting) => match waiting.as_mut().poll(context) {
                    Poll::Ready(received) => received,
                    Poll::Pending => {
                        self.0 = State::Waiting(waiting);
                        return Poll::Pending;
                    }
                },
            };
            let word = match received {
                Ok(message) => message.word(),
                Err(RecvError::Lagged(missed)) => Word::Missed(missed),
                Err(RecvError::Closed) => continue,
            };
            self.0 = State::Ready(receiver);
            return Poll::Ready(word);
        }
    }
}

impl<T> Message<T> {
    fn word(&self) -> Word<T> {
        match self {
            Self::Untold => Word::Missed(0),
            Self::Items(items) => {
                let items = items.read();
                items
                    .as_ref()
                    .map_or(Word::Missed(1), |items| Word::Told(Arc::clone(items)))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::{
        sync::atomic::{AtomicUsize, Ordering},
        task::{Wake, Waker},
    };

    use super::*;

    #[derive(Default)]
    struct Counted(AtomicUsize);

    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            self.0.fetch_add(1, Ordering::SeqCst);
        }
    }

    impl<T: Send + Sync + 'static> Receiver<T> {
        fn hear(&mut self) -> Option<Word<T>> {
            match self.poll_take(&mut Context::from_waker(Waker::noop())) {
                Poll::Ready(word) => Some(word),
                Poll::Pending => None,
            }
        }
    }

    fn told<T>(items: impl IntoIterator<Item = T>) -> Option<Word<T>> {
        Some(Word::Told(Arc::new(items.into_iter().collect())))
    }

    fn tell<T>(teller: &mut Teller<T>, items: impl IntoIterator<Item = T>) {
        items.into_iter().for_each(|item| teller.put(item));
        teller.send();
    }

    #[test]
    fn each_receiver_gets_each_item_once_and_in_order() {
        let mut teller = Teller::new(1000);
        tell(&mut teller, [0]);
        let mut early = teller.receiver();
        tell(&mut teller, 1..=100);
        let mut late = teller.receiver();
        assert_eq!(early.hear(), told(1..=100));
        assert_eq!(early.hear(), None);
        tell(&mut teller, [101, 102]);
        tell(&mut teller, []);
        assert_eq!(early.hear(), told(vec![101, 102]));
        assert_eq!(late.hear(), told(vec![101, 102]));
        teller.put(103);
        drop(teller);
        assert_eq!(early.hear(), told(vec![103]));
        assert_eq!(early.hear(), Some(Word::Closed));
        assert_eq!(early.hear(), Some(Word::Closed));
    }

    #[test]
    fn who_falls_behind_hears_that_it_missed_something_and_goes_on() {
        let mut teller = Teller::new(4);
        let mut receiver = teller.receiver();
        (1..=6).for_each(|item| tell(&mut teller, [item]));
        assert_eq!(receiver.hear(), Some(Word::Missed(2)));
        assert_eq!(receiver.hear(), told(vec![3]));
        // Three more make one too many, whatever the number of messages.
        tell(&mut teller, 7..=9);
        assert_eq!(receiver.hear(), Some(Word::Missed(1)));
        assert_eq!(receiver.hear(), Some(Word::Missed(1)));
        assert_eq!(receiver.hear(), told(vec![6]));
        assert_eq!(receiver.hear(), told(vec![7, 8, 9]));
        tell(&mut teller, 10..=20);
        assert_eq!(receiver.hear(), Some(Word::Missed(1)));
        assert_eq!(receiver.hear(), None);
    }

    #[test]
    fn what_is_not_told_is_heard_of_in_its_place() {
        let mut teller = Teller::new(10);
        let mut receiver = teller.receiver();
        teller.put(1);
        teller.send_untold();
        tell(&mut teller, [2]);
        assert_eq!(receiver.hear(), told(vec![1]));
        assert_eq!(receiver.hear(), Some(Word::Missed(0)));
        assert_eq!(receiver.hear(), told(vec![2]));
    }

    #[test]
    fn an_item_is_held_for_those_who_lack_it_and_no_longer() {
        let mut teller = Teller::new(4);
        let item = Arc::new(());
        let holders = || Arc::strong_count(&item) - 1;
        tell(&mut teller, [Arc::clone(&item)]);
        assert_eq!(holders(), 0, "nobody listens");
        let (mut one, two) = (teller.receiver(), teller.receiver());
        tell(&mut teller, [Arc::clone(&item)]);
        drop(one.hear());
        assert_eq!(holders(), 1);
        drop(two);
        assert_eq!(holders(), 0);
        for _ in 0..5 {
            tell(&mut teller, [Arc::clone(&item), Arc::clone(&item)]);
        }
        assert_eq!(holders(), 4, "as many as the channel may hold");
        drop(one);
        assert_eq!(holders(), 0);
    }

    #[test]
    fn who_waits_is_woken_once_for_many_items_and_for_the_end() {
        let mut teller = Teller::new(10);
        let woken = Arc::new(Counted::default());
        let waker = Waker::from(Arc::clone(&woken));
        let mut context = Context::from_waker(&waker);
        let mut receiver = teller.receiver();
        assert!(receiver.poll_take(&mut context).is_pending());
        assert!(receiver.poll_take(&mut context).is_pending());
        teller.put(1);
        teller.put(2);
        assert_eq!(woken.0.load(Ordering::SeqCst), 0);
        teller.send();
        teller.send();
        assert_eq!(woken.0.load(Ordering::SeqCst), 1);
        assert_eq!(receiver.hear(), told([1, 2]));
        assert!(receiver.poll_take(&mut context).is_pending());
        drop(teller);
        assert_eq!(woken.0.load(Ordering::SeqCst), 2);
    }
}
