//! What do the models of the tables write and read?

use std::sync::Arc;

use pulsedb::{
    Collective, CollectiveId, Cursor, DecayConfig, ExperienceKind, Lsn, Timestamp,
    model::Timeline,
    protocol::publish::{History, Published},
    state::{Applier, IdIndex, Mutation, Row, RowRef, Snapshot, Table, Values},
};

/// What readers load; the models have no segments.
pub type View = Snapshot<()>;

/// The collective that all models use.
pub const COLLECTIVE: u32 = 1;

/// The committer's side, in the order of the shipped pipeline: apply with the horizon of the
/// oldest snapshot, bury, remember, publish.
pub struct Writer {
    applier: Applier,
    history: History<View>,
    published: Arc<Published<View>>,
    lsn: u64,
}

impl Writer {
    /// A database of one collective, defined by LSN 1, and `rows` rows with the LSNs from 2 on.
    pub fn new(rows: u32) -> (Self, Arc<Published<View>>) {
        let mut applier = Applier::default();
        let define = Mutation::Define {
            collective: COLLECTIVE,
            definition: Arc::new(definition()),
        };
        applier.apply(Lsn::new(1), define, Lsn::ZERO);
        let mut lsn = 1;
        for row in 0..rows {
            lsn += 1;
            applier.apply(Lsn::new(lsn), record(row, lsn), Lsn::ZERO);
        }
        let first = Arc::new(view(&applier, lsn));
        let mut history = History::default();
        history.push(&first);
        let published = Arc::new(Published::new(first));
        let writer = Self {
            applier,
            history,
            published: Arc::clone(&published),
            lsn,
        };
        (writer, published)
    }

    /// The oldest LSN that anybody may read at.
    pub fn horizon(&mut self) -> Lsn {
        self.history.oldest().map_or(Lsn::ZERO, |view| view.lsn())
    }

    /// Brings the tables up to date with the records of one commit, each made from its LSN.
    pub fn apply(&mut self, mutations: &[fn(u64) -> Mutation]) {
        let horizon = self.horizon();
        for mutation in mutations {
            self.lsn += 1;
            self.applier
                .apply(Lsn::new(self.lsn), mutation(self.lsn), horizon);
        }
        self.applier.bury(horizon);
    }

    /// Shows what was applied.
    pub fn publish(&mut self) {
        let next = Arc::new(view(&self.applier, self.lsn));
        self.history.push(&next);
        self.published.store(next);
    }

    /// Applies one commit and shows it.
    pub fn commit(&mut self, mutations: &[fn(u64) -> Mutation]) {
        self.apply(mutations);
        self.publish();
    }

    /// The index of ids; row `n` has the id `n + 1`.
    pub fn ids(&self) -> Arc<IdIndex> {
        Arc::clone(self.applier.ids())
    }

    /// The LSN of the newest commit.
    pub fn lsn(&self) -> Lsn {
        Lsn::new(self.lsn)
    }
}

fn view(applier: &Applier, lsn: u64) -> View {
    Snapshot {
        cursor: Cursor {
            timeline: Timeline::FIRST,
            lsn: Lsn::new(lsn),
        },
        tables: Arc::clone(applier.tables()),
        ids: Arc::clone(applier.ids()),
        newest: applier.newest(),
        segments: (),
    }
}

/// The one table of a view.
pub fn table(view: &View) -> &Arc<Table> {
    view.tables
        .get(COLLECTIVE)
        .expect("every model defines the collective first")
}

/// A new row.
pub fn record(row: u32, lsn: u64) -> Mutation {
    Mutation::Record {
        at: at(row),
        row: Row {
            kind: Some(ExperienceKind::Fact),
            ..Row::example(Lsn::new(lsn), u128::from(row) + 1)
        },
        agent: "agent".into(),
        key: None,
        first: None,
    }
}

/// New values of a row, which show the LSN that gave them.
pub fn revise(row: u32, lsn: u64) -> Mutation {
    let values = Values {
        vitals_lsn: Lsn::new(lsn),
        ..Row::example(Lsn::new(lsn), 0).initial_values()
    };
    Mutation::Revise {
        at: at(row),
        values,
    }
}

/// New values of a row: only its importance differs from what it was recorded with.
pub fn value(row: u32, lsn: u64, importance: f32) -> Mutation {
    let values = Values {
        importance,
        ..Row::example(Lsn::new(lsn), 0).initial_values()
    };
    Mutation::Revise {
        at: at(row),
        values,
    }
}

/// The end of a row.
pub fn delete(row: u32) -> Mutation {
    Mutation::Delete { at: at(row) }
}

fn at(row: u32) -> RowRef {
    RowRef {
        collective: COLLECTIVE,
        row,
    }
}

fn definition() -> Collective {
    Collective {
        id: CollectiveId::from_uuid(uuid::Uuid::from_u128(1)),
        name: "models".into(),
        owner_id: None,
        embedding_dimension: 4,
        decay: DecayConfig::default(),
        embedder: None,
        created_at: Timestamp::from_millis(0),
        vectors: Default::default(),
        precisions: Default::default(),
    }
}

/// The rows that a walk visits, with the LSN that gave each its values.
pub fn walk(view: &View) -> Vec<(u32, Lsn)> {
    let mut rows = Vec::new();
    table(view).for_each_from(0, view.lsn(), |visited| {
        assert!(visited.row.lsn <= view.lsn(), "a row of the future");
        rows.push((visited.number, visited.values().vitals_lsn));
        true
    });
    rows
}
