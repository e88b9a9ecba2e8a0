//! How is it made sure that nothing of an experience is left?
//!
//! Every segment in whose file its id stands is rewritten, be it behind the end, where a recycled file
//! holds old bytes; files with written blocks are thrown away, and so are retired ones, whoever still reads them;
//! and then all files of the log are read, past every cache of ours, to see that the id stands in tombstones only. A frame
//! begins with the id of what it is about, so where the id is gone, the frame is.

use std::{collections::BTreeSet, io, path::Path};

use crate::{
    error::{PulseDBError, Result},
    format::{FRAME_ALIGN, RecordKind},
    model::{CompactionProgress, CompactionReport},
    telemetry::{Operation, Told},
    vfs::OpenMode,
};

use super::{Compactor, Scope, Tail};

/// Bytes read at a time.
const READ_BYTES: usize = 1 << 20;
/// Where a frame has its kind, the number of its collective, and the id of what it is about.
const KIND_AT: usize = 12;
const COLLECTIVE_AT: usize = 32;
const ENTITY_AT: usize = 40;

/// Where something of an entity stands in the log.
#[derive(Default)]
struct Traces {
    /// Ids of the sealed segments in whose files there is more of it than its tombstone.
    segments: Vec<u32>,
    /// Numbers of the collectives that its records name, tombstones included.
    collectives: BTreeSet<u32>,
}

impl Compactor {
    /// Rewrites what holds records of a deleted entity, whoever may still want them. Answers, beside the
    /// report, the numbers of the collectives that it was in, as far as the log still knew them.
    ///
    /// # Errors
    /// As [`Compactor::compact`].
    pub(crate) fn erase(
        &self,
        tail: &dyn Tail,
        entity: u128,
        pace: &mut dyn FnMut(CompactionProgress) -> Result<()>,
    ) -> Result<(CompactionReport, BTreeSet<u32>)> {
        let _one_at_a_time = self.working.lock();
        let call = self.telemetry.begin(Operation::Compaction);
        let outcome = call.span().in_scope(|| {
            let traces = self.traces(tail, entity)?;
            let report = self.rewrite(tail, Scope::Erasing(&traces.segments), pace)?;
            // A compaction that ended in a crash may have left the checkpoint before it.
            if report.segments_rewritten == 0 {
                tail.settle()?;
            }
            Ok((report, traces.collectives))
        });
        call.end_in_background(outcome, Told::default())
    }

    /// Looks through the whole log.
    fn traces(&self, tail: &dyn Tail, entity: u128) -> Result<Traces> {
        self.remove_all_retired();
        tail.seal()?;
        let mut traces = Traces::default();
        let held = tail.hold(true)?;
        for segment in held.segments.sealed() {
            let mut holds = false;
            for unit in segment.whole_file().chunks(FRAME_ALIGN as usize) {
                if names(unit, entity) {
                    traces.collectives.extend(collective_of(unit));
                    holds |= !is_tombstone(unit);
                }
            }
            if holds {
                traces.segments.push(segment.id());
            }
        }
        Ok(traces)
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
                if names(unit, entity) && !is_tombstone(unit) {
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

/// Does a frame about the entity begin with this unit?
fn names(unit: &[u8], entity: u128) -> bool {
    unit.get(ENTITY_AT..ENTITY_AT + 16) == Some(&entity.to_be_bytes()[..])
}

/// Does the tombstone of an experience?
fn is_tombstone(unit: &[u8]) -> bool {
    unit.get(KIND_AT) == Some(&(RecordKind::ExperienceDeleted as u8))
}

/// The collective of the frame that begins with this unit.
fn collective_of(unit: &[u8]) -> Option<u32> {
    let number = unit.get(COLLECTIVE_AT..)?.first_chunk()?;
    Some(u32::from_le_bytes(*number))
}
