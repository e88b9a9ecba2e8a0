//! How do the tables of one collective find each other?
//!
//! Those of its relations and insights belong to that of its experiences, and are made when the first of
//! their rows is stored.

use super::{AllRows, Arc, Checkpoint, CheckpointCollective, Lsn, RowKind, Table, VectorEpoch};

impl Table {
    /// A table with rows of another kind, in the same collective.
    fn beside(&self, kind: RowKind, rows: AllRows) -> Self {
        let vectors = VectorEpoch {
            epoch: self.epoch,
            since: self.since,
            next: None,
        };
        match kind {
            RowKind::Experience | RowKind::Insight => Self::of(rows, self.dimension, &vectors),
            // They have no vectors, whatever the others go by.
            RowKind::Relation => Self::of(rows, 0, &VectorEpoch::default()),
        }
    }

    /// The same, without rows yet.
    fn empty_beside(&self, kind: RowKind) -> Self {
        let rows = AllRows::empty(kind.table(self.number), self.id);
        rows.note_horizon(self.horizon());
        self.beside(kind, rows)
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
        let made = || Arc::new(self.empty_beside(kind));
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
        let mut table = self.beside(kind, AllRows::over(base, stored, self.horizon()));
        if kind == RowKind::Insight {
            let vectors = VectorEpoch {
                epoch: self.epoch,
                since: self.since,
                next: self
                    .definition(Lsn::new(u64::MAX))
                    .and_then(|it| it.vectors.next.clone()),
            };
            table.embed_over(base, stored, &vectors);
        }
        let place = match kind {
            RowKind::Experience => return,
            RowKind::Relation => &self.relations,
            RowKind::Insight => &self.insights,
        };
        let _ = place.set(Arc::new(table));
    }
}
