//! How does one experience take the place of another?
//!
//! In one commit, so that nobody sees both hold, or neither: the new one is recorded, the old one's
//! validity ends at the time of the commit, unless it has an end already, and a relation says which of the
//! two supersedes the other.

use super::Step;
use crate::{
    error::Result,
    model::{ExperienceId, NewRelation, RelationId, RelationType},
    write::{draft::Embedded, refusal, request::Reply, revision},
};

impl Step<'_> {
    pub(super) fn supersede(
        &mut self,
        old: ExperienceId,
        embedded: Embedded,
        relation: Option<RelationId>,
    ) -> Result<Reply> {
        let number = self.collective_for_vectors(&embedded)?;
        // The commit that recorded it has done the rest, too.
        if let Some(known) = self.recorded(number, &embedded)? {
            return Ok(Reply::Experience(known));
        }
        let present = self.present(old)?;
        if present.at.collective != number {
            return Err(refusal::superseded_elsewhere(old, embedded.collective));
        }
        let new = self.record(embedded)?;
        self.end_validity(old)?;
        if let Reply::Experience(id) = &new {
            let supersedes = NewRelation::new(*id, old, RelationType::Supersedes);
            self.relate(relation, supersedes)?;
        }
        Ok(new)
    }

    /// Ends the validity of an experience now, unless it has an end.
    fn end_validity(&mut self, id: ExperienceId) -> Result<()> {
        let present = self.present(id)?;
        let mut traits = self.traits(&present)?;
        if revision::end_validity(&mut traits, self.now(), id)? {
            self.revise_traits(present, traits, id);
        }
        Ok(())
    }
}
