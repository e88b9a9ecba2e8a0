//! What becomes of insights?
//!
//! They are recorded as experiences are; beyond that, what an insight was derived from has to be there.

use super::Step;
use crate::{
    error::{PulseDBError, Result},
    format::{RecordKind, RowKind},
    model::{EntityKind, ExperienceId, InsightId},
    write::{
        draft::Embedded,
        refusal,
        request::{Imported, Reply},
    },
};

impl Step<'_> {
    /// Refuses sources that are not there, or elsewhere.
    pub(super) fn check_sources(&mut self, number: u32, sources: &[ExperienceId]) -> Result<()> {
        for source in sources {
            let present = self.present(*source)?;
            if present.at.collective != number {
                return Err(refusal::source_elsewhere(*source));
            }
        }
        Ok(())
    }

    /// One that was stored elsewhere first; nothing of it ever changes.
    pub(super) fn import_insight(&mut self, embedded: Embedded) -> Result<Reply> {
        let Some(id) = embedded.origin.as_ref().map(|origin| origin.id) else {
            return self.record(embedded);
        };
        let number = self.collective_for_vectors(&embedded)?;
        let table = RowKind::Insight.table(number);
        if let Some(present) = self.pending.present(id, self.applier) {
            return Self::already(present.at.collective == table, EntityKind::Insight, id);
        }
        self.check_sources(number, &embedded.sources)?;
        self.append((table, RecordKind::Insight), embedded, id)?;
        Ok(Reply::Imported(Imported::Created))
    }

    /// What becomes of an import whose id something has.
    pub(super) fn already(same: bool, kind: EntityKind, id: u128) -> Result<Reply> {
        if same {
            return Ok(Reply::Imported(Imported::Unchanged));
        }
        Err(PulseDBError::conflict(format!(
            "the id {} of an imported {kind} is that of something else in this database; ids are given once",
            ExperienceId::from_u128(id)
        )))
    }

    pub(super) fn delete_insight(&mut self, id: InsightId) -> Result<Reply> {
        let present = self
            .present_of(RowKind::Insight, id.as_u128())
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Insight, id))?;
        self.push_tombstone(RecordKind::InsightDeleted, present.at, id.as_u128());
        Ok(Reply::Done)
    }
}
