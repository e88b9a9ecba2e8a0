//! How are commits stored, found again and recovered?
//!
//! The log is the database: a sequence of segments, each a sequence of frames (`format`). This
//! engine appends groups of commits, makes them durable, rolls from segment to segment, reads frames
//! in place, and decides after a crash which commits count. It knows neither the manifest, which it
//! reaches through [`SegmentCatalog`], nor what a record means. The committer owns the one
//! [`LogWriter`]; anybody may read through a [`SegmentSet`].

mod damage;
mod file;
mod place;
mod pool;
mod recover;
mod residency;
mod scan;
mod segment;
mod set;
mod tail;
mod walk;
mod writer;

pub(crate) use file::remove_orphans;
pub(crate) use place::Place;
pub(crate) use pool::SegmentPool;
pub(crate) use recover::{Reach, RecoveredLog, Replayed, adopt, holds_records, open_log};
pub(crate) use segment::{Frame, Segment, SegmentMeta};
pub(crate) use set::SegmentSet;
pub(crate) use tail::{TailFile, is_tail_file, read_tail};
pub(crate) use writer::{LogContext, LogWriter, OutFrame, SegmentCatalog, Unsynced};
