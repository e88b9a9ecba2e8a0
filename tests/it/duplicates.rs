//! Is what a collective has already recorded once, if that is what was asked for?
#![allow(clippy::disallowed_methods, reason = "these tests start tasks")]

use std::{collections::BTreeMap, time::Duration};

use futures_util::future::join_all;
use proptest::prelude::*;
use pulsedb::{
    CollectiveId, Config, DuplicatePolicy, ExperienceId, ExperienceUpdate, HnswConfig,
    NewExperience, PulseDB, PulseDBError, RecallWeights, RecordAction, RecordOptions,
    RecordOutcome, SearchOptions, SyncMode, Timestamp, blocking,
    model::{DecayConfig, limits::MAX_DUPLICATES},
    sim::{FaultKind, Survival},
};

use super::support::{World, config, dump, everything, later, new, refused_field, run};

use DuplicatePolicy::{Insert, Reinforce, Report, Skip};
use RecordAction::{Recorded, Reinforced, Skipped};

fn by_content(duplicates: DuplicatePolicy) -> RecordOptions {
    RecordOptions {
        duplicates,
        same_content: true,
        similarity_threshold: None,
    }
}

fn near(duplicates: DuplicatePolicy, threshold: f32) -> RecordOptions {
    RecordOptions {
        duplicates,
        same_content: false,
        similarity_threshold: Some(threshold),
    }
}

fn at(team: CollectiveId, content: &str, vector: [f32; 4]) -> NewExperience {
    NewExperience {
        embedding: Some(vector.to_vec()),
        ..new(team, content)
    }
}

fn ids(outcome: &RecordOutcome) -> Vec<ExperienceId> {
    outcome.duplicates.iter().map(|one| one.id).collect()
}

async fn team(db: &PulseDB) -> CollectiveId {
    db.get_or_create_collective("team").await.unwrap()
}

#[test]
fn each_policy_does_what_it_says() {
    run(async {
        for options in [by_content(Skip), near(Skip, 0.9)] {
            let world = World::new();
            let db = world.open().await;
            let team = team(&db).await;
            let record = |duplicates| {
                let options = RecordOptions {
                    duplicates,
                    ..options
                };
                db.record_experience_with(new(team, "the same"), options)
            };
            let first = record(Skip).await.unwrap();
            assert_eq!((first.action, ids(&first)), (Recorded, vec![]));
            let before = dump(&db).await;

            let skipped = record(Skip).await.unwrap();
            assert_eq!((skipped.action, skipped.id), (Skipped, first.id));
            assert_eq!(ids(&skipped), [first.id]);
            assert_eq!(dump(&db).await, before);

            let reinforced = record(Reinforce).await.unwrap();
            assert_eq!((reinforced.action, reinforced.id), (Reinforced, first.id));
            let known = db.get_experience(first.id).await.unwrap();
            assert_eq!(known.applications(), 1);

            let second = record(Report).await.unwrap();
            assert_eq!((second.action, ids(&second)), (Recorded, vec![first.id]));
            let similar = second.duplicates[0].similarity;
            assert_eq!(similar, options.similarity_threshold.map(|_| 1.0));
            assert_eq!(second.duplicates[0].same_content, options.same_content);

            let third = record(Insert).await.unwrap();
            assert_eq!((third.action, ids(&third)), (Recorded, vec![]));
            // The oldest of them is the best.
            let again = record(Reinforce).await.unwrap();
            assert_eq!(again.id, first.id);
            assert_eq!(ids(&again), [first.id, second.id, third.id]);
            assert_eq!(everything(&db, team).await.len(), 3);

            // Another collective has none of it.
            let other = db.create_collective("other").await.unwrap();
            let there = db
                .record_experience_with(new(other, "the same"), options)
                .await
                .unwrap();
            assert_eq!((there.action, ids(&there)), (Recorded, vec![]));
            db.close().await.unwrap();
        }
    });
}

#[test]
fn what_cannot_be_meant_is_refused() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = team(&db).await;
        for threshold in [0.0, -0.0, -0.5, 1.000_000_1, f32::NAN, f32::INFINITY] {
            for duplicates in [Insert, Skip] {
                let answer = db
                    .record_experience_with(new(team, "x"), near(duplicates, threshold))
                    .await;
                assert_eq!(refused_field(answer), "options.similarity_threshold");
            }
        }
        for duplicates in [Skip, Reinforce, Report] {
            let options = RecordOptions {
                duplicates,
                ..RecordOptions::default()
            };
            let answer = db.record_experience_with(new(team, "x"), options).await;
            assert_eq!(refused_field(answer), "options.duplicates");
        }
        let nowhere = CollectiveId::from_uuid(uuid::Uuid::max());
        let answer = db
            .record_experience_with(new(nowhere, "x"), by_content(Skip))
            .await;
        assert!(matches!(answer, Err(PulseDBError::NotFound { .. })));
        let bad = NewExperience {
            importance: 2.0,
            ..new(team, "bad")
        };
        let batch = vec![new(team, "good"), bad];
        let answer = db.record_experiences_with(batch, by_content(Skip)).await;
        assert_eq!(refused_field(answer), "importance");
        assert!(
            db.record_experiences_with(Vec::new(), by_content(Skip))
                .await
                .unwrap()
                .is_empty()
        );
        assert!(everything(&db, team).await.is_empty());
        db.close().await.unwrap();
        let read_only = world.open_read_only().await;
        let answer = read_only
            .record_experience_with(new(team, "x"), by_content(Skip))
            .await;
        assert!(matches!(answer, Err(PulseDBError::ReadOnly { .. })));
        read_only.close().await.unwrap();
    });
}

#[test]
fn a_threshold_is_met_by_what_is_exactly_as_similar() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = team(&db).await;
        let base = at(team, "base", [0.1, 0.7, -0.3, 0.2]);
        let id = db.record_experience(base.clone()).await.unwrap();
        for (number, vector) in [
            [0.1, 0.7, -0.3, 0.25],
            [0.2, 0.7, 0.3, 0.2],
            [0.1, 0.7, -0.3, 0.2],
            [1.0, 7.0, -3.0, 2.0],
        ]
        .into_iter()
        .enumerate()
        {
            let hits = db.search_similar(team, &vector, 1).await.unwrap();
            let similarity = hits[0].similarity;
            let ask = |threshold: f32| {
                let one = at(team, &format!("asked {number}"), vector);
                db.record_experience_with(one, near(Skip, threshold))
            };
            let met = ask(similarity).await.unwrap();
            assert_eq!((met.action, met.id), (Skipped, id));
            assert_eq!(met.duplicates[0].similarity, Some(similarity));
            let above = similarity.next_up();
            if above <= 1.0 {
                let missed = ask(above).await.unwrap();
                assert_eq!((missed.action, ids(&missed)), (Recorded, vec![]));
                db.delete_experience(missed.id).await.unwrap();
            }
        }
        // The same vector is as similar as can be.
        let same = db
            .record_experience_with(base, near(Skip, 1.0))
            .await
            .unwrap();
        assert_eq!(same.duplicates[0].similarity, Some(1.0));
        // One that points away is a duplicate at no threshold.
        let away = at(team, "away", [-0.1, -0.7, 0.3, -0.2]);
        let tiny = near(Skip, f32::MIN_POSITIVE);
        let away = db.record_experience_with(away, tiny).await.unwrap();
        assert_eq!(away.action, Recorded);
        db.close().await.unwrap();
    });
}

#[test]
fn archived_ones_count_and_those_that_are_gone_do_not() {
    run(async {
        for options in [by_content(Skip), near(Skip, 0.9)] {
            let world = World::new();
            let db = world.open().await;
            let team = team(&db).await;
            let expires_at = later(1_000);
            let brief = NewExperience {
                expires_at: Some(expires_at),
                ..new(team, "the same")
            };
            let first = db.record_experience_with(brief, options).await.unwrap();
            let ask = || db.record_experience_with(new(team, "the same"), options);
            db.archive_experience(first.id).await.unwrap();
            assert_eq!(ask().await.unwrap().id, first.id);
            let known = db.get_experience(first.id).await.unwrap();
            assert!(known.archived, "a duplicate does not bring it back");

            world.env.advance(Duration::from_secs(1));
            let second = ask().await.unwrap();
            assert_eq!((second.action, ids(&second)), (Recorded, vec![]));

            db.delete_experience(second.id).await.unwrap();
            let third = ask().await.unwrap();
            assert_eq!((third.action, ids(&third)), (Recorded, vec![]));

            // One that is pinned does not expire.
            let update = ExperienceUpdate {
                expires_at: Some(Some(expires_at)),
                pinned: Some(true),
                ..ExperienceUpdate::default()
            };
            db.update_experience(third.id, update).await.unwrap();
            assert_eq!(ask().await.unwrap().id, third.id);
            db.close().await.unwrap();
        }
    });
}

#[test]
fn the_best_come_first_and_not_more_than_some() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = team(&db).await;
        // Weights of the collective have no say.
        let decay = DecayConfig {
            default_recall_weights: Some(RecallWeights {
                similarity: 0.0,
                energy: 1.0,
            }),
            ..DecayConfig::default()
        };
        db.set_decay_config(team, decay).await.unwrap();
        let mut known = Vec::new();
        for step in 0..40_u8 {
            let vector = [1.0, 0.002 * f32::from((u16::from(step) * 7) % 40), 0.0, 0.0];
            let content = if step % 20 == 5 { "asked" } else { "other" };
            let one = NewExperience {
                importance: f32::from(step) / 40.0,
                ..at(team, content, vector)
            };
            known.push((vector[1], db.record_experience(one).await.unwrap(), content));
        }
        let asked = at(team, "asked", [1.0, 0.0, 0.0, 0.0]);
        let both = RecordOptions {
            same_content: true,
            ..near(Report, 0.5)
        };
        let outcome = db
            .record_experience_with(asked.clone(), both)
            .await
            .unwrap();
        let same = known.iter().filter(|(.., content)| *content == "asked");
        let mut expected: Vec<ExperienceId> = same.map(|(_, id, _)| *id).collect();
        assert_eq!(expected.len(), 2);
        known.sort_by(|a, b| a.0.total_cmp(&b.0));
        let others = known.iter().filter(|(.., content)| *content == "other");
        expected.extend(others.map(|(_, id, _)| *id));
        expected.truncate(MAX_DUPLICATES);
        assert_eq!(ids(&outcome), expected);
        assert!(
            outcome
                .duplicates
                .iter()
                .all(|one| one.similarity.unwrap() >= 0.5)
        );
        db.delete_experience(outcome.id).await.unwrap();

        // When the best of a full list go, the next ones are found.
        for id in expected {
            db.delete_experience(id).await.unwrap();
        }
        let outcome = db.record_experience_with(asked, both).await.unwrap();
        let left: Vec<_> = known.iter().map(|(_, id, _)| *id).collect();
        assert_eq!(ids(&outcome)[0], left[MAX_DUPLICATES - 2]);
        db.close().await.unwrap();
    });
}

#[test]
fn a_batch_meets_itself() {
    run(async {
        let world = World::with(Config {
            segment_bytes: 4 << 20,
            max_commit_bytes: 1 << 20,
            ..config()
        });
        let db = world.open().await;
        let team = team(&db).await;
        let known = db.record_experience(new(team, "known")).await.unwrap();
        let batch = |contents: &[&str]| contents.iter().map(|c| new(team, *c)).collect();
        let outcomes = db
            .record_experiences_with(batch(&["a", "known", "b", "a", "known"]), by_content(Skip))
            .await
            .unwrap();
        let actions: Vec<_> = outcomes.iter().map(|one| one.action).collect();
        assert_eq!(actions, [Recorded, Skipped, Recorded, Skipped, Skipped]);
        assert_eq!(outcomes[3].id, outcomes[0].id);
        assert_eq!((outcomes[1].id, outcomes[4].id), (known, known));
        assert_eq!(everything(&db, team).await.len(), 3);

        let outcomes = db
            .record_experiences_with(batch(&["c", "c", "c", "known"]), by_content(Reinforce))
            .await
            .unwrap();
        let applied = async |id| db.get_experience(id).await.unwrap().applications();
        assert_eq!(applied(outcomes[0].id).await, 2);
        assert_eq!(applied(known).await, 1);

        // More than the committer compares with at first, all of them alike.
        let many: Vec<_> = (0..700)
            .map(|n| new(team, format!("{}", n % 650)))
            .collect();
        let outcomes = db
            .record_experiences_with(many, by_content(Skip))
            .await
            .unwrap();
        let recorded = outcomes.iter().filter(|one| one.action == Recorded);
        assert_eq!(recorded.count(), 650);
        db.close().await.unwrap();
    });
}

#[test]
fn a_key_comes_before_the_policy() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = team(&db).await;
        let keyed = |content: &str, key: &str| NewExperience {
            idempotency_key: Some(key.into()),
            ..new(team, content)
        };
        let record = |new, options| db.record_experience_with(new, options);
        let first = record(keyed("text", "k1"), by_content(Skip)).await.unwrap();
        assert_eq!(first.action, Recorded);
        for duplicates in [Insert, Skip, Reinforce, Report] {
            let again = record(keyed("another text", "k1"), by_content(duplicates))
                .await
                .unwrap();
            assert_eq!((again.action, again.id), (Skipped, first.id));
            assert!(again.duplicates.is_empty());
        }
        let known = db.get_experience(first.id).await.unwrap();
        assert_eq!(
            (known.applications(), everything(&db, team).await.len()),
            (0, 1)
        );

        // A key that recorded nothing is not taken.
        let skipped = record(keyed("text", "k2"), by_content(Skip)).await.unwrap();
        assert_eq!((skipped.action, skipped.id), (Skipped, first.id));
        let second = record(keyed("new text", "k2"), by_content(Skip))
            .await
            .unwrap();
        assert_eq!(second.action, Recorded);

        // One that has expired gives its key free.
        let brief = NewExperience {
            expires_at: Some(later(1_000)),
            ..keyed("brief", "k3")
        };
        let brief = record(brief, by_content(Skip)).await.unwrap();
        world.env.advance(Duration::from_secs(1));
        let later = record(keyed("later", "k3"), by_content(Skip))
            .await
            .unwrap();
        assert!(later.action == Recorded && later.id != brief.id);
        let plain = db
            .record_experience(keyed("once more", "k3"))
            .await
            .unwrap();
        assert_eq!(plain, later.id);
        db.close().await.unwrap();
        let db = world.open().await;
        let plain = db
            .record_experience(keyed("once more", "k3"))
            .await
            .unwrap();
        assert_eq!(plain, later.id);
        db.close().await.unwrap();
    });
}

#[test]
fn a_reopened_database_knows_what_it_has() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = team(&db).await;
        let mut known = Vec::new();
        for number in 0..600_u16 {
            let angle = f32::from(number) / 100.0;
            let vector = [angle.cos(), angle.sin(), 1.0, 0.0];
            let one = at(team, &format!("text {number}"), vector);
            known.push((one.clone(), db.record_experience(one).await.unwrap()));
        }
        for (_, id) in known.iter().step_by(3) {
            db.delete_experience(*id).await.unwrap();
        }
        let mut db = db;
        for round in 0..4 {
            for (number, (one, id)) in known.iter().enumerate().step_by(7) {
                let options = [by_content(Skip), near(Skip, 1.0)][number % 2];
                let dead = number % 3 == 0;
                let outcome = db
                    .record_experience_with(one.clone(), options)
                    .await
                    .unwrap();
                if dead {
                    assert_eq!((outcome.action, ids(&outcome)), (Recorded, vec![]));
                    db.delete_experience(outcome.id).await.unwrap();
                } else {
                    assert_eq!((outcome.action, outcome.id), (Skipped, *id));
                }
            }
            match round {
                0 => drop(db.compact().await.unwrap()),
                1 => drop(db.checkpoint().await.unwrap()),
                _ => {}
            }
            db.close().await.unwrap();
            db = world.open().await;
        }
        db.close().await.unwrap();
    });
}

#[test]
fn duplicates_are_found_behind_graphs() {
    let world = World::with(Config {
        hnsw: HnswConfig {
            first_graph_rows: 200,
            tail_rows: 50,
            ef_search: 4,
            ..HnswConfig::default()
        },
        sync_mode: SyncMode::Fast,
        ..config()
    });
    let db = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    let vector = |number: u16| {
        let angle = f32::from(number);
        [
            angle.cos(),
            angle.sin(),
            (angle * 1.7).cos(),
            (angle * 0.3).sin(),
        ]
    };
    let mut known = Vec::new();
    for number in 0..600_u16 {
        let one = at(team, &format!("text {number}"), vector(number));
        known.push(db.record_experience(one).unwrap());
    }
    db.rebuild_index(team).unwrap();
    for number in 600..650_u16 {
        let one = at(team, &format!("text {number}"), vector(number));
        known.push(db.record_experience(one).unwrap());
    }
    let plan = db
        .explain(team, vector(3), SearchOptions::default())
        .unwrap();
    assert!(plan.in_graphs >= 600, "{plan:?}");
    for (number, id) in known.iter().enumerate() {
        let one = at(team, "asked", vector(number as u16));
        let outcome = db.record_experience_with(one, near(Skip, 1.0)).unwrap();
        assert_eq!((outcome.action, outcome.id), (Skipped, *id), "{number}");
    }
    db.close().unwrap();
}

/// Many who record the same at once: one is first, whatever else is recorded beside.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn many_who_record_the_same_record_it_once() {
    for mode in [SyncMode::Normal, SyncMode::Fast, SyncMode::Paranoid] {
        let dir = tempfile::tempdir().unwrap();
        let config = Config {
            sync_mode: mode,
            ..config()
        };
        let db = PulseDB::open(dir.path(), config).await.unwrap();
        let team = team(&db).await;
        let rounds = if mode == SyncMode::Paranoid { 2 } else { 6 };
        for round in 0..rounds {
            let options = [by_content(Skip), near(Skip, 1.0), by_content(Reinforce)][round % 3];
            let vector = [round as f32 + 1.0, 1.0, 0.0, 0.0];
            let tasks = (0..48).map(|task| {
                let db = db.clone();
                let one = at(team, &format!("round {round}"), vector);
                tokio::spawn(async move {
                    match task % 4 {
                        // Others, so that the groups are not of one kind.
                        0 => {
                            let many = (0..8).map(|n| {
                                let vector = [0.0, 0.0, n as f32 + 1.0, task as f32 - 20.5];
                                at(team, &format!("{round} {task} {n}"), vector)
                            });
                            db.record_experiences(many.collect()).await.unwrap();
                            None
                        }
                        1 => {
                            let batch = vec![one.clone(), one];
                            let both = db.record_experiences_with(batch, options).await.unwrap();
                            assert_eq!(both[0].id, both[1].id);
                            Some(both)
                        }
                        _ => Some(vec![db.record_experience_with(one, options).await.unwrap()]),
                    }
                })
            });
            let outcomes: Vec<RecordOutcome> = join_all(tasks.collect::<Vec<_>>())
                .await
                .into_iter()
                .flat_map(|outcome| outcome.unwrap().unwrap_or_default())
                .collect();
            let recorded: Vec<_> = outcomes.iter().filter(|o| o.action == Recorded).collect();
            assert_eq!(recorded.len(), 1, "{mode:?} {round}");
            assert!(outcomes.iter().all(|outcome| outcome.id == recorded[0].id));
            let one = db.get_experience(recorded[0].id).await.unwrap();
            let applied = outcomes.iter().filter(|o| o.action == Reinforced).count();
            assert_eq!(one.applications() as usize, applied);
            assert!(options.duplicates == Skip || applied == outcomes.len() - 1);
        }
        let all = everything(&db, team).await;
        assert_eq!(all.len(), rounds * (1 + 12 * 8));
        db.close().await.unwrap();
    }
}

/// More comes in between look and commit than the committer compares with: looking ends all the same.
#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn looking_ends_beside_those_who_record_without_pause() {
    let dir = tempfile::tempdir().unwrap();
    let config = Config {
        sync_mode: SyncMode::Fast,
        max_queue_bytes: 16 << 20,
        max_commit_bytes: 1 << 20,
        segment_bytes: 8 << 20,
        ..config()
    };
    let db = PulseDB::open(dir.path(), config).await.unwrap();
    let team = team(&db).await;
    let done = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
    let load = (0..4).map(|task| {
        let (db, done) = (db.clone(), done.clone());
        tokio::spawn(async move {
            let mut count = 0;
            while !done.load(std::sync::atomic::Ordering::Relaxed) {
                let batch = (0..600).map(|n| new(team, format!("{task} {count} {n}")));
                db.record_experiences(batch.collect()).await.unwrap();
                count += 600;
            }
            count
        })
    });
    let load: Vec<_> = load.collect();
    let tasks = (0..24).map(|task| {
        let db = db.clone();
        tokio::spawn(async move {
            let one = at(team, &format!("asked {}", task % 8), [-1.0, 0.0, 0.0, 0.0]);
            db.record_experience_with(one, by_content(Skip))
                .await
                .unwrap()
        })
    });
    let outcomes = join_all(tasks.collect::<Vec<_>>()).await;
    let recorded = outcomes
        .iter()
        .filter(|o| o.as_ref().unwrap().action == Recorded);
    assert_eq!(recorded.count(), 8);
    done.store(true, std::sync::atomic::Ordering::Relaxed);
    let beside: usize = join_all(load).await.into_iter().map(Result::unwrap).sum();
    let stats = db.get_collective_stats(team).await.unwrap();
    assert_eq!(stats.experience_count as usize, beside + 8);
    db.close().await.unwrap();
}

/// A crash or a failure at every operation leaves at most one of each, and a retry makes it exactly one.
#[test]
fn a_crash_at_every_operation_leaves_no_duplicate() {
    let workload = |db: &blocking::PulseDB| -> pulsedb::Result<()> {
        let team = db.get_or_create_collective("team")?;
        for round in 0..3_u8 {
            for content in ["a", "b"] {
                let vector = [f32::from(content.as_bytes()[0]), 1.0, 0.0, 0.0];
                let one = at(team, content, vector);
                let options = [by_content(Skip), near(Reinforce, 0.999_99)][usize::from(round % 2)];
                db.record_experience_with(one, options)?;
            }
            let batch = ["c", "a", "c"].map(|content| at(team, content, [-1.0, 1.0, 0.0, 0.0]));
            db.record_experiences_with(batch.into(), by_content(Skip))?;
        }
        Ok(())
    };
    let check = |db: &blocking::PulseDB| {
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        if let Some(team) = db.list_collectives().unwrap().first() {
            let all = db.get_recent_experiences(team.id, 1000).unwrap();
            for one in all {
                *seen.entry(one.content).or_default() += 1;
            }
        }
        assert!(seen.values().all(|count| *count == 1), "{seen:?}");
        seen.len()
    };
    let quiet = World::new();
    let db = quiet.open_blocking(false);
    let opened = quiet.vfs.op_count();
    workload(&db).unwrap();
    assert_eq!(check(&db), 3);
    let ops = quiet.vfs.op_count();
    db.close().unwrap();
    for op in opened..ops {
        for crash in [true, false] {
            let world = World::new();
            let db = world.open_blocking(false);
            if crash {
                world.vfs.crash_at(op);
            } else {
                world.vfs.fail_at(op, FaultKind::Enospc);
            }
            let _ = workload(&db);
            let _ = db.close();
            let survivals = [Survival::DropAll, Survival::Random { stale_bytes: true }];
            for survival in survivals {
                let left = World {
                    vfs: world.vfs.reboot(survival),
                    ..World::new()
                };
                let left = World {
                    path: world.path.clone(),
                    ..left
                };
                let db = left.open_blocking(false);
                check(&db);
                workload(&db).unwrap();
                assert_eq!(check(&db), 3, "{op} {crash}");
                db.close().unwrap();
            }
        }
    }
}

/// What is done to a database, and to the model of it.
#[derive(Clone, Debug)]
enum Step {
    Record {
        content: u8,
        direction: u8,
        options: RecordOptions,
        lifetime: Option<u8>,
        key: Option<u8>,
    },
    Delete(prop::sample::Index),
    Archive(prop::sample::Index),
    Pin(prop::sample::Index, bool),
    Advance(u8),
    Expire,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    let options = (
        prop_oneof![Just(Insert), Just(Skip), Just(Reinforce), Just(Report)],
        any::<bool>(),
        prop::option::of(prop_oneof![Just(1.0_f32), Just(0.9), Just(0.6), Just(0.4)]),
    )
        .prop_map(
            |(duplicates, same_content, similarity_threshold)| RecordOptions {
                duplicates,
                same_content: same_content || similarity_threshold.is_none(),
                similarity_threshold,
            },
        );
    let record = (
        0_u8..5,
        0_u8..6,
        options,
        prop::option::weighted(0.3, 0_u8..5),
        prop::option::weighted(0.2, 0_u8..4),
    )
        .prop_map(
            |(content, direction, options, lifetime, key)| Step::Record {
                content,
                direction,
                options,
                lifetime,
                key,
            },
        );
    prop_oneof![
        12 => record,
        2 => any::<prop::sample::Index>().prop_map(Step::Delete),
        1 => any::<prop::sample::Index>().prop_map(Step::Archive),
        1 => (any::<prop::sample::Index>(), any::<bool>()).prop_map(|(at, pin)| Step::Pin(at, pin)),
        2 => (1_u8..4).prop_map(Step::Advance),
        1 => Just(Step::Expire),
        1 => Just(Step::Reopen),
    ]
}

/// Directions whose similarities are far from every threshold but 1.
const DIRECTIONS: [[f32; 4]; 6] = [
    [1.0, 0.0, 0.0, 0.0],
    [0.0, 1.0, 0.0, 0.0],
    [1.0, 1.0, 0.0, 0.0],
    [1.0, 0.0, 1.0, 0.0],
    [1.0, 0.0, 0.1, 0.0],
    [-1.0, 0.0, 0.0, 0.0],
];

struct Row {
    id: ExperienceId,
    content: u8,
    direction: u8,
    expires_at: Option<Timestamp>,
    pinned: bool,
    key: Option<u8>,
    applications: u32,
    archived: bool,
}

fn similarity(a: u8, b: u8) -> f64 {
    let (a, b) = (DIRECTIONS[usize::from(a)], DIRECTIONS[usize::from(b)]);
    let dot = |a: [f32; 4], b: [f32; 4]| -> f64 {
        let pairs = a.into_iter().zip(b);
        pairs.map(|(a, b)| f64::from(a) * f64::from(b)).sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn policies_do_as_a_plain_model_does(steps in prop::collection::vec(step(), 1..60)) {
        let world = World::new();
        let mut db = world.open_blocking(false);
        let team = db.create_collective("team").unwrap();
        let mut rows: Vec<Row> = Vec::new();
        let mut now = later(0);
        for step in steps {
            let lives = |row: &Row| row.pinned || row.expires_at.is_none_or(|at| at > now);
            let pick = |at: prop::sample::Index, rows: &[Row]| {
                let living: Vec<usize> = (0..rows.len()).filter(|n| lives(&rows[*n])).collect();
                (!living.is_empty()).then(|| living[at.index(living.len())])
            };
            match step {
                Step::Record { content, direction, options, lifetime, key } => {
                    let expires_at = lifetime.map(|secs| {
                        Timestamp::from_millis(now.as_millis() + i64::from(secs) * 1000)
                    });
                    let one = NewExperience {
                        expires_at,
                        idempotency_key: key.map(|key| format!("key {key}")),
                        ..at(team, &format!("text {content}"), DIRECTIONS[usize::from(direction)])
                    };
                    let outcome = db.record_experience_with(one, options).unwrap();
                    let keyed = rows.iter().find(|row| key.is_some() && row.key == key && lives(row));
                    if let Some(known) = keyed {
                        prop_assert_eq!((outcome.action, outcome.id), (Skipped, known.id));
                        prop_assert!(outcome.duplicates.is_empty());
                        continue;
                    }
                    rows.retain(|row| key.is_none() || row.key != key);
                    let mut expected: Vec<(bool, f64, ExperienceId)> = rows.iter()
                        .filter(|row| lives(row) && options.duplicates != Insert)
                        .map(|row| {
                            let same = options.same_content && row.content == content;
                            (same, similarity(row.direction, direction), row.id)
                        })
                        .filter(|(same, similarity, _)| *same || options.similarity_threshold
                            .is_some_and(|least| *similarity >= f64::from(least) - 1e-6))
                        .collect();
                    expected.sort_by(|a, b| b.0.cmp(&a.0).then_with(|| {
                        let by_likeness = if a.0 { std::cmp::Ordering::Equal } else { b.1.total_cmp(&a.1) };
                        by_likeness.then(a.2.cmp(&b.2))
                    }));
                    expected.truncate(MAX_DUPLICATES);
                    let expected: Vec<_> = expected.into_iter().map(|(.., id)| id).collect();
                    prop_assert_eq!(&ids(&outcome), &expected, "{:?}", options);
                    let best = expected.first().copied();
                    let action = match (options.duplicates, best) {
                        (Skip, Some(_)) => Skipped,
                        (Reinforce, Some(_)) => Reinforced,
                        _ => Recorded,
                    };
                    prop_assert_eq!(outcome.action, action);
                    match action {
                        Recorded => rows.push(Row {
                            id: outcome.id,
                            content,
                            direction,
                            expires_at,
                            pinned: false,
                            key,
                            applications: 0,
                            archived: false,
                        }),
                        _ => prop_assert_eq!(Some(outcome.id), best),
                    }
                    if action == Reinforced {
                        let row = rows.iter_mut().find(|row| row.id == outcome.id).unwrap();
                        row.applications += 1;
                    }
                }
                Step::Delete(at) => if let Some(row) = pick(at, &rows) {
                    db.delete_experience(rows.remove(row).id).unwrap();
                },
                Step::Archive(at) => if let Some(row) = pick(at, &rows) {
                    db.archive_experience(rows[row].id).unwrap();
                    rows[row].archived = true;
                },
                Step::Pin(at, pinned) => if let Some(row) = pick(at, &rows) {
                    let update = ExperienceUpdate { pinned: Some(pinned), ..ExperienceUpdate::default() };
                    db.update_experience(rows[row].id, update).unwrap();
                    rows[row].pinned = pinned;
                },
                Step::Advance(secs) => {
                    world.env.advance(Duration::from_secs(secs.into()));
                    now = Timestamp::from_millis(now.as_millis() + i64::from(secs) * 1000);
                }
                Step::Expire => {
                    let expired = rows.iter().filter(|row| !lives(row)).count();
                    prop_assert_eq!(db.expire().unwrap(), expired);
                    rows.retain(lives);
                }
                Step::Reopen => {
                    db.close().unwrap();
                    db = world.open_blocking(false);
                }
            }
            let lives = |row: &&Row| row.pinned || row.expires_at.is_none_or(|at| at > now);
            for row in rows.iter().filter(lives) {
                let there = db.get_experience(row.id).unwrap();
                prop_assert_eq!((there.applications(), there.archived), (row.applications, row.archived));
            }
        }
        db.close().unwrap();
    }
}
