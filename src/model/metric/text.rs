//! How are metrics written for other systems?
//!
//! Prometheus' text format: a distribution becomes a summary, and a gauge `<name>_max` beside it. StatsD's lines with
//! tags, as DogStatsD, Telegraf, Vector and others read them; all of them gauges, since totals are sent as totals:
//! who sends them twice must not count twice. Both are pure functions of the values.

use std::fmt::{Display, Write};

use super::{Distribution, Labels, MetricFamily, MetricKind, Metrics, names};

/// A percentile: how Prometheus names it, how StatsD's names end, and its value.
type Quantile = (&'static str, &'static str, fn(&Distribution) -> f64);

const QUANTILES: [Quantile; 3] = [
    ("0.5", "p50", |one| one.p50),
    ("0.95", "p95", |one| one.p95),
    ("0.99", "p99", |one| one.p99),
];

impl Metrics {
    /// In Prometheus' text format, version 0.0.4: for the answer to `GET /metrics`, as `text/plain; version=0.0.4`.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// db.create_collective("notes")?;
    /// let text = db.metrics()?.to_prometheus();
    /// assert!(text.contains("\npulsedb_collectives 1\n"));
    /// # db.close()
    /// # }
    /// ```
    #[must_use]
    pub fn to_prometheus(&self) -> String {
        let mut out = String::new();
        for family in names::FAMILIES {
            self.write_family(&mut out, family);
        }
        out
    }

    fn write_family(&self, out: &mut String, family: &MetricFamily) {
        let name = family.name;
        let mut lines = String::new();
        match family.kind {
            MetricKind::Counter => {
                for one in self.counters.iter().filter(|one| one.name == name) {
                    line(&mut lines, name, &one.labels, None, &one.value);
                }
                head(out, name, "counter", family.help, &lines);
            }
            MetricKind::Gauge => {
                for one in self.gauges.iter().filter(|one| one.name == name) {
                    line(&mut lines, name, &one.labels, None, &one.value);
                }
                head(out, name, "gauge", family.help, &lines);
            }
            MetricKind::Distribution => {
                let mut greatest = String::new();
                let max = format!("{name}_max");
                for one in self.distributions.iter().filter(|one| one.name == name) {
                    for (quantile, _, value) in QUANTILES {
                        let label = Some(("quantile", quantile));
                        line(&mut lines, name, &one.labels, label, &value(one));
                    }
                    line(
                        &mut lines,
                        &format!("{name}_sum"),
                        &one.labels,
                        None,
                        &one.sum,
                    );
                    let count = format!("{name}_count");
                    line(&mut lines, &count, &one.labels, None, &one.count);
                    line(&mut greatest, &max, &one.labels, None, &one.max);
                }
                head(out, name, "summary", family.help, &lines);
                let help = "The greatest value of the summary of that name, since the open.";
                head(out, &max, "gauge", help, &greatest);
            }
        }
    }

    /// As lines of StatsD with tags, a value each, every one of them a gauge: `pulsedb_rows:12|g`,
    /// `pulsedb_operation_seconds.p99:0.004|g|#operation:record`.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let lines = db.metrics()?.to_statsd();
    /// assert!(lines.lines().any(|line| line == "pulsedb_collectives:0|g"));
    /// # db.close()
    /// # }
    /// ```
    #[must_use]
    pub fn to_statsd(&self) -> String {
        let mut out = String::new();
        for one in &self.counters {
            datum(&mut out, &one.name, &one.labels, &one.value);
        }
        for one in &self.gauges {
            datum(&mut out, &one.name, &one.labels, &one.value);
        }
        for one in &self.distributions {
            let mut say = |what: &str, value: &dyn Display| {
                datum(
                    &mut out,
                    &format!("{}.{what}", one.name),
                    &one.labels,
                    value,
                );
            };
            say("count", &one.count);
            say("sum", &one.sum);
            for (_, suffix, value) in QUANTILES {
                say(suffix, &value(one));
            }
            say("max", &one.max);
        }
        out
    }
}

/// Writes the head of a family and its lines, if there are any.
fn head(out: &mut String, name: &str, kind: &str, help: &str, lines: &str) {
    if lines.is_empty() {
        return;
    }
    let help = help.replace('\\', "\\\\").replace('\n', "\\n");
    out.push_str(&format!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    out.push_str(lines);
}

fn line(
    out: &mut String,
    name: &str,
    labels: &Labels,
    more: Option<(&str, &str)>,
    value: &dyn Display,
) {
    out.push_str(name);
    let own = labels.iter().map(|(name, value)| (&**name, &**value));
    for (place, (name, value)) in own.chain(more).enumerate() {
        let value = value
            .replace('\\', "\\\\")
            .replace('"', "\\\"")
            .replace('\n', "\\n");
        let before = if place == 0 { '{' } else { ',' };
        out.push_str(&format!("{before}{name}=\"{value}\""));
    }
    if !labels.is_empty() || more.is_some() {
        out.push('}');
    }
    // A string takes everything.
    let _ = writeln!(out, " {value}");
}

fn datum(out: &mut String, name: &str, labels: &Labels, value: &dyn Display) {
    // A string takes everything.
    let _ = write!(out, "{name}:{value}|g");
    for (place, (name, value)) in labels.iter().enumerate() {
        let before = if place == 0 { "|#" } else { "," };
        let value = value.replace(['|', ',', ':', '#', '\n'], "_");
        out.push_str(&format!("{before}{name}:{value}"));
    }
    out.push('\n');
}

#[cfg(test)]
mod tests {
    use super::super::{CounterValue, GaugeValue};
    use super::*;

    fn metrics() -> Metrics {
        let labels = Labels::from([("kind".into(), "a\\b\"c\nd|e".into())]);
        let counter = CounterValue {
            name: names::ERRORS.into(),
            labels: labels.clone(),
            value: 3,
        };
        let gauge = GaugeValue {
            name: names::ROWS.into(),
            labels: Labels::new(),
            value: 12.0,
        };
        let distribution = Distribution {
            name: names::FSYNC_SECONDS.into(),
            labels: Labels::new(),
            count: 2,
            sum: 0.5,
            p50: 0.125,
            p95: 0.25,
            p99: 0.25,
            max: 0.375,
        };
        Metrics {
            counters: vec![counter],
            gauges: vec![gauge],
            distributions: vec![distribution],
            ..Metrics::default()
        }
    }

    #[test]
    fn labels_are_escaped_and_a_summary_is_whole() {
        let text = metrics().to_prometheus();
        assert!(text.contains("pulsedb_errors_total{kind=\"a\\\\b\\\"c\\nd|e\"} 3\n"));
        for line in [
            "# TYPE pulsedb_fsync_seconds summary",
            "pulsedb_fsync_seconds{quantile=\"0.95\"} 0.25",
            "pulsedb_fsync_seconds_sum 0.5",
            "pulsedb_fsync_seconds_count 2",
            "# TYPE pulsedb_fsync_seconds_max gauge",
            "pulsedb_fsync_seconds_max 0.375",
            "pulsedb_rows 12",
        ] {
            assert!(text.lines().any(|one| one == line), "{line}\n{text}");
        }
        assert!(!text.contains("pulsedb_commit_seconds"), "it has no value");
    }

    #[test]
    fn a_tag_cannot_end_its_line() {
        let text = metrics().to_statsd();
        let first = text.lines().next().unwrap();
        assert_eq!(first, "pulsedb_errors_total:3|g|#kind:a\\b\"c_d_e");
        assert!(text.contains("pulsedb_fsync_seconds.p50:0.125|g\n"));
    }

    #[test]
    fn a_value_is_found_by_exactly_its_labels() {
        let metrics = metrics();
        assert_eq!(metrics.gauge(names::ROWS, &[]), Some(12.0));
        assert_eq!(metrics.counter(names::ERRORS, &[]), None);
        let labels = [("kind", "a\\b\"c\nd|e")];
        assert_eq!(metrics.counter(names::ERRORS, &labels), Some(3));
        assert!(
            metrics
                .distribution(names::FSYNC_SECONDS, &labels)
                .is_none()
        );
    }
}
