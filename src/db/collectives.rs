//! Collectives, as the application asks for them.

use crate::{
    db::PulseDB,
    error::{PulseDBError, Result},
    model::{Collective, CollectiveId, CollectiveStats, DecayConfig, UserId},
    read::stats,
    sync::Arc,
    telemetry::Operation,
    write::{
        request::{Change, NewCollective, Reply},
        validate,
    },
};

/// Collectives.
impl PulseDB {
    /// Creates a collective of the configured dimension and decay. Names need not be unique.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] unless the name has 1–255 characters.
    pub async fn create_collective(&self, name: &str) -> Result<CollectiveId> {
        self.make_collective(name, None, false).await
    }

    /// Creates a collective that belongs to `owner`.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] unless name and owner have 1–255 and 1–256 characters.
    pub async fn create_collective_with_owner(
        &self,
        name: &str,
        owner: impl Into<UserId>,
    ) -> Result<CollectiveId> {
        self.make_collective(name, Some(owner.into()), false).await
    }

    /// The oldest collective of this name, or a new one; decided in one commit, so that two
    /// callers get the same.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] unless the name has 1–255 characters.
    pub async fn get_or_create_collective(&self, name: &str) -> Result<CollectiveId> {
        self.make_collective(name, None, true).await
    }

    /// One collective, or `None` where there is none of this id.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn get_collective(&self, id: CollectiveId) -> Result<Option<Collective>> {
        match self.reader()?.collective(id) {
            Ok(collective) => Ok(Some(Collective::clone(&collective))),
            Err(PulseDBError::NotFound { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// All collectives, oldest first.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn list_collectives(&self) -> Result<Vec<Collective>> {
        Ok(self.reader()?.collectives())
    }

    /// The collectives of one owner, oldest first.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn list_collectives_by_owner(&self, owner: &UserId) -> Result<Vec<Collective>> {
        let mut all = self.list_collectives().await?;
        all.retain(|collective| collective.owner_id.as_ref() == Some(owner));
        Ok(all)
    }

    /// Counts of a collective.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`].
    pub async fn get_collective_stats(&self, id: CollectiveId) -> Result<CollectiveStats> {
        let indexing = Arc::clone(&self.engine().indexing);
        self.read(Operation::Stats.of(id), move |reader| {
            indexing.make_loaded(&reader.view);
            stats::collective(reader, id)
        })
        .await
    }

    /// Changes how energy fades in a collective, from now on and for what is there.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn set_decay_config(&self, id: CollectiveId, decay: DecayConfig) -> Result<()> {
        validate::decay(&decay)?;
        self.commit_one(Change::SetDecay(id, decay), 0)
            .await
            .map(drop)
    }

    /// Deletes a collective with everything in it, in one record.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`].
    pub async fn delete_collective(&self, id: CollectiveId) -> Result<()> {
        self.commit_one(Change::DeleteCollective(id), 0)
            .await
            .map(drop)
    }

    async fn make_collective(
        &self,
        name: &str,
        owner: Option<UserId>,
        reuse_named: bool,
    ) -> Result<CollectiveId> {
        let change = Change::CreateCollective {
            id: None,
            new: self.new_collective(name, owner)?,
            reuse_named,
        };
        match self.commit_one(change, name.len()).await? {
            Reply::Collective(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    /// A collective of the configured dimension and decay.
    pub(super) fn new_collective(
        &self,
        name: &str,
        owner: Option<UserId>,
    ) -> Result<NewCollective> {
        let config = self.config();
        let dimension = config.embedding_dimension.get();
        validate::collective(name, owner.as_ref().map(UserId::as_str), dimension)?;
        validate::decay(&config.decay)?;
        Ok(NewCollective {
            name: name.to_owned(),
            owner,
            dimension: dimension as u16,
            decay: config.decay.clone(),
        })
    }
}

/// A reply of another kind than the change has: a bug of this crate, told instead of panicking.
pub(super) fn unexpected(reply: &Reply) -> PulseDBError {
    PulseDBError::conflict(format!(
        "the committer answered {reply:?} to something else"
    ))
}
