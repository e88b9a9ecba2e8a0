//! Is nothing left of what was erased?

use pulsedb::{
    CollectiveId, CompactionConfig, Config, ExperienceId, HnswConfig, NewExperience, PulseDB,
    PulseDBError, Timestamp, VectorElement,
};

use super::support::{DIMENSION, World, config, everything, new, run};

/// Nothing is rewritten but by call, and graphs hold vectors as they are.
fn by_call() -> Config {
    Config {
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        hnsw: HnswConfig {
            element: VectorElement::F32,
            first_graph_rows: 100,
            ..HnswConfig::default()
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

/// Of length 1, so that a graph holds it as it is given.
const SECRET_VECTOR: [f32; DIMENSION] = [0.5, -0.5, 0.5, -0.5];

fn secret(team: CollectiveId) -> NewExperience {
    NewExperience {
        embedding: Some(SECRET_VECTOR.to_vec()),
        ..NewExperience::new(team, "agent", "the secret of the house")
    }
}

fn secret_vector() -> Vec<u8> {
    SECRET_VECTOR.iter().flat_map(|x| x.to_le_bytes()).collect()
}

fn assert_gone(world: &World) {
    assert!(!stands_in_a_file(world, b"the secret of the house"));
    assert!(!stands_in_a_file(world, &secret_vector()), "the vector");
}

/// In a graph, beside others.
async fn indexed(db: &PulseDB, team: CollectiveId) -> ExperienceId {
    record(db, team, 60).await;
    let id = db.record_experience(secret(team)).await.unwrap();
    record(db, team, 60).await;
    db.rebuild_index(team).await.unwrap();
    id
}

#[test]
fn what_has_expired_is_erased_as_well() {
    run(async {
        let world = World::with(by_call());
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let expired = NewExperience {
            expires_at: Some(Timestamp::from_millis(1)),
            ..secret(team)
        };
        let id = db.record_experience(expired).await.unwrap();
        let found = db.get_experience(id).await;
        assert!(matches!(found, Err(PulseDBError::NotFound { .. })));
        assert!(db.erase(id).await.unwrap().segments_rewritten > 0);
        assert_gone(&world);
        assert_eq!(db.expire().await.unwrap(), 0);
        db.close().await.unwrap();
    });
}

#[test]
fn a_graph_keeps_nothing_of_what_was_erased() {
    run(async {
        for held in [false, true] {
            let world = World::with(by_call());
            let db = world.open().await;
            let team = db.create_collective("team").await.unwrap();
            let id = indexed(&db, team).await;
            let snapshot = db.snapshot().await.unwrap();
            let snapshot = held.then_some(snapshot);
            db.erase(id).await.unwrap();
            assert_gone(&world);
            if let Some(snapshot) = snapshot {
                let hits = snapshot.search_similar(team, &SECRET_VECTOR, 1).await;
                assert_eq!(hits.unwrap()[0].experience.id, id);
            }
            let hits = db.search_similar(team, &SECRET_VECTOR, 200).await.unwrap();
            assert_eq!(hits.len(), 120);
            db.close().await.unwrap();
        }
    });
}

/// Whether or not the log still knows it.
#[test]
fn a_graph_keeps_nothing_of_what_was_deleted_before_it_was_erased() {
    run(async {
        for compacted in [false, true] {
            for reopened in [false, true] {
                let world = World::with(by_call());
                let mut db = world.open().await;
                let team = db.create_collective("team").await.unwrap();
                let id = indexed(&db, team).await;
                assert!(stands_in_a_file(&world, &secret_vector()));
                db.delete_experience(id).await.unwrap();
                // Lets go of what is deleted.
                record(&db, team, 1).await;
                if compacted {
                    db.compact().await.unwrap();
                    assert!(!stands_in_a_file(&world, b"the secret of the house"));
                }
                if reopened {
                    db.close().await.unwrap();
                    db = world.open().await;
                }
                db.erase(id).await.unwrap();
                assert_gone(&world);
                db.close().await.unwrap();
            }
        }
    });
}

#[test]
fn no_checkpoint_keeps_the_key_of_what_was_erased() {
    run(async {
        let world = World::with(by_call());
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let keyed = NewExperience {
            idempotency_key: Some("the key of the house".into()),
            ..secret(team)
        };
        let id = db.record_experience(keyed).await.unwrap();
        db.checkpoint().await.unwrap();
        assert!(stands_in_a_file(&world, b"the key of the house"));
        let report = db.erase(id).await.unwrap();
        assert!(!stands_in_a_file(&world, b"the key of the house"));
        assert!(report.files_scanned > 1);
        db.close().await.unwrap();
    });
}

/// Does any file hold these bytes?
fn stands_in_a_file(world: &World, bytes: &[u8]) -> bool {
    let files = world.vfs.files().unwrap();
    files
        .iter()
        .any(|(_, content)| content.windows(bytes.len()).any(|window| window == bytes))
}

#[test]
fn what_is_erased_is_gone_from_all_files_whoever_still_reads_it() {
    run(async {
        let world = World::with(Config {
            segment_pool: 2,
            ..by_call()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let before = record(&db, team, 300).await;
        let secret = new(team, "the secret of the house");
        let id = db.record_experience(secret).await.unwrap();
        record(&db, team, 300).await;
        let first = db.snapshot().await.unwrap();
        // The segment that is replaced here stays, since it is read.
        db.delete_experience(before[0]).await.unwrap();
        db.compact().await.unwrap();
        let second = db.snapshot().await.unwrap();
        db.erase(id).await.unwrap();
        assert!(!stands_in_a_file(&world, b"the secret of the house"));
        for snapshot in [&first, &second] {
            let shown = snapshot.get_experience(id).await.unwrap();
            assert_eq!(shown.content, "the secret of the house");
        }
        drop((first, second));
        db.compact().await.unwrap();
        assert!(!stands_in_a_file(&world, b"the secret of the house"));
        db.close().await.unwrap();
    });
}

#[test]
fn what_is_erased_is_gone_from_all_files() {
    run(async {
        let world = World::with(Config {
            segment_pool: 2,
            ..by_call()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let before = record(&db, team, 300).await;
        let secret = NewExperience {
            embedding: Some(vec![0.123, -0.456, 0.789, 0.321]),
            ..NewExperience::new(team, "agent", "the secret of the house")
        };
        let id = db.record_experience(secret).await.unwrap();
        let vector: Vec<u8> = [0.123_f32, -0.456]
            .iter()
            .flat_map(|x| x.to_le_bytes())
            .collect();
        db.set_tag(id, "whose", "the secret's tag").await.unwrap();
        let after = record(&db, team, 300).await;
        // Moved once before, its old copy may stand in a file that is used again.
        db.delete_experience(before[0]).await.unwrap();
        db.compact().await.unwrap();
        let kept = db.get_experience(after[0]).await.unwrap();
        assert!(stands_in_a_file(&world, b"the secret of the house"));
        let report = db.erase(id).await.unwrap();
        assert!(report.segments_rewritten > 0 && report.files_scanned > 0);
        for trace in [
            &b"the secret of the house"[..],
            b"the secret's tag",
            &vector,
        ] {
            assert!(!stands_in_a_file(&world, trace));
        }
        assert!(matches!(
            db.get_experience(id).await,
            Err(PulseDBError::NotFound { .. })
        ));
        assert_eq!(db.get_experience(after[0]).await.unwrap(), kept);
        // Again, and for what never was.
        assert_eq!(db.erase(id).await.unwrap().segments_rewritten, 0);
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(everything(&db, team).await.len(), 599);
        db.close().await.unwrap();
    });
}
