//! What does a graph file hold, and where?
//!
//! A header of 120 bytes, the graph as the vector library writes it, and per row its number and (in
//! graphs of codes) the error of its code. The library's bytes begin with eight of its own and then
//! the matrix of vectors, which the length of the header puts on a multiple of 64 of the file.
//!
//! Invariant: what [`GraphHeader::decode`] accepts has a [`GraphHeader::layout`] without overflow
//! whose parts follow each other. Whether the bytes of the parts are intact is for the caller to
//! check, with [`GraphHeader::body_crc`]. Called by the vector engine.

use std::ops::Range;

use super::{DecodeError, FORMAT_VERSION, FileFault, array_at, put_at};
use crate::{
    config::VectorElement,
    model::{InstanceId, Lsn, Timeline, limits::MAX_DIMENSION},
};

/// Bytes of the header. Eight less than a multiple of 64, see above.
pub const GRAPH_HEADER_LEN: usize = 120;

const MAGIC: [u8; 8] = *b"PULSEHNS";
const CRC_AT: usize = GRAPH_HEADER_LEN - 4;
/// What the library writes in front of the matrix.
const MATRIX_HEAD: u64 = 8;
/// The parts behind the library's bytes start at multiples of this.
const ALIGN: u64 = 64;
/// A row of codes is filled up with zeros to a multiple of so many, for the widest instructions.
const CODES_ALIGN: usize = 64;
/// Bytes of the name of a library's version, filled up with zeros.
const LIBRARY_LEN: usize = 16;

/// How an element is written in the header.
const fn code_of(element: VectorElement) -> u8 {
    match element {
        VectorElement::I8 => 1,
        VectorElement::F16 => 2,
        VectorElement::F32 => 3,
    }
}

const fn element_of(code: u8) -> Option<VectorElement> {
    match code {
        1 => Some(VectorElement::I8),
        2 => Some(VectorElement::F16),
        3 => Some(VectorElement::F32),
        _ => None,
    }
}

/// How a graph was built.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphParams {
    /// Components of a vector, as its owner sees it.
    pub dimension: u16,
    /// What they are stored as.
    pub element: VectorElement,
    /// Neighbours of a node in the upper levels; twice as many in the lowest.
    pub connectivity: u16,
    /// How many candidates an insertion looks at.
    pub expansion_add: u16,
    /// What one step of a code stands for; 1 in graphs that are not of codes.
    pub unit: f32,
}

impl GraphParams {
    /// Stored elements of a vector, padding included.
    #[must_use]
    pub const fn width(&self) -> usize {
        match self.element {
            VectorElement::I8 => (self.dimension as usize).next_multiple_of(CODES_ALIGN),
            VectorElement::F16 | VectorElement::F32 => self.dimension as usize,
        }
    }
}

/// What a graph knows about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Covered {
    /// The database that it belongs to.
    pub database: InstanceId,
    /// The timeline of its newest row.
    pub timeline: Timeline,
    /// The collective's number.
    pub collective: u32,
    /// Its first row.
    pub first: u32,
    /// The row behind its last one. Rows in between that were dead when it was built are left out.
    pub end: u32,
    /// The record that made the last row in it.
    pub last_lsn: Lsn,
    /// What was deleted up to here is left out.
    pub horizon: Lsn,
}

/// The header of a graph file.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct GraphHeader {
    /// What it covers.
    pub covered: Covered,
    /// How it was built.
    pub params: GraphParams,
    /// Rows in it.
    pub rows: u32,
    /// Bytes that are the library's.
    pub graph_len: u64,
    /// The library's version, as text with zeros behind it.
    pub library: [u8; LIBRARY_LEN],
    /// The checksum of everything behind the header.
    pub body_crc: u32,
}

/// The parts of a graph file, as byte ranges of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GraphLayout {
    /// What the library wrote.
    pub graph: Range<u64>,
    /// The vectors in it, one behind the other.
    pub matrix: Range<u64>,
    /// Per vector the number of its row, `u32`.
    pub rows: Range<u64>,
    /// Per vector the error of its code, `f32`; empty in graphs that are not of codes.
    pub errors: Range<u64>,
}

impl GraphLayout {
    /// Bytes of the file.
    #[must_use]
    pub const fn len(&self) -> u64 {
        self.errors.end
    }
}

impl GraphHeader {
    /// A version's name as it stands in the header; `None` if it does not fit.
    #[must_use]
    pub fn library_name(version: &str) -> Option<[u8; LIBRARY_LEN]> {
        let mut name = [0; LIBRARY_LEN];
        name.get_mut(..version.len())?
            .copy_from_slice(version.as_bytes());
        Some(name)
    }

    /// Where the parts are; `None` if they cannot be where the numbers say.
    #[must_use]
    pub fn layout(&self) -> Option<GraphLayout> {
        let rows = u64::from(self.rows);
        let vector = (self.params.width() as u64).checked_mul(self.params.element.bytes() as u64)?;
        let matrix_start = GRAPH_HEADER_LEN as u64 + MATRIX_HEAD;
        let matrix_end = matrix_start.checked_add(rows.checked_mul(vector)?)?;
        let graph_end = (GRAPH_HEADER_LEN as u64).checked_add(self.graph_len)?;
        if graph_end < matrix_end {
            return None;
        }
        let rows_start = graph_end.checked_next_multiple_of(ALIGN)?;
        let rows_end = rows_start.checked_add(rows.checked_mul(4)?)?;
        let errors = match self.params.element {
            VectorElement::I8 => {
                let start = rows_end.checked_next_multiple_of(ALIGN)?;
                start..start.checked_add(rows.checked_mul(4)?)?
            }
            VectorElement::F16 | VectorElement::F32 => rows_end..rows_end,
        };
        Some(GraphLayout {
            graph: GRAPH_HEADER_LEN as u64..graph_end,
            matrix: matrix_start..matrix_end,
            rows: rows_start..rows_end,
            errors,
        })
    }

    /// The header's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; GRAPH_HEADER_LEN] {
        let Self {
            covered, params, ..
        } = self;
        let mut out = [0; GRAPH_HEADER_LEN];
        put_at(&mut out, 0, &MAGIC);
        put_at(&mut out, 8, &FORMAT_VERSION.to_le_bytes());
        put_at(&mut out, 12, &covered.timeline.get().to_le_bytes());
        put_at(&mut out, 16, &covered.database.as_u128().to_be_bytes());
        put_at(&mut out, 32, &covered.collective.to_le_bytes());
        put_at(&mut out, 36, &covered.first.to_le_bytes());
        put_at(&mut out, 40, &covered.end.to_le_bytes());
        put_at(&mut out, 44, &self.rows.to_le_bytes());
        put_at(&mut out, 48, &covered.last_lsn.get().to_le_bytes());
        put_at(&mut out, 56, &covered.horizon.get().to_le_bytes());
        put_at(&mut out, 64, &params.dimension.to_le_bytes());
        put_at(&mut out, 66, &params.connectivity.to_le_bytes());
        put_at(&mut out, 68, &params.expansion_add.to_le_bytes());
        put_at(&mut out, 70, &[code_of(params.element)]);
        put_at(&mut out, 72, &params.unit.to_le_bytes());
        put_at(&mut out, 76, &self.body_crc.to_le_bytes());
        put_at(&mut out, 80, &self.graph_len.to_le_bytes());
        put_at(&mut out, 88, &self.library);
        let crc = crc32fast::hash(out.get(..CRC_AT).unwrap_or_default());
        put_at(&mut out, CRC_AT, &crc.to_le_bytes());
        out
    }

    /// Reads the header at the start of `bytes`, which may be longer.
    pub fn decode(bytes: &[u8]) -> Result<Self, FileFault> {
        let bytes: &[u8; GRAPH_HEADER_LEN] = bytes.first_chunk().ok_or(FileFault::Length)?;
        super::check_file(bytes, MAGIC)?;
        let [code] = array_at(bytes, 70);
        let header = Self {
            covered: Covered {
                timeline: Timeline::new(u32::from_le_bytes(array_at(bytes, 12))),
                database: InstanceId::from_u128(u128::from_be_bytes(array_at(bytes, 16))),
                collective: u32::from_le_bytes(array_at(bytes, 32)),
                first: u32::from_le_bytes(array_at(bytes, 36)),
                end: u32::from_le_bytes(array_at(bytes, 40)),
                last_lsn: Lsn::new(u64::from_le_bytes(array_at(bytes, 48))),
                horizon: Lsn::new(u64::from_le_bytes(array_at(bytes, 56))),
            },
            params: GraphParams {
                dimension: u16::from_le_bytes(array_at(bytes, 64)),
                connectivity: u16::from_le_bytes(array_at(bytes, 66)),
                expansion_add: u16::from_le_bytes(array_at(bytes, 68)),
                element: element_of(code).ok_or(wrong(
                    "graph.element",
                    70,
                    "no element has this code",
                ))?,
                unit: f32::from_le_bytes(array_at(bytes, 72)),
            },
            rows: u32::from_le_bytes(array_at(bytes, 44)),
            body_crc: u32::from_le_bytes(array_at(bytes, 76)),
            graph_len: u64::from_le_bytes(array_at(bytes, 80)),
            library: array_at(bytes, 88),
        };
        header.check()?;
        Ok(header)
    }

    /// Are the numbers those of a graph?
    pub fn check(&self) -> Result<(), DecodeError> {
        let Self {
            covered, params, ..
        } = self;
        let span = covered.end.checked_sub(covered.first);
        if self.rows == 0 || span.is_none_or(|span| span < self.rows) {
            return Err(wrong("graph.rows", 44, "they are not within its range"));
        }
        if params.dimension == 0 || usize::from(params.dimension) > MAX_DIMENSION {
            return Err(wrong("graph.dimension", 64, "the number is out of range"));
        }
        if params.connectivity < 2 {
            return Err(wrong("graph.connectivity", 66, "it is less than 2"));
        }
        if params.expansion_add == 0 {
            return Err(wrong("graph.expansion_add", 68, "it is 0"));
        }
        if !(params.unit.is_finite() && params.unit > 0.0) {
            return Err(wrong(
                "graph.unit",
                72,
                "the number is not finite and positive",
            ));
        }
        if self.layout().is_none() {
            return Err(wrong(
                "graph.graph_len",
                80,
                "the vectors do not fit into it",
            ));
        }
        Ok(())
    }
}

const fn wrong(field: &'static str, offset: u32, what: &'static str) -> DecodeError {
    DecodeError {
        field,
        tag: 0,
        offset,
        what,
    }
}
