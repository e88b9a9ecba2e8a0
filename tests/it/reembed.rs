//! Does a collective come from one model's vectors to another's without anybody noticing but by its answers?
//!
//! Toy models that make vectors of texts, and say how many texts they were given; the old ones are those of
//! callers. What a database shows is compared with what the models make of its texts.

#![allow(
    clippy::disallowed_methods,
    reason = "tasks record beside re-embeddings, and wait for readers"
)]

use std::{
    pin::pin,
    sync::{
        Arc,
        atomic::{AtomicUsize, Ordering},
    },
    task::{Context, Poll, Waker},
};

use pulsedb::{
    Changes, Collective, CollectiveId, CompactionConfig, Config, Damage, DerivedInsight,
    EmbedFuture, Embedder, EmbeddingDimension, Experience, ExperienceId, ExportOptions, HnswConfig,
    ImportOptions, InsightType, NewExperience, NewInsight, NewRelation, Page, Priority, PulseDB,
    PulseDBError, RelationType, Result, RetentionConfig, SearchOptions, WatchItem, WatchOptions,
    model::EmbedderIdentity,
    sim::{FaultKind, Survival},
};

use crate::support::{DIMENSION, World, config, everything, run};

/// A model of so many components; it fails once it was given more than `most` texts.
#[derive(Debug)]
pub struct Toy {
    identity: EmbedderIdentity,
    dimension: usize,
    texts: AtomicUsize,
    most: AtomicUsize,
}

pub fn toy(model: &str, dimension: usize) -> Arc<Toy> {
    Arc::new(Toy {
        identity: EmbedderIdentity {
            provider: "toy".into(),
            model: model.into(),
            fingerprint: "1".into(),
        },
        dimension,
        texts: AtomicUsize::new(0),
        most: AtomicUsize::new(usize::MAX),
    })
}

/// What a model makes of a text. Each model turns texts another way.
fn vector(model: &str, dimension: usize, text: &str) -> Vec<f32> {
    let mut state = 0x9E37_79B9_u32;
    for byte in model.bytes().chain([0]).chain(text.bytes()) {
        state = (state ^ u32::from(byte)).wrapping_mul(0x0100_0193);
    }
    let mut next = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / (1 << 24) as f32 - 0.5
    };
    (0..dimension).map(|_| next()).collect()
}

impl Toy {
    fn vector(&self, text: &str) -> Vec<f32> {
        vector(&self.identity.model, self.dimension, text)
    }

    fn taken(&self) -> usize {
        self.texts.swap(0, Ordering::Relaxed)
    }

    /// From now on it fails once it was given more than so many texts.
    pub fn fails_behind(&self, texts: usize) {
        self.most.store(texts, Ordering::Relaxed);
    }

    pub fn dynamic(self: &Arc<Self>) -> Option<Arc<dyn Embedder>> {
        Some(Arc::clone(self) as _)
    }
}

impl Embedder for Toy {
    fn identity(&self) -> Option<&EmbedderIdentity> {
        Some(&self.identity)
    }

    fn dimension(&self) -> usize {
        self.dimension
    }

    fn embed(&self, texts: Vec<String>, _: Priority) -> EmbedFuture<'_> {
        let all = self.texts.fetch_add(texts.len(), Ordering::Relaxed) + texts.len();
        let answer = if all > self.most.load(Ordering::Relaxed) {
            Err(PulseDBError::Embedding("tired".into()))
        } else {
            Ok(texts.iter().map(|text| self.vector(text)).collect())
        };
        Box::pin(async move { answer })
    }
}

fn old(text: &str) -> Vec<f32> {
    vector("callers", DIMENSION, text)
}

fn text(team: CollectiveId, content: &str) -> NewExperience {
    NewExperience {
        embedding: Some(old(content)),
        ..NewExperience::new(team, "agent", content)
    }
}

async fn record(
    db: &PulseDB,
    team: CollectiveId,
    numbers: std::ops::Range<usize>,
) -> Vec<ExperienceId> {
    let mut ids = Vec::new();
    for first in numbers.clone().step_by(8) {
        let batch = (first..numbers.end.min(first + 8))
            .map(|number| text(team, &format!("text number {number}")));
        ids.extend(db.record_experiences(batch.collect()).await.unwrap());
    }
    ids
}

async fn insight(db: &PulseDB, team: CollectiveId, content: &str, source: ExperienceId) {
    let new = NewInsight {
        embedding: Some(old(content)),
        collective_id: team,
        content: content.to_owned(),
        source_experience_ids: vec![source],
        insight_type: InsightType::Pattern,
        confidence: 0.5,
        domain: Vec::new(),
    };
    db.store_insight(new).await.unwrap();
}

/// Some texts, two insights, a relation, an update, a deletion.
async fn fill(db: &PulseDB, rows: usize) -> CollectiveId {
    let team = db.create_collective("team").await.unwrap();
    let ids = record(db, team, 0..rows).await;
    insight(db, team, "first insight", ids[0]).await;
    insight(db, team, "second insight", ids[1]).await;
    let relation = NewRelation {
        source_id: ids[0],
        target_id: ids[1],
        relation_type: RelationType::Supports,
        strength: 0.5,
        metadata: None,
    };
    db.store_relation(relation).await.unwrap();
    db.reinforce_experience(ids[2]).await.unwrap();
    db.delete_experience(ids[3]).await.unwrap();
    team
}

async fn insights(db: &PulseDB, team: CollectiveId) -> Vec<DerivedInsight> {
    db.list_insights(team, Page::default()).await.unwrap().items
}

/// The same rows in the same order.
#[track_caller]
fn near(hits: &[(ExperienceId, f32)], expected: &[(ExperienceId, f32)]) {
    let ids = |all: &[(ExperienceId, f32)]| all.iter().map(|one| one.0).collect::<Vec<_>>();
    assert_eq!(ids(hits), ids(expected));
}

fn cosine(a: &[f32], b: &[f32]) -> f32 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(a, b)| f64::from(*a) * f64::from(*b))
            .sum()
    };
    (dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())) as f32
}

/// Everything has the vectors that `made` makes of its text, and is found by them as it should be.
async fn goes_by(db: &PulseDB, team: CollectiveId, made: &dyn Fn(&str) -> Vec<f32>) {
    let all: Vec<Experience> = everything(db, team).await;
    for one in &all {
        assert_eq!(one.embedding, made(&one.content), "{}", one.content);
        let view = db.get_experience_view(one.id).await.unwrap();
        assert_eq!(view.embedding(), one.embedding);
        assert_eq!(view.embedding_bytes().len(), one.embedding.len() * 4);
        assert_eq!(view.to_experience().unwrap(), *one);
        assert_eq!(db.get_experience(one.id).await.unwrap(), *one);
    }
    for one in insights(db, team).await {
        assert_eq!(one.embedding, made(&one.content));
    }
    let definition = db.get_collective(team).await.unwrap().unwrap();
    let query = made("a query");
    assert_eq!(usize::from(definition.embedding_dimension), query.len());
    let k = 10.min(all.len().max(1));
    let hits = db.search_similar(team, &query, k).await.unwrap();
    let hits: Vec<_> = hits
        .iter()
        .map(|hit| (hit.experience.id, hit.similarity))
        .collect();
    let mut expected: Vec<_> = all
        .iter()
        .filter(|one| !one.archived)
        .map(|one| (one.id, cosine(&query, &one.embedding)))
        .collect();
    expected.sort_by(|a, b| b.1.total_cmp(&a.1).then(a.0.cmp(&b.0)));
    expected.truncate(k);
    near(&hits, &expected);
    let report = db.verify().await.unwrap();
    // These tests remove checkpoints.
    let is_other = |found: &&Damage| found.file.extension().is_none_or(|end| end != "ckpt");
    let index_damage: Vec<_> = report.index_damage.iter().filter(is_other).collect();
    assert!(
        report.damage.is_empty() && index_damage.is_empty(),
        "{:?} {index_damage:?}",
        report.damage
    );
}

/// What is there apart from the vectors.
async fn apart(db: &PulseDB, team: CollectiveId) -> Vec<Experience> {
    let without = |one| Experience {
        embedding: Vec::new(),
        ..one
    };
    everything(db, team)
        .await
        .into_iter()
        .map(without)
        .collect()
}

fn by_hand() -> Config {
    Config {
        compaction: CompactionConfig {
            automatic: false,
            ..CompactionConfig::default()
        },
        ..config()
    }
}

#[test]
fn everything_gets_the_vectors_of_the_new_model() {
    run(async {
        for dimension in [DIMENSION, 6] {
            let world = World::with(by_hand());
            let db = world.open().await;
            let team = fill(&db, 600).await;
            let before = apart(&db, team).await;
            let held = db.snapshot().await.unwrap();
            let model = toy("new", dimension);
            let mut told = Vec::new();
            let report = db
                .reembed_with(team, model.dynamic(), |progress| told.push(progress))
                .await
                .unwrap();
            assert_eq!(
                (report.embedded, report.resumed, report.unreadable),
                (601, 0, 0)
            );
            assert_eq!(model.taken(), 601);
            assert!(told.is_sorted_by_key(|one| one.done) && told.len() >= 3);
            let last = told.last().unwrap();
            assert_eq!((last.done, last.total), (601, Some(601)));
            let made = |text: &str| model.vector(text);
            goes_by(&db, team, &made).await;
            assert_eq!(apart(&db, team).await, before);
            // Who has a snapshot from before sees what was before.
            let query = old("a query");
            let hits = held.search_similar(team, &query, 5).await.unwrap();
            assert_eq!(
                hits[0].experience.embedding,
                old(&hits[0].experience.content)
            );
            let definition: Collective = held.get_collective(team).await.unwrap().unwrap();
            assert_eq!(usize::from(definition.embedding_dimension), DIMENSION);
            if dimension != DIMENSION {
                assert!(held.search_similar(team, &made("x"), 5).await.is_err());
                assert!(db.search_similar(team, &query, 5).await.is_err());
            }
            drop(held);
            // Again is nothing, and vectors of callers are of another model now.
            let again = db.reembed(team, model.dynamic()).await.unwrap();
            assert_eq!((again.embedded, model.taken()), (0, 0));
            assert!(db.record_experience(text(team, "more")).await.is_err());
            // With a checkpoint, and without.
            db.close().await.unwrap();
            let db = world.open().await;
            goes_by(&db, team, &made).await;
            drop(db);
            let world = World {
                vfs: world.vfs.reboot(Survival::DropAll),
                ..world
            };
            for (path, _) in world.vfs.files().unwrap() {
                if path.extension().is_some_and(|end| end == "ckpt") {
                    world.vfs.remove_file(&path).unwrap();
                }
            }
            let db = world.open().await;
            goes_by(&db, team, &made).await;
            assert_eq!(apart(&db, team).await, before);
            // And once more, to a third one.
            let third = toy("third", 5);
            assert_eq!(
                db.reembed(team, third.dynamic()).await.unwrap().embedded,
                601
            );
            goes_by(&db, team, &|text| third.vector(text)).await;
            db.compact().await.unwrap();
            goes_by(&db, team, &|text| third.vector(text)).await;
            db.close().await.unwrap();
            let db = world.open().await;
            goes_by(&db, team, &|text| third.vector(text)).await;
            db.close().await.unwrap();
        }
    });
}

#[test]
fn what_is_durable_is_not_made_again() {
    run(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 900).await;
        let model = toy("new", 6);
        model.fails_behind(600);
        let answer = db.reembed(team, model.dynamic()).await;
        assert!(
            matches!(answer, Err(PulseDBError::Embedding(_))),
            "{answer:?}"
        );
        let begun = db.get_collective(team).await.unwrap().unwrap().vectors;
        assert_eq!(begun.next.as_ref().unwrap().embedder, model.identity);
        goes_by(&db, team, &old).await;
        model.taken();
        // Through a checkpoint, a crash and a compaction.
        db.close().await.unwrap();
        let db = world.open().await;
        goes_by(&db, team, &old).await;
        db.compact().await.unwrap();
        db.set_tag(everything(&db, team).await[0].id, "key", "value")
            .await
            .unwrap();
        drop(db);
        let world = World {
            vfs: world.vfs.reboot(Survival::DropAll),
            ..world
        };
        let db = world.open().await;
        goes_by(&db, team, &old).await;
        assert_eq!(
            db.get_collective(team).await.unwrap().unwrap().vectors,
            begun
        );
        model.fails_behind(usize::MAX);
        let report = db.reembed(team, model.dynamic()).await.unwrap();
        assert_eq!((report.embedded, report.resumed), (901 - 512, 512));
        assert_eq!(model.taken(), 901 - 512);
        goes_by(&db, team, &|text| model.vector(text)).await;
        db.close().await.unwrap();
    });
}

#[test]
fn another_model_or_none_throws_away_what_was_made() {
    run(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 600).await;
        let (first, second) = (toy("first", 6), toy("second", 5));
        first.fails_behind(256);
        assert!(db.reembed(team, first.dynamic()).await.is_err());
        db.cancel_reembed(team).await.unwrap();
        assert!(
            db.get_collective(team)
                .await
                .unwrap()
                .unwrap()
                .vectors
                .is_first()
        );
        db.cancel_reembed(team).await.unwrap();
        first.taken();
        assert!(db.reembed(team, first.dynamic()).await.is_err());
        let report = db.reembed(team, second.dynamic()).await.unwrap();
        assert_eq!((report.embedded, report.resumed), (601, 0));
        goes_by(&db, team, &|text| second.vector(text)).await;
        first.fails_behind(usize::MAX);
        let report = db.reembed(team, first.dynamic()).await.unwrap();
        assert_eq!((report.embedded, report.resumed), (601, 0));
        db.compact().await.unwrap();
        goes_by(&db, team, &|text| first.vector(text)).await;
        assert!(matches!(
            db.reembed(team, None).await,
            Err(PulseDBError::Embedding(_))
        ));
        db.close().await.unwrap();
    });
}

/// Polls a future some times, and drops it.
fn poll_some<F: Future>(future: F, times: usize) -> Option<F::Output> {
    let mut future = pin!(future);
    let mut context = Context::from_waker(Waker::noop());
    for _ in 0..times {
        if let Poll::Ready(done) = future.as_mut().poll(&mut context) {
            return Some(done);
        }
        std::thread::sleep(std::time::Duration::from_millis(2));
    }
    None
}

#[test]
fn dropping_the_future_stops_it() {
    run(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 300).await;
        let model = toy("new", 6);
        for times in 0..12 {
            if poll_some(db.reembed(team, model.dynamic()), times).is_some() {
                break;
            }
            let definition = db.get_collective(team).await.unwrap().unwrap();
            if definition.vectors.since == pulsedb::Lsn::ZERO {
                goes_by(&db, team, &old).await;
                record(&db, team, times..times + 1).await;
            }
        }
        db.reembed(team, model.dynamic()).await.unwrap();
        goes_by(&db, team, &|text| model.vector(text)).await;
        db.close().await.unwrap();
    });
}

#[test]
fn a_crash_at_any_operation_leaves_one_or_the_other() {
    const ROWS: usize = 8;
    run(async {
        let small = || Config {
            segment_bytes: 64 * 1024,
            max_commit_bytes: 16 * 1024,
            ..by_hand()
        };
        let (mut finished, mut begun) = (0, 0);
        for op in 0.. {
            let world = World::with(small());
            let db = world.open().await;
            let team = fill(&db, ROWS).await;
            let start = world.vfs.op_count();
            world.vfs.crash_at(start + op);
            let model = toy("new", 6);
            let answer = db.reembed(team, model.dynamic()).await;
            let _ = db.compact().await;
            let past = world.vfs.op_count() <= start + op;
            drop(db);
            let survival = match op % 3 {
                0 => Survival::KeepAll,
                1 => Survival::DropAll,
                _ => Survival::Random { stale_bytes: true },
            };
            let world = World {
                vfs: world.vfs.reboot(survival),
                ..world
            };
            let db = world.open().await;
            let vectors = db.get_collective(team).await.unwrap().unwrap().vectors;
            begun += usize::from(vectors.next.is_some());
            if vectors.since == pulsedb::Lsn::ZERO {
                assert!(answer.is_err(), "operation {op}");
                goes_by(&db, team, &old).await;
                record(&db, team, 100..101).await;
            } else {
                finished += 1;
                goes_by(&db, team, &|text| model.vector(text)).await;
            }
            db.reembed(team, model.dynamic()).await.unwrap();
            goes_by(&db, team, &|text| model.vector(text)).await;
            db.close().await.unwrap();
            if past {
                break;
            }
        }
        assert!(finished > 3 && begun > 3, "{finished} {begun}");
    });
}

#[test]
fn a_full_disk_stops_it_and_loses_nothing() {
    run(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 300).await;
        world
            .vfs
            .fail_from(world.vfs.op_count() + 4, FaultKind::Enospc);
        let model = toy("new", 6);
        assert!(db.reembed(team, model.dynamic()).await.is_err());
        drop(db);
        let world = World {
            vfs: world.vfs.reboot(Survival::DropAll),
            ..world
        };
        let db = world.open().await;
        goes_by(&db, team, &old).await;
        db.reembed(team, model.dynamic()).await.unwrap();
        goes_by(&db, team, &|text| model.vector(text)).await;
        db.close().await.unwrap();
    });
}

#[test]
fn what_is_recorded_meanwhile_is_not_left_behind() {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap();
    runtime.block_on(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 300).await;
        let writers = (0..3).map(|writer: usize| {
            let db = db.clone();
            tokio::spawn(async move {
                let mut own = 0;
                for number in 0.. {
                    let content = format!("writer {writer}, {number}");
                    match db.record_experience(text(team, &content)).await {
                        Ok(id) if number % 5 == 0 => db.delete_experience(id).await.unwrap(),
                        Ok(_) => own += 1,
                        Err(
                            PulseDBError::Embedding(_)
                            | PulseDBError::Validation { .. }
                            | PulseDBError::Conflict { .. },
                        ) => break,
                        Err(error) => panic!("{error}"),
                    }
                }
                own
            })
        });
        let writers: Vec<_> = writers.collect();
        let model = toy("new", 6);
        db.reembed(team, model.dynamic()).await.unwrap();
        let mut recorded = 299;
        for writer in writers {
            recorded += writer.await.unwrap();
        }
        assert_eq!(everything(&db, team).await.len(), recorded);
        goes_by(&db, team, &|text| model.vector(text)).await;
        db.close().await.unwrap();
    });
}

#[test]
fn transactions_do_not_reach_across_it() {
    run(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 20).await;
        let mut transaction = db.begin().await.unwrap();
        transaction
            .record_experience(text(team, "in between"))
            .await
            .unwrap();
        let model = toy("new", DIMENSION);
        db.reembed(team, model.dynamic()).await.unwrap();
        let answer = transaction.commit().await;
        assert!(answer.is_err(), "{answer:?}");
        goes_by(&db, team, &|text| model.vector(text)).await;
        db.close().await.unwrap();
    });
}

#[test]
fn compaction_gives_the_old_vectors_back() {
    run(async {
        let wide = 256;
        let world = World::with(Config {
            embedding_dimension: EmbeddingDimension::Custom(wide),
            ..by_hand()
        });
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let before = |text: &str| vector("callers", wide, text);
        for first in (0..600).step_by(50) {
            let batch = (first..first + 50).map(|number| {
                let content = format!("text number {number}");
                NewExperience {
                    embedding: Some(before(&content)),
                    ..NewExperience::new(team, "agent", content)
                }
            });
            db.record_experiences(batch.collect()).await.unwrap();
        }
        let model = toy("new", 8);
        let held = db.snapshot().await.unwrap();
        db.reembed(team, model.dynamic()).await.unwrap();
        let full = db.fragmentation().await.unwrap();
        // Somebody still goes by the old ones.
        db.compact().await.unwrap();
        let hits = held
            .search_similar(team, &before("text number 7"), 1)
            .await
            .unwrap();
        assert_eq!(hits[0].experience.content, "text number 7");
        assert_eq!(hits[0].experience.embedding, before("text number 7"));
        drop((held, hits));
        let report = db.compact().await.unwrap();
        let vectors = 600 * wide as u64 * 4;
        assert!(
            report.bytes_before - report.bytes_after > vectors * 8 / 10,
            "{report:?} {full:?}"
        );
        let new = |text: &str| model.vector(text);
        goes_by(&db, team, &new).await;
        // Nothing more is to be had.
        let again = db.compact().await.unwrap();
        assert!(
            again.bytes_before - again.bytes_after < vectors / 10,
            "{again:?}"
        );
        db.close().await.unwrap();
        for checkpoint in [true, false] {
            if !checkpoint {
                for (path, _) in world.vfs.files().unwrap() {
                    if path.extension().is_some_and(|end| end == "ckpt") {
                        world.vfs.remove_file(&path).unwrap();
                    }
                }
            }
            let db = world.open().await;
            goes_by(&db, team, &new).await;
            let words = db
                .search(team, "number", SearchOptions::default())
                .await
                .unwrap();
            assert!(!words.is_empty());
            db.close().await.unwrap();
        }
    });
}

#[test]
fn the_past_keeps_its_vectors() {
    run(async {
        let world = World::with(Config {
            retention: RetentionConfig {
                bytes: 1 << 30,
                ..RetentionConfig::default()
            },
            ..by_hand()
        });
        let db = world.open().await;
        let team = fill(&db, 50).await;
        let before = db.current_cursor().await.unwrap().lsn;
        let model = toy("new", 6);
        db.reembed(team, model.dynamic()).await.unwrap();
        let after = db.current_cursor().await.unwrap().lsn;
        record_more(&db, team).await;
        for reopened in [false, true] {
            let db = match reopened {
                false => db.clone(),
                true => {
                    db.close().await.unwrap();
                    world.open().await
                }
            };
            let past = db.snapshot_at(before).await.unwrap();
            let hits = past.search_similar(team, &old("a query"), 5).await.unwrap();
            assert_eq!(hits.len(), 5);
            for hit in hits {
                assert_eq!(hit.experience.embedding, old(&hit.experience.content));
            }
            let past = db.snapshot_at(after).await.unwrap();
            let hits = past
                .search_similar(team, &model.vector("a query"), 5)
                .await
                .unwrap();
            assert_eq!(hits.len(), 5);
            for hit in hits {
                assert_eq!(
                    hit.experience.embedding,
                    model.vector(&hit.experience.content)
                );
            }
            drop(past);
            if reopened {
                db.close().await.unwrap();
            }
        }
    });
}

/// Changes something, so that there is a later moment.
async fn record_more(db: &PulseDB, team: CollectiveId) {
    let id = everything(db, team).await[0].id;
    db.reinforce_experience(id).await.unwrap();
}

#[test]
fn readers_follow() {
    run(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 60).await;
        let reader = world.open_read_only().await;
        let model = toy("new", 6);
        model.fails_behind(0);
        assert!(db.reembed(team, model.dynamic()).await.is_err());
        goes_by(&reader, team, &old).await;
        model.fails_behind(usize::MAX);
        db.reembed(team, model.dynamic()).await.unwrap();
        let until = std::time::Instant::now() + std::time::Duration::from_secs(20);
        while reader
            .get_collective(team)
            .await
            .unwrap()
            .unwrap()
            .embedding_dimension
            != 6
        {
            assert!(
                std::time::Instant::now() < until,
                "the reader does not follow"
            );
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
        }
        goes_by(&reader, team, &|text| model.vector(text)).await;
        assert!(matches!(
            reader.reembed(team, model.dynamic()).await,
            Err(PulseDBError::ReadOnly { .. })
        ));
        reader.close().await.unwrap();
        db.close().await.unwrap();
    });
}

#[test]
fn watchers_hear_of_the_collective_only() {
    run(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 40).await;
        let cursor = db.current_cursor().await.unwrap();
        let model = toy("new", 6);
        db.reembed(team, model.dynamic()).await.unwrap();
        let changes: Changes = db.poll_changes(cursor, 1000).await.unwrap();
        assert_eq!(changes.events.len(), 2, "{:?}", changes.events);
        let kinds = changes.events.iter().map(|event| event.entity.kind());
        assert!(kinds.eq([pulsedb::EntityKind::Collective; 2]));
        // What changes from now on is told with its present vector.
        let mut items = db.watch(WatchOptions::default()).await.unwrap();
        let id = everything(&db, team).await[0].id;
        db.reinforce_experience(id).await.unwrap();
        let event = loop {
            match items.recv().await {
                Some(Ok(WatchItem::Event(event))) => break event,
                Some(Ok(WatchItem::Live(_))) => {}
                other => panic!("{other:?}"),
            }
        };
        let shown = event.experience.clone().unwrap();
        assert_eq!(shown.embedding, model.vector(&shown.content));
        db.close().await.unwrap();
    });
}

#[test]
fn graphs_are_built_anew() {
    run(async {
        let world = World::with(Config {
            hnsw: HnswConfig {
                first_graph_rows: 100,
                tail_rows: 100,
                ..HnswConfig::default()
            },
            ..by_hand()
        });
        let db = world.open().await;
        let team = fill(&db, 400).await;
        db.rebuild_index(team).await.unwrap();
        for (name, dimension) in [("same length", DIMENSION), ("another length", 6)] {
            let model = toy(name, dimension);
            db.reembed(team, model.dynamic()).await.unwrap();
            let new = |text: &str| model.vector(text);
            goes_by(&db, team, &new).await;
            db.rebuild_index(team).await.unwrap();
            let explained = db
                .explain(team, &new("a query"), SearchOptions::default())
                .await
                .unwrap();
            assert!(explained.in_graphs > 0, "{explained:?}");
            let exact = SearchOptions {
                exact: true,
                ..SearchOptions::default()
            };
            let hits = db.search(team, &new("a query"), exact).await.unwrap();
            assert!(hits[0].similarity > 0.5);
            goes_by(&db, team, &new).await;
        }
        db.close().await.unwrap();
        let db = world.open().await;
        let model = toy("another length", 6);
        goes_by(&db, team, &|text| model.vector(text)).await;
        db.close().await.unwrap();
    });
}

#[test]
fn a_backup_and_a_salvage_keep_the_vectors() {
    run(async {
        let world = World::with(by_hand());
        let db = world.open().await;
        let team = fill(&db, 60).await;
        let model = toy("new", 6);
        db.reembed(team, model.dynamic()).await.unwrap();
        db.compact().await.unwrap();
        db.close().await.unwrap();
        let dest = world.path.with_extension("salvaged");
        let report =
            PulseDB::salvage_simulated(&world.path, &dest, world.vfs.clone(), world.env.clone())
                .await
                .unwrap();
        assert!(report.lost.is_empty(), "{report:?}");
        let salvaged = World {
            path: dest,
            ..world
        };
        let db = salvaged.open().await;
        goes_by(&db, team, &|text| model.vector(text)).await;
        db.close().await.unwrap();
    });
}

#[test]
fn a_store_with_another_embedder_writes_again_after_it() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let (first, second) = (toy("first", DIMENSION), toy("second", DIMENSION));
        let open = |model: &Arc<Toy>| {
            PulseDB::open_with_embedder(dir.path(), config(), Arc::clone(model) as _)
        };
        let bare = |team, content: &str| NewExperience::new(team, "agent", content);
        let db = open(&first).await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        db.record_experience(bare(team, "one")).await.unwrap();
        db.close().await.unwrap();
        let db = open(&second).await.unwrap();
        assert!(matches!(
            db.record_experience(bare(team, "two")).await,
            Err(PulseDBError::Embedding(_))
        ));
        let options = SearchOptions::default;
        assert!(matches!(
            db.search_text(team, "one", options()).await,
            Err(PulseDBError::Embedding(_))
        ));
        goes_by(&db, team, &|text| first.vector(text)).await;
        assert_eq!(db.reembed(team, None).await.unwrap().embedded, 1);
        db.record_experience(bare(team, "two")).await.unwrap();
        let hits = db.search_text(team, "two", options()).await.unwrap();
        assert_eq!(hits[0].experience.content, "two");
        goes_by(&db, team, &|text| second.vector(text)).await;
        db.close().await.unwrap();
    });
}

async fn lines(db: &PulseDB, team: CollectiveId, vectors: bool) -> Vec<String> {
    let mut export = db.export(team, ExportOptions { vectors }).await.unwrap();
    let mut lines = Vec::new();
    while let Some(line) = export.recv().await {
        lines.push(line.unwrap());
    }
    lines
}

#[test]
fn vectors_enter_a_store_that_embeds_only_where_they_are_its_own() {
    run(async {
        let dirs: Vec<_> = (0..4).map(|_| tempfile::tempdir().unwrap()).collect();
        let (first, second) = (toy("first", DIMENSION), toy("second", DIMENSION));
        let open = |number: usize, model: &Arc<Toy>| {
            PulseDB::open_with_embedder(dirs[number].path(), config(), Arc::clone(model) as _)
        };
        let db = open(0, &first).await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        let batch = ["one", "two", "three"].map(|text| NewExperience::new(team, "agent", text));
        let mut told = Vec::new();
        let tell = |progress| told.push(progress);
        db.record_experiences_telling(batch.to_vec(), tell)
            .await
            .unwrap();
        assert_eq!((told[0].done, told[0].total), (3, Some(3)));
        let empty = db.create_collective("empty").await.unwrap();
        let (with, without) = (lines(&db, team, true).await, lines(&db, team, false).await);
        let nothing = lines(&db, empty, true).await;
        db.close().await.unwrap();
        // Its own kind.
        let same = open(1, &first).await.unwrap();
        let mut told = Vec::new();
        let report = same
            .import_with(None, source(&with), ImportOptions::default(), |progress| {
                told.push(progress)
            })
            .await
            .unwrap();
        assert_eq!((report.created, told.last().unwrap().done), (3, 3));
        goes_by(&same, team, &|text| first.vector(text)).await;
        same.close().await.unwrap();
        // Another kind: refused before anything is written, and both are named.
        let other = open(2, &second).await.unwrap();
        for check_only in [true, false] {
            let options = ImportOptions {
                check_only,
                ..ImportOptions::default()
            };
            match other.import(None, source(&with), options).await {
                Err(PulseDBError::Embedding(what)) => {
                    assert!(
                        what.contains("toy/first@1") && what.contains("toy/second@1"),
                        "{what}"
                    );
                }
                answer => panic!("{answer:?}"),
            }
        }
        assert!(other.list_collectives().await.unwrap().is_empty());
        other
            .import(None, source(&nothing), ImportOptions::default())
            .await
            .unwrap();
        other
            .import(None, source(&without), ImportOptions::default())
            .await
            .unwrap();
        goes_by(&other, team, &|text| second.vector(text)).await;
        other.close().await.unwrap();
        // A store of callers' vectors takes them with their name.
        let external = PulseDB::open(dirs[3].path(), config()).await.unwrap();
        external
            .import(None, source(&with), ImportOptions::default())
            .await
            .unwrap();
        let definition = external.get_collective(team).await.unwrap().unwrap();
        assert_eq!(definition.embedder.unwrap(), first.identity);
        external.close().await.unwrap();
    });
}

/// Lines as a stream.
fn source(lines: &[String]) -> impl futures_util::Stream<Item = Result<String>> + Send {
    futures_util::stream::iter(lines.iter().cloned().map(Ok))
}
