//! Are relations and insights what was stored, for as long as what they are about is there?

use std::{collections::BTreeMap, time::Duration};

use pulsedb::{
    CollectiveId, CompactionConfig, Config, DerivedInsight, EntityKind, ExperienceId,
    ExperienceRelation, InsightFilter, InsightId, InsightType, NewExperience, NewInsight,
    NewRelation, PulseDB, PulseDBError, RelationDirection, RelationFilter, RelationId,
    RelationType, RetentionConfig, Snapshot, Timestamp, sim::Survival,
};

use super::support::{START, World, config, new, refused_field, run};

const TYPES: [RelationType; 6] = [
    RelationType::Supports,
    RelationType::Contradicts,
    RelationType::Elaborates,
    RelationType::Supersedes,
    RelationType::Implies,
    RelationType::RelatedTo,
];

fn insight(team: CollectiveId, text: &str, sources: &[ExperienceId]) -> NewInsight {
    NewInsight {
        collective_id: team,
        content: text.into(),
        embedding: Some(vec![0.5, -0.5, 0.25, 1.0]),
        source_experience_ids: sources.to_vec(),
        insight_type: InsightType::Synthesis,
        confidence: 0.75,
        domain: vec!["rust".into()],
    }
}

/// An id that nothing has.
fn id_of<I: std::str::FromStr<Err: std::fmt::Debug>>(number: u32) -> I {
    format!("0190a0b0-0000-7000-8000-{number:012x}")
        .parse()
        .unwrap()
}

fn is_not_found<T: std::fmt::Debug>(answer: pulsedb::Result<T>, wanted: EntityKind) -> bool {
    matches!(answer, Err(PulseDBError::NotFound { kind, .. }) if kind == wanted)
}

async fn two(db: &PulseDB) -> (CollectiveId, ExperienceId, ExperienceId) {
    let team = db.create_collective("team").await.unwrap();
    let a = db.record_experience(new(team, "a")).await.unwrap();
    let b = db.record_experience(new(team, "b")).await.unwrap();
    (team, a, b)
}

#[test]
fn a_relation_is_what_was_stored() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let (_, a, b) = two(&db).await;
        let metadata = Some(r#"{"why": ["seen twice"]}"#.to_owned());
        let relation = NewRelation {
            strength: 0.25,
            metadata: metadata.clone(),
            ..NewRelation::new(a, b, RelationType::Implies)
        };
        let id = db.store_relation(relation).await.unwrap();
        let expected = ExperienceRelation {
            id,
            source_id: a,
            target_id: b,
            relation_type: RelationType::Implies,
            strength: 0.25,
            metadata,
            created_at: START,
        };
        for reopened in [false, true] {
            let db = if reopened {
                db.close().await.unwrap();
                world.open().await
            } else {
                db.clone()
            };
            assert_eq!(db.get_relation(id).await.unwrap().as_ref(), Some(&expected));
            for (one, other, direction) in [
                (a, b, RelationDirection::Outgoing),
                (b, a, RelationDirection::Incoming),
            ] {
                let found = db.get_related_experiences(one, direction).await.unwrap();
                assert_eq!(found.len(), 1);
                assert_eq!(found[0].relation, expected);
                assert_eq!(found[0].experience, db.get_experience(other).await.unwrap());
                let both = db.get_related_experiences(one, RelationDirection::Both);
                assert_eq!(both.await.unwrap(), found);
                let opposite = db.get_related_experiences(other, direction).await.unwrap();
                assert!(opposite.is_empty());
            }
            let relations = db.get_relations(a, RelationFilter::default()).await;
            assert_eq!(relations.unwrap(), std::slice::from_ref(&expected));
        }
    });
}

#[test]
fn what_cannot_be_related_is_refused() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let (_, a, b) = two(&db).await;
        let elsewhere = db.create_collective("elsewhere").await.unwrap();
        let foreign = db.record_experience(new(elsewhere, "c")).await.unwrap();
        let relation = |source, target| NewRelation::new(source, target, RelationType::Supports);
        let nobody = id_of::<ExperienceId>(1);

        let refused = |new: NewRelation| {
            let db = db.clone();
            async move { refused_field(db.store_relation(new).await) }
        };
        assert_eq!(refused(relation(a, a)).await, "target_id");
        assert_eq!(refused(relation(a, foreign)).await, "target_id");
        let strengths = [-0.1, 1.1, f32::NAN];
        for strength in strengths {
            let new = NewRelation {
                strength,
                ..relation(a, b)
            };
            assert_eq!(refused(new).await, "strength");
        }
        for metadata in ["{".to_owned(), format!("\"{}\"", "x".repeat(10 * 1024 - 1))] {
            let new = NewRelation {
                metadata: Some(metadata),
                ..relation(a, b)
            };
            assert_eq!(refused(new).await, "metadata");
        }
        let longest = NewRelation {
            metadata: Some(format!("\"{}\"", "x".repeat(10 * 1024 - 2))),
            ..relation(b, a)
        };
        db.store_relation(longest).await.unwrap();
        for (source, target) in [(a, nobody), (nobody, a)] {
            let answer = db.store_relation(relation(source, target)).await;
            assert!(is_not_found(answer, EntityKind::Experience));
        }

        let first = db.store_relation(relation(a, b)).await.unwrap();
        let again = db.store_relation(relation(a, b)).await;
        let Err(PulseDBError::Conflict { what, .. }) = again else {
            panic!("stored twice: {again:?}");
        };
        assert!(what.contains(&first.to_string()), "{what}");
        // Another type, and the other way round, are other relations.
        let implied = NewRelation::new(a, b, RelationType::Implies);
        db.store_relation(implied).await.unwrap();
        db.delete_relation(first).await.unwrap();
        let answer = db.delete_relation(first).await;
        assert!(is_not_found(answer, EntityKind::Relation));
        let second = db.store_relation(relation(a, b)).await.unwrap();
        assert_ne!(first, second);
        // Ids are those of one kind of thing.
        let as_relation = a.to_string().parse::<RelationId>().unwrap();
        assert_eq!(db.get_relation(as_relation).await.unwrap(), None);
        let answer = db.delete_relation(as_relation).await;
        assert!(is_not_found(answer, EntityKind::Relation));
        let as_experience = second.to_string().parse::<ExperienceId>().unwrap();
        let answer = db.get_experience(as_experience).await;
        assert!(is_not_found(answer, EntityKind::Experience));
        let answer = db.delete_experience(as_experience).await;
        assert!(is_not_found(answer, EntityKind::Experience));
    });
}

#[test]
fn relations_go_with_their_experiences() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let (team, a, b) = two(&db).await;
        let fleeting = NewExperience {
            expires_at: Some(Timestamp::from_millis(START.as_millis() + 10_000)),
            ..new(team, "c")
        };
        let c = db.record_experience(fleeting).await.unwrap();
        let relate = |source, target| {
            let db = db.clone();
            async move {
                let new = NewRelation::new(source, target, RelationType::RelatedTo);
                db.store_relation(new).await.unwrap()
            }
        };
        let (ab, bc, ca) = (relate(a, b).await, relate(b, c).await, relate(c, a).await);
        let before = db.snapshot().await.unwrap();
        let there = |db: &PulseDB| {
            let db = db.clone();
            async move {
                let mut there = Vec::new();
                for id in [ab, bc, ca] {
                    there.push(db.get_relation(id).await.unwrap().is_some());
                }
                there
            }
        };
        assert_eq!(there(&db).await, [true, true, true]);
        world.env.advance(Duration::from_secs(10));
        assert_eq!(there(&db).await, [true, false, false]);
        let around = db.get_relations(a, RelationFilter::default()).await;
        assert_eq!(around.unwrap().len(), 1);
        db.delete_experience(b).await.unwrap();
        assert_eq!(there(&db).await, [false, false, false]);
        let around = db.get_relations(a, RelationFilter::default()).await;
        assert!(around.unwrap().is_empty());
        for id in [a, b, c] {
            let found = before.get_relations(id, RelationFilter::default()).await;
            assert_eq!(found.unwrap().len(), 2);
        }
        drop(before);
        db.close().await.unwrap();
        let db = world.open().await;
        assert_eq!(there(&db).await, [false, false, false]);
    });
}

#[test]
fn the_neighbourhood_is_what_relations_lead_to() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let mut all = Vec::new();
        for number in 0..6 {
            let text = format!("experience {number}");
            all.push(db.record_experience(new(team, text)).await.unwrap());
        }
        // 0 → 1 → 2 → 3, 4 → 1, and 5 alone; back from 3 to 0 by another type.
        let supports = RelationType::Supports;
        for (from, to, relation_type) in [
            (0, 1, supports),
            (1, 2, supports),
            (2, 3, supports),
            (4, 1, supports),
            (3, 0, RelationType::Contradicts),
        ] {
            let new = NewRelation::new(all[from], all[to], relation_type);
            db.store_relation(new).await.unwrap();
        }
        let around = |start: usize, depth, types: &[RelationType]| {
            let (db, all, types) = (db.clone(), all.clone(), types.to_vec());
            async move {
                let found = db.neighbourhood(all[start], depth, types).await.unwrap();
                let number = |id| all.iter().position(|known| *known == id).unwrap();
                let found = found
                    .iter()
                    .map(|one| (number(one.experience_id), one.depth));
                found.collect::<Vec<_>>()
            }
        };
        assert_eq!(around(0, 1, &[]).await, [(1, 1), (3, 1)]);
        assert_eq!(around(0, 1, &[supports]).await, [(1, 1)]);
        assert_eq!(around(0, 2, &[supports]).await, [(1, 1), (2, 2), (4, 2)]);
        assert_eq!(
            around(0, 8, &[supports]).await,
            [(1, 1), (2, 2), (4, 2), (3, 3)]
        );
        assert_eq!(around(5, 3, &[]).await, []);
        for depth in [0, 9] {
            let answer = db.neighbourhood(all[0], depth, Vec::new()).await;
            assert_eq!(refused_field(answer), "depth");
        }
        let answer = db.neighbourhood(id_of::<ExperienceId>(1), 1, Vec::new());
        assert!(is_not_found(answer.await, EntityKind::Experience));
        for (field, filter) in [
            (
                "limit",
                RelationFilter {
                    limit: 0,
                    ..RelationFilter::default()
                },
            ),
            (
                "min_strength",
                RelationFilter {
                    min_strength: Some(2.0),
                    ..RelationFilter::default()
                },
            ),
        ] {
            assert_eq!(refused_field(db.get_relations(all[0], filter).await), field);
        }
    });
}

#[test]
fn an_insight_is_what_was_stored() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let (team, a, b) = two(&db).await;
        let id = db.store_insight(insight(team, "both", &[b, a])).await;
        let id = id.unwrap();
        let expected = DerivedInsight {
            id,
            collective_id: team,
            content: "both".into(),
            embedding: vec![0.5, -0.5, 0.25, 1.0],
            source_experience_ids: vec![b, a],
            insight_type: InsightType::Synthesis,
            confidence: 0.75,
            domain: vec!["rust".into()],
            created_at: START,
            updated_at: START,
        };
        for reopened in [false, true] {
            let db = if reopened {
                db.close().await.unwrap();
                world.open().await
            } else {
                db.clone()
            };
            assert_eq!(db.get_insight(id).await.unwrap().as_ref(), Some(&expected));
            let hits = db.get_insights(team, &[0.5, -0.5, 0.25, 1.0], 5).await;
            let hits = hits.unwrap();
            assert_eq!(hits.len(), 1);
            assert_eq!(hits[0].insight, expected);
            assert!((hits[0].similarity - 1.0).abs() < 1e-6);
            // Insights are no experiences, and experiences no insights.
            let found = db.search_similar(team, &[0.5, -0.5, 0.25, 1.0], 10).await;
            assert_eq!(found.unwrap().len(), 2);
            let stats = db.get_collective_stats(team).await.unwrap();
            assert_eq!(stats.experience_count, 2);
            let other = a.to_string().parse::<InsightId>().unwrap();
            assert_eq!(db.get_insight(other).await.unwrap(), None);
        }
        let db = world.open().await;
        for (domains, min_confidence, count) in [
            (vec!["rust"], None, 1),
            (vec!["go"], None, 0),
            (vec![], Some(0.75), 1),
            (vec![], Some(0.8), 0),
        ] {
            let filter = InsightFilter {
                domains: domains.into_iter().map(str::to_owned).collect(),
                min_confidence,
                ..InsightFilter::default()
            };
            let query = [1.0, 0.0, 0.0, 0.0];
            let found = db.get_insights_filtered(team, &query, 3, filter).await;
            assert_eq!(found.unwrap().len(), count);
        }
        db.delete_experience(b).await.unwrap();
        let left = db.get_insight(id).await.unwrap().unwrap();
        assert_eq!(left.source_experience_ids, [a]);
        db.delete_insight(id).await.unwrap();
        assert_eq!(db.get_insight(id).await.unwrap(), None);
        let answer = db.delete_insight(id).await;
        assert!(is_not_found(answer, EntityKind::Insight));
        let hits = db.get_insights(team, &[0.5, -0.5, 0.25, 1.0], 5).await;
        assert!(hits.unwrap().is_empty());
    });
}

#[test]
fn what_is_no_insight_is_refused() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let (team, a, b) = two(&db).await;
        let elsewhere = db.create_collective("elsewhere").await.unwrap();
        let foreign = db.record_experience(new(elsewhere, "c")).await.unwrap();
        let sources: Vec<_> = (1..=101).map(id_of).collect();
        let text = |bytes| "x".repeat(bytes);
        let good = insight(team, "good", &[a]);
        let bad = [
            (
                "content",
                NewInsight {
                    content: text(50 * 1024 + 1),
                    ..good.clone()
                },
            ),
            (
                "content",
                NewInsight {
                    content: " \n".into(),
                    ..good.clone()
                },
            ),
            (
                "confidence",
                NewInsight {
                    confidence: 1.5,
                    ..good.clone()
                },
            ),
            (
                "domain",
                NewInsight {
                    domain: vec![String::new()],
                    ..good.clone()
                },
            ),
            (
                "embedding",
                NewInsight {
                    embedding: None,
                    ..good.clone()
                },
            ),
            (
                "embedding",
                NewInsight {
                    embedding: Some(vec![1.0]),
                    ..good.clone()
                },
            ),
            ("source_experience_ids", insight(team, "none", &[])),
            ("source_experience_ids", insight(team, "many", &sources)),
            ("source_experience_ids", insight(team, "twice", &[a, b, a])),
            (
                "source_experience_ids",
                insight(team, "foreign", &[a, foreign]),
            ),
        ];
        for (field, new) in bad {
            assert_eq!(refused_field(db.store_insight(new).await), field);
        }
        let answer = db.store_insight(insight(team, "gone", &sources[..1])).await;
        assert!(is_not_found(answer, EntityKind::Experience));
        let nowhere = id_of::<CollectiveId>(1);
        let answer = db.store_insight(insight(nowhere, "nowhere", &[a])).await;
        assert!(is_not_found(answer, EntityKind::Collective));
        for k in [0, 1001] {
            assert_eq!(
                refused_field(db.get_insights(team, &[1.0; 4], k).await),
                "k"
            );
        }
        let answer = db.get_insights(team, &[1.0; 3], 1).await;
        assert_eq!(refused_field(answer), "query");
        let longest = NewInsight {
            content: text(50 * 1024),
            ..good
        };
        db.store_insight(longest).await.unwrap();
    });
}

/// What there should be.
#[derive(Clone, Debug, Default, PartialEq)]
struct Model {
    experiences: Vec<ExperienceId>,
    relations: BTreeMap<RelationId, (ExperienceId, ExperienceId, RelationType)>,
    insights: BTreeMap<InsightId, Vec<ExperienceId>>,
}

impl Model {
    fn delete_experience(&mut self, id: ExperienceId) {
        self.experiences.retain(|known| *known != id);
        self.relations
            .retain(|_, (source, target, _)| *source != id && *target != id);
        for sources in self.insights.values_mut() {
            sources.retain(|source| *source != id);
        }
    }
}

/// Compares what a snapshot shows with what there should be; `known` are ids that there ever were.
async fn compare(db: &Snapshot, model: &Model, known: &Model) {
    for id in known.relations.keys() {
        let found = db.get_relation(*id).await.unwrap();
        let found = found.map(|one| (one.source_id, one.target_id, one.relation_type));
        assert_eq!(found.as_ref(), model.relations.get(id));
    }
    for id in known.insights.keys() {
        let found = db.get_insight(*id).await.unwrap();
        let found = found.map(|one| one.source_experience_ids);
        assert_eq!(found.as_ref(), model.insights.get(id));
    }
    for id in &known.experiences {
        let found = db.get_relations(*id, RelationFilter::default()).await;
        if !model.experiences.contains(id) {
            assert!(is_not_found(found, EntityKind::Experience));
            continue;
        }
        let mut expected: Vec<RelationId> = Vec::new();
        for (relation, (source, target, _)) in &model.relations {
            if source == id || target == id {
                expected.push(*relation);
            }
        }
        let found: Vec<_> = found.unwrap().iter().map(|one| one.id).collect();
        assert_eq!(found, expected);
    }
}

/// Random changes beside a model, with reopens, crashes, checkpoints and compactions in between; what was
/// seen before stays what it was.
#[test]
fn relations_and_insights_are_those_of_the_model() {
    for seed in 0..6 {
        run(changes_beside_a_model(seed));
    }
}

async fn changes_beside_a_model(seed: u64) {
    let mut world = World::with(Config {
        segment_bytes: 64 * 1024,
        max_commit_bytes: 32 * 1024,
        checkpoint_bytes: 64 * 1024,
        compaction: CompactionConfig {
            automatic: seed.is_multiple_of(2),
            ..CompactionConfig::default()
        },
        retention: RetentionConfig {
            bytes: if seed.is_multiple_of(3) { 1 << 20 } else { 0 },
            time: Duration::ZERO,
        },
        ..config()
    });
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut chance = move |below: usize| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(97);
        (state >> 33) as usize % below
    };
    let mut db = world.open().await;
    let team = db.create_collective("team").await.unwrap();
    let (mut model, mut known) = (Model::default(), Model::default());
    let mut held: Option<(Snapshot, Model)> = None;
    let mut past = Vec::new();
    for step in 0..400 {
        let count = model.experiences.len();
        match chance(20) {
            0..=4 => {
                let new = new(team, format!("step {step}"));
                let id = db.record_experience(new).await.unwrap();
                model.experiences.push(id);
                known.experiences.push(id);
            }
            5..=10 if count >= 2 => {
                let source = model.experiences[chance(count)];
                let target = model.experiences[chance(count)];
                let relation_type = TYPES[chance(TYPES.len())];
                let relation = (source, target, relation_type);
                let answer = db
                    .store_relation(NewRelation::new(source, target, relation_type))
                    .await;
                if source == target {
                    assert_eq!(refused_field(answer), "target_id");
                } else if model.relations.values().any(|one| *one == relation) {
                    assert!(matches!(answer, Err(PulseDBError::Conflict { .. })));
                } else {
                    let id = answer.unwrap();
                    model.relations.insert(id, relation);
                    known.relations.insert(id, relation);
                }
            }
            11 | 12 if count > 0 => {
                let sources = vec![model.experiences[chance(count)]];
                let id = db.store_insight(insight(team, "insight", &sources)).await;
                let id = id.unwrap();
                model.insights.insert(id, sources.clone());
                known.insights.insert(id, sources);
            }
            13 if count > 4 => {
                let id = model.experiences[chance(count)];
                db.delete_experience(id).await.unwrap();
                model.delete_experience(id);
            }
            14 if !model.relations.is_empty() => {
                let nth = chance(model.relations.len());
                let id = *model.relations.keys().nth(nth).unwrap();
                db.delete_relation(id).await.unwrap();
                model.relations.remove(&id);
            }
            15 if model.insights.len() > 3 => {
                let id = *model.insights.keys().next().unwrap();
                db.delete_insight(id).await.unwrap();
                model.insights.remove(&id);
            }
            16 => {
                db.checkpoint().await.unwrap();
            }
            17 => {
                db.compact().await.unwrap();
            }
            18 => {
                held = None;
                past.clear();
                if chance(2) == 0 {
                    db.close().await.unwrap();
                } else {
                    let survival = Survival::Random { stale_bytes: true };
                    world.vfs = world.vfs.reboot(survival);
                    drop(db);
                }
                db = world.open().await;
            }
            19 => match held.take() {
                Some((snapshot, then)) => compare(&snapshot, &then, &known).await,
                None => held = Some((db.snapshot().await.unwrap(), model.clone())),
            },
            _ => {}
        }
        if world.config.retention.bytes > 0 {
            let lsn = db.current_cursor().await.unwrap().lsn;
            past.push((lsn, model.clone()));
        }
        if step % 20 == 0 {
            compare(&db.snapshot().await.unwrap(), &model, &known).await;
            if let Some((lsn, then)) = past.get(chance(past.len().max(1))) {
                let snapshot = db.snapshot_at(*lsn).await.unwrap();
                compare(&snapshot, then, &known).await;
            }
        }
    }
    if let Some((snapshot, then)) = held {
        compare(&snapshot, &then, &known).await;
    }
    let report = db.verify().await.unwrap();
    assert!(report.is_clean(), "{report:?}");
    db.delete_collective(team).await.unwrap();
    for id in known.relations.keys() {
        assert_eq!(db.get_relation(*id).await.unwrap(), None);
    }
    for id in known.insights.keys() {
        assert_eq!(db.get_insight(*id).await.unwrap(), None);
    }
}
