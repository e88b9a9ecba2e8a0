//! What does a store measure of itself, and how is that told to others?
//!
//! Values of one moment: totals since the open, present sizes, and distributions. [`names`] is the table of all of
//! them; `docs/metrics.md` shows it, and a test compares the two. How they are written for other systems is in `text`.

use std::{borrow::Cow, collections::BTreeMap};

use serde::{Deserialize, Serialize};

use super::Timestamp;

pub(crate) mod names;
mod text;

/// Labels of a value: their names and what they say.
pub type Labels = BTreeMap<Cow<'static, str>, Cow<'static, str>>;

/// What a store has measured of itself since it was opened.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Metrics {
    /// When it was asked.
    pub at: Timestamp,
    /// What only grows.
    pub counters: Vec<CounterValue>,
    /// What is as large now.
    pub gauges: Vec<GaugeValue>,
    /// How long things took, and how large they were.
    pub distributions: Vec<Distribution>,
}

/// A total since the open.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CounterValue {
    /// Its name; see [`Metrics::families`].
    pub name: Cow<'static, str>,
    /// Which of them.
    pub labels: Labels,
    /// How many.
    pub value: u64,
}

/// A present size.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct GaugeValue {
    /// Its name; see [`Metrics::families`].
    pub name: Cow<'static, str>,
    /// Which of them.
    pub labels: Labels,
    /// How much.
    pub value: f64,
}

/// How values were distributed since the open. Times are in seconds.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Distribution {
    /// Its name; see [`Metrics::families`].
    pub name: Cow<'static, str>,
    /// Which of them.
    pub labels: Labels,
    /// How many values.
    pub count: u64,
    /// Their sum.
    pub sum: f64,
    /// Half of them are not above; as the other percentiles at most 3 % too high or too low.
    pub p50: f64,
    /// 95 % of them are not above.
    pub p95: f64,
    /// 99 % of them are not above.
    pub p99: f64,
    /// The greatest, exactly.
    pub max: f64,
}

/// What kind of values a metric has.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum MetricKind {
    /// A total that only grows.
    Counter,
    /// A size that goes up and down.
    Gauge,
    /// A count, a sum, percentiles and a greatest value.
    Distribution,
}

impl MetricKind {
    /// Its name, as in JSON.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Counter => "counter",
            Self::Gauge => "gauge",
            Self::Distribution => "distribution",
        }
    }
}

/// A metric: values of one name, told apart by labels.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct MetricFamily {
    /// Its name, with its unit at the end.
    pub name: &'static str,
    /// What its values are.
    pub kind: MetricKind,
    /// The names of its labels. There are only so many values of each: none comes from the application.
    pub labels: &'static [&'static str],
    /// What it tells.
    pub help: &'static str,
}

impl Metrics {
    /// All metrics that there are. Each appears once it has a value.
    #[must_use]
    pub const fn families() -> &'static [MetricFamily] {
        names::FAMILIES
    }

    /// A total, if it has a value.
    #[must_use]
    pub fn counter(&self, name: &str, labels: &[(&str, &str)]) -> Option<u64> {
        let mut all = self.counters.iter();
        let found = all.find(|one| one.name == name && has(&one.labels, labels));
        found.map(|one| one.value)
    }

    /// A present size, if it has a value.
    #[must_use]
    pub fn gauge(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        let mut all = self.gauges.iter();
        let found = all.find(|one| one.name == name && has(&one.labels, labels));
        found.map(|one| one.value)
    }

    /// A distribution, if it has values.
    #[must_use]
    pub fn distribution(&self, name: &str, labels: &[(&str, &str)]) -> Option<&Distribution> {
        let mut all = self.distributions.iter();
        all.find(|one| one.name == name && has(&one.labels, labels))
    }

    /// As JSON: what `serde` makes of it.
    ///
    /// ```
    /// let metrics = pulsedb::Metrics::default();
    /// assert!(metrics.to_json().starts_with('{'));
    /// ```
    #[must_use]
    pub fn to_json(&self) -> String {
        // Maps with names for keys and finite numbers: nothing that JSON could not hold.
        serde_json::to_string(self).unwrap_or_default()
    }
}

/// Whether the labels are exactly these.
fn has(labels: &Labels, wanted: &[(&str, &str)]) -> bool {
    let same = |(name, value): &(&str, &str)| labels.get(*name).is_some_and(|known| known == value);
    labels.len() == wanted.len() && wanted.iter().all(same)
}
