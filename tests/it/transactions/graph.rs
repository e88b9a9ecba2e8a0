//! Do transactions see relations and insights as everything else?
//!
//! What one transaction does with them, and which others it conflicts with: each way of seeing something against
//! each change of it.

use std::time::Duration;

use futures_util::future::join;
use pulsedb::{
    CollectiveId, DecayConfig, Existing, ExperienceId, ExperienceUpdate, ImportOptions,
    InsightFilter, InsightId, InsightType, NewInsight, NewRelation, Page, PulseDB, PulseDBError,
    RecallWeights, RelationDirection, RelationFilter, RelationId, RelationType, Transaction,
};

use super::{Pair, VECTOR, conflict, write};
use crate::{
    support::{World, new, refused_field, run},
    transfer::{changed, import, lines},
};

const KIND: RelationType = RelationType::Supports;

pub fn insight(team: CollectiveId, text: &str, sources: &[ExperienceId]) -> NewInsight {
    NewInsight {
        collective_id: team,
        content: text.into(),
        embedding: Some(VECTOR.to_vec()),
        source_experience_ids: sources.to_vec(),
        insight_type: InsightType::Pattern,
        confidence: 0.5,
        domain: Vec::new(),
    }
}

/// x → y, and an insight derived from x.
struct Graph {
    pair: Pair,
    relation: RelationId,
    insight: InsightId,
}

impl Graph {
    async fn new() -> Self {
        let pair = Pair::new().await;
        let relation = NewRelation::new(pair.x, pair.y, KIND);
        let relation = pair.db.store_relation(relation).await.unwrap();
        let derived = insight(pair.team, "i", &[pair.x]);
        let insight = pair.db.store_insight(derived).await.unwrap();
        Self {
            pair,
            relation,
            insight,
        }
    }
}

#[test]
fn it_sees_its_own_and_nobody_else_does() {
    run(async {
        let graph = Graph::new().await;
        let (Pair { db, team, x, y, .. }, relation) = (&graph.pair, graph.relation);
        let mut tx = graph.pair.begin().await;
        let own = write(&mut tx, *team).await;
        let stored = NewRelation {
            metadata: Some("{}".into()),
            ..NewRelation::new(own, *x, KIND)
        };
        let stored = tx.store_relation(stored).await.unwrap();
        let derived = insight(*team, "own", &[own, *y]);
        let derived = tx.store_insight(derived).await.unwrap();
        let newest = tx
            .supersede_experience(*y, new(*team, "newest"))
            .await
            .unwrap();

        let around = tx.neighbourhood(own, 8, Vec::new()).await.unwrap();
        let around: Vec<_> = around.iter().map(|one| one.experience_id).collect();
        assert_eq!(around, [*x, *y, newest]);
        let incoming = tx.get_related_experiences(*y, RelationDirection::Incoming);
        let incoming = incoming.await.unwrap();
        let ids: Vec<_> = incoming.iter().map(|one| one.experience.id).collect();
        assert_eq!(ids, [*x, newest]);
        let succession = incoming[1].relation.id;
        assert!(tx.get_experience(*y).await.unwrap().valid_to.is_some());
        let hits = tx.get_insights(*team, &VECTOR, 5).await.unwrap();
        assert_eq!(hits.len(), 2);
        assert!(db.get_relation(stored).await.unwrap().is_none());
        assert!(db.get_insight(derived).await.unwrap().is_none());
        assert!(db.get_experience(*y).await.unwrap().valid_to.is_none());

        // What is deleted takes its relations along, and leaves its insights.
        tx.delete_experience(*x).await.unwrap();
        for gone in [relation, stored] {
            assert!(tx.get_relation(gone).await.unwrap().is_none());
            let again = tx.delete_relation(gone).await;
            assert!(matches!(again, Err(PulseDBError::NotFound { .. })));
        }
        let left = tx.list_relations(*team, Page::default()).await.unwrap();
        assert_eq!(left.items.len(), 1);
        let left = tx.get_relations(*y, RelationFilter::default()).await;
        assert_eq!(left.unwrap().len(), 1);
        let orphan = tx.get_insight(graph.insight).await.unwrap().unwrap();
        assert!(orphan.source_experience_ids.is_empty());
        tx.delete_insight(graph.insight).await.unwrap();
        let listed = tx.list_insights(*team, Page::default()).await.unwrap();
        assert_eq!(listed.items.len(), 1);

        graph.pair.world.env.advance(Duration::from_secs(60));
        tx.commit().await.unwrap();
        let after = db.get_relation(succession).await.unwrap().unwrap();
        assert_eq!((after.source_id, after.target_id), (newest, *y));
        // Ids are final; the time is that of the commit.
        let ended = db.get_experience(*y).await.unwrap().valid_to;
        assert_eq!(ended, Some(after.created_at));
        assert!(after.created_at > incoming[1].relation.created_at);
        let derived = db.get_insight(derived).await.unwrap().unwrap();
        assert_eq!(derived.source_experience_ids, [own, *y]);
        assert!(db.get_insight(graph.insight).await.unwrap().is_none());
        assert!(db.get_relation(stored).await.unwrap().is_none());
        let stats = db.get_collective_stats(*team).await.unwrap();
        assert_eq!((stats.relation_count, stats.insight_count), (1, 1));
        assert!(db.verify().await.unwrap().is_clean());
        db.close().await.unwrap();
        let db = graph.pair.world.open().await;
        assert_eq!(db.get_relation(succession).await.unwrap(), Some(after));
        assert_eq!(db.get_insight(derived.id).await.unwrap(), Some(derived));
        db.close().await.unwrap();
    });
}

#[test]
fn all_of_it_is_gone_with_its_collective() {
    run(async {
        let graph = Graph::new().await;
        let Pair { db, team, x, y, .. } = &graph.pair;
        let mut tx = graph.pair.begin().await;
        let stored = NewRelation::new(*y, *x, KIND);
        let stored = tx.store_relation(stored).await.unwrap();
        let derived = tx.store_insight(insight(*team, "own", &[*x])).await;
        let derived = derived.unwrap();
        tx.delete_collective(*team).await.unwrap();
        for id in [graph.relation, stored] {
            assert!(tx.get_relation(id).await.unwrap().is_none());
            assert!(tx.delete_relation(id).await.is_err());
        }
        for id in [graph.insight, derived] {
            assert!(tx.get_insight(id).await.unwrap().is_none());
            assert!(tx.delete_insight(id).await.is_err());
        }
        assert!(tx.list_insights(*team, Page::default()).await.is_err());
        tx.commit().await.unwrap();
        assert!(db.get_insight(graph.insight).await.unwrap().is_none());
        db.close().await.unwrap();
    });
}

/// Insights do not fade, whatever their collective says of experiences.
#[test]
fn weights_of_the_collective_are_those_of_experiences() {
    run(async {
        let graph = Graph::new().await;
        let Pair { db, team, x, .. } = &graph.pair;
        let newer = NewInsight {
            embedding: Some(vec![1.0, 2.0, 3.0, -4.0]),
            ..insight(*team, "newer", &[*x])
        };
        db.store_insight(newer).await.unwrap();
        let mut tx = graph.pair.begin().await;
        let by_energy = DecayConfig {
            half_life_ms: 1,
            default_recall_weights: Some(RecallWeights {
                similarity: 0.0,
                energy: 1.0,
            }),
            ..DecayConfig::default()
        };
        tx.set_decay_config(*team, by_energy).await.unwrap();
        let best = tx.get_insights(*team, &VECTOR, 1).await.unwrap();
        assert_eq!(best[0].insight.id, graph.insight);
        db.close().await.unwrap();
    });
}

/// How something of a graph is seen, or not.
const WAYS: usize = 16;

async fn see(graph: &Graph, tx: &mut Transaction, way: usize) {
    let Pair { team, x, y, .. } = graph.pair;
    let both = RelationDirection::Both;
    match way {
        0 => assert!(tx.get_relation(graph.relation).await.unwrap().is_some()),
        1 => tx.delete_relation(graph.relation).await.unwrap(),
        2 => {
            let known = NewRelation::new(x, y, KIND);
            conflict(tx.store_relation(known).await.map(drop));
        }
        3 => assert!(tx.get_insight(graph.insight).await.unwrap().is_some()),
        4 => tx.delete_insight(graph.insight).await.unwrap(),
        5 => drop(tx.get_related_experiences(x, both).await.unwrap()),
        6 => drop(
            tx.get_related_experiences_filtered(x, RelationFilter::default())
                .await
                .unwrap(),
        ),
        7 => drop(
            tx.get_relations(x, RelationFilter::default())
                .await
                .unwrap(),
        ),
        8 => drop(tx.neighbourhood(x, 1, Vec::new()).await.unwrap()),
        9 => drop(tx.list_relations(team, Page::default()).await.unwrap()),
        10 => drop(tx.list_insights(team, Page::default()).await.unwrap()),
        11 => drop(tx.get_insights(team, &VECTOR, 1).await.unwrap()),
        12 => {
            let filter = InsightFilter::default();
            let found = tx.get_insights_filtered(team, &VECTOR, 1, filter).await;
            assert_eq!(found.unwrap().len(), 1);
        }
        // What storing depends on, the committer asks anew.
        13 => drop(
            tx.store_relation(NewRelation::new(y, x, KIND))
                .await
                .unwrap(),
        ),
        14 => drop(tx.store_insight(insight(team, "j", &[x])).await.unwrap()),
        _ => drop(tx.supersede_experience(x, new(team, "s")).await.unwrap()),
    }
}

/// How it changes, or something else does.
const CHANGES: usize = 9;

async fn touch(graph: &Graph, change: usize) {
    let Pair { db, team, x, y, .. } = &graph.pair;
    match change {
        0 => db.delete_relation(graph.relation).await.unwrap(),
        1 => db.delete_insight(graph.insight).await.unwrap(),
        2 => db.delete_experience(*x).await.unwrap(),
        3 => {
            let past = ExperienceUpdate {
                expires_at: Some(Some(pulsedb::Timestamp::from_millis(1))),
                ..ExperienceUpdate::default()
            };
            db.update_experience(*x, past).await.unwrap();
        }
        4 => drop(db.reinforce_experience(*x).await.unwrap()),
        5 => drop(
            db.store_relation(NewRelation::new(*y, *x, RelationType::Implies))
                .await
                .unwrap(),
        ),
        6 => drop(db.store_insight(insight(*team, "k", &[*y])).await.unwrap()),
        7 => drop(
            db.store_relation(NewRelation::new(*y, *x, KIND))
                .await
                .unwrap(),
        ),
        _ => drop(db.create_collective("other").await.unwrap()),
    }
}

#[test]
fn each_way_of_seeing_conflicts_with_each_change_of_it() {
    // By change: the relation and the insight are deleted, x is deleted, expires, is reinforced; another
    // relation, another insight, the relation that way 13 stores, another collective.
    let relation = [true, false, true, true, true, false, false, false, false];
    let source = [false, true, true, true, true, false, false, false, false];
    let everything = [true, true, true, true, true, true, true, true, false];
    let expected = |way: usize| match way {
        0..=2 => relation,
        3 => source,
        4 => [false, true, false, false, false, false, false, false, false],
        5..=12 => everything,
        13 => [false, false, true, true, false, false, false, true, false],
        14 => [false, false, true, true, false, false, false, false, false],
        _ => [false, false, true, true, true, false, false, false, false],
    };
    run(async {
        for way in 0..WAYS {
            for (change, conflicts) in expected(way).into_iter().enumerate() {
                let graph = Graph::new().await;
                let mine = graph.pair.db.create_collective("mine").await.unwrap();
                let mut tx = graph.pair.begin().await;
                see(&graph, &mut tx, way).await;
                write(&mut tx, mine).await;
                touch(&graph, change).await;
                match tx.commit().await {
                    Ok(()) => assert!(!conflicts, "way {way}, change {change}"),
                    Err(PulseDBError::Conflict { what }) => {
                        assert!(conflicts, "way {way}, change {change}: {what}");
                    }
                    Err(other) => panic!("way {way}, change {change}: {other}"),
                }
                graph.pair.db.close().await.unwrap();
            }
        }
        assert_eq!(expected(0).len(), CHANGES);
    });
}

/// The commits of both are queued before either is decided.
#[test]
fn the_same_within_one_group() {
    run(async {
        for way in [0, 1, 3, 4, 5, 9, 10] {
            for change in 0..3 {
                let graph = Graph::new().await;
                let mine = graph.pair.db.create_collective("mine").await.unwrap();
                let mut first = graph.pair.begin().await;
                match change {
                    0 => first.delete_relation(graph.relation).await.unwrap(),
                    1 => first.delete_insight(graph.insight).await.unwrap(),
                    _ => first.delete_experience(graph.pair.x).await.unwrap(),
                }
                let mut second = graph.pair.begin().await;
                see(&graph, &mut second, way).await;
                write(&mut second, mine).await;
                let (first, second) = join(first.commit(), second.commit()).await;
                first.unwrap();
                let sees = match change {
                    0 => ![3, 4].contains(&way),
                    1 => ![0, 1].contains(&way),
                    _ => way != 4,
                };
                assert_eq!(second.is_err(), sees, "way {way}, change {change}");
                graph.pair.db.close().await.unwrap();
            }
        }
    });
}

#[test]
fn what_was_not_there_is_seen_too() {
    run(async {
        let graph = Graph::new().await;
        let Pair { team, x, y, .. } = graph.pair;
        let mut maker = graph.pair.begin().await;
        let fresh = write(&mut maker, team).await;
        let stored = NewRelation::new(y, fresh, KIND);
        let stored = maker.store_relation(stored).await.unwrap();
        let derived = maker.store_insight(insight(team, "n", &[fresh])).await;
        let derived = derived.unwrap();
        let mine = graph.pair.db.create_collective("mine").await.unwrap();
        let mut txs = Vec::new();
        for way in 0..7 {
            let mut tx = graph.pair.begin().await;
            let around = RelationFilter::default();
            match way {
                0 => assert!(tx.get_relation(stored).await.unwrap().is_none()),
                1 => assert!(tx.delete_relation(stored).await.is_err()),
                2 => assert!(tx.get_insight(derived).await.unwrap().is_none()),
                3 => assert!(tx.delete_insight(derived).await.is_err()),
                4 => assert!(tx.get_relations(fresh, around).await.is_err()),
                5 => {
                    let new = NewRelation::new(x, fresh, KIND);
                    assert!(tx.store_relation(new).await.is_err());
                }
                _ => {
                    let new = insight(team, "j", &[fresh]);
                    assert!(tx.store_insight(new).await.is_err());
                }
            }
            write(&mut tx, mine).await;
            txs.push(tx);
        }
        maker.commit().await.unwrap();
        for tx in txs {
            conflict(tx.commit().await);
        }
        graph.pair.db.close().await.unwrap();
    });
}

#[test]
fn the_same_relation_is_stored_once() {
    run(async {
        for together in [false, true] {
            let pair = Pair::new().await;
            let same = || NewRelation::new(pair.x, pair.y, KIND);
            let (mut first, mut second) = (pair.begin().await, pair.begin().await);
            let won = first.store_relation(same()).await.unwrap();
            second.store_relation(same()).await.unwrap();
            // It knows its own.
            let own = conflict(first.store_relation(same()).await.map(drop));
            assert!(own.contains(&won.to_string()), "{own}");
            let lost = if together {
                let (first, second) = join(first.commit(), second.commit()).await;
                first.unwrap();
                second
            } else {
                first.commit().await.unwrap();
                second.commit().await
            };
            assert!(conflict(lost).contains(&won.to_string()));
            let mut tx = pair.begin().await;
            let known = conflict(tx.store_relation(same()).await.map(drop));
            assert!(known.contains(&won.to_string()));
            tx.delete_relation(won).await.unwrap();
            let again = tx.store_relation(same()).await.unwrap();
            tx.commit().await.unwrap();
            assert!(pair.db.get_relation(won).await.unwrap().is_none());
            assert!(pair.db.get_relation(again).await.unwrap().is_some());
            pair.db.close().await.unwrap();
        }
    });
}

#[test]
fn a_refused_call_changes_nothing_of_it() {
    run(async {
        let graph = Graph::new().await;
        let Pair { db, team, x, y, .. } = &graph.pair;
        let other = db.create_collective("other").await.unwrap();
        let far = db.record_experience(new(other, "far")).await.unwrap();
        let before = db.current_cursor().await.unwrap();
        let mut tx = graph.pair.begin().await;
        let itself = NewRelation::new(*x, *x, KIND);
        assert_eq!(refused_field(tx.store_relation(itself).await), "target_id");
        let leading_out = NewRelation::new(*x, far, KIND);
        let answer = tx.store_relation(leading_out).await;
        assert_eq!(refused_field(answer), "target_id");
        let answer = tx.store_insight(insight(*team, "i", &[far])).await;
        assert_eq!(refused_field(answer), "source_experience_ids");
        let answer = tx.store_insight(insight(*team, "i", &[])).await;
        assert_eq!(refused_field(answer), "source_experience_ids");
        let elsewhere = tx.supersede_experience(far, new(*team, "s")).await;
        conflict(elsewhere.map(drop));
        let later = ExperienceUpdate {
            valid_from: Some(Some(crate::support::later(1_000_000))),
            ..ExperienceUpdate::default()
        };
        let mut early = graph.pair.begin().await;
        early.update_experience(*y, later).await.unwrap();
        let answer = early.supersede_experience(*y, new(*team, "s")).await;
        assert_eq!(refused_field(answer), "valid_to");
        let seen = early.list_experiences(*team, Page::default()).await;
        assert_eq!(seen.unwrap().items.len(), 2);
        drop(early);
        let relations = tx.list_relations(*team, Page::default()).await.unwrap();
        let insights = tx.list_insights(*team, Page::default()).await.unwrap();
        assert_eq!((relations.items.len(), insights.items.len()), (1, 1));
        tx.commit().await.unwrap();
        assert_eq!(db.current_cursor().await.unwrap(), before);
        db.close().await.unwrap();
    });
}

#[test]
fn an_idempotency_key_is_superseded_with_once() {
    run(async {
        let pair = Pair::new().await;
        let keyed = || pulsedb::NewExperience {
            idempotency_key: Some("k".into()),
            ..new(pair.team, "keyed")
        };
        let (mut first, mut second) = (pair.begin().await, pair.begin().await);
        let id = first.supersede_experience(pair.x, keyed()).await.unwrap();
        let again = first.supersede_experience(pair.x, keyed()).await.unwrap();
        assert_eq!(again, id);
        // It has seen another one.
        second.supersede_experience(pair.y, keyed()).await.unwrap();
        first.commit().await.unwrap();
        assert!(conflict(second.commit().await).contains("\"k\""));
        let around = pair.db.get_relations(id, RelationFilter::default()).await;
        assert_eq!(around.unwrap().len(), 1);
        let mut tx = pair.begin().await;
        let known = tx.supersede_experience(pair.y, keyed()).await.unwrap();
        assert_eq!(known, id);
        tx.commit().await.unwrap();
        let y = pair.db.get_experience(pair.y).await.unwrap();
        assert_eq!(y.valid_to, None);
        pair.db.close().await.unwrap();
    });
}

/// What was deleted and has come back elsewhere is not what was related.
#[test]
fn an_end_that_has_moved_is_a_conflict() {
    run(async {
        for of_insight in [false, true] {
            let pair = Pair::new().await;
            let Pair { db, team, x, y, .. } = &pair;
            let all = lines(db, *team).await;
            let other = db.create_collective("other").await.unwrap();
            let mut tx = pair.begin().await;
            if of_insight {
                let derived = insight(*team, "i", &[*x]);
                tx.store_insight(derived).await.unwrap();
            } else {
                let new = NewRelation::new(*y, *x, KIND);
                tx.store_relation(new).await.unwrap();
            }
            db.delete_experience(*x).await.unwrap();
            let skip = ImportOptions {
                existing: Existing::Skip,
                check_only: false,
            };
            let without_y = changed_to_one(&all, *x);
            import(db, Some(other), &without_y, skip).await.unwrap();
            assert!(db.get_experience(*x).await.is_ok());
            conflict(tx.commit().await);
            db.close().await.unwrap();
        }
    });
}

/// The export with one experience.
fn changed_to_one(all: &[String], id: ExperienceId) -> Vec<String> {
    let kept: Vec<String> = all
        .iter()
        .enumerate()
        .filter(|(place, line)| {
            *place == 0 || *place == all.len() - 1 || line.contains(&id.to_string())
        })
        .map(|(_, line)| line.clone())
        .collect();
    changed(&kept, |_| {})
}

/// Applications of all instances are answered, as outside of a transaction.
#[test]
fn applications_elsewhere_count() {
    run(async {
        let there = Pair::new().await;
        for _ in 0..3 {
            there.db.reinforce_experience(there.x).await.unwrap();
        }
        let all = lines(&there.db, there.team).await;
        there.db.close().await.unwrap();
        let world = World::new();
        let db: PulseDB = world.open().await;
        import(&db, None, &all, ImportOptions::default())
            .await
            .unwrap();
        let mut tx = db.begin().await.unwrap();
        assert_eq!(tx.reinforce_experience(there.x).await.unwrap(), 4);
        assert_eq!(tx.reinforce_experience(there.x).await.unwrap(), 5);
        let seen = tx.get_experience(there.x).await.unwrap();
        assert_eq!(seen.applications(), 5);
        tx.commit().await.unwrap();
        assert_eq!(db.reinforce_experience(there.x).await.unwrap(), 6);
        db.close().await.unwrap();
    });
}

/// Each relation costs what the first one costs.
#[test]
fn many_relations_in_one() {
    let mut world = World::new();
    world.config.segment_bytes = 16 * 1024 * 1024;
    world.config.max_commit_bytes = 8 * 1024 * 1024;
    world.config.max_queue_bytes = 8 * 1024 * 1024;
    let db = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    let mut tx = db.begin().unwrap();
    let hub = tx.record_experience(new(team, "hub")).unwrap();
    for n in 0..4_000 {
        let spoke = tx.record_experience(new(team, format!("{n}"))).unwrap();
        tx.store_relation(NewRelation::new(spoke, hub, KIND))
            .unwrap();
    }
    let around = tx.neighbourhood(hub, 2, Vec::new()).unwrap();
    assert_eq!(around.len(), 1000);
    tx.commit().unwrap();
    let stats = db.get_collective_stats(team).unwrap();
    assert_eq!(stats.relation_count, 4_000);
    db.close().unwrap();
}
