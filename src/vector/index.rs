//! What does one collective's vector index consist of?
//!
//! Frozen graphs, each over a range of row numbers, oldest first, and a [`Tail`] of codes for the
//! rows behind them: one immutable value that a search loads once. The index is derived and says
//! nothing about what is visible: it may name rows that are deleted or newer than a snapshot, and
//! leaves out only rows that nobody can see any more.

use std::{
    ops::Range,
    sync::atomic::{AtomicU32, Ordering},
};

use parking_lot::Mutex;

use super::{
    Graph,
    merge::Run,
    tail::{BLOCK_ROWS, Tail},
};
use crate::sync::{Arc, Swap};

/// A graph, and how much of it is dead.
pub struct IndexedGraph {
    /// The graph.
    pub graph: Graph,
    /// Nodes whose rows nobody can see any more.
    dead: AtomicU32,
}

impl IndexedGraph {
    /// A graph of which `dead` nodes are dead already.
    #[must_use]
    pub const fn new(graph: Graph, dead: u32) -> Self {
        Self {
            graph,
            dead: AtomicU32::new(dead),
        }
    }

    /// What [`merge`](super::merge) needs to know of it.
    #[must_use]
    pub fn run(&self) -> Run {
        let covered = self.graph.covered();
        Run {
            rows: covered.first..covered.end,
            nodes: self.graph.rows().len() as u32,
            dead: self.dead.load(Ordering::Relaxed),
        }
    }
}

/// The index at one moment.
#[derive(Clone, Default)]
pub struct IndexState {
    /// The graphs, by row.
    pub graphs: Vec<Arc<IndexedGraph>>,
    /// The row from which on rows are in no graph.
    pub indexed: u32,
    /// The codes of the rows that are in no graph.
    pub tail: Tail,
}

impl IndexState {
    /// About how many bytes of memory it takes.
    #[must_use]
    pub fn bytes(&self) -> u64 {
        let graphs: u64 = self.graphs.iter().map(|one| one.graph.memory()).sum();
        graphs + self.tail.bytes()
    }
}

/// The vector index of one collective.
pub struct VectorIndex {
    state: Swap<IndexState>,
    /// Held by whoever replaces the state.
    changing: Mutex<()>,
}

impl VectorIndex {
    /// Nothing indexed yet.
    #[must_use]
    pub fn new(dimension: u16) -> Self {
        let state = IndexState {
            tail: Tail::new(dimension),
            ..IndexState::default()
        };
        Self {
            state: Swap::new(Some(Arc::new(state))),
            changing: Mutex::default(),
        }
    }

    /// The present state.
    #[must_use]
    pub fn state(&self) -> Arc<IndexState> {
        self.state.load().unwrap_or_default()
    }

    /// The row from which on rows are in no graph.
    #[must_use]
    pub fn indexed(&self) -> u32 {
        self.state
            .with(|state| state.map_or(0, |state| state.indexed))
    }

    /// The present state, with room for the codes of all whole blocks below row `rows`.
    #[must_use]
    pub fn reaching(&self, rows: u32) -> Arc<IndexState> {
        let whole = rows - rows % BLOCK_ROWS;
        let state = self.state();
        if whole <= state.tail.rows().end {
            return state;
        }
        self.change(|state| state.tail = state.tail.reaching(whole))
    }

    /// Puts `graph` in the place of those that it replaces; `None` where none of their rows is
    /// left. From then on the rows below `indexed` are in no tail. For the one thread that builds.
    pub fn replace(&self, replaced: Range<usize>, graph: Option<Arc<IndexedGraph>>, indexed: u32) {
        self.change(|state| {
            let end = replaced.end.min(state.graphs.len());
            state.graphs.splice(replaced.start.min(end)..end, graph);
            state.indexed = state.indexed.max(indexed);
            state.tail = state.tail.without_below(state.indexed);
        });
    }

    /// A row is beyond everybody's sight: one node more is dead where it is in a graph.
    pub fn bury(&self, row: u32) {
        self.state.with(|state| {
            let graphs = state
                .map(|state| state.graphs.as_slice())
                .unwrap_or_default();
            let behind = graphs.partition_point(|one| one.graph.covered().end <= row);
            if let Some(one) = graphs.get(behind)
                && one.graph.covered().first <= row
            {
                one.dead.fetch_add(1, Ordering::Relaxed);
            }
        });
    }

    /// Whether a graph has nodes whose rows nobody can see any more.
    #[must_use]
    pub fn holds_dead(&self) -> bool {
        let state = self.state();
        state.graphs.iter().any(|one| one.run().dead > 0)
    }

    /// Puts these graphs in the place of all there are. From then on the rows below `indexed` are in no
    /// tail. For a reader, which builds none.
    pub fn put(&self, graphs: Vec<Arc<IndexedGraph>>, indexed: u32) {
        self.change(|state| {
            state.graphs = graphs;
            state.indexed = state.indexed.max(indexed);
            state.tail = state.tail.without_below(state.indexed);
        });
    }

    /// Begins with what another index of the same rows has.
    pub fn adopt(&self, state: Arc<IndexState>) {
        self.change(|own| *own = IndexState::clone(&state));
    }

    fn change(&self, change: impl FnOnce(&mut IndexState)) -> Arc<IndexState> {
        let _changing = self.changing.lock();
        let mut state = IndexState::clone(&self.state());
        change(&mut state);
        let state = Arc::new(state);
        self.state.store(Some(Arc::clone(&state)));
        state
    }
}

impl std::fmt::Debug for VectorIndex {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let state = self.state();
        f.debug_struct("VectorIndex")
            .field("graphs", &state.graphs.len())
            .field("indexed", &state.indexed)
            .finish_non_exhaustive()
    }
}
