//! Is every row that passes a filter as of a snapshot among the candidates, whatever was changed,
//! whoever caught up, and however old the snapshot is?

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    log::Place,
    model::{Collective, CollectiveId, DecayConfig, ExperienceKind, Timestamp},
    state::{Applier, Mutation, RowRef},
    sync::Arc,
};

const COLLECTIVE: u32 = 1;
const KINDS: [ExperienceKind; 2] = [ExperienceKind::Fact, ExperienceKind::Generic];

/// Small shares, so that few rows need several searches, batches and rebuilds.
const SMALL: Share = Share {
    catch_up_rows: 5,
    rebuild_rows: 3,
    batch_rows: 2,
    stale_least: 1,
};

/// A collective as the committer keeps it, and what the log would hold of it.
struct World {
    applier: Applier,
    lsn: u64,
    rows: u32,
    /// Traits by the unit of their place, and the LSN they came with; a body's are its row's.
    traits: Vec<(u64, Option<Traits>)>,
    held: Vec<Lsn>,
}

impl World {
    fn new(share: Share) -> Self {
        let mut applier = Applier::default();
        let definition = Collective {
            id: CollectiveId::from_u128(1),
            name: "c".into(),
            owner_id: None,
            embedding_dimension: 4,
            decay: DecayConfig::default(),
            embedder: None,
            created_at: Timestamp::from_millis(0),
            vectors: Default::default(),
            precisions: Default::default(),
        };
        let define = Mutation::Define {
            collective: COLLECTIVE,
            definition: Arc::new(definition),
        };
        applier.apply(Lsn::new(1), define, Lsn::ZERO);
        let world = Self {
            applier,
            lsn: 1,
            rows: 0,
            traits: Vec::new(),
            held: Vec::new(),
        };
        *world.table().filter_index.lock() = Some(Arc::new(FilterIndex::sharing(share)));
        world
    }

    fn table(&self) -> Arc<Table> {
        Arc::clone(self.applier.tables().get(COLLECTIVE).unwrap())
    }

    fn index(&self) -> Arc<FilterIndex> {
        self.table().filter_index()
    }

    fn now(&self) -> Lsn {
        Lsn::new(self.lsn)
    }

    fn commit(&mut self, mutation: Mutation) {
        let horizon = self.held.iter().copied().min().unwrap_or(self.now());
        self.lsn += 1;
        self.applier.apply(self.now(), mutation, horizon);
        self.applier.bury(horizon);
    }

    /// Where traits are found that the next commit writes.
    fn write(&mut self, traits: Option<Traits>) -> Place {
        self.traits.push((self.lsn + 1, traits));
        Place {
            segment: 0,
            unit: self.traits.len() as u32 - 1,
        }
    }

    fn record(&mut self, kind: u8, agent: u8, importance: f32, traits: Option<Traits>) {
        let place = self.write(traits);
        let row = Row {
            place,
            importance,
            kind: KINDS.get(usize::from(kind)).copied(),
            ..Row::example(Lsn::new(self.lsn + 1), u128::from(self.rows) + 1)
        };
        let at = self.at(self.rows);
        self.rows += 1;
        self.commit(Mutation::Record {
            at,
            row,
            agent: agent.to_string().into(),
            key: None,
            first: None,
        });
    }

    fn revise(&mut self, row: u32, change: impl FnOnce(&mut Values)) {
        let Some(state) = self.table().row(row, self.now()) else {
            return;
        };
        let mut values = state.values;
        change(&mut values);
        let at = self.at(row);
        self.commit(Mutation::Revise { at, values });
    }

    fn delete(&mut self, row: u32) {
        let at = self.at(row);
        self.commit(Mutation::Delete { at });
    }

    fn at(&self, row: u32) -> RowRef {
        RowRef {
            collective: COLLECTIVE,
            row,
        }
    }

    fn traits_of(&self, row: &Row, values: &Values, lsn: Lsn) -> Option<Traits> {
        let place = values.traits_place.unwrap_or(row.place);
        let (since, traits) = &self.traits[place.unit as usize];
        assert!(*since <= lsn.get(), "traits of the future are asked for");
        traits.clone()
    }

    fn codes(&self, filter: &SearchFilter) -> Option<Vec<u32>> {
        let agents = &filter.source_agents;
        let table = self.table();
        let code = |agent: &crate::AgentId| table.agents.code(agent.as_str());
        (!agents.is_empty()).then(|| agents.iter().filter_map(code).collect())
    }

    fn search(&self, lsn: Lsn, filter: &SearchFilter) -> Option<RoaringBitmap> {
        let table = self.table();
        let index = self.index();
        index.catch_up(&table, lsn, |row, values| self.traits_of(row, values, lsn));
        let agents = self.codes(filter);
        index.candidates(filter, agents.as_deref(), 0..table.row_count())
    }

    /// The rows that pass, or would say that their traits cannot be read.
    fn passing(&self, lsn: Lsn, filter: &SearchFilter) -> Vec<u32> {
        let agents = self.codes(filter);
        let mut passing = Vec::new();
        self.table().for_each_from(0, lsn, |visited| {
            let (row, values) = (visited.row, visited.values());
            let traits = self.traits_of(row, &values, lsn);
            let by_traits = traits.is_none_or(|traits| {
                let domain = |domain| traits.domain.contains(domain);
                (filter.domains.is_empty() || filter.domains.iter().any(domain))
                    && (filter.tags_all.iter())
                        .all(|(key, value)| traits.tags.get(key) == Some(value))
            });
            let kinds = &filter.experience_types;
            let passes = by_traits
                && row
                    .kind
                    .is_some_and(|kind| kinds.is_empty() || kinds.contains(&kind))
                && agents
                    .as_ref()
                    .is_none_or(|codes| codes.contains(&row.agent))
                && !(filter.exclude_archived && values.archived)
                && filter
                    .min_importance
                    .is_none_or(|min| values.importance >= min)
                && filter
                    .min_confidence
                    .is_none_or(|min| values.confidence >= min);
            if passes {
                passing.push(visited.number);
            }
            true
        });
        passing
    }

    fn check(&self, lsn: Lsn, filter: &SearchFilter) {
        let Some(candidates) = self.search(lsn, filter) else {
            return;
        };
        for row in self.passing(lsn, filter) {
            assert!(candidates.contains(row), "row {row} at {lsn:?}, {filter:?}");
        }
    }
}

fn traits(domain: u8, tag: u8) -> Option<Traits> {
    // One in eight cannot be read.
    (domain < 7).then(|| Traits {
        domain: vec![format!("d{}", domain % 3)],
        tags: BTreeMap::from([("k".into(), format!("v{tag}"))]),
        ..Traits::default()
    })
}

#[derive(Clone, Debug)]
enum Step {
    Record(u8, u8, f32, u8, u8),
    Vitals(u32, f32, f32, bool),
    Traits(u32, u8, u8),
    Delete(u32),
    Hold,
    Release(usize),
    /// By whichever of the held snapshots, or the newest.
    Search(usize, SearchFilter),
}

/// Values beside the borders of bins, and anywhere.
fn value() -> impl Strategy<Value = f32> {
    prop_oneof![
        0.0..=1.0_f32,
        (0..=64_u8).prop_map(|bin| f32::from(bin) / 64.0)
    ]
}

fn filter() -> impl Strategy<Value = SearchFilter> {
    let maybe = || prop_oneof![3 => Just(None), 1 => value().prop_map(Some)];
    let few = |most| prop::collection::vec(0..3_u8, 0..=most);
    (
        few(2),
        few(1),
        few(1),
        few(2),
        maybe(),
        maybe(),
        any::<bool>(),
    )
        .prop_map(
            |(domains, tags, kinds, agents, min_importance, min_confidence, exclude_archived)| {
                SearchFilter {
                    domains: domains.iter().map(|n| format!("d{n}")).collect(),
                    tags_all: tags.iter().map(|n| ("k".into(), format!("v{n}"))).collect(),
                    experience_types: kinds.iter().map(|n| KINDS[usize::from(*n) % 2]).collect(),
                    source_agents: agents
                        .iter()
                        .map(|n| n.to_string().as_str().into())
                        .collect(),
                    min_importance,
                    min_confidence,
                    exclude_archived,
                    ..SearchFilter::default()
                }
            },
        )
}

fn step() -> impl Strategy<Value = Step> {
    let row = || 0..40_u32;
    prop_oneof![
        6 => (0..8_u8, 0..3_u8, value(), 0..8_u8, 0..3_u8).prop_map(|(kind, agent, value, domain, tag)| {
            // One in eight is of unknown kind: its body is damaged.
            let kind = if kind == 7 { 2 } else { kind % 2 };
            Step::Record(kind, agent, value, domain, tag)
        }),
        4 => (row(), value(), value(), any::<bool>())
            .prop_map(|(row, one, other, archived)| Step::Vitals(row, one, other, archived)),
        4 => (row(), 0..8_u8, 0..3_u8).prop_map(|(row, domain, tag)| Step::Traits(row, domain, tag)),
        1 => row().prop_map(Step::Delete),
        2 => Just(Step::Hold),
        2 => any::<usize>().prop_map(Step::Release),
        6 => (any::<usize>(), filter()).prop_map(|(who, filter)| Step::Search(who, filter)),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(512))]

    #[test]
    fn no_search_misses_a_row(steps in prop::collection::vec(step(), 1..160)) {
        let mut world = World::new(SMALL);
        for step in steps {
            match step {
                Step::Record(kind, agent, value, domain, tag) => {
                    world.record(kind, agent, value, traits(domain, tag));
                }
                Step::Vitals(row, importance, confidence, archived) => {
                    world.revise(row, |values| {
                        values.importance = importance;
                        values.confidence = confidence;
                        values.archived = archived;
                    });
                }
                Step::Traits(row, domain, tag) => {
                    let place = world.write(traits(domain, tag));
                    world.revise(row, |values| values.traits_place = Some(place));
                }
                // A number that was not given out is never given out later.
                Step::Delete(row) if row < world.table().row_count() => world.delete(row),
                Step::Delete(_) => {}
                Step::Hold => world.held.push(world.now()),
                Step::Release(who) => {
                    if !world.held.is_empty() {
                        let who = who % world.held.len();
                        world.held.swap_remove(who);
                    }
                }
                Step::Search(who, filter) => {
                    let newest = world.now();
                    let who = who % (world.held.len() + 1);
                    let lsn = world.held.get(who).copied().unwrap_or(newest);
                    world.check(lsn, &filter);
                }
            }
        }
    }
}

fn important(min: f32) -> SearchFilter {
    SearchFilter {
        min_importance: Some(min),
        ..SearchFilter::default()
    }
}

/// A world of rows without importance.
fn world(rows: u32, share: Share) -> World {
    let mut world = World::new(share);
    for _ in 0..rows {
        world.record(0, 0, 0.0, traits(0, 0));
    }
    world
}

fn found(world: &World, filter: &SearchFilter) -> u64 {
    world.search(world.now(), filter).unwrap().len()
}

#[test]
fn each_search_does_its_share_and_what_is_missing_is_a_candidate() {
    let world = world(12, SMALL);
    let counts: Vec<u64> = (0..4).map(|_| found(&world, &important(0.9))).collect();
    assert_eq!(counts, [7, 2, 0, 0]);
}

#[test]
fn a_change_is_found_by_the_next_search_and_by_an_older_snapshot() {
    let mut world = world(10, SHARE);
    assert_eq!(found(&world, &important(0.9)), 0);
    world.revise(3, |values| values.importance = 1.0);
    let between = world.now();
    world.held.push(between);
    world.revise(3, |values| values.importance = 0.0);
    // The newest search reads both versions.
    assert_eq!(found(&world, &important(0.9)), 1);
    let older = world.search(between, &important(0.9)).unwrap();
    assert!(older.contains(3));
}

#[test]
fn a_search_at_an_older_snapshot_leaves_newer_rows_to_others() {
    let mut world = world(10, SHARE);
    let older = world.now();
    world.held.push(older);
    world.record(0, 0, 0.0, traits(0, 0));
    let place = world.write(traits(1, 1));
    world.revise(3, |values| values.traits_place = Some(place));
    let filter = SearchFilter {
        domains: vec!["d2".into()],
        ..SearchFilter::default()
    };
    // The changed row and the new one stay candidates; `traits_of` sees to it that neither is read.
    let candidates = world.search(older, &filter).unwrap();
    assert_eq!(candidates, [3, 10].into_iter().collect());
    assert_eq!(found(&world, &filter), 0);
}

#[test]
fn a_search_does_not_wait_for_one_that_reads() {
    let mut world = world(10, SHARE);
    assert_eq!(found(&world, &important(0.9)), 0);
    world.revise(3, |values| values.importance = 1.0);
    world.revise(4, |values| values.importance = 0.5);
    let index = world.index();
    let mut inside = 0;
    index.catch_up(&world.table(), world.now(), |row, values| {
        // Another search while this one reads, and a change by the committer.
        inside = found(&world, &important(0.9));
        index.changed(5);
        world.traits_of(row, values, world.now())
    });
    assert_eq!(
        inside, 3,
        "the rows that are being read, and the one just changed"
    );
    let agents = None;
    let candidates = index.candidates(&important(0.9), agents, 0..10).unwrap();
    assert_eq!(candidates, [3, 5].into_iter().collect());
}

#[test]
fn a_search_that_breaks_off_leaves_its_rows_to_the_next() {
    let mut world = world(10, SHARE);
    assert_eq!(found(&world, &important(0.9)), 0);
    world.revise(3, |values| values.importance = 1.0);
    let index = world.index();
    let broken = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        index.catch_up(&world.table(), world.now(), |_, _| {
            std::panic::resume_unwind(Box::new(()))
        });
    }));
    assert!(broken.is_err());
    let candidates = index.candidates(&important(0.9), None, 0..10).unwrap();
    assert!(candidates.contains(3));
    world.revise(3, |values| values.importance = 0.0);
    world.commit(Mutation::Nothing);
    assert!(found(&world, &important(0.9)) <= 1);
    assert!(index.notes.lock().taken.is_empty());
}

#[test]
fn a_rebuild_drops_what_nobody_sees() {
    let mut world = world(400, SHARE);
    assert_eq!(found(&world, &important(0.9)), 0);
    let change_all = |world: &mut World, importance| {
        for row in 0..400 {
            world.revise(row, |values| values.importance = importance);
        }
    };
    change_all(&mut world, 1.0);
    assert_eq!(found(&world, &important(0.9)), 400);
    // A held snapshot keeps what it sees, whatever is rebuilt.
    let held = world.now();
    world.held.push(held);
    change_all(&mut world, 0.0);
    found(&world, &important(0.9));
    assert_eq!(world.search(held, &important(0.9)).unwrap().len(), 400);
    world.held.clear();
    change_all(&mut world, 0.1);
    assert!(found(&world, &important(0.9)) <= 400);
    assert!(
        found(&world, &important(0.9)) <= 1,
        "the newest change may be seen"
    );
    assert!(world.index().postings.read().stale() < 400 / 4);

    for row in 0..300 {
        world.delete(row);
    }
    found(&world, &important(0.05));
    assert!(found(&world, &important(0.05)) <= 101);
}

#[test]
fn a_rebuild_goes_on_beside_what_changes() {
    let mut world = world(40, SMALL);
    for round in 0..200_u32 {
        let importance = (round % 7) as f32 / 7.0;
        world.revise(round * 13 % 40, |values| values.importance = importance);
        world.check(world.now(), &important(0.5));
    }
    // It has come to its end more than once: what was added is more than what there is.
    assert!(world.index().postings.read().stale() < 60);
}
