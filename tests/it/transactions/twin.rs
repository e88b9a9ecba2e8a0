//! Does a transaction read what a database shows that was changed in the same way?
//!
//! Two databases with the same content: one is changed by a transaction that is not committed, its twin
//! directly. After every change both are asked everything. In the end the transaction is committed, and
//! both are the same.

use std::{collections::BTreeMap, ops::Bound, time::Duration};

use proptest::{collection::vec, option, prelude::*, sample::select};
use pulsedb::{
    Collective, CollectiveId, DecayConfig, Direction, Experience, ExperienceId, ExperienceUpdate,
    NewExperience, OrderBy, Page, PageResult, PulseDBError, RecallWeights, Result, SearchFilter,
    SearchHit, SearchOptions, Timestamp, blocking,
};

use crate::{
    model::{experience_type, tags, unit, vector, weights, word},
    support::{START, World},
};

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
}

#[derive(Clone, Debug)]
struct Questions {
    page: Page,
    recent: usize,
    search: (Vec<f32>, SearchOptions),
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
    (page, 1_usize..5, search).prop_map(|(page, recent, search)| Questions {
        page,
        recent,
        search,
    })
}

/// A database or a transaction: they have the same methods and no common trait.
enum Side {
    Direct(blocking::PulseDB),
    Within(Box<blocking::Transaction>),
}

macro_rules! ask {
    ($side:expr, $method:ident($($arg:expr),*)) => {
        match $side {
            Side::Direct(db) => db.$method($($arg),*),
            Side::Within(tx) => tx.$method($($arg),*),
        }
    };
}

/// One of the two, and how it calls the nth experience and collective.
struct Twin {
    side: Side,
    experiences: Vec<ExperienceId>,
    collectives: Vec<CollectiveId>,
}

/// What both answer, with names instead of ids.
#[derive(Clone, Debug, PartialEq)]
enum Shown {
    Experience(Box<Experience>),
    Collective(Box<Collective>),
    Number(f32),
    Hits(Vec<(Experience, f32, f32)>),
    Page(Vec<Experience>, bool),
    Done,
    Refused(String),
}

impl Twin {
    fn experience(&self, nth: Nth) -> ExperienceId {
        match self.experiences.len() {
            0 => ExperienceId::from_uuid(uuid::Uuid::nil()),
            len => self.experiences[nth % len],
        }
    }

    fn collective(&self, nth: Nth) -> CollectiveId {
        self.collectives[nth % self.collectives.len()]
    }

    fn name<T: Copy + PartialEq>(known: &[T], id: T) -> u128 {
        known.iter().position(|other| *other == id).unwrap() as u128
    }

    fn named(&self, mut one: Experience) -> Experience {
        let id = Self::name(&self.experiences, one.id);
        let collective = Self::name(&self.collectives, one.collective_id);
        one.id = ExperienceId::from_uuid(uuid::Uuid::from_u128(id));
        one.collective_id = CollectiveId::from_uuid(uuid::Uuid::from_u128(collective));
        let applications = one.applications();
        one.applications = BTreeMap::new();
        one.content = format!("{} applied {applications}", one.content);
        one
    }

    fn collective_named(&self, mut one: Collective) -> Collective {
        let id = Self::name(&self.collectives, one.id);
        one.id = CollectiveId::from_uuid(uuid::Uuid::from_u128(id));
        one
    }

    fn refusal(error: &PulseDBError) -> Shown {
        Shown::Refused(match error {
            PulseDBError::NotFound { kind, .. } => format!("no {kind}"),
            PulseDBError::Validation { field, value, .. } => format!("{field} {value}"),
            other => panic!("{other}"),
        })
    }

    fn done<T>(answer: Result<T>, shown: impl FnOnce(T) -> Shown) -> Shown {
        answer.map_or_else(|error| Self::refusal(&error), shown)
    }

    fn apply(&mut self, op: &Op) -> Shown {
        match op {
            Op::Record(batch) => {
                let batch: Vec<NewExperience> = batch
                    .iter()
                    .enumerate()
                    .map(|(place, (nth, new))| NewExperience {
                        collective_id: self.collective(*nth),
                        content: format!("{}.{place}", self.experiences.len()),
                        ..new.clone()
                    })
                    .collect();
                let answer = ask!(&mut self.side, record_experiences(batch));
                Self::done(answer, |ids| {
                    let mut places = Vec::new();
                    for id in ids {
                        if !self.experiences.contains(&id) {
                            self.experiences.push(id);
                        }
                        places.push(Self::name(&self.experiences, id).to_string());
                    }
                    Shown::Refused(places.join(","))
                })
            }
            Op::Update(nth, update) => {
                let id = self.experience(*nth);
                let answer = ask!(&mut self.side, update_experience(id, update.clone()));
                Self::done(answer, |()| Shown::Done)
            }
            Op::SetTag(nth, key, value) => {
                let id = self.experience(*nth);
                let answer = match value {
                    Some(value) => ask!(&mut self.side, set_tag(id, key, value)),
                    None => ask!(&mut self.side, remove_tag(id, key)),
                };
                Self::done(answer, |()| Shown::Done)
            }
            Op::SetArchived(nth, archived) => {
                let id = self.experience(*nth);
                let answer = if *archived {
                    ask!(&mut self.side, archive_experience(id))
                } else {
                    ask!(&mut self.side, unarchive_experience(id))
                };
                Self::done(answer, |()| Shown::Done)
            }
            Op::Reinforce(nth) => {
                let id = self.experience(*nth);
                let answer = ask!(&mut self.side, reinforce_experience(id));
                Self::done(answer, |count| Shown::Number(count as f32))
            }
            Op::Delete(nth) => {
                let id = self.experience(*nth);
                let answer = ask!(&mut self.side, delete_experience(id));
                Self::done(answer, |()| Shown::Done)
            }
            Op::Create(name) => {
                let id = ask!(&mut self.side, create_collective(name)).unwrap();
                self.collectives.push(id);
                Shown::Done
            }
            Op::GetOrCreate(name) => {
                let id = ask!(&mut self.side, get_or_create_collective(name)).unwrap();
                if !self.collectives.contains(&id) {
                    self.collectives.push(id);
                }
                Shown::Number(Self::name(&self.collectives, id) as f32)
            }
            Op::SetDecay(nth, decay) => {
                let id = self.collective(*nth);
                let answer = ask!(&mut self.side, set_decay_config(id, decay.clone()));
                Self::done(answer, |()| Shown::Done)
            }
            Op::DeleteCollective(nth) => {
                let id = self.collective(*nth);
                let answer = ask!(&mut self.side, delete_collective(id));
                Self::done(answer, |()| Shown::Done)
            }
        }
    }

    /// Everything that can be asked.
    fn answers(&mut self, questions: &Questions) -> Vec<Shown> {
        let mut answers = Vec::new();
        for id in self.experiences.clone() {
            let one = ask!(&mut self.side, get_experience(id));
            answers.push(Self::done(one, |one| {
                Shown::Experience(Box::new(self.named(one)))
            }));
            let energy = ask!(&mut self.side, energy(id));
            answers.push(Self::done(energy, Shown::Number));
        }
        let all = self.experiences.clone();
        for one in ask!(&mut self.side, get_experiences(&all)).unwrap() {
            answers.push(one.map_or(Shown::Done, |one| {
                Shown::Experience(Box::new(self.named(one)))
            }));
        }
        for one in ask!(&mut self.side, list_collectives()).unwrap() {
            answers.push(Shown::Collective(Box::new(self.collective_named(one))));
        }
        for id in self.collectives.clone() {
            let one = ask!(&mut self.side, get_collective(id)).unwrap();
            answers.push(one.map_or(Shown::Done, |one| {
                Shown::Collective(Box::new(self.collective_named(one)))
            }));
            self.lists(id, questions, &mut answers);
            self.searches(id, questions, &mut answers);
        }
        answers
    }

    fn lists(&mut self, id: CollectiveId, questions: &Questions, answers: &mut Vec<Shown>) {
        let limit = questions.recent;
        let recent = ask!(&mut self.side, get_recent_experiences(id, limit));
        answers.push(Self::done(recent, |items| {
            Shown::Page(self.all_named(items), false)
        }));
        let filter = questions.page.filter.clone();
        let recent = ask!(
            &mut self.side,
            get_recent_experiences_filtered(id, limit, filter)
        );
        answers.push(Self::done(recent, |items| {
            Shown::Page(self.all_named(items), false)
        }));
        let mut page = questions.page.clone();
        loop {
            let found = ask!(&mut self.side, list_experiences(id, page.clone()));
            let PageResult { items, next } = match found {
                Ok(found) => found,
                Err(error) => {
                    answers.push(Self::refusal(&error));
                    return;
                }
            };
            answers.push(Shown::Page(self.all_named(items), next.is_some()));
            match next {
                Some(next) => page.after = Some(next),
                None => return,
            }
        }
    }

    fn searches(&mut self, id: CollectiveId, questions: &Questions, answers: &mut Vec<Shown>) {
        let (query, options) = &questions.search;
        let hits = ask!(&mut self.side, search(id, query, options.clone()));
        answers.push(Self::done(hits, |hits| self.hits(hits)));
        let hits = ask!(&mut self.side, search_similar(id, query, options.k));
        answers.push(Self::done(hits, |hits| self.hits(hits)));
        let filter = options.filter.clone();
        let hits = ask!(
            &mut self.side,
            search_similar_filtered(id, query, options.k, filter)
        );
        answers.push(Self::done(hits, |hits| self.hits(hits)));
        let other: Vec<f32> = query.iter().map(|x| x * 2.0 + 0.25).collect();
        if other.iter().any(|x| *x != 0.0) {
            let queries = [query.clone(), other];
            let options = SearchOptions {
                weights: Some(RecallWeights {
                    similarity: 0.5,
                    energy: 1.0,
                }),
                ..options.clone()
            };
            let hits = ask!(&mut self.side, search_batch(id, &queries, options));
            match hits {
                Ok(all) => answers.extend(all.into_iter().map(|hits| self.hits(hits))),
                Err(error) => answers.push(Self::refusal(&error)),
            }
        }
    }

    fn all_named(&self, all: Vec<Experience>) -> Vec<Experience> {
        all.into_iter().map(|one| self.named(one)).collect()
    }

    fn hits(&self, hits: Vec<SearchHit>) -> Shown {
        let hits = hits.into_iter();
        let hits = hits.map(|hit| (self.named(hit.experience), hit.similarity, hit.score));
        Shown::Hits(hits.collect())
    }
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
