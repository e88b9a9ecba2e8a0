//! What becomes of insights?
//!
//! They are recorded as experiences are; beyond that, what an insight was derived from has to be there.

use super::Step;
use crate::{
    error::{PulseDBError, Result},
    format::{RecordKind, RowKind},
    model::{EntityKind, ExperienceId, InsightId},
    write::request::Reply,
};

impl Step<'_> {
    /// Refuses sources that are not there, or elsewhere.
    pub(super) fn check_sources(&mut self, number: u32, sources: &[ExperienceId]) -> Result<()> {
        for source in sources {
            let present = self.present(*source)?;
            if present.at.collective != number {
                return Err(PulseDBError::validation(
                    "source_experience_ids",
                    source,
                    "it must be in the collective of the insight",
                ));
            }
        }
        Ok(())
    }

    pub(super) fn delete_insight(&mut self, id: InsightId) -> Result<Reply> {
        let present = self
            .pending
            .present(id.as_u128(), self.applier)
            .filter(|present| RowKind::of_table(present.at.collective) == RowKind::Insight)
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Insight, id))?;
        self.push_tombstone(RecordKind::InsightDeleted, present.at, id.as_u128());
        Ok(Reply::Done)
    }
}
