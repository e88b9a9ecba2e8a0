//! Is there an order of the committed transactions that explains what each of them saw?
//!
//! Transactions run interleaved, read and write a few registers and count lists of experiences, relations and
//! insights, and note which version they saw of what. Afterwards the graph of who must come before whom (Adya: "Weak Consistency",
//! 1999) must have no cycle: then any order along its edges explains everything.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::join_all;
use pulsedb::{
    CollectiveId, ExperienceId, NewRelation, Page, PulseDB, PulseDBError, RelationDirection,
    RelationFilter, RelationType, SearchFilter, Transaction,
};

use super::graph::insight;
use crate::support::{World, new, run};

const REGISTERS: usize = 5;
/// Transactions open at a time.
const OPEN: usize = 5;
/// One of experiences, one of relations, one of insights.
const LISTS: usize = 3;

/// SplitMix64.
struct Chance(u64);

impl Chance {
    fn below(&mut self, bound: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((mixed ^ (mixed >> 31)) % bound.max(1) as u64) as usize
    }
}

/// Numbers of transactions; 0 has made what was there at first.
type Number = u64;

/// What a transaction saw and did.
#[derive(Default)]
struct Trace {
    /// By register: whose version it saw first.
    read: BTreeMap<usize, Number>,
    written: BTreeSet<usize>,
    /// By list: who has added what it saw there, if it looked.
    listed: [Option<BTreeSet<Number>>; LISTS],
    added: [bool; LISTS],
}

struct Open {
    number: Number,
    tx: Transaction,
    trace: Trace,
}

struct Game {
    db: PulseDB,
    registers: Vec<ExperienceId>,
    lists: [CollectiveId; LISTS],
    /// What the relations of a list lead to, and its insights were derived from.
    hubs: [ExperienceId; LISTS],
}

impl Game {
    async fn new(world: &World) -> Self {
        let db = world.open().await;
        let team = db.create_collective("registers").await.unwrap();
        let mut lists = [team; LISTS];
        for list in &mut lists {
            *list = db.create_collective("list").await.unwrap();
        }
        let mut hubs = Vec::new();
        for list in &lists[1..] {
            hubs.push(db.record_experience(new(*list, "hub")).await.unwrap());
        }
        let batch = (0..REGISTERS).map(|n| new(team, format!("{n}")));
        let registers = db.record_experiences(batch.collect()).await.unwrap();
        Self {
            db,
            hubs: [registers[0], hubs[0], hubs[1]],
            registers,
            lists,
        }
    }

    /// The writer of the version that a transaction sees.
    async fn read(&self, open: &mut Open, register: usize) {
        let seen = open.tx.get_experience(self.registers[register]).await;
        let writer = seen.unwrap().tags.get("writer").map(|n| n.parse().unwrap());
        let writer: Number = writer.unwrap_or(0);
        if open.trace.written.contains(&register) {
            assert_eq!(writer, open.number);
        } else {
            let first = *open.trace.read.entry(register).or_insert(writer);
            assert_eq!(first, writer, "it saw two states");
        }
    }

    async fn write(&self, open: &mut Open, register: usize) {
        self.read(open, register).await;
        let (id, writer) = (self.registers[register], open.number.to_string());
        open.tx.set_tag(id, "writer", &writer).await.unwrap();
        open.trace.written.insert(register);
    }

    async fn look(&self, open: &mut Open, list: usize, way: usize) {
        let (tx, id, hub) = (&mut open.tx, self.lists[list], self.hubs[list]);
        let page = Page {
            limit: 1000,
            ..Page::default()
        };
        let items: Vec<String> = match (list, way) {
            (0, 0) => {
                let filter = SearchFilter::default();
                let found = tx.get_recent_experiences_filtered(id, 1000, filter).await;
                found.unwrap().into_iter().map(|one| one.content).collect()
            }
            (0, _) => {
                let found = tx.list_experiences(id, page).await.unwrap().items;
                found.into_iter().map(|one| one.content).collect()
            }
            (1, 0) => {
                let found = tx.list_relations(id, page).await.unwrap().items;
                found.into_iter().filter_map(|one| one.metadata).collect()
            }
            (1, 1) => {
                let found = tx.get_relations(hub, RelationFilter::default()).await;
                let found = found.unwrap().into_iter();
                found.filter_map(|one| one.metadata).collect()
            }
            (1, _) => {
                let found = tx.get_related_experiences(hub, RelationDirection::Incoming);
                let found = found.await.unwrap().into_iter();
                found.map(|one| one.experience.content).collect()
            }
            (_, 0) => {
                let found = tx.list_insights(id, page).await.unwrap().items;
                found.into_iter().map(|one| one.content).collect()
            }
            _ => {
                let found = tx.get_insights(id, &super::VECTOR, 1000).await.unwrap();
                found.into_iter().map(|one| one.insight.content).collect()
            }
        };
        let mut seen: BTreeSet<Number> = items.iter().map(|one| one.parse().unwrap()).collect();
        assert_eq!(seen.remove(&open.number), open.trace.added[list]);
        let first = open.trace.listed[list].get_or_insert_with(|| seen.clone());
        assert_eq!(*first, seen, "it saw two states");
    }

    async fn add(&self, open: &mut Open, list: usize) {
        let (tx, id, hub) = (&mut open.tx, self.lists[list], self.hubs[list]);
        let number = open.number.to_string();
        match list {
            0 => drop(tx.record_experience(new(id, number)).await.unwrap()),
            1 => {
                let own = new(id, number.clone());
                let own = tx.record_experience(own).await.unwrap();
                let relation = NewRelation {
                    metadata: Some(number),
                    ..NewRelation::new(own, hub, RelationType::Supports)
                };
                tx.store_relation(relation).await.unwrap();
            }
            _ => drop(
                tx.store_insight(insight(id, &number, &[hub]))
                    .await
                    .unwrap(),
            ),
        }
        open.trace.added[list] = true;
    }

    async fn step(&self, open: &mut Open, chance: &mut Chance) {
        let register = chance.below(REGISTERS);
        match chance.below(10) {
            0..5 => self.read(open, register).await,
            5..8 => self.write(open, register).await,
            8 => self.look(open, chance.below(LISTS), chance.below(3)).await,
            _ => {
                let list = chance.below(LISTS);
                if !open.trace.added[list] {
                    self.add(open, list).await;
                }
            }
        }
    }
}

/// Who must come before whom.
fn edges(committed: &BTreeMap<Number, Trace>) -> BTreeMap<Number, BTreeSet<Number>> {
    let mut edges: BTreeMap<Number, BTreeSet<Number>> = BTreeMap::new();
    let mut edge = |before: Number, after: Number| {
        if before != after {
            edges.entry(before).or_default().insert(after);
        }
    };
    // Whoever writes has seen whose version it replaces; each is replaced once.
    let mut next: BTreeMap<(usize, Number), Number> = BTreeMap::new();
    for (number, trace) in committed {
        for register in &trace.written {
            let replaced = (*register, trace.read[register]);
            let other = next.insert(replaced, *number);
            assert_eq!(other, None, "a lost update of {replaced:?} by {number}");
        }
    }
    for (number, trace) in committed {
        for (register, writer) in &trace.read {
            edge(*writer, *number);
            if let Some(next) = next.get(&(*register, *writer)) {
                edge(*number, *next);
            }
        }
        for (list, listed) in trace.listed.iter().enumerate() {
            let Some(listed) = listed else { continue };
            for (other, _) in committed.iter().filter(|(_, other)| other.added[list]) {
                if listed.contains(other) {
                    edge(*other, *number);
                } else {
                    edge(*number, *other);
                }
            }
        }
    }
    edges
}

/// Takes away whoever nobody must precede, until nobody is left or a cycle is.
fn cycle(mut edges: BTreeMap<Number, BTreeSet<Number>>) -> Vec<Number> {
    loop {
        let preceded: BTreeSet<Number> = edges.values().flatten().copied().collect();
        let before = edges.len();
        edges.retain(|number, _| preceded.contains(number));
        if edges.len() == before {
            return edges.into_keys().collect();
        }
    }
}

async fn play(seed: u64) -> (usize, usize) {
    let world = World::new();
    let game = Game::new(&world).await;
    let mut chance = Chance(seed);
    let mut committed = BTreeMap::from([(0, Trace::default())]);
    let mut conflicts = 0;
    let mut open: Vec<Open> = Vec::new();
    for number in 1..=150 {
        while open.len() >= OPEN {
            for _ in 0..1 + chance.below(8) {
                let which = chance.below(open.len());
                game.step(&mut open[which], &mut chance).await;
            }
            // One, or several in one group.
            let mut ending = Vec::new();
            for _ in 0..[1, 1, 3][chance.below(3)] {
                ending.push(open.remove(chance.below(open.len())));
            }
            let answers = ending.into_iter().map(|one| async move {
                let (number, trace) = (one.number, one.trace);
                (number, trace, one.tx.commit().await)
            });
            for (number, trace, answer) in join_all(answers).await {
                match answer {
                    Ok(()) => drop(committed.insert(number, trace)),
                    Err(PulseDBError::Conflict { .. }) => conflicts += 1,
                    Err(other) => panic!("{other}"),
                }
            }
        }
        open.push(Open {
            number,
            tx: game.db.begin().await.unwrap(),
            trace: Trace::default(),
        });
    }
    drop(open);
    let cycle = cycle(edges(&committed));
    assert_eq!(cycle, [0; 0], "no order explains these, seed {seed}");
    game.db.close().await.unwrap();
    (committed.len(), conflicts)
}

#[test]
fn some_order_explains_what_everybody_saw() {
    run(async {
        let (mut committed, mut conflicts) = (0, 0);
        for seed in 0..12 {
            let (some, others) = play(seed).await;
            committed += some;
            conflicts += others;
        }
        // Neither is everything refused nor nothing.
        assert!(
            committed > 400 && conflicts > 200,
            "{committed} {conflicts}"
        );
    });
}

#[test]
fn a_cycle_is_found() {
    let skewed = |read, written| Trace {
        read: BTreeMap::from([(read, 0), (written, 0)]),
        written: BTreeSet::from([written]),
        ..Trace::default()
    };
    let committed = BTreeMap::from([(0, Trace::default()), (1, skewed(0, 1)), (2, skewed(1, 0))]);
    assert_eq!(cycle(edges(&committed)), [1, 2]);
    let phantom = |listed| Trace {
        listed: [Some(listed), None, None],
        added: [true, false, false],
        ..Trace::default()
    };
    let both = BTreeMap::from([(1, phantom(BTreeSet::new())), (2, phantom(BTreeSet::new()))]);
    assert_eq!(cycle(edges(&both)), [1, 2]);
    let ordered = BTreeMap::from([
        (1, phantom(BTreeSet::new())),
        (2, phantom(BTreeSet::from([1]))),
    ]);
    assert_eq!(cycle(edges(&ordered)), [0; 0]);
}
