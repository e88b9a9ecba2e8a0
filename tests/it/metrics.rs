//! Is everything measured that is done, and do others read what is told of it?

use std::{
    collections::{BTreeMap, BTreeSet},
    fmt,
    sync::{Arc, Mutex},
    time::Duration,
};

use metrics::{
    Counter, CounterFn, Gauge, GaugeFn, Histogram, HistogramFn, Key, KeyName, Metadata, Recorder,
    SharedString, Unit,
};
use pulsedb::{
    CollectiveId, Config, ContextRequest, EmbeddingDimension, ExperienceUpdate, Metrics,
    NewExperience, Page, PulseDBError, Query, SearchFilter, SearchOptions, TelemetryConfig,
    blocking::{PulseDB, WatchStream},
};
use tracing::{Subscriber, field::Visit, span};

const SECONDS: &str = "pulsedb_operation_seconds";
const SECRET: &str = "the word that opens it is zebra";

fn open(dir: &tempfile::TempDir, telemetry: TelemetryConfig) -> PulseDB {
    let config = Config {
        telemetry,
        ..Config::external(EmbeddingDimension::Custom(2))
    };
    PulseDB::open(dir.path(), config).unwrap()
}

fn one(team: CollectiveId, content: &str) -> NewExperience {
    NewExperience {
        embedding: Some(vec![0.6, 0.8]),
        ..NewExperience::new(team, "agent-1", content)
    }
}

/// One of each, and a watcher that hears of it.
fn work(db: &PulseDB) -> WatchStream {
    let team = db.create_collective("team").unwrap();
    let mut events = db.watch_experiences(team).unwrap();
    let id = db.record_experience(one(team, SECRET)).unwrap();
    let batch = (0..3)
        .map(|n| one(team, &format!("{n}: {SECRET}")))
        .collect();
    db.record_experiences(batch).unwrap();
    let update = ExperienceUpdate {
        importance: Some(0.9),
        ..ExperienceUpdate::default()
    };
    db.update_experience(id, update).unwrap();
    db.reinforce_experience(id).unwrap();
    db.archive_experience(id).unwrap();
    db.unarchive_experience(id).unwrap();
    for _ in 0..5 {
        db.get_experience(id).unwrap();
    }
    db.get_experiences(&[id]).unwrap();
    db.list_experiences(team, Page::default()).unwrap();
    db.search_similar(team, &[0.6, 0.8], 2).unwrap();
    let filter = SearchFilter {
        min_importance: Some(0.8),
        ..SearchFilter::default()
    };
    db.search_similar_filtered(team, &[0.6, 0.8], 2, filter)
        .unwrap();
    db.search(team, SECRET, SearchOptions::default()).unwrap();
    let both = Query::plain(SECRET).with_vector([0.6, 0.8]);
    db.search(team, both, SearchOptions::default()).unwrap();
    let request = ContextRequest::about_vector(team, vec![0.6, 0.8]);
    db.get_context_candidates(request).unwrap();
    db.checkpoint().unwrap();
    db.verify().unwrap();
    let other = db.record_experience(one(team, SECRET)).unwrap();
    db.delete_experience(other).unwrap();
    db.get_experience(other).unwrap_err();
    for _ in 0..10 {
        events.recv().unwrap().unwrap();
    }
    events
}

fn count(metrics: &Metrics, operation: &str, plan: &str) -> u64 {
    let mut labels = vec![("operation", operation)];
    if !plan.is_empty() {
        labels.push(("plan", plan));
    }
    metrics
        .distribution(SECONDS, &labels)
        .map_or(0, |one| one.count)
}

#[test]
fn everything_is_counted_once() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, TelemetryConfig::default());
    let events = work(&db);
    let metrics = db.metrics().unwrap();
    for (operation, plan, expected) in [
        ("collective_change", "", 1),
        ("record", "", 2),
        ("record_batch", "", 1),
        ("update", "", 1),
        ("reinforce", "", 1),
        ("archive", "", 2),
        ("delete", "", 1),
        ("get", "", 6),
        ("get_from_medium", "", 0),
        ("get_many", "", 1),
        ("list", "", 1),
        ("search", "exact", 1),
        ("search", "filtered", 1),
        ("search", "words", 1),
        ("search", "hybrid", 1),
        ("context", "", 1),
        ("checkpoint", "", 1),
        ("verify", "", 1),
    ] {
        assert_eq!(
            count(&metrics, operation, plan),
            expected,
            "{operation} {plan}"
        );
    }
    // Create, 2 records, the batch, update, reinforce, archive, unarchive, delete.
    let counter = |name| metrics.counter(name, &[]).unwrap();
    assert_eq!(counter("pulsedb_committed_requests_total"), 9);
    assert!(counter("pulsedb_log_appended_records_total") >= 11);
    assert!(counter("pulsedb_log_appended_bytes_total") > 1_000);
    assert_eq!(counter("pulsedb_watch_events_total"), 10);
    let not_found = metrics.counter("pulsedb_errors_total", &[("kind", "not_found")]);
    assert_eq!(not_found, Some(1));
    for name in ["pulsedb_commit_seconds", "pulsedb_fsync_seconds"] {
        let told = metrics.distribution(name, &[]).unwrap();
        assert!(
            told.count >= 9 && told.p50 <= told.p95 && told.p99 <= told.max,
            "{told:?}"
        );
        assert!(told.p50 > 0.0 && told.sum < 60.0, "{told:?}");
    }
    let gauge = |name| metrics.gauge(name, &[]).unwrap();
    assert_eq!(gauge("pulsedb_collectives"), 1.0);
    assert_eq!(gauge("pulsedb_rows"), 5.0);
    assert_eq!(gauge("pulsedb_watch_subscriptions"), 1.0);
    assert_eq!(
        metrics.gauge("pulsedb_health_status", &[("check", "writer")]),
        Some(0.0)
    );
    drop(events);
    let diagnosis = db.diagnose().unwrap();
    assert_eq!(diagnosis.medium_read_ratio, 0.0);
    assert!(
        diagnosis.last_errors.is_empty(),
        "{:?}",
        diagnosis.last_errors
    );
    assert!(diagnosis.gone_ratio > 0.19 && diagnosis.gone_ratio < 0.21);
    let checkpoint = diagnosis.checkpoint.unwrap();
    assert!(checkpoint.lsn.is_some() && checkpoint.behind_bytes > 0);
    assert!(diagnosis.space.unwrap().total_bytes > 0);
    db.close().unwrap();
}

#[test]
fn switched_off_nothing_is_counted_and_sizes_are_told() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(
        &dir,
        TelemetryConfig {
            metrics: false,
            ..TelemetryConfig::default()
        },
    );
    drop(work(&db));
    let metrics = db.metrics().unwrap();
    assert!(metrics.distributions.is_empty());
    assert!(metrics.counters.iter().all(|one| one.value == 0));
    assert_eq!(metrics.gauge("pulsedb_rows", &[]), Some(5.0));
    db.close().unwrap();
}

/// Name of a metric, its labels, its value.
type Line = (String, BTreeMap<String, String>, f64);

fn is_name(name: &str) -> bool {
    let rest = |c: char| c.is_ascii_alphanumeric() || c == '_' || c == ':';
    name.starts_with(|c: char| c.is_ascii_alphabetic() || c == '_') && name.chars().all(rest)
}

/// Prometheus' text format, strictly; the kinds by name, and the values.
fn parsed(text: &str) -> (BTreeMap<String, String>, Vec<Line>) {
    let (mut kinds, mut helps, mut lines) = (BTreeMap::new(), BTreeSet::new(), Vec::new());
    assert!(text.ends_with('\n'));
    for line in text.lines() {
        if let Some(help) = line.strip_prefix("# HELP ") {
            let (name, text) = help.split_once(' ').unwrap();
            assert!(is_name(name) && !text.is_empty());
            assert!(helps.insert(name.to_owned()), "{name} has two helps");
            continue;
        }
        if let Some(kind) = line.strip_prefix("# TYPE ") {
            let (name, kind) = kind.split_once(' ').unwrap();
            assert!(helps.contains(name), "{name} has no help");
            assert!(["counter", "gauge", "summary"].contains(&kind));
            assert!(kinds.insert(name.to_owned(), kind.to_owned()).is_none());
            continue;
        }
        let end = line.find(['{', ' ']).unwrap();
        let name = line[..end].to_owned();
        assert!(is_name(&name), "{line}");
        let (labels, rest) = match line[end..].strip_prefix('{') {
            Some(inside) => labels(inside),
            None => (BTreeMap::new(), &line[end..]),
        };
        let value: f64 = rest.strip_prefix(' ').unwrap().parse().unwrap();
        assert!(value.is_finite());
        let family = ["_sum", "_count"]
            .iter()
            .filter_map(|end| name.strip_suffix(end))
            .find(|family| kinds.contains_key(*family))
            .unwrap_or(&name);
        assert!(kinds.contains_key(family), "{name} has no type before it");
        lines.push((name, labels, value));
    }
    (kinds, lines)
}

/// Labels up to the brace that closes them, and what is behind it.
fn labels(mut rest: &str) -> (BTreeMap<String, String>, &str) {
    let mut labels = BTreeMap::new();
    loop {
        let (name, value) = rest.split_once("=\"").unwrap();
        let mut told = String::new();
        let mut chars = value.char_indices();
        let end = loop {
            match chars.next().unwrap() {
                (end, '"') => break end,
                (_, '\\') => told.push(match chars.next().unwrap().1 {
                    'n' => '\n',
                    other => other,
                }),
                (_, other) => told.push(other),
            }
        };
        assert!(labels.insert(name.to_owned(), told).is_none());
        rest = &value[end + 1..];
        match rest.chars().next().unwrap() {
            '}' => return (labels, &rest[1..]),
            ',' => rest = &rest[1..],
            other => panic!("{other} behind a label"),
        }
    }
}

#[test]
fn other_systems_read_it() {
    let dir = tempfile::tempdir().unwrap();
    let db = open(&dir, TelemetryConfig::default());
    drop(work(&db));
    let metrics = db.metrics().unwrap();
    db.close().unwrap();

    let (kinds, lines) = parsed(&metrics.to_prometheus());
    assert_eq!(kinds[SECONDS], "summary");
    assert_eq!(kinds["pulsedb_errors_total"], "counter");
    let value = |name: &str, labels: &[(&str, &str)]| {
        let is = |(known, own, _): &&Line| {
            let has = |(name, value): &(&str, &str)| own.get(*name).is_some_and(|v| v == value);
            known == name && own.len() == labels.len() && labels.iter().all(has)
        };
        let mut found = lines.iter().filter(is);
        let line = found
            .next()
            .unwrap_or_else(|| panic!("no {name} {labels:?}"));
        assert!(found.next().is_none(), "{name} {labels:?} twice");
        line.2
    };
    assert_eq!(value("pulsedb_rows", &[]), 5.0);
    assert_eq!(
        value(&format!("{SECONDS}_count"), &[("operation", "record")]),
        2.0
    );
    let words = [("operation", "search"), ("plan", "words")];
    assert_eq!(value(&format!("{SECONDS}_count"), &words), 1.0);
    let p99 = [("operation", "record"), ("quantile", "0.99")];
    let max = value(&format!("{SECONDS}_max"), &[("operation", "record")]);
    assert!(value(SECONDS, &p99) <= max);
    let names: BTreeSet<&str> = lines.iter().map(|line| line.0.as_str()).collect();
    for family in Metrics::families() {
        let there = metrics.gauges.iter().any(|one| one.name == family.name)
            || metrics.counters.iter().any(|one| one.name == family.name)
            || metrics
                .distributions
                .iter()
                .any(|one| one.name == family.name);
        assert_eq!(names.contains(family.name), there, "{}", family.name);
    }

    let back: Metrics = serde_json::from_str(&metrics.to_json()).unwrap();
    assert_eq!(back, metrics);

    let statsd = metrics.to_statsd();
    let mut seen = BTreeSet::new();
    for line in statsd.lines() {
        let mut parts = line.split('|');
        let (name, value) = parts.next().unwrap().split_once(':').unwrap();
        assert!(name.split('.').all(is_name), "{line}");
        value.parse::<f64>().unwrap();
        assert_eq!(parts.next(), Some("g"), "{line}");
        if let Some(tags) = parts.next() {
            let tags = tags.strip_prefix('#').unwrap().split(',');
            assert!(
                tags.clone().all(|tag| tag.split(':').count() == 2),
                "{line}"
            );
        }
        assert_eq!(parts.next(), None);
        let (what, _) = line.split_once(':').unwrap();
        let tags = line.split_once('#').map_or("", |(_, tags)| tags);
        assert!(seen.insert((what, tags)), "{line} twice");
    }
    assert!(seen.contains(&("pulsedb_operation_seconds.p95", "operation:get")));
}

#[test]
fn the_page_about_metrics_has_them_all() {
    let page = include_str!("../../docs/metrics.md");
    for family in Metrics::families() {
        let labels: Vec<String> = family.labels.iter().map(|one| format!("`{one}`")).collect();
        let row = format!(
            "| `{}` | {} | {} | {} |",
            family.name,
            family.kind.as_str(),
            labels.join(", "),
            family.help
        );
        assert!(page.contains(&row), "{row}");
    }
    let rows = page.lines().filter(|line| line.starts_with("| `pulsedb_"));
    assert_eq!(
        rows.count(),
        Metrics::families().len(),
        "one that there is not"
    );
    for check in pulsedb::CheckName::ALL {
        assert!(page.contains(&format!("| `{check}` |")), "{check}");
    }
    for kind in ["validation", "backpressure", PulseDBError::Closed.kind()] {
        assert!(page.contains(&format!("`{kind}`")));
    }
}

/// What a recorder has heard: sums of counters and counts of values, by name and labels.
#[derive(Clone, Default)]
struct Heard(Arc<Mutex<BTreeMap<String, f64>>>);

struct Cell(Heard, String);

impl Cell {
    fn add(&self, more: f64) {
        *self.0.0.lock().unwrap().entry(self.1.clone()).or_default() += more;
    }
}

impl CounterFn for Cell {
    fn increment(&self, value: u64) {
        self.add(value as f64);
    }

    fn absolute(&self, _: u64) {
        panic!("counters are told what is more");
    }
}

impl GaugeFn for Cell {
    fn increment(&self, value: f64) {
        self.add(value);
    }

    fn decrement(&self, value: f64) {
        self.add(-value);
    }

    fn set(&self, value: f64) {
        self.0.0.lock().unwrap().insert(self.1.clone(), value);
    }
}

impl HistogramFn for Cell {
    fn record(&self, value: f64) {
        assert!((0.0..3600.0).contains(&value));
        self.add(1.0);
    }
}

impl Heard {
    fn cell(&self, key: &Key) -> Arc<Cell> {
        let labels: Vec<String> = key
            .labels()
            .map(|label| format!("{}={}", label.key(), label.value()))
            .collect();
        let name = format!("{}{{{}}}", key.name(), labels.join(","));
        Arc::new(Cell(self.clone(), name))
    }

    fn described(&self, name: &KeyName) {
        let name = format!("described {}", name.as_str());
        self.0.lock().unwrap().insert(name, 1.0);
    }
}

impl Recorder for Heard {
    fn describe_counter(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described(&name);
    }

    fn describe_gauge(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described(&name);
    }

    fn describe_histogram(&self, name: KeyName, _: Option<Unit>, _: SharedString) {
        self.described(&name);
    }

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        Counter::from_arc(self.cell(key))
    }

    fn register_gauge(&self, key: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::from_arc(self.cell(key))
    }

    fn register_histogram(&self, key: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::from_arc(self.cell(key))
    }
}

#[test]
fn the_applications_recorder_hears_the_same() {
    let heard = Heard::default();
    let dir = tempfile::tempdir().unwrap();
    let metrics = metrics::with_local_recorder(&heard, || {
        let db = open(&dir, TelemetryConfig::default());
        drop(work(&db));
        let metrics = db.metrics().unwrap();
        db.close().unwrap();
        metrics
    });
    let heard = heard.0.lock().unwrap();
    for (name, expected) in [
        ("pulsedb_operation_seconds{operation=record}", 2.0),
        (
            "pulsedb_operation_seconds{operation=search,plan=words}",
            1.0,
        ),
        ("pulsedb_operation_seconds{operation=context}", 1.0),
        ("pulsedb_errors_total{kind=not_found}", 1.0),
        ("pulsedb_rows{}", 5.0),
        ("pulsedb_health_status{check=writer}", 0.0),
        ("pulsedb_watch_events_total{}", 10.0),
    ] {
        assert_eq!(heard.get(name), Some(&expected), "{name}: {heard:#?}");
    }
    for family in Metrics::families() {
        assert!(heard.contains_key(&format!("described {}", family.name)));
    }
    // Commits of other threads than this one are not heard here, so that there may be fewer.
    assert!(
        heard
            .keys()
            .any(|name| name.starts_with("pulsedb_commit_seconds"))
    );
    let told: BTreeSet<_> = metrics
        .gauges
        .iter()
        .map(|one| one.name.to_string())
        .collect();
    for name in told {
        assert!(heard.keys().any(|known| known.starts_with(&name)), "{name}");
    }
}

/// Everything that is said while it listens, a line each.
#[derive(Clone, Default)]
struct Listener(Arc<Mutex<Vec<String>>>);

struct Fields<'a>(&'a mut String);

impl Visit for Fields<'_> {
    fn record_debug(&mut self, field: &tracing::field::Field, value: &dyn fmt::Debug) {
        self.0.push_str(&format!(" {}={value:?}", field.name()));
    }
}

impl Listener {
    fn say(&self, mut line: String, fields: impl FnOnce(&mut Fields<'_>)) {
        fields(&mut Fields(&mut line));
        self.0.lock().unwrap().push(line);
    }

    fn lines(&self) -> Vec<String> {
        self.0.lock().unwrap().clone()
    }
}

impl Subscriber for Listener {
    fn enabled(&self, metadata: &tracing::Metadata<'_>) -> bool {
        metadata.target().starts_with("pulsedb")
    }

    fn new_span(&self, attributes: &span::Attributes<'_>) -> span::Id {
        let metadata = attributes.metadata();
        let line = format!("span {} {}", metadata.target(), metadata.name());
        self.say(line, |fields| attributes.record(fields));
        span::Id::from_u64(1)
    }

    fn record(&self, _: &span::Id, values: &span::Record<'_>) {
        self.say("record".to_owned(), |fields| values.record(fields));
    }

    fn record_follows_from(&self, _: &span::Id, _: &span::Id) {}

    fn event(&self, event: &tracing::Event<'_>) {
        let metadata = event.metadata();
        let line = format!("{} {}", metadata.level(), metadata.target());
        self.say(line, |fields| event.record(fields));
    }

    fn enter(&self, _: &span::Id) {}

    fn exit(&self, _: &span::Id) {}
}

/// What is said while everything is done once.
fn said(telemetry: TelemetryConfig) -> Vec<String> {
    let listener = Listener::default();
    let tell = || {
        let dir = tempfile::tempdir().unwrap();
        let db = open(&dir, telemetry);
        drop(work(&db));
        db.close().unwrap();
    };
    tracing::subscriber::with_default(listener.clone(), || {
        // A place that speaks for the first time on another test's thread, where nobody listens, may take it that
        // nobody does anywhere: so all have spoken once, and are asked again.
        tell();
        tracing::callsite::rebuild_interest_cache();
        listener.0.lock().unwrap().clear();
        tell();
    });
    listener.lines()
}

#[test]
fn spans_and_events_tell_everything_but_what_is_stored() {
    let lines = said(TelemetryConfig {
        slow_operation: Duration::from_nanos(1),
        ..TelemetryConfig::default()
    });
    let is_there = |parts: &[&str]| {
        let found = lines
            .iter()
            .any(|line| parts.iter().all(|part| line.contains(part)));
        assert!(found, "{parts:?} is not in {lines:#?}");
    };
    for operation in [
        "record",
        "record_batch",
        "get",
        "list",
        "search",
        "context",
        "verify",
    ] {
        is_there(&[
            "span pulsedb::operation",
            &format!("operation=\"{operation}\""),
        ]);
    }
    is_there(&["DEBUG pulsedb::operation", "elapsed_us=", "outcome=\"ok\""]);
    is_there(&["DEBUG pulsedb::operation", "outcome=\"not_found\""]);
    is_there(&["record", "plan=\"exact\""]);
    is_there(&["record", "rows=2"]);
    is_there(&[
        "DEBUG pulsedb::commit",
        "lsn=",
        "requests=1",
        "records=",
        "bytes=",
    ]);
    is_there(&[
        "WARN pulsedb::slow",
        "operation=\"search\"",
        "plan=\"words\"",
        "collective=",
        "elapsed_ms=",
    ]);
    let slow = |line: &&String| line.contains("pulsedb::slow");
    let long = |line: &String| line.contains("\"verify\"") || line.contains("\"checkpoint\"");
    assert!(
        !lines.iter().filter(slow).any(long),
        "they are long by nature"
    );
    for line in &lines {
        assert!(!line.contains("zebra") && !line.contains("0.6"), "{line}");
    }
}

#[test]
fn queries_are_shown_where_that_is_asked_for() {
    let lines = said(TelemetryConfig {
        slow_operation: Duration::from_nanos(1),
        show_queries: true,
        ..TelemetryConfig::default()
    });
    let shown: Vec<&String> = lines.iter().filter(|line| line.contains("zebra")).collect();
    assert!(
        shown.iter().any(|line| line.contains("pulsedb::slow")),
        "{lines:#?}"
    );
    for line in shown {
        let is_query = line.starts_with("record query=") || line.contains("pulsedb::slow");
        assert!(is_query && line.contains("query="), "{line}");
    }
}

#[test]
fn what_is_quick_is_not_told_as_slow() {
    for slow_operation in [Duration::ZERO, Duration::from_secs(3600)] {
        let lines = said(TelemetryConfig {
            slow_operation,
            ..TelemetryConfig::default()
        });
        assert!(!lines.iter().any(|line| line.contains("pulsedb::slow")));
    }
}
