//! Which id does a new entity get?
//!
//! UUIDv7 (RFC 9562 §5.7), made by the committer alone and strictly increasing: within a
//! millisecond the next id is the last one plus a random step, so that ids sort in commit order
//! and cannot be guessed from their neighbours.

use crate::{env::Env, model::Timestamp};

const RANDOM_BITS: u32 = 62;
const VERSION: u128 = 0x7 << 76;
const VARIANT: u128 = 0x2 << RANDOM_BITS;
/// Largest random step within a millisecond: 2⁶² / 2⁴⁰ leaves room for four million ids each.
const STEP_MASK: u64 = (1 << 40) - 1;

/// Makes ids.
pub struct IdSource {
    millis: u64,
    /// The 74 random bits below the time, as `rand_a` (12) and `rand_b` (62).
    random: u128,
    /// State of the step generator (splitmix64), renewed from the system every millisecond.
    step: u64,
}

impl IdSource {
    /// A source whose ids are larger than `last`.
    pub fn new(last: u128) -> Self {
        Self {
            millis: (last >> 80) as u64,
            random: (((last >> 64) & 0xFFF) << RANDOM_BITS) | (last & ((1 << RANDOM_BITS) - 1)),
            step: 0,
        }
    }

    /// The next id, at `time`.
    pub fn next(&mut self, time: Timestamp, env: &dyn Env) -> u128 {
        let millis = time.as_millis().clamp(0, (1 << 48) - 1) as u64;
        if millis > self.millis {
            self.millis = millis;
            // The top bit stays free, so that steps within the millisecond do not overflow.
            self.step = env.random_u64();
            let wide = (u128::from(env.random_u64()) << 64) | u128::from(self.step);
            self.random = wide & ((1 << 73) - 1);
        } else {
            self.random += u128::from(self.next_step() & STEP_MASK) + 1;
            if self.random >> 74 != 0 {
                self.millis += 1;
                self.random &= (1 << 73) - 1;
            }
        }
        let high = self.random >> RANDOM_BITS;
        let low = self.random & ((1 << RANDOM_BITS) - 1);
        (u128::from(self.millis) << 80) | VERSION | (high << 64) | VARIANT | low
    }

    fn next_step(&mut self) -> u64 {
        self.step = self.step.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mixed = (self.step ^ (self.step >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        mixed ^ (mixed >> 31)
    }
}
