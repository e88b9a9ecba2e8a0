//! Does verify find what is wrong, and nothing else?
//!
//! Flipped bits of segments are in `crash/damage`; here is the rest: what the disk does not give, what
//! is missing, graphs, a writer at work, and the end of it by whoever asked.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests touch files and start threads"
)]

use std::{
    fs,
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicBool, AtomicU64, Ordering},
    },
    thread,
    time::{Duration, Instant},
};

use pulsedb::{
    CollectiveId, Config, EmbeddingDimension, ExperienceId, ExperienceUpdate, HnswConfig,
    NewExperience, PulseDB, PulseDBError, SyncMode, UpkeepState, UpkeepTask, blocking,
};

use crate::support::{World, new, run};

/// Some of everything, in several segments.
async fn fill(db: &PulseDB) -> (CollectiveId, Vec<ExperienceId>) {
    let team = db.create_collective("team").await.unwrap();
    let gone = db.create_collective("gone").await.unwrap();
    let mut ids = Vec::new();
    for number in 0..120 {
        let content = format!("number {number} {}", "text ".repeat(800));
        ids.push(db.record_experience(new(team, content)).await.unwrap());
        if number % 3 == 0 {
            db.reinforce_experience(ids[number]).await.unwrap();
            db.set_tag(ids[number], "a", "b").await.unwrap();
        }
        if number % 5 == 0 {
            let update = ExperienceUpdate {
                importance: Some(0.75),
                domain: Some(vec!["d".into()]),
                ..ExperienceUpdate::default()
            };
            db.update_experience(ids[number], update).await.unwrap();
        }
        if number % 7 == 0 {
            db.delete_experience(ids[number]).await.unwrap();
        }
        if number % 20 == 0 {
            let other = new(gone, format!("other {number}"));
            db.record_experience(other).await.unwrap();
        }
    }
    db.delete_collective(gone).await.unwrap();
    (team, ids)
}

#[test]
fn a_whole_database_is_clean_for_writers_and_readers() {
    let world = World::new();
    run(async {
        let db = world.open().await;
        fill(&db).await;
        let report = db.verify().await.unwrap();
        assert!(report.is_clean(), "{report:?}");
        assert!(report.segments > 1 && report.records > 200, "{report:?}");
        assert_eq!(report.cursor, db.current_cursor().await.unwrap());
        assert!(report.leftovers.is_empty(), "{report:?}");
        let reader = world.open_read_only().await;
        assert!(reader.verify().await.unwrap().is_clean());
        reader.close().await.unwrap();
        drop(db);
        let db = world.open().await;
        let again = db.verify().await.unwrap();
        assert!(again.is_clean(), "{again:?}");
        // The end of the first session is a record of its own.
        assert_eq!(again.records, report.records + 1);
        db.close().await.unwrap();
    });
}

#[test]
fn what_the_disk_does_not_give_is_reported_and_ends_nothing() {
    let world = World::new();
    run(async {
        let db = world.open().await;
        fill(&db).await;
        let files = world.vfs.files().unwrap();
        let (path, _) = files
            .iter()
            .find(|(path, _)| path.extension().is_some_and(|end| end == "seg"))
            .unwrap();
        world.vfs.read_fault(path, 20_000..20_001).unwrap();
        let report = db.verify().await.unwrap();
        // Media lose a block, and with it the records that reach into it.
        assert!((1..4).contains(&report.damage.len()), "{report:?}");
        for damage in &report.damage {
            assert!(damage.file.ends_with(path));
            assert!(damage.what.contains("cannot be read"), "{damage:?}");
            assert!((10_000..20_480).contains(&damage.offset), "{damage:?}");
        }
        assert!(report.index_damage.is_empty(), "{report:?}");
        world.vfs.read_fault(path, 0..1).unwrap();
        let report = db.verify().await.unwrap();
        assert!(
            report.damage.iter().any(|one| one.offset == 0),
            "{report:?}"
        );
        db.close().await.unwrap();
    });
}

#[test]
fn missing_and_foreign_files_are_named() {
    let world = World::new();
    run(async {
        let db = world.open().await;
        fill(&db).await;
        let (path, _) = world
            .vfs
            .files()
            .unwrap()
            .into_iter()
            .find(|(path, _)| path.extension().is_some_and(|end| end == "seg"))
            .unwrap();
        world.vfs.remove_file(&path).unwrap();
        let report = db.verify().await.unwrap();
        assert_eq!(report.damage.len(), 1, "{report:?}");
        assert!(report.damage[0].file.ends_with(path));
        world
            .vfs
            .flip_bit(&world.path.join("MANIFEST"), 30, 1)
            .unwrap();
        world
            .vfs
            .flip_bit(&world.path.join("MANIFEST.old"), 30, 1)
            .unwrap();
        world.vfs.flip_bit(&world.path.join("TAIL"), 3, 1).unwrap();
        let report = db.verify().await.unwrap();
        let names: Vec<&Path> = report.damage.iter().map(|one| one.file.as_path()).collect();
        for name in ["MANIFEST", "MANIFEST.old"] {
            assert!(
                names.contains(&world.path.join(name).as_path()),
                "{names:?}"
            );
        }
        assert!(report.index_damage[0].file.ends_with("TAIL"));
        db.close().await.unwrap();
    });
}

#[test]
fn a_bit_flipped_under_an_open_database_is_found() {
    let world = World::new();
    run(async {
        let db = world.open().await;
        fill(&db).await;
        let files = world.vfs.files().unwrap();
        let (path, bytes) = files
            .iter()
            .find(|(path, _)| path.extension().is_some_and(|end| end == "seg"))
            .unwrap();
        let mut at = 4_096;
        let mut frames = Vec::new();
        while at < 60_000 {
            let len = u32::from_le_bytes(bytes[at + 4..at + 8].try_into().unwrap()) as usize;
            frames.push((at, at + 64 + len));
            at = (at + 64 + len).next_multiple_of(64);
        }
        for (start, end) in frames {
            for offset in [start, start + 20, start + 63, end - 1] {
                world.vfs.flip_bit(path, offset as u64, 3).unwrap();
                let report = db.verify().await.unwrap();
                assert_eq!(report.damage.len(), 1, "byte {offset}: {report:?}");
                assert_eq!(report.damage[0].offset, start as u64, "{report:?}");
                world.vfs.flip_bit(path, offset as u64, 3).unwrap();
            }
        }
        assert!(db.verify().await.unwrap().is_clean());
        db.close().await.unwrap();
    });
}

#[test]
fn dropping_the_future_or_closing_ends_it() {
    let world = World::new();
    run(async {
        let db = world.open().await;
        fill(&db).await;
        let told = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&told);
        let verifying = db.verify_with(move |_| {
            counted.fetch_add(1, Ordering::SeqCst);
            thread::sleep(Duration::from_millis(5));
        });
        drop(verifying);
        thread::sleep(Duration::from_millis(50));
        let before = told.load(Ordering::SeqCst);
        thread::sleep(Duration::from_millis(50));
        assert_eq!(told.load(Ordering::SeqCst), before);
        let last = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&last);
        let report = db
            .verify_with(move |progress| heard.store(progress.bytes, Ordering::SeqCst))
            .await
            .unwrap();
        assert_eq!(last.load(Ordering::SeqCst), report.bytes);
        db.close().await.unwrap();
        assert!(matches!(db.verify().await, Err(PulseDBError::Closed)));
    });
}

fn indexed(path: &Path) -> (blocking::PulseDB, CollectiveId) {
    let config = Config {
        sync_mode: SyncMode::Fast,
        segment_bytes: 1 << 20,
        max_commit_bytes: 256 * 1024,
        hnsw: HnswConfig {
            first_graph_rows: 100,
            tail_rows: 50,
            ..HnswConfig::default()
        },
        ..Config::external(EmbeddingDimension::Custom(4))
    };
    let db = blocking::PulseDB::open(path, config).unwrap();
    let team = db.get_or_create_collective("team").unwrap();
    (db, team)
}

fn draft(team: CollectiveId, number: usize) -> NewExperience {
    NewExperience {
        embedding: Some((1..5).map(|at| ((number * at) % 17) as f32 + 0.5).collect()),
        ..NewExperience::new(team, "agent", format!("number {number}"))
    }
}

#[test]
fn graphs_are_checked_against_the_rows() {
    let dir = tempfile::tempdir().unwrap();
    let (db, team) = indexed(dir.path());
    for number in 0..300 {
        let id = db.record_experience(draft(team, number)).unwrap();
        if number % 9 == 0 {
            db.delete_experience(id).unwrap();
        }
    }
    let started = Instant::now();
    while db.get_collective_stats(team).unwrap().tail_rows > 60 {
        assert!(started.elapsed() < Duration::from_secs(60));
        thread::sleep(Duration::from_millis(10));
    }
    // A graph that is merged now would take the place of the one that is damaged below.
    db.pause_upkeep().unwrap();
    let is_building = || {
        let tasks = db.upkeep_status().unwrap().tasks;
        let graphs = tasks.iter().find(|one| one.task == UpkeepTask::Graphs);
        matches!(graphs.unwrap().state, UpkeepState::Running { .. })
    };
    while is_building() {
        thread::sleep(Duration::from_millis(1));
    }
    let report = db.verify().unwrap();
    assert!(report.is_clean() && report.graphs > 0, "{report:?}");
    let graph = fs::read_dir(dir.path().join("index"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .find(|path| path.extension().is_some_and(|end| end == "hnsw"))
        .unwrap();
    let bytes = fs::read(&graph).unwrap();
    for offset in (0..bytes.len()).step_by(bytes.len() / 40) {
        let mut flipped = bytes.clone();
        flipped[offset] ^= 4;
        fs::write(&graph, &flipped).unwrap();
        let report = db.verify().unwrap();
        assert!(report.damage.is_empty());
        assert_eq!(report.index_damage.len(), 1, "byte {offset}: {report:?}");
        assert_eq!(report.index_damage[0].file, graph);
    }
    fs::write(&graph, &bytes).unwrap();
    assert!(db.verify().unwrap().is_clean());
    db.close().unwrap();
}

#[test]
fn beside_writers_nothing_seems_wrong() {
    let dir = tempfile::tempdir().unwrap();
    let (db, team) = indexed(dir.path());
    let ended = AtomicBool::new(false);
    thread::scope(|scope| {
        for writer in 0..2 {
            let (db, ended) = (&db, &ended);
            scope.spawn(move || {
                for number in 0.. {
                    if ended.load(Ordering::Relaxed) {
                        break;
                    }
                    let id = db.record_experience(draft(team, number)).unwrap();
                    db.reinforce_experience(id).unwrap();
                    if number % 3 == writer {
                        db.delete_experience(id).unwrap();
                    }
                }
            });
        }
        let started = Instant::now();
        let mut rounds = 0;
        while started.elapsed() < Duration::from_secs(2) || rounds < 3 {
            let report = db.verify().unwrap();
            if !report.is_clean() {
                ended.store(true, Ordering::Relaxed);
                panic!("{report:?}");
            }
            rounds += 1;
        }
        ended.store(true, Ordering::Relaxed);
    });
    db.close().unwrap();
}
