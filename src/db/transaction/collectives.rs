//! How does a transaction create, change and delete collectives?

use super::{Transaction, definition_bytes};
use crate::{
    error::Result,
    model::{Collective, CollectiveId, DecayConfig, UserId},
    write::{request::Change, validate},
};

/// Collectives.
impl Transaction {
    /// Creates a collective of the configured dimension and decay. The id is final.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`](crate::PulseDBError::Validation) unless the name has 1–255 characters.
    pub async fn create_collective(&mut self, name: &str) -> Result<CollectiveId> {
        self.make_collective(name, None)
    }

    /// Creates a collective that belongs to `owner`.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`](crate::PulseDBError::Validation) unless name and owner have 1–255 and 1–256 characters.
    pub async fn create_collective_with_owner(
        &mut self,
        name: &str,
        owner: impl Into<UserId>,
    ) -> Result<CollectiveId> {
        self.make_collective(name, Some(owner.into()))
    }

    /// The oldest collective of this name, or a new one. Sees which collectives there are.
    ///
    /// # Errors
    /// As [`Transaction::create_collective`].
    pub async fn get_or_create_collective(&mut self, name: &str) -> Result<CollectiveId> {
        let all = self.list_collectives().await?;
        match all.into_iter().find(|known| known.name == name) {
            Some(known) => Ok(known.id),
            None => self.create_collective(name).await,
        }
    }

    /// Changes how energy fades in a collective.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::Validation`](crate::PulseDBError::Validation).
    pub async fn set_decay_config(&mut self, id: CollectiveId, decay: DecayConfig) -> Result<()> {
        validate::decay(&decay)?;
        let mut changed = self.definition(id)?;
        changed.decay = decay.clone();
        let bytes = definition_bytes(&changed);
        self.make_room(1, bytes)?;
        self.write(Change::SetDecay(id, decay), bytes, |overlay| {
            overlay.redefine(changed);
        });
        Ok(())
    }

    /// Deletes a collective with everything that is in it at the commit.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::Validation`](crate::PulseDBError::Validation).
    pub async fn delete_collective(&mut self, id: CollectiveId) -> Result<()> {
        self.definition(id)?;
        self.make_room(1, 0)?;
        self.write(Change::DeleteCollective(id), 0, |overlay| {
            overlay.delete_collective(id);
        });
        Ok(())
    }

    fn make_collective(&mut self, name: &str, owner: Option<UserId>) -> Result<CollectiveId> {
        let new = self.db.new_collective(name, owner)?;
        let id = CollectiveId::from_u128(self.next_id());
        let definition = new.clone().defined(id, self.now());
        let bytes = definition_bytes(&definition);
        self.make_room(1, bytes)?;
        let change = Change::CreateCollective {
            id: Some(id),
            new,
            reuse_named: false,
        };
        self.write(change, bytes, |overlay| overlay.create(definition));
        Ok(id)
    }

    /// The definition of a collective that is to be changed.
    fn definition(&mut self, id: CollectiveId) -> Result<Collective> {
        self.db.engine().committer()?;
        self.saw_definition(id)?;
        let definition = self.db.reader()?.collective(id)?;
        Ok(Collective::clone(&definition))
    }
}
