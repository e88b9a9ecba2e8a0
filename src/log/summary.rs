//! What is in a sealed segment, in a few numbers?
//!
//! One walk over the headers of its frames, made when compaction or a report first asks.

use crate::{
    error::Result,
    format::RecordKind,
    model::{Lsn, Timestamp},
};

use super::segment::Frame;

/// The numbers.
#[derive(Clone, Debug, Default)]
pub(crate) struct Summary {
    /// Frames whose header is intact.
    pub(crate) frames: u64,
    /// Whether something in it cannot be read.
    pub(crate) damaged: bool,
    /// LSN of its last frame; zero if there is none.
    pub(crate) last_lsn: Lsn,
    /// Time of its first frame.
    pub(crate) first_time: Option<Timestamp>,
    /// Least and greatest id of the experiences whose bodies are in it.
    pub(crate) body_ids: Option<(u128, u128)>,
    /// Collectives that were deleted, by number, and when.
    pub(crate) deleted_collectives: Vec<(u32, Lsn)>,
    /// Numbers of collectives whose agents' activities are in it, ascending.
    pub(crate) active_collectives: Vec<u32>,
}

impl Summary {
    /// Sums up frames in their order.
    pub(super) fn of<'a>(frames: impl Iterator<Item = Result<Frame<'a>>>) -> Self {
        let mut summary = Self::default();
        for frame in frames {
            let Ok(frame) = frame else {
                summary.damaged = true;
                continue;
            };
            let header = &frame.header;
            summary.frames += 1;
            summary.last_lsn = header.lsn;
            summary.first_time.get_or_insert(header.time);
            match header.kind {
                RecordKind::Body => {
                    let (least, greatest) = summary
                        .body_ids
                        .get_or_insert((header.entity, header.entity));
                    *least = header.entity.min(*least);
                    *greatest = header.entity.max(*greatest);
                }
                RecordKind::CollectiveDeleted => summary
                    .deleted_collectives
                    .push((header.collective, header.lsn)),
                RecordKind::Activity => {
                    let active = &mut summary.active_collectives;
                    if let Err(place) = active.binary_search(&header.collective) {
                        active.insert(place, header.collective);
                    }
                }
                _ => {}
            }
        }
        summary
    }

    /// May the body of this experience be in it?
    pub(crate) fn may_hold_body(&self, id: u128) -> bool {
        // What cannot be read may be anything.
        self.damaged
            || self
                .body_ids
                .is_some_and(|(least, greatest)| (least..=greatest).contains(&id))
    }

    /// May it say what an agent of this collective does?
    pub(crate) fn may_hold_activity(&self, collective: u32) -> bool {
        self.damaged || self.active_collectives.binary_search(&collective).is_ok()
    }
}
