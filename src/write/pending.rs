//! What have the requests before this one in the same group decided?
//!
//! The tables show only what is durable, but a group is sequenced as a whole before it is. This
//! overlay answers every question the sequencer has with group ∪ tables. It is a list of items, one
//! per record to come; the maps of rows over it are made when the first question comes, since a group
//! that only records new experiences asks none. Cutting the list undoes a refused request.

use std::collections::{HashMap, HashSet};

use crate::{
    format::{Traits, collective_of},
    log::OutFrame,
    model::{Collective, Lsn, RelationType},
    state::{Applier, Live, Mutation, Row, RowRef, Values},
    sync::Arc,
};

/// Sees whatever is in the tables.
const NEWEST: Lsn = Lsn::new(u64::MAX);

/// One record to come.
pub struct Item {
    /// The record; the log adds what it alone knows.
    pub frame: OutFrame,
    /// What it changes.
    pub mutation: Mutation,
    /// The row after it, where it revises one, or brings one from elsewhere.
    pub after: Option<Present>,
}

/// A row after everything decided so far.
#[derive(Clone)]
pub struct Present {
    /// Where it stands.
    pub at: RowRef,
    /// What never changes; `place` is not known for a row of this group.
    pub row: Row,
    /// What does.
    pub values: Values,
    /// Its traits, where this group set them.
    pub traits: Option<Arc<Traits>>,
}

/// The overlay.
#[derive(Default)]
pub struct Pending {
    items: Vec<Item>,
    /// Items that `rows` and `ids` know.
    indexed: usize,
    /// Collectives that the group changes anything in, as far as it is indexed.
    changed: HashSet<u32>,
    rows: HashMap<RowRef, Option<Present>>,
    ids: HashMap<u128, RowRef>,
    keys: HashMap<(u32, Arc<str>), RowRef>,
    relations: HashMap<(u32, (u32, u32), RelationType), RowRef>,
    /// Where in `items` the body of a row is.
    bodies: HashMap<RowRef, usize>,
    collectives: HashMap<u32, Option<Arc<Collective>>>,
    activities: HashMap<(u32, Arc<str>), Option<Arc<Live>>>,
    next_rows: Vec<(u32, u32)>,
    /// Rows that got another vector, and by which re-embedding.
    embedded: HashSet<(RowRef, Lsn)>,
}

impl Pending {
    /// Nothing so far, with room for `records`.
    pub fn with_room(records: usize) -> Self {
        Self {
            items: Vec::with_capacity(records),
            ..Self::default()
        }
    }

    /// Number of records so far.
    pub fn len(&self) -> usize {
        self.items.len()
    }

    /// Adds a record.
    pub fn push(&mut self, item: Item) {
        match &item.mutation {
            Mutation::Relate {
                at,
                source,
                target,
                relation_type,
                ..
            } => {
                self.note_row(*at);
                let relation = (at.collective, (*source, *target), *relation_type);
                self.relations.insert(relation, *at);
            }
            Mutation::Record { at, key, .. } => {
                self.note_row(*at);
                if let Some(key) = key {
                    self.keys.insert((at.collective, Arc::clone(key)), *at);
                }
            }
            Mutation::Define {
                collective,
                definition,
            } => {
                self.collectives
                    .insert(*collective, Some(Arc::clone(definition)));
            }
            Mutation::DeleteCollective { collective } => {
                self.collectives.insert(*collective, None);
            }
            Mutation::Embed { at, epoch, .. } => {
                self.embedded.insert((*at, *epoch));
            }
            Mutation::Revise { .. } | Mutation::Delete { .. } | Mutation::Nothing => {}
            Mutation::Activity {
                collective,
                agent,
                activity,
            } => {
                let key = (*collective, Arc::clone(agent));
                self.activities.insert(key, activity.clone());
            }
        }
        self.items.push(item);
    }

    /// A row number was given out.
    fn note_row(&mut self, at: RowRef) {
        let next = at.row.saturating_add(1);
        match self.next_rows.iter_mut().find(|(c, _)| *c == at.collective) {
            Some((_, known)) => *known = next,
            None => self.next_rows.push((at.collective, next)),
        }
    }

    /// Forgets the records from `mark` on.
    pub fn cut(&mut self, mark: usize) {
        let kept = self.items.drain(..).take(mark).collect::<Vec<_>>();
        *self = Self::default();
        for item in kept {
            self.push(item);
        }
    }

    /// The last record, to be marked as the end of its commit.
    pub fn last_mut(&mut self) -> Option<&mut Item> {
        self.items.last_mut()
    }

    /// All records.
    pub fn into_items(self) -> Vec<Item> {
        self.items
    }

    /// Whether this group has given a row the vector of a re-embedding.
    pub fn embeds(&self, at: RowRef, epoch: Lsn) -> bool {
        self.embedded.contains(&(at, epoch))
    }

    /// The number that the next row of a table gets.
    pub fn next_row(&self, collective: u32, in_table: u32) -> u32 {
        self.next_rows
            .iter()
            .find(|(c, _)| *c == collective)
            .map_or(in_table, |(_, next)| *next)
    }

    /// The definition of a collective, by number.
    pub fn collective(&self, number: u32, applier: &Applier) -> Option<Arc<Collective>> {
        match self.collectives.get(&number) {
            Some(decided) => decided.clone(),
            None => newest_definition(applier, number),
        }
    }

    /// Number and definition of a collective, by id.
    pub fn find_collective(&self, id: u128, applier: &Applier) -> Option<(u32, Arc<Collective>)> {
        let fresh = self.collectives.iter().find_map(|(number, definition)| {
            definition
                .as_ref()
                .filter(|definition| definition.id.as_u128() == id)
                .map(|definition| (*number, Arc::clone(definition)))
        });
        if fresh.is_some() {
            return fresh;
        }
        let number = applier.tables().find(id)?.number;
        Some((number, self.collective(number, applier)?))
    }

    /// The oldest collective of this name.
    pub fn named_collective(&self, name: &str, applier: &Applier) -> Option<Arc<Collective>> {
        let known = applier.tables().collectives().map(|table| table.number);
        let fresh = self.collectives.keys().copied();
        let mut numbers: Vec<u32> = known.chain(fresh).collect();
        numbers.sort_unstable();
        numbers
            .into_iter()
            .filter_map(|number| self.collective(number, applier))
            .find(|definition| definition.name == name)
    }

    /// The number that the next collective gets.
    pub fn next_collective(&self, applier: &Applier) -> u32 {
        self.collectives
            .keys()
            .max()
            .map_or(0, |number| number + 1)
            .max(applier.tables().next_number())
    }

    /// What an agent of a living collective does.
    pub fn activity(&self, collective: u32, agent: &str, applier: &Applier) -> Option<Arc<Live>> {
        if !self.activities.is_empty()
            && let Some(decided) = self.activities.get(&(collective, agent.into()))
        {
            return decided.clone();
        }
        let table = applier.tables().get(collective)?;
        table.activities.get(agent, NEWEST)
    }

    /// The row with this idempotency key; it may have expired.
    pub fn keyed(&mut self, collective: u32, key: &Arc<str>, applier: &Applier) -> Option<Present> {
        self.index();
        let at = match self.keys.get(&(collective, Arc::clone(key))) {
            Some(at) => *at,
            None => applier.keyed(collective, key)?,
        };
        self.present_at(at, applier)
    }

    /// The row that has this id now.
    pub fn present(&mut self, id: u128, applier: &Applier) -> Option<Present> {
        self.index();
        let at = match self.ids.get(&id) {
            Some(at) => *at,
            None => applier.ids().get(id)?,
        };
        self.present_at(at, applier)
    }

    /// The newest relation of this type from one row to another that this group made.
    pub fn related(
        &self,
        table: u32,
        ends: (u32, u32),
        relation_type: RelationType,
    ) -> Option<RowRef> {
        let relation = (table, ends, relation_type);
        self.relations.get(&relation).copied()
    }

    /// The row as it is now, if it is there.
    pub fn present_row(&mut self, at: RowRef, applier: &Applier) -> Option<Present> {
        self.index();
        self.present_at(at, applier)
    }

    /// The record of a row's body, where this group has it.
    pub fn body(&mut self, at: RowRef) -> Option<&OutFrame> {
        self.index();
        let item = self.items.get(*self.bodies.get(&at)?)?;
        Some(&item.frame)
    }

    /// Whether the group makes, changes or deletes what has this id. Relations that go with an end are not
    /// deleted by themselves: who sees one sees its ends.
    pub fn changes(&mut self, id: u128, applier: &Applier) -> bool {
        self.index();
        if self.ids.contains_key(&id) {
            return true;
        }
        applier.ids().get(id).is_some_and(|at| {
            self.rows.contains_key(&at)
                || matches!(
                    self.collectives.get(&collective_of(at.collective)),
                    Some(None)
                )
        })
    }

    /// Whether the group changes anything in a collective.
    pub fn changes_collective(&mut self, number: u32) -> bool {
        self.index();
        self.changed.contains(&number)
    }

    /// Whether the group defines or deletes this collective, or any.
    pub fn redefines(&self, number: Option<u32>) -> bool {
        match number {
            Some(number) => self.collectives.contains_key(&number),
            None => !self.collectives.is_empty(),
        }
    }

    fn present_at(&self, at: RowRef, applier: &Applier) -> Option<Present> {
        if matches!(
            self.collectives.get(&collective_of(at.collective)),
            Some(None)
        ) {
            return None;
        }
        if let Some(decided) = self.rows.get(&at) {
            return decided.clone();
        }
        let table = applier.tables().get(at.collective)?;
        let state = table.row(at.row, NEWEST)?;
        Some(Present {
            at,
            row: state.row,
            values: state.values,
            traits: None,
        })
    }

    /// Brings the maps of rows up to date with the list.
    fn index(&mut self) {
        for (number, item) in self.items.iter().enumerate().skip(self.indexed) {
            if !matches!(
                item.mutation,
                Mutation::Activity { .. } | Mutation::Embed { .. }
            ) {
                self.changed.insert(item.frame.header.collective);
            }
            match &item.mutation {
                Mutation::Record { at, row, .. } | Mutation::Relate { at, row, .. } => {
                    self.ids.insert(row.id, *at);
                    self.bodies.insert(*at, number);
                    let present = item.after.clone().unwrap_or_else(|| Present {
                        at: *at,
                        row: *row,
                        values: row.initial_values(),
                        traits: None,
                    });
                    self.rows.insert(*at, Some(present));
                }
                Mutation::Revise { at, .. } => {
                    self.rows.insert(*at, item.after.clone());
                }
                Mutation::Delete { at } => {
                    self.rows.insert(*at, None);
                }
                Mutation::Define { .. }
                | Mutation::DeleteCollective { .. }
                | Mutation::Nothing
                | Mutation::Embed { .. }
                | Mutation::Activity { .. } => {}
            }
        }
        self.indexed = self.items.len();
    }
}

fn newest_definition(applier: &Applier, number: u32) -> Option<Arc<Collective>> {
    applier.tables().get(number)?.definition(NEWEST)
}
