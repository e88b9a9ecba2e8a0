//! Does everything that cannot be accepted get a typed error, and change nothing?
//!
//! Every limit of the contract, from both sides; every method on ids that do not exist, on closed
//! and on read-only handles; a second writer, a full disk, a full queue.
#![allow(
    clippy::disallowed_methods,
    clippy::disallowed_types,
    reason = "these tests look at real files and processes"
)]

use std::{
    collections::BTreeMap, fmt::Debug, future::Future, ops::Bound, pin::Pin, time::Duration,
};

use futures_util::future::join_all;
use pulsedb::{
    CollectiveId, Config, DecayConfig, EmbeddingDimension, ExperienceId, ExperienceType,
    ExperienceUpdate, NewActivity, NewExperience, Page, PulseDB, PulseDBError, RecallWeights,
    Result, SearchFilter, SearchOptions, Timestamp, WatchConfig, WatchFilter,
    model::HealthStatus,
    sim::{FaultKind, Survival},
};

use crate::support::{DIMENSION, World, config, contents, dump, new, refused_field, run};

/// A database with a collective and an experience in it.
struct Case {
    world: World,
    db: PulseDB,
    team: CollectiveId,
    one: ExperienceId,
}

impl Case {
    async fn new() -> Self {
        Self::with(config()).await
    }

    async fn with(config: Config) -> Self {
        let world = World::with(config);
        let db = world.open().await;
        let team = db.create_collective("team").await.unwrap();
        let one = db.record_experience(new(team, "one")).await.unwrap();
        Self {
            world,
            db,
            team,
            one,
        }
    }

    /// Runs `act` and asserts that the database shows the same before and after.
    async fn unchanged<T>(&self, act: impl Future<Output = T>) -> T {
        let before = dump(&self.db).await;
        let cursor = self.db.current_cursor().await.unwrap();
        let answer = act.await;
        assert_eq!(dump(&self.db).await, before);
        assert_eq!(self.db.current_cursor().await.unwrap(), cursor);
        answer
    }
}

fn text(chars: usize) -> String {
    // Two bytes each: the limits count characters.
    "ä".repeat(chars)
}

fn texts(count: usize, chars: usize) -> Vec<String> {
    vec![text(chars); count]
}

fn tags(count: usize, key: usize, value: usize) -> BTreeMap<String, String> {
    let key_of = |n: usize| format!("{n:0>2}{}", text(key.saturating_sub(2)));
    let one = |n| if key == 0 { String::new() } else { key_of(n) };
    (0..count).map(|n| (one(n), text(value))).collect()
}

fn at(millis: i64) -> Option<Timestamp> {
    Some(Timestamp::from_millis(millis))
}

type Change<T> = Box<dyn Fn(&mut T)>;

/// What is changed, the field that is named where it is refused, and whether it is.
fn experience_cases() -> Vec<(&'static str, bool, Change<NewExperience>)> {
    fn case(
        field: &'static str,
        valid: bool,
        change: impl Fn(&mut NewExperience) + 'static,
    ) -> (&'static str, bool, Change<NewExperience>) {
        (field, valid, Box::new(change))
    }
    let preference = |strength| ExperienceType::UserPreference {
        category: "c".into(),
        preference: "p".into(),
        strength,
    };
    let success = |quality| ExperienceType::SuccessPattern {
        task_type: "t".into(),
        approach: "a".into(),
        quality,
    };
    let fact = |bytes: usize| ExperienceType::Fact {
        statement: "s".repeat(bytes - 10),
        source: "t".repeat(10),
    };
    let mut cases = vec![
        case("content", true, |n| n.content = "x".into()),
        case("content", true, |n| n.content = "x".repeat(100 * 1024)),
        case("content", false, |n| n.content = "x".repeat(100 * 1024 + 1)),
        case("content", false, |n| n.content = String::new()),
        case("content", false, |n| {
            n.content = " \t\n\u{a0}\u{3000}".into()
        }),
        case("source_agent", true, |n| n.source_agent = text(256).into()),
        case("source_agent", true, |n| n.source_agent = "a".into()),
        case("source_agent", false, |n| n.source_agent = text(257).into()),
        case("source_agent", false, |n| n.source_agent = "".into()),
        case("source_task", true, |n| {
            n.source_task = Some(text(256).into())
        }),
        case("source_task", false, |n| {
            n.source_task = Some(text(257).into())
        }),
        case("source_task", false, |n| n.source_task = Some("".into())),
        case("domain", true, |n| n.domain = texts(50, 100)),
        case("domain", false, |n| n.domain = texts(51, 1)),
        case("domain", false, |n| n.domain = texts(1, 101)),
        case("domain", false, |n| n.domain = vec![String::new()]),
        case("tags", true, |n| n.tags = tags(50, 100, 200)),
        case("tags", false, |n| n.tags = tags(51, 5, 0)),
        case("tags.key", false, |n| n.tags = tags(1, 101, 0)),
        case("tags.key", false, |n| n.tags = tags(1, 0, 0)),
        case("tags.value", false, |n| n.tags = tags(1, 5, 201)),
        case("related_files", true, |n| n.related_files = texts(100, 500)),
        case("related_files", false, |n| n.related_files = texts(101, 1)),
        case("related_files", false, |n| n.related_files = texts(1, 501)),
        case("related_files", false, |n| {
            n.related_files = vec![String::new()]
        }),
        case("idempotency_key", true, |n| {
            n.idempotency_key = Some("k".repeat(128))
        }),
        case("idempotency_key", false, |n| {
            n.idempotency_key = Some("k".repeat(129))
        }),
        case("idempotency_key", false, |n| {
            n.idempotency_key = Some(text(65))
        }),
        case("idempotency_key", false, |n| {
            n.idempotency_key = Some(String::new())
        }),
        case("valid_to", true, |n| {
            (n.valid_from, n.valid_to) = (at(1), at(2))
        }),
        case("valid_to", false, |n| {
            (n.valid_from, n.valid_to) = (at(2), at(2))
        }),
        case("valid_to", false, |n| {
            (n.valid_from, n.valid_to) = (at(3), at(2))
        }),
        case("valid_to", true, |n| {
            (n.valid_from, n.valid_to) = (at(i64::MIN), at(i64::MAX))
        }),
        case("experience_type", true, move |n| {
            n.experience_type = fact(100 * 1024)
        }),
        case("experience_type", false, move |n| {
            n.experience_type = fact(100 * 1024 + 1)
        }),
    ];
    for (value, valid) in UNITS {
        let success = success(value);
        let preference = preference(value);
        cases.extend([
            case("importance", valid, move |n| n.importance = value),
            case("confidence", valid, move |n| n.confidence = value),
            case("experience_type.quality", valid, move |n| {
                n.experience_type = success.clone()
            }),
            case("experience_type.strength", valid, move |n| {
                n.experience_type = preference.clone();
            }),
        ]);
    }
    cases
}

/// Around [0, 1].
const UNITS: [(f32, bool); 8] = [
    (0.0, true),
    (1.0, true),
    (1.000_000_1, false),
    (-1e-7, false),
    (f32::NAN, false),
    (f32::INFINITY, false),
    (f32::NEG_INFINITY, false),
    (f32::MAX, false),
];

/// Vectors that have no place among those of four components, and what is named.
fn bad_vectors(field: &str) -> Vec<(Vec<f32>, String)> {
    let whole = field.to_owned();
    let third = format!("{field}[2]");
    vec![
        (vec![], whole.clone()),
        (vec![1.0; DIMENSION - 1], whole.clone()),
        (vec![1.0; DIMENSION + 1], whole.clone()),
        (vec![1.0; 4096], whole.clone()),
        (vec![0.0; DIMENSION], whole.clone()),
        (vec![-0.0; DIMENSION], whole),
        (vec![1.0, 1.0, f32::NAN, 1.0], third.clone()),
        (vec![1.0, 1.0, f32::INFINITY, 1.0], third.clone()),
        (vec![1.0, 1.0, f32::NEG_INFINITY, 1.0], third),
    ]
}

/// A commit that holds the largest experience there is.
fn roomy() -> Config {
    Config {
        segment_bytes: 2 * 1024 * 1024,
        max_commit_bytes: 1024 * 1024,
        ..config()
    }
}

#[test]
fn every_field_of_an_experience_is_accepted_at_its_limit_and_refused_beyond() {
    run(async {
        let case = Case::with(roomy()).await;
        for (field, valid, change) in experience_cases() {
            let mut experience = new(case.team, "fine");
            change(&mut experience);
            if valid {
                let id = case
                    .db
                    .record_experience(experience.clone())
                    .await
                    .expect(field);
                let stored = case.db.get_experience(id).await.unwrap();
                assert_eq!(stored.content, experience.content);
                assert_eq!(stored.experience_type, experience.experience_type);
                assert_eq!(stored.tags, experience.tags);
                assert_eq!(stored.related_files, experience.related_files);
                assert_eq!(stored.domain, experience.domain);
                assert_eq!(stored.source_agent, experience.source_agent);
                assert_eq!(stored.idempotency_key, experience.idempotency_key);
            } else {
                // Also as the last of a batch, of which nothing is stored then.
                let batch = vec![new(case.team, "fine"), experience.clone()];
                let (alone, batch) = case
                    .unchanged(async {
                        let alone = case.db.record_experience(experience).await;
                        (alone, case.db.record_experiences(batch).await)
                    })
                    .await;
                assert_eq!(refused_field(alone), field);
                assert_eq!(refused_field(batch), field);
            }
        }
    });
}

#[test]
fn vectors_without_a_direction_are_refused_in_records_and_queries() {
    run(async {
        let case = Case::new().await;
        let options = SearchOptions::default();
        for (vector, field) in bad_vectors("embedding") {
            let bad = NewExperience {
                embedding: Some(vector),
                ..new(case.team, "bad")
            };
            let answer = case.unchanged(case.db.record_experience(bad)).await;
            assert_eq!(refused_field(answer), field);
        }
        let none = NewExperience {
            embedding: None,
            ..new(case.team, "none")
        };
        let answer = case.unchanged(case.db.record_experience(none)).await;
        assert_eq!(refused_field(answer), "embedding");

        for (vector, field) in bad_vectors("query") {
            let db = &case.db;
            assert_eq!(
                refused_field(db.search_similar(case.team, &vector, 1).await),
                field
            );
            let filter = SearchFilter::default();
            let filtered = db
                .search_similar_filtered(case.team, &vector, 1, filter)
                .await;
            assert_eq!(refused_field(filtered), field);
            let general = db.search(case.team, &vector, options.clone()).await;
            assert_eq!(refused_field(general), field);
        }
        for (vector, field) in bad_vectors("queries[1]") {
            let queries = [vec![1.0; DIMENSION], vector];
            let answer = case
                .db
                .search_batch(case.team, &queries, options.clone())
                .await;
            assert_eq!(refused_field(answer), field);
        }
        let smallest = [f32::from_bits(1), 0.0, 0.0, 0.0];
        for extreme in [[f32::MAX; DIMENSION], [f32::MIN; DIMENSION], smallest] {
            let recorded = NewExperience {
                embedding: Some(extreme.to_vec()),
                ..new(case.team, "extreme")
            };
            let id = case.db.record_experience(recorded).await.unwrap();
            assert_eq!(case.db.get_experience(id).await.unwrap().embedding, extreme);
            let hits = case
                .db
                .search_similar(case.team, &extreme, 10)
                .await
                .unwrap();
            assert!((hits[0].similarity - 1.0).abs() < 1e-6, "{hits:?}");
            case.db.delete_experience(id).await.unwrap();
        }
    });
}

#[test]
fn dimensions_from_1_to_4096_work_and_no_others() {
    run(async {
        for dimension in [1, 2, 383, 4096] {
            let case = World::with(Config {
                embedding_dimension: EmbeddingDimension::Custom(dimension),
                ..roomy()
            });
            let db = case.open().await;
            let team = db.create_collective("team").await.unwrap();
            let vector: Vec<f32> = (0..dimension).map(|n| n as f32 - 0.5).collect();
            let one = NewExperience {
                embedding: Some(vector.clone()),
                ..new(team, "one")
            };
            let id = db.record_experience(one).await.unwrap();
            assert_eq!(db.get_experience(id).await.unwrap().embedding, vector);
            let hits = db.search_similar(team, &vector, 1).await.unwrap();
            assert!((hits[0].similarity - 1.0).abs() < 1e-5);
        }
    });
}

#[test]
fn updates_and_tags_have_the_limits_of_new_experiences() {
    fn case(
        field: &'static str,
        valid: bool,
        change: impl Fn(&mut ExperienceUpdate) + 'static,
    ) -> (&'static str, bool, Change<ExperienceUpdate>) {
        (field, valid, Box::new(change))
    }
    let mut cases = vec![
        case("domain", true, |u| u.domain = Some(texts(50, 100))),
        case("domain", false, |u| u.domain = Some(texts(51, 1))),
        case("domain", false, |u| u.domain = Some(texts(1, 101))),
        case("tags", true, |u| u.tags = Some(tags(50, 100, 200))),
        case("tags", false, |u| u.tags = Some(tags(51, 5, 0))),
        case("tags.key", false, |u| u.tags = Some(tags(1, 101, 0))),
        case("tags.value", false, |u| u.tags = Some(tags(1, 5, 201))),
        case("related_files", true, |u| {
            u.related_files = Some(texts(100, 500))
        }),
        case("related_files", false, |u| {
            u.related_files = Some(texts(101, 1))
        }),
        case("related_files", false, |u| {
            u.related_files = Some(texts(1, 501))
        }),
        case("valid_to", false, |u| {
            (u.valid_from, u.valid_to) = (Some(at(5)), Some(at(4)));
        }),
        // What contradicts only what is stored: nothing of the update is kept.
        case("valid_to", true, |u| u.valid_from = Some(at(9))),
        case("valid_to", false, |u| {
            (u.importance, u.valid_to) = (Some(0.9), Some(at(9)));
        }),
    ];
    for (value, valid) in UNITS {
        cases.push(case("importance", valid, move |u| {
            u.importance = Some(value)
        }));
        cases.push(case("confidence", valid, move |u| {
            u.confidence = Some(value)
        }));
    }
    run(async {
        let db_case = Case::with(roomy()).await;
        let (db, one) = (&db_case.db, db_case.one);
        for (field, valid, change) in cases {
            let mut update = ExperienceUpdate::default();
            change(&mut update);
            if valid {
                db.update_experience(one, update).await.expect(field);
            } else {
                let answer = db_case.unchanged(db.update_experience(one, update)).await;
                assert_eq!(refused_field(answer), field);
            }
        }
        // The update above left 50 tags: there is room for their keys alone.
        let known = tags(50, 100, 200).into_keys().next().unwrap();
        db.set_tag(one, &known, &text(200)).await.unwrap();
        for (key, value, field) in [
            (text(100), text(200), "tags"),
            (text(101), String::new(), "tags.key"),
            (String::new(), String::new(), "tags.key"),
            (known, text(201), "tags.value"),
        ] {
            let answer = db_case.unchanged(db.set_tag(one, &key, &value)).await;
            assert_eq!(refused_field(answer), field);
        }
        for key in ["", &text(101)] {
            let answer = db_case.unchanged(db.remove_tag(one, key)).await;
            assert_eq!(refused_field(answer), "tags.key");
        }
        db.remove_tag(one, &text(100)).await.unwrap();
    });
}

#[test]
fn collectives_have_names_owners_and_decays_within_limits() {
    run(async {
        let case = Case::new().await;
        let db = &case.db;
        for name in ["n".to_owned(), text(255)] {
            db.create_collective(&name).await.unwrap();
            db.get_or_create_collective(&name).await.unwrap();
            db.create_collective_with_owner(&name, text(256))
                .await
                .unwrap();
        }
        for name in [String::new(), text(256)] {
            let answer = case.unchanged(db.create_collective(&name)).await;
            assert_eq!(refused_field(answer), "name");
            let answer = case.unchanged(db.get_or_create_collective(&name)).await;
            assert_eq!(refused_field(answer), "name");
            let answer = case
                .unchanged(db.create_collective_with_owner(&name, "me"))
                .await;
            assert_eq!(refused_field(answer), "name");
        }
        for owner in [String::new(), text(257)] {
            let answer = case
                .unchanged(db.create_collective_with_owner("n", owner))
                .await;
            assert_eq!(refused_field(answer), "owner_id");
        }
        let decay = DecayConfig::default;
        let recall = |similarity, energy| DecayConfig {
            default_recall_weights: Some(RecallWeights { similarity, energy }),
            ..decay()
        };
        let weights = "decay.default_recall_weights";
        let mut cases = vec![
            (
                "decay.half_life_ms",
                false,
                DecayConfig {
                    half_life_ms: 0,
                    ..decay()
                },
            ),
            (
                "",
                true,
                DecayConfig {
                    half_life_ms: 1,
                    ..decay()
                },
            ),
            (
                "",
                true,
                DecayConfig {
                    half_life_ms: u64::MAX,
                    ..decay()
                },
            ),
            (
                "",
                true,
                DecayConfig {
                    freq_weight: 100.0,
                    ..decay()
                },
            ),
            (
                "decay.freq_weight",
                false,
                DecayConfig {
                    freq_weight: 100.1,
                    ..decay()
                },
            ),
            (
                "decay.freq_weight",
                false,
                DecayConfig {
                    freq_weight: -0.1,
                    ..decay()
                },
            ),
            (
                "decay.freq_weight",
                false,
                DecayConfig {
                    freq_weight: f32::NAN,
                    ..decay()
                },
            ),
            ("", true, recall(0.0, 0.0)),
        ];
        for (floor, valid) in UNITS {
            cases.push(("decay.floor", valid, DecayConfig { floor, ..decay() }));
        }
        let named = [format!("{weights}.similarity"), format!("{weights}.energy")];
        for bad in [-0.1, f32::NAN, f32::INFINITY] {
            cases.push((&named[0], false, recall(bad, 1.0)));
            cases.push((&named[1], false, recall(1.0, bad)));
        }
        for (field, valid, decay) in cases {
            if valid {
                db.set_decay_config(case.team, decay).await.unwrap();
                assert!(db.energy(case.one).await.unwrap() <= 1.0);
            } else {
                let answer = case.unchanged(db.set_decay_config(case.team, decay)).await;
                assert_eq!(refused_field(answer), field);
            }
        }
    });
}

#[test]
fn questions_have_limits_too() {
    run(async {
        let case = Case::new().await;
        let (db, team) = (&case.db, case.team);
        let query = [1.0; DIMENSION];
        let general = |k, filter, weights| SearchOptions {
            k,
            filter,
            weights,
            exact: true,
            ef: None,
            ..SearchOptions::default()
        };
        let filter = SearchFilter::default;
        for k in [1, 1000] {
            assert_eq!(db.search_similar(team, &query, k).await.unwrap().len(), 1);
        }
        for k in [0, 1001, usize::MAX] {
            assert_eq!(refused_field(db.search_similar(team, &query, k).await), "k");
            let filtered = db.search_similar_filtered(team, &query, k, filter()).await;
            assert_eq!(refused_field(filtered), "k");
            let options = general(k, filter(), None);
            assert_eq!(
                refused_field(db.search(team, &query, options.clone()).await),
                "k"
            );
            let batch = [query.to_vec(), query.to_vec()];
            assert_eq!(
                refused_field(db.search_batch(team, &batch, options.clone()).await),
                "k"
            );
            assert_eq!(
                refused_field(db.search_text(team, "text", options).await),
                "k"
            );
        }
        for limit in [1, 1000] {
            let page = Page {
                limit,
                ..Page::default()
            };
            assert_eq!(
                db.list_experiences(team, page).await.unwrap().items.len(),
                1
            );
            assert_eq!(
                db.get_recent_experiences(team, limit).await.unwrap().len(),
                1
            );
        }
        for limit in [0, 1001, usize::MAX] {
            let page = Page {
                limit,
                ..Page::default()
            };
            assert_eq!(
                refused_field(db.list_experiences(team, page).await),
                "limit"
            );
            assert_eq!(
                refused_field(db.get_recent_experiences(team, limit).await),
                "limit"
            );
            let recent = db
                .get_recent_experiences_filtered(team, limit, filter())
                .await;
            assert_eq!(refused_field(recent), "limit");
        }
        let moment = Timestamp::from_millis;
        let id = |nth: u8| -> ExperienceId {
            let text = format!("0190a0b0-0000-7000-8000-00000000000{nth}");
            text.parse().unwrap()
        };
        let page = Page {
            from: Bound::Included(moment(2)),
            to: Bound::Excluded(moment(1)),
            ..Page::default()
        };
        let answer = db.list_experiences(team, page.clone()).await;
        assert_eq!(refused_field(answer), "to");
        assert_eq!(refused_field(db.stream_experiences(team, page).await), "to");
        let page = Page {
            from_id: Bound::Excluded(id(2)),
            to_id: Bound::Included(id(1)),
            ..Page::default()
        };
        assert_eq!(
            refused_field(db.list_experiences(team, page).await),
            "to_id"
        );
        for limit in [0, 1001] {
            assert_eq!(refused_field(db.first_n(team, limit).await), "limit");
            assert_eq!(refused_field(db.last_n(team, limit).await), "limit");
            let cold = db.list_cold_experiences(team, limit).await;
            assert_eq!(refused_field(cold), "limit");
        }

        let many = |count| vec![query.to_vec(); count];
        let options = SearchOptions::default();
        let found = db
            .search_batch(team, &many(1000), options.clone())
            .await
            .unwrap();
        assert_eq!(found.len(), 1000);
        let answer = db.search_batch(team, &many(1001), options.clone()).await;
        assert_eq!(refused_field(answer), "queries");
        assert!(
            db.search_batch(team, &[], options)
                .await
                .unwrap()
                .is_empty()
        );
        assert_eq!(
            db.get_experiences(&vec![case.one; 10_000])
                .await
                .unwrap()
                .len(),
            10_000
        );
        assert_eq!(
            refused_field(db.energies(&vec![case.one; 10_001]).await),
            "ids"
        );
        assert_eq!(
            refused_field(db.get_experiences(&vec![case.one; 10_001]).await),
            "ids"
        );

        let many = |count: usize| -> Vec<String> { (0..count).map(|n| n.to_string()).collect() };
        let pairs = |count| many(count).into_iter().map(|n| (n.clone(), n)).collect();
        let agents = |count| many(count).into_iter().map(Into::into).collect();
        let mut filters = vec![
            (
                "filter.domains",
                false,
                SearchFilter {
                    domains: many(1001),
                    ..filter()
                },
            ),
            (
                "",
                true,
                SearchFilter {
                    domains: many(1000),
                    ..filter()
                },
            ),
            (
                "filter.tags_all",
                false,
                SearchFilter {
                    tags_all: pairs(1001),
                    ..filter()
                },
            ),
            (
                "filter.source_agents",
                false,
                SearchFilter {
                    source_agents: agents(1001),
                    ..filter()
                },
            ),
            (
                "filter.until",
                false,
                SearchFilter {
                    since: at(2),
                    until: at(1),
                    ..filter()
                },
            ),
            (
                "",
                true,
                SearchFilter {
                    since: at(2),
                    until: at(2),
                    ..filter()
                },
            ),
        ];
        for (value, valid) in UNITS {
            let value = Some(value);
            let importance = SearchFilter {
                min_importance: value,
                ..filter()
            };
            let confidence = SearchFilter {
                min_confidence: value,
                ..filter()
            };
            filters.push(("filter.min_importance", valid, importance));
            filters.push(("filter.min_confidence", valid, confidence));
        }
        for (field, valid, filter) in filters {
            let page = Page {
                filter: filter.clone(),
                ..Page::default()
            };
            let answers = [
                db.search_similar_filtered(team, &query, 1, filter.clone())
                    .await
                    .map(drop),
                db.search(team, &query, general(1, filter.clone(), None))
                    .await
                    .map(drop),
                db.get_recent_experiences_filtered(team, 1, filter)
                    .await
                    .map(drop),
                db.list_experiences(team, page).await.map(drop),
            ];
            for answer in answers {
                if valid {
                    answer.unwrap();
                } else {
                    assert_eq!(refused_field(answer), field);
                }
            }
        }
        for bad in [-0.1, f32::NAN, f32::INFINITY] {
            let similarity = RecallWeights {
                similarity: bad,
                energy: 1.0,
            };
            let energy = RecallWeights {
                similarity: 1.0,
                energy: bad,
            };
            let search = |weights| db.search(team, &query, general(1, filter(), Some(weights)));
            assert_eq!(
                refused_field(search(similarity).await),
                "weights.similarity"
            );
            assert_eq!(refused_field(search(energy).await), "weights.energy");
        }
        for (min_importance, valid) in UNITS {
            let filter = WatchFilter {
                min_importance: Some(min_importance),
                ..WatchFilter::default()
            };
            let answer = db.watch_experiences_filtered(team, filter).await;
            if valid {
                drop(answer.unwrap());
            } else {
                assert_eq!(refused_field(answer), "filter.min_importance");
            }
        }
    });
}

type Call<'a> = (&'static str, Pin<Box<dyn Future<Output = Result<()>> + 'a>>);

fn call<'a, T: 'a>(name: &'static str, future: impl Future<Output = Result<T>> + 'a) -> Call<'a> {
    (name, Box::pin(async move { future.await.map(drop) }))
}

/// What an agent does.
fn activity(team: CollectiveId) -> NewActivity {
    NewActivity {
        agent_id: "ann".into(),
        collective_id: team,
        current_task: None,
        context_summary: None,
    }
}

/// Every method that changes something, on these ids.
fn writes<'a>(db: &'a PulseDB, team: CollectiveId, one: ExperienceId) -> Vec<Call<'a>> {
    let update = ExperienceUpdate {
        importance: Some(0.9),
        domain: Some(vec!["d".into()]),
        ..ExperienceUpdate::default()
    };
    vec![
        call("record_experience", db.record_experience(new(team, "x"))),
        call(
            "record_experiences",
            db.record_experiences(vec![new(team, "x"); 2]),
        ),
        call("update_experience", db.update_experience(one, update)),
        call("set_tag", db.set_tag(one, "key", "value")),
        call("remove_tag", db.remove_tag(one, "key")),
        call("archive_experience", db.archive_experience(one)),
        call("unarchive_experience", db.unarchive_experience(one)),
        call("reinforce_experience", db.reinforce_experience(one)),
        call("delete_experience", db.delete_experience(one)),
        call(
            "set_decay_config",
            db.set_decay_config(team, DecayConfig::default()),
        ),
        call("register_activity", db.register_activity(activity(team))),
        call("update_heartbeat", async move {
            db.update_heartbeat(team, &"ann".into()).await
        }),
        call("end_activity", async move {
            db.end_activity(team, &"ann".into()).await
        }),
        call("delete_collective", db.delete_collective(team)),
    ]
}

/// Every method that changes something and names nothing that exists.
fn openings(db: &PulseDB) -> Vec<Call<'_>> {
    vec![
        call("create_collective", db.create_collective("x")),
        call(
            "create_collective_with_owner",
            db.create_collective_with_owner("x", "me"),
        ),
        call("get_or_create_collective", db.get_or_create_collective("x")),
        call("flush", db.flush()),
    ]
}

/// Every method that asks for something by an id.
fn reads<'a>(db: &'a PulseDB, team: CollectiveId, one: ExperienceId) -> Vec<Call<'a>> {
    static QUERY: [f32; DIMENSION] = [1.0; DIMENSION];
    let filter = SearchFilter::default;
    let options = SearchOptions::default;
    vec![
        call("get_collective_stats", db.get_collective_stats(team)),
        call("get_experience", db.get_experience(one)),
        call("energy", db.energy(one)),
        call(
            "list_experiences",
            db.list_experiences(team, Page::default()),
        ),
        call("get_recent_experiences", db.get_recent_experiences(team, 1)),
        call(
            "get_recent_experiences_filtered",
            db.get_recent_experiences_filtered(team, 1, filter()),
        ),
        call("search_similar", db.search_similar(team, &QUERY, 1)),
        call(
            "search_similar_filtered",
            db.search_similar_filtered(team, &QUERY, 1, filter()),
        ),
        call("search", db.search(team, &QUERY, options())),
        call("search_batch", async move {
            let queries = [QUERY.to_vec(), QUERY.to_vec()];
            db.search_batch(team, &queries, options()).await
        }),
        call("watch_experiences", db.watch_experiences(team)),
        call("get_activity", async move {
            db.get_activity(team, &"ann".into()).await
        }),
        call("get_active_agents", db.get_active_agents(team)),
        call("list_stale_activities", db.list_stale_activities(team)),
        call(
            "watch_experiences_filtered",
            db.watch_experiences_filtered(team, WatchFilter::default()),
        ),
    ]
}

/// Every method that answers whatever the ids are.
fn overviews<'a>(db: &'a PulseDB, team: CollectiveId, one: ExperienceId) -> Vec<Call<'a>> {
    vec![
        call("metadata", db.metadata()),
        call("health_check", db.health_check()),
        call("current_cursor", db.current_cursor()),
        call("get_collective", db.get_collective(team)),
        call("list_collectives", db.list_collectives()),
        call("list_collectives_by_owner", async move {
            db.list_collectives_by_owner(&"me".into()).await
        }),
        call("get_experiences", async move {
            db.get_experiences(&[one]).await
        }),
    ]
}

async fn each<'a>(calls: Vec<Call<'a>>, check: impl Fn(&PulseDBError) -> bool) {
    for (name, call) in calls {
        match call.await {
            Err(error) if check(&error) => assert!(!error.to_string().is_empty()),
            other => panic!("{name} answered {other:?}"),
        }
    }
}

async fn each_works(calls: Vec<Call<'_>>) {
    for (name, call) in calls {
        call.await.expect(name);
    }
}

#[test]
fn unknown_ids_are_not_found_and_nothing_happens() {
    let not_found = |error: &PulseDBError| matches!(error, PulseDBError::NotFound { .. });
    run(async {
        let case = Case::new().await;
        let db = &case.db;
        let gone_team = db.create_collective("gone").await.unwrap();
        let gone = db.record_experience(new(gone_team, "gone")).await.unwrap();
        db.delete_collective(gone_team).await.unwrap();
        let deleted = db
            .record_experience(new(case.team, "deleted"))
            .await
            .unwrap();
        db.delete_experience(deleted).await.unwrap();
        let nil = ExperienceId::from_uuid(uuid::Uuid::nil());
        let team_as_experience = ExperienceId::from_uuid(case.team.as_uuid());
        let one_as_team = CollectiveId::from_uuid(case.one.as_uuid());
        for (team, one) in [
            (gone_team, gone),
            (CollectiveId::from_uuid(uuid::Uuid::nil()), nil),
            (CollectiveId::from_uuid(uuid::Uuid::max()), deleted),
            (one_as_team, team_as_experience),
        ] {
            case.unchanged(async {
                each(writes(db, team, one), not_found).await;
                each(reads(db, team, one), not_found).await;
                let text = call(
                    "search_text",
                    db.search_text(team, "x", SearchOptions::default()),
                );
                each(vec![text], not_found).await;
                assert_eq!(db.get_collective(team).await.unwrap(), None);
                assert_eq!(db.get_experiences(&[one]).await.unwrap(), [None]);
            })
            .await;
        }
        let mixed = vec![new(case.team, "fine"), new(gone_team, "not")];
        case.unchanged(each(
            vec![call("mixed batch", db.record_experiences(mixed))],
            not_found,
        ))
        .await;
    });
}

#[test]
fn a_closed_handle_says_so_whatever_is_asked_of_it() {
    let closed = |error: &PulseDBError| matches!(error, PulseDBError::Closed);
    run(async {
        for read_only in [false, true] {
            let case = Case::new().await;
            let (team, one) = (case.team, case.one);
            let (db, clone) = if read_only {
                case.db.close().await.unwrap();
                (case.world.open_read_only().await, None)
            } else {
                (case.db.clone(), Some(case.db.clone()))
            };
            db.close().await.unwrap();
            for db in clone.iter().chain([&db]) {
                each(openings(db), closed).await;
                each(writes(db, team, one), closed).await;
                each(reads(db, team, one), closed).await;
                each(overviews(db, team, one), closed).await;
                let text = db.search_text(team, "x", SearchOptions::default());
                each(vec![call("search_text", text)], closed).await;
                db.close().await.unwrap();
                assert_eq!(db.path(), case.world.path);
            }
            let again = case.world.open().await;
            each_works(reads(&again, team, one)).await;
        }
    });
}

#[test]
fn a_read_only_handle_reads_everything_and_writes_nothing() {
    let read_only = |error: &PulseDBError| matches!(error, PulseDBError::ReadOnly { .. });
    run(async {
        let case = Case::new().await;
        let before = dump(&case.db).await;
        // Beside the writer, and alone.
        for writer_open in [true, false] {
            if !writer_open {
                case.db.close().await.unwrap();
            }
            let reader = case.world.open_read_only().await;
            assert!(reader.is_read_only());
            assert_eq!(dump(&reader).await, before);
            each(openings(&reader), read_only).await;
            each(writes(&reader, case.team, case.one), read_only).await;
            each_works(reads(&reader, case.team, case.one)).await;
            each_works(overviews(&reader, case.team, case.one)).await;
            assert_eq!(dump(&reader).await, before);
            reader.close().await.unwrap();
        }
        let writer = case.world.open().await;
        assert_eq!(dump(&writer).await, before);
    });
}

#[test]
fn a_second_writer_is_told_who_holds_the_database() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let db = PulseDB::open(dir.path(), config()).await.unwrap();
        let team = db.create_collective("team").await.unwrap();
        for _ in 0..2 {
            match PulseDB::open(dir.path(), config()).await {
                Err(PulseDBError::Locked { pid, path }) => {
                    assert_eq!(pid, std::process::id());
                    assert_eq!(path, dir.path());
                }
                other => panic!("{other:?}"),
            }
        }
        db.record_experience(new(team, "unharmed")).await.unwrap();
        db.close().await.unwrap();
        let db = PulseDB::open(dir.path(), config()).await.unwrap();
        assert_eq!(contents(&db, team).await.len(), 1);
    });
}

/// Where the child below opens; it does nothing in an ordinary run.
const CHILD: &str = "PULSEDB_TEST_SECOND_WRITER";

#[test]
fn second_writer_child() {
    if let Ok(path) = std::env::var(CHILD) {
        match run(PulseDB::open(&path, config())) {
            Err(error @ PulseDBError::Locked { .. }) => println!("child was told: {error}"),
            other => panic!("{other:?}"),
        }
        run(async {
            let reader = PulseDB::open_read_only(&path, config()).await.unwrap();
            assert_eq!(reader.list_collectives().await.unwrap().len(), 1);
        });
    }
}

#[test]
fn a_second_process_is_told_who_holds_the_database() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let db = PulseDB::open(dir.path(), config()).await.unwrap();
        db.create_collective("team").await.unwrap();
        let child = std::process::Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "bad_input::second_writer_child", "--nocapture"])
            .env(CHILD, dir.path())
            .output()
            .unwrap();
        let said = String::from_utf8_lossy(&child.stdout).into_owned();
        let expected = format!("is locked by process {}", std::process::id());
        assert!(
            child.status.success() && said.contains(&expected),
            "{child:?}"
        );
        assert!(said.contains(dir.path().to_str().unwrap()), "{said}");
        db.create_collective("still writing").await.unwrap();
    });
}

/// Records until writing fails; the contents that were acknowledged, and the failure.
async fn fill(db: &PulseDB, team: CollectiveId) -> (Vec<String>, PulseDBError) {
    let mut acknowledged = vec!["one".to_owned()];
    for number in 0..10_000 {
        let content = format!("{number} {}", "full".repeat(1000));
        match db.record_experience(new(team, content.clone())).await {
            Ok(_) => acknowledged.push(content),
            Err(error) => return (acknowledged, error),
        }
    }
    panic!("writing never failed");
}

/// After a failure: writing has stopped, reading goes on, and the next open shows all that was
/// acknowledged, and perhaps what was on its way.
async fn survives(mut case: Case, mend: impl FnOnce(&mut World)) {
    let (acknowledged, failure) = fill(&case.db, case.team).await;
    assert!(matches!(failure, PulseDBError::Io { .. }), "{failure:?}");
    let read_only = |error: &PulseDBError| matches!(error, PulseDBError::ReadOnly { .. });
    let db = &case.db;
    each(openings(db), read_only).await;
    each(writes(db, case.team, case.one), read_only).await;
    each_works(reads(db, case.team, case.one)).await;
    each_works(overviews(db, case.team, case.one)).await;
    let health = db.health_check().await.unwrap();
    assert_eq!(health.status, HealthStatus::Unhealthy);
    assert!(health.poisoned.is_some());
    assert_eq!(
        contents(db, case.team).await,
        acknowledged.iter().cloned().collect()
    );
    // It stays the writer until it is closed, and says then that all was not well.
    let second = case.world.try_open(case.world.config.clone()).await;
    // Where the medium fails for good, so does the attempt to lock.
    let refused = matches!(
        second,
        Err(PulseDBError::Locked { .. } | PulseDBError::Io { .. })
    );
    assert!(refused, "{second:?}");
    assert!(db.close().await.is_err());
    mend(&mut case.world);
    let db = case.world.open().await;
    let found = contents(&db, case.team).await;
    assert!(acknowledged.iter().all(|content| found.contains(content)));
    assert!(
        found.len() <= acknowledged.len() + 1,
        "at most the one that failed is there too"
    );
    db.record_experience(new(case.team, "goes on"))
        .await
        .unwrap();
    db.close().await.unwrap();
}

#[test]
fn a_full_disk_stops_writing_and_loses_nothing() {
    run(async {
        let case = Case::new().await;
        // Room for the present segment and for some more.
        case.world
            .vfs
            .set_capacity(3 * case.world.config.segment_bytes);
        survives(case, |world| world.vfs.set_capacity(u64::MAX)).await;
    });
}

#[test]
fn a_failing_medium_stops_writing_and_loses_nothing() {
    run(async {
        for kind in [FaultKind::Eio, FaultKind::Enospc] {
            for after in [0, 1, 2, 3, 40, 41] {
                for survival in [Survival::KeepAll, Survival::DropAll] {
                    let case = Case::new().await;
                    case.world
                        .vfs
                        .fail_from(case.world.vfs.op_count() + after, kind);
                    survives(case, |world| world.vfs = world.vfs.reboot(survival)).await;
                }
            }
        }
    });
}

#[test]
fn a_database_that_cannot_be_made_is_an_error() {
    run(async {
        let fine = World::new();
        fine.open().await.close().await.unwrap();
        for op in 0..fine.vfs.op_count() {
            let world = World::new();
            world.vfs.fail_at(op, FaultKind::Enospc);
            // Some operations are not needed for success; none may panic.
            match world.try_open(config()).await {
                Ok(db) => drop(db.close().await),
                Err(PulseDBError::Io { .. }) => {}
                Err(other) => panic!("operation {op}: {other:?}"),
            }
            let again = World {
                vfs: world.vfs.reboot(Survival::KeepAll),
                ..world
            };
            let db = again.open().await;
            db.create_collective("works").await.unwrap();
        }
    });
}

#[test]
fn a_full_queue_answers_backpressure_and_stores_nothing_of_it() {
    run(async {
        let case = Case::with(Config {
            max_queue_bytes: 128 * 1024,
            write_timeout: Duration::ZERO,
            ..config()
        })
        .await;
        let big = |n: usize| new(case.team, format!("{n} {}", "big".repeat(30_000)));
        let mut pushed_back = 0;
        let mut stored = 1;
        for _ in 0..20 {
            let all = (0..16).map(|n| case.db.record_experience(big(n)));
            for answer in join_all(all).await {
                match answer {
                    Ok(_) => stored += 1,
                    Err(PulseDBError::Backpressure { what, limit, .. }) => {
                        assert!(what.contains("queue") && limit.contains("bytes"));
                        pushed_back += 1;
                    }
                    Err(other) => panic!("{other:?}"),
                }
            }
        }
        assert!(pushed_back > 0 && stored > 1, "{pushed_back} {stored}");
        let stats = case.db.get_collective_stats(case.team).await.unwrap();
        assert_eq!(stats.experience_count, stored);
        assert_eq!(case.db.health_check().await.unwrap().queued_bytes, 0);
    });
}

#[test]
fn a_queue_with_patience_takes_everything() {
    run(async {
        let case = Case::with(Config {
            max_queue_bytes: 128 * 1024,
            write_timeout: Duration::from_secs(60),
            ..config()
        })
        .await;
        let big = |n: usize| new(case.team, format!("{n} {}", "big".repeat(30_000)));
        let all = (0..64).map(|n| case.db.record_experience(big(n)));
        assert!(join_all(all).await.iter().all(Result::is_ok));
    });
}

#[test]
fn a_commit_that_is_too_large_is_refused() {
    run(async {
        let case = Case::new().await;
        let batch = vec![new(case.team, "large".repeat(2000)); 14];
        let answer = case.unchanged(case.db.record_experiences(batch)).await;
        assert_eq!(refused_field(answer), "commit");
        assert!(case.db.record_experiences(vec![]).await.unwrap().is_empty());
        let batch = vec![new(case.team, "large".repeat(2000)); 12];
        assert_eq!(case.db.record_experiences(batch).await.unwrap().len(), 12);
    });
}

#[test]
fn a_configuration_that_cannot_work_names_its_field() {
    fn case(
        field: &'static str,
        valid: bool,
        change: impl Fn(&mut Config) + 'static,
    ) -> (&'static str, bool, Change<Config>) {
        (field, valid, Box::new(change))
    }
    let dimension = |n| move |c: &mut Config| c.embedding_dimension = EmbeddingDimension::Custom(n);
    let buffer = |buffer_size| {
        move |c: &mut Config| {
            c.watch_config = WatchConfig {
                buffer_size,
                ..WatchConfig::default()
            }
        }
    };
    let cases = vec![
        case("embedding_dimension", false, dimension(0)),
        case("embedding_dimension", true, dimension(1)),
        case("embedding_dimension", true, dimension(4096)),
        case("embedding_dimension", false, dimension(4097)),
        case("segment_bytes", false, |c| c.segment_bytes = 0),
        case("segment_bytes", false, |c| c.segment_bytes = 60 * 1024),
        case("segment_bytes", false, |c| c.segment_bytes += 1),
        case("segment_bytes", false, |c| c.segment_bytes = u64::MAX),
        case("segment_pool", false, |c| c.segment_pool = 65),
        case("read_threads", false, |c| c.read_threads = 1025),
        case("embed_threads", false, |c| c.embed_threads = 1025),
        case("cache_size_mb", true, |c| c.cache_size_mb = 0),
        case("cache_size_mb", true, |c| c.cache_size_mb = 1 << 20),
        case("cache_size_mb", false, |c| c.cache_size_mb = (1 << 20) + 1),
        case("model.query_prefix", false, |c| {
            c.model.query_prefix = Some("x".repeat(1025));
        }),
        case("model.passage_prefix", false, |c| {
            c.model.passage_prefix = Some("x".repeat(1025));
        }),
        case("model.passage_prefix", true, |c| {
            c.model.passage_prefix = Some("x".repeat(1024));
        }),
        case("max_commit_bytes", false, |c| c.max_commit_bytes = 1023),
        case("max_commit_bytes", false, |c| {
            c.max_commit_bytes = 128 * 1024 + 1
        }),
        case("max_queue_bytes", false, |c| {
            c.max_queue_bytes = c.max_commit_bytes - 1
        }),
        case("watch_config.buffer_size", false, buffer(0)),
        case("watch_config.buffer_size", true, buffer(1)),
        case("watch_config.buffer_size", false, buffer((1 << 20) + 1)),
        case("flush_interval", false, |c| {
            c.flush_interval = Duration::ZERO
        }),
        case("flush_interval", false, |c| {
            c.flush_interval = Duration::from_secs(61)
        }),
        case("write_timeout", true, |c| c.write_timeout = Duration::MAX),
    ];
    run(async {
        for (field, valid, change) in cases {
            let world = World::new();
            let mut config = config();
            change(&mut config);
            match world.try_open(config).await {
                Ok(db) if valid => db.close().await.unwrap(),
                Err(PulseDBError::Config { field: named, what }) if !valid => {
                    assert_eq!(named, field, "{what}");
                    assert_eq!(world.vfs.op_count(), 0, "{field}: files were touched");
                }
                other => panic!("{field}: {other:?}"),
            }
        }
    });
}

#[test]
fn a_default_collective_and_decay_that_cannot_be_are_refused() {
    run(async {
        let name = Config {
            default_collective: Some(text(256)),
            ..config()
        };
        let half_life = DecayConfig {
            half_life_ms: 0,
            ..DecayConfig::default()
        };
        let decay = Config {
            decay: half_life,
            ..config()
        };
        for (named, config) in [("default_collective", name), ("decay.half_life_ms", decay)] {
            let world = World::new();
            match world.try_open(config).await {
                Err(PulseDBError::Config { field, .. }) => assert_eq!(field, named),
                other => panic!("{other:?}"),
            }
            assert_eq!(world.vfs.op_count(), 0, "{named}: files were touched");
        }
    });
}

fn files(dir: &std::path::Path) -> Vec<String> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut names: Vec<String> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

#[test]
fn a_directory_of_something_else_is_left_alone() {
    run(async {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join("thesis.tex"), "years of work").unwrap();
        for read_only in [false, true] {
            let config = Config {
                read_only,
                ..config()
            };
            match PulseDB::open(dir.path(), config).await {
                Err(PulseDBError::Config { field, what }) => {
                    assert_eq!(field, "path");
                    assert!(what.contains(dir.path().to_str().unwrap()), "{what}");
                }
                other => panic!("{other:?}"),
            }
        }
        let left = files(dir.path());
        assert!(
            left.iter()
                .all(|name| name == "thesis.tex" || name == "LOCK"),
            "{left:?}"
        );
        let text = std::fs::read_to_string(dir.path().join("thesis.tex")).unwrap();
        assert_eq!(text, "years of work");
    });
}

#[test]
fn what_is_not_a_directory_or_not_there_is_an_io_error() {
    fn io_at(answer: Result<PulseDB>, expected: &std::path::Path) {
        match answer {
            Err(PulseDBError::Io { path, .. }) => assert!(path.starts_with(expected), "{path:?}"),
            other => panic!("{other:?}"),
        }
    }
    run(async {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        io_at(PulseDB::open_read_only(&missing, config()).await, &missing);
        assert!(
            files(dir.path()).is_empty(),
            "asking for it must not make it"
        );
        let file = dir.path().join("file");
        std::fs::write(&file, "x").unwrap();
        io_at(PulseDB::open(&file, config()).await, &file);
        let below = file.join("below");
        io_at(PulseDB::open(&below, config()).await, &file);
        assert_eq!(std::fs::read_to_string(&file).unwrap(), "x");
        let empty = PulseDB::open("", config()).await;
        assert!(empty.is_err_and(|error| !error.to_string().is_empty()));
        fn helpful<T: Debug>(answer: Result<T>) {
            assert!(answer.unwrap_err().to_string().contains("missing"));
        }
        helpful(PulseDB::open_read_only(&missing, config()).await);
    });
}
