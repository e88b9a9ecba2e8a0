//! Is everything counted once, and are errors kept that say something?

use super::*;
use crate::{
    env::SimEnv,
    error::Result,
    model::{CollectiveId, EntityKind},
};

fn telemetry(config: TelemetryConfig) -> (Telemetry, SimEnv) {
    let env = SimEnv::new(1, Timestamp::from_millis(1_000));
    (Telemetry::new(Arc::new(env.clone()), config), env)
}

fn io() -> PulseDBError {
    PulseDBError::io("write", "/db")(std::io::ErrorKind::StorageFull.into())
}

#[test]
fn calls_are_counted_by_what_they_turn_out_to_be() {
    let (telemetry, env) = telemetry(TelemetryConfig::default());
    for millis in [1, 2, 3] {
        let call = telemetry.begin(Operation::SearchNothing.of(CollectiveId::from_u128(1)));
        env.advance(Duration::from_millis(millis));
        let told = Told {
            operation: Some(Operation::SearchGraph),
            ..Told::default()
        };
        call.end(Ok(()), told).unwrap();
    }
    drop(telemetry.begin(Operation::Record));
    let metrics = telemetry.metrics(env.now(), Vec::new());
    let labels = [("operation", "search"), ("plan", "graph")];
    let searches = metrics.distribution(names::OPERATION_SECONDS, &labels);
    let searches = searches.unwrap();
    assert_eq!((searches.count, searches.max), (3, 0.003));
    assert!((searches.sum - 0.006).abs() < 1e-9);
    assert!((searches.p50 / 0.002 - 1.0).abs() < 0.04, "{searches:?}");
    // The one that was given up is not there.
    assert_eq!(metrics.distributions.len(), 1);
}

#[test]
fn short_calls_are_all_counted_and_some_are_timed() {
    let (telemetry, env) = telemetry(TelemetryConfig::default());
    std::thread::scope(|scope| {
        scope.spawn(|| {
            for n in 0..99 {
                let outcome = telemetry.briefly(Operation::Get, || {
                    env.advance(Duration::from_millis(1));
                    Ok((n % 3 > 0).then_some(()))
                });
                assert_eq!(outcome.unwrap().is_some(), n % 3 > 0);
            }
        });
    });
    let metrics = telemetry.metrics(env.now(), Vec::new());
    let gets = metrics.distribution(names::OPERATION_SECONDS, &[("operation", "get")]);
    let gets = gets.unwrap();
    assert_eq!(gets.count, 66);
    assert!((gets.sum - 0.066).abs() < 1e-6, "{gets:?}");
    assert_eq!(telemetry.medium_read_ratio(), 0.0);
}

#[test]
fn errors_of_callers_are_counted_and_not_kept() {
    let (telemetry, env) = telemetry(TelemetryConfig::default());
    let fail = |error: PulseDBError| {
        let outcome: Result<()> = telemetry
            .begin(Operation::Update)
            .end(Err(error), Told::default());
        outcome.unwrap_err();
    };
    fail(PulseDBError::not_found(EntityKind::Experience, "secret"));
    fail(io());
    env.advance(Duration::from_millis(5));
    fail(io());
    let kept = telemetry.last_errors();
    assert_eq!(kept.len(), 1, "{kept:?}");
    assert_eq!((kept[0].times, kept[0].kind.as_str()), (2, "io"));
    assert_eq!(kept[0].at, Timestamp::from_millis(1_005));
    let metrics = telemetry.metrics(env.now(), Vec::new());
    assert_eq!(metrics.counter(names::ERRORS, &[("kind", "io")]), Some(2));
    let not_found = metrics.counter(names::ERRORS, &[("kind", "not_found")]);
    assert_eq!(not_found, Some(1));
    for number in 0..100 {
        fail(PulseDBError::Vector(format!("{number}")));
    }
    let kept = telemetry.last_errors();
    assert_eq!(kept.len(), KEPT_ERRORS);
    assert!(kept[KEPT_ERRORS - 1].message.ends_with("99"));
}

#[test]
fn background_work_fails_until_it_does_not() {
    let (telemetry, _) = telemetry(TelemetryConfig::default());
    let work = Operation::Checkpoint;
    telemetry.ended_in_background(work, Some(&io()));
    telemetry.ended_in_background(Operation::Compaction, None);
    telemetry.ended_in_background(work, Some(&PulseDBError::Closed));
    assert!(telemetry.failure_of(work).is_some());
    assert!(telemetry.failure_of(Operation::Compaction).is_none());
    telemetry.ended_in_background(work, None);
    assert!(telemetry.failure_of(work).is_none());
}

#[test]
fn switched_off_it_counts_nothing() {
    let (telemetry, env) = telemetry(TelemetryConfig {
        metrics: false,
        slow_operation: Duration::ZERO,
        show_queries: false,
    });
    telemetry
        .begin(Operation::Record)
        .end(Ok(()), Told::default())
        .unwrap();
    telemetry.briefly(Operation::Get, || Ok(Some(()))).unwrap();
    telemetry.count(Counter::WatchEvents, 1);
    assert_eq!(telemetry.clock(), None);
    let metrics = telemetry.metrics(env.now(), Vec::new());
    assert!(metrics.distributions.is_empty());
    assert!(metrics.counters.iter().all(|one| one.value == 0));
}

#[test]
fn each_counter_has_its_name() {
    assert_eq!(Counter::WatchGaps as usize + 1, Counter::NAMES.len());
    let (telemetry, env) = telemetry(TelemetryConfig::default());
    telemetry.count(Counter::WatchGaps, 4);
    let metrics = telemetry.metrics(env.now(), Vec::new());
    assert_eq!(metrics.counter(names::WATCH_GAPS, &[]), Some(4));
    let known = |name: &str| Metrics::families().iter().any(|one| one.name == name);
    assert!(Counter::NAMES.iter().all(|name| known(name)));
}

#[test]
fn the_page_about_metrics_has_all_operations() {
    let page = include_str!("../../docs/metrics.md");
    for one in Operation::ALL {
        let row = match one.plan() {
            "" => format!("| `{}` |  | ", one.name()),
            plan => format!("| `{}` | `{plan}` | ", one.name()),
        };
        assert!(page.contains(&row), "{row}");
    }
    for kind in PulseDBError::KINDS {
        assert!(page.contains(&format!("`{kind}`")), "{kind}");
    }
}
