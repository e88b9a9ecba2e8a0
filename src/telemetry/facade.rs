//! How does the application's own recorder hear of what is measured?
//!
//! Through the facade `metrics`, which nobody else names. Whatever recorder there is at the moment, that of the thread
//! or the global one, is told; where there is none that is a look at two places in memory. Databases that one process
//! has open add up there; each one's own values are in its `Metrics`.

use std::sync::LazyLock;

use metrics::{Key, KeyName, Label, Level, Metadata, SharedString, Unit, with_recorder};

use super::{Counter, operation::Operation};
use crate::model::{Labels, MetricKind, Metrics, names};

const METADATA: Metadata<'static> = Metadata::new("pulsedb", Level::INFO, Some("pulsedb"));

/// The key of each operation, by its number: made once, since recorders hash them.
static OPERATIONS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let key = |operation: &Operation| {
        let mut labels = vec![Label::from_static_parts("operation", operation.name())];
        if !operation.plan().is_empty() {
            labels.push(Label::from_static_parts("plan", operation.plan()));
        }
        Key::from_parts(names::OPERATION_SECONDS, labels)
    };
    Operation::ALL.iter().map(key).collect()
});

/// The same of each counter.
static COUNTERS: LazyLock<Vec<Key>> = LazyLock::new(|| {
    let names = Counter::NAMES.iter();
    names.map(|name| Key::from_static_name(name)).collect()
});

/// Says what the metrics mean. On the thread of who opens a database, where its own recorder may be.
pub(crate) fn describe() {
    with_recorder(|recorder| {
        for family in Metrics::families() {
            let name = KeyName::from_const_str(family.name);
            let unit = if family.name.ends_with("_seconds") {
                Some(Unit::Seconds)
            } else if family.name.contains("_bytes") {
                Some(Unit::Bytes)
            } else {
                None
            };
            let help = SharedString::const_str(family.help);
            match family.kind {
                MetricKind::Counter => recorder.describe_counter(name, unit, help),
                MetricKind::Gauge => recorder.describe_gauge(name, unit, help),
                MetricKind::Distribution => recorder.describe_histogram(name, unit, help),
            }
        }
    });
}

/// An operation took so long, as so many others may have.
pub(super) fn operation(operation: Operation, seconds: f64, times: usize) {
    with_recorder(|recorder| {
        if let Some(key) = OPERATIONS.get(operation.number()) {
            recorder
                .register_histogram(key, &METADATA)
                .record_many(seconds, times);
        }
    });
}

/// One more value of a distribution.
pub(super) fn value(name: &'static str, value: f64) {
    with_recorder(|recorder| {
        let key = Key::from_static_name(name);
        recorder.register_histogram(&key, &METADATA).record(value);
    });
}

/// So many more.
pub(super) fn count(counter: Counter, more: u64) {
    with_recorder(|recorder| {
        if let Some(key) = COUNTERS.get(counter as usize) {
            recorder.register_counter(key, &METADATA).increment(more);
        }
    });
}

/// One more error.
pub(super) fn error(kind: &'static str) {
    with_recorder(|recorder| {
        let labels = vec![Label::from_static_parts("kind", kind)];
        let key = Key::from_parts(names::ERRORS, labels);
        recorder.register_counter(&key, &METADATA).increment(1);
    });
}

/// A present size.
pub(super) fn gauge(name: &'static str, labels: &Labels, value: f64) {
    with_recorder(|recorder| {
        let labels: Vec<Label> = labels
            .iter()
            .map(|(name, value)| Label::new(name.clone(), value.clone()))
            .collect();
        let key = Key::from_parts(name, labels);
        recorder.register_gauge(&key, &METADATA).set(value);
    });
}
