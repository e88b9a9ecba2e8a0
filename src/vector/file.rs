//! Is a file a whole graph, and the one that is wanted?
//!
//! The library believes every number in the bytes that it is given: a wrong one lets it read anywhere.
//! So it is only ever given a [`CheckedFile`], of which there is none without all of these checks:
//! header, whose it is, the library's version, length, and the checksum of every byte. They defend
//! against what media and crashes do to files, not against somebody who writes a checksum to match.

use std::path::Path;

use super::usearch::library_version;
use crate::{
    error::{PulseDBError, Result},
    format::{FORMAT_VERSION, FileFault, GRAPH_HEADER_LEN, GraphHeader, GraphLayout, GraphParams},
    model::InstanceId,
    vfs::Map,
};

/// What a graph file must be about to be of use.
#[derive(Clone, Copy, Debug)]
pub struct Expected {
    /// The database.
    pub database: InstanceId,
    /// The collective's number.
    pub collective: u32,
    /// Components of its vectors.
    pub dimension: u16,
}

/// A graph file that was found whole. Its bytes do not change any more, see [`Map`].
#[derive(Debug)]
pub struct CheckedFile {
    map: Map,
    header: GraphHeader,
    layout: GraphLayout,
}

impl CheckedFile {
    /// Checks all of `map`, which is one of the whole file. `path` is for errors.
    pub fn new(map: Map, path: &Path, expected: &Expected) -> Result<Self> {
        let (header, layout) = checked(&map, path, expected)?;
        Ok(Self {
            map,
            header,
            layout,
        })
    }

    /// The file.
    #[must_use]
    pub const fn map(&self) -> &Map {
        &self.map
    }

    /// What it says of itself.
    #[must_use]
    pub const fn header(&self) -> &GraphHeader {
        &self.header
    }

    /// How its graph was built.
    #[must_use]
    pub const fn params(&self) -> &GraphParams {
        &self.header.params
    }

    /// Where its parts are.
    #[must_use]
    pub const fn layout(&self) -> &GraphLayout {
        &self.layout
    }

    /// What the library wrote.
    #[must_use]
    pub fn graph(&self) -> &[u8] {
        self.map.get(self.layout.graph.clone()).unwrap_or_default()
    }

    /// The rows in it, ascending.
    #[must_use]
    pub fn rows(&self) -> &[u32] {
        (self.map.numbers(self.layout.rows.clone())).unwrap_or_default()
    }
}

fn checked(map: &Map, path: &Path, expected: &Expected) -> Result<(GraphHeader, GraphLayout)> {
    let damaged = |at: u64, what: &str| PulseDBError::corrupted(path, at, what);
    let foreign = |what: &str| PulseDBError::Vector(format!("{}: {what}", path.display()));
    let start = (
        map.len().min(GRAPH_HEADER_LEN as u64),
        GRAPH_HEADER_LEN as u64,
    );
    let bytes = map.get(0..start.0).unwrap_or_default();
    let header = GraphHeader::decode(bytes).map_err(|fault| match fault {
        FileFault::Version { found } => PulseDBError::Version {
            found,
            supported: FORMAT_VERSION,
        },
        fault => damaged(0, &fault.to_string()),
    })?;
    if header.covered.database != expected.database {
        return Err(foreign("it belongs to another database"));
    }
    if header.covered.collective != expected.collective {
        return Err(foreign("it belongs to another collective"));
    }
    if header.params.dimension != expected.dimension {
        return Err(foreign("its vectors have another dimension"));
    }
    if Some(header.library) != GraphHeader::library_name(library_version()) {
        return Err(foreign("it was written by another version of usearch"));
    }
    let layout = (header.layout()).filter(|layout| layout.len() == map.len());
    let layout = layout.ok_or_else(|| damaged(0, "the length of the file is wrong"))?;
    let body = map.get(start.1..map.len()).unwrap_or_default();
    if crc32fast::hash(body) != header.body_crc {
        return Err(damaged(start.1, "the checksum does not match"));
    }
    // From here on the bytes are those that were written; what follows guards against a build that
    // wrote them in another way.
    let rows = map.numbers(layout.rows.clone()).unwrap_or_default();
    let covered = header.covered.first..header.covered.end;
    if rows.len() != header.rows as usize
        || !rows.is_sorted_by(|a, b| a < b)
        || !rows.iter().all(|row| covered.contains(row))
    {
        return Err(damaged(layout.rows.start, "the rows do not ascend"));
    }
    let vector = header.params.width() * header.params.element.bytes();
    let size = map.numbers(layout.graph.start..layout.matrix.start);
    if size != Some(&[header.rows, vector as u32][..]) {
        return Err(damaged(layout.graph.start, "the matrix has another size"));
    }
    Ok((header, layout))
}
