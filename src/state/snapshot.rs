//! What does one call see?

use std::collections::HashMap;

use crate::{
    format::RowKind,
    model::{Cursor, Lsn, Timestamp},
    state::{ids::IdIndex, table::Table},
    sync::Arc,
};

/// The collectives at one moment; replaced when one comes or goes.
#[derive(Debug, Default, Clone)]
pub struct Tables {
    by_number: Vec<Option<Arc<Table>>>,
    by_id: HashMap<u128, u32>,
    next_number: u32,
    last_removal: Lsn,
}

impl Tables {
    /// A table by its number.
    #[must_use]
    pub fn get(&self, number: u32) -> Option<&Arc<Table>> {
        let (collective, kind) = RowKind::of(number)?;
        self.by_number
            .get(collective as usize)?
            .as_ref()?
            .of_kind(kind)
    }

    /// The table of a collective's experiences by the collective's id.
    #[must_use]
    pub fn find(&self, id: u128) -> Option<&Arc<Table>> {
        self.get(*self.by_id.get(&id)?)
    }

    /// The collectives, each by the table of its experiences, in order of creation.
    pub fn collectives(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.by_number.iter().flatten()
    }

    /// All tables.
    pub fn iter(&self) -> impl Iterator<Item = &Arc<Table>> {
        self.collectives().flat_map(Table::with_others)
    }

    /// The number that the next collective gets. Numbers are never reused.
    #[must_use]
    pub fn next_number(&self) -> u32 {
        self.next_number.max(1)
    }

    /// The newest deletion or re-embedding of a collective: what snapshots before it see of that one is not
    /// here.
    #[must_use]
    pub fn last_removal(&self) -> Lsn {
        self.last_removal
    }

    /// No collective yet, but some were there up to `lsn`, whose numbers are below `next`.
    pub(super) fn after(lsn: Lsn, next: u32) -> Self {
        Self {
            next_number: next,
            last_removal: lsn,
            ..Self::default()
        }
    }

    /// Number of collectives.
    #[must_use]
    pub fn len(&self) -> usize {
        self.by_id.len()
    }

    pub(super) fn insert(&mut self, table: Arc<Table>) {
        let number = table.number as usize;
        if self.by_number.len() <= number {
            self.by_number.resize(number + 1, None);
        }
        self.by_id.insert(table.id, table.number);
        self.next_number = self.next_number.max(table.number.saturating_add(1));
        if let Some(place) = self.by_number.get_mut(number) {
            *place = Some(table);
        }
    }

    /// Puts a table of experiences in the place of the one with its number. What snapshots before `lsn`
    /// see of that one is not here.
    pub(super) fn replace(&mut self, table: Arc<Table>, lsn: Lsn) {
        self.last_removal = self.last_removal.max(lsn);
        self.insert(table);
    }

    pub(super) fn remove(&mut self, number: u32, lsn: Lsn) -> Option<Arc<Table>> {
        self.last_removal = self.last_removal.max(lsn);
        self.next_number = self.next_number.max(number.saturating_add(1));
        let table = self.by_number.get_mut(number as usize)?.take()?;
        // Its id may have been given again.
        if self.by_id.get(&table.id) == Some(&number) {
            self.by_id.remove(&table.id);
        }
        Some(table)
    }
}

/// Time and id that no later record is below.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Newest {
    /// The greatest time of any record.
    pub time: Timestamp,
    /// The greatest id of any record.
    pub id: u128,
}

/// The database as of one commit; `S` is the log's set of segments.
#[derive(Debug, Clone)]
pub struct Snapshot<S> {
    /// Which commit.
    pub cursor: Cursor,
    /// The collectives.
    pub tables: Arc<Tables>,
    /// Rows by id; may point to rows that are not visible. Beside the tables that it leads to: where they
    /// are derived anew, both are other ones.
    pub ids: Arc<IdIndex>,
    /// Where times and ids go on.
    pub newest: Newest,
    /// Where the bodies are.
    pub segments: S,
}

impl<S> Snapshot<S> {
    /// The newest LSN it sees.
    pub fn lsn(&self) -> Lsn {
        self.cursor.lsn
    }
}

/// What compaction works by: fixed while commits go on.
#[derive(Debug, Clone)]
pub struct Held<S> {
    /// What was replaced or deleted at or below this LSN is needed by nobody, now and later.
    pub horizon: Lsn,
    /// The collectives.
    pub tables: Arc<Tables>,
    /// The log.
    pub segments: S,
    /// The number that the next collective gets.
    pub next_collective: u32,
}
