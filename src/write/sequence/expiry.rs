//! Which experiences have expired, as the committer sees it?
//!
//! Readers see none of them; who erases one has it deleted all the same.
//!
//! Whoever walked the rows saw them in a snapshot. Since then one may have been pinned, deleted, or given
//! more time: only those that have expired at the time of the commit are deleted.

use super::Step;
use crate::{format::RowKind, model::ExperienceId, write::request::Reply};

impl Step<'_> {
    /// Deletes those of `ids` that have expired, and answers how many that were.
    pub(super) fn expire(&mut self, ids: &[ExperienceId]) -> Reply {
        let now = self.sequencer.last_time;
        let mut count = 0;
        for id in ids {
            let present = self.present_of(RowKind::Experience, id.as_u128());
            if let Some(present) = present.filter(|present| present.values.expired(now)) {
                self.delete_row(&present);
                count += 1;
            }
        }
        Reply::Count(count)
    }

    /// Deletes an experience, expired or not, if it is there.
    pub(super) fn erase(&mut self, id: ExperienceId) -> Reply {
        if let Some(present) = self.present_of(RowKind::Experience, id.as_u128()) {
            self.delete_row(&present);
        }
        Reply::Done
    }
}
