//! Which choices are there about what the store tells of itself?

use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What is measured, and what is said in `tracing`'s spans and events.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct TelemetryConfig {
    /// Whether operations are counted and their time is taken, for `PulseDB::metrics` and for the recorder of
    /// the `metrics` facade, if the application has installed one. It costs two looks at a clock for each call,
    /// so there is little to gain by switching it off. Gauges are there in any case.
    pub metrics: bool,
    /// A call that takes at least so long is told of by a warning: its operation, time and collective. A second is
    /// ten times what the slowest usual call takes; calls that are long by nature (backup, verify, compaction and
    /// their like) are not told of. Zero never warns.
    pub slow_operation: Duration,
    /// Whether spans and warnings of searches show the text that was searched for. What is stored, and vectors,
    /// are shown in no case.
    pub show_queries: bool,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            metrics: true,
            slow_operation: Duration::from_secs(1),
            show_queries: false,
        }
    }
}
