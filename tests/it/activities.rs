//! Is it known what agents do, also after crashes, in the past, and when nobody hears of them any more?

#![allow(
    clippy::disallowed_methods,
    reason = "these tests remove files of a simulated disk"
)]

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use futures_util::future::join_all;
use pulsedb::{
    Activity, ActivityConfig, AgentId, CollectiveId, CompactionConfig, Config, EntityKind,
    LogOptions, Lsn, NewActivity, PulseDB, PulseDBError, Result, RetentionConfig, Snapshot,
    Timestamp,
    sim::{FaultKind, SimVfs, Survival},
};

use super::support::{START, World, config, new, refused_field, run};

const THRESHOLD: Duration = Duration::from_secs(5 * 60);

/// Nothing is rewritten but by call; `kept` of the past stays.
fn settings(kept: u64) -> Config {
    Config {
        retention: RetentionConfig {
            bytes: kept,
            time: Duration::ZERO,
        },
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..config()
    }
}

const ALL: u64 = u64::MAX / 2;

fn doing(collective: CollectiveId, agent: &str, task: &str) -> NewActivity {
    NewActivity {
        agent_id: agent.into(),
        collective_id: collective,
        current_task: Some(task.into()),
        context_summary: Some(format!("about {task}")),
    }
}

async fn register(db: &PulseDB, team: CollectiveId, agent: &str, task: &str) {
    db.register_activity(doing(team, agent, task))
        .await
        .unwrap();
}

async fn beat(db: &PulseDB, team: CollectiveId, agent: &str) {
    db.update_heartbeat(team, &agent.into()).await.unwrap();
}

async fn end(db: &PulseDB, team: CollectiveId, agent: &str) {
    db.end_activity(team, &agent.into()).await.unwrap();
}

async fn get(db: &PulseDB, team: CollectiveId, agent: &str) -> Option<Activity> {
    db.get_activity(team, &agent.into()).await.unwrap()
}

async fn newest(db: &PulseDB) -> Lsn {
    db.current_cursor().await.unwrap().lsn
}

/// Milliseconds since [`START`].
fn at(millis: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + millis)
}

fn names(activities: &[Activity]) -> Vec<&str> {
    activities.iter().map(|one| one.agent_id.as_str()).collect()
}

/// Everything that is registered, stale or not, by name.
async fn all(db: &PulseDB, team: CollectiveId) -> Vec<Activity> {
    let mut all = db.get_active_agents(team).await.unwrap();
    all.extend(db.list_stale_activities(team).await.unwrap());
    all.sort_by(|a, b| a.agent_id.cmp(&b.agent_id));
    for one in &all {
        let found = db.get_activity(team, &one.agent_id).await.unwrap();
        assert_eq!(found.as_ref(), Some(one));
    }
    all
}

async fn all_at(snapshot: &Snapshot, team: CollectiveId) -> Vec<Activity> {
    let mut all = snapshot.get_active_agents(team).await.unwrap();
    all.extend(snapshot.list_stale_activities(team).await.unwrap());
    all.sort_by(|a, b| a.agent_id.cmp(&b.agent_id));
    for one in &all {
        let found = snapshot.get_activity(team, &one.agent_id).await.unwrap();
        assert_eq!(found.as_ref(), Some(one));
    }
    all
}

/// The same disk without what is derived from the log.
fn without_checkpoints(vfs: &SimVfs) {
    for (path, _) in vfs.files().unwrap() {
        if path.extension().is_some_and(|end| end == "ckpt") {
            vfs.remove_file(&path).unwrap();
        }
    }
}

fn kind<T: std::fmt::Debug>(answer: Result<T>) -> EntityKind {
    match answer {
        Err(PulseDBError::NotFound { kind, .. }) => kind,
        other => panic!("it is there: {other:?}"),
    }
}

async fn check_clean(db: &PulseDB) {
    let report = db.verify().await.unwrap();
    assert!(report.damage.is_empty(), "{:?}", report.damage);
    // But for a checkpoint that was taken away.
    let mut derived = report.index_damage;
    derived.retain(|damage| damage.file.extension().is_none_or(|end| end != "ckpt"));
    assert!(derived.is_empty(), "{derived:?}");
}

#[test]
fn what_is_outside_its_limits_is_refused_and_changes_nothing() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let before = newest(&db).await;
        let long = "ä".repeat(256);
        for agent in ["".to_owned(), "ä".repeat(257)] {
            let answer = db.register_activity(doing(team, &agent, "t")).await;
            assert_eq!(refused_field(answer), "agent_id");
            // Nobody of that name can have registered.
            assert_eq!(get(&db, team, &agent).await, None);
            let answer = db.update_heartbeat(team, &agent.as_str().into()).await;
            assert_eq!(kind(answer), EntityKind::Activity);
        }
        for (field, task, summary) in [
            ("current_task", 1025, 1024),
            ("context_summary", 1024, 1025),
        ] {
            let answer = db.register_activity(NewActivity {
                current_task: Some("t".repeat(task).into()),
                context_summary: Some("s".repeat(summary)),
                ..doing(team, "ann", "")
            });
            assert_eq!(refused_field(answer.await), field);
        }
        let nowhere: CollectiveId = "0190a0b0-0000-7000-8000-000000000001".parse().unwrap();
        let ann = AgentId::from("ann");
        let answers = [
            db.register_activity(doing(nowhere, "ann", "t")).await,
            db.update_heartbeat(nowhere, &ann).await,
            db.end_activity(nowhere, &ann).await,
            db.get_activity(nowhere, &ann).await.map(drop),
            db.get_active_agents(nowhere).await.map(drop),
            db.list_stale_activities(nowhere).await.map(drop),
        ];
        for answer in answers {
            assert_eq!(kind(answer), EntityKind::Collective);
        }
        let answers = [
            db.update_heartbeat(team, &ann).await,
            db.end_activity(team, &ann).await,
        ];
        for answer in answers {
            assert_eq!(kind(answer), EntityKind::Activity);
        }
        assert_eq!(newest(&db).await, before);
        let largest = NewActivity {
            agent_id: long.as_str().into(),
            collective_id: team,
            current_task: Some("t".repeat(1024).into()),
            context_summary: Some("s".repeat(1024)),
        };
        db.register_activity(largest.clone()).await.unwrap();
        let found = get(&db, team, &long).await.unwrap();
        assert_eq!(found.context_summary, largest.context_summary);
        let least = NewActivity {
            current_task: None,
            context_summary: None,
            ..doing(team, "a", "")
        };
        db.register_activity(least).await.unwrap();
        assert_eq!(get(&db, team, "a").await.unwrap().current_task, None);
        db.close().await.unwrap();

        let answer = world
            .try_open(Config {
                activity: ActivityConfig {
                    stale_threshold: Duration::from_micros(999),
                },
                ..config()
            })
            .await;
        match answer {
            Err(PulseDBError::Config { field, .. }) => {
                assert_eq!(field, "activity.stale_threshold");
            }
            other => panic!("{other:?}"),
        }
    });
}

#[test]
fn registering_again_replaces_everything() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        register(&db, team, "ann", "first").await;
        let expected = Activity {
            agent_id: "ann".into(),
            collective_id: team,
            current_task: Some("first".into()),
            context_summary: Some("about first".into()),
            started_at: at(0),
            last_heartbeat: at(0),
        };
        assert_eq!(get(&db, team, "ann").await, Some(expected.clone()));
        world.env.advance(Duration::from_secs(1));
        beat(&db, team, "ann").await;
        let beaten = Activity {
            last_heartbeat: at(1_000),
            ..expected.clone()
        };
        assert_eq!(get(&db, team, "ann").await, Some(beaten));
        world.env.advance(Duration::from_secs(1));
        let again = NewActivity {
            context_summary: None,
            ..doing(team, "ann", "second")
        };
        db.register_activity(again).await.unwrap();
        let replaced = Activity {
            current_task: Some("second".into()),
            context_summary: None,
            started_at: at(2_000),
            last_heartbeat: at(2_000),
            ..expected
        };
        assert_eq!(all(&db, team).await, [replaced]);
        end(&db, team, "ann").await;
        assert_eq!(all(&db, team).await, []);
        let ann = AgentId::from("ann");
        let answers = [
            db.end_activity(team, &ann).await,
            db.update_heartbeat(team, &ann).await,
        ];
        for answer in answers {
            assert_eq!(kind(answer), EntityKind::Activity);
        }
        db.close().await.unwrap();
    });
}

#[test]
fn heartbeats_are_logged_once_a_quarter_of_the_threshold() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        register(&db, team, "ann", "t").await;
        let first = newest(&db).await.get();
        let bytes = db.metadata().await.unwrap().log_bytes;
        let mut logged = 0;
        for second in (10..=600).step_by(10) {
            world.env.advance(Duration::from_secs(10));
            let operations = world.vfs.op_count();
            beat(&db, team, "ann").await;
            // From 75 seconds on, of which 80 is the first multiple of ten.
            if second % 80 == 0 {
                logged += 1;
            } else {
                assert_eq!(world.vfs.op_count(), operations, "waits for no disk");
            }
            assert_eq!(newest(&db).await.get(), first + logged, "{second}");
            let heard = get(&db, team, "ann").await.unwrap().last_heartbeat;
            assert_eq!(heard, at(second * 1_000), "seen at once");
        }
        assert_eq!(logged, 7);
        let grown = db.metadata().await.unwrap().log_bytes - bytes;
        assert_eq!(grown, 7 * 128 + 7 * 64 * u64::from(grown > 7 * 128));
        // A quarter exactly, and a millisecond less.
        register(&db, team, "bob", "t").await;
        let before = newest(&db).await.get();
        let quarter = THRESHOLD / 4;
        world.env.advance(quarter - Duration::from_millis(1));
        beat(&db, team, "bob").await;
        assert_eq!(newest(&db).await.get(), before);
        world.env.advance(Duration::from_millis(1));
        beat(&db, team, "bob").await;
        assert_eq!(newest(&db).await.get(), before + 1);
        // Many at once: one is enough.
        world.env.advance(quarter);
        join_all((0..20).map(|_| beat(&db, team, "bob"))).await;
        assert_eq!(newest(&db).await.get(), before + 2);
        let heard = get(&db, team, "bob").await.unwrap().last_heartbeat;
        assert_eq!(heard, at(600_000 + 150_000));
        // A clock that goes back takes no sign of life away.
        world.env.set_now(at(0));
        beat(&db, team, "bob").await;
        assert_eq!(get(&db, team, "bob").await.unwrap().last_heartbeat, heard);
        assert_eq!(
            names(&db.get_active_agents(team).await.unwrap()),
            ["ann", "bob"]
        );
        check_clean(&db).await;
        db.close().await.unwrap();
    });
}

#[test]
fn who_is_not_heard_of_becomes_stale_and_stays_until_it_ends() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for agent in ["cid", "ann", "bob"] {
            register(&db, team, agent, "t").await;
        }
        world.env.advance(THRESHOLD);
        let active = db.get_active_agents(team).await.unwrap();
        assert_eq!(names(&active), ["ann", "bob", "cid"]);
        assert_eq!(db.list_stale_activities(team).await.unwrap(), []);
        beat(&db, team, "bob").await;
        world.env.advance(Duration::from_millis(1));
        let active = db.get_active_agents(team).await.unwrap();
        assert_eq!(names(&active), ["bob"]);
        let stale = db.list_stale_activities(team).await.unwrap();
        assert_eq!(names(&stale), ["ann", "cid"]);
        assert!(get(&db, team, "ann").await.is_some());
        beat(&db, team, "ann").await;
        end(&db, team, "cid").await;
        let active = db.get_active_agents(team).await.unwrap();
        assert_eq!(names(&active), ["ann", "bob"]);
        assert_eq!(db.list_stale_activities(team).await.unwrap(), []);
        db.close().await.unwrap();
        // Another threshold, another answer.
        let config = Config {
            activity: ActivityConfig {
                stale_threshold: Duration::from_millis(1),
            },
            ..config()
        };
        let db = world.try_open(config).await.unwrap();
        world.env.advance(Duration::from_millis(2));
        assert_eq!(db.get_active_agents(team).await.unwrap(), []);
        // A quarter of it is no time at all: each heartbeat is logged.
        let before = newest(&db).await.get();
        for _ in 0..3 {
            beat(&db, team, "ann").await;
        }
        assert_eq!(newest(&db).await.get(), before + 3);
        db.close().await.unwrap();
    });
}

#[test]
fn a_snapshot_shows_no_heartbeat_that_is_in_no_commit() {
    run(async {
        let world = World::with(settings(ALL));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        register(&db, team, "ann", "t").await;
        world.env.advance(Duration::from_secs(10));
        beat(&db, team, "ann").await;
        let held = db.snapshot().await.unwrap();
        let then = all_at(&held, team).await;
        assert_eq!(then[0].last_heartbeat, at(0), "logged when it registered");
        // Beside an agent that beats every three quarters of the threshold: no snapshot finds it stale.
        let mut moments = Vec::new();
        for _ in 0..20 {
            for part in 0..3 {
                world.env.advance(THRESHOLD / 4);
                let snapshot = db.snapshot().await.unwrap();
                assert_eq!(snapshot.list_stale_activities(team).await.unwrap(), []);
                if part == 2 {
                    beat(&db, team, "ann").await;
                }
                let snapshot = db.snapshot().await.unwrap();
                let seen = all_at(&snapshot, team).await;
                moments.push((snapshot.cursor().lsn, snapshot.now(), seen));
            }
        }
        world.env.advance(Duration::from_millis(1));
        end(&db, team, "ann").await;
        assert_eq!(all_at(&held, team).await, then);
        let now = held.now();
        let again = db.snapshot_at_time(now).await.unwrap();
        assert_eq!(all_at(&again, team).await, then);
        for (lsn, time, seen) in moments {
            let snapshot = db.snapshot_at(lsn).await.unwrap();
            assert_eq!(all_at(&snapshot, team).await, seen);
            let snapshot = db.snapshot_at_time(time).await.unwrap();
            assert_eq!(snapshot.get_active_agents(team).await.unwrap(), seen);
        }
        db.close().await.unwrap();
        assert_eq!(all_at(&held, team).await, then, "after the end, too");
    });
}

#[test]
fn collectives_do_not_see_each_others_agents_and_take_theirs_with_them() {
    run(async {
        let world = World::with(settings(0));
        let db = world.open().await;
        let one = db.create_collective("one").await.unwrap();
        let two = db.create_collective("two").await.unwrap();
        register(&db, one, "ann", "here").await;
        register(&db, two, "ann", "there").await;
        register(&db, two, "bob", "there").await;
        let seen = all(&db, one).await;
        assert_eq!(names(&seen), ["ann"]);
        assert_eq!(seen[0].current_task, Some("here".into()));
        end(&db, two, "ann").await;
        assert_eq!(names(&all(&db, one).await), ["ann"]);
        assert_eq!(names(&all(&db, two).await), ["bob"]);
        let held = db.snapshot().await.unwrap();
        db.delete_collective(two).await.unwrap();
        let bob = AgentId::from("bob");
        assert_eq!(
            kind(db.get_activity(two, &bob).await),
            EntityKind::Collective
        );
        let answer = db.update_heartbeat(two, &bob).await;
        assert_eq!(kind(answer), EntityKind::Collective);
        assert_eq!(names(&all_at(&held, two).await), ["bob"]);
        drop(held);
        db.compact().await.unwrap();
        let log = db.read_log(LogOptions::default()).await.unwrap();
        let log = serde_json(&log);
        assert!(!log.contains("bob") && log.contains("here"), "{log}");
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(names(&all(&db, one).await), ["ann"]);
        assert_eq!(
            kind(db.get_active_agents(two).await),
            EntityKind::Collective
        );
        db.close().await.unwrap();
    });
}

fn serde_json<T: std::fmt::Debug>(value: &T) -> String {
    format!("{value:?}")
}

#[test]
fn a_group_decides_one_after_the_other() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for _ in 0..20 {
            // Queued together, so most of them are decided in one group.
            let ann = AgentId::from("ann");
            let (a, b, c, d, e, f) = tokio::join!(
                db.register_activity(doing(team, "ann", "first")),
                db.end_activity(team, &ann),
                db.end_activity(team, &ann),
                db.register_activity(doing(team, "ann", "second")),
                db.register_activity(doing(team, "ann", "third")),
                db.register_activity(doing(team, "bob", "other")),
            );
            for answer in [a, b, d, e, f] {
                answer.unwrap();
            }
            assert_eq!(kind(c), EntityKind::Activity);
            let seen = all(&db, team).await;
            assert_eq!(names(&seen), ["ann", "bob"]);
            assert_eq!(seen[0].current_task, Some("third".into()));
        }
        let lsn = newest(&db).await.get();
        let gone = db.create_collective("gone").await.unwrap();
        let (a, b, c) = tokio::join!(
            db.register_activity(doing(gone, "ann", "t")),
            db.delete_collective(gone),
            db.register_activity(doing(gone, "ann", "t")),
        );
        a.unwrap();
        b.unwrap();
        assert_eq!(kind(c), EntityKind::Collective);
        assert_eq!(newest(&db).await.get(), lsn + 3);
        db.close().await.unwrap();
    });
}

#[test]
fn watchers_of_experiences_do_not_hear_of_agents() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut news = db.watch_experiences(team).await.unwrap();
        register(&db, team, "ann", "t").await;
        let id = db.record_experience(new(team, "x")).await.unwrap();
        end(&db, team, "ann").await;
        db.delete_experience(id).await.unwrap();
        for _ in 0..2 {
            let event = news.recv().await.unwrap().unwrap();
            assert_eq!(event.entity, pulsedb::EntityId::Experience(id));
        }
        db.close().await.unwrap();
    });
}

#[test]
fn who_cannot_write_is_told_and_reads_on() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        register(&db, team, "ann", "t").await;
        let reader = world.open_read_only().await;
        let ann = AgentId::from("ann");
        let answers = [
            reader.register_activity(doing(team, "bob", "t")).await,
            reader.update_heartbeat(team, &ann).await,
            reader.end_activity(team, &ann).await,
        ];
        for answer in answers {
            assert!(
                matches!(answer, Err(PulseDBError::ReadOnly { .. })),
                "{answer:?}"
            );
        }
        assert_eq!(all(&reader, team).await, all(&db, team).await);
        reader.close().await.unwrap();
        // A writer that failed says so even where a heartbeat would not be logged.
        beat(&db, team, "ann").await;
        world.vfs.fail_from(world.vfs.op_count(), FaultKind::Eio);
        let answer = db.register_activity(doing(team, "bob", "t")).await;
        assert!(matches!(answer, Err(PulseDBError::Io { .. })), "{answer:?}");
        let answer = db.update_heartbeat(team, &ann).await;
        assert!(
            matches!(answer, Err(PulseDBError::ReadOnly { .. })),
            "{answer:?}"
        );
        assert_eq!(names(&all(&db, team).await), ["ann"]);
        let _ = db.close().await;
        let answer = db.update_heartbeat(team, &ann).await;
        assert!(matches!(answer, Err(PulseDBError::Closed)), "{answer:?}");
    });
}

/// The end of an activity stays as long as a segment that is not rewritten may hold its beginning.
#[test]
fn what_ended_does_not_come_back_when_its_end_is_rewritten_alone() {
    run(async {
        let world = World::with(settings(0));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        register(&db, team, "ann", "t").await;
        register(&db, team, "bob", "first").await;
        let mut ids = Vec::new();
        for number in 0..2_000 {
            let content = format!("{number} {}", "words ".repeat(80));
            ids.push(db.record_experience(new(team, content)).await.unwrap());
        }
        let near = db
            .record_experience(new(team, "near the end"))
            .await
            .unwrap();
        end(&db, team, "ann").await;
        register(&db, team, "bob", "second").await;
        let before = all(&db, team).await;
        // Rewrites the segments that hold something of this one, and no others.
        db.erase(near).await.unwrap();
        assert!(db.metadata().await.unwrap().segments > 2);
        for round in 0..2 {
            db.close().await.unwrap();
            without_checkpoints(&world.vfs);
            let db = world.open().await;
            assert_eq!(db.health_check().await.unwrap().recovery.checkpoint, None);
            assert_eq!(all(&db, team).await, before, "{round}");
            check_clean(&db).await;
            db.close().await.unwrap();
        }
        let db = world.open().await;
        let log = |db: PulseDB| async move {
            let options = LogOptions {
                from: Lsn::new(2_000),
                ..LogOptions::default()
            };
            let late = serde_json(&db.read_log(options).await.unwrap());
            let early = serde_json(&db.read_log(LogOptions::default()).await.unwrap());
            (early, late)
        };
        let (early, late) = log(db.clone()).await;
        assert!(early.contains("first") && late.contains("ActivityEnded"));
        // Once what they replace is gone for certain, nothing of either is left but what holds.
        for part in [0..100, 1_900..2_000] {
            for id in &ids[part] {
                db.delete_experience(*id).await.unwrap();
            }
            db.compact().await.unwrap();
        }
        let (early, late) = log(db.clone()).await;
        assert!(!early.contains("first"), "{early}");
        assert!(!late.contains("ActivityEnded"), "{late}");
        assert!(late.contains("second"));
        db.close().await.unwrap();
        without_checkpoints(&world.vfs);
        let db = world.open().await;
        assert_eq!(all(&db, team).await, before);
        check_clean(&db).await;
        db.close().await.unwrap();
    });
}

#[test]
fn many_agents_that_came_and_went_take_no_space() {
    run(async {
        let world = World::with(settings(0));
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for number in 0..2_000 {
            let agent = format!("agent-{number}");
            register(&db, team, &agent, &"t".repeat(500)).await;
            end(&db, team, &agent).await;
        }
        register(&db, team, "ann", "t").await;
        let frag = db.fragmentation().await.unwrap();
        assert!(frag.dead_share > 0.9, "{frag:?}");
        db.compact().await.unwrap();
        let left = db.metadata().await.unwrap().log_bytes;
        assert!(left < 64 * 1024, "{left}");
        db.checkpoint().await.unwrap();
        let files = world.vfs.files().unwrap();
        let checkpoint = files
            .iter()
            .find(|(path, _)| path.extension().is_some_and(|end| end == "ckpt"));
        assert!(checkpoint.unwrap().1.len() < 1_024);
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(names(&all(&db, team).await), ["ann"]);
        db.close().await.unwrap();
    });
}

#[test]
fn salvage_brings_back_what_agents_do() {
    run(async {
        let world = World::with(settings(0));
        let db = world.open().await;
        let gone = db.create_collective("gone").await.unwrap();
        register(&db, gone, "ann", "t").await;
        let team = db.create_collective("team").await.unwrap();
        register(&db, team, "ann", "first").await;
        register(&db, team, "ann", "second").await;
        register(&db, team, "bob", "t").await;
        end(&db, team, "bob").await;
        register(&db, team, "cid", "t").await;
        db.delete_collective(gone).await.unwrap();
        let before = all(&db, team).await;
        db.close().await.unwrap();
        let dest = PathBuf::from(format!("{}-rescued", world.path.display()));
        let (vfs, env) = (world.vfs.clone(), world.env.clone());
        let report = PulseDB::salvage_simulated(&world.path, &dest, vfs.clone(), env.clone());
        let report = report.await.unwrap();
        assert!(report.lost.is_empty());
        // A definition and two activities; the rest is over.
        assert_eq!((report.records, report.orphans), (3, 0));
        let db = PulseDB::open_simulated(&dest, world.config.clone(), vfs, env);
        let db = db.await.unwrap();
        assert_eq!(all(&db, team).await, before);
        assert_eq!(names(&before), ["ann", "cid"]);
        check_clean(&db).await;
        db.close().await.unwrap();
    });
}

/// Agent, task, since when and when heard of last, as far as the log knows.
type Logged = Vec<(String, String, i64, i64)>;

async fn logged(db: &PulseDB, team: CollectiveId) -> Logged {
    let all = all_at(&db.snapshot().await.unwrap(), team).await;
    let told = all.into_iter().map(|one| {
        let task = one
            .current_task
            .map_or_else(String::new, |task| task.to_string());
        let since = |time: Timestamp| time.as_millis() - START.as_millis();
        let times = (since(one.started_at), since(one.last_heartbeat));
        (one.agent_id.to_string(), task, times.0, times.1)
    });
    told.collect()
}

const STEPS: usize = 11;

/// A few requests, with what each does to the files.
async fn step(world: &World, db: &PulseDB, team: CollectiveId, number: usize) -> Result<()> {
    let (ann, bob) = (AgentId::from("ann"), AgentId::from("bob"));
    world.env.advance(THRESHOLD / 4);
    match number {
        0 => db.register_activity(doing(team, "ann", "first")).await,
        1 | 5 | 9 => db.update_heartbeat(team, &ann).await,
        2 => db.register_activity(doing(team, "bob", "first")).await,
        3 | 8 => db.checkpoint().await.map(drop),
        4 => db.end_activity(team, &bob).await,
        6 => db.register_activity(doing(team, "bob", "second")).await,
        7 => db.compact().await.map(drop),
        _ => db.end_activity(team, &ann).await,
    }
}

#[test]
fn a_crash_at_any_operation_keeps_what_was_acknowledged() {
    run(async {
        let mut expected: Vec<Logged> = Vec::new();
        let mut crashes = 0;
        for offset in 0.. {
            let mut world = World::with(settings(0));
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let begun = world.vfs.op_count();
            // The first time nothing breaks.
            if offset > 0 {
                world.vfs.crash_at(begun + offset - 1);
            }
            let mut done = 0;
            while done < STEPS && step(&world, &db, team, done).await.is_ok() {
                done += 1;
                if offset == 0 {
                    expected.push(logged(&db, team).await);
                }
            }
            if offset == 0 {
                expected.insert(0, Vec::new());
            } else if done == STEPS {
                break;
            }
            let survival = match offset % 3 {
                0 => Survival::KeepAll,
                1 => Survival::DropAll,
                _ => Survival::Random { stale_bytes: true },
            };
            let vfs = world.vfs.reboot(survival);
            let _ = db.close().await;
            world.vfs = vfs;
            if offset % 2 == 0 {
                without_checkpoints(&world.vfs);
            }
            let db = world.open().await;
            assert!(db.health_check().await.unwrap().recovery.damaged.is_empty());
            let found = logged(&db, team).await;
            let may_be = &expected[done..=(done + 1).min(STEPS)];
            assert!(
                may_be.contains(&found),
                "operation {offset}, step {done}: {found:?}"
            );
            check_clean(&db).await;
            db.close().await.unwrap();
            crashes += 1;
        }
        assert!(crashes > 40, "{crashes}");
    });
}

/// What is expected, without any of the machinery.
#[derive(Clone, Default)]
struct Model {
    /// Per team and agent: what is registered, with the last heartbeat in the log.
    known: BTreeMap<(usize, &'static str), Activity>,
    /// Later ones that are not.
    beats: BTreeMap<(usize, &'static str), Timestamp>,
}

impl Model {
    fn logged(&self, team: usize) -> Vec<Activity> {
        let mine = self.known.iter().filter(|((of, _), _)| *of == team);
        mine.map(|(_, activity)| activity.clone()).collect()
    }

    fn now(&self, team: usize) -> Vec<Activity> {
        let mine = self.known.iter().filter(|((of, _), _)| *of == team);
        mine.map(|(key, activity)| Activity {
            last_heartbeat: *self.beats.get(key).unwrap_or(&activity.last_heartbeat),
            ..activity.clone()
        })
        .collect()
    }
}

const AGENTS: [&str; 5] = ["ann", "bob", "cid", "dan", "eve"];
const TEAMS: usize = 2;

/// Random changes, upkeep, ends and crashes; after each the database says what the model says, and all that
/// is kept of the past stays as it was.
fn beside_a_model(seed: u64, kept: u64) {
    run(async {
        let mut state = seed;
        let mut chance = move |below: usize| {
            state = state
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(seed | 1);
            (state >> 33) as usize % below
        };
        let mut world = World::with(settings(kept));
        let mut db = world.open().await;
        let mut teams = Vec::new();
        for number in 0..TEAMS {
            teams.push(db.create_collective(&number.to_string()).await.unwrap());
        }
        let mut model = Model::default();
        let mut moments: Vec<(Lsn, Model)> = Vec::new();
        let mut now = 0;
        let mut held: Option<(Snapshot, Model)> = None;
        for step in 0..400 {
            let pause = [0, 1, 1_000, 40_000, 74_999, 75_000, 200_000][chance(7)];
            now += pause;
            world.env.advance(Duration::from_millis(pause as u64));
            let (team, agent) = (chance(TEAMS), AGENTS[chance(AGENTS.len())]);
            let (key, id) = ((team, agent), teams[team]);
            let known = model.known.contains_key(&key);
            match chance(20) {
                0..=4 => {
                    let task = step.to_string();
                    register(&db, id, agent, &task).await;
                    model.beats.remove(&key);
                    model.known.insert(
                        key,
                        Activity {
                            agent_id: agent.into(),
                            collective_id: id,
                            current_task: Some(task.as_str().into()),
                            context_summary: Some(format!("about {task}")),
                            started_at: at(now),
                            last_heartbeat: at(now),
                        },
                    );
                }
                5..=10 if known => {
                    beat(&db, id, agent).await;
                    let activity = model.known.get_mut(&key).unwrap();
                    let logged = activity.last_heartbeat.as_millis();
                    if at(now).as_millis() - logged >= 75_000 {
                        activity.last_heartbeat = at(now);
                        model.beats.remove(&key);
                    } else {
                        model.beats.insert(key, at(now));
                    }
                }
                11..=13 if known => {
                    end(&db, id, agent).await;
                    model.known.remove(&key);
                    model.beats.remove(&key);
                }
                14 => {
                    let batch = (0..20).map(|_| new(id, "words ".repeat(100)));
                    db.record_experiences(batch.collect()).await.unwrap();
                }
                15 => {
                    db.compact().await.unwrap();
                }
                16 => {
                    db.checkpoint().await.unwrap();
                }
                17 => held = Some((db.snapshot().await.unwrap(), model.clone())),
                18 | 19 => {
                    let crashed = chance(2) == 0;
                    if crashed {
                        // Acknowledged is durable; what is in memory alone is gone.
                        let vfs = world.vfs.reboot(Survival::DropAll);
                        let env = world.env.clone();
                        let path = world.path.clone();
                        let _ = db.close().await;
                        held = None;
                        world = World {
                            vfs,
                            env,
                            path,
                            config: settings(kept),
                        };
                    } else {
                        db.close().await.unwrap();
                    }
                    if chance(2) == 0 {
                        without_checkpoints(&world.vfs);
                    }
                    db = world.open().await;
                    model.beats.clear();
                    check_clean(&db).await;
                }
                _ => {}
            }
            for (number, id) in teams.iter().enumerate() {
                assert_eq!(all(&db, *id).await, model.now(number), "step {step}");
            }
            if let Some((snapshot, then)) = &held {
                for (number, id) in teams.iter().enumerate() {
                    assert_eq!(
                        all_at(snapshot, *id).await,
                        then.logged(number),
                        "step {step}"
                    );
                }
            }
            moments.push((newest(&db).await, model.clone()));
            if kept > 0 && step % 40 == 39 {
                for (lsn, then) in &moments {
                    let snapshot = db.snapshot_at(*lsn).await.unwrap();
                    for (number, id) in teams.iter().enumerate() {
                        assert_eq!(all_at(&snapshot, *id).await, then.logged(number), "{lsn}");
                    }
                }
            }
        }
        db.close().await.unwrap();
    });
}

#[test]
fn activities_are_what_a_model_says() {
    for seed in 1..7 {
        beside_a_model(seed, 0);
    }
}

#[test]
fn the_past_of_activities_is_what_a_model_says() {
    for seed in 11..15 {
        beside_a_model(seed, ALL);
    }
}
