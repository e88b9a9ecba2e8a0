//! Does a transaction read what a database shows that was changed in the same way?
//!
//! Two databases with the same content: one is changed by a transaction that is not committed, its twin
//! directly. After every change both are asked everything. In the end the transaction is committed, and
//! both are the same.

use std::{ops::Bound, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};
use pulsedb::{
    CollectiveId, DecayConfig, Direction, ExperienceId, ExperienceUpdate, InsightFilter,
    InsightType, NewExperience, NewInsight, NewRelation, OrderBy, Page, RelationDirection,
    RelationFilter, RelationType, SearchFilter, SearchOptions, Timestamp,
};

use crate::{
    model::{experience_type, tags, unit, vector, weights, word},
    support::{START, World},
};

mod side;

use side::{Shown, Side, Twin};

type Nth = usize;

/// The transaction's moment; what is there before was recorded in the seconds before.
const NOW: i64 = START.as_millis() + 100_000;

#[derive(Clone, Debug)]
enum Op {
    Record(Vec<(Nth, NewExperience)>),
    Update(Nth, ExperienceUpdate),
    SetTag(Nth, String, Option<String>),
    SetArchived(Nth, bool),
    Reinforce(Nth),
    Delete(Nth),
    Create(String),
    GetOrCreate(String),
    SetDecay(Nth, DecayConfig),
    DeleteCollective(Nth),
    Relate(Nth, Nth, NewRelation),
    DeleteRelation(Nth),
    StoreInsight(Nth, Vec<Nth>, NewInsight),
    DeleteInsight(Nth),
    Supersede(Nth, NewExperience),
}

#[derive(Clone, Debug)]
struct Questions {
    page: Page,
    recent: usize,
    search: (Vec<f32>, SearchOptions),
    around: RelationFilter,
    derived: InsightFilter,
}

fn time() -> impl Strategy<Value = Timestamp> {
    (-1_i64..=1).prop_map(|off| Timestamp::from_millis(NOW + off))
}

fn draft() -> impl Strategy<Value = (Nth, NewExperience)> {
    let traits = (
        vec(word(), 0..3),
        tags(),
        vec(word(), 0..2),
        any::<bool>(),
        option::weighted(0.2, time()),
    );
    let body = (vector(), experience_type(), word(), unit(), unit());
    (any::<Nth>(), body, option::weighted(0.2, "[kl]"), traits).prop_map(
        |(
            nth,
            (vector, experience_type, agent, importance, confidence),
            idempotency_key,
            (domain, tags, related_files, pinned, expires_at),
        )| {
            let nowhere = CollectiveId::from_uuid(uuid::Uuid::nil());
            let new = NewExperience {
                embedding: Some(vector),
                experience_type,
                importance,
                confidence,
                domain,
                tags,
                related_files,
                pinned,
                expires_at,
                idempotency_key,
                ..NewExperience::new(nowhere, agent, "content")
            };
            (nth, new)
        },
    )
}

fn update() -> impl Strategy<Value = ExperienceUpdate> {
    (
        (option::of(unit()), option::of(unit())),
        option::weighted(0.3, vec(word(), 0..3)),
        option::weighted(0.3, tags()),
        option::weighted(0.2, vec(word(), 0..2)),
        option::weighted(0.2, any::<bool>()),
        option::weighted(0.2, option::of(time())),
        option::weighted(0.2, option::of(time())),
        option::weighted(0.2, option::of(time())),
    )
        .prop_map(
            |(vitals, domain, tags, related_files, pinned, expires_at, valid_from, valid_to)| {
                ExperienceUpdate {
                    importance: vitals.0,
                    confidence: vitals.1,
                    domain,
                    tags,
                    related_files,
                    expires_at,
                    valid_from,
                    valid_to,
                    pinned,
                }
            },
        )
}

fn relation_type() -> impl Strategy<Value = RelationType> {
    // Few, so that many say the same.
    select(vec![RelationType::Supports, RelationType::Supersedes])
}

fn relation() -> impl Strategy<Value = NewRelation> {
    let nobody = ExperienceId::from_uuid(uuid::Uuid::nil());
    let metadata = option::weighted(0.3, word().prop_map(|word| format!("{word:?}")));
    (relation_type(), unit(), metadata).prop_map(move |(relation_type, strength, metadata)| {
        NewRelation {
            strength,
            metadata,
            ..NewRelation::new(nobody, nobody, relation_type)
        }
    })
}

fn insight() -> impl Strategy<Value = NewInsight> {
    (vector(), unit(), vec(word(), 0..2)).prop_map(|(vector, confidence, domain)| NewInsight {
        collective_id: CollectiveId::from_uuid(uuid::Uuid::nil()),
        content: String::new(),
        embedding: Some(vector),
        source_experience_ids: Vec::new(),
        insight_type: InsightType::Pattern,
        confidence,
        domain,
    })
}

fn op() -> impl Strategy<Value = Op> {
    let nth = any::<Nth>;
    let decay = (1_u64..100_000, unit(), option::of(weights())).prop_map(
        |(half_life_ms, freq_weight, default_recall_weights)| DecayConfig {
            half_life_ms,
            freq_weight,
            default_recall_weights,
            ..DecayConfig::default()
        },
    );
    prop_oneof![
        8 => vec(draft(), 1..4).prop_map(Op::Record),
        6 => (nth(), update()).prop_map(|(e, update)| Op::Update(e, update)),
        4 => (nth(), word(), option::of(word())).prop_map(|(e, k, v)| Op::SetTag(e, k, v)),
        3 => (nth(), any::<bool>()).prop_map(|(e, archived)| Op::SetArchived(e, archived)),
        3 => nth().prop_map(Op::Reinforce),
        4 => nth().prop_map(Op::Delete),
        1 => word().prop_map(Op::Create),
        1 => word().prop_map(Op::GetOrCreate),
        2 => (nth(), decay).prop_map(|(c, decay)| Op::SetDecay(c, decay)),
        1 => nth().prop_map(Op::DeleteCollective),
        8 => (nth(), nth(), relation()).prop_map(|(from, to, new)| Op::Relate(from, to, new)),
        3 => nth().prop_map(Op::DeleteRelation),
        5 => (nth(), vec(nth(), 1..3), insight())
            .prop_map(|(c, sources, new)| Op::StoreInsight(c, sources, new)),
        2 => nth().prop_map(Op::DeleteInsight),
        3 => (nth(), draft()).prop_map(|(old, (_, new))| Op::Supersede(old, new)),
    ]
}

fn filter() -> impl Strategy<Value = SearchFilter> {
    let kinds = vec(experience_type().prop_map(|it| it.kind()), 0..2);
    let asked = (
        vec(word(), 0..2),
        proptest::collection::btree_map(word(), word(), 0..2),
        kinds,
        option::weighted(0.3, unit()),
        option::weighted(0.3, unit()),
        (option::weighted(0.2, time()), option::weighted(0.2, time())),
        (vec(word(), 0..3), option::weighted(0.3, time())),
    );
    let restricted = (asked, any::<bool>()).prop_map(
        |((domains, tags_all, kinds, importance, confidence, times, rest), exclude_archived)| {
            let (agents, as_of) = rest;
            let (since, until) = match times {
                (Some(since), Some(until)) if since > until => (Some(until), Some(since)),
                other => other,
            };
            SearchFilter {
                domains,
                tags_all,
                experience_types: kinds,
                min_importance: importance,
                min_confidence: confidence,
                since,
                until,
                source_agents: agents.into_iter().map(Into::into).collect(),
                exclude_archived,
                as_of,
            }
        },
    );
    prop_oneof![Just(SearchFilter::default()), restricted]
}

fn questions() -> impl Strategy<Value = Questions> {
    let page = (
        select(vec![OrderBy::Time, OrderBy::Id]),
        select(vec![Direction::Ascending, Direction::Descending]),
        1_usize..5,
        option::weighted(0.2, time()),
        option::weighted(0.2, time()),
        any::<bool>(),
        filter(),
    )
        .prop_map(
            |(order_by, direction, limit, from, to, exclusive, filter)| {
                let (from, to) = match (from, to) {
                    (Some(from), Some(to)) if from > to => (Some(to), Some(from)),
                    other => other,
                };
                let bound = |time: Option<Timestamp>, exclusive: bool| match time {
                    None => Bound::Unbounded,
                    Some(time) if exclusive => Bound::Excluded(time),
                    Some(time) => Bound::Included(time),
                };
                let (from, to) = (bound(from, exclusive), bound(to, !exclusive));
                Page {
                    order_by,
                    direction,
                    limit,
                    after: None,
                    from,
                    to,
                    filter,
                    ..Page::default()
                }
            },
        );
    let search = (
        vector(),
        1_usize..6,
        filter(),
        option::of(weights()),
        any::<bool>(),
    )
        .prop_map(|(query, k, filter, weights, exact)| {
            let options = SearchOptions {
                k,
                filter,
                weights,
                exact,
                ef: None,
                ..SearchOptions::default()
            };
            (query, options)
        });
    let direction = select(vec![
        RelationDirection::Both,
        RelationDirection::Outgoing,
        RelationDirection::Incoming,
    ]);
    let around = (
        direction,
        vec(relation_type(), 0..2),
        option::weighted(0.3, unit()),
        1_usize..4,
    )
        .prop_map(|(direction, types, min_strength, limit)| RelationFilter {
            direction,
            types,
            min_strength,
            limit,
        });
    let derived = (
        vec(word(), 0..2),
        option::weighted(0.3, unit()),
        option::weighted(0.2, time()),
    )
        .prop_map(|(domains, min_confidence, since)| InsightFilter {
            domains,
            min_confidence,
            since,
            until: None,
        });
    (page, 1_usize..5, search, around, derived).prop_map(
        |(page, recent, search, around, derived)| Questions {
            page,
            recent,
            search,
            around,
            derived,
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, ..ProptestConfig::default() })]

    #[test]
    fn a_transaction_reads_what_its_twin_shows(
        before in vec(op(), 0..12),
        within in vec((op(), questions()), 1..12),
        checkpoint in any::<bool>(),
    ) {
        let worlds = [World::new(), World::new()];
        let mut twins: Vec<Twin> = worlds
            .iter()
            .map(|world| {
                let db = world.open_blocking(false);
                let first = db.create_collective("first").unwrap();
                Twin {
                    side: Side::Direct(db),
                    experiences: Vec::new(),
                    collectives: vec![first],
                    relations: Vec::new(),
                    insights: Vec::new(),
                }
            })
            .collect();
        for op in &before {
            worlds.iter().for_each(|world| world.env.advance(Duration::from_secs(3)));
            let shown: Vec<Shown> = twins.iter_mut().map(|twin| twin.apply(op)).collect();
            prop_assert_eq!(&shown[0], &shown[1]);
        }
        worlds.iter().for_each(|world| world.env.set_now(Timestamp::from_millis(NOW)));
        let Side::Direct(db) = &twins[0].side else { unreachable!() };
        let db = db.clone();
        let db = if checkpoint {
            db.close().unwrap();
            worlds[0].open_blocking(false)
        } else {
            db
        };
        twins[0].side = Side::Within(Box::new(db.begin().unwrap()));
        for (op, questions) in &within {
            let shown: Vec<Shown> = twins.iter_mut().map(|twin| twin.apply(op)).collect();
            prop_assert_eq!(&shown[0], &shown[1]);
            let answers: Vec<_> = twins.iter_mut().map(|twin| twin.answers(questions)).collect();
            for (own, direct) in answers[0].iter().zip(&answers[1]) {
                prop_assert_eq!(own, direct);
            }
            prop_assert_eq!(answers[0].len(), answers[1].len());
        }
        let side = std::mem::replace(&mut twins[0].side, Side::Direct(db.clone()));
        let Side::Within(tx) = side else { unreachable!() };
        tx.commit().unwrap();
        let (_, questions) = &within[0];
        let answers: Vec<_> = twins.iter_mut().map(|twin| twin.answers(questions)).collect();
        prop_assert_eq!(&answers[0], &answers[1]);
        db.close().unwrap();
        twins[0].side = Side::Direct(worlds[0].open_blocking(false));
        let again = twins[0].answers(questions);
        prop_assert_eq!(&again, &answers[1]);
        for twin in twins {
            let Side::Direct(db) = twin.side else { unreachable!() };
            let report = db.verify().unwrap();
            prop_assert!(report.is_clean(), "{:?}", report);
            db.close().unwrap();
        }
    }
}
