//! Does an open that begins with a checkpoint find what one that reads the whole log finds?
//!
//! And whatever happens to a checkpoint, while it is written or afterwards: does it cost anything but
//! time?

#![allow(
    clippy::disallowed_methods,
    reason = "tasks write beside checkpoints, and wait for them"
)]

use std::{collections::BTreeMap, path::PathBuf, time::Duration};

use pulsedb::{
    Collective, CollectiveId, Config, Experience, ExperienceId, ExperienceUpdate, NewExperience,
    PulseDB, PulseDBError, RecoveryReport, SearchFilter, SearchOptions, SyncMode,
    sim::{FaultKind, SimVfs, Survival},
};

use crate::support::{DIMENSION, World, config, dump, everything, new, run};

/// Everything that a database answers.
#[derive(Debug, PartialEq)]
struct Told {
    all: Vec<(Collective, Vec<Experience>)>,
    found: Vec<Vec<ExperienceId>>,
    by_agent: Vec<Vec<ExperienceId>>,
    counts: Vec<u64>,
}

async fn told(db: &PulseDB) -> Told {
    let all = dump(db).await;
    let (mut found, mut by_agent, mut counts) = (Vec::new(), Vec::new(), Vec::new());
    for (collective, experiences) in &all {
        for one in experiences {
            assert_eq!(&db.get_experience(one.id).await.unwrap(), one);
        }
        for agent in ["agent", "ann", "bob", "nobody"] {
            let query = [0.3, -1.0, 0.2, 0.7];
            let filter = SearchFilter {
                source_agents: vec![agent.into()],
                exclude_archived: false,
                ..SearchFilter::default()
            };
            let hits = db.search_similar_filtered(collective.id, &query, 50, filter);
            let hits = hits.await.unwrap();
            by_agent.push(hits.iter().map(|hit| hit.experience.id).collect());
        }
        let options = SearchOptions {
            k: 20,
            ..SearchOptions::default()
        };
        let hits = db.search(collective.id, &[1.0, 0.1, 0.2, -0.3], options);
        let hits = hits.await.unwrap();
        found.push(hits.iter().map(|hit| hit.experience.id).collect());
        let stats = db.get_collective_stats(collective.id).await.unwrap();
        counts.push(stats.experience_count);
    }
    Told {
        all,
        found,
        by_agent,
        counts,
    }
}

async fn report(db: &PulseDB) -> RecoveryReport {
    db.health_check().await.unwrap().recovery
}

/// A few hundred changes of all kinds; which, follows from `seed`.
async fn change(db: &PulseDB, seed: u64, count: u64) {
    let mut state = seed;
    let mut chance = move |below: u64| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(seed | 1);
        (state >> 33) % below
    };
    for _ in 0..2 {
        if db.list_collectives().await.unwrap().len() < 3 {
            let name = format!("team {}", chance(1_000));
            db.create_collective(&name).await.unwrap();
        }
    }
    for number in 0..count {
        let teams = db.list_collectives().await.unwrap();
        let team = teams[chance(teams.len() as u64) as usize].id;
        let known = everything(db, team).await;
        if known.is_empty() || chance(10) < 5 {
            let some = 1 + chance(9);
            let batch = (0..some).map(|at| NewExperience {
                embedding: Some((0..DIMENSION).map(|_| chance(100) as f32 - 49.5).collect()),
                idempotency_key: (at == 0).then(|| format!("{seed} {number}")),
                source_agent: ["agent", "ann", "bob"][chance(3) as usize].into(),
                domain: vec![format!("d{}", chance(3))],
                ..new(team, format!("{seed} {number} {at}"))
            });
            db.record_experiences(batch.collect()).await.unwrap();
            continue;
        }
        let one = &known[chance(known.len() as u64) as usize];
        match chance(8) {
            0 => db.delete_experience(one.id).await.unwrap(),
            1 => drop(db.reinforce_experience(one.id).await.unwrap()),
            2 => db.archive_experience(one.id).await.unwrap(),
            3 => db
                .set_tag(one.id, "tag", &number.to_string())
                .await
                .unwrap(),
            4 if teams.len() > 1 && chance(9) == 0 => db.delete_collective(team).await.unwrap(),
            5 => {
                for old in known.iter().take(20) {
                    db.delete_experience(old.id).await.unwrap();
                }
            }
            _ => {
                let update = ExperienceUpdate {
                    importance: Some(chance(5) as f32 / 4.0),
                    domain: Some(vec!["changed".into()]),
                    ..ExperienceUpdate::default()
                };
                db.update_experience(one.id, update).await.unwrap();
            }
        }
    }
}

fn checkpoints(vfs: &SimVfs) -> Vec<PathBuf> {
    let files = vfs.files().unwrap().into_iter().map(|(path, _)| path);
    files
        .filter(|path| path.to_string_lossy().contains(".ckpt"))
        .collect()
}

impl World {
    /// The same files as they would be after the machine was switched off and on. Nothing works on those
    /// of before any more, but they can be taken again.
    fn rebooted(&self, survival: Survival) -> Self {
        let world = Self::with(self.config.clone());
        Self {
            path: self.path.clone(),
            vfs: self.vfs.reboot(survival),
            ..world
        }
    }

    /// The same without its checkpoints.
    fn without_checkpoints(&self) -> Self {
        let world = self.rebooted(Survival::KeepAll);
        for path in checkpoints(&world.vfs) {
            spoil(&world.vfs, &path);
        }
        world
    }
}

/// Flips a bit of each of a checkpoint's parts: as good as removing it.
fn spoil(vfs: &SimVfs, path: &std::path::Path) {
    for offset in [0, 40, 200] {
        vfs.flip_bit(path, offset, 3).unwrap();
    }
}

#[test]
fn an_open_with_a_checkpoint_finds_what_one_without_finds() {
    run(async {
        for seed in 1..6 {
            let world = World::new();
            let db = world.open().await;
            change(&db, seed, 60).await;
            let first = db.checkpoint().await.unwrap();
            assert_eq!(first, db.current_cursor().await.unwrap());
            assert_eq!(db.checkpoint().await.unwrap(), first, "nothing is new");
            change(&db, seed + 100, 25).await;
            let expected = told(&db).await;
            db.close().await.unwrap();

            let without = world.without_checkpoints();
            let world = world.rebooted(Survival::KeepAll);
            let db = world.open().await;
            let with = report(&db).await;
            assert!(with.clean && with.checkpoint == Some(first.lsn), "{with:?}");
            assert_eq!(told(&db).await, expected);
            let plain = without.open().await;
            let all = report(&plain).await;
            assert!(all.clean && all.checkpoint.is_none() && all.damaged.is_empty());
            assert!(all.checkpoint_unusable.is_some() && all.records > with.records);
            assert_eq!(told(&plain).await, expected);

            // Both go on the same: with the same numbers, and keys that are known.
            for db in [&db, &plain] {
                for (collective, known) in &expected.all {
                    let keyed = known.iter().filter(|one| one.idempotency_key.is_some());
                    for one in keyed {
                        let again = NewExperience {
                            idempotency_key: one.idempotency_key.clone(),
                            ..new(collective.id, "again")
                        };
                        assert_eq!(db.record_experience(again).await.unwrap(), one.id);
                    }
                }
                change(db, seed + 200, 30).await;
            }
            let contents = |told: &Told| -> Vec<Vec<String>> {
                let teams = told.all.iter();
                teams
                    .map(|(_, all)| all.iter().map(|one| one.content.clone()).collect())
                    .collect()
            };
            let (one, other) = (told(&db).await, told(&plain).await);
            assert_eq!(contents(&one), contents(&other));
            db.checkpoint().await.unwrap();
            db.close().await.unwrap();
            plain.close().await.unwrap();
            // Built on the one before, whose rows nobody may have asked for.
            let db = world.open().await;
            assert_eq!(report(&db).await.records, 0);
            assert_eq!(told(&db).await, one);
            db.close().await.unwrap();
        }
    });
}

#[test]
fn a_chain_of_checkpoints_loses_nothing() {
    run(async {
        let world = World::new();
        for round in 0..12 {
            let db = world.open().await;
            change(&db, round + 1, 12).await;
            db.checkpoint().await.unwrap();
            if round % 3 == 0 {
                change(&db, round + 50, 3).await;
            }
            let expected = told(&db).await;
            if round % 2 == 0 {
                db.close().await.unwrap();
            } else {
                // Without a word.
                drop(db);
            }
            let db = world.open().await;
            assert!(report(&db).await.checkpoint.is_some());
            assert_eq!(told(&db).await, expected, "round {round}");
            db.close().await.unwrap();
            assert!(checkpoints(&world.vfs).len() <= 2);
        }
    });
}

#[test]
fn numbers_are_never_given_twice() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let gone = db.create_collective("gone").await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        let mut ids = Vec::new();
        for number in 0..40 {
            ids.push(
                db.record_experience(new(team, number.to_string()))
                    .await
                    .unwrap(),
            );
        }
        for id in &ids[10..] {
            db.delete_experience(*id).await.unwrap();
        }
        db.delete_collective(gone).await.unwrap();
        world.env.advance(Duration::from_secs(5));
        let last = db.record_experience(new(team, "last")).await.unwrap();
        db.delete_experience(last).await.unwrap();
        db.checkpoint().await.unwrap();
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(report(&db).await.records, 0);
        let next = db.record_experience(new(team, "next")).await.unwrap();
        assert!(next > last, "ids ascend");
        let mut kept = ids[..10].to_vec();
        kept.push(next);
        let shown = |all: Vec<Experience>| all.iter().map(|one| one.id).collect::<Vec<_>>();
        assert_eq!(shown(everything(&db, team).await), kept);
        let other = db.create_collective("other").await.unwrap();
        db.record_experience(new(other, "of another"))
            .await
            .unwrap();
        for id in &ids[10..] {
            let answer = db.get_experience(*id).await;
            assert!(
                matches!(answer, Err(PulseDBError::NotFound { .. })),
                "{answer:?}"
            );
        }
        let expected = told(&db).await;
        db.close().await.unwrap();
        // What was recorded behind the checkpoint stands at its own place in the log.
        let db = world.without_checkpoints().open().await;
        assert_eq!(told(&db).await, expected);
        db.close().await.unwrap();
    });
}

#[test]
fn a_flipped_bit_anywhere_in_it_costs_time_only() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        change(&db, 3, 40).await;
        db.checkpoint().await.unwrap();
        change(&db, 4, 5).await;
        let expected = dump(&db).await;
        db.close().await.unwrap();
        let files = world.vfs.files().unwrap();
        let ckpt = |path: &PathBuf| path.to_string_lossy().ends_with(".ckpt");
        let (path, bytes) = files.iter().find(|(path, _)| ckpt(path)).unwrap();
        let step = (bytes.len() / 150).max(1);
        for offset in (0..bytes.len()).step_by(step).chain([bytes.len() - 1]) {
            let world = world.rebooted(Survival::KeepAll);
            let bit = (offset / step % 8) as u8;
            world.vfs.flip_bit(path, offset as u64, bit).unwrap();
            let db = world.open_read_only().await;
            let found = report(&db).await;
            assert!(found.checkpoint.is_none(), "byte {offset}");
            assert!(found.checkpoint_unusable.is_some() && found.clean && found.damaged.is_empty());
            assert_eq!(dump(&db).await, expected, "byte {offset}");
            db.close().await.unwrap();
        }
        let db = world.rebooted(Survival::KeepAll).open_read_only().await;
        assert!(report(&db).await.checkpoint.is_some());
        assert_eq!(dump(&db).await, expected);
        let refused = db.checkpoint().await;
        assert!(matches!(refused, Err(PulseDBError::ReadOnly { .. })));
        db.close().await.unwrap();
    });
}

/// The second checkpoint, so that one is replaced.
#[test]
fn a_crash_at_every_operation_of_a_checkpoint_costs_nothing() {
    run(async {
        for mode in [SyncMode::Normal, SyncMode::Fast] {
            let world = World::with(Config {
                sync_mode: mode,
                // Operations are counted: no flush may come by itself, however slow the machine is.
                flush_interval: Duration::from_secs(60),
                ..config()
            });
            let db = world.open().await;
            change(&db, 5, 30).await;
            db.checkpoint().await.unwrap();
            change(&db, 6, 10).await;
            db.close().await.unwrap();
            let prepared = world;
            let world = prepared.rebooted(Survival::KeepAll);
            let db = world.open().await;
            change(&db, 7, 10).await;
            db.flush().await.unwrap();
            let expected = dump(&db).await;
            let first = world.vfs.op_count();
            db.checkpoint().await.unwrap();
            let end = world.vfs.op_count();
            assert!(end > first + 8);
            db.close().await.unwrap();
            for op in first..end {
                for survival in [
                    Survival::KeepAll,
                    Survival::DropAll,
                    Survival::Random { stale_bytes: true },
                ] {
                    let world = prepared.rebooted(Survival::KeepAll);
                    world.vfs.crash_at(op);
                    let db = world.open().await;
                    change(&db, 7, 10).await;
                    db.flush().await.unwrap();
                    let failed = db.checkpoint().await;
                    assert!(failed.is_err(), "operation {op}");
                    drop(db);
                    let world = world.rebooted(survival);
                    let db = world.open().await;
                    let found = report(&db).await;
                    assert!(found.checkpoint.is_some(), "{op}, {survival:?}: {found:?}");
                    assert_eq!(dump(&db).await, expected, "operation {op}, {survival:?}");
                    db.close().await.unwrap();
                    assert!(checkpoints(&world.vfs).len() <= 2);
                }
            }
        }
    });
}

#[test]
fn a_checkpoint_that_cannot_be_written_stops_nobody() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        change(&db, 8, 30).await;
        db.checkpoint().await.unwrap();
        let team = db.list_collectives().await.unwrap()[0].id;
        let first = world.vfs.op_count();
        db.record_experience(new(team, "one more")).await.unwrap();
        db.checkpoint().await.unwrap();
        let mut failures = 0;
        for op in 0..(world.vfs.op_count() - first - 3) as usize {
            db.record_experience(new(team, format!("before {op}")))
                .await
                .unwrap();
            let kind = [FaultKind::Eio, FaultKind::Enospc][op % 2];
            let before = world.vfs.op_count();
            world.vfs.fail_at(before + op as u64, kind);
            match db.checkpoint().await {
                Ok(_) => {}
                Err(PulseDBError::Io { .. }) => failures += 1,
                Err(error) => panic!("{error}"),
            }
            db.record_experience(new(team, format!("after {op}")))
                .await
                .unwrap();
        }
        assert!(failures > 8);
        assert!(db.health_check().await.unwrap().poisoned.is_none());
        let expected = dump(&db).await;
        drop(db);
        let db = world.open().await;
        assert!(report(&db).await.checkpoint.is_some());
        assert_eq!(dump(&db).await, expected);
        db.close().await.unwrap();
    });
}

/// Records, changes and deletes until the machine goes off.
async fn write_on(db: PulseDB, team: CollectiveId, writer: u32) {
    let mut mine: BTreeMap<u32, ExperienceId> = BTreeMap::new();
    for number in 0.. {
        let id = db.record_experience(NewExperience {
            // Given again once the row that had it is deleted.
            idempotency_key: Some(format!("{writer} {}", number % 17)),
            ..new(team, format!("{writer} {number}"))
        });
        let Ok(id) = id.await else { return };
        mine.insert(number, id);
        if number % 3 == 0 {
            let _ = db.reinforce_experience(id).await;
        }
        if number % 5 > 2
            && let Some(old) = mine.remove(&(number - 2))
        {
            let _ = db.delete_experience(old).await;
        }
    }
}

#[test]
fn a_checkpoint_made_beside_commits_shows_one_moment() {
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    let runtime = runtime.worker_threads(3).enable_all().build().unwrap();
    runtime.block_on(async {
        for round in 0..8 {
            let world = World::new();
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let writers: Vec<_> = (0..3)
                .map(|writer| tokio::spawn(write_on(db.clone(), team, writer)))
                .collect();
            let mut made = db.checkpoint().await.unwrap();
            for _ in 0..3 + round {
                tokio::time::sleep(Duration::from_millis(3)).await;
                made = db.checkpoint().await.unwrap();
            }
            // What it shows is what the log says, however far the tables have gone meanwhile.
            let left = world.rebooted(Survival::DropAll);
            for writer in writers {
                writer.await.unwrap();
            }
            drop(db);
            let with = left.rebooted(Survival::KeepAll).open_read_only().await;
            let without = left.without_checkpoints().open_read_only().await;
            let (found, all) = (report(&with).await, report(&without).await);
            assert_eq!(found.checkpoint, Some(made.lsn));
            assert!(all.checkpoint.is_none() && all.last_lsn == found.last_lsn);
            assert_eq!(told(&with).await, told(&without).await, "at {made:?}");
            with.close().await.unwrap();
            without.close().await.unwrap();
        }
    });
}

async fn fill(db: &PulseDB, team: CollectiveId, bytes: usize) {
    let text = "word ".repeat(800);
    for number in 0..bytes / text.len() + 1 {
        db.record_experience(new(team, format!("{number} {text}")))
            .await
            .unwrap();
    }
}

#[test]
fn checkpoints_come_by_themselves_as_the_log_grows() {
    run(async {
        let world = World::with(Config {
            checkpoint_bytes: Config::MIN_CHECKPOINT_BYTES,
            ..config()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        fill(&db, team, 200_000).await;
        let finished = |path: &PathBuf| path.to_string_lossy().ends_with(".ckpt");
        for _ in 0..600 {
            if checkpoints(&world.vfs).iter().any(finished) {
                break;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let expected = dump(&db).await;
        db.close().await.unwrap();
        let db = world.open().await;
        assert!(report(&db).await.checkpoint.is_some());
        assert_eq!(dump(&db).await, expected);
        db.close().await.unwrap();
    });
}

#[test]
fn a_close_makes_one_where_the_next_open_would_take_long() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        fill(&db, team, 100_000).await;
        db.close().await.unwrap();
        assert!(checkpoints(&world.vfs).is_empty());
        let db = world.open().await;
        fill(&db, team, 1_100_000).await;
        let expected = dump(&db).await;
        let newest = db.current_cursor().await.unwrap().lsn;
        db.close().await.unwrap();
        let db = world.open().await;
        let found = report(&db).await;
        assert!(found.clean && found.records == 0, "{found:?}");
        assert_eq!(found.checkpoint, Some(newest));
        assert_eq!(dump(&db).await, expected);
        db.close().await.unwrap();
    });
}
