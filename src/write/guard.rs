//! What must still be so for a request to be committed?
//!
//! A transaction decides in a snapshot and is committed later. Its guard names everything that it has
//! seen there; the committer refuses the request if any of that was changed since, be it in the tables
//! or by an earlier request of the same group. So what is committed has seen exactly the state that it
//! is committed on. Filled by `db/transaction.rs`, asked by `sequence/guard.rs`.

use std::collections::BTreeMap;

use crate::{
    log::SegmentSet,
    model::{CollectiveId, Cursor, EntityKind, Lsn, Timestamp},
    state::Snapshot,
    sync::Arc,
};

/// What a transaction has seen.
pub struct Guard {
    /// Where it has seen it. Held until the committer has asked, even where the caller has gone: what
    /// was deleted since can be recognized only as long as somebody may see it.
    view: Arc<Snapshot<Arc<SegmentSet>>>,
    /// The moment that expiry was judged at.
    now: Timestamp,
    /// Experiences, relations and insights, by id, which no two of them share.
    entities: BTreeMap<u128, EntityKind>,
    /// By whether they were there.
    collectives: BTreeMap<CollectiveId, bool>,
    /// By whether they were there.
    definitions: BTreeMap<CollectiveId, bool>,
    all_definitions: bool,
}

impl Guard {
    /// Nothing seen so far.
    pub const fn new(view: Arc<Snapshot<Arc<SegmentSet>>>, now: Timestamp) -> Self {
        Self {
            view,
            now,
            entities: BTreeMap::new(),
            collectives: BTreeMap::new(),
            definitions: BTreeMap::new(),
            all_definitions: false,
        }
    }

    /// Something of one experience, relation or insight was seen, or that there is none.
    pub fn saw(&mut self, kind: EntityKind, id: u128) {
        self.entities.insert(id, kind);
    }

    /// What there is in a collective, and what it says, was seen.
    pub fn saw_collective(&mut self, id: CollectiveId) {
        let there = self.view.tables.find(id.as_u128()).is_some();
        self.collectives.insert(id, there);
    }

    /// The definition of a collective was seen, or that there is none.
    pub fn saw_definition(&mut self, id: CollectiveId) {
        let there = self.view.tables.find(id.as_u128()).is_some();
        self.definitions.insert(id, there);
    }

    /// Which collectives there are was seen.
    pub const fn saw_all_definitions(&mut self) {
        self.all_definitions = true;
    }

    /// How many things were seen.
    pub fn len(&self) -> usize {
        self.entities.len() + self.collectives.len() + self.definitions.len()
    }

    /// The commit whose state was seen.
    pub fn cursor(&self) -> Cursor {
        self.view.cursor
    }

    /// The same as an LSN.
    pub fn lsn(&self) -> Lsn {
        self.view.lsn()
    }

    /// The moment that expiry was judged at.
    pub const fn now(&self) -> Timestamp {
        self.now
    }

    /// The experiences, relations and insights of which something was seen, or that there is none.
    pub fn entities(&self) -> impl Iterator<Item = (EntityKind, u128)> {
        self.entities.iter().map(|(id, kind)| (*kind, *id))
    }

    /// The collectives whose content was seen, and whether they were there.
    pub fn collectives(&self) -> impl Iterator<Item = (CollectiveId, bool)> {
        self.collectives.iter().map(|(id, there)| (*id, *there))
    }

    /// The collectives whose definition was seen, and whether they were there.
    pub fn definitions(&self) -> impl Iterator<Item = (CollectiveId, bool)> {
        self.definitions.iter().map(|(id, there)| (*id, *there))
    }

    /// Whether it was seen which collectives there are.
    pub const fn has_seen_all_definitions(&self) -> bool {
        self.all_definitions
    }
}
