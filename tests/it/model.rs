//! Does the database answer like the simplest thing that could work?
//!
//! Random histories run on the real API and on a list in memory. After every change everything the
//! database shows is compared with the list, and one random question is asked of both.

use std::{
    collections::BTreeMap,
    ops::{Bound, RangeBounds},
    time::Duration,
};

use proptest::{
    collection::{btree_map, vec},
    option,
    prelude::*,
    sample::select,
};
use pulsedb::{
    Collective, CollectiveId, DecayConfig, Direction, Experience, ExperienceId, ExperienceType,
    ExperienceUpdate, InstanceId, NewExperience, OrderBy, Page, PulseDBError, RecallWeights,
    SearchFilter, SearchHit, SearchOptions, Severity, Timestamp, UserId,
    blocking::PulseDB,
    model::{ContentHash, EmbedderIdentity},
};
use sha2::{Digest, Sha256};

use crate::support::{DIMENSION, START, World, config};

/// Scores that differ by less may come in either order.
const TIE: f64 = 1e-6;

/// Names an experience or collective by the order of its creation, wrapped around.
type Nth = usize;

#[derive(Clone, Debug)]
enum Op {
    CreateCollective(String, Option<String>),
    GetOrCreateCollective(String),
    SetDecay(Nth, DecayConfig),
    DeleteCollective(Nth),
    Record(Vec<Draft>),
    RecordWithOneBad(Vec<Draft>, Bad),
    Update(Nth, ExperienceUpdate, RelativeTimes),
    SetTag(Nth, String, String),
    RemoveTag(Nth, String),
    Archive(Nth),
    Unarchive(Nth),
    Reinforce(Nth),
    Delete(Nth),
    Advance(u64),
    ClockBack(i64),
    Flush,
    Checkpoint,
    Reopen,
    ReopenReadOnly,
}

#[derive(Clone, Debug)]
enum Bad {
    UnknownCollective,
    Importance,
    NoVector,
}

/// An experience whose times count from the moment it is recorded.
#[derive(Clone, Debug)]
struct Draft {
    collective: Nth,
    new: NewExperience,
    expires_in: Option<i64>,
}

/// Of an update: expiry, start and end of validity, counted from now.
#[derive(Clone, Debug, Default)]
struct RelativeTimes {
    expires_in: Option<Option<i64>>,
    valid_from: Option<Option<i64>>,
    valid_to: Option<Option<i64>>,
}

#[derive(Clone, Debug)]
enum Question {
    Pages {
        order_by: OrderBy,
        direction: Direction,
        limit: usize,
        from: Option<i64>,
        to: Option<i64>,
        filter: Filter,
    },
    Recent(usize, Filter),
    Search {
        queries: Vec<Vec<f32>>,
        k: usize,
        filter: Filter,
        weights: Option<RecallWeights>,
    },
    Energy,
}

/// A filter whose times count from the first moment of the run.
#[derive(Clone, Debug)]
struct Filter {
    filter: SearchFilter,
    since: Option<i64>,
    until: Option<i64>,
    as_of: Option<i64>,
}

pub fn word() -> impl Strategy<Value = String> {
    select(vec!["a", "b", "c", "d"]).prop_map(String::from)
}

/// Sixteenths compare equal in f32 and f64.
pub fn unit() -> impl Strategy<Value = f32> {
    (0_u8..=16).prop_map(|n| f32::from(n) / 16.0)
}

/// Few distinct directions, so that ties occur, at lengths far apart.
pub fn vector() -> impl Strategy<Value = Vec<f32>> {
    let small = vec((-2_i8..=2).prop_map(f32::from), DIMENSION);
    let any = vec(-1.0_f32..1.0, DIMENSION);
    let vector =
        prop_oneof![small, any].prop_filter("a direction", |v| v.iter().any(|x| *x != 0.0));
    (vector, select(vec![1.0_f32, 1.0, 1e-25, 1e25]))
        .prop_map(|(vector, scale)| vector.into_iter().map(|x| x * scale).collect())
}

pub fn experience_type() -> impl Strategy<Value = ExperienceType> {
    prop_oneof![
        word().prop_map(|description| ExperienceType::Difficulty {
            description,
            severity: Severity::High
        }),
        (option::of(word()), any::<bool>()).prop_map(|(problem_ref, worked)| {
            ExperienceType::Solution {
                problem_ref,
                approach: "turn it off and on".into(),
                worked,
            }
        }),
        (word(), unit()).prop_map(|(task_type, quality)| ExperienceType::SuccessPattern {
            task_type,
            approach: String::new(),
            quality
        }),
        option::of(word()).prop_map(|category| ExperienceType::Generic { category }),
    ]
}

pub fn tags() -> impl Strategy<Value = BTreeMap<String, String>> {
    btree_map(word(), word(), 0..3)
}

fn draft() -> impl Strategy<Value = Draft> {
    let content = prop_oneof![
        9 => "[a-zäß ]{0,12}x".boxed(),
        1 => Just("long ".repeat(1200)).boxed(),
    ];
    let traits = (
        vec(word(), 0..3),
        tags(),
        vec(word(), 0..2),
        any::<bool>(),
        option::weighted(0.15, -5_i64..4000),
    );
    let vitals = (unit(), unit(), option::weighted(0.3, "[k-m]"));
    (
        (any::<Nth>(), content, vector(), experience_type(), word()),
        vitals,
        traits,
        option::of(word()),
    )
        .prop_map(
            |(
                (collective, content, vector, experience_type, agent),
                (importance, confidence, idempotency_key),
                (domain, tags, related_files, pinned, expires_in),
                task,
            )| {
                // The collective is filled in when it is known.
                let nowhere = CollectiveId::from_uuid(uuid::Uuid::nil());
                Draft {
                    collective,
                    expires_in,
                    new: NewExperience {
                        embedding: Some(vector),
                        experience_type,
                        source_task: task.map(Into::into),
                        importance,
                        confidence,
                        domain,
                        tags,
                        related_files,
                        pinned: pinned && expires_in.is_some(),
                        idempotency_key,
                        ..NewExperience::new(nowhere, agent, content)
                    },
                }
            },
        )
}

fn update() -> impl Strategy<Value = (ExperienceUpdate, RelativeTimes)> {
    let time = || option::weighted(0.2, option::of(-50_i64..3000));
    (
        (option::of(unit()), option::of(unit())),
        option::weighted(0.3, vec(word(), 0..3)),
        option::weighted(0.3, tags()),
        option::weighted(0.2, vec(word(), 0..2)),
        option::weighted(0.2, any::<bool>()),
        (time(), time(), time()),
    )
        .prop_map(
            |((importance, confidence), domain, tags, related_files, pinned, times)| {
                let update = ExperienceUpdate {
                    importance,
                    confidence,
                    domain,
                    tags,
                    related_files,
                    pinned,
                    ..ExperienceUpdate::default()
                };
                let (expires_in, valid_from, valid_to) = times;
                let times = RelativeTimes {
                    expires_in,
                    valid_from,
                    valid_to,
                };
                (update, times)
            },
        )
}

pub fn weights() -> impl Strategy<Value = RecallWeights> {
    (unit(), unit()).prop_map(|(similarity, energy)| RecallWeights { similarity, energy })
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
    let bad = select(vec![Bad::UnknownCollective, Bad::Importance, Bad::NoVector]);
    prop_oneof![
        2 => (word(), option::of(word())).prop_map(|(n, o)| Op::CreateCollective(n, o)),
        2 => word().prop_map(Op::GetOrCreateCollective),
        1 => (nth(), decay).prop_map(|(c, decay)| Op::SetDecay(c, decay)),
        1 => nth().prop_map(Op::DeleteCollective),
        14 => vec(draft(), 1..5).prop_map(Op::Record),
        1 => (vec(draft(), 1..3), bad).prop_map(|(batch, bad)| Op::RecordWithOneBad(batch, bad)),
        6 => (nth(), update()).prop_map(|(e, (update, times))| Op::Update(e, update, times)),
        3 => (nth(), word(), word()).prop_map(|(e, key, value)| Op::SetTag(e, key, value)),
        2 => (nth(), word()).prop_map(|(e, key)| Op::RemoveTag(e, key)),
        2 => nth().prop_map(Op::Archive),
        2 => nth().prop_map(Op::Unarchive),
        3 => nth().prop_map(Op::Reinforce),
        3 => nth().prop_map(Op::Delete),
        4 => (1_u64..2000).prop_map(Op::Advance),
        1 => (1_i64..500).prop_map(Op::ClockBack),
        1 => Just(Op::Flush),
        2 => Just(Op::Checkpoint),
        2 => Just(Op::Reopen),
        1 => Just(Op::ReopenReadOnly),
    ]
}

fn filter() -> impl Strategy<Value = Filter> {
    let kinds = experience_type().prop_map(|t| t.kind());
    (
        vec(word(), 0..2),
        btree_map(word(), word(), 0..2),
        vec(kinds, 0..2),
        (option::weighted(0.3, unit()), option::weighted(0.3, unit())),
        option::weighted(0.3, (0_i64..20_000, option::of(0_i64..9000))),
        vec(word(), 0..3),
        option::weighted(0.3, 0_i64..20_000),
        any::<bool>(),
    )
        .prop_map(
            |(
                domains,
                tags_all,
                experience_types,
                minima,
                times,
                agents,
                as_of,
                exclude_archived,
            )| {
                Filter {
                    since: times.map(|(since, _)| since),
                    until: times.and_then(|(since, length)| Some(since + length?)),
                    as_of,
                    filter: SearchFilter {
                        domains,
                        tags_all,
                        experience_types,
                        min_importance: minima.0,
                        min_confidence: minima.1,
                        source_agents: agents.into_iter().map(Into::into).collect(),
                        exclude_archived,
                        ..SearchFilter::default()
                    },
                }
            },
        )
}

/// Mostly no restriction: a filter on everything finds nothing.
fn some_filter() -> impl Strategy<Value = Filter> {
    let none = Filter {
        filter: SearchFilter::default(),
        since: None,
        until: None,
        as_of: None,
    };
    prop_oneof![Just(none), filter()]
}

fn question() -> impl Strategy<Value = Question> {
    let pages = (
        select(vec![OrderBy::Time, OrderBy::Id]),
        select(vec![Direction::Ascending, Direction::Descending]),
        1_usize..8,
        option::weighted(0.3, 0_i64..20_000),
        option::weighted(0.3, 0_i64..9000),
        some_filter(),
    );
    let search = (
        vec(vector(), 1..4),
        prop_oneof![1_usize..6, Just(1000)],
        some_filter(),
        option::of(weights()),
    );
    prop_oneof![
        pages.prop_map(|(order_by, direction, limit, from, length, filter)| {
            Question::Pages {
                order_by,
                direction,
                limit,
                from,
                to: length.map(|length| from.unwrap_or(0) + length),
                filter,
            }
        }),
        (1_usize..9, some_filter()).prop_map(|(limit, filter)| Question::Recent(limit, filter)),
        search.prop_map(|(queries, k, filter, weights)| Question::Search {
            queries,
            k,
            filter,
            weights
        }),
        Just(Question::Energy),
    ]
}

fn at(offset: i64) -> Timestamp {
    Timestamp::from_millis(START.as_millis() + offset)
}

/// Every other moment is itself left out.
fn bound(offset: Option<i64>) -> Bound<Timestamp> {
    match offset {
        None => Bound::Unbounded,
        Some(offset) if offset % 2 == 0 => Bound::Included(at(offset)),
        Some(offset) => Bound::Excluded(at(offset)),
    }
}

impl Filter {
    fn get(&self) -> SearchFilter {
        SearchFilter {
            since: self.since.map(at),
            until: self.until.map(at),
            as_of: self.as_of.map(at),
            ..self.filter.clone()
        }
    }
}

/// A collective of the model: its rows in the order of recording.
struct Shelf {
    definition: Collective,
    rows: Vec<Experience>,
}

/// The simplest thing that could work.
struct Model {
    instance: InstanceId,
    shelves: Vec<Shelf>,
    /// Every id that was ever given, dead ones too.
    experiences: Vec<ExperienceId>,
    collectives: Vec<CollectiveId>,
    /// What the clock says.
    now: Timestamp,
    /// The newest moment the writer knows; it never goes back while the database is open.
    written_at: Timestamp,
}

fn expired(row: &Experience, now: Timestamp) -> bool {
    !row.pinned && row.expires_at.is_some_and(|at| at <= now)
}

fn passes(row: &Experience, filter: &SearchFilter) -> bool {
    let any = filter.domains.is_empty();
    (any || row
        .domain
        .iter()
        .any(|domain| filter.domains.contains(domain)))
        && filter
            .tags_all
            .iter()
            .all(|(key, value)| row.tags.get(key) == Some(value))
        && (filter.experience_types.is_empty()
            || filter
                .experience_types
                .contains(&row.experience_type.kind()))
        && filter
            .min_importance
            .is_none_or(|min| row.importance >= min)
        && filter
            .min_confidence
            .is_none_or(|min| row.confidence >= min)
        && filter.since.is_none_or(|since| row.timestamp >= since)
        && filter.until.is_none_or(|until| row.timestamp < until)
        && (filter.source_agents.is_empty() || filter.source_agents.contains(&row.source_agent))
        && !(filter.exclude_archived && row.archived)
        && filter.as_of.is_none_or(|at| {
            row.valid_from.is_none_or(|from| from <= at) && row.valid_to.is_none_or(|to| at < to)
        })
}

fn cosine(a: &[f32], b: &[f32]) -> f64 {
    let dot = |a: &[f32], b: &[f32]| -> f64 {
        a.iter()
            .zip(b)
            .map(|(x, y)| f64::from(*x) * f64::from(*y))
            .sum()
    };
    dot(a, b) / (dot(a, a).sqrt() * dot(b, b).sqrt())
}

fn energy(decay: &DecayConfig, row: &Experience, now: Timestamp) -> f64 {
    let age = (now.as_millis() - row.last_reinforced.as_millis()).max(0) as f64;
    let warm = 1.0 + f64::from(decay.freq_weight) * (1.0 + f64::from(row.applications())).ln();
    let cooled = 0.5_f64.powf(age / decay.half_life_ms as f64);
    (f64::from(row.importance) * warm * cooled).clamp(0.0, 1.0)
}

impl Model {
    fn shelf(&self, id: CollectiveId) -> Option<&Shelf> {
        self.shelves.iter().find(|shelf| shelf.definition.id == id)
    }

    fn shelf_mut(&mut self, id: CollectiveId) -> &mut Shelf {
        let mut shelves = self.shelves.iter_mut();
        shelves.find(|shelf| shelf.definition.id == id).unwrap()
    }

    fn visible(&self, id: CollectiveId) -> Vec<&Experience> {
        let rows = &self.shelf(id).unwrap().rows;
        rows.iter().filter(|row| !expired(row, self.now)).collect()
    }

    fn find(&self, id: ExperienceId) -> Option<&Experience> {
        let rows = self.shelves.iter().flat_map(|shelf| &shelf.rows);
        rows.into_iter().find(|row| row.id == id)
    }

    /// The row that a change of it meets, at the writer's time.
    fn changeable(&mut self, id: ExperienceId) -> Option<&mut Experience> {
        let now = self.written_at;
        let rows = self.shelves.iter_mut().flat_map(|shelf| &mut shelf.rows);
        rows.into_iter()
            .find(|row| row.id == id && !expired(row, now))
    }

    fn ranked(
        &self,
        collective: CollectiveId,
        query: &[f32],
        filter: &SearchFilter,
        weights: Option<RecallWeights>,
    ) -> Vec<(f64, f64, ExperienceId)> {
        let decay = &self.shelf(collective).unwrap().definition.decay;
        let weights = weights
            .or(decay.default_recall_weights)
            .filter(|w| w.energy > 0.0);
        let score = |row: &Experience, similarity: f64| {
            weights.map_or(similarity, |w| {
                f64::from(w.similarity) * similarity.clamp(0.0, 1.0)
                    + f64::from(w.energy) * energy(decay, row, self.now)
            })
        };
        let mut ranked: Vec<_> = self
            .visible(collective)
            .into_iter()
            .filter(|row| passes(row, filter))
            .map(|row| {
                let similarity = cosine(query, &row.embedding);
                (score(row, similarity), similarity, row.id)
            })
            .collect();
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.2.cmp(&b.2)));
        ranked
    }
}

fn stored(draft: &Draft, collective: CollectiveId, now: Timestamp) -> NewExperience {
    let expires = |after| Timestamp::from_millis(now.as_millis() + after);
    NewExperience {
        collective_id: collective,
        expires_at: draft.expires_in.map(expires),
        ..draft.new.clone()
    }
}

fn recorded(new: NewExperience, id: ExperienceId, now: Timestamp) -> Experience {
    let digest = Sha256::digest(new.content.as_bytes());
    Experience {
        id,
        collective_id: new.collective_id,
        content_hash: ContentHash(digest[..16].try_into().unwrap()),
        content: new.content,
        embedding: new.embedding.unwrap(),
        experience_type: new.experience_type,
        source_agent: new.source_agent,
        source_task: new.source_task,
        timestamp: now,
        importance: new.importance,
        confidence: new.confidence,
        domain: new.domain,
        tags: new.tags,
        related_files: new.related_files,
        applications: BTreeMap::new(),
        last_reinforced: now,
        archived: false,
        updated_at: now,
        expires_at: new.expires_at,
        valid_from: new.valid_from,
        valid_to: new.valid_to,
        pinned: new.pinned,
        idempotency_key: new.idempotency_key,
    }
}

/// Both, side by side.
struct Pair {
    world: World,
    db: PulseDB,
    model: Model,
}

impl Pair {
    fn new() -> Self {
        let mut config = config();
        config.segment_bytes = 64 * 1024;
        config.max_commit_bytes = 32 * 1024;
        let world = World::with(config);
        let db = world.open_blocking(false);
        let instance = db.instance_id();
        Self {
            world,
            db,
            model: Model {
                instance,
                shelves: Vec::new(),
                experiences: Vec::new(),
                collectives: Vec::new(),
                now: START,
                written_at: START,
            },
        }
    }

    fn collective(&self, nth: Nth) -> Option<CollectiveId> {
        let all = &self.model.collectives;
        (!all.is_empty()).then(|| all[nth % all.len()])
    }

    fn experience(&self, nth: Nth) -> Option<ExperienceId> {
        let all = &self.model.experiences;
        (!all.is_empty()).then(|| all[nth % all.len()])
    }

    fn apply(&mut self, op: &Op) {
        match op {
            Op::Advance(millis) => {
                self.world.env.advance(Duration::from_millis(*millis));
                self.model.now =
                    Timestamp::from_millis(self.model.now.as_millis() + *millis as i64);
                return;
            }
            Op::ClockBack(millis) => {
                // A refused write may not have reached the writer; this one shows it the time.
                self.db.flush().unwrap();
                self.model.written_at = self.model.written_at.max(self.model.now);
                self.model.now = Timestamp::from_millis(self.model.now.as_millis() - millis);
                self.world.env.set_now(self.model.now);
                return;
            }
            Op::Checkpoint => {
                let made = self.db.checkpoint().unwrap();
                assert_eq!(made, self.db.current_cursor().unwrap());
                return;
            }
            Op::Reopen => return self.reopen(false),
            Op::ReopenReadOnly => {
                self.reopen(true);
                self.compare();
                let refused = self.db.create_collective("no");
                assert!(
                    matches!(refused, Err(PulseDBError::ReadOnly { .. })),
                    "{refused:?}"
                );
                return self.reopen(false);
            }
            _ => {}
        }
        self.model.written_at = self.model.written_at.max(self.model.now);
        self.write(op);
    }

    fn reopen(&mut self, read_only: bool) {
        self.db.close().unwrap();
        // What was only refused left no time in the log, so the clock must not be behind it.
        self.model.now = self.model.now.max(self.model.written_at);
        self.model.written_at = self.model.now;
        self.world.env.set_now(self.model.now);
        self.db = self.world.open_blocking(read_only);
        assert!(self.db.health_check().unwrap().recovery.clean);
    }

    fn write(&mut self, op: &Op) {
        match op {
            Op::CreateCollective(name, owner) => {
                let id = match owner {
                    Some(owner) => self
                        .db
                        .create_collective_with_owner(name, owner.as_str())
                        .unwrap(),
                    None => self.db.create_collective(name).unwrap(),
                };
                self.created(id, name, owner.as_deref());
            }
            Op::GetOrCreateCollective(name) => {
                let id = self.db.get_or_create_collective(name).unwrap();
                let known = self
                    .model
                    .shelves
                    .iter()
                    .find(|s| s.definition.name == *name);
                match known.map(|shelf| shelf.definition.id) {
                    Some(known) => assert_eq!(id, known),
                    None => self.created(id, name, None),
                }
            }
            Op::SetDecay(nth, decay) => {
                let Some(id) = self.collective(*nth) else {
                    return;
                };
                let answer = self.db.set_decay_config(id, decay.clone());
                if self.model.shelf(id).is_some() {
                    answer.unwrap();
                    self.model.shelf_mut(id).definition.decay = decay.clone();
                } else {
                    assert_not_found(answer);
                }
            }
            Op::DeleteCollective(nth) => {
                let Some(id) = self.collective(*nth) else {
                    return;
                };
                let answer = self.db.delete_collective(id);
                if self.model.shelf(id).is_some() {
                    answer.unwrap();
                    self.model.shelves.retain(|shelf| shelf.definition.id != id);
                } else {
                    assert_not_found(answer);
                }
            }
            Op::Record(batch) => self.record(batch),
            Op::RecordWithOneBad(batch, bad) => self.record_with_one_bad(batch, bad),
            Op::Flush => self.db.flush().unwrap(),
            Op::Update(nth, ..)
            | Op::SetTag(nth, ..)
            | Op::RemoveTag(nth, ..)
            | Op::Archive(nth)
            | Op::Unarchive(nth)
            | Op::Reinforce(nth)
            | Op::Delete(nth) => {
                if let Some(id) = self.experience(*nth) {
                    self.change(op, id);
                }
            }
            Op::Advance(_)
            | Op::ClockBack(_)
            | Op::Checkpoint
            | Op::Reopen
            | Op::ReopenReadOnly => unreachable!(),
        }
    }

    fn created(&mut self, id: CollectiveId, name: &str, owner: Option<&str>) {
        assert!(!self.model.collectives.contains(&id));
        self.model.collectives.push(id);
        self.model.shelves.push(Shelf {
            definition: Collective {
                id,
                name: name.to_owned(),
                owner_id: owner.map(UserId::from),
                embedding_dimension: DIMENSION as u16,
                decay: DecayConfig::default(),
                embedder: None,
                created_at: self.model.written_at,
                vectors: Default::default(),
                precisions: Default::default(),
            },
            rows: Vec::new(),
        });
    }

    /// The batch with its collectives; `None` where one was deleted.
    fn placed(&self, batch: &[Draft]) -> Option<Vec<NewExperience>> {
        let place = |draft: &Draft| {
            let id = self.collective(draft.collective)?;
            Some(stored(draft, id, self.model.written_at))
        };
        batch.iter().map(place).collect()
    }

    fn record(&mut self, batch: &[Draft]) {
        let Some(batch) = self.placed(batch) else {
            return;
        };
        let answer = match batch.as_slice() {
            [one] => self.db.record_experience(one.clone()).map(|id| vec![id]),
            many => self.db.record_experiences(many.to_vec()),
        };
        if batch
            .iter()
            .any(|new| self.model.shelf(new.collective_id).is_none())
        {
            return assert_not_found(answer);
        }
        let ids = answer.unwrap();
        assert_eq!(ids.len(), batch.len());
        for (new, id) in batch.into_iter().zip(ids) {
            let now = self.model.written_at;
            let shelf = self.model.shelf_mut(new.collective_id);
            let key = &new.idempotency_key;
            // One that has expired gives its key free, and is deleted by who takes it.
            shelf.rows.retain(|row| {
                row.idempotency_key.is_none() || row.idempotency_key != *key || !expired(row, now)
            });
            let mut keyed = shelf
                .rows
                .iter()
                .filter(|row| row.idempotency_key.is_some());
            if let Some(known) = keyed.find(|row| row.idempotency_key == *key) {
                assert_eq!(id, known.id, "the same key names the same experience");
                continue;
            }
            shelf.definition.embedder = Some(EmbedderIdentity {
                provider: "external".into(),
                model: String::new(),
                fingerprint: String::new(),
            });
            shelf.rows.push(recorded(new, id, now));
            let newest = self.model.experiences.iter().max();
            assert!(newest.is_none_or(|newest| id > *newest), "ids grow");
            self.model.experiences.push(id);
        }
    }

    fn record_with_one_bad(&mut self, batch: &[Draft], bad: &Bad) {
        let Some(mut batch) = self.placed(batch) else {
            return;
        };
        let last = batch.last_mut().unwrap();
        match bad {
            Bad::UnknownCollective => {
                last.collective_id = CollectiveId::from_uuid(uuid::Uuid::max());
            }
            Bad::Importance => last.importance = 1.5,
            Bad::NoVector => last.embedding = None,
        }
        let answer = self.db.record_experiences(batch);
        assert!(
            matches!(
                answer,
                Err(PulseDBError::NotFound { .. } | PulseDBError::Validation { .. })
            ),
            "{answer:?}"
        );
    }

    fn change(&mut self, op: &Op, id: ExperienceId) {
        let now = self.model.written_at;
        let instance = self.model.instance;
        let times = |after: i64| Timestamp::from_millis(now.as_millis() + after);
        let Self { db, model, .. } = self;
        let row = model.changeable(id);
        match (op, row) {
            (Op::Update(_, update, relative), row) => {
                let mut update = update.clone();
                update.expires_at = relative.expires_in.map(|at| at.map(times));
                update.valid_from = relative.valid_from.map(|at| at.map(times));
                update.valid_to = relative.valid_to.map(|at| at.map(times));
                let answer = db.update_experience(id, update.clone());
                let Some(row) = row else {
                    return assert!(answer.is_err());
                };
                let mut changed = row.clone();
                let touched = update != ExperienceUpdate::default();
                merge(&mut changed, update);
                let backwards = changed.valid_from.zip(changed.valid_to);
                if backwards.is_some_and(|(from, to)| from >= to)
                    && (changed.valid_from, changed.valid_to) != (row.valid_from, row.valid_to)
                {
                    return assert!(matches!(answer, Err(PulseDBError::Validation { .. })));
                }
                answer.unwrap();
                *row = changed;
                if touched {
                    row.updated_at = now;
                }
            }
            (Op::SetTag(_, key, value), Some(row)) => {
                db.set_tag(id, key, value).unwrap();
                if row.tags.insert(key.clone(), value.clone()).as_ref() != Some(value) {
                    row.updated_at = now;
                }
            }
            (Op::RemoveTag(_, key), Some(row)) => {
                db.remove_tag(id, key).unwrap();
                if row.tags.remove(key).is_some() {
                    row.updated_at = now;
                }
            }
            (Op::Archive(_) | Op::Unarchive(_), Some(row)) => {
                let archived = matches!(op, Op::Archive(_));
                if archived {
                    db.archive_experience(id).unwrap();
                } else {
                    db.unarchive_experience(id).unwrap();
                }
                if row.archived != archived {
                    row.archived = archived;
                    row.updated_at = now;
                }
            }
            (Op::Reinforce(_), Some(row)) => {
                *row.applications.entry(instance).or_default() += 1;
                row.last_reinforced = now;
                row.updated_at = now;
                assert_eq!(db.reinforce_experience(id).unwrap(), row.applications());
            }
            (Op::Delete(_), Some(row)) => {
                let collective = row.collective_id;
                db.delete_experience(id).unwrap();
                model.shelf_mut(collective).rows.retain(|row| row.id != id);
            }
            (Op::SetTag(_, key, value), None) => assert_not_found(db.set_tag(id, key, value)),
            (Op::RemoveTag(_, key), None) => assert_not_found(db.remove_tag(id, key)),
            (Op::Archive(_), None) => assert_not_found(db.archive_experience(id)),
            (Op::Unarchive(_), None) => assert_not_found(db.unarchive_experience(id)),
            (Op::Reinforce(_), None) => assert_not_found(db.reinforce_experience(id)),
            (Op::Delete(_), None) => assert_not_found(db.delete_experience(id)),
            _ => unreachable!(),
        }
    }

    /// Everything that the database shows.
    fn compare(&self) {
        let definitions: Vec<_> = self
            .model
            .shelves
            .iter()
            .map(|shelf| shelf.definition.clone())
            .collect();
        assert_eq!(self.db.list_collectives().unwrap(), definitions);
        for owner in ["a", "b"].map(UserId::from) {
            let mut owned = definitions.clone();
            owned.retain(|one| one.owner_id.as_ref() == Some(&owner));
            assert_eq!(self.db.list_collectives_by_owner(&owner).unwrap(), owned);
        }
        for &id in &self.model.collectives {
            let shelf = self.model.shelf(id);
            let expected = shelf.map(|shelf| shelf.definition.clone());
            assert_eq!(self.db.get_collective(id).unwrap(), expected);
            if shelf.is_some() {
                self.compare_rows(id);
            } else {
                assert_not_found(self.db.get_collective_stats(id));
                assert_not_found(self.db.list_experiences(id, Page::default()));
                assert_not_found(self.db.search_similar(id, &[1.0; DIMENSION], 1));
            }
        }
        let find = |id: &ExperienceId| {
            let row = self.model.find(*id)?;
            (!expired(row, self.model.now)).then(|| row.clone())
        };
        let expected: Vec<_> = self.model.experiences.iter().map(find).collect();
        assert_eq!(
            self.db.get_experiences(&self.model.experiences).unwrap(),
            expected
        );
        if let Some((id, expected)) = self.model.experiences.iter().zip(expected).next_back() {
            match expected {
                Some(row) => assert_eq!(self.db.get_experience(*id).unwrap(), row),
                None => assert_not_found(self.db.get_experience(*id)),
            }
        }
    }

    fn compare_rows(&self, id: CollectiveId) {
        let rows = self.model.visible(id);
        let page = Page {
            limit: 1000,
            ..Page::default()
        };
        let found = self.db.list_experiences(id, page).unwrap();
        assert_eq!(found.items.iter().collect::<Vec<_>>(), rows);
        assert_eq!(found.next, None);
        let stats = self.db.get_collective_stats(id).unwrap();
        assert_eq!(stats.collective_id, id);
        assert_eq!(stats.experience_count, rows.len() as u64);
        assert_eq!(
            stats.archived_count,
            rows.iter().filter(|row| row.archived).count() as u64
        );
        assert_eq!(stats.oldest, rows.first().map(|row| row.timestamp));
        assert_eq!(stats.newest, rows.last().map(|row| row.timestamp));
        assert_eq!(stats.body_bytes > 0, !rows.is_empty());
    }

    fn ask(&self, question: &Question, nth: Nth) {
        let alive: Vec<_> = self
            .model
            .shelves
            .iter()
            .map(|shelf| shelf.definition.id)
            .collect();
        if alive.is_empty() {
            return;
        }
        let collective = alive[nth % alive.len()];
        match question {
            Question::Pages {
                order_by,
                direction,
                limit,
                from,
                to,
                filter,
            } => {
                let page = Page {
                    order_by: *order_by,
                    direction: *direction,
                    limit: *limit,
                    after: None,
                    from: bound(*from),
                    to: bound(*to),
                    filter: filter.get(),
                    ..Page::default()
                };
                self.walk(collective, page);
            }
            Question::Recent(limit, filter) => self.recent(collective, *limit, &filter.get()),
            Question::Search {
                queries,
                k,
                filter,
                weights,
            } => self.search(collective, queries, *k, &filter.get(), *weights),
            Question::Energy => self.energies(collective),
        }
    }

    fn walk(&self, collective: CollectiveId, mut page: Page) {
        let mut expected = self.model.visible(collective);
        expected.retain(|row| {
            passes(row, &page.filter) && (page.from, page.to).contains(&row.timestamp)
        });
        match page.order_by {
            OrderBy::Time => expected.sort_by_key(|row| (row.timestamp, row.id)),
            OrderBy::Id => expected.sort_by_key(|row| row.id),
        }
        if page.direction == Direction::Descending {
            expected.reverse();
        }
        let stream = self.db.stream_experiences(collective, page.clone());
        let streamed: Vec<Experience> = stream.unwrap().map(Result::unwrap).collect();
        assert_eq!(streamed.iter().collect::<Vec<_>>(), expected, "{page:?}");
        let pages = expected.chunks(page.limit);
        let mut left = pages.len();
        // An empty list is one empty page.
        for chunk in pages.chain((left == 0).then_some(&[][..])) {
            let found = self.db.list_experiences(collective, page.clone()).unwrap();
            assert_eq!(found.items.iter().collect::<Vec<_>>(), chunk, "{page:?}");
            left = left.saturating_sub(1);
            assert_eq!(found.next.is_some(), left > 0, "{page:?}");
            page.after = found.next;
        }
    }

    fn recent(&self, collective: CollectiveId, limit: usize, filter: &SearchFilter) {
        let newest = |filter: &SearchFilter| -> Vec<Experience> {
            let rows = self.model.visible(collective).into_iter().rev();
            rows.filter(|row| passes(row, filter))
                .take(limit)
                .cloned()
                .collect()
        };
        let plain = self.db.get_recent_experiences(collective, limit).unwrap();
        assert_eq!(plain, newest(&SearchFilter::default()));
        let filtered = self
            .db
            .get_recent_experiences_filtered(collective, limit, filter.clone())
            .unwrap();
        assert_eq!(filtered, newest(filter));
    }

    fn search(
        &self,
        collective: CollectiveId,
        queries: &[Vec<f32>],
        k: usize,
        filter: &SearchFilter,
        weights: Option<RecallWeights>,
    ) {
        let options = SearchOptions {
            k,
            filter: filter.clone(),
            weights,
            exact: k.is_multiple_of(2),
            ef: None,
            ..SearchOptions::default()
        };
        let all = self
            .db
            .search_batch(collective, queries, options.clone())
            .unwrap();
        assert_eq!(all.len(), queries.len());
        for (query, hits) in queries.iter().zip(&all) {
            self.check_hits(collective, query, &options, hits);
            let alone = self.db.search(collective, query, options.clone()).unwrap();
            assert_eq!(&alone, hits, "a batch answers like its parts");
        }
        let query = &queries[0];
        let plain = SearchOptions {
            k,
            ..SearchOptions::default()
        };
        let hits = self.db.search_similar(collective, query, k).unwrap();
        self.check_hits(collective, query, &plain, &hits);
        let filtered = SearchOptions {
            filter: filter.clone(),
            ..plain
        };
        let hits = self
            .db
            .search_similar_filtered(collective, query, k, filter.clone())
            .unwrap();
        self.check_hits(collective, query, &filtered, &hits);
    }

    fn check_hits(
        &self,
        collective: CollectiveId,
        query: &[f32],
        options: &SearchOptions,
        hits: &[SearchHit],
    ) {
        let ranked = self
            .model
            .ranked(collective, query, &options.filter, options.weights);
        assert_eq!(
            hits.len(),
            ranked.len().min(options.k),
            "k results whenever k match"
        );
        for (hit, (expected_score, ..)) in hits.iter().zip(&ranked) {
            let id = hit.experience.id;
            let mine = ranked.iter().find(|(.., candidate)| *candidate == id);
            let (score, similarity, _) = mine.expect("a hit that the filter excludes");
            assert!(
                (f64::from(hit.similarity) - similarity).abs() < TIE,
                "{hit:?} {similarity}"
            );
            assert!(
                (f64::from(hit.score) - score).abs() < TIE,
                "{hit:?} {score}"
            );
            assert!((score - expected_score).abs() < TIE, "{hit:?} out of order");
            assert_eq!(Some(&hit.experience), self.model.find(id));
        }
        for pair in hits.windows(2) {
            let (a, b) = (&pair[0], &pair[1]);
            let ordered =
                a.score > b.score || (a.score == b.score && a.experience.id < b.experience.id);
            assert!(ordered, "best first, ties by id, none twice");
        }
    }

    fn energies(&self, collective: CollectiveId) {
        let decay = &self.model.shelf(collective).unwrap().definition.decay;
        let nobody = "0190a0b0-0000-7000-8000-000000000001".parse().unwrap();
        let mut cold = Vec::new();
        for row in self.model.visible(collective) {
            let found = self.db.energy(row.id).unwrap();
            let expected = energy(decay, row, self.model.now);
            assert!(
                (f64::from(found) - expected).abs() < 1e-5,
                "{found} {expected}"
            );
            let both = self.db.energies(&[row.id, nobody]).unwrap();
            assert_eq!(both, [Some(found), None]);
            if found < decay.floor && !row.pinned && !row.archived {
                cold.push((found, row));
            }
        }
        cold.sort_by(|(a, one), (b, other)| a.total_cmp(b).then(one.id.cmp(&other.id)));
        let coldest = self.db.list_cold_experiences(collective, 7).unwrap();
        let expected: Vec<_> = cold.into_iter().map(|(_, row)| row).take(7).collect();
        assert_eq!(coldest.iter().collect::<Vec<_>>(), expected);
    }
}

fn merge(row: &mut Experience, update: ExperienceUpdate) {
    row.importance = update.importance.unwrap_or(row.importance);
    row.confidence = update.confidence.unwrap_or(row.confidence);
    if let Some(domain) = update.domain {
        row.domain = domain;
    }
    if let Some(tags) = update.tags {
        row.tags = tags;
    }
    if let Some(files) = update.related_files {
        row.related_files = files;
    }
    row.expires_at = update.expires_at.unwrap_or(row.expires_at);
    row.valid_from = update.valid_from.unwrap_or(row.valid_from);
    row.valid_to = update.valid_to.unwrap_or(row.valid_to);
    row.pinned = update.pinned.unwrap_or(row.pinned);
}

#[track_caller]
fn assert_not_found<T: std::fmt::Debug>(answer: pulsedb::Result<T>) {
    assert!(
        matches!(answer, Err(PulseDBError::NotFound { .. })),
        "{answer:?}"
    );
}

proptest! {
    #![proptest_config(ProptestConfig {
        // `PROPTEST_CASES` asks for more.
        cases: ProptestConfig::default().cases / 2,
        max_shrink_iters: 400,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn answers_like_a_list_in_memory(
        steps in vec((op(), question(), any::<Nth>()), 1..80),
    ) {
        let mut pair = Pair::new();
        pair.apply(&Op::CreateCollective("first".into(), None));
        for (op, question, nth) in &steps {
            pair.apply(op);
            pair.compare();
            pair.ask(question, *nth);
        }
        pair.reopen(false);
        pair.compare();
        pair.db.close().unwrap();
    }
}
