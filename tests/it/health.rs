//! Does each thing that goes wrong turn the right check, with the right advice?
#![allow(
    clippy::disallowed_methods,
    reason = "what threads do beside a test is waited for, and not for ever"
)]

use std::time::{Duration, Instant};

use pulsedb::{
    CheckName, CollectiveId, Config, Health, HealthCheck, HealthStatus, HnswConfig, NewExperience,
    PulseDB, PulseDBError, sim::FaultKind,
};

use crate::support::{World, config, later, new, run};

async fn check(db: &PulseDB, name: CheckName) -> HealthCheck {
    let health = db.health_check().await.unwrap();
    health.check(name).unwrap().clone()
}

/// The names of the checks that are not healthy.
fn turned(health: &Health) -> Vec<CheckName> {
    let checks = health.checks.iter();
    let not_well = checks.filter(|check| check.status != HealthStatus::Healthy);
    not_well.map(|check| check.name).collect()
}

fn advice(check: &HealthCheck) -> &str {
    check.advice.as_deref().unwrap()
}

fn used_bytes(world: &World) -> u64 {
    let files = world.vfs.files().unwrap();
    files.iter().map(|(_, bytes)| bytes.len() as u64).sum()
}

/// Of some kilobytes, so that segments fill up.
fn large(team: CollectiveId, number: usize) -> NewExperience {
    new(team, format!("{number}: {}", "x".repeat(8_000)))
}

#[test]
fn a_full_disk_is_foretold_and_told() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let health = db.health_check().await.unwrap();
        assert_eq!(
            (health.status, turned(&health)),
            (HealthStatus::Healthy, vec![])
        );
        let used = used_bytes(&world);
        world.vfs.set_capacity(used + 7 * config().segment_bytes);
        assert_eq!(
            check(&db, CheckName::DiskSpace).await.status,
            HealthStatus::Degraded
        );
        world.vfs.set_capacity(used);
        let health = db.health_check().await.unwrap();
        assert_eq!(health.status, HealthStatus::Unhealthy);
        assert_eq!(turned(&health), [CheckName::DiskSpace], "writing goes on");
        let mut number = 0;
        let error = loop {
            match db.record_experience(large(team, number)).await {
                Ok(_) => number += 1,
                Err(error) => break error,
            }
        };
        assert!(matches!(error, PulseDBError::Io { .. }), "{error}");
        let health = db.health_check().await.unwrap();
        assert!(health.poisoned.is_some());
        assert_eq!(turned(&health), [CheckName::Writer, CheckName::DiskSpace]);
        for name in turned(&health) {
            let check = health.check(name).unwrap();
            assert_eq!(check.status, HealthStatus::Unhealthy);
            assert!(advice(check).contains("free space"), "{check:?}");
        }
        let diagnosis = db.diagnose().await.unwrap();
        assert_eq!(diagnosis.space.unwrap().free_bytes, 0);
        let last = diagnosis.last_errors.last().unwrap();
        assert_eq!(
            (last.operation.as_str(), last.kind.as_str()),
            ("record", "io")
        );
        db.close().await.unwrap_err();
    });
}

#[test]
fn a_disk_without_inodes_holds_up_graphs() {
    run(async {
        let world = World::with(Config {
            hnsw: HnswConfig {
                first_graph_rows: 20,
                tail_rows: 20,
                max_tail_bytes: 2_000,
                build_threads: 1,
                ..HnswConfig::default()
            },
            write_timeout: Duration::from_millis(10),
            ..config()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        db.record_experience(new(team, "first")).await.unwrap();
        world.vfs.set_inodes(1);
        assert_eq!(
            check(&db, CheckName::Inodes).await.status,
            HealthStatus::Unhealthy
        );
        assert!(check(&db, CheckName::VectorIndex).await.advice.is_none());
        let error = loop {
            if let Err(error) = db.record_experience(new(team, "more")).await {
                break error;
            }
        };
        assert!(
            matches!(error, PulseDBError::Backpressure { .. }),
            "{error}"
        );
        // The builder fails beside all that.
        let lagging = turns(&db, |check| check.message.contains("could not be built")).await;
        assert_eq!(lagging.status, HealthStatus::Unhealthy, "recordings wait");
        assert!(advice(&lagging).contains("free space"), "{lagging:?}");
        assert_eq!(
            check(&db, CheckName::Writer).await.status,
            HealthStatus::Healthy
        );
        world.vfs.set_inodes(0);
        db.rebuild_index(team).await.unwrap();
        let healed = turns(&db, |check| check.status == HealthStatus::Healthy).await;
        assert!(healed.advice.is_none());
        db.record_experience(new(team, "at last")).await.unwrap();
        db.close().await.unwrap();
    });
}

/// The check of the vector index, when it is so.
async fn turns(db: &PulseDB, is_so: impl Fn(&HealthCheck) -> bool) -> HealthCheck {
    let began = Instant::now();
    loop {
        let check = check(db, CheckName::VectorIndex).await;
        if is_so(&check) {
            return check;
        }
        assert!(began.elapsed() < Duration::from_secs(60), "{check:?}");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

#[test]
fn permission_denied_is_said_with_what_to_do() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        // A checkpoint fails, and is tried again: nothing is lost.
        world.vfs.fail_at(world.vfs.op_count(), FaultKind::Eacces);
        db.checkpoint().await.unwrap_err();
        let health = db.health_check().await.unwrap();
        assert_eq!(health.status, HealthStatus::Degraded);
        assert_eq!(turned(&health), [CheckName::Checkpoint]);
        let said = health.check(CheckName::Checkpoint).unwrap();
        assert!(
            advice(said).contains("let this process's user write"),
            "{said:?}"
        );
        db.checkpoint().await.unwrap();
        assert_eq!(turned(&db.health_check().await.unwrap()), []);
        // A commit fails, and that is the end of writing.
        world.vfs.fail_from(world.vfs.op_count(), FaultKind::Eacces);
        db.record_experience(new(team, "refused"))
            .await
            .unwrap_err();
        let writer = check(&db, CheckName::Writer).await;
        assert_eq!(writer.status, HealthStatus::Unhealthy);
        assert!(
            advice(&writer).contains("let this process's user write"),
            "{writer:?}"
        );
        let metrics = db.metrics().await.unwrap();
        let status = |name| metrics.gauge("pulsedb_health_status", &[("check", name)]);
        assert_eq!(
            (status("writer"), status("all"), status("clock")),
            (Some(2.0), Some(2.0), Some(0.0))
        );
        assert_eq!(
            metrics.counter("pulsedb_errors_total", &[("kind", "io")]),
            Some(2)
        );
        db.close().await.unwrap_err();
    });
}

#[test]
fn a_poisoned_writer_is_told_from_the_medium() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let id = db.record_experience(new(team, "kept")).await.unwrap();
        world.vfs.fail_from(world.vfs.op_count(), FaultKind::Eio);
        db.record_experience(new(team, "lost")).await.unwrap_err();
        for _ in 0..3 {
            db.record_experience(new(team, "lost")).await.unwrap_err();
        }
        let health = db.health_check().await.unwrap();
        assert_eq!(turned(&health), [CheckName::Writer]);
        let writer = health.check(CheckName::Writer).unwrap();
        assert_eq!(writer.status, HealthStatus::Unhealthy);
        assert!(advice(writer).contains("medium"), "{writer:?}");
        assert_eq!(db.get_experience(id).await.unwrap().content, "kept");
        // What stopped it is kept; what came of it is not.
        let errors = db.diagnose().await.unwrap().last_errors;
        assert_eq!(errors.len(), 1, "{errors:?}");
        db.close().await.unwrap_err();
    });
}

#[test]
fn a_damaged_segment_is_named() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for number in 0..3 {
            let text = format!("the {number}th experience");
            db.record_experience(new(team, text)).await.unwrap();
        }
        db.close().await.unwrap();
        let damaged = b"the 1th experience";
        let (path, at) = world
            .vfs
            .files()
            .unwrap()
            .into_iter()
            .find_map(|(path, bytes)| {
                let is_segment = path.extension().is_some_and(|end| end == "seg");
                let at = bytes
                    .windows(damaged.len())
                    .position(|part| part == damaged);
                is_segment.then_some(path).zip(at)
            })
            .unwrap();
        world.vfs.flip_bit(&path, at as u64, 0).unwrap();
        let db = world.open().await;
        // The record may be met only by a read.
        for _ in 0..2 {
            let page = pulsedb::Page::default();
            db.list_experiences(team, page).await.unwrap();
        }
        let health = db.health_check().await.unwrap();
        assert_eq!(turned(&health), [CheckName::Damage]);
        assert_eq!(health.status, HealthStatus::Degraded);
        let damage = health.check(CheckName::Damage).unwrap();
        let file = path.file_name().unwrap().to_str().unwrap();
        assert!(damage.message.contains(file), "{damage:?}");
        assert!(advice(damage).contains("verify"));
        let metrics = db.metrics().await.unwrap();
        assert_eq!(metrics.gauge("pulsedb_damaged_records", &[]), Some(1.0));
        db.close().await.unwrap();
    });
}

#[test]
fn a_clock_that_was_set_back_is_told() {
    run(async {
        let world = World::new();
        world.env.set_now(later(60_000));
        let db = world.open().await;
        db.create_collective("team").await.unwrap();
        world.env.set_now(later(56_000));
        assert_eq!(turned(&db.health_check().await.unwrap()), []);
        world.env.set_now(later(0));
        let health = db.health_check().await.unwrap();
        assert_eq!(turned(&health), [CheckName::Clock]);
        let clock = health.check(CheckName::Clock).unwrap();
        assert!(clock.message.contains("60000 ms"), "{clock:?}");
        db.close().await.unwrap();
    });
}

#[test]
fn a_reader_has_the_checks_of_a_reader() {
    run(async {
        let world = World::new();
        let writer = world.open().await;
        let reader = world.open_read_only().await;
        let names = |health: &Health| -> Vec<CheckName> {
            health.checks.iter().map(|check| check.name).collect()
        };
        let health = reader.health_check().await.unwrap();
        let of_reader = names(&health);
        assert!(
            of_reader.contains(&CheckName::Follow) && of_reader.contains(&CheckName::DiskSpace)
        );
        assert!(!of_reader.contains(&CheckName::Compaction));
        assert_eq!(health.status, HealthStatus::Healthy, "{health:?}");
        let of_writer = names(&writer.health_check().await.unwrap());
        assert!(of_writer.contains(&CheckName::Compaction));
        assert!(!of_writer.contains(&CheckName::Follow));
        let metrics = reader.metrics().await.unwrap();
        assert_eq!(
            metrics.gauge("pulsedb_follow_behind_seconds", &[]),
            Some(0.0)
        );
        reader.close().await.unwrap();
        writer.close().await.unwrap();
        assert!(matches!(
            writer.health_check().await,
            Err(PulseDBError::Closed)
        ));
        assert!(matches!(writer.metrics().await, Err(PulseDBError::Closed)));
    });
}
