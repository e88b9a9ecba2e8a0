//! How does a thread wait for what a stream tells?
//!
//! Where another process writes it listens to the bell itself, since the thread that the system wakes is the first to know.

use std::{
    sync::{Arc, OnceLock},
    task::Waker,
    time::Duration,
};

use crate::{
    edge::block_on::{Parked, Sleep},
    watch::bell::{Bell, Listener},
};

/// Of a stream whose reader waits; a listener is made when it does so for the first time.
#[derive(Debug)]
pub(super) struct Ears {
    bell: Option<Arc<Bell>>,
    listener: OnceLock<Option<Listener>>,
}

impl Ears {
    pub(super) fn new(bell: Option<Arc<Bell>>) -> Self {
        Self {
            bell,
            listener: OnceLock::new(),
        }
    }

    fn listener(&self) -> Option<&Listener> {
        let made = || self.bell.as_ref().and_then(Listener::new);
        self.listener.get_or_init(made).as_ref()
    }
}

impl Sleep for Ears {
    fn waker(&self) -> Waker {
        self.listener()
            .map_or_else(|| Parked.waker(), Listener::waker)
    }

    fn sleep(&self, time: Option<Duration>) {
        match self.listener() {
            Some(listener) => listener.sleep(time),
            None => Parked.sleep(time),
        }
    }
}
