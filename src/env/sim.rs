//! What do clock and chance look like in a test?
//!
//! Both are functions of a seed and of what the test sets; the same seed gives the same run.

use std::{
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};

use super::Env;
use crate::model::Timestamp;

/// The process that [`SimEnv`] claims to be.
const PID: u32 = 1;

/// SplitMix64 (Steele, Lea, Flood: "Fast splittable pseudorandom number generators", 2014).
#[derive(Clone, Debug)]
pub(crate) struct SplitMix(u64);

impl SplitMix {
    pub(crate) const fn new(seed: u64) -> Self {
        Self(seed)
    }

    pub(crate) const fn next(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// A number below `bound`, or 0. The bias is far below what a test could notice.
    pub(crate) const fn below(&mut self, bound: u64) -> u64 {
        let drawn = self.next();
        if bound == 0 { 0 } else { drawn % bound }
    }

    pub(crate) const fn coin(&mut self) -> bool {
        self.next() & 1 == 1
    }
}

#[derive(Debug)]
struct State {
    now: Timestamp,
    random: SplitMix,
}

/// A clock that stands still until it is moved, and numbers that follow from a seed. Clones are
/// handles of the same one.
#[derive(Clone, Debug)]
pub struct SimEnv {
    state: Arc<Mutex<State>>,
}

impl SimEnv {
    /// An environment whose numbers follow from `seed`, at the moment `now`.
    #[must_use]
    pub fn new(seed: u64, now: Timestamp) -> Self {
        Self {
            state: Arc::new(Mutex::new(State {
                now,
                random: SplitMix::new(seed),
            })),
        }
    }

    /// Sets the wall clock, backwards too.
    pub fn set_now(&self, now: Timestamp) {
        self.with(|state| state.now = now);
    }

    /// Lets time pass.
    pub fn advance(&self, time: Duration) {
        let millis = i64::try_from(time.as_millis()).unwrap_or(i64::MAX);
        self.with(|state| {
            state.now = Timestamp::from_millis(state.now.as_millis().saturating_add(millis));
        });
    }

    fn with<T>(&self, act: impl FnOnce(&mut State) -> T) -> T {
        // A panic of another test thread leaves whole values behind.
        act(&mut self.state.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Env for SimEnv {
    fn now(&self) -> Timestamp {
        self.with(|state| state.now)
    }

    fn monotonic(&self) -> Duration {
        let millis = self.now().as_millis();
        Duration::from_millis(u64::try_from(millis).unwrap_or(0))
    }

    fn random_u64(&self) -> u64 {
        self.with(|state| state.random.next())
    }

    fn pid(&self) -> u32 {
        PID
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_same_seed_gives_the_same_numbers() {
        let (one, same, other) = (
            SimEnv::new(7, Timestamp::default()),
            SimEnv::new(7, Timestamp::default()),
            SimEnv::new(8, Timestamp::default()),
        );
        let first = one.random_u128();
        assert_eq!(first, same.random_u128());
        assert_ne!(first, other.random_u128());
        assert_ne!(first, one.random_u128());
    }

    #[test]
    fn clocks_move_when_told() {
        let env = SimEnv::new(0, Timestamp::from_millis(1_000));
        env.advance(Duration::from_millis(20));
        assert_eq!(env.now(), Timestamp::from_millis(1_020));
        env.set_now(Timestamp::from_millis(5));
        assert_eq!(env.now(), Timestamp::from_millis(5));
    }

    #[test]
    fn split_mix_is_the_published_one() {
        let mut random = SplitMix::new(0);
        assert_eq!(random.next(), 0xe220_a839_7b1d_cdaf);
        assert_eq!(random.next(), 0x6e78_9e6a_a1b9_65f4);
    }
}
