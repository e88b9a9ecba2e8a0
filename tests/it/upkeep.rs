//! Does upkeep do what is due, let itself be paused, and tell what it does?
#![allow(
    clippy::disallowed_methods,
    reason = "these tests start tasks and wait for upkeep"
)]

use std::{collections::BTreeSet, thread, time::Duration};

use pulsedb::{
    CollectiveId, CompactionConfig, Config, DecayConfig, EventType, ExperienceId, HnswConfig,
    NewExperience, PulseDB, PulseDBError, RetentionConfig, SearchOptions, UpkeepConfig,
    UpkeepState, UpkeepTask, UpkeepTaskStatus, blocking,
};

use super::support::{World, config, everything, later, new, run};

fn decay(auto_archive_below_floor: bool) -> DecayConfig {
    DecayConfig {
        half_life_ms: 1000,
        floor: 0.1,
        auto_archive_below_floor,
        ..DecayConfig::default()
    }
}

fn warm(team: CollectiveId, content: &str, importance: f32) -> NewExperience {
    NewExperience {
        importance,
        ..new(team, content)
    }
}

async fn archived(db: &PulseDB, team: CollectiveId) -> BTreeSet<String> {
    let all = everything(db, team).await;
    let archived = all.into_iter().filter(|one| one.archived);
    archived.map(|one| one.content).collect()
}

fn names(contents: &[&str]) -> BTreeSet<String> {
    contents.iter().map(|one| (*one).to_owned()).collect()
}

/// Asks until it is so; it takes upkeep some milliseconds.
#[track_caller]
fn eventually(what: &str, mut so: impl FnMut() -> bool) {
    for _ in 0..3_000 {
        if so() {
            return;
        }
        thread::sleep(Duration::from_millis(10));
    }
    panic!("{what}: it never came");
}

fn of(db: &blocking::PulseDB, task: UpkeepTask) -> UpkeepTaskStatus {
    db.upkeep_status().unwrap().task(task).unwrap().clone()
}

#[test]
fn what_has_cooled_down_is_archived_and_the_past_shows_it_as_it_was() {
    run(async {
        let world = World::with(Config {
            retention: RetentionConfig {
                time: Duration::from_secs(3_600),
                ..RetentionConfig::default()
            },
            ..config()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let other = db.create_collective("other").await.unwrap();
        db.set_decay_config(team, decay(false)).await.unwrap();
        db.record_experience(warm(other, "elsewhere", 0.0))
            .await
            .unwrap();
        let mut ids = Vec::new();
        for (content, importance) in [("hot", 1.0), ("cool", 0.3), ("cold", 0.2), ("used", 0.3)] {
            let new = warm(team, content, importance);
            ids.push(db.record_experience(new).await.unwrap());
        }
        let pinned = NewExperience {
            pinned: true,
            ..warm(team, "pinned", 0.0)
        };
        db.record_experience(pinned).await.unwrap();
        let expiring = NewExperience {
            expires_at: Some(later(1_000)),
            ..warm(team, "expired", 0.0)
        };
        db.record_experience(expiring).await.unwrap();
        world.env.advance(Duration::from_millis(1_500));
        let mut watch = db.watch_experiences(team).await.unwrap();
        let then = db.snapshot().await.unwrap();
        assert_eq!(db.archive_cold(team).await.unwrap(), 1);
        assert_eq!(archived(&db, team).await, names(&["cold"]));
        assert_eq!(db.archive_cold(team).await.unwrap(), 0, "nothing is left");
        let event = watch.recv().await.unwrap().unwrap();
        assert_eq!(event.event_type, EventType::Archived);
        assert_eq!(event.experience.as_ref().unwrap().id, ids[2]);

        db.reinforce_experience(ids[3]).await.unwrap();
        let before = db.current_cursor().await.unwrap();
        world.env.advance(Duration::from_millis(500));
        assert_eq!(db.archive_cold(team).await.unwrap(), 1);
        assert_eq!(archived(&db, team).await, names(&["cold", "cool"]));
        assert!(!then.get_experience(ids[2]).await.unwrap().archived);
        let past = db.snapshot_at(before.lsn).await.unwrap();
        assert!(past.get_experience(ids[2]).await.unwrap().archived);
        assert!(!past.get_experience(ids[1]).await.unwrap().archived);
        let hits = db.search_similar(team, &[1.0, 2.0, 3.0, 4.0], 10);
        let hits = hits.await.unwrap();
        assert_eq!(hits.len(), 3, "hot, used and pinned");

        // Who unarchives it has not warmed it.
        db.unarchive_experience(ids[1]).await.unwrap();
        assert_eq!(db.archive_cold(team).await.unwrap(), 1);
        drop((then, past, watch));
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(archived(&db, team).await, names(&["cold", "cool"]));
        world.env.advance(Duration::from_secs(60));
        assert_eq!(db.archive_cold(team).await.unwrap(), 2);
        assert_eq!(archived(&db, other).await, names(&[]));
        db.delete_collective(other).await.unwrap();
        let answer = db.archive_cold(other).await;
        assert!(matches!(answer, Err(PulseDBError::NotFound { .. })));
        db.close().await.unwrap();
    });
}

#[test]
fn many_are_archived_in_several_commits() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for round in 0..40 {
            let batch = (0..100).map(|n| warm(team, &format!("{round} {n}"), (n % 2) as f32));
            db.record_experiences(batch.collect()).await.unwrap();
        }
        let before = db.current_cursor().await.unwrap();
        let mut changes = db.change_feed(before, true).await.unwrap();
        assert_eq!(db.archive_cold(team).await.unwrap(), 2_000);
        assert_eq!(archived(&db, team).await.len(), 2_000);
        let mut left = 2_000;
        let mut commits = 0;
        while left > 0 {
            let pulsedb::Change::Commit(commit) = changes.recv().await.unwrap().unwrap() else {
                panic!("not a commit");
            };
            let records = commit.records().unwrap().len();
            assert!(records <= 256, "one commit of {records}");
            left -= records;
            commits += 1;
        }
        assert!(commits > 1);
        let status = db.upkeep_status().await.unwrap();
        let last = status.task(UpkeepTask::Archive).unwrap().last.clone();
        let last = last.unwrap();
        assert_eq!((last.done, last.by_call), (2_000, true));
        db.close().await.unwrap();
    });
}

/// What upkeep commits at once fits into the smallest segment, however many rows stand together.
#[test]
fn small_segments_are_large_enough_for_upkeep() {
    let world = World::with(Config {
        segment_bytes: Config::MIN_SEGMENT_BYTES,
        max_commit_bytes: 16 * 1024,
        ..config()
    });
    let db = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    for round in 0..100 {
        let one = |n| NewExperience {
            expires_at: Some(later(10)),
            ..warm(team, &format!("{round} {n}"), 0.0)
        };
        db.record_experiences((0..30).map(one).collect()).unwrap();
    }
    assert_eq!(db.archive_cold(team).unwrap(), 3_000);
    world.env.advance(Duration::from_secs(1));
    assert_eq!(db.expire().unwrap(), 3_000);
    assert!(db.health_check().unwrap().poisoned.is_none());
    db.close().unwrap();
}

/// By itself, only where the collective wants it, and not in a pause.
#[test]
fn it_archives_by_itself_where_that_is_wanted() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        upkeep: UpkeepConfig {
            archive_interval: Duration::from_millis(5),
            ..UpkeepConfig::default()
        },
        ..config()
    };
    let db = blocking::PulseDB::open(dir.path(), config.clone()).unwrap();
    let wanting = db.create_collective("wanting").unwrap();
    let other = db.create_collective("other").unwrap();
    db.pause_upkeep().unwrap();
    db.set_decay_config(wanting, decay(true)).unwrap();
    for team in [wanting, other] {
        db.record_experience(warm(team, "cold", 0.0)).unwrap();
        db.record_experience(warm(team, "pinned", 0.0))
            .and_then(|id| {
                let pin = pulsedb::ExperienceUpdate {
                    pinned: Some(true),
                    ..Default::default()
                };
                db.update_experience(id, pin)
            })
            .unwrap();
    }
    let cold = |team| -> Vec<bool> {
        let page = pulsedb::Page::default();
        let all = db.list_experiences(team, page).unwrap().items;
        all.iter().map(|one| one.archived).collect()
    };
    thread::sleep(Duration::from_millis(100));
    assert_eq!(cold(wanting), [false, false], "paused");
    assert_eq!(of(&db, UpkeepTask::Archive).state, UpkeepState::Paused);
    db.resume_upkeep().unwrap();
    eventually("archiving", || cold(wanting) == [true, false]);
    assert_eq!(cold(other), [false, false]);
    let status = of(&db, UpkeepTask::Archive);
    assert!(status.automatic);
    let last = status.last.unwrap();
    assert_eq!((last.error, last.by_call), (None, false));
    assert_eq!(
        status.next.unwrap().as_millis(),
        last.started_at.as_millis() + 5
    );
    db.close().unwrap();

    let db = blocking::PulseDB::open_read_only(dir.path(), config).unwrap();
    assert!(matches!(
        db.pause_upkeep(),
        Err(PulseDBError::ReadOnly { .. })
    ));
    assert!(matches!(
        db.archive_cold(other),
        Err(PulseDBError::ReadOnly { .. })
    ));
    assert!(db.upkeep_status().unwrap().tasks.is_empty());
    db.close().unwrap();
    assert!(matches!(db.upkeep_status(), Err(PulseDBError::Closed)));
}

/// Somebody uses them while they are being archived: what was used before the commit stays.
#[test]
fn what_is_used_in_time_stays() {
    let world = World::with(Config {
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..config()
    });
    let db = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    db.set_decay_config(team, decay(false)).unwrap();
    let record = |n| db.record_experience(warm(team, &format!("{n}"), 1.0));
    let ids: Vec<ExperienceId> = (0..400).map(|n| record(n).unwrap()).collect();
    world.env.advance(Duration::from_secs(10));
    let before = db.current_cursor().unwrap();
    thread::scope(|scope| {
        scope.spawn(|| {
            for id in &ids {
                db.reinforce_experience(*id).unwrap();
            }
        });
        scope.spawn(|| {
            for _ in 0..20 {
                db.archive_cold(team).unwrap();
            }
        });
    });
    // Nobody is archived behind its reinforcement.
    let mut used = BTreeSet::new();
    let mut since = before;
    loop {
        let changes = db.poll_changes(since, 1000).unwrap();
        for event in &changes.events {
            match event.event_type {
                EventType::Reinforced => assert!(used.insert(format!("{:?}", event.entity))),
                EventType::Archived => assert!(!used.contains(&format!("{:?}", event.entity))),
                _ => panic!("{event:?}"),
            }
        }
        if changes.events.is_empty() {
            break;
        }
        since = changes.next;
    }
    assert_eq!(used.len(), ids.len());
    db.close().unwrap();
}

#[test]
fn a_pause_holds_checkpoints_and_compaction_but_no_calls() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        checkpoint_bytes: Config::MIN_CHECKPOINT_BYTES,
        compaction: CompactionConfig {
            dead_percent: 1,
            ..CompactionConfig::default()
        },
        ..config()
    };
    let db = blocking::PulseDB::open(dir.path(), config).unwrap();
    db.pause_upkeep().unwrap();
    db.pause_upkeep().unwrap();
    let team = db.create_collective("team").unwrap();
    let batch = |round: usize| {
        let text = |n| format!("{round} {n} {}", "words ".repeat(100));
        let batch: Vec<_> = (0..100).map(|n| new(team, text(n))).collect();
        db.record_experiences(batch).unwrap()
    };
    let ids: Vec<ExperienceId> = (0..20).flat_map(batch).collect();
    for id in ids.iter().skip(500) {
        db.delete_experience(*id).unwrap();
    }
    thread::sleep(Duration::from_millis(1_200));
    for task in [UpkeepTask::Checkpoint, UpkeepTask::Compaction] {
        let status = of(&db, task);
        assert_eq!((status.state, status.last), (UpkeepState::Paused, None));
    }
    let cursor = db.checkpoint().unwrap();
    assert_eq!(cursor, db.current_cursor().unwrap());
    let last = of(&db, UpkeepTask::Checkpoint).last.unwrap();
    assert!(
        last.by_call && last.bytes > 0 && last.bytes == last.done,
        "{last:?}"
    );
    let dead = db.fragmentation().unwrap().dead_share;
    assert!(dead > 0.6, "{dead}");
    db.resume_upkeep().unwrap();
    eventually("compaction", || {
        db.fragmentation().unwrap().dead_share < 0.5
    });
    eventually("its end", || {
        let status = of(&db, UpkeepTask::Compaction);
        let Some(last) = status.last else {
            return false;
        };
        !last.by_call && last.bytes > 0
    });
    // In a pause it compacts by call.
    db.pause_upkeep().unwrap();
    for id in ids.iter().take(250) {
        db.delete_experience(*id).unwrap();
    }
    let report = db.compact().unwrap();
    assert!(report.segments_rewritten > 0);
    let last = of(&db, UpkeepTask::Compaction).last.unwrap();
    assert_eq!((last.by_call, last.bytes), (true, report.bytes_rewritten));
    db.close().unwrap();
}

#[test]
fn a_pause_holds_graphs_until_writers_would_wait() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        write_timeout: Duration::from_secs(30),
        hnsw: HnswConfig {
            first_graph_rows: 50,
            tail_rows: 50,
            // A code of four components takes less than 100 bytes.
            max_tail_bytes: 40_000,
            ..HnswConfig::default()
        },
        ..config()
    };
    let db = blocking::PulseDB::open(dir.path(), config).unwrap();
    let team = db.create_collective("team").unwrap();
    db.pause_upkeep().unwrap();
    let record = |count: usize, turn: f32| {
        let vector = |n: usize| vec![1.0, n as f32, turn, 0.5];
        let one = |n| NewExperience {
            embedding: Some(vector(n)),
            ..new(team, format!("{turn} {n}"))
        };
        db.record_experiences((0..count).map(one).collect())
            .unwrap()
    };
    record(60, 0.0);
    thread::sleep(Duration::from_millis(300));
    let status = of(&db, UpkeepTask::Graphs);
    assert_eq!((status.state, status.last), (UpkeepState::Paused, None));
    // What is asked for is built.
    db.rebuild_index(team).unwrap();
    let last = of(&db, UpkeepTask::Graphs).last.unwrap();
    assert!(last.by_call && last.bytes > 0, "{last:?}");
    // And so is what would make these wait.
    for round in 1..40 {
        record(100, round as f32);
    }
    eventually("a graph", || {
        !of(&db, UpkeepTask::Graphs).last.unwrap().by_call
    });
    let hits = db.search(team, vec![1.0, 7.0, 3.0, 0.5], SearchOptions::default());
    assert_eq!(hits.unwrap()[0].experience.content, "3 7");
    db.close().unwrap();
}

#[test]
fn what_holds_history_back_is_told() {
    let world = World::with(Config {
        expiry_interval: Duration::from_secs(3_600),
        ..config()
    });
    let open = run(world.open());
    let db = blocking::PulseDB::from(open.clone());
    let team = db.create_collective("team").unwrap();
    let history = || db.upkeep_status().unwrap().history;
    let record = || db.record_experience(new(team, "one")).unwrap();
    record();
    eventually("quiet", || history().snapshots.is_none());
    assert_eq!(history().newest, db.current_cursor().unwrap().lsn);
    assert_eq!((history().watchers, history().retention), (None, None));
    let snapshot = run(open.snapshot()).unwrap();
    let held = history().newest;
    let watch = db.watch_experiences(team).unwrap();
    record();
    assert_eq!(history().snapshots, Some(held));
    assert_eq!(history().watchers, Some(held));
    drop((snapshot, watch));
    record();
    eventually("nobody", || {
        let history = history();
        history.snapshots.is_none() && history.watchers.is_none()
    });
    let status = of(&db, UpkeepTask::Expiry);
    assert!(status.automatic);
    db.close().unwrap();

    let world = World::with(Config {
        retention: RetentionConfig {
            bytes: 1 << 20,
            ..RetentionConfig::default()
        },
        ..config()
    });
    let db = world.open_blocking(false);
    db.create_collective("team").unwrap();
    let history = db.upkeep_status().unwrap().history;
    assert!(history.retention.unwrap() < history.newest);
    let status = of(&db, UpkeepTask::Expiry);
    assert_eq!((status.automatic, status.state), (false, UpkeepState::Idle));
    db.close().unwrap();
}
