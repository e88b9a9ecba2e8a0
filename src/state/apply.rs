//! How does a durable record change the tables?
//!
//! One [`Mutation`] per record, whether it was just committed or is being replayed: both worlds go
//! through [`Applier::apply`], so that an open rebuilds exactly what the writer had. Applying cannot
//! fail: everything that could be refused was refused before the record was written.

use std::collections::VecDeque;

use crate::{
    format::{Checkpoint, FrameHeader, RowKind, collective_of},
    log::Place,
    model::{Collective, Lsn, RelationType},
    state::{
        activities::Live,
        adjacency::Edge,
        chunk::Row,
        embeddings::Placed,
        ids::{IdIndex, RowRef},
        keys::KeyIndex,
        snapshot::{Newest, Tables},
        table::Table,
        values::Values,
    },
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
};

/// What one record changes.
#[derive(Clone, Debug)]
pub enum Mutation {
    /// A collective is new or has a new definition.
    Define {
        /// Its number.
        collective: u32,
        /// The definition from now on.
        definition: Arc<Collective>,
    },
    /// A collective is gone, with all that is in it.
    DeleteCollective {
        /// Its number.
        collective: u32,
    },
    /// An experience or an insight is new.
    Record {
        /// Where it stands.
        at: RowRef,
        /// The row; its agent code is filled in here.
        row: Row,
        /// The agent's name.
        agent: Arc<str>,
        /// Its idempotency key.
        key: Option<Arc<str>>,
        /// Its first values, where the columns of the row do not say them all.
        first: Option<Box<Values>>,
    },
    /// A relation is new.
    Relate {
        /// Where it stands.
        at: RowRef,
        /// The row.
        row: Row,
        /// Row of the experience where it starts.
        source: u32,
        /// Row of the experience that it leads to.
        target: u32,
        /// What it says.
        relation_type: RelationType,
        /// Whether its record says more than that.
        has_metadata: bool,
    },
    /// An experience has new values.
    Revise {
        /// Where it stands.
        at: RowRef,
        /// All values from now on.
        values: Values,
    },
    /// An experience, with its relations, or a relation or an insight is gone.
    Delete {
        /// Where it stood.
        at: RowRef,
    },
    /// A row has another vector.
    Embed {
        /// Where it stands.
        at: RowRef,
        /// The re-embedding that made it.
        epoch: Lsn,
        /// Where its record is.
        place: Place,
        /// 1 / ‖vector‖.
        inverse_norm: f32,
    },
    /// A record that changes no table.
    Nothing,
    /// An agent does something else, or nothing any more.
    Activity {
        /// Number of the collective.
        collective: u32,
        /// The agent.
        agent: Arc<str>,
        /// What it does from now on.
        activity: Option<Arc<Live>>,
    },
}

/// The time of a UUIDv7, in milliseconds, stands above its lowest bits, so many.
const ID_TIME_SHIFT: u32 = 80;

enum Grave {
    Row(RowRef),
    Collective(Arc<Table>),
    /// The table of a collective that goes by other vectors since.
    Vectors(Arc<Table>),
    Activity {
        collective: u32,
        agent: Arc<str>,
    },
}

/// The collective in which a record changes what transactions read. One that is made or deleted tells
/// by itself.
const fn changed_collective(mutation: &Mutation) -> Option<u32> {
    match mutation {
        Mutation::Define { collective, .. } => Some(*collective),
        Mutation::Record { at, .. }
        | Mutation::Relate { at, .. }
        | Mutation::Revise { at, .. }
        | Mutation::Delete { at } => Some(collective_of(at.collective)),
        // What reads go by changes with the definition that ends a re-embedding.
        Mutation::Embed { .. }
        | Mutation::DeleteCollective { .. }
        | Mutation::Activity { .. }
        | Mutation::Nothing => None,
    }
}

/// The committer's side of the tables.
#[derive(Default)]
pub struct Applier {
    tables: Arc<Tables>,
    ids: Arc<IdIndex>,
    keys: Arc<KeyIndex>,
    newest: Newest,
    /// What is deleted but may still be seen by an older snapshot, oldest first.
    graves: VecDeque<(Lsn, Grave)>,
    purges: Vec<u32>,
    /// Records so far that made others useless.
    deaths: Arc<AtomicU64>,
}

impl Applier {
    /// The tables as a checkpoint has them.
    #[must_use]
    pub fn over(base: &Arc<Checkpoint>) -> Self {
        let header = base.header();
        let mut tables = Tables::after(header.horizon, header.next_collective);
        for stored in &base.directory().collectives {
            match RowKind::of(stored.number) {
                Some((_, RowKind::Experience)) => {
                    if let Some(table) = Table::over(base, stored) {
                        tables.insert(Arc::new(table));
                    }
                }
                // Behind the experiences of its collective: the directory is sorted by number.
                Some((collective, kind)) => {
                    if let Some(table) = tables.get(collective) {
                        table.add_over(base, kind, stored);
                    }
                }
                None => {}
            }
        }
        let rows = base.graves().map(|grave| {
            let at = RowRef {
                collective: grave.collective,
                row: grave.row,
            };
            (grave.deleted_at, Grave::Row(at))
        });
        let mut graves: Vec<_> = rows.chain(ended_activities(base)).collect();
        graves.sort_by_key(|(lsn, _)| *lsn);
        Self {
            tables: Arc::new(tables),
            ids: Arc::new(IdIndex::over(Arc::clone(base))),
            keys: Arc::new(KeyIndex::over(Arc::clone(base))),
            newest: Newest {
                time: header.last_time,
                id: header.last_id,
            },
            graves: graves.into(),
            purges: Vec::new(),
            deaths: Arc::default(),
        }
    }

    /// The collectives after everything applied so far.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The index of ids.
    pub fn ids(&self) -> &Arc<IdIndex> {
        &self.ids
    }

    /// The collectives that were there at `lsn`, which nothing was buried above.
    pub fn tables_at(&self, lsn: Lsn) -> Arc<Tables> {
        let mut tables = Arc::clone(&self.tables);
        // The newest first: of several tables of a collective the oldest is the one that was there.
        for (deleted_at, grave) in self.graves.iter().rev() {
            if let Grave::Collective(table) | Grave::Vectors(table) = grave
                && *deleted_at > lsn
            {
                Arc::make_mut(&mut tables).insert(Arc::clone(table));
            }
        }
        let unborn: Vec<u32> = tables
            .collectives()
            .filter(|table| table.definition(lsn).is_none())
            .map(|table| table.number)
            .collect();
        for number in unborn {
            Arc::make_mut(&mut tables).remove(number, Lsn::ZERO);
        }
        tables
    }

    /// Counts the records that made others useless: superseding ones and tombstones.
    pub fn deaths(&self) -> &Arc<AtomicU64> {
        &self.deaths
    }

    /// The index of idempotency keys.
    pub fn keys(&self) -> &Arc<KeyIndex> {
        &self.keys
    }

    /// Time and id that no later record may be below.
    pub fn newest(&self) -> Newest {
        self.newest
    }

    /// Notes time and id of a record; [`Applier::apply`] is told what it changes.
    pub fn note(&mut self, header: &FrameHeader) {
        self.newest.time = self.newest.time.max(header.time);
        // An id made elsewhere may be anything: ids of our own go on behind those of their time.
        if (header.entity >> ID_TIME_SHIFT) as i64 <= header.time.as_millis() {
            self.newest.id = self.newest.id.max(header.entity);
        }
    }

    /// The living row that has this idempotency key.
    pub fn keyed(&self, collective: u32, key: &Arc<str>) -> Option<RowRef> {
        let at = self.keys.get(collective, key)?;
        let table = self.tables.get(collective)?;
        let alive = table.with_slot(at.row, |slot| slot.row().is_some() && !slot.deleted())?;
        alive.then_some(at)
    }

    /// Brings the tables up to date with the record `lsn`. Versions that no snapshot at or above
    /// `horizon` can see are dropped.
    pub fn apply(&mut self, lsn: Lsn, mutation: Mutation, horizon: Lsn) {
        let replaces = !matches!(
            mutation,
            Mutation::Record { .. }
                | Mutation::Relate { .. }
                | Mutation::Activity { .. }
                | Mutation::Embed { .. }
                | Mutation::Nothing
        );
        if let Some(number) = changed_collective(&mutation)
            && let Some(table) = self.tables.get(number)
        {
            table.note_change(lsn);
        }
        if replaces {
            self.deaths.fetch_add(1, Ordering::Relaxed);
        }
        match mutation {
            Mutation::Define {
                collective,
                definition,
            } => self.define(lsn, collective, definition, horizon),
            Mutation::DeleteCollective { collective } => {
                if let Some(table) = Arc::make_mut(&mut self.tables).remove(collective, lsn) {
                    let rows = table
                        .with_others()
                        .map(|table| u64::from(table.row_count()));
                    self.deaths.fetch_add(rows.sum(), Ordering::Relaxed);
                    self.graves.push_back((lsn, Grave::Collective(table)));
                }
            }
            Mutation::Record {
                at,
                row,
                agent,
                key,
                first,
            } => {
                self.record(at, row, &agent, key, horizon);
                if let (Some(values), Some(table)) = (first, self.tables.get(at.collective)) {
                    table.revise(at.row, lsn, *values, horizon);
                }
            }
            Mutation::Relate {
                at,
                row,
                source,
                target,
                relation_type,
                has_metadata,
            } => {
                let says = (relation_type, has_metadata);
                self.relate(at, row, (source, target), says, horizon);
            }
            Mutation::Revise { at, values } => {
                if let Some(table) = self.tables.get(at.collective) {
                    table.note_horizon(horizon);
                    table.revise(at.row, lsn, values, horizon);
                }
            }
            Mutation::Delete { at } => self.delete(at, lsn, horizon),
            Mutation::Embed {
                at,
                epoch,
                place,
                inverse_norm,
            } => {
                if let Some(table) = self.tables.get(at.collective) {
                    let placed = Placed::new(lsn, place, inverse_norm, true);
                    table.embed(at.row, epoch, placed);
                }
            }
            Mutation::Nothing => {}
            Mutation::Activity {
                collective,
                agent,
                activity,
            } => self.activity(lsn, collective, agent, activity, horizon),
        }
    }

    fn define(&mut self, lsn: Lsn, collective: u32, definition: Arc<Collective>, horizon: Lsn) {
        if self.tables.get(collective).is_none() {
            let table = Table::new(collective, &definition);
            Arc::make_mut(&mut self.tables).insert(Arc::new(table));
        }
        let Some(table) = self.tables.get(collective).map(Arc::clone) else {
            return;
        };
        let vectors = definition.vectors.clone();
        let after = (vectors.epoch != table.epoch).then(|| table.reembedded(&definition));
        table.define(lsn, definition, horizon);
        match after {
            Some(after) => {
                // All former vectors are of no use.
                let rows = u64::from(table.row_count());
                self.deaths.fetch_add(rows, Ordering::Relaxed);
                Arc::make_mut(&mut self.tables).replace(Arc::new(after), lsn);
                self.graves.push_back((lsn, Grave::Vectors(table)));
            }
            None => table.keep_next(&vectors),
        }
    }

    fn activity(
        &mut self,
        lsn: Lsn,
        collective: u32,
        agent: Arc<str>,
        activity: Option<Arc<Live>>,
        horizon: Lsn,
    ) {
        let Some(table) = self.tables.get(collective) else {
            return;
        };
        table.note_horizon(horizon);
        let ended = activity.is_none();
        if table.activities.put(lsn, &agent, activity, horizon) {
            self.deaths.fetch_add(1, Ordering::Relaxed);
            if ended {
                let grave = Grave::Activity { collective, agent };
                self.graves.push_back((lsn, grave));
            }
        }
    }

    fn record(
        &mut self,
        at: RowRef,
        mut row: Row,
        agent: &str,
        key: Option<Arc<str>>,
        horizon: Lsn,
    ) {
        let Some(table) = self.table_for(at) else {
            return;
        };
        table.note_horizon(horizon);
        row.agent = table.agents.intern(agent);
        table.fill(at.row, row);
        self.ids.insert(row.id, at, row.place);
        if let Some(key) = key {
            self.keys.insert(at, key);
        }
    }

    /// The table of a new row.
    fn table_for(&self, at: RowRef) -> Option<&Arc<Table>> {
        let (collective, kind) = RowKind::of(at.collective)?;
        Some(self.tables.get(collective)?.made_of_kind(kind))
    }

    fn relate(
        &self,
        at: RowRef,
        row: Row,
        (source, target): (u32, u32),
        (relation_type, has_metadata): (RelationType, bool),
        horizon: Lsn,
    ) {
        let experiences = self.tables.get(collective_of(at.collective));
        let (Some(experiences), Some(relations)) = (experiences, self.table_for(at)) else {
            return;
        };
        relations.note_horizon(horizon);
        let there =
            |end| experiences.with_slot(end, |slot| slot.row().is_some() && !slot.deleted());
        if there(source) != Some(true) || there(target) != Some(true) {
            // Only where an open replays what compaction has left: an end is gone, and the relation with it.
            relations.note_row(at.row);
            return;
        }
        relations.fill(at.row, row);
        self.ids.insert(row.id, at, row.place);
        let is_needed = |relation| {
            let gone = relations.with_slot(relation, |slot| slot.gone(horizon));
            gone == Some(false)
        };
        let edge = |other, outgoing| Edge {
            relation: at.row,
            other,
            outgoing,
            relation_type,
            strength: row.importance,
            has_metadata,
        };
        let adjacency = &experiences.adjacency;
        adjacency.insert(source, edge(target, true), is_needed);
        adjacency.insert(target, edge(source, false), is_needed);
    }

    /// Marks a row as deleted, and with an experience its relations.
    fn delete(&mut self, at: RowRef, lsn: Lsn, horizon: Lsn) {
        let Some(table) = self.table_for(at) else {
            return;
        };
        table.note_horizon(horizon);
        // Also where compaction has left nothing but the tombstone: a number is given once.
        table.note_row(at.row);
        if !table.delete(at.row, lsn) {
            return;
        }
        let mut dead = vec![at];
        if let Some(relations) = table.of_kind(RowKind::Relation) {
            relations.note_horizon(horizon);
            for edge in table.adjacency.edges(at.row) {
                if relations.delete(edge.relation, lsn) {
                    dead.push(RowRef {
                        collective: relations.number,
                        row: edge.relation,
                    });
                }
            }
        }
        let graves = dead.into_iter().map(|at| (lsn, Grave::Row(at)));
        self.graves.extend(graves);
    }

    /// Ends a replay: what the log does not know any more takes no memory.
    pub fn replayed(&mut self) {
        for table in self.tables.iter() {
            table.forget_missing();
        }
    }

    /// Lets go of what no snapshot at or above `horizon` can see.
    pub fn bury(&mut self, horizon: Lsn) {
        while let Some((lsn, _)) = self.graves.front()
            && *lsn <= horizon
        {
            match self.graves.pop_front() {
                Some((lsn, Grave::Row(at))) => self.forget(at, lsn),
                Some((lsn, Grave::Activity { collective, agent })) => {
                    if let Some(table) = self.tables.get(collective) {
                        table.forget_activity(&agent, lsn);
                    }
                }
                Some((_, Grave::Vectors(_))) | None => {}
                Some((_, Grave::Collective(table))) => {
                    let number = table.number;
                    self.keys.remove_collective(number);
                    self.purges.push(number);
                }
            }
        }
    }

    fn forget(&mut self, at: RowRef, lsn: Lsn) {
        let Some(table) = self.tables.get(at.collective) else {
            return;
        };
        if let Some(Some(row)) = table.with_slot(at.row, |slot| slot.row().copied()) {
            self.ids.remove(row.id, at);
            if row.keyed {
                self.keys.remove(at);
            }
        }
        table.adjacency.forget(at.row);
        table.forget(at.row, lsn);
    }

    /// Collectives whose ids can now leave the index: too long a walk for the committer.
    pub fn take_purges(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.purges)
    }
}

/// The activities that a checkpoint knows to be over, since snapshots before their end may still be asked
/// for.
fn ended_activities(base: &Checkpoint) -> impl Iterator<Item = (Lsn, Grave)> {
    let collectives = base.directory().collectives.iter();
    collectives.flat_map(|collective| {
        let ended = collective
            .activities
            .iter()
            .filter(|one| one.record.is_none());
        ended.map(|one| {
            let grave = Grave::Activity {
                collective: collective.number,
                agent: one.agent_id.as_str().into(),
            };
            (one.lsn, grave)
        })
    })
}
