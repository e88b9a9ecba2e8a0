//! Which choices are there about work beside the commits?

use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::MIB;
use crate::error::{PulseDBError, Result};

/// What upkeep may take from commits and searches, and when it archives. It covers checkpoints, compaction, graphs, the
/// indexes of words, expiry and archiving; what a call asks for, and graphs without which recordings would soon have to
/// wait, is not slowed down.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct UpkeepConfig {
    /// Bytes that all of it together writes per second while something is committed, at least 64 KiB; in quiet there is no
    /// limit. 256 MiB leave a slow disk its commits; compaction has a limit of its own besides.
    pub bytes_per_second: u64,
    /// Share of its time, in percent, that each of its threads works while something is committed; it rests for the
    /// others. At 100 they rest only where others want their core: they run at a low priority.
    pub cpu_percent: u8,
    /// How often experiences that have cooled down are archived, in collectives whose
    /// [`DecayConfig::auto_archive_below_floor`](crate::DecayConfig::auto_archive_below_floor) is on. Zero leaves it to
    /// [`PulseDB::archive_cold`](crate::PulseDB::archive_cold). The first time is a minute after the open. Energies fade over days, so an hour is soon enough; a look
    /// passes over every row, some 20 ms per million.
    pub archive_interval: Duration,
}

impl Default for UpkeepConfig {
    fn default() -> Self {
        Self {
            bytes_per_second: 256 * MIB,
            cpu_percent: 100,
            archive_interval: Duration::from_secs(60 * 60),
        }
    }
}

impl UpkeepConfig {
    pub(super) fn check(&self) -> Result<()> {
        let outside = |field, value: u64, range: &str| {
            let what = format!("{value} is outside {range}");
            Err(PulseDBError::config(field, what))
        };
        if self.bytes_per_second < 1 << 16 {
            let field = "upkeep.bytes_per_second";
            return outside(field, self.bytes_per_second, "65536..=18446744073709551615");
        }
        if !(1..=100).contains(&self.cpu_percent) {
            return outside("upkeep.cpu_percent", self.cpu_percent.into(), "1..=100");
        }
        if !self.archive_interval.is_zero() && self.archive_interval < Duration::from_millis(1) {
            let what = "it is neither 0 nor at least a millisecond";
            return Err(PulseDBError::config("upkeep.archive_interval", what));
        }
        Ok(())
    }
}
