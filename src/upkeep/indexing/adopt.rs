//! How does a reader come by the graphs that another process has built?
//!
//! A graph file is never touched once it has its name, and a map of it outlives that name. So where the
//! rows behind a reader's graphs have become many, it maps what it does not have yet, and keeps what it
//! has until the new ones cover as much. It builds nothing and removes nothing.

use std::{collections::HashMap, time::Duration};

use super::{Indexing, Leave, Source, View};
use crate::{
    error::Result,
    sync::Arc,
    vector::{index::IndexedGraph, store::GraphFiles},
};

/// How often a reader looks for graphs, where it has use for them.
const INTERVAL: Duration = Duration::from_secs(1);

impl Indexing {
    /// The life of a reader's thread that was added before. `view` tells the newest snapshot.
    pub fn adopt_graphs(&self, view: impl Fn() -> Option<Arc<View>>) {
        let _leave = Leave(self);
        loop {
            let mut state = self.state.lock();
            if !state.ended {
                self.bell.wait_for(&mut state, INTERVAL);
            }
            if state.ended {
                return;
            }
            drop(state);
            let Some(view) = view() else {
                return;
            };
            // Before the first search nobody has any use for them.
            let wanted = self.loaded.get().is_some()
                && view
                    .tables
                    .iter()
                    .any(|table| table.dimension > 0 && self.job(&view, table, false).is_some());
            if wanted && let Err(error) = self.adopt(&view) {
                tracing::debug!(%error, "the vector index cannot be listed");
            }
        }
    }

    /// Maps the graphs that this process does not have yet.
    pub(super) fn adopt(&self, view: &View) -> Result<()> {
        let mut found: HashMap<u32, Vec<Arc<IndexedGraph>>> = HashMap::new();
        for name in self.files.list()? {
            let number = name
                .split_once('-')
                .and_then(|(number, _)| number.parse().ok());
            let Some(table) = number.and_then(|number| view.tables.get(number)) else {
                continue;
            };
            let known = table.vectors.state().graphs.iter().find_map(|one| {
                (GraphFiles::name(one.graph.covered()) == name).then(|| Arc::clone(one))
            });
            let graph = match known {
                Some(known) => known,
                // It may be unfinished, or removed meanwhile, or about rows that are yet to come.
                None => match self.open(view, &name) {
                    Ok(graph) => Arc::new(Source::new(view, table).counted(graph)),
                    Err(_) => continue,
                },
            };
            found.entry(table.number).or_default().push(graph);
        }
        for (number, mut graphs) in found {
            let Some(table) = view.tables.get(number) else {
                continue;
            };
            // The widest first of those that begin at the same row.
            graphs.sort_by_key(|one| {
                let covered = one.graph.covered();
                (covered.first, u32::MAX - covered.end)
            });
            let rows = table.rows(view.lsn());
            let (mut chain, mut end) = (Vec::new(), 0);
            for one in graphs {
                let covered = one.graph.covered();
                let gap_is_empty =
                    || (end..covered.first).all(|row| !rows.is_needed(row, table.horizon()));
                if covered.first >= end && gap_is_empty() {
                    end = covered.end;
                    chain.push(one);
                }
            }
            // A listing beside a merge may see neither the parts nor the whole.
            if end > table.vectors.indexed() {
                table.vectors.put(chain, end);
            }
        }
        Ok(())
    }
}
