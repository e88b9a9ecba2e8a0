//! Which experiences have cooled down, as the committer sees it?
//!
//! Whoever walked the rows saw them in a snapshot. Since then one may have been reinforced, pinned, archived or
//! deleted, or its collective may have other rules: only those that are cold at the time of the commit are archived.

use super::Step;
use crate::{
    error::Result,
    format::{RowKind, collective_of},
    model::{EventType, ExperienceId},
    write::request::Reply,
};

impl Step<'_> {
    /// Archives those of `ids` that are cold, and answers how many that were. Unless it was `asked` for, those
    /// alone of collectives that want it.
    pub(super) fn archive_cold(&mut self, ids: &[ExperienceId], asked: bool) -> Result<Reply> {
        let now = self.now();
        let mut count = 0;
        for id in ids {
            let Some(mut present) = self.present_of(RowKind::Experience, id.as_u128()) else {
                continue;
            };
            let number = collective_of(present.at.collective);
            let Some(collective) = self.pending.collective(number, self.applier) else {
                continue;
            };
            let decay = &collective.decay;
            let wanted = asked || decay.auto_archive_below_floor;
            // What damage hides cannot be known to be cold.
            let known = present.values.damaged_place.is_none();
            if wanted && known && present.values.cold(decay, now).is_some() {
                present.values.archived = true;
                self.revise_vitals(present, EventType::Archived, *id)?;
                count += 1;
            }
        }
        Ok(Reply::Count(count))
    }
}
