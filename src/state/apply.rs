//! How does a durable record change the tables?
//!
//! One [`Mutation`] per record, whether it was just committed or is being replayed: both worlds go
//! through [`Applier::apply`], so that an open rebuilds exactly what the writer had. Applying cannot
//! fail: everything that could be refused was refused before the record was written.

use std::collections::{HashMap, VecDeque};

use crate::{
    model::{Collective, Lsn},
    state::{
        chunk::Row,
        ids::{IdIndex, RowRef},
        snapshot::Tables,
        table::Table,
        values::Values,
    },
    sync::Arc,
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
    Collective(u32),
}

/// The committer's side of the tables.
#[derive(Default)]
pub struct Applier {
    tables: Arc<Tables>,
    ids: Arc<IdIndex>,
    keys: HashMap<(u32, Arc<str>), RowRef>,
    key_of: HashMap<RowRef, Arc<str>>,
    next_collective: u32,
    /// What is deleted but may still be seen by an older snapshot, oldest first.
    graves: VecDeque<(Lsn, Grave)>,
    purges: Vec<u32>,
}

impl Applier {
    /// The collectives after everything applied so far.
    pub fn tables(&self) -> &Arc<Tables> {
        &self.tables
    }

    /// The index of ids.
    pub fn ids(&self) -> &Arc<IdIndex> {
        &self.ids
    }

    /// The number that the next collective gets. Numbers are never reused.
    pub fn next_collective(&self) -> u32 {
        self.next_collective.max(1)
    }

    /// The living row that has this idempotency key.
    pub fn keyed(&self, collective: u32, key: &Arc<str>) -> Option<RowRef> {
        let at = *self.keys.get(&(collective, Arc::clone(key)))?;
        let table = self.tables.get(collective)?;
        let alive = table.with_slot(at.row, |slot| !slot.deleted())?;
        alive.then_some(at)
    }

    /// Brings the tables up to date with the record `lsn`. Versions that no snapshot at or above
    /// `horizon` can see are dropped.
    pub fn apply(&mut self, lsn: Lsn, mutation: Mutation, horizon: Lsn) {
        match mutation {
            Mutation::Define {
                collective,
                definition,
            } => self.define(lsn, collective, definition, horizon),
            Mutation::DeleteCollective { collective } => {
                Arc::make_mut(&mut self.tables).remove(collective);
                self.graves.push_back((lsn, Grave::Collective(collective)));
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
                    table.revise(at.row, lsn, values, horizon);
                }
            }
            Mutation::Delete { at } => {
                if let Some(table) = self.tables.get(at.collective) {
                    table.note_horizon(horizon);
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
            self.next_collective = self.next_collective.max(collective.saturating_add(1));
        }
        if let Some(table) = self.tables.get(collective) {
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
        row.agent = table.agents.intern(agent);
        table.fill(at.row, row);
        self.ids.insert(row.id, at, row.place);
        if let Some(key) = key {
            self.keys.insert((at.collective, Arc::clone(&key)), at);
            self.key_of.insert(at, key);
        }
    }

    /// Lets go of what no snapshot at or above `horizon` can see.
    pub fn bury(&mut self, horizon: Lsn) {
        while let Some((lsn, _)) = self.graves.front()
            && *lsn <= horizon
        {
            match self.graves.pop_front() {
                Some((lsn, Grave::Row(at))) => self.forget(at, lsn),
                Some((_, Grave::Collective(number))) => {
                    self.keys.retain(|(collective, _), _| *collective != number);
                    self.key_of.retain(|at, _| at.collective != number);
                    self.purges.push(number);
                }
                None => {}
            }
        }
    }

    fn forget(&mut self, at: RowRef, lsn: Lsn) {
        if let Some(key) = self.key_of.remove(&at) {
            let key = (at.collective, key);
            if self.keys.get(&key) == Some(&at) {
                self.keys.remove(&key);
            }
        }
        let Some(table) = self.tables.get(at.collective) else {
            return;
        };
        if let Some(Some(id)) = table.with_slot(at.row, |slot| slot.row().map(|row| row.id)) {
            self.ids.remove(id, at);
        }
        table.forget(at.row, lsn);
    }

    /// Collectives whose ids can now leave the index: too long a walk for the committer.
    pub fn take_purges(&mut self) -> Vec<u32> {
        std::mem::take(&mut self.purges)
    }
}
