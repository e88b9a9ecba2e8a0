//! How long did each stage of a search take?

use std::time::Duration;

use crate::env::Env;

/// A stopwatch that answers the time since it was last asked.
pub struct Stages<'a> {
    clock: &'a dyn Env,
    last: Duration,
}

impl<'a> Stages<'a> {
    /// Starts now.
    pub fn new(clock: &'a dyn Env) -> Self {
        Self {
            clock,
            last: clock.monotonic(),
        }
    }

    /// The time since the last call, or the start.
    pub fn next(&mut self) -> Duration {
        let now = self.clock.monotonic();
        now.saturating_sub(std::mem::replace(&mut self.last, now))
    }
}
