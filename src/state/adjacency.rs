//! Which relations does an experience have?
//!
//! One list per experience that has any, of the edges at it, both those that start there and those that
//! lead there, in the order in which they were stored. So what is asked of one experience costs as much as
//! it has relations, however many there are elsewhere. Edges that a checkpoint holds are looked up there, in
//! place; the lists have those stored since.
//!
//! May lie by excess, never by omission: an edge may stand for a relation that is deleted or newer than
//! a snapshot; the relation's row decides. The committer writes, under a lock that it holds for one list
//! at a time.

use std::{
    collections::HashMap,
    hash::{BuildHasherDefault, Hasher},
};

use crate::{
    format::{Checkpoint, CheckpointEdge},
    model::RelationType,
    simd::prefetch,
    state::id_map::GOLDEN,
    sync::{Arc, RwLock},
};

/// A relation, as seen from one of its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Edge {
    /// Row of the relation, among the relations.
    pub relation: u32,
    /// Row of the experience at the other end.
    pub other: u32,
    /// Whether it starts here.
    pub outgoing: bool,
    /// What it says.
    pub relation_type: RelationType,
    /// In [0, 1].
    pub strength: f32,
    /// Whether its record says more than this.
    pub has_metadata: bool,
}

/// The edges at the experiences of one collective.
#[derive(Debug, Default)]
pub struct Adjacency {
    fresh: RwLock<HashMap<u32, Vec<Edge>, BuildHasherDefault<RowHasher>>>,
    /// The checkpoint, and the number of the collective in it.
    base: Option<(Arc<Checkpoint>, u32)>,
}

impl Adjacency {
    /// The edges that a checkpoint holds of a collective.
    #[must_use]
    pub fn over(base: Arc<Checkpoint>, collective: u32) -> Self {
        Self {
            base: Some((base, collective)),
            ..Self::default()
        }
    }

    /// The edges at a row, oldest first.
    pub fn edges(&self, row: u32) -> Vec<Edge> {
        let mut edges: Vec<Edge> = self.stored(row).collect();
        if let Some(fresh) = self.fresh.read().get(&row) {
            edges.extend_from_slice(fresh);
        }
        edges
    }

    /// Asks the CPU for the edges at a row, for callers who have something else to do meanwhile.
    pub fn prefetch(&self, row: u32) {
        if let Some(edges) = self.fresh.read().get(&row) {
            prefetch(edges);
        }
    }

    /// Number of edges at a row.
    pub fn degree(&self, row: u32) -> usize {
        self.stored(row).count() + self.fresh.read().get(&row).map_or(0, Vec::len)
    }

    /// All edges, by row and then by relation.
    pub fn all(&self) -> Vec<(u32, Edge)> {
        let stored = self.base.iter().flat_map(|(base, collective)| {
            let edges = base.edges(*collective, 0..u32::MAX);
            edges.map(|record| (record.row, edge_of(&record)))
        });
        let mut all: Vec<(u32, Edge)> = stored.collect();
        let fresh = self.fresh.read();
        for (row, edges) in &*fresh {
            all.extend(edges.iter().map(|edge| (*row, *edge)));
        }
        drop(fresh);
        all.sort_unstable_by_key(|(row, edge)| (*row, edge.relation));
        all
    }

    fn stored(&self, row: u32) -> impl Iterator<Item = Edge> {
        let rows = row..row.saturating_add(1);
        let base = self.base.iter();
        base.flat_map(move |(base, collective)| base.edges(*collective, rows.clone()))
            .map(|record| edge_of(&record))
    }

    /// Adds an edge at a row. Where its list would grow, those leave it that `is_needed` by nobody any more.
    /// For the committer.
    pub(super) fn insert(&self, row: u32, edge: Edge, is_needed: impl Fn(u32) -> bool) {
        let mut fresh = self.fresh.write();
        let edges = fresh.entry(row).or_default();
        if edges.len() == edges.capacity() {
            edges.retain(|edge| is_needed(edge.relation));
        }
        edges.push(edge);
    }

    /// Forgets the edges of a row that nobody can see any more. For the committer.
    pub(super) fn forget(&self, row: u32) {
        self.fresh.write().remove(&row);
    }
}

/// Hashes row numbers, which are of this database's own making and not of an attacker's, by multiplying.
#[derive(Debug, Default)]
struct RowHasher(u64);

impl Hasher for RowHasher {
    fn write(&mut self, bytes: &[u8]) {
        for byte in bytes {
            self.0 = (self.0 ^ u64::from(*byte)).wrapping_mul(GOLDEN);
        }
    }

    fn finish(&self) -> u64 {
        // The map goes by the lowest bits, and all bits have gone into the upper ones.
        self.0 ^ (self.0 >> 32)
    }
}

fn edge_of(record: &CheckpointEdge) -> Edge {
    Edge {
        relation: record.relation,
        other: record.other,
        outgoing: record.outgoing,
        relation_type: record.relation_type,
        strength: record.strength,
        has_metadata: record.has_metadata,
    }
}

/// An edge for a checkpoint.
#[must_use]
pub(crate) fn record_of(collective: u32, row: u32, edge: &Edge) -> CheckpointEdge {
    CheckpointEdge {
        collective,
        row,
        relation: edge.relation,
        other: edge.other,
        outgoing: edge.outgoing,
        relation_type: edge.relation_type,
        strength: edge.strength,
        has_metadata: edge.has_metadata,
    }
}
