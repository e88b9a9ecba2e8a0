//! How does a durable record change the tables?
//!
//! One [`Mutation`] per record, whether it was just committed or is being replayed: both worlds go
//! through [`Applier::apply`], so that an open rebuilds exactly what the writer had. Applying cannot
//! fail: everything that could be refused was refused before the record was written.

use std::collections::VecDeque;

use crate::{
    format::{Checkpoint, FrameHeader},
    model::{Collective, Lsn},
    state::{
        chunk::Row,
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
    /// An experience is new.
    Record {
        /// Where it stands.
        at: RowRef,
        /// The row; its agent code is filled in here.
        row: Row,
        /// The agent's name.
        agent: Arc<str>,
        /// Its idempotency key.
        key: Option<Arc<str>>,
    },
    /// An experience has new values.
    Revise {
        /// Where it stands.
        at: RowRef,
        /// All values from now on.
        values: Values,
    },
    /// An experience is gone.
    Delete {
        /// Where it stood.
        at: RowRef,
    },
    /// A record that changes no table.
    Nothing,
}

enum Grave {
    Row(RowRef),
    Collective(Arc<Table>),
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
        for collective in &base.directory().collectives {
            if let Some(table) = Table::over(base, collective) {
                tables.insert(Arc::new(table));
            }
        }
        let mut graves: Vec<_> = base.graves().collect();
        graves.sort_unstable_by_key(|grave| grave.deleted_at);
        Self {
            tables: Arc::new(tables),
            ids: Arc::new(IdIndex::over(Arc::clone(base))),
            keys: Arc::new(KeyIndex::over(Arc::clone(base))),
            newest: Newest {
                time: header.last_time,
                id: header.last_id,
            },
            graves: graves
                .into_iter()
                .map(|grave| {
                    let at = RowRef {
                        collective: grave.collective,
                        row: grave.row,
                    };
                    (grave.deleted_at, Grave::Row(at))
                })
                .collect(),
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
        for (deleted_at, grave) in &self.graves {
            if let Grave::Collective(table) = grave
                && *deleted_at > lsn
            {
                Arc::make_mut(&mut tables).insert(Arc::clone(table));
            }
        }
        let unborn: Vec<u32> = tables
            .iter()
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
        self.newest.id = self.newest.id.max(header.entity);
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
        if !matches!(mutation, Mutation::Record { .. } | Mutation::Nothing) {
            self.deaths.fetch_add(1, Ordering::Relaxed);
        }
        match mutation {
            Mutation::Define {
                collective,
                definition,
            } => self.define(lsn, collective, definition, horizon),
            Mutation::DeleteCollective { collective } => {
                if let Some(table) = Arc::make_mut(&mut self.tables).remove(collective, lsn) {
                    let rows = u64::from(table.row_count());
                    self.deaths.fetch_add(rows, Ordering::Relaxed);
                    self.graves.push_back((lsn, Grave::Collective(table)));
                }
            }
            Mutation::Record {
                at,
                row,
                agent,
                key,
            } => self.record(at, row, &agent, key, horizon),
            Mutation::Revise { at, values } => {
                if let Some(table) = self.tables.get(at.collective) {
                    table.note_horizon(horizon);
                    table.note_change(lsn);
                    table.revise(at.row, lsn, values, horizon);
                }
            }
            Mutation::Delete { at } => {
                if let Some(table) = self.tables.get(at.collective) {
                    table.note_horizon(horizon);
                    table.note_change(lsn);
                    // Also where compaction has left nothing but the tombstone: a number is given once.
                    table.note_row(at.row);
                    if table.delete(at.row, lsn) {
                        self.graves.push_back((lsn, Grave::Row(at)));
                    }
                }
            }
            Mutation::Nothing => {}
        }
    }

    fn define(&mut self, lsn: Lsn, collective: u32, definition: Arc<Collective>, horizon: Lsn) {
        if self.tables.get(collective).is_none() {
            let table = Table::new(collective, &definition);
            Arc::make_mut(&mut self.tables).insert(Arc::new(table));
        }
        if let Some(table) = self.tables.get(collective) {
            table.note_change(lsn);
            table.define(lsn, definition, horizon);
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
        let Some(table) = self.tables.get(at.collective) else {
            return;
        };
        table.note_horizon(horizon);
        table.note_change(row.lsn);
        row.agent = table.agents.intern(agent);
        table.fill(at.row, row);
        self.ids.insert(row.id, at, row.place);
        if let Some(key) = key {
            self.keys.insert(at, key);
        }
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
                Some((_, Grave::Collective(table))) => {
                    let number = table.number;
                    self.keys.remove_collective(number);
                    self.purges.push(number);
                }
                None => {}
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
        table.forget(at.row, lsn);
    }

    /// Collectives whose ids can now leave the index: too long a walk for the committer.
    pub fn take_purges(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.purges)
    }
}
