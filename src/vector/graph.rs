//! Which rows of a frozen graph are near a vector?
//!
//! A [`Graph`] is one mapped file that has been checked in full ([`CheckedFile`]). One that fails is
//! no harm but the work of building it anew.
//!
//! Results are candidates. In graphs of codes their distances are estimates, comparable between
//! graphs; whoever needs the exact order measures the vectors in the log.

use std::path::Path;

use super::{
    codes::{Codes, Units},
    elements::Encoder,
    file::{CheckedFile, Expected},
    usearch::{Frozen, Growing},
};
use crate::{
    config::VectorElement,
    error::Result,
    format::{Covered, GraphParams},
    vfs::Map,
};

/// A frozen graph. Any number of threads may search it.
pub struct Graph {
    frozen: Frozen,
}

/// The codes in a graph, row by row.
#[derive(Clone, Copy, Debug)]
pub struct CodeMatrix<'a> {
    /// The rows, ascending.
    pub rows: &'a [u32],
    /// `width` codes for each of them.
    pub codes: &'a [i8],
    /// Codes of a row, padding included.
    pub width: usize,
    /// What one step of a code stands for.
    pub unit: f32,
    /// Per row an upper bound of the distance between its direction and what its codes stand for.
    pub errors: &'a [f32],
}

impl<'a> CodeMatrix<'a> {
    /// The codes as a run.
    #[must_use]
    pub const fn codes(&self) -> Codes<'a> {
        Codes {
            codes: self.codes,
            width: self.width,
            units: Units::Same(self.unit),
            errors: self.errors,
        }
    }

    /// Which code is that of `row`.
    #[must_use]
    pub fn slot(&self, row: u32) -> Option<usize> {
        // Where no row was left out, the place follows from the number.
        let first = *self.rows.first()?;
        let direct = row.checked_sub(first)? as usize;
        match self.rows.get(direct) {
            Some(found) if *found == row => Some(direct),
            _ => self.rows.binary_search(&row).ok(),
        }
    }
}

impl Graph {
    /// Checks the graph file that `map` is a map of, all of it, and prepares it for `slots` searches
    /// at once; more wait. `path` is for errors.
    ///
    /// # Errors
    /// [`PulseDBError::Corrupted`] if the bytes are not whole, [`PulseDBError::Version`] if they are
    /// of another version of the format, [`PulseDBError::Vector`] if they are a graph, but not the
    /// expected one, or one of another version of the library.
    pub fn open(map: Map, path: &Path, expected: &Expected, slots: usize) -> Result<Self> {
        let file = CheckedFile::new(map, path, expected)?;
        Ok(Self {
            frozen: Frozen::view(file, slots)?,
        })
    }

    /// What it covers.
    #[must_use]
    pub const fn covered(&self) -> &Covered {
        &self.frozen.file().header().covered
    }

    /// How it was built.
    #[must_use]
    pub const fn params(&self) -> &GraphParams {
        self.frozen.file().params()
    }

    /// Its rows, ascending.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        self.frozen.file().rows()
    }

    /// Finds candidates near `query`: at most `ef` of the rows that `accept` lets through, with
    /// their negative cosine, nearest first. More effort finds nearer ones. `found` is emptied
    /// first. `accept` is asked while a slot is held, so it must not search this graph.
    ///
    /// The fewer rows `accept` lets through, the more of the graph is visited: all of it, if they are
    /// fewer than `ef`. And whatever a search visits, every later one of its slot pays for, since
    /// the library keeps the set of visited nodes at its largest size and clears all of it each
    /// time. So callers scan where few rows are left.
    pub fn search(
        &self,
        query: &[f32],
        query_inverse_norm: f32,
        ef: usize,
        accept: Option<&dyn Fn(u32) -> bool>,
        found: &mut Vec<(u32, f32)>,
    ) -> Result<()> {
        found.clear();
        let mut encoder = Encoder::new(*self.params());
        let scale = encoder.query(query, query_inverse_norm)?;
        self.frozen
            .search(encoder.elements(), ef, accept, |row, distance| {
                found.push((row, distance * scale));
            })
    }

    /// The codes, if it is a graph of codes.
    #[must_use]
    pub fn codes(&self) -> Option<CodeMatrix<'_>> {
        let params = self.params();
        if params.element != VectorElement::I8 {
            return None;
        }
        let file = self.frozen.file();
        Some(CodeMatrix {
            rows: file.rows(),
            codes: file.map().signed(file.layout().matrix.clone())?,
            width: params.width(),
            unit: params.unit,
            errors: file.map().floats(file.layout().errors.clone())?,
        })
    }

    /// Bytes in memory: the mapped file, as if all of it were resident, and what the library keeps
    /// beside it.
    #[must_use]
    pub fn memory(&self) -> u64 {
        self.frozen
            .file()
            .map()
            .len()
            .saturating_add(self.frozen.heap())
    }

    /// A copy that can be added to.
    pub(super) fn copied(&self, more: usize) -> Result<Growing> {
        Growing::copy_of(&self.frozen, more)
    }
}
