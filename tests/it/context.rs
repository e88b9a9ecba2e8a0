//! Does a context say what is known, once, as of one moment, and why?

use std::{collections::HashSet, fmt::Debug, hash::Hash, time::Duration};

use pulsedb::{
    AgentId, CollectiveId, ContextRequest, DecayConfig, ExperienceId, InsightFilter, InsightType,
    NewActivity, NewExperience, NewInsight, NewRelation, PulseDB, Query, RecallWeights,
    RelationFilter, RelationType, SearchFilter, SearchOptions, Sibling, blocking,
};

use super::support::{World, refused_field, run};

/// A direction in the plane of the first two components, in degrees.
fn at(degrees: f32) -> Vec<f32> {
    let angle = degrees.to_radians();
    vec![angle.cos(), angle.sin(), 0.0, 0.0]
}

async fn learn(db: &PulseDB, team: CollectiveId, text: &str, degrees: f32) -> ExperienceId {
    let new = NewExperience {
        embedding: Some(at(degrees)),
        ..NewExperience::new(team, "agent", text)
    };
    db.record_experience(new).await.unwrap()
}

async fn derive(db: &PulseDB, team: CollectiveId, text: &str, degrees: f32, from: ExperienceId) {
    let new = NewInsight {
        collective_id: team,
        content: text.into(),
        embedding: Some(at(degrees)),
        source_experience_ids: vec![from],
        insight_type: InsightType::Pattern,
        confidence: 0.5,
        domain: Vec::new(),
    };
    db.store_insight(new).await.unwrap();
}

fn request(team: CollectiveId) -> ContextRequest {
    ContextRequest::about_vector(team, at(0.0))
}

#[test]
fn all_parts_are_there_each_with_its_reasons() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let far = learn(&db, team, "far", 90.0).await;
        world.env.advance(Duration::from_secs(1));
        let near = learn(&db, team, "near", 30.0).await;
        world.env.advance(Duration::from_secs(1));
        let nearest = learn(&db, team, "nearest", 1.0).await;
        derive(&db, team, "insight", 5.0, near).await;
        let relation = NewRelation::new(nearest, far, RelationType::Contradicts);
        let relation = db.store_relation(relation).await.unwrap();
        let agent = AgentId::from("ann");
        db.register_activity(NewActivity {
            agent_id: agent.clone(),
            collective_id: team,
            current_task: None,
            context_summary: None,
        })
        .await
        .unwrap();
        let context = db
            .get_context_candidates(ContextRequest {
                max_similar: 2,
                max_recent: 5,
                ..request(team)
            })
            .await
            .unwrap();
        let ids = |part: &[pulsedb::ContextExperience]| {
            part.iter().map(|one| one.experience.id).collect::<Vec<_>>()
        };
        assert_eq!(ids(&context.similar), [nearest, near]);
        assert_eq!(ids(&context.recent), [far]);
        assert_eq!(context.insights.len(), 1);
        assert_eq!(context.insights[0].insight.source_experience_ids, [near]);
        let relations: Vec<_> = context.relations.iter().map(|one| one.id).collect();
        assert_eq!(relations, [relation], "once, although both ends are there");
        assert_eq!(context.agents[0].agent_id, agent);
        assert_eq!(context.cursor, db.current_cursor().await.unwrap());
        for one in context.similar.iter().chain(&context.recent) {
            let energy = db.energy(one.experience.id).await.unwrap();
            assert_eq!(one.score.energy, energy);
            assert_eq!(one.tokens, one.experience.content.len().div_ceil(4));
        }
        assert!((context.similar[0].score.similarity - 1.0_f32.to_radians().cos()).abs() < 1e-6);
        assert!(context.recent[0].score.similarity.abs() < 1e-6);
        let all = context.similar.iter().chain(&context.recent);
        let tokens: usize = all.map(|one| one.tokens).sum::<usize>() + context.insights[0].tokens;
        assert_eq!((context.tokens, context.left_out), (tokens, 0));
    });
}

#[test]
fn what_says_the_same_is_answered_once_and_names_the_others() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let (one, other) = (
            learn(&db, team, "one", 2.0).await,
            learn(&db, team, "other", 80.0).await,
        );
        let same = learn(&db, team, "same", 4.0).await;
        let also = learn(&db, team, "also", 5.0).await;
        derive(&db, team, "insight", 2.0, one).await;
        derive(&db, team, "the same insight", 3.0, one).await;
        let context = db.get_context_candidates(request(team)).await.unwrap();
        let found: Vec<_> = context
            .similar
            .iter()
            .map(|one| one.experience.id)
            .collect();
        assert_eq!(found, [one, other]);
        let siblings: Vec<_> = context.similar[0]
            .siblings
            .iter()
            .map(|one| one.id)
            .collect();
        assert_eq!(siblings, [same, also], "the most similar first");
        assert!(context.recent.is_empty(), "all is said");
        assert_eq!(context.insights.len(), 1);
        assert_eq!(context.insights[0].siblings.len(), 1);
        let all = ContextRequest {
            collapse_above: None,
            ..request(team)
        };
        let context = db.get_context_candidates(all).await.unwrap();
        assert_eq!(context.similar.len(), 4);
        assert_eq!(context.insights.len(), 2);
        // Enough others are found in the place of those that say the same.
        let two = ContextRequest {
            max_similar: 2,
            ..request(team)
        };
        let context = db.get_context_candidates(two).await.unwrap();
        assert_eq!(context.similar.len(), 2);
    });
}

#[test]
fn the_budget_of_tokens_holds_and_tells_what_it_left_out() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let long = learn(&db, team, &"x".repeat(400), 1.0).await;
        let short = learn(&db, team, &"y".repeat(40), 40.0).await;
        derive(&db, team, &"z".repeat(40), 10.0, long).await;
        for (max_tokens, similar, insights, left_out) in [
            (None, vec![long, short], 1, 0),
            (Some(120), vec![long, short], 1, 0),
            (Some(119), vec![long, short], 0, 1),
            (Some(99), vec![short], 1, 1),
            (Some(9), vec![], 0, 3),
        ] {
            let limited = ContextRequest {
                max_tokens,
                max_recent: 0,
                ..request(team)
            };
            let context = db.get_context_candidates(limited).await.unwrap();
            let found: Vec<_> = context
                .similar
                .iter()
                .map(|one| one.experience.id)
                .collect();
            assert_eq!(found, similar, "{max_tokens:?}");
            assert_eq!(context.insights.len(), insights, "{max_tokens:?}");
            assert_eq!(context.left_out, left_out, "{max_tokens:?}");
            assert!(max_tokens.is_none_or(|most| context.tokens <= most));
        }
    });
}

#[test]
fn filters_and_weights_are_those_of_a_search() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        for number in 0..30_u16 {
            let id = learn(
                &db,
                team,
                &format!("text {number}"),
                f32::from(number) * 6.0,
            )
            .await;
            for _ in 0..number % 4 {
                db.reinforce_experience(id).await.unwrap();
            }
            if number % 5 == 0 {
                db.archive_experience(id).await.unwrap();
            }
        }
        let decay = DecayConfig {
            freq_weight: 2.0,
            ..DecayConfig::default()
        };
        db.set_decay_config(team, decay).await.unwrap();
        let filter = SearchFilter {
            exclude_archived: false,
            ..SearchFilter::default()
        };
        let weights = Some(RecallWeights {
            similarity: 0.3,
            energy: 0.7,
        });
        for (filter, weights) in [
            (SearchFilter::default(), None),
            (filter.clone(), None),
            (filter, weights),
        ] {
            let asked = ContextRequest {
                max_similar: 8,
                filter: filter.clone(),
                weights,
                collapse_above: None,
                ..request(team)
            };
            let context = db.get_context_candidates(asked).await.unwrap();
            let options = SearchOptions {
                k: 8,
                filter: filter.clone(),
                weights,
                ..SearchOptions::default()
            };
            let hits = db.search(team, &at(0.0), options).await.unwrap();
            let found = context.similar.iter();
            let found: Vec<_> = found
                .map(|one| (one.experience.id, one.score.score))
                .collect();
            let expected: Vec<_> = hits
                .iter()
                .map(|hit| (hit.experience.id, hit.score))
                .collect();
            assert_eq!(found, expected);
            let recent = db
                .get_recent_experiences_filtered(team, 18, filter)
                .await
                .unwrap();
            let fresh = recent
                .iter()
                .map(|one| one.id)
                .filter(|id| found.iter().all(|(known, _)| known != id));
            let shown: Vec<_> = context.recent.iter().map(|one| one.experience.id).collect();
            assert_eq!(shown, fresh.take(10).collect::<Vec<_>>());
        }
    });
}

#[test]
fn what_cannot_be_answered_is_refused() {
    let world = World::new();
    let db: blocking::PulseDB = world.open_blocking(false);
    let team = db.create_collective("team").unwrap();
    let good = request(team);
    let bad = [
        (
            "max_similar",
            ContextRequest {
                max_similar: 1001,
                ..good.clone()
            },
        ),
        (
            "max_agents",
            ContextRequest {
                max_agents: 1001,
                ..good.clone()
            },
        ),
        (
            "collapse_above",
            ContextRequest {
                collapse_above: Some(0.0),
                ..good.clone()
            },
        ),
        (
            "collapse_above",
            ContextRequest {
                collapse_above: Some(f32::NAN),
                ..good.clone()
            },
        ),
        (
            "query",
            ContextRequest {
                query: vec![1.0].into(),
                ..good.clone()
            },
        ),
        (
            "filter.min_importance",
            ContextRequest {
                filter: SearchFilter {
                    min_importance: Some(2.0),
                    ..SearchFilter::default()
                },
                ..good.clone()
            },
        ),
        (
            "weights.energy",
            ContextRequest {
                weights: Some(RecallWeights {
                    similarity: 1.0,
                    energy: -1.0,
                }),
                ..good.clone()
            },
        ),
    ];
    for (field, request) in bad {
        assert_eq!(refused_field(db.get_context_candidates(request)), field);
    }
    let about_nothing = ContextRequest::about(team, Query::default());
    assert_eq!(
        refused_field(db.get_context_candidates(about_nothing)),
        "query"
    );
    let nothing = ContextRequest {
        max_similar: 0,
        max_recent: 0,
        max_insights: 0,
        max_relations: 0,
        max_agents: 0,
        ..good
    };
    let context = db.get_context_candidates(nothing).unwrap();
    assert!(context.similar.is_empty() && context.agents.is_empty());
}

/// Without an embedder, too: the caller brings the vector, or words are all there is.
#[test]
fn what_is_like_a_query_is_what_searches_find() {
    run(async {
        let world = World::new();
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let texts = [
            "the pool ran dry",
            "bound the pool",
            "a red herring",
            "dry wood",
        ];
        let mut last = None;
        for (number, text) in (0_u8..).zip(texts) {
            let id = learn(&db, team, text, f32::from(number) * 20.0).await;
            derive(
                &db,
                team,
                &format!("insight: {text}"),
                f32::from(number) * 15.0,
                id,
            )
            .await;
            last = Some(id);
        }
        let both = Query::plain("dry pool").with_vector(at(50.0));
        for query in [both, Query::text("dry -wood")] {
            let context = db
                .get_context_candidates(ContextRequest {
                    collapse_above: None,
                    max_recent: 1,
                    max_similar: 3,
                    max_insights: 3,
                    ..ContextRequest::about(team, query.clone())
                })
                .await
                .unwrap();
            let options = SearchOptions {
                k: 3,
                ..SearchOptions::default()
            };
            let hits = db.search(team, query.clone(), options).await.unwrap();
            assert!(!hits.is_empty());
            let told = context.similar.iter().map(|one| {
                let score = &one.score;
                (
                    one.experience.id,
                    score.similarity,
                    score.score,
                    score.parts,
                )
            });
            let found = hits
                .iter()
                .map(|hit| (hit.experience.id, hit.similarity, hit.score, hit.parts));
            assert!(told.eq(found), "{context:?}");
            let insights = db.search_insights(team, query.clone(), 3, InsightFilter::default());
            let insights = insights.await.unwrap();
            let told = context.insights.iter();
            let told = told.map(|one| (one.insight.id, one.similarity, one.score, one.parts));
            let found = insights
                .iter()
                .map(|hit| (hit.insight.id, hit.similarity, hit.score, hit.parts));
            assert!(told.eq(found), "{context:?}");
            let lexical = context.similar[0].score.parts.lexical.unwrap();
            assert!(lexical.own > 0.0 && lexical.share > 0.0);
            let dense = context.similar[0].score.parts.dense;
            assert_eq!(dense.is_some(), query.vector.is_some());
            let excluded = last.filter(|_| query.vector.is_none());
            assert!(
                context
                    .similar
                    .iter()
                    .all(|one| Some(one.experience.id) != excluded)
            );
        }
        db.close().await.unwrap();
    });
}

/// The cosine, plainly.
fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        let products = a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b));
        products.sum()
    };
    dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

/// Of `all`, best first, the first `most` that say something of their own, each with who says the same: what
/// `collapse_above` promises, by comparing all, as far down as it is known to look.
fn distinct(all: &[&[f32]], above: Option<f32>, most: usize) -> Vec<(usize, Vec<usize>)> {
    let Some(above) = above else {
        return (0..most.min(all.len())).map(|one| (one, vec![])).collect();
    };
    let mut asked = most + most / 4 + 1;
    loop {
        let mut kept: Vec<(usize, Vec<usize>)> = Vec::new();
        for (place, one) in all.iter().enumerate().take(asked) {
            let room = kept.len() < most;
            let same = kept
                .iter_mut()
                .find(|(known, _)| cosine(one, all[*known]) > f64::from(above));
            match same {
                Some((_, others)) => others.push(place),
                None if room => kept.push((place, vec![])),
                None => {}
            }
        }
        if kept.len() == most || asked > all.len() {
            return kept;
        }
        asked *= 2;
    }
}

/// These and no others, most similar first.
fn are_siblings<I: Copy + Eq + Hash + Debug>(
    told: &[Sibling<I>],
    expected: impl Iterator<Item = I>,
) {
    let ids: HashSet<_> = told.iter().map(|it| it.id).collect();
    assert_eq!(ids, expected.collect());
    assert!(told.is_sorted_by(|a, b| a.similarity >= b.similarity));
}

#[test]
fn a_context_is_what_plain_calls_and_comparisons_come_to() {
    for seed in 0..6 {
        run(beside_plain_calls(seed));
    }
}

async fn beside_plain_calls(seed: u64) {
    let world = World::new();
    let db = world.open().await;
    let team = db.create_collective("team").await.unwrap();
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    let mut chance = move |below: u16| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(97);
        (state >> 33) as u16 % below
    };
    let mut known = Vec::new();
    for number in 0..150_u16 {
        // Never the same direction twice, and many that are near each other.
        let degrees = f32::from(chance(24)) * 7.0 + f32::from(number) * 0.011;
        let id = learn(&db, team, &format!("text {number}"), degrees).await;
        world.env.advance(Duration::from_secs(1));
        match chance(8) {
            0 => db.archive_experience(id).await.unwrap(),
            1 => db.set_tag(id, "part", "one").await.unwrap(),
            2 => drop(db.reinforce_experience(id).await.unwrap()),
            3 => derive(&db, team, &format!("insight {number}"), degrees, id).await,
            4 => {
                db.delete_experience(id).await.unwrap();
                continue;
            }
            _ => {}
        }
        for _ in 0..chance(3) {
            if let Some(other) = known.get(usize::from(chance(150))) {
                let new = NewRelation::new(id, *other, RelationType::Implies);
                let _ = db.store_relation(new).await;
            }
        }
        known.push(id);
    }
    let tagged = SearchFilter {
        tags_all: [("part".into(), "one".into())].into(),
        ..SearchFilter::default()
    };
    let weights = RecallWeights {
        similarity: 0.6,
        energy: 0.4,
    };
    for (collapse_above, filter, weights, most) in [
        (Some(0.9995), SearchFilter::default(), None, 9),
        (Some(0.99), SearchFilter::default(), Some(weights), 7),
        (Some(0.9), SearchFilter::default(), None, 30),
        (Some(0.995), tagged, None, 4),
        (None, SearchFilter::default(), None, 12),
    ] {
        let asked = ContextRequest {
            max_similar: most,
            max_recent: most,
            max_insights: most,
            max_relations: most,
            collapse_above,
            filter: filter.clone(),
            weights,
            ..request(team)
        };
        let context = db.get_context_candidates(asked).await.unwrap();
        let options = SearchOptions {
            k: 1000,
            filter: filter.clone(),
            weights,
            ..SearchOptions::default()
        };
        let hits = db.search(team, &at(0.0), options).await.unwrap();
        let vectors: Vec<_> = hits.iter().map(|hit| &*hit.experience.embedding).collect();
        let expected = distinct(&vectors, collapse_above, most);
        assert_eq!(context.similar.len(), expected.len());
        let mut shown = Vec::new();
        for (one, (first, others)) in context.similar.iter().zip(expected) {
            let hit = &hits[first];
            assert_eq!(one.experience, hit.experience);
            assert_eq!(
                (one.score.similarity, one.score.score),
                (hit.similarity, hit.score)
            );
            are_siblings(
                &one.siblings,
                others.iter().map(|it| hits[*it].experience.id),
            );
            shown.push(one.experience.id);
            shown.extend(one.siblings.iter().map(|it| it.id));
        }
        let recent = db.get_recent_experiences_filtered(team, 1000, filter);
        let mut recent = recent.await.unwrap();
        recent.retain(|one| !shown.contains(&one.id));
        let vectors: Vec<_> = recent.iter().map(|one| &*one.embedding).collect();
        let expected = distinct(&vectors, collapse_above, most);
        assert_eq!(context.recent.len(), expected.len());
        for (one, (first, others)) in context.recent.iter().zip(expected) {
            assert_eq!(one.experience, recent[first]);
            are_siblings(&one.siblings, others.iter().map(|it| recent[*it].id));
            let energy = db.energy(one.experience.id).await.unwrap();
            let similarity = cosine(&one.experience.embedding, &at(0.0)) as f32;
            assert_eq!(one.score.energy, energy);
            assert!((one.score.similarity - similarity).abs() < 1e-6);
        }
        let hits = db.get_insights(team, &at(0.0), 1000).await.unwrap();
        let vectors: Vec<_> = hits.iter().map(|hit| &*hit.insight.embedding).collect();
        let expected = distinct(&vectors, collapse_above, most);
        assert_eq!(context.insights.len(), expected.len());
        for (one, (first, others)) in context.insights.iter().zip(expected) {
            assert_eq!(one.insight, hits[first].insight);
            assert_eq!(one.similarity, hits[first].similarity);
            are_siblings(&one.siblings, others.iter().map(|it| hits[*it].insight.id));
        }
        let mut relations = Vec::new();
        for one in context.similar.iter().chain(&context.recent) {
            let around = db.get_relations(one.experience.id, RelationFilter::default());
            for relation in around.await.unwrap() {
                if relations.len() < most && !relations.contains(&relation) {
                    relations.push(relation);
                }
            }
        }
        assert_eq!(context.relations, relations);
    }
}
