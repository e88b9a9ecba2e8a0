//! What can still be read of a segment file, whatever happened to it?
//!
//! Its frames need the segment's seed, which stands in the header block. Where the block is lost, any
//! frame gives the seed back: checksums can be computed backwards. Reads with pread, holds no
//! map, changes nothing. For salvage, which trusts nothing but checksums.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use crate::{
    error::{PulseDBError, Result},
    format::{SEGMENT_HEADER_LEN, SegmentHeader},
    model::Lsn,
    vfs::{OpenMode, Vfs, VfsFile},
};

use super::{
    file::{read_header, segment_path},
    headless::find_seed,
    pieces::Pieces,
    scan::{Survey, Terms, survey},
    walk::Walk,
};

/// A segment file whose frames can be checked.
#[derive(Debug)]
pub(crate) struct RawSegment {
    /// The file.
    pub(crate) path: PathBuf,
    /// The id in its name.
    pub(crate) id: u32,
    /// The first LSN in its name.
    pub(crate) first_lsn: Lsn,
    /// Its header block, or what is wrong with it.
    pub(crate) header: Result<SegmentHeader>,
    /// Bytes of the file.
    pub(crate) len: u64,
    seed: u32,
    file: Arc<dyn VfsFile>,
}

impl RawSegment {
    /// Opens the file of the segment `id` that begins with `first_lsn`.
    ///
    /// # Errors
    /// `Version` where a newer build wrote it; `Io` where it cannot be opened; `Corrupted` where neither
    /// header nor any frame is left.
    pub(crate) fn open(vfs: &dyn Vfs, dir: &Path, first_lsn: Lsn, id: u32) -> Result<Self> {
        let path = segment_path(dir, first_lsn, id);
        let file = vfs
            .open(&path, OpenMode::Read)
            .map_err(PulseDBError::io("open", &path))?;
        let len = file.len().map_err(PulseDBError::io("look at", &path))?;
        let header = match read_header(&*file, &path) {
            Err(error @ PulseDBError::Version { .. }) => return Err(error),
            Ok(header) if (header.first_lsn, header.id) != (first_lsn, id) => {
                Err(PulseDBError::corrupted(
                    &path,
                    0,
                    format!(
                        "the header is that of segment {} from LSN {}",
                        header.id, header.first_lsn
                    ),
                ))
            }
            header => header,
        };
        let seed = match &header {
            Ok(header) => header.seed,
            Err(error) => find_seed(&mut Pieces::new(Arc::clone(&file), len), first_lsn)
                .ok_or_else(|| error.clone())?,
        };
        Ok(Self {
            path,
            id,
            first_lsn,
            header,
            len,
            seed,
            file,
        })
    }

    /// Which of its frames count if its end is not known; those behind LSN `upto` do not, and if there
    /// is one, everything up to it was durable.
    pub(crate) fn survey(&self, upto: Option<Lsn>) -> Survey {
        let terms = Terms {
            seed: self.seed,
            from: SEGMENT_HEADER_LEN as u64,
            after: self.first_lsn.get().saturating_sub(1),
            limit: self.len,
            durable: upto.map_or(0, Lsn::get),
            upto: upto.map_or(u64::MAX, Lsn::get),
            session: u64::MAX,
        };
        if terms.upto <= terms.after {
            return Survey::nothing(&terms);
        }
        survey(Pieces::new(Arc::clone(&self.file), self.len), &terms)
    }

    /// A walk over its frames up to byte `limit`.
    pub(crate) fn walk(&self, limit: u64) -> Walk<Pieces> {
        let pieces = Pieces::new(Arc::clone(&self.file), self.len);
        let before_first = self.first_lsn.get().saturating_sub(1);
        let start = SEGMENT_HEADER_LEN as u64;
        Walk::new(pieces, self.seed, start, limit, before_first)
    }
}
