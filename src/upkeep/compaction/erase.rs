//! How is it made sure that nothing of an experience is left?
//!
//! Every segment in whose file its id stands is rewritten, be it behind the end, where a recycled file
//! holds old bytes; files with written blocks are thrown away, and so are retired ones, whoever still reads them;
//! and then all files are read, past every cache of ours, to see that the id stands in tombstones only. A frame begins with the id of what it
//! is about, so where the id is gone, the frame is.

use std::{io, path::Path};

use crate::{
    error::{PulseDBError, Result},
    format::{FRAME_ALIGN, RecordKind},
    log::{Segment, SegmentSet},
    vfs::OpenMode,
};

use super::{Compactor, Tail};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Where a frame has its kind, and the id of what it is about.
const KIND_AT: usize = 12;
const ENTITY_AT: usize = 40;

impl Compactor {
    /// The sealed segments in whose files something of the entity stands.
    pub(super) fn holding(&self, tail: &dyn Tail, entity: u128) -> Result<Vec<u32>> {
        self.remove_all_retired();
        tail.seal()?;
        let segments: SegmentSet = SegmentSet::clone(&*tail.hold(true)?.segments);
        let holds = |segment: &Segment| {
            let units = segment.whole_file().chunks(FRAME_ALIGN as usize);
            units.into_iter().any(|unit| is_record_of(unit, entity))
        };
        let sealed = segments.sealed().iter();
        Ok(sealed
            .filter(|segment| holds(segment))
            .map(|segment| segment.id())
            .collect())
    }

    /// Reads all files of the log and says how many there were.
    ///
    /// # Errors
    /// `Conflict` naming the file and the offset where something of the entity still stands.
    pub(crate) fn prove_gone(&self, entity: u128) -> Result<u64> {
        let names = self
            .vfs
            .list(&self.dir)
            .map_err(PulseDBError::io("list", &self.dir))?;
        for name in &names {
            self.prove_gone_from(&self.dir.join(name), entity)?;
        }
        Ok(names.len() as u64)
    }

    fn prove_gone_from(&self, path: &Path, entity: u128) -> Result<()> {
        let file = match self.vfs.open(path, OpenMode::Read) {
            Ok(file) => file,
            // Removed since the directory was listed.
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(()),
            Err(error) => return Err(PulseDBError::io("open", path)(error)),
        };
        let len = file.len().map_err(PulseDBError::io("look at", path))?;
        let mut buffer = vec![0; READ_BYTES];
        let mut at = 0;
        while at < len {
            let take = (len - at).min(READ_BYTES as u64) as usize;
            let part = buffer.get_mut(..take).unwrap_or_default();
            file.read_exact_at(part, at)
                .map_err(PulseDBError::io("read", path))?;
            for (unit, offset) in part.chunks(FRAME_ALIGN as usize).zip((at..).step_by(64)) {
                if is_record_of(unit, entity) {
                    return Err(PulseDBError::conflict(format!(
                        "something of it still stands in {} at offset {offset}; if the file is \
                         damaged, salvage the database without it",
                        path.display()
                    )));
                }
            }
            at += take as u64;
        }
        Ok(())
    }
}

/// Does a frame about the entity, other than its tombstone, begin with this unit?
fn is_record_of(unit: &[u8], entity: u128) -> bool {
    unit.get(ENTITY_AT..ENTITY_AT + 16) == Some(&entity.to_be_bytes()[..])
        && unit.get(KIND_AT) != Some(&(RecordKind::ExperienceDeleted as u8))
}
