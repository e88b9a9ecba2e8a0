//! How does a transaction store, read and delete relations?
//!
//! What storing one depends on, the committer asks anew: whether both ends are there, and whether it has been
//! said already. So whoever stores one has seen nothing, unless it is refused.

use super::Transaction;
use crate::{
    error::{PulseDBError, Result},
    format::RowKind,
    model::{CollectiveId, EntityKind, ExperienceRelation, NewRelation, RelationId, Timestamp},
    read::{reader::Reader, relations},
    telemetry::Operation,
    write::{refusal, request::Change, validate},
};

/// Relations. Those of an experience are gone with it at once.
impl Transaction {
    /// Stores a relation. The id is final; the relation is seen by this transaction at once, and by others
    /// after the commit.
    ///
    /// # Errors
    /// As [`PulseDB::store_relation`](crate::PulseDB::store_relation), and
    /// [`PulseDBError::Validation`] where the transaction would become too large.
    pub async fn store_relation(&mut self, new: NewRelation) -> Result<RelationId> {
        validate::relation(&new)?;
        self.db.engine().committer()?;
        let asked = new.clone();
        let look = move |reader: &Reader| look(reader, &asked);
        let looked = self.db.read(Operation::ReadRelations, look).await;
        let refused = match looked {
            Ok(Ok(collective)) => return self.relate(collective, new),
            Ok(Err(known)) => {
                self.saw_relation(known)?;
                refusal::relation_said_already(known)
            }
            Err(error) => error,
        };
        self.saw_experience(new.source_id)?;
        self.saw_experience(new.target_id)?;
        Err(refused)
    }

    fn relate(&mut self, collective: CollectiveId, new: NewRelation) -> Result<RelationId> {
        let bytes = new.metadata.as_ref().map_or(0, String::len);
        self.make_room(1, bytes)?;
        let id = RelationId::from_u128(self.next_id());
        let own = stored(new.clone(), id, self.now());
        let change = Change::Relate(Some(id), Box::new(new));
        self.write(change, bytes, |overlay| overlay.relate(collective, own));
        Ok(id)
    }

    /// The relation with this id; `None` where there is none, or one of its ends is gone. Sees it, and its
    /// ends.
    ///
    /// # Errors
    /// As [`PulseDB::get_relation`](crate::PulseDB::get_relation), and [`PulseDBError::Validation`] where the
    /// transaction has seen too much.
    pub async fn get_relation(&mut self, id: RelationId) -> Result<Option<ExperienceRelation>> {
        let Some(relation) = self.stored_relation(id).await? else {
            return Ok(None);
        };
        let reader = self.db.reader()?;
        Ok(relations::has_both_ends(&reader, &relation).then_some(relation))
    }

    /// Deletes a relation. Sees it, and its ends, with which it would go.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`]; [`PulseDBError::Corrupted`] where its record is
    /// damaged.
    pub async fn delete_relation(&mut self, id: RelationId) -> Result<()> {
        self.db.engine().committer()?;
        if self.stored_relation(id).await?.is_none() {
            return Err(PulseDBError::not_found(EntityKind::Relation, id));
        }
        self.make_room(1, 0)?;
        let at = self.db.reader()?.row_of(RowKind::Relation, id.as_u128());
        self.write(Change::DeleteRelation(id), 0, |overlay| {
            overlay.delete_relation(id, at);
        });
        Ok(())
    }

    async fn stored_relation(&mut self, id: RelationId) -> Result<Option<ExperienceRelation>> {
        self.saw_relation(id)?;
        let stored = self
            .db
            .read(Operation::TransactionRead, move |reader| {
                relations::stored(reader, id)
            })
            .await?;
        if let Some(relation) = &stored {
            self.saw_experience(relation.source_id)?;
            self.saw_experience(relation.target_id)?;
        }
        Ok(stored)
    }
}

/// A relation as it will be read.
pub(super) fn stored(
    new: NewRelation,
    id: RelationId,
    created_at: Timestamp,
) -> ExperienceRelation {
    ExperienceRelation {
        id,
        source_id: new.source_id,
        target_id: new.target_id,
        relation_type: new.relation_type,
        strength: new.strength,
        metadata: new.metadata,
        created_at,
    }
}

/// The collective of both ends, or what says the same already: decided as the committer will.
fn look(
    reader: &Reader,
    new: &NewRelation,
) -> Result<std::result::Result<CollectiveId, RelationId>> {
    let (source, _) = reader.locate(new.source_id)?;
    let (target, _) = reader.locate(new.target_id)?;
    if source.id != target.id {
        return Err(refusal::relation_leads_elsewhere(new));
    }
    let collective = CollectiveId::from_u128(source.id);
    Ok(relations::between(reader, new)?.map_or(Ok(collective), Err))
}
