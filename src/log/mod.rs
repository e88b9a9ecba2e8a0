//! How are commits stored, found again and recovered?
//!
//! The log is the database: a sequence of segments, each a sequence of frames (`format`). This
//! engine appends groups of commits, makes them durable, rolls from segment to segment, reads frames
//! in place, and decides after a crash which commits count. It knows neither the manifest, which it
//! reaches through [`SegmentCatalog`], nor what a record means. The committer owns the one
//! [`LogWriter`]; anybody may read through a [`SegmentSet`].

mod ahead;
mod build;
mod damage;
mod file;
mod follow;
mod headless;
mod pieces;
mod place;
mod pool;
mod raw;
mod recover;
mod relocation;
mod residency;
pub mod retire;
mod scan;
mod segment;
mod set;
mod start;
mod summary;
mod tail;
mod walk;
mod writer;

pub(crate) use build::SegmentBuilder;
pub(crate) use file::{check_file, list, remove_orphans, segment_path};
pub(crate) use follow::{Stretch, open_segment, reaches, read_on};
pub(crate) use headless::implied_header;
pub(crate) use pieces::Pieces;
pub(crate) use place::Place;
pub(crate) use pool::SegmentPool;
pub(crate) use raw::RawSegment;
pub(crate) use recover::{OpenLog, Reach, RecoveredLog, Replayed, adopt, holds_records, open_log};
pub(crate) use relocation::Relocation;
#[cfg(feature = "sim")]
pub(crate) use scan::{Terms, survey};
pub(crate) use segment::{Frame, Mapped, Segment, SegmentMeta};
pub(crate) use set::{Covered, SegmentSet};
pub(crate) use tail::{TAIL_FILE, TailFile, TailReader, is_tail_damaged, is_tail_file, read_tail};
pub(crate) use walk::{Step, Walk};
pub(crate) use writer::{LogContext, LogWriter, OutFrame, SegmentCatalog, Unsynced};
