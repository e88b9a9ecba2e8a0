//! How warm is an experience now?

use super::{DecayConfig, Timestamp};

impl DecayConfig {
    /// `clamp01(importance · (1 + κ·ln(1 + applications)) · exp(−ln 2 · age / half_life))`, where
    /// age is the time since the last reinforcement (never negative).
    #[must_use]
    pub fn energy(
        &self,
        importance: f32,
        applications: u32,
        last_reinforced: Timestamp,
        now: Timestamp,
    ) -> f32 {
        let age_ms = now
            .as_millis()
            .saturating_sub(last_reinforced.as_millis())
            .max(0) as f64;
        let use_factor = 1.0 + f64::from(self.freq_weight) * f64::from(applications).ln_1p();
        let decay = (-std::f64::consts::LN_2 * age_ms / self.half_life_ms.max(1) as f64).exp();
        (f64::from(importance) * use_factor * decay).clamp(0.0, 1.0) as f32
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn halves_after_a_half_life_and_grows_with_use() {
        let decay = DecayConfig {
            half_life_ms: 1000,
            ..DecayConfig::default()
        };
        let at = Timestamp::from_millis;
        assert_eq!(decay.energy(0.8, 0, at(0), at(0)), 0.8);
        assert!((decay.energy(0.8, 0, at(0), at(1000)) - 0.4).abs() < 1e-6);
        assert!(decay.energy(0.4, 3, at(0), at(0)) > 0.4);
        assert_eq!(decay.energy(1.0, u32::MAX, at(5), at(0)), 1.0);
    }
}
