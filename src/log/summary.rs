//! What is in a sealed segment, in a few numbers?
//!
//! One walk over the headers of its frames, and over the few payloads that name agents, made when compaction
//! or a report first asks.

use std::collections::{HashMap, HashSet};

use roaring::RoaringBitmap;

use crate::{
    error::Result,
    format::{ActivityRecord, FrameHeader, RecordKind, key_hash},
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
    /// Least and greatest id of the experiences, relations and insights that were made in it.
    pub(crate) body_ids: Option<(u128, u128)>,
    /// Rows that were changed in it, by the number of their table.
    pub(crate) changed_rows: HashMap<u32, RoaringBitmap>,
    /// Collectives that were deleted, by number, and when.
    pub(crate) deleted_collectives: Vec<(u32, Lsn)>,
    /// Whose activities are in it, as [`activity_hash`] names them.
    pub(crate) activities: HashSet<u64>,
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
                kind if kind.makes_row() => {
                    let (least, greatest) = summary
                        .body_ids
                        .get_or_insert((header.entity, header.entity));
                    *least = header.entity.min(*least);
                    *greatest = header.entity.max(*greatest);
                }
                RecordKind::Vitals | RecordKind::Traits => {
                    let rows = summary.changed_rows.entry(header.table()).or_default();
                    rows.insert(header.row);
                }
                RecordKind::CollectiveDeleted => summary
                    .deleted_collectives
                    .push((header.collective, header.lsn)),
                RecordKind::Activity => {
                    let record = frame.verified_payload().map(ActivityRecord::decode);
                    if let Ok(Ok(record)) = record {
                        let hash = activity_hash(header.collective, &record.agent_id);
                        summary.activities.insert(hash);
                    } else {
                        summary.damaged = true;
                    }
                }
                _ => {}
            }
        }
        summary
    }

    /// May a record be in it that made, or changed, the experience, relation or insight that this one deletes?
    pub(crate) fn may_hold_victim(&self, tombstone: &FrameHeader) -> bool {
        let changed = self.changed_rows.get(&tombstone.table());
        // What cannot be read may be anything.
        self.damaged
            || changed.is_some_and(|rows| rows.contains(tombstone.row))
            || self
                .body_ids
                .is_some_and(|(least, greatest)| (least..=greatest).contains(&tombstone.entity))
    }

    /// May it say what this agent does?
    pub(crate) fn may_hold_activity(&self, collective: u32, agent: &str) -> bool {
        self.damaged || self.activities.contains(&activity_hash(collective, agent))
    }
}

/// An agent of a collective in eight bytes. Two may have the same: then a tombstone stays longer than needed.
fn activity_hash(collective: u32, agent: &str) -> u64 {
    key_hash(collective, agent)
}
