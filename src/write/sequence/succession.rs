//! How does one experience take the place of another?
//!
//! In one commit, so that nobody sees both hold, or neither: the new one is recorded, the old one's
//! validity ends at the time of the commit, unless it has an end already, and a relation says which of the
//! two supersedes the other.

use super::Step;
use crate::{
    error::{PulseDBError, Result},
    model::{CollectiveId, ExperienceId, NewRelation, RelationType},
    write::{draft::Embedded, request::Reply},
};

impl Step<'_> {
    pub(super) fn supersede(&mut self, old: ExperienceId, embedded: Embedded) -> Result<Reply> {
        let number = self.collective_for_vectors(&embedded)?;
        // The commit that recorded it has done the rest, too.
        if let Some(known) = self.keyed(number, &embedded) {
            return Ok(Reply::Experience(known));
        }
        let present = self.present(old)?;
        if present.at.collective != number {
            let collective: CollectiveId = embedded.collective;
            return Err(PulseDBError::conflict(format!(
                "experience {old} is not in collective {collective}; an experience is superseded by one \
                 of its own collective"
            )));
        }
        let new = self.record(embedded)?;
        self.end_validity(old)?;
        if let Reply::Experience(id) = &new {
            self.relate(NewRelation::new(*id, old, RelationType::Supersedes))?;
        }
        Ok(new)
    }

    /// Ends the validity of an experience now, unless it has an end.
    fn end_validity(&mut self, id: ExperienceId) -> Result<()> {
        let present = self.present(id)?;
        let mut traits = self.traits(&present)?;
        if traits.valid_to.is_some() {
            return Ok(());
        }
        let now = self.sequencer.last_time;
        if let Some(from) = traits.valid_from
            && from >= now
        {
            return Err(PulseDBError::validation(
                "valid_to",
                now,
                format!(
                    "experience {id} is valid from {from} on, and would end before; update it instead"
                ),
            ));
        }
        traits.valid_to = Some(now);
        self.revise_traits(present, traits, id);
        Ok(())
    }
}
