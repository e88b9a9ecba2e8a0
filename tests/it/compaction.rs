//! Does compaction give space back, and nothing else away?

#![allow(
    clippy::disallowed_methods,
    reason = "these tests run tasks beside each other, and look at files"
)]

use std::{collections::BTreeMap, path::Path, time::Duration};

use pulsedb::{
    CollectiveId, CompactionConfig, Config, Experience, ExperienceId, ExperienceUpdate, PulseDB,
    PulseDBError, RetentionConfig, WatchConfig, model::DecayConfig, sim::Survival,
};

use super::support::{World, config, dump, everything, new, run};

/// Nothing is rewritten but by call.
fn by_call() -> Config {
    Config {
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..config()
    }
}

async fn record(db: &PulseDB, team: CollectiveId, count: usize) -> Vec<ExperienceId> {
    let mut ids = Vec::new();
    for number in 0..count {
        let content = format!("{number} {}", "words ".repeat(80));
        ids.push(db.record_experience(new(team, content)).await.unwrap());
    }
    ids
}

fn log_bytes(world: &World) -> u64 {
    let files = world.vfs.files().unwrap();
    let segments = files
        .iter()
        .filter(|(path, _)| path.extension().is_some_and(|end| end == "seg"));
    segments.map(|(_, bytes)| bytes.len() as u64).sum()
}

#[test]
fn deleted_and_replaced_records_give_their_space_back() {
    run(async {
        let world = World::with(by_call());
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let ids = record(&db, team, 4_000).await;
        for (number, id) in ids.iter().enumerate() {
            if number % 10 != 3 {
                db.delete_experience(*id).await.unwrap();
            } else {
                for step in 0..5_u8 {
                    let update = ExperienceUpdate {
                        importance: Some(f32::from(step) / 5.0),
                        domain: Some(vec![format!("domain-{step}")]),
                        ..ExperienceUpdate::default()
                    };
                    db.update_experience(*id, update).await.unwrap();
                }
            }
        }
        let before = dump(&db).await;
        let frag = db.fragmentation().await.unwrap();
        assert!(frag.dead_share > 0.7, "{frag:?}");
        let size = log_bytes(&world);
        let report = db.compact().await.unwrap();
        assert!(report.segments_rewritten > 5 && report.damaged.is_empty());
        assert_eq!(dump(&db).await, before);
        let after = log_bytes(&world);
        let frag = db.fragmentation().await.unwrap();
        assert!(frag.dead_share < 0.1, "{frag:?}");
        // What is left, and the active segment, which is preallocated.
        let live = frag.live_bytes + world.config.segment_bytes;
        assert!(
            after as f64 <= 1.1 * live as f64,
            "{size} -> {after} of {live}"
        );
        assert_eq!(db.compact().await.unwrap().segments_rewritten, 0, "again");
        // Deleting, changing and recording go on in what was moved.
        let kept = everything(&db, team).await;
        db.delete_experience(kept[0].id).await.unwrap();
        db.set_tag(kept[1].id, "k", "v").await.unwrap();
        db.compact().await.unwrap();
        let twice = dump(&db).await;
        assert_eq!(twice[0].1.len(), kept.len() - 1);
        db.close().await.unwrap();
        let db = world.open().await;
        assert!(db.health_check().await.unwrap().recovery.damaged.is_empty());
        assert_eq!(dump(&db).await, twice);
        assert!(matches!(
            db.get_experience(ids[0]).await,
            Err(PulseDBError::NotFound { .. })
        ));
        db.close().await.unwrap();
    });
}

#[test]
fn a_deleted_collective_leaves_nothing() {
    run(async {
        let world = World::with(by_call());
        let db = world.open().await;
        let kept = db.create_collective("kept").await.unwrap();
        let gone = db.create_collective("gone").await.unwrap();
        record(&db, kept, 20).await;
        record(&db, gone, 3_000).await;
        db.delete_collective(gone).await.unwrap();
        let before = dump(&db).await;
        db.compact().await.unwrap();
        assert!(log_bytes(&world) < 2 * world.config.segment_bytes);
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(dump(&db).await, before);
        // Its number is not given to another one.
        let next = db.create_collective("next").await.unwrap();
        let ids = record(&db, next, 3).await;
        assert_eq!(everything(&db, next).await.len(), 3);
        assert_eq!(db.get_experience(ids[0]).await.unwrap().collective_id, next);
        db.close().await.unwrap();
    });
}

/// Rows stand in front of the definition that holds, once it was changed.
#[test]
fn a_collective_that_was_defined_anew_keeps_its_rows() {
    run(async {
        let world = World::with(by_call());
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let ids = record(&db, team, 1_000).await;
        for half_life_ms in [1_000, 2_000] {
            let decay = DecayConfig {
                half_life_ms,
                ..DecayConfig::default()
            };
            db.set_decay_config(team, decay).await.unwrap();
        }
        for id in &ids[..500] {
            db.delete_experience(*id).await.unwrap();
        }
        db.compact().await.unwrap();
        let before = dump(&db).await;
        db.close().await.unwrap();
        for checkpointed in [true, false] {
            let vfs = world.vfs.reboot(Survival::KeepAll);
            for (path, _) in vfs.files().unwrap() {
                if !checkpointed && path.extension().is_some_and(|end| end == "ckpt") {
                    vfs.flip_bit(&path, 40, 3).unwrap();
                }
            }
            let config = by_call();
            let db = PulseDB::open_simulated(&world.path, config, vfs, world.env.clone());
            let db = db.await.unwrap();
            assert_eq!(dump(&db).await, before, "checkpointed: {checkpointed}");
            db.close().await.unwrap();
        }
    });
}

#[test]
fn row_numbers_are_not_given_twice() {
    run(async {
        let world = World::with(by_call());
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let ids = record(&db, team, 2_000).await;
        for id in &ids {
            db.delete_experience(*id).await.unwrap();
        }
        db.compact().await.unwrap();
        db.close().await.unwrap();
        let db = world.open().await;
        assert!(everything(&db, team).await.is_empty());
        db.compact().await.unwrap();
        db.close().await.unwrap();
        let db = world.open().await;
        let again = record(&db, team, 10).await;
        let listed: Vec<ExperienceId> = everything(&db, team).await.iter().map(|e| e.id).collect();
        assert_eq!(listed, again);
        let stats = db.get_collective_stats(team).await.unwrap();
        assert_eq!(stats.experience_count, 10);
        db.close().await.unwrap();
    });
}

/// What a reader does while segments are rewritten under it.
#[test]
fn readers_writers_and_watchers_notice_nothing() {
    let config = Config {
        compaction: CompactionConfig {
            dead_percent: 5,
            ..CompactionConfig::default()
        },
        ..config()
    };
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(3)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let dir = tempfile::tempdir().unwrap();
        let db = PulseDB::open(dir.path(), config.clone()).await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        let mut stream = db.watch_experiences(team).await.unwrap();
        let writer = {
            let db = db.clone();
            tokio::spawn(async move {
                let mut known: BTreeMap<ExperienceId, String> = BTreeMap::new();
                for number in 0..6_000_u32 {
                    let content = format!("{number} {}", "words ".repeat(40));
                    let id = db
                        .record_experience(new(team, content.clone()))
                        .await
                        .unwrap();
                    known.insert(id, content);
                    if number % 5 > 0 {
                        let oldest = *known.keys().nth(number as usize % known.len()).unwrap();
                        db.delete_experience(oldest).await.unwrap();
                        known.remove(&oldest);
                    } else {
                        let any = *known.keys().nth(number as usize % known.len()).unwrap();
                        db.reinforce_experience(any).await.unwrap();
                    }
                }
                known
            })
        };
        let compactor = {
            let db = db.clone();
            tokio::spawn(async move {
                let mut rewritten = 0;
                for _ in 0..40 {
                    rewritten += db.compact().await.unwrap().segments_rewritten;
                    tokio::time::sleep(Duration::from_millis(20)).await;
                }
                rewritten
            })
        };
        let reader = {
            let db = db.clone();
            tokio::spawn(async move {
                let mut reads = 0;
                while reads < 400 {
                    for one in everything(&db, team).await.into_iter().take(50) {
                        match db.get_experience(one.id).await {
                            Ok(found) => assert_eq!(found.content, one.content),
                            Err(PulseDBError::NotFound { .. }) => {}
                            Err(error) => panic!("{error}"),
                        }
                        reads += 1;
                    }
                    let hits = db
                        .search_similar(team, &[1.0, 2.0, 3.0, 4.0], 20)
                        .await
                        .unwrap();
                    assert!(hits.iter().all(|hit| hit.similarity > 0.99));
                    tokio::task::yield_now().await;
                }
            })
        };
        let known = writer.await.unwrap();
        reader.await.unwrap();
        assert!(compactor.await.unwrap() > 10);
        let mut events = 0;
        let mut last = 0;
        let cursor = db.current_cursor().await.unwrap().lsn.get();
        while last < cursor {
            let event = stream.recv().await.unwrap().unwrap();
            assert!(event.lsn.get() > last);
            last = event.lsn.get();
            events += 1;
        }
        assert_eq!(events, 12_000);
        let left: Vec<Experience> = everything(&db, team).await;
        assert!(left.iter().map(|one| (&one.id, &one.content)).eq(&known));
        db.close().await.unwrap();
        let db = PulseDB::open(dir.path(), config).await.unwrap();
        assert_eq!(everything(&db, team).await, left);
        assert_eq!(files(dir.path()), db.metadata().await.unwrap().segments);
        db.close().await.unwrap();
    });
}

fn files(db: &Path) -> u64 {
    let log = std::fs::read_dir(db.join("log")).unwrap();
    log.filter(|entry| {
        let name = entry.as_ref().unwrap().file_name();
        name.to_str().unwrap().ends_with(".seg")
    })
    .count() as u64
}

#[test]
fn it_happens_by_itself() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let db = PulseDB::open(dir.path(), config()).await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        let ids = record(&db, team, 4_000).await;
        let before = files(dir.path());
        for id in &ids[..3_500] {
            db.delete_experience(*id).await.unwrap();
        }
        let mut waited = 0;
        while files(dir.path()) > before / 2 {
            tokio::time::sleep(Duration::from_millis(100)).await;
            waited += 1;
            assert!(waited < 300, "{} of {before} files", files(dir.path()));
        }
        assert_eq!(everything(&db, team).await.len(), 500);
        db.close().await.unwrap();
    });
}

/// A subscriber that lags keeps what it has not heard of, up to the limit, and is told beyond it.
#[test]
fn subscribers_that_lag_keep_history_up_to_the_limit() {
    for (limit, expect_gap) in [(u64::MAX / 2, false), (64 * 1024, true)] {
        run(async {
            let world = World::with(Config {
                watch_config: WatchConfig {
                    buffer_size: 8,
                    max_lag_bytes: limit,
                    ..WatchConfig::default()
                },
                ..by_call()
            });
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let mut stream = db.watch_experiences(team).await.unwrap();
            let ids = record(&db, team, 2_000).await;
            for id in &ids {
                db.delete_experience(*id).await.unwrap();
            }
            db.compact().await.unwrap();
            if expect_gap {
                let error = stream.recv().await.unwrap().unwrap_err();
                assert!(error.to_string().contains("max_lag_bytes"), "{error}");
            } else {
                for at in 0..4_000 {
                    let event = stream.recv().await.unwrap().unwrap();
                    let pulsedb::EntityId::Experience(id) = event.entity else {
                        panic!("{event:?}");
                    };
                    assert_eq!(id, ids[at % 2_000]);
                }
                // Heard: now it can go.
                db.compact().await.unwrap();
                assert!(log_bytes(&world) <= 3 * world.config.segment_bytes);
            }
            db.close().await.unwrap();
        });
    }
}

/// Damage is left where it is, and what is around it is compacted.
#[test]
fn damaged_segments_stay() {
    run(async {
        let world = World::with(by_call());
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let ids = record(&db, team, 2_000).await;
        for id in ids.iter().skip(1).step_by(2) {
            db.delete_experience(*id).await.unwrap();
        }
        db.close().await.unwrap();
        let vfs = world.vfs.reboot(Survival::KeepAll);
        let files = vfs.files().unwrap();
        let (second, _) = files
            .iter()
            .filter(|(path, _)| path.extension().is_some_and(|end| end == "seg"))
            .nth(1)
            .unwrap();
        vfs.flip_bit(second, 4_096 + 300, 1).unwrap();
        let db = PulseDB::open_simulated(&world.path, by_call(), vfs.clone(), world.env.clone())
            .await
            .unwrap();
        let report = db.compact().await.unwrap();
        assert!(report.segments_rewritten > 2, "{report:?}");
        assert_eq!(report.damaged.len(), 1, "{report:?}");
        assert!(vfs.files().unwrap().iter().any(|(path, _)| path == second));
        let mut found = 0;
        for id in ids.iter().step_by(2) {
            match db.get_experience(*id).await {
                Ok(_) => found += 1,
                Err(PulseDBError::Corrupted { file, .. }) => {
                    assert_eq!(file.file_name(), second.file_name());
                }
                Err(error) => panic!("{error}"),
            }
        }
        assert!(found >= 999);
        db.close().await.unwrap();
    });
}

#[test]
fn files_that_nobody_reads_become_spares() {
    run(async {
        let world = World::with(Config {
            segment_pool: 2,
            ..by_call()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let ids = record(&db, team, 2_000).await;
        for id in &ids {
            db.delete_experience(*id).await.unwrap();
        }
        db.compact().await.unwrap();
        record(&db, team, 2_000).await;
        let before = dump(&db).await;
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(dump(&db).await, before);
        db.close().await.unwrap();
    });
}

/// The past that `retention` asks for is not given away.
#[test]
fn retention_keeps_what_it_says() {
    run(async {
        let world = World::with(Config {
            retention: RetentionConfig {
                bytes: u64::MAX / 2,
                ..RetentionConfig::default()
            },
            ..by_call()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let ids = record(&db, team, 1_000).await;
        for id in &ids {
            db.delete_experience(*id).await.unwrap();
        }
        let size = log_bytes(&world);
        db.compact().await.unwrap();
        assert!(log_bytes(&world) >= size / 2, "nothing was to go");
        db.close().await.unwrap();
    });
}
