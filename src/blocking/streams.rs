//! Streams of what happens, for a thread that waits for it.

use std::{sync::Arc, task::Poll, time::Duration};

use super::{PulseDB, ears::Ears};
use crate::{
    edge::block_on::{block_on, block_on_by, block_on_for},
    error::Result,
    model::{Change, CollectiveId, Cursor, WatchEvent, WatchFilter, WatchItem, WatchOptions},
    watch,
};

/// Streams of what happens, for a thread that waits for it.
macro_rules! waiting_stream {
    ($(#[$doc:meta])+ $name:ident($stream:ty) of $item:ty;) => {
        $(#[$doc])+
        #[derive(Debug)]
        pub struct $name($stream, Ears);

        impl $name {
            /// Waits for the next one; `None` when there will be none any more.
            pub fn recv(&mut self) -> Option<Result<$item>> {
                block_on_by(&self.1, self.0.recv())
            }

            /// The same for as long as `timeout`; [`Poll::Pending`] where nothing has come by then.
            pub fn recv_timeout(&mut self, timeout: Duration) -> Poll<Option<Result<$item>>> {
                let received = block_on_for(&self.1, self.0.recv(), timeout);
                received.map_or(Poll::Pending, Poll::Ready)
            }

            /// Where to go on after a restart.
            pub fn cursor(&self) -> Cursor {
                self.0.cursor()
            }
        }

        impl Iterator for $name {
            type Item = Result<$item>;

            fn next(&mut self) -> Option<Self::Item> {
                self.recv()
            }
        }
    };
}

waiting_stream! {
    /// The changes of a collective's experiences; see [`crate::WatchStream`].
    WatchStream(watch::WatchStream) of Arc<WatchEvent>;
}

waiting_stream! {
    /// What happens in a collective or in all of the database; see [`crate::WatchItems`].
    WatchItems(watch::WatchItems) of WatchItem;
}

waiting_stream! {
    /// The commits of a database; see [`crate::ChangeFeed`].
    ChangeFeed(watch::ChangeFeed) of Change;
}

impl PulseDB {
    fn listening<T, S>(
        &self,
        stream: impl Future<Output = Result<T>>,
        made: impl FnOnce(T, Ears) -> S,
    ) -> Result<S> {
        let bell = self.0.engine().bell.clone();
        block_on(stream).map(|stream| made(stream, Ears::new(bell)))
    }

    /// See [`crate::PulseDB::watch_experiences`].
    ///
    /// # Errors
    /// As there.
    pub fn watch_experiences(&self, collective: CollectiveId) -> Result<WatchStream> {
        self.listening(self.0.watch_experiences(collective), WatchStream)
    }

    /// See [`crate::PulseDB::watch_experiences_filtered`].
    ///
    /// # Errors
    /// As there.
    pub fn watch_experiences_filtered(
        &self,
        collective: CollectiveId,
        filter: WatchFilter,
    ) -> Result<WatchStream> {
        self.listening(
            self.0.watch_experiences_filtered(collective, filter),
            WatchStream,
        )
    }

    /// See [`crate::PulseDB::watch`].
    ///
    /// # Errors
    /// As there.
    pub fn watch(&self, options: WatchOptions) -> Result<WatchItems> {
        self.listening(self.0.watch(options), WatchItems)
    }

    /// See [`crate::PulseDB::watch_from`].
    ///
    /// # Errors
    /// As there.
    pub fn watch_from(&self, cursor: Cursor) -> Result<WatchItems> {
        self.listening(self.0.watch_from(cursor), WatchItems)
    }

    /// See [`crate::PulseDB::change_feed`].
    ///
    /// # Errors
    /// As there.
    pub fn change_feed(&self, from: Cursor, follow: bool) -> Result<ChangeFeed> {
        self.listening(self.0.change_feed(from, follow), ChangeFeed)
    }
}
