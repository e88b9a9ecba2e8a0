//! Do files of every format version still open, and are those of a newer one left alone?
//!
//! `tests/compat/v1/` holds two small databases, one closed and one whose process was killed, and beside
//! each what it shows, as JSON. They are made by `make_the_frozen_files` and, from the first release on,
//! never again: `PULSEDB_MAKE=1 cargo test --no-default-features --features sim --test it make_the_`.
//! Blocks behind the end of a segment, which hold zeros, are cut off to keep them small.
#![allow(
    clippy::disallowed_methods,
    reason = "these tests copy files and change them"
)]

use std::{
    fs,
    path::{Path, PathBuf},
    time::Duration,
};

use pulsedb::{
    Activity, Collective, CollectiveId, Config, DecayConfig, DerivedInsight, EmbeddingDimension,
    Experience, ExperienceId, ExperienceRelation, ExperienceType, ExperienceUpdate, InsightType,
    NewActivity, NewExperience, NewInsight, NewRelation, Page, PulseDB, PulseDBError,
    RecallWeights, RelationType, Severity, blocking, sim::Survival,
};
use serde::{Deserialize, Serialize};

use crate::{
    reembed::toy,
    support::{World, dump, made_on_request, run},
};

/// Files are cut behind the block in which the last byte stands that is not zero.
const BLOCK: usize = 4096;

fn config() -> Config {
    Config {
        segment_bytes: Config::MIN_SEGMENT_BYTES,
        max_commit_bytes: 16 * 1024,
        read_threads: 1,
        ..Config::external(EmbeddingDimension::Custom(4))
    }
}

fn frozen(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/compat/v1")
        .join(name)
}

fn types() -> Vec<ExperienceType> {
    let text = |text: &str| text.to_owned();
    vec![
        ExperienceType::Difficulty {
            description: text("slow"),
            severity: Severity::Critical,
        },
        ExperienceType::Solution {
            problem_ref: Some(text("p-1")),
            approach: text("cache"),
            worked: true,
        },
        ExperienceType::ErrorPattern {
            signature: text("E0382"),
            fix: text("clone"),
            prevention: text("borrow"),
        },
        ExperienceType::SuccessPattern {
            task_type: text("review"),
            approach: text("small steps"),
            quality: 0.75,
        },
        ExperienceType::UserPreference {
            category: text("style"),
            preference: text("plain words"),
            strength: 0.5,
        },
        ExperienceType::ArchitecturalDecision {
            decision: text("one log"),
            rationale: text("one truth"),
        },
        ExperienceType::TechInsight {
            technology: text("fdatasync"),
            insight: text("groups"),
        },
        ExperienceType::Fact {
            statement: text("water is wet"),
            source: text("rain"),
        },
        ExperienceType::Generic {
            category: Some(text("other")),
        },
        ExperienceType::Generic { category: None },
    ]
}

async fn fill(db: &PulseDB, world: &World) {
    let plain = db.create_collective("plain").await.unwrap();
    let owned = db
        .create_collective_with_owner("größer", "ann")
        .await
        .unwrap();
    let decay = DecayConfig {
        half_life_ms: 86_400_000,
        freq_weight: 1.5,
        floor: 0.125,
        auto_archive_below_floor: true,
        default_recall_weights: Some(RecallWeights {
            similarity: 0.75,
            energy: 0.25,
        }),
    };
    db.set_decay_config(owned, decay).await.unwrap();
    let gone = db.create_collective("gone").await.unwrap();
    db.record_experience(draft(gone, 0, None)).await.unwrap();
    let mut ids = Vec::new();
    for (number, experience_type) in types().into_iter().enumerate() {
        let new = draft(plain, number, Some(experience_type));
        ids.push(db.record_experience(new).await.unwrap());
        world.env.advance(Duration::from_millis(7));
    }
    let batch = (20..23).map(|number| draft(owned, number, None)).collect();
    ids.extend(db.record_experiences(batch).await.unwrap());
    let update = ExperienceUpdate {
        importance: Some(0.0),
        confidence: Some(1.0),
        domain: Some(vec!["a".into(), "ß".into()]),
        related_files: Some(vec!["src/lib.rs".into()]),
        ..ExperienceUpdate::default()
    };
    db.update_experience(ids[0], update).await.unwrap();
    db.set_tag(ids[1], "key", "value").await.unwrap();
    db.set_tag(ids[1], "key", "other").await.unwrap();
    db.reinforce_experience(ids[2]).await.unwrap();
    db.reinforce_experience(ids[2]).await.unwrap();
    db.archive_experience(ids[3]).await.unwrap();
    db.archive_experience(ids[4]).await.unwrap();
    db.unarchive_experience(ids[4]).await.unwrap();
    db.delete_experience(ids[5]).await.unwrap();
    db.delete_collective(gone).await.unwrap();
    connect(db, plain, &ids).await;
    // One collective has come to the vectors of another model, one is on its way.
    let (made, begun) = (toy("made", 3), toy("begun", 6));
    db.reembed(owned, made.dynamic()).await.unwrap();
    begun.fails_behind(0);
    db.reembed(plain, begun.dynamic()).await.unwrap_err();
}

/// Relations, insights and activities, some of which are gone again, and what has a time.
async fn connect(db: &PulseDB, plain: CollectiveId, ids: &[ExperienceId]) {
    let relate = |source, target| NewRelation {
        metadata: Some("{\"why\":\"because\"}".into()),
        ..NewRelation::new(source, target, RelationType::Supports)
    };
    db.store_relation(relate(ids[0], ids[1])).await.unwrap();
    let relation = db.store_relation(relate(ids[1], ids[2])).await.unwrap();
    db.delete_relation(relation).await.unwrap();
    let insight = |text: &str| NewInsight {
        collective_id: plain,
        content: text.into(),
        embedding: Some(vec![0.5, 0.5, 0.5, -0.5]),
        source_experience_ids: vec![ids[0], ids[6]],
        insight_type: InsightType::Pattern,
        confidence: 0.75,
        domain: vec!["a".into()],
    };
    db.store_insight(insight("both hold")).await.unwrap();
    let gone = db.store_insight(insight("neither holds")).await.unwrap();
    db.delete_insight(gone).await.unwrap();
    for agent in ["here", "gone"] {
        let new = NewActivity {
            agent_id: agent.into(),
            collective_id: plain,
            current_task: Some("task".into()),
            context_summary: Some("in the middle".into()),
        };
        db.register_activity(new).await.unwrap();
    }
    db.end_activity(plain, &"gone".into()).await.unwrap();
    let times = ExperienceUpdate {
        pinned: Some(true),
        ..ExperienceUpdate::default()
    };
    db.update_experience(ids[7], times).await.unwrap();
}

fn draft(
    collective: CollectiveId,
    number: usize,
    experience_type: Option<ExperienceType>,
) -> NewExperience {
    let mut new = NewExperience {
        embedding: Some(vec![0.5, -0.25, number as f32, 1.0]),
        importance: 0.5,
        domain: vec![format!("domain-{}", number % 3)],
        idempotency_key: (number.is_multiple_of(2)).then(|| format!("key-{number}")),
        source_task: (number.is_multiple_of(3)).then(|| "task".into()),
        ..NewExperience::new(
            collective,
            format!("agent-{}", number % 2),
            format!("text {number} äöü"),
        )
    };
    if let Some(experience_type) = experience_type {
        new.experience_type = experience_type;
    }
    new
}

/// What a frozen database shows.
#[derive(Debug, PartialEq, Serialize, Deserialize)]
struct Shown {
    collectives: Vec<(Collective, Vec<Experience>)>,
    relations: Vec<ExperienceRelation>,
    insights: Vec<DerivedInsight>,
    /// Whether they are at work depends on the clock.
    activities: Vec<Activity>,
}

impl Shown {
    async fn of(db: &PulseDB) -> Self {
        let collectives = dump(db).await;
        let (mut relations, mut insights, mut activities) = (Vec::new(), Vec::new(), Vec::new());
        for (collective, _) in &collectives {
            let id = collective.id;
            let page = db.list_relations(id, Page::default()).await.unwrap();
            relations.extend(page.items);
            let page = db.list_insights(id, Page::default()).await.unwrap();
            insights.extend(page.items);
            activities.extend(db.get_active_agents(id).await.unwrap());
            activities.extend(db.list_stale_activities(id).await.unwrap());
        }
        activities.sort_by(|a, b| a.agent_id.as_str().cmp(b.agent_id.as_str()));
        Self {
            collectives,
            relations,
            insights,
            activities,
        }
    }
}

fn copied(name: &str) -> (tempfile::TempDir, PathBuf) {
    let dir = tempfile::tempdir().unwrap();
    let to = dir.path().join(name);
    copy(&frozen(name), &to);
    (dir, to)
}

fn copy(from: &Path, to: &Path) {
    fs::create_dir_all(to).unwrap();
    for entry in fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            fs::copy(entry.path(), target).unwrap();
        }
    }
}

/// All files below `dir`, with their bytes.
fn files(dir: &Path) -> Vec<(PathBuf, Vec<u8>)> {
    let mut found = Vec::new();
    for entry in fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path));
        } else {
            found.push((path.clone(), fs::read(&path).unwrap()));
        }
    }
    found.sort();
    found
}

#[test]
fn databases_of_version_1_open() {
    for (name, closed) in [("closed", true), ("killed", false)] {
        let json = fs::read(frozen(&format!("{name}.json"))).unwrap();
        let expected: Shown = serde_json::from_slice(&json).unwrap();
        let (_dir, path) = copied(name);
        run(async {
            let before = files(&path);
            let reader = PulseDB::open_read_only(&path, config()).await.unwrap();
            assert_eq!(Shown::of(&reader).await, expected, "{name}");
            reader.close().await.unwrap();
            assert!(files(&path) == before, "a reader changed something");
            let db = PulseDB::open(&path, config()).await.unwrap();
            assert_eq!(Shown::of(&db).await, expected, "{name}");
            let health = db.health_check().await.unwrap();
            assert_eq!(health.recovery.clean, closed, "{name}: {health:?}");
            assert!(health.recovery.damaged.is_empty());
            let report = db.verify().await.unwrap();
            assert!(report.is_clean(), "{name}: {report:?}");
            // Keys are known, and writing goes on.
            let (plain, known) = &expected.collectives[0];
            let again = NewExperience {
                idempotency_key: known[0].idempotency_key.clone(),
                ..draft(plain.id, 0, None)
            };
            assert_eq!(db.record_experience(again).await.unwrap(), known[0].id);
            let id = db
                .record_experience(draft(plain.id, 77, None))
                .await
                .unwrap();
            db.close().await.unwrap();
            let db = PulseDB::open(&path, config()).await.unwrap();
            assert_eq!(db.get_experience(id).await.unwrap().content, "text 77 äöü");
            assert_eq!(db.get_experience(known[3].id).await.unwrap(), known[3]);
            db.close().await.unwrap();
        });
    }
}

#[test]
fn files_of_a_newer_version_are_refused_and_left_alone() {
    for part in ["MANIFEST", "log"] {
        let (_dir, path) = copied("closed");
        for (file, mut bytes) in files(&path) {
            let segment = file.extension().is_some_and(|end| end == "seg");
            if !(file.ends_with(part) || (part == "log" && segment)) {
                continue;
            }
            let end = if segment { BLOCK } else { bytes.len() } - 4;
            bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
            let crc = crc32fast::hash(&bytes[..end]).to_le_bytes();
            bytes[end..end + 4].copy_from_slice(&crc);
            fs::write(&file, &bytes).unwrap();
        }
        let before = files(&path);
        for read_only in [true, false] {
            let config = Config {
                read_only,
                ..config()
            };
            match blocking::PulseDB::open(&path, config) {
                Err(PulseDBError::Version { found, supported }) => {
                    assert_eq!((found, supported), (2, 1), "{part}");
                }
                other => panic!("{part}: {other:?}"),
            }
        }
        match blocking::PulseDB::salvage(&path, path.join("../rescued")) {
            Err(PulseDBError::Version { found: 2, .. }) => {}
            other => panic!("{part}: {other:?}"),
        }
        // The lock is the opener's own.
        let unlocked = |files: Vec<(PathBuf, Vec<u8>)>| -> Vec<(PathBuf, Vec<u8>)> {
            files
                .into_iter()
                .filter(|(path, _)| !path.ends_with("LOCK"))
                .collect()
        };
        assert!(
            unlocked(files(&path)) == unlocked(before),
            "{part}: something changed"
        );
    }
}

#[test]
fn make_the_frozen_files() {
    if !made_on_request() {
        return;
    }
    for (name, closed) in [("closed", true), ("killed", false)] {
        let world = World::with(config());
        run(async {
            let db = world.open().await;
            fill(&db, &world).await;
            let shown = Shown::of(&db).await;
            if closed {
                db.close().await.unwrap();
            }
            let vfs = world.vfs.reboot(Survival::DropAll);
            drop(db);
            let root = frozen(name);
            let _ = fs::remove_dir_all(&root);
            let inside = world.path.strip_prefix("/").unwrap();
            for (path, mut bytes) in vfs.files().unwrap() {
                if path.extension().is_some_and(|end| end == "seg") {
                    let last = bytes.iter().rposition(|byte| *byte != 0).unwrap();
                    bytes.truncate((last + 1).next_multiple_of(BLOCK));
                }
                let to = root.join(path.strip_prefix(inside).unwrap());
                fs::create_dir_all(to.parent().unwrap()).unwrap();
                fs::write(to, bytes).unwrap();
            }
            let json = serde_json::to_vec_pretty(&shown).unwrap();
            fs::write(frozen(&format!("{name}.json")), json).unwrap();
        });
    }
}
