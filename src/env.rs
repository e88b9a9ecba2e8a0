//! What time is it, and where does chance come from?
//!
//! The only module that reads clocks or entropy, so that a test that fixes both repeats exactly.
//! Any module may hold an `Arc<dyn Env>`; the cores (`protocol/`, `state/`) get moments as values.
#![allow(
    unreachable_pub,
    reason = "reachable from outside only with the feature `sim`"
)]
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "the one module that reads clocks and entropy"
)]

use std::{
    fmt::Debug,
    hash::{BuildHasher, RandomState},
    process,
    sync::OnceLock,
    time::{Duration, Instant, SystemTime, UNIX_EPOCH},
};

use crate::model::Timestamp;

#[cfg(any(test, feature = "sim"))]
mod sim;
#[cfg(any(test, feature = "sim"))]
pub use sim::SimEnv;
#[cfg(any(test, feature = "sim"))]
pub(crate) use sim::SplitMix;

/// Clock, entropy and process number.
pub trait Env: Send + Sync + Debug {
    /// Wall-clock time; may jump either way.
    fn now(&self) -> Timestamp;

    /// Time since some moment in the past; never goes back. For durations that are reported.
    fn monotonic(&self) -> Duration;

    /// 64 random bits.
    fn random_u64(&self) -> u64;

    /// 128 random bits.
    fn random_u128(&self) -> u128 {
        u128::from(self.random_u64()) << 64 | u128::from(self.random_u64())
    }

    /// This process.
    fn pid(&self) -> u32;
}

/// The operating system's clocks and entropy.
#[derive(Clone, Copy, Debug, Default)]
pub struct OsEnv;

impl Env for OsEnv {
    fn now(&self) -> Timestamp {
        let millis = match SystemTime::now().duration_since(UNIX_EPOCH) {
            Ok(since) => i64::try_from(since.as_millis()).unwrap_or(i64::MAX),
            Err(before) => {
                i64::try_from(before.duration().as_millis()).map_or(i64::MIN, |millis| -millis)
            }
        };
        Timestamp::from_millis(millis)
    }

    fn monotonic(&self) -> Duration {
        static START: OnceLock<Instant> = OnceLock::new();
        START.get_or_init(Instant::now).elapsed()
    }

    fn random_u64(&self) -> u64 {
        // Needed are values that do not repeat (ids, seeds), not secrets. Where the system's source
        // fails, hashing the moment under std's random keys still gives them.
        getrandom::u64()
            .unwrap_or_else(|_| RandomState::new().hash_one((SystemTime::now(), process::id())))
    }

    fn pid(&self) -> u32 {
        process::id()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_system_has_a_clock_and_entropy() {
        let env = OsEnv;
        // 2020-01-01: a clock behind that would be a unit mistake.
        assert!(env.now().as_millis() > 1_577_836_800_000);
        assert_ne!(env.random_u64(), env.random_u64());
        assert_ne!(
            env.random_u128() >> 64,
            env.random_u128() & u128::from(u64::MAX)
        );
        assert_eq!(env.pid(), process::id());
    }
}
