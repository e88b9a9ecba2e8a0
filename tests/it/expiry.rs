//! Does what has expired go, for good, and nothing else?
#![allow(
    clippy::disallowed_methods,
    reason = "these tests start tasks and wait for upkeep"
)]

use std::{collections::BTreeSet, thread, time::Duration};

use pulsedb::{
    CollectiveId, CompactionConfig, Config, EventType, ExperienceId, ExperienceUpdate,
    NewExperience, PulseDB, PulseDBError, RetentionConfig, blocking,
    sim::{FaultKind, Survival},
};

use super::support::{World, config, contents, dump, everything, later, new, run};

/// One that expires so many milliseconds after the clock's start.
fn brief(team: CollectiveId, content: &str, ms: i64) -> NewExperience {
    NewExperience {
        expires_at: Some(later(ms)),
        ..new(team, content)
    }
}

fn by_call() -> Config {
    Config {
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..config()
    }
}

fn holds(world: &World, needle: &str) -> bool {
    let files = world.vfs.files().unwrap();
    let mut bytes = files.iter().map(|(_, bytes)| bytes);
    bytes.any(|bytes| {
        bytes
            .windows(needle.len())
            .any(|part| part == needle.as_bytes())
    })
}

/// Waits until no file holds it any more: what compaction has replaced goes with its last reader.
fn assert_gone(world: &World, needle: &str) {
    for _ in 0..1_000 {
        if !holds(world, needle) {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{needle} is in a file");
}

fn pin(pinned: bool) -> ExperienceUpdate {
    ExperienceUpdate {
        pinned: Some(pinned),
        ..ExperienceUpdate::default()
    }
}

#[test]
fn what_has_expired_is_deleted_and_its_bytes_are_gone_after_compaction() {
    run(async {
        let world = World::with(by_call());
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let other = db.create_collective("other").await.unwrap();
        db.record_experience(new(other, "of no concern"))
            .await
            .unwrap();
        let pinned = NewExperience {
            pinned: true,
            ..brief(team, "pinned", 10)
        };
        db.record_experience(pinned).await.unwrap();
        db.record_experience(new(team, "for ever")).await.unwrap();
        let soon = db
            .record_experience(brief(team, "soon gone 4711", 10))
            .await
            .unwrap();
        db.record_experience(brief(team, "later", 2_000))
            .await
            .unwrap();
        let moved = db
            .record_experience(brief(team, "moved", 10))
            .await
            .unwrap();
        let given = db
            .record_experience(new(team, "given an end 4711"))
            .await
            .unwrap();
        let until = |ms| ExperienceUpdate {
            expires_at: Some(Some(later(ms))),
            ..ExperienceUpdate::default()
        };
        db.update_experience(moved, until(3_000)).await.unwrap();
        db.update_experience(given, until(500)).await.unwrap();
        assert_eq!(db.expire().await.unwrap(), 0);

        world.env.advance(Duration::from_secs(1));
        let mut watch = db.watch_experiences(team).await.unwrap();
        let before = dump(&db).await;
        assert_eq!(before[0].1.len(), 4);
        let cursor = db.current_cursor().await.unwrap();
        assert_eq!(db.expire().await.unwrap(), 2);
        assert_eq!(db.expire().await.unwrap(), 0, "nothing is left");
        assert_eq!(dump(&db).await, before);
        let mut told = BTreeSet::new();
        for _ in 0..2 {
            let event = watch.recv().await.unwrap().unwrap();
            assert_eq!(event.event_type, EventType::Deleted);
            assert!(event.lsn > cursor.lsn);
            told.insert(format!("{:?}", event.entity));
        }
        assert_eq!(told.len(), 2);
        assert!(matches!(
            db.delete_experience(soon).await,
            Err(PulseDBError::NotFound { .. })
        ));

        assert!(holds(&world, "4711"));
        db.compact().await.unwrap();
        assert_gone(&world, "4711");
        assert_eq!(dump(&db).await, before);
        db.close().await.unwrap();

        // Another session knows what the rows of the checkpoint are up to.
        let db = world.open().await;
        assert_eq!(db.expire().await.unwrap(), 0);
        world.env.advance(Duration::from_millis(1_500));
        assert_eq!(db.expire().await.unwrap(), 1);
        world.env.advance(Duration::from_secs(1));
        assert_eq!(db.expire().await.unwrap(), 1);
        let left: Vec<_> = everything(&db, team).await;
        assert_eq!(left.len(), 2);
        let kept = left.iter().find(|one| one.content == "pinned").unwrap();
        // Without the pin it has expired, and is deleted.
        db.update_experience(kept.id, pin(false)).await.unwrap();
        assert_eq!(db.expire().await.unwrap(), 1);
        assert_eq!(everything(&db, team).await.len(), 1);
        db.close().await.unwrap();
    });
}

#[test]
fn many_go_in_several_commits_and_history_shows_them() {
    run(async {
        let world = World::with(Config {
            retention: RetentionConfig {
                time: Duration::from_secs(3_600),
                ..RetentionConfig::default()
            },
            ..by_call()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for round in 0..50 {
            let batch = (0..100).map(|n| {
                let ms = if n % 10 == 0 { 5_000 } else { 100 };
                brief(team, &format!("{round} {n}"), ms)
            });
            db.record_experiences(batch.collect()).await.unwrap();
        }
        let before = db.current_cursor().await.unwrap();
        world.env.advance(Duration::from_secs(1));
        assert_eq!(db.expire().await.unwrap(), 4_500);
        assert_eq!(everything(&db, team).await.len(), 500);
        let mut past = db.snapshot_at(before.lsn).await.unwrap();
        let stats = past.get_collective_stats(team).await.unwrap();
        assert_eq!(stats.experience_count, 500, "expiry is as of now");
        past = db.snapshot_at_time(later(0)).await.unwrap();
        let stats = past.get_collective_stats(team).await.unwrap();
        assert_eq!(stats.experience_count, 5_000);
        drop(past);
        db.close().await.unwrap();
        let db = world.open().await;
        world.env.advance(Duration::from_secs(10));
        assert_eq!(db.expire().await.unwrap(), 500);
        db.close().await.unwrap();
    });
}

/// By itself, while others record without pause.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn upkeep_expires_under_load_and_poisons_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        expiry_interval: Duration::from_millis(5),
        ..config()
    };
    let db = PulseDB::open(dir.path(), config.clone()).await.unwrap();
    let team = db.create_collective("team").await.unwrap();
    let past = NewExperience {
        expires_at: Some(pulsedb::Timestamp::from_millis(1)),
        ..new(team, "past")
    };
    let tasks = (0..8).map(|task| {
        let (db, past) = (db.clone(), past.clone());
        tokio::spawn(async move {
            for n in 0..60 {
                db.record_experience(past.clone()).await.unwrap();
                db.record_experience(new(team, format!("{task} {n}")))
                    .await
                    .unwrap();
            }
        })
    });
    futures_util::future::join_all(tasks.collect::<Vec<_>>()).await;
    let everything_is_gone = async || {
        // Nothing is left to a call once upkeep has been there.
        for _ in 0..2_000 {
            let rows = db.diagnose().await.unwrap().collectives[0].gone_rows;
            let page = db
                .read_log(pulsedb::LogOptions {
                    limit: 1000,
                    ..Default::default()
                })
                .await
                .unwrap();
            if rows == 480 && page.items.len() >= 480 && db.expire().await.unwrap() == 0 {
                return true;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        false
    };
    assert!(everything_is_gone().await);
    assert!(db.health_check().await.unwrap().poisoned.is_none());
    assert_eq!(contents(&db, team).await.len(), 480);
    db.close().await.unwrap();

    // A handle for reading leaves everything alone.
    let db = PulseDB::open(dir.path(), config.clone()).await.unwrap();
    db.close().await.unwrap();
    let db = PulseDB::open_read_only(dir.path(), config).await.unwrap();
    assert!(matches!(
        db.expire().await,
        Err(PulseDBError::ReadOnly { .. })
    ));
    db.close().await.unwrap();
}

/// Upkeep sees a row expired in its snapshot, and somebody pins it before the commit.
#[test]
fn what_was_pinned_in_time_stays() {
    let world = World::new();
    let db = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    for round in 0..30 {
        let until = 1_000 * (round + 1);
        let record = |n: i64| {
            db.record_experience(brief(team, &format!("{round} {n}"), until + n % 3))
                .unwrap()
        };
        let ids: Vec<ExperienceId> = (0..120).map(record).collect();
        let pinned: Vec<ExperienceId> = thread::scope(|scope| {
            let pinning = scope.spawn(|| {
                let pinned = ids
                    .iter()
                    .filter(|id| db.update_experience(**id, pin(true)).is_ok());
                pinned.copied().collect()
            });
            scope.spawn(|| {
                world.env.advance(Duration::from_millis(1_000));
                for _ in 0..4 {
                    db.expire().unwrap();
                    world.env.advance(Duration::from_millis(1));
                }
            });
            pinning.join().unwrap()
        });
        world.env.set_now(later(until + 10));
        db.expire().unwrap();
        let all = db.get_recent_experiences(team, 1000).unwrap();
        let kept: BTreeSet<ExperienceId> = all.iter().map(|one| one.id).collect();
        assert_eq!(kept, pinned.iter().copied().collect(), "round {round}");
        for id in pinned {
            db.delete_experience(id).unwrap();
        }
        world.env.set_now(later(until));
    }
    db.close().unwrap();
}

#[test]
fn a_crash_at_every_operation_loses_only_what_has_expired() {
    let prepare = |db: &blocking::PulseDB, world: &World| {
        let team = db.create_collective("team").unwrap();
        for n in 0..12 {
            db.record_experience(new(team, format!("kept {n}")))
                .unwrap();
            db.record_experience(brief(team, &format!("brief {n}"), 10))
                .unwrap();
        }
        world.env.advance(Duration::from_secs(1));
        team
    };
    let quiet = World::with(by_call());
    let db = quiet.open_blocking(false);
    prepare(&db, &quiet);
    let first = quiet.vfs.op_count();
    assert_eq!(db.expire().unwrap(), 12);
    let end = quiet.vfs.op_count();
    db.close().unwrap();
    assert!(end > first);
    for op in first..end {
        for crash in [true, false] {
            let world = World::with(by_call());
            let db = world.open_blocking(false);
            let team = prepare(&db, &world);
            if crash {
                world.vfs.crash_at(op);
            } else {
                world.vfs.fail_at(op, FaultKind::Enospc);
            }
            assert!(db.expire().is_err());
            assert!(db.expire().is_err(), "writing has stopped");
            assert_eq!(db.get_recent_experiences(team, 100).unwrap().len(), 12);
            let _ = db.close();
            for survival in [Survival::DropAll, Survival::KeepAll] {
                let left = World {
                    vfs: world.vfs.reboot(survival),
                    path: world.path.clone(),
                    ..World::with(by_call())
                };
                left.env.advance(Duration::from_secs(1));
                let db = left.open_blocking(false);
                assert_eq!(db.get_recent_experiences(team, 100).unwrap().len(), 12);
                let count = db.expire().unwrap();
                assert!(count == 12 || count == 0, "one commit: {count}");
                db.compact().unwrap();
                assert_gone(&left, "brief");
                db.close().unwrap();
            }
        }
    }
}
