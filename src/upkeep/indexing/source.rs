//! Which vectors go into a graph?
//!
//! Those of the rows that some search needs, read in place from the mapped log. For the builders.

use std::{borrow::Cow, ops::Range};

use super::View;
use crate::{
    config::VectorElement,
    error::{PulseDBError, Result},
    log::SegmentSet,
    model::Lsn,
    simd::squared_norm,
    state::{
        Rows, Table,
        body::{self, Stored},
    },
    sync::Arc,
    vector::{Graph, codes::calibrated_unit, index::IndexedGraph},
};

/// Rows whose components calibrate a graph's codes: half a million numbers of MiniLM's vectors.
const SAMPLED_ROWS: u32 = 1024;

/// How far from 1 a stated length may be off; beyond it the numbers were out of f32's reach.
const TRUSTED_LENGTH: f64 = 1e-4;

/// The vectors of a collective as a builder reads them.
pub(super) struct Source<'a> {
    table: &'a Table,
    segments: Arc<SegmentSet>,
    /// No live or later snapshot is below it.
    pub(super) horizon: Lsn,
    pub(super) rows: Rows,
}

impl<'a> Source<'a> {
    pub(super) fn new(view: &View, table: &'a Table) -> Self {
        Self {
            table,
            segments: Arc::clone(&view.segments),
            horizon: table.horizon(),
            rows: table.rows(view.lsn()),
        }
    }

    /// A vector of length 1 up to rounding, times what is answered beside it; `None` where no
    /// search needs the row.
    pub(super) fn vector(&self, row: u32) -> Result<Option<(Cow<'_, [f32]>, f32)>> {
        let Some(row) = self.rows.needed(row, self.horizon) else {
            return Ok(None);
        };
        // A damaged body passes no filter.
        if row.row.kind.is_none() {
            return Ok(None);
        }
        let Stored {
            vector,
            inverse_norm,
        } = match body::vector(&self.segments, &row, self.table) {
            Ok(stored) => stored,
            // It answers nobody; health lists it.
            Err(PulseDBError::Corrupted { .. }) => return Ok(None),
            Err(error) => return Err(error),
        };
        let length = squared_norm(vector).sqrt();
        let stated = f64::from(inverse_norm) * length;
        if (stated - 1.0).abs() <= TRUSTED_LENGTH {
            return Ok(Some((Cow::Borrowed(vector), inverse_norm)));
        }
        // Too long or too short for f32 to say 1 / length.
        let normalised = vector
            .iter()
            .map(|value| (f64::from(*value) / length) as f32);
        Ok(Some((Cow::Owned(normalised.collect()), 1.0)))
    }

    /// The step for codes of these rows.
    pub(super) fn unit(&self, rows: Range<u32>, element: VectorElement) -> f32 {
        if element != VectorElement::I8 {
            return 1.0;
        }
        let step = (rows.len() as u32 / SAMPLED_ROWS).max(1);
        let mut sizes: Vec<f32> = rows
            .step_by(step as usize)
            .filter_map(|row| self.vector(row).ok()?)
            .flat_map(|(vector, inverse_norm)| {
                let sizes: Vec<f32> = vector.iter().map(|v| (v * inverse_norm).abs()).collect();
                sizes
            })
            .collect();
        calibrated_unit(&mut sizes)
    }

    /// The graph with the number of its nodes that are dead.
    pub(super) fn counted(&self, graph: Graph) -> IndexedGraph {
        let horizon = self.table.horizon();
        let dead = graph
            .rows()
            .iter()
            .filter(|row| !self.rows.is_needed(**row, horizon))
            .count();
        IndexedGraph::new(graph, dead as u32)
    }
}
