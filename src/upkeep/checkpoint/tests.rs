//! Do tables that begin with a checkpoint show what tables show that never saw one?
//!
//! Random records are applied to tables; a checkpoint of an older snapshot is written while they
//! have gone on. Tables over it must equal those that saw the records up to the snapshot, and
//! go on as they do.

#![allow(clippy::unwrap_used, clippy::indexing_slicing)]

use proptest::{collection::vec, option, prelude::*};

use super::{
    write::{Out, Writer},
    *,
};
use crate::{
    format::{ActivityRecord, CHECKPOINT_HEADER_LEN, UnknownFields},
    log::Place,
    model::{Collective, CollectiveId, Cursor, DecayConfig, ExperienceKind, Timeline, Timestamp},
    state::{Applier, Live, Mutation, Row, RowRef, Table, Values},
    vfs::SimVfs,
};

const NEWEST: Lsn = Lsn::new(u64::MAX);
/// The collective that may be deleted.
const GONE: u32 = 3;

/// One step of a history; rows and collectives are chosen among those that there are.
#[derive(Clone, Debug)]
enum Step {
    Define(u32),
    Undefine(u32),
    Record(u32, u8, Option<u8>),
    Revise(u32, u32, u32),
    Delete(u32, u32),
    /// Deletes a stretch, so that whole chunks go.
    DeleteMany(u32, u32, u32),
    /// An agent begins something, or ends it, or both: bit 0 and 1.
    Activity(u32, u8, u8),
}

fn step() -> impl Strategy<Value = Step> {
    let table = 1..4_u32;
    prop_oneof![
        1 => table.clone().prop_map(Step::Define),
        1 => Just(GONE).prop_map(Step::Undefine),
        12 => (table.clone(), 1..30_u8, option::of(0..12_u8))
            .prop_map(|(table, count, key)| Step::Record(table, count, key)),
        8 => (table.clone(), any::<u32>(), any::<u32>())
            .prop_map(|(table, row, count)| Step::Revise(table, row, count)),
        4 => (table.clone(), any::<u32>()).prop_map(|(table, row)| Step::Delete(table, row)),
        8 => (table.clone(), 0..4_u8, 1..4_u8)
            .prop_map(|(table, agent, what)| Step::Activity(table, agent, what)),
        2 => (table, any::<u32>(), 10..60_u32)
            .prop_map(|(table, row, count)| Step::DeleteMany(table, row, count)),
    ]
}

/// The records that a history consists of, with their LSNs.
#[derive(Default)]
struct Story {
    lsn: u64,
    /// (collective, row numbers given out); numbers of collectives are not given twice.
    rows: Vec<(u32, u32)>,
    gone: bool,
    records: Vec<(Lsn, Mutation)>,
}

impl Story {
    fn push(&mut self, mutation: Mutation) {
        self.lsn += 1;
        self.records.push((Lsn::new(self.lsn), mutation));
    }

    fn tell(&mut self, step: &Step) {
        let (Step::Define(collective)
        | Step::Undefine(collective)
        | Step::Record(collective, ..)
        | Step::Revise(collective, ..)
        | Step::Delete(collective, ..)
        | Step::DeleteMany(collective, ..)
        | Step::Activity(collective, ..)) = *step;
        if self.gone && collective == GONE {
            return;
        }
        match *step {
            Step::Define(collective) => self.define(collective),
            Step::Activity(collective, agent, what) => {
                for (bit, lasts) in [(1, true), (2, false)] {
                    if what & bit != 0 {
                        self.activity(collective, &format!("agent {agent}"), lasts);
                    }
                }
            }
            Step::Undefine(collective) => {
                self.push(Mutation::DeleteCollective { collective });
                self.gone = true;
            }
            Step::Record(collective, count, key) => {
                if !self.rows.iter().any(|(table, _)| *table == collective) {
                    self.define(collective);
                    self.rows.push((collective, 0));
                }
                for at in 0..count {
                    self.record(collective, at, key);
                }
            }
            Step::Revise(collective, ..) | Step::Delete(collective, _)
                if !self.has_rows(collective) => {}
            Step::Revise(collective, row, applications) => {
                let at = self.at(collective, row);
                let lsn = Lsn::new(self.lsn + 1);
                let place = Place::at(applications % 3, u64::from(applications) * 64);
                let values = Values {
                    applications,
                    traits_place: (place.segment > 0).then_some(place),
                    archived: applications.is_multiple_of(2),
                    vitals_lsn: lsn,
                    ..Row::example(lsn, 0).initial_values()
                };
                self.push(Mutation::Revise { at, values });
            }
            Step::Delete(collective, row) => {
                let at = self.at(collective, row);
                self.push(Mutation::Delete { at });
            }
            Step::DeleteMany(collective, first, count) => {
                let first = self.at(collective, first).row;
                let given = self.rows.iter().find(|(table, _)| *table == collective);
                let given = given.map_or(0, |(_, next)| *next);
                for row in first..first.saturating_add(count).min(given) {
                    let at = RowRef { collective, row };
                    self.push(Mutation::Delete { at });
                }
            }
        }
    }

    fn define(&mut self, collective: u32) {
        let definition = Arc::new(Collective {
            id: CollectiveId::from_u128(collective.into()),
            name: format!("since {}", self.lsn),
            owner_id: None,
            embedding_dimension: 4,
            decay: DecayConfig::default(),
            embedder: None,
            created_at: Timestamp::from_millis(0),
            vectors: Default::default(),
            precisions: Default::default(),
        });
        self.push(Mutation::Define {
            collective,
            definition,
        });
    }

    fn record(&mut self, collective: u32, at: u8, key: Option<u8>) {
        let rows = self.rows.iter_mut().find(|(table, _)| *table == collective);
        let (_, next) = rows.unwrap();
        let row = *next;
        *next += 1;
        let lsn = Lsn::new(self.lsn + 1);
        // Some rows share a key, as after a deletion: of them the youngest counts.
        let key = key
            .filter(|_| at < 3)
            .map(|key| format!("key {key}.{at}").into());
        self.push(Mutation::Record {
            at: RowRef { collective, row },
            row: Row {
                kind: (at != 7).then_some(ExperienceKind::Fact),
                keyed: Option::is_some(&key),
                place: Place::at(1, lsn.get() * 64),
                expires_at: (at == 5).then(|| Timestamp::from_millis(lsn.get() as i64)),
                ..Row::example(lsn, u128::from(lsn.get()) << 70 | 1)
            },
            agent: format!("agent {}", at % 5).into(),
            key,
            // As of a row that was recorded elsewhere first.
            first: (at == 9).then(|| {
                Box::new(Values {
                    others: 3,
                    ..Row::example(lsn, 0).initial_values()
                })
            }),
        });
    }

    fn activity(&mut self, collective: u32, agent: &str, lasts: bool) {
        let record = ActivityRecord {
            agent_id: agent.into(),
            current_task: Some(format!("since {}", self.lsn)),
            context_summary: None,
            started_at: Timestamp::from_millis(1),
            last_heartbeat: Timestamp::from_millis(2),
            unknown: UnknownFields::default(),
        };
        self.push(Mutation::Activity {
            collective,
            agent: agent.into(),
            activity: lasts.then(|| Arc::new(Live::new(record))),
        });
    }

    fn has_rows(&self, collective: u32) -> bool {
        let mut rows = self.rows.iter();
        rows.any(|(table, next)| *table == collective && *next > 0)
    }

    fn at(&self, collective: u32, row: u32) -> RowRef {
        let rows = self.rows.iter().find(|(table, _)| *table == collective);
        let count = rows.map_or(0, |(_, next)| *next);
        RowRef {
            collective,
            row: row % count.max(1),
        }
    }
}

fn apply(applier: &mut Applier, records: &[(Lsn, Mutation)], horizon: impl Fn(Lsn) -> Lsn) {
    for (lsn, mutation) in records {
        // As the sequencer does: a key in use is not given again.
        let mut mutation = mutation.clone();
        if let Mutation::Record { at, row, key, .. } = &mut mutation
            && let Some(text) = key.as_ref()
            && applier.keyed(at.collective, text).is_some()
        {
            *key = None;
            row.keyed = false;
        }
        applier.apply(*lsn, mutation, horizon(*lsn));
        applier.bury(horizon(*lsn));
    }
}

fn view_of(applier: &Applier, lsn: u64) -> View {
    View {
        cursor: Cursor {
            timeline: Timeline::FIRST,
            lsn: Lsn::new(lsn),
        },
        tables: Arc::clone(applier.tables()),
        ids: Arc::clone(applier.ids()),
        newest: applier.newest(),
        segments: Arc::new(SegmentSet::new(Vec::new())),
    }
}

/// Writes a checkpoint and reads it again.
fn checkpoint_of(view: &View, applier: &Applier) -> Arc<Checkpoint> {
    let vfs = SimVfs::new(1);
    vfs.create_dir_all(Path::new("/db")).unwrap();
    let file = vfs.open(Path::new("/db/one"), OpenMode::CreateNew).unwrap();
    let source = Source {
        view,
        keys: applier.keys(),
        instance_id: InstanceId::from_u128(1),
        damage: &[],
    };
    let covered = Covered {
        segment: 1,
        at: 0,
        lsn: Lsn::ZERO,
        end: 4096,
    };
    let mut silent = |_| ();
    let mut out = Out::new(Arc::clone(&file), &mut silent);
    let header = Writer::new(&source).write(covered, &mut out).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_exact_at(&mut bytes, 0).unwrap();
    bytes[..CHECKPOINT_HEADER_LEN].copy_from_slice(&header.encode());
    Arc::new(Checkpoint::parse(bytes.into()).unwrap())
}

/// What agents do as of `lsn`.
fn doing(table: &Table, lsn: Lsn) -> Vec<String> {
    let all = table.activities.all(lsn);
    all.iter()
        .map(|live| format!("{:?}", live.record()))
        .collect()
}

/// Everything that anybody can ask of the tables.
fn told(applier: &Applier, story: &[(Lsn, Mutation)]) -> Vec<String> {
    let mut told = vec![format!(
        "next collective {}",
        applier.tables().next_number()
    )];
    for table in applier.tables().iter() {
        let count = table.row_count();
        let definition = table.definition(NEWEST).map(|one| one.name.clone());
        told.push(format!("{}: {definition:?}, {count} rows", table.number));
        told.push(format!("chunks {:?}", table.chunks_there()));
        let mut upwards = Vec::new();
        table.for_each_from(0, NEWEST, |row| {
            upwards.push(format!("{} {:?}", row.number, (*row.row, row.values())));
            true
        });
        let mut downwards = Vec::new();
        table.for_each_below(count, NEWEST, |row| {
            downwards.push(format!("{} {:?}", row.number, (*row.row, row.values())));
            true
        });
        downwards.reverse();
        assert_eq!(upwards, downwards);
        let rows = table.rows(NEWEST);
        for number in (0..count + 20).step_by(3) {
            let alone = rows.visible(number).map(|row| (*row.row, row.values()));
            let row = table.row(number, NEWEST);
            assert_eq!(alone, row.map(|state| (state.row, state.values)));
            let needed = rows.is_needed(number, NEWEST);
            assert_eq!(needed, alone.is_some(), "row {number}");
            assert_eq!(needed, rows.needed(number, NEWEST).is_some());
        }
        for (lsn, _) in story.iter().step_by(5) {
            // Where rows are gone, a seek may end anywhere in the gap.
            let from = table.seek(Timestamp::from_millis(lsn.get() as i64), 0);
            let mut first = None;
            table.for_each_from(from, NEWEST, |row| {
                first = Some(row.number);
                false
            });
            told.push(format!("from {lsn} on: {first:?}"));
        }
        told.extend(upwards);
        told.extend(doing(table, NEWEST));
        // Who ended is not merely not shown, but forgotten.
        let mut agents: Vec<_> = table.activities.needed(Lsn::ZERO, NEWEST);
        agents.dedup_by(|a, b| a.0 == b.0);
        told.extend(agents.iter().map(|(agent, _)| format!("{agent} is known")));
        // Names of rows that only newer snapshots see may be known as well.
        let mut used = Vec::new();
        table.for_each_from(0, NEWEST, |row| {
            used.push(row.row.agent);
            true
        });
        for agent in 0..5 {
            let code = table.agents.code(&format!("agent {agent}"));
            let code = code.filter(|code| used.contains(code));
            told.push(format!("agent {agent}: {code:?}"));
        }
    }
    for (_, mutation) in story {
        let Mutation::Record { at, row, key, .. } = mutation else {
            continue;
        };
        let found = applier.ids().get(row.id).filter(|at| {
            let table = applier.tables().get(at.collective);
            table.is_some_and(|table| table.row(at.row, NEWEST).is_some())
        });
        told.push(format!("{} is {found:?}", { row.id }));
        if let Some(key) = key {
            told.push(format!("{key} is {:?}", applier.keyed(at.collective, key)));
        }
    }
    told
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn tables_over_a_checkpoint_are_those_that_never_saw_one(
        before in vec(step(), 1..25),
        after in vec(step(), 0..15),
        touched in vec(any::<u32>(), 0..4),
        keeps in any::<bool>(),
    ) {
        let mut story = Story::default();
        for step in [1, 2, 3].map(Step::Define).iter().chain(&before) {
            story.tell(step);
        }
        let (shown, first) = (story.lsn, story.records.len());
        for step in &after {
            story.tell(step);
        }
        let (before, after) = story.records.split_at(first);

        // An older snapshot is held in front of it, or none.
        let oldest = Lsn::new(shown / 2);
        let horizon = |lsn: Lsn| if keeps { oldest.min(lsn) } else { lsn };
        let mut writing = Applier::default();
        apply(&mut writing, before, horizon);
        let view = view_of(&writing, shown);
        let held = |_| horizon(Lsn::new(shown));
        apply(&mut writing, after, held);
        let checkpoint = checkpoint_of(&view, &writing);
        prop_assert!(checkpoint.header().horizon.get() <= shown);

        let mut reference = Applier::default();
        apply(&mut reference, before, horizon);
        let mut loaded = Applier::over(&checkpoint);
        for applier in [&mut reference, &mut loaded] {
            applier.bury(NEWEST);
        }
        // Chunks are made in any order.
        for row in &touched {
            for table in loaded.tables().iter() {
                let _ = table.row(row % table.row_count().max(1), NEWEST);
            }
        }
        prop_assert_eq!(told(&reference, before), told(&loaded, before));

        // A checkpoint of tables that nobody has touched says the same again.
        let untouched = Applier::over(&checkpoint);
        let again = checkpoint_of(&view_of(&untouched, shown), &untouched);
        let mut twice = Applier::over(&again);
        twice.bury(NEWEST);
        prop_assert_eq!(told(&loaded, before), told(&twice, before));

        for applier in [&mut reference, &mut loaded, &mut twice] {
            apply(applier, after, |lsn| lsn);
        }
        let expected = told(&reference, &story.records);
        prop_assert_eq!(&expected, &told(&loaded, &story.records));
        prop_assert_eq!(&expected, &told(&twice, &story.records));
    }

    /// What an older snapshot saw from the horizon on is still there.
    #[test]
    fn snapshots_from_the_horizon_on_see_what_they_saw(steps in vec(step(), 1..25), at in 0.0..1.0_f64) {
        let mut story = Story::default();
        for step in [1, 2].map(Step::Define).iter().chain(&steps) {
            story.tell(step);
        }
        let oldest = Lsn::new(1 + (at * story.lsn as f64) as u64).min(Lsn::new(story.lsn));
        let mut writing = Applier::default();
        apply(&mut writing, &story.records, |lsn| oldest.min(lsn));
        let checkpoint = checkpoint_of(&view_of(&writing, story.lsn), &writing);
        let from = checkpoint.header().horizon;
        let loaded = Applier::over(&checkpoint);
        for lsn in (from.get()..=story.lsn).step_by(7).map(Lsn::new) {
            for table in loaded.tables().iter() {
                let known = writing.tables().get(table.number).unwrap();
                let rows = |table: &Table| {
                    let mut rows = Vec::new();
                    table.for_each_from(0, lsn, |row| {
                        rows.push((row.number, *row.row, row.values()));
                        true
                    });
                    (rows, table.definition(lsn), doing(table, lsn))
                };
                prop_assert_eq!(rows(known), rows(table), "at {}", lsn);
            }
        }
    }
}
