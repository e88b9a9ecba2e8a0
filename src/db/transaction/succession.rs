//! How does a transaction let one experience take the place of another?
//!
//! As the committer does (`write/sequence/succession.rs`): three records, one change.

use super::{
    Transaction,
    experiences::{revised, traits_bytes},
    relations::stored,
};
use crate::{
    db::{CHANGE_BYTES, collectives::unexpected},
    error::{PulseDBError, Result},
    model::{EntityKind, ExperienceId, NewExperience, NewRelation, RelationId, RelationType},
    write::{
        draft::Draft,
        refusal,
        request::{Change, Reply},
        revision,
    },
};

/// Records of one that is superseded: the other's body, its traits, and the relation.
const RECORDS: usize = 3;

/// Superseding.
impl Transaction {
    /// Records an experience that takes the place of `old`, ends the validity of `old`, unless it has an end
    /// already, and stores the relation that says so. `valid_to` shows the time of the beginning, and will be
    /// the time of the commit.
    ///
    /// # Errors
    /// As [`PulseDB::supersede_experience`](crate::PulseDB::supersede_experience), and
    /// [`PulseDBError::Validation`] where the transaction would become too
    /// large.
    pub async fn supersede_experience(
        &mut self,
        old: ExperienceId,
        new: NewExperience,
    ) -> Result<ExperienceId> {
        let embedded = self.db.embed_drafts(vec![Draft::experience(new)?]).await?;
        let Some(embedded) = embedded.into_iter().next() else {
            return Err(unexpected(&Reply::Done));
        };
        let staged = self.stage(embedded)?;
        if let Some(known) = self.keyed(&staged.embedded)? {
            return Ok(known);
        }
        let (mut before, at) = self.present(old, true).await?;
        let collective = staged.embedded.collective;
        if before.collective != collective {
            return Err(refusal::superseded_elsewhere(old, collective));
        }
        let now = self.now();
        if staged.own.values.expired(now) {
            // Nothing is related to what is not there.
            return Err(PulseDBError::not_found(EntityKind::Experience, staged.id));
        }
        let (mut ends, mut bytes) = (false, staged.bytes);
        if let Some(traits) = &mut before.traits
            && revision::end_validity(traits, now, old)?
        {
            ends = true;
            bytes += traits_bytes(traits);
        }
        self.make_room(RECORDS, bytes)?;
        // From here on nothing fails.
        let relation = RelationId::from_u128(self.next_id());
        let change = |embedded| Change::Supersede(old, Box::new(embedded), Some(relation));
        let id = self.record(staged, change)?;
        let supersedes = NewRelation::new(id, old, RelationType::Supersedes);
        let supersedes = stored(supersedes, relation, now);
        // The change counts as one record, and as the bytes of its body.
        self.bytes += (RECORDS - 1) * CHANGE_BYTES;
        if ends {
            self.bytes += before.traits.as_ref().map_or(0, traits_bytes);
            revised(&mut before, now);
            self.note(|overlay| overlay.change(old, Some(before), at));
        }
        self.note(|overlay| overlay.relate(collective, supersedes));
        Ok(id)
    }
}
