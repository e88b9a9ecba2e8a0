//! Which rows of a frozen graph are near a vector?
//!
//! A [`Graph`] is one mapped file that has been checked in full: its bytes ([`CheckedFile`]), and then
//! the links in them ([`Links`]). One that fails is no harm but the work of building it anew.
//!
//! Results are candidates with estimates, comparable between graphs; whoever needs the exact order
//! measures the vectors in the log.

use std::{path::Path, sync::OnceLock};

use super::{
    codes::{Codes, Measure, QueryCode, Units},
    elements::halves_of,
    file::{CheckedFile, Expected},
    links::Links,
    sketch::{Sketched, Sketches},
    usearch::Growing,
    walk::{Element, Field},
};
use crate::{
    config::VectorElement,
    error::{PulseDBError, Result},
    format::{Covered, GraphParams},
    simd::{F16, F32},
    vfs::Map,
};

/// A frozen graph. Any number of threads may search it.
pub struct Graph {
    file: CheckedFile,
    links: Links,
    /// Of its codes, made for the first who passes all of them.
    sketches: OnceLock<Sketches>,
}

/// A row that a search found.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Near {
    /// The row.
    pub row: u32,
    /// About how similar it is to the query.
    pub similarity: f32,
    /// How far that may be off.
    pub off: f32,
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
    /// The sketches of the codes, where they were made.
    pub sketches: Option<Sketched<'a>>,
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
            sketches: self.sketches,
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
    /// Checks the graph file that `map` is a map of, all of it. `path` is for errors.
    ///
    /// # Errors
    /// [`PulseDBError::Corrupted`] if the bytes are not whole, [`PulseDBError::Version`] if they are
    /// of another version of the format, [`PulseDBError::Vector`] if they are a graph, but not the
    /// expected one, or one of another version of the library.
    pub fn open(map: Map, path: &Path, expected: &Expected) -> Result<Self> {
        let file = CheckedFile::new(map, path, expected)?;
        let links = Links::check(file.graph(), file.params(), file.rows())?;
        Ok(Self {
            file,
            links,
            sketches: OnceLock::new(),
        })
    }

    /// What it covers.
    #[must_use]
    pub const fn covered(&self) -> &Covered {
        &self.file.header().covered
    }

    /// How it was built.
    #[must_use]
    pub const fn params(&self) -> &GraphParams {
        self.file.params()
    }

    /// Its rows, ascending.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        self.file.rows()
    }

    /// Finds rows near `query`, nearest first: at most `ef` of those that `accept` lets through. More
    /// effort finds nearer ones. `found` is emptied first.
    ///
    /// The fewer rows `accept` lets through, the more of the graph is visited: all of it, if they are
    /// fewer than `ef`. Where `accept` answers `None`, the walk is given up, and the answer is `false`.
    ///
    /// # Errors
    /// [`PulseDBError::Vector`] if the query has another dimension.
    pub fn search(
        &self,
        query: &QueryCode,
        ef: usize,
        accept: impl FnMut(u32) -> Option<bool>,
        found: &mut Vec<Near>,
    ) -> Result<bool> {
        found.clear();
        let direction = query.direction();
        let dimension = self.params().dimension;
        if direction.len() != usize::from(dimension) {
            return Err(PulseDBError::Vector(format!(
                "a query of {} components in a graph of {dimension}",
                direction.len(),
            )));
        }
        let numbers = (self.file.map()).get(self.file.layout().matrix.clone());
        let numbers = numbers.unwrap_or_default();
        // What rounding loses is less than what the query's code does.
        let off = query.off(Measure::GONE);
        Ok(match (self.codes(), self.params().element) {
            (Some(matrix), _) => self.walk(
                matrix.codes,
                query.codes(),
                ef,
                accept,
                |slot, dot| {
                    let error = *matrix.errors.get(slot)?;
                    let unit = matrix.unit;
                    Some(query.interval(dot, Measure { unit, error }))
                },
                found,
            ),
            (None, VectorElement::F16) => {
                let halves = halves_of(direction).into_iter();
                let query: Vec<F16> = halves.map(u16::to_ne_bytes).collect();
                self.walk(
                    numbers.as_chunks().0,
                    &query,
                    ef,
                    accept,
                    |_, dot| Some((F16::dot(dot), off)),
                    found,
                )
            }
            (None, _) => {
                let query: Vec<F32> = direction.iter().map(|x| x.to_ne_bytes()).collect();
                self.walk(
                    numbers.as_chunks().0,
                    &query,
                    ef,
                    accept,
                    |_, dot| Some((F32::dot(dot), off)),
                    found,
                )
            }
        })
    }

    fn walk<T: Element>(
        &self,
        vectors: &[T],
        query: &[T],
        ef: usize,
        mut accept: impl FnMut(u32) -> Option<bool>,
        interval: impl Fn(usize, i32) -> Option<(f32, f32)>,
        found: &mut Vec<Near>,
    ) -> bool {
        let rows = self.rows();
        let field = Field {
            vectors,
            width: self.params().width(),
            links: &self.links,
            graph: self.file.graph(),
        };
        let ef = ef.clamp(1, rows.len().max(1));
        let accept = |slot: u32| {
            rows.get(slot as usize)
                .map_or(Some(false), |row| accept(*row))
        };
        let ended = field.walk(query, ef, accept, |slot, nearness| {
            let slot = slot as usize;
            let near = rows.get(slot).zip(interval(slot, nearness));
            found.extend(near.map(|(row, (similarity, off))| Near {
                row: *row,
                similarity,
                off,
            }));
        });
        if !ended {
            found.clear();
        }
        ended
    }

    /// The codes, if it is a graph of codes.
    #[must_use]
    pub fn codes(&self) -> Option<CodeMatrix<'_>> {
        let params = self.params();
        if params.element != VectorElement::I8 {
            return None;
        }
        let (map, layout) = (self.file.map(), self.file.layout());
        Some(CodeMatrix {
            rows: self.file.rows(),
            codes: map.signed(layout.matrix.clone())?,
            width: params.width(),
            unit: params.unit,
            errors: map.floats(layout.errors.clone())?,
            sketches: self.sketches.get().map(Sketches::all),
        })
    }

    /// The codes with their sketches, which the first call makes.
    #[must_use]
    pub fn sketched_codes(&self) -> Option<CodeMatrix<'_>> {
        let matrix = self.codes()?;
        let dimension = usize::from(self.params().dimension);
        let sketches = (self.sketches).get_or_init(|| Sketches::new(&matrix.codes(), dimension));
        Some(CodeMatrix {
            sketches: Some(sketches.all()),
            ..matrix
        })
    }

    /// Bytes in memory: the mapped file, as if all of it were resident, and what is kept beside it.
    #[must_use]
    pub fn memory(&self) -> u64 {
        let sketches = self.sketches.get().map_or(0, Sketches::bytes);
        let beside = self.links.heap() + sketches;
        self.file.map().len().saturating_add(beside as u64)
    }

    /// A copy that can be added to.
    pub(super) fn copied(&self, more: usize) -> Result<Growing> {
        Growing::copy_of(&self.file, more)
    }
}
