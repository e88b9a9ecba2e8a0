//! How do the tables of one collective find each other?
//!
//! Those of its relations and insights belong to that of its experiences, and are made when the first of
//! their rows is stored.

use super::{Arc, Checkpoint, CheckpointCollective, RowKind, Table};

impl Table {
    /// An empty table with rows of another kind, in the same collective.
    fn beside(&self, kind: RowKind) -> Self {
        let dimension = match kind {
            RowKind::Experience | RowKind::Insight => self.dimension,
            RowKind::Relation => 0,
        };
        let table = Self::empty(kind.table(self.number), self.id, dimension);
        table.note_horizon(self.horizon());
        table
    }

    /// What its rows are.
    pub fn kind(&self) -> RowKind {
        RowKind::of_table(self.number)
    }

    /// The collective's table with rows of this kind, if it was ever needed. Of the experiences' table.
    pub fn of_kind(self: &Arc<Self>, kind: RowKind) -> Option<&Arc<Self>> {
        match kind {
            RowKind::Experience => Some(self),
            RowKind::Relation => self.relations.get(),
            RowKind::Insight => self.insights.get(),
        }
    }

    /// The same, made if it is needed now. For the committer.
    pub(in crate::state) fn made_of_kind(self: &Arc<Self>, kind: RowKind) -> &Arc<Self> {
        let made = || Arc::new(self.beside(kind));
        match kind {
            RowKind::Experience => self,
            RowKind::Relation => self.relations.get_or_init(made),
            RowKind::Insight => self.insights.get_or_init(made),
        }
    }

    /// All tables of the collective. Of the experiences' table.
    pub fn with_others(self: &Arc<Self>) -> impl Iterator<Item = &Arc<Self>> {
        [RowKind::Experience, RowKind::Relation, RowKind::Insight]
            .into_iter()
            .filter_map(|kind| self.of_kind(kind))
    }

    /// Adds the table of the collective's relations or insights as a checkpoint has it.
    pub(in crate::state) fn add_over(
        &self,
        base: &Arc<Checkpoint>,
        kind: RowKind,
        stored: &CheckpointCollective,
    ) {
        let mut table = self.beside(kind);
        table.fill_from(base, stored);
        let place = match kind {
            RowKind::Experience => return,
            RowKind::Relation => &self.relations,
            RowKind::Insight => &self.insights,
        };
        let _ = place.set(Arc::new(table));
    }
}
