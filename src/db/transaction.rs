//! A unit of work on a snapshot, committed whole or not at all.
//!
//! [`Transaction`] decides in a snapshot: its reads are those of the snapshot merged with its own writes
//! (`read/overlay.rs`, `read/merged.rs`), and note what they have seen ([`Guard`]); its writes are collected
//! as the changes of one request. The committer refuses the request if anything that was seen has
//! changed (`write/sequence/guard.rs`). A kind of change or read that is added later goes here: a write is
//! a [`Change`] and a version in the overlay, a read notes in the guard what its answer depends on.

mod reads;

use crate::{
    db::{CHANGE_BYTES, PulseDB, collectives::unexpected},
    error::{PulseDBError, Result},
    format::{BodyView, ExperienceHead, FRAME_HEADER_LEN, Traits, assemble},
    model::{
        Collective, CollectiveId, Cursor, DecayConfig, ExperienceId, ExperienceUpdate,
        NewExperience, Timestamp, UserId,
    },
    read::{
        merged,
        overlay::{Overlay, OwnExperience},
        reader::Reader,
    },
    state::RowRef,
    sync::Arc,
    write::{
        draft::Embedded,
        guard::Guard,
        identity::IdSource,
        request::{Change, Reply},
        revision, validate,
    },
};

/// What one thing that was seen counts towards `Config::max_commit_bytes`: it takes less memory, but the
/// committer looks at each while others wait, and so has some ten milliseconds of it at most.
const SEEN_BYTES: usize = 128;

/// Reads and writes that take place at one moment: as if nothing else had happened between the first
/// read and the commit.
///
/// It reads the database as it was at [`PulseDB::begin`], and its own writes. Nothing is written before
/// [`Transaction::commit`], which commits everything in one durable step, or nothing. Transactions are
/// serializable: a commit is refused with [`PulseDBError::Conflict`] if anything that the transaction has
/// seen was changed by somebody who committed first. Then begin again and decide anew; see
/// [`Transaction::commit`] for a loop. What is seen:
///
/// * by reading or changing one experience: that experience, also where there is none;
/// * by a list or a search: everything in its collective;
/// * by reading or changing the definition of a collective: that definition;
/// * by listing collectives: which there are, and their definitions;
/// * by recording: nothing, so that transactions which only record never conflict (except over an
///   idempotency key).
///
/// A batch of different changes is a transaction that reads nothing.
///
/// Times: expiry and energy are as of the beginning. What it has written shows that time too; the
/// commit gives it the time of the commit. The ids that it answers are final.
///
/// Bounds: changes, and what was seen, take at most `Config::max_commit_bytes` together; the call that
/// would exceed it is refused and changes nothing, and the transaction goes on. Up to about twice that
/// is kept in memory. Like a [`Snapshot`](crate::Snapshot), a transaction keeps alive, in memory and in
/// the log, every version that it may still see: *end it soon*. One that is forgotten lets both grow
/// with every change, for as long as it is held; a [`Snapshot`](crate::Snapshot) that is never dropped
/// does the same. Dropping it does nothing to the database, as [`Transaction::rollback`].
///
/// Each method is cancel-safe: one whose future is dropped has not changed the transaction, except that
/// what it was to read counts as seen.
///
/// ```
/// # fn main() -> pulsedb::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// # use pulsedb::{Config, EmbeddingDimension, NewExperience, PulseDB};
/// # let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2))).await?;
/// # let team = db.create_collective("team").await?;
/// # let old = db.record_experience(NewExperience {
/// #     embedding: Some(vec![0.6, 0.8]), ..NewExperience::new(team, "a", "outdated") }).await?;
/// let mut tx = db.begin().await?;
/// let outdated = tx.get_experience(old).await?;
/// let new = tx
///     .record_experience(NewExperience {
///         embedding: Some(outdated.embedding),
///         importance: outdated.importance,
///         ..NewExperience::new(team, "agent-1", "corrected")
///     })
///     .await?;
/// tx.delete_experience(old).await?;
/// assert_eq!(tx.get_recent_experiences(team, 10).await?[0].id, new);
/// assert!(db.get_experience(new).await.is_err()); // nobody else sees it yet
/// tx.commit().await?;
/// assert_eq!(db.get_experience(new).await?.content, "corrected");
/// # db.close().await
/// # })
/// # }
/// ```
pub struct Transaction {
    /// Fixed at the snapshot, with the transaction's own writes above it.
    db: PulseDB,
    guard: Guard,
    ids: IdSource,
    changes: Vec<Change>,
    /// What the changes take beside a constant each.
    bytes: usize,
}

impl std::fmt::Debug for Transaction {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Transaction")
            .field("lsn", &self.guard.lsn())
            .field("changes", &self.changes.len())
            .field("seen", &self.guard.len())
            .finish_non_exhaustive()
    }
}

/// Transactions.
impl PulseDB {
    /// Begins a transaction on the database as it is now.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn begin(&self) -> Result<Transaction> {
        let mut reader = self.reader()?;
        // The committer's time does not go back either.
        reader.now = reader.now.max(reader.view.newest.time);
        Ok(Transaction {
            guard: Guard::new(Arc::clone(&reader.view), reader.now),
            // Where the clock says nothing, the ids differ by this.
            ids: IdSource::new(self.engine().env.random_u128() >> 48),
            db: Self {
                fixed: Some(Arc::new(reader)),
                ..self.clone()
            },
            changes: Vec::new(),
            bytes: 0,
        })
    }
}

/// Beginning and end.
impl Transaction {
    /// The commit whose state it reads.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.guard.cursor()
    }

    /// The moment that expiry and energy are computed for.
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.guard.now()
    }

    /// Commits everything that it has written, in one durable commit, and answers when that is visible.
    /// One that has written nothing has nothing to commit, and succeeds at once: it has read one state of
    /// the database.
    ///
    /// Cancel safety: a future that is dropped before the request is queued has done nothing; after that
    /// the commit may still happen, as a whole. An idempotency key among what it records tells a
    /// retry what became of it.
    ///
    /// # Errors
    /// [`PulseDBError::Conflict`] naming what somebody else has changed first, and
    /// [`PulseDBError::Backpressure`]: nothing was written, and it may be tried again with a new
    /// transaction. [`PulseDBError::ReadOnly`], [`PulseDBError::Closed`], [`PulseDBError::Io`] as for any
    /// write.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use pulsedb::{PulseDB, PulseDBError, Result, ExperienceId};
    ///
    /// /// Counts a vote in a tag, whoever else is voting.
    /// async fn vote(db: &PulseDB, id: ExperienceId) -> Result<u32> {
    ///     loop {
    ///         let mut tx = db.begin().await?;
    ///         let tags = tx.get_experience(id).await?.tags;
    ///         let votes = tags.get("votes").and_then(|n| n.parse().ok()).unwrap_or(0_u32) + 1;
    ///         tx.set_tag(id, "votes", &votes.to_string()).await?;
    ///         match tx.commit().await {
    ///             Err(PulseDBError::Conflict { .. }) => continue, // somebody was faster
    ///             committed => return committed.map(|()| votes),
    ///         }
    ///     }
    /// }
    /// # use pulsedb::{Config, EmbeddingDimension, NewExperience};
    /// # let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2))).await?;
    /// # let team = db.create_collective("team").await?;
    /// # let id = db.record_experience(NewExperience {
    /// #     embedding: Some(vec![0.6, 0.8]), ..NewExperience::new(team, "a", "b") }).await?;
    /// # let both = tokio::join!(vote(&db, id), vote(&db, id));
    /// # assert_eq!(both.0? + both.1?, 3);
    /// # db.close().await
    /// # })
    /// # }
    /// ```
    pub async fn commit(self) -> Result<()> {
        let Self {
            db,
            guard,
            changes,
            bytes,
            ..
        } = self;
        if changes.is_empty() {
            return Ok(());
        }
        let bytes = bytes + guard.len() * SEEN_BYTES;
        db.commit_if(Some(Box::new(guard)), changes, bytes)
            .await
            .map(drop)
    }

    /// Ends it without having done anything, as dropping it does.
    pub fn rollback(self) {}
}

/// Experiences.
impl Transaction {
    /// Records one experience. The id is final; the experience is seen by this transaction at once, and by
    /// others after the commit. With an idempotency key that the collective has already seen, nothing is
    /// recorded and the id of the first is answered.
    ///
    /// # Errors
    /// As [`PulseDB::record_experience`], and [`PulseDBError::Validation`] where the transaction would become
    /// too large.
    pub async fn record_experience(&mut self, new: NewExperience) -> Result<ExperienceId> {
        let ids = self.record_experiences(vec![new]).await?;
        ids.into_iter()
            .next()
            .ok_or_else(|| unexpected(&Reply::Done))
    }

    /// Records a batch, all of it or nothing. The ids come in the order of the batch.
    ///
    /// # Errors
    /// As [`Transaction::record_experience`].
    pub async fn record_experiences(
        &mut self,
        batch: Vec<NewExperience>,
    ) -> Result<Vec<ExperienceId>> {
        let embedded = self.db.embed_experiences(batch).await?;
        let reader = self.db.reader()?;
        let mut staged = Vec::with_capacity(embedded.len());
        let mut bytes = 0;
        for mut one in embedded {
            let definition = reader.collective(one.collective)?;
            if let Some(stamped) = one.enter(&definition)? {
                // Once for each, although the first does it for all.
                bytes += CHANGE_BYTES + definition_bytes(&stamped);
            }
            bytes += one.bytes();
            let id = self.next_id(&reader);
            one.id = Some(id);
            staged.push((id, self.recorded(&one, id, &reader)?, one));
        }
        self.make_room(staged.len(), bytes)?;
        // From here on nothing fails.
        let mut ids = Vec::with_capacity(staged.len());
        for (id, own, embedded) in staged {
            ids.push(match self.keyed(&embedded)? {
                Some(known) => known,
                None => {
                    self.record(id, own, embedded)?;
                    id
                }
            });
        }
        Ok(ids)
    }

    /// Changes the fields that `update` names.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn update_experience(
        &mut self,
        id: ExperienceId,
        update: ExperienceUpdate,
    ) -> Result<()> {
        validate::update(&update)?;
        let with_traits = revision::names_traits(&update);
        let (mut own, at) = self.present(id, with_traits).await?;
        revision::update_values(&mut own.values, &update);
        let mut bytes = 0;
        if with_traits && let Some(traits) = &mut own.traits {
            revision::update_traits(traits, &update)?;
            bytes = traits_bytes(traits) + validate::update_bytes(&update);
        }
        if !with_traits && !revision::names_vitals(&update) {
            return Ok(());
        }
        let change = Change::Update(id, Box::new(update));
        self.change(id, own, at, change, bytes)
    }

    /// Sets one tag, leaving the others.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`]; [`PulseDBError::Validation`], also where it would be the 51st.
    pub async fn set_tag(&mut self, id: ExperienceId, key: &str, value: &str) -> Result<()> {
        validate::tag(key, value)?;
        self.change_tag(id, key, Some(value)).await
    }

    /// Removes one tag; fine where it is not set.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn remove_tag(&mut self, id: ExperienceId, key: &str) -> Result<()> {
        validate::tag(key, "")?;
        self.change_tag(id, key, None).await
    }

    /// Takes an experience out of default searches; fine where it already is.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn archive_experience(&mut self, id: ExperienceId) -> Result<()> {
        self.set_archived(id, true).await
    }

    /// Brings an experience back into default searches; fine where it already is.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn unarchive_experience(&mut self, id: ExperienceId) -> Result<()> {
        self.set_archived(id, false).await
    }

    /// Notes that an experience was applied once more, and answers how often by then.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn reinforce_experience(&mut self, id: ExperienceId) -> Result<u32> {
        let (mut own, at) = self.present(id, false).await?;
        revision::reinforce(&mut own.values, self.now());
        let applications = own.values.applications;
        self.change(id, own, at, Change::Reinforce(id), 0)?;
        Ok(applications)
    }

    /// Deletes an experience.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn delete_experience(&mut self, id: ExperienceId) -> Result<()> {
        let (_, at) = self.present(id, false).await?;
        self.make_room(1, 0)?;
        self.write(Change::Delete(id), 0, |overlay| {
            overlay.change(id, None, at);
        });
        Ok(())
    }

    async fn change_tag(&mut self, id: ExperienceId, key: &str, value: Option<&str>) -> Result<()> {
        let (mut own, at) = self.present(id, true).await?;
        let (key, value) = (key.to_owned(), value.map(str::to_owned));
        let Some(traits) = &mut own.traits else {
            return Ok(());
        };
        if !revision::set_tag(traits, key.clone(), value.clone())? {
            return Ok(());
        }
        let bytes = traits_bytes(traits);
        self.change(id, own, at, Change::SetTag(id, key, value), bytes)
    }

    async fn set_archived(&mut self, id: ExperienceId, archived: bool) -> Result<()> {
        let (mut own, at) = self.present(id, false).await?;
        if own.values.archived == archived {
            return Ok(());
        }
        own.values.archived = archived;
        self.change(id, own, at, Change::SetArchived(id, archived), 0)
    }

    /// What can change of an experience. Whoever changes it has seen it.
    async fn present(
        &mut self,
        id: ExperienceId,
        with_traits: bool,
    ) -> Result<(OwnExperience, Option<RowRef>)> {
        self.db.engine().committer()?;
        self.saw_experience(id)?;
        self.db
            .read(move |reader| merged::present(reader, id, with_traits))
            .await
    }

    fn change(
        &mut self,
        id: ExperienceId,
        mut own: OwnExperience,
        at: Option<RowRef>,
        change: Change,
        bytes: usize,
    ) -> Result<()> {
        self.make_room(1, bytes)?;
        own.values.updated_at = self.now();
        if let Some(traits) = &own.traits {
            revision::show_traits(&mut own.values, traits);
        }
        self.write(change, bytes, |overlay| overlay.change(id, Some(own), at));
        Ok(())
    }

    fn record(&mut self, id: ExperienceId, own: OwnExperience, embedded: Embedded) -> Result<()> {
        let definition = self.db.reader()?.collective(embedded.collective)?;
        if let Some(stamped) = embedded.enter(&definition)? {
            self.bytes += CHANGE_BYTES + definition_bytes(&stamped);
            self.note(|overlay| overlay.redefine(stamped));
        }
        let (bytes, key) = (embedded.bytes(), embedded.key.clone());
        self.write(Change::Record(embedded), bytes, |overlay| {
            overlay.record(own, id, key.as_ref());
        });
        Ok(())
    }

    /// The experience that has the key of what is to be recorded, decided as the committer will.
    fn keyed(&mut self, embedded: &Embedded) -> Result<Option<ExperienceId>> {
        let Some(key) = &embedded.key else {
            return Ok(None);
        };
        let reader = self.db.reader()?;
        let touched = |id| reader.overlay.as_ref().and_then(|own| own.experience(id));
        let own = reader.overlay.as_ref();
        let own = own.and_then(|own| own.keyed(embedded.collective, key));
        if let Some(id) = own.filter(|id| matches!(touched(*id), Some(Some(_)))) {
            return Ok(Some(id));
        }
        let table = reader.table(embedded.collective)?;
        let known = self.db.engine().keys.get(table.number, key);
        let row = known.and_then(|at| table.row(at.row, reader.lsn()));
        let id = row.map(|row| ExperienceId::from_u128(row.row.id));
        let id = id.filter(|id| !matches!(touched(*id), Some(None)));
        if let Some(id) = id {
            self.guard.saw_experience(id);
        }
        Ok(id)
    }

    /// What was encoded, as it will be read.
    fn recorded(
        &self,
        embedded: &Embedded,
        id: ExperienceId,
        reader: &Reader,
    ) -> Result<OwnExperience> {
        let head = ExperienceHead {
            id,
            collective_id: embedded.collective,
            timestamp: reader.now,
            updated_at: reader.now,
            instance_id: reader.instance,
        };
        BodyView::parse(embedded.dimension, &embedded.payload)
            .and_then(|body| {
                let traits = body.traits()?;
                let whole = assemble(&head, &body, &body.vitals()?, traits.clone())?;
                Ok(OwnExperience::new(whole, traits, embedded.inverse_norm))
            })
            .map_err(|error| PulseDBError::conflict(error.to_string()))
    }
}

/// Collectives.
impl Transaction {
    /// Creates a collective of the configured dimension and decay. The id is final.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] unless the name has 1–255 characters.
    pub async fn create_collective(&mut self, name: &str) -> Result<CollectiveId> {
        self.make_collective(name, None)
    }

    /// Creates a collective that belongs to `owner`.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] unless name and owner have 1–255 and 1–256 characters.
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
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
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
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn delete_collective(&mut self, id: CollectiveId) -> Result<()> {
        self.definition(id)?;
        self.make_room(1, 0)?;
        self.write(Change::DeleteCollective(id), 0, |overlay| {
            overlay.delete_collective(id);
        });
        Ok(())
    }

    fn make_collective(&mut self, name: &str, owner: Option<UserId>) -> Result<CollectiveId> {
        let config = self.db.config();
        let dimension = config.embedding_dimension.get();
        validate::collective(name, owner.as_ref().map(UserId::as_str), dimension)?;
        validate::decay(&config.decay)?;
        let decay = config.decay.clone();
        let reader = self.db.reader()?;
        let definition = Collective {
            id: CollectiveId::from_u128(self.ids.next(reader.now, self.db.engine().env.as_ref())),
            name: name.to_owned(),
            owner_id: owner.clone(),
            embedding_dimension: dimension as u16,
            decay: decay.clone(),
            embedder: None,
            created_at: reader.now,
        };
        let (id, bytes) = (definition.id, definition_bytes(&definition));
        self.make_room(1, bytes)?;
        let change = Change::CreateCollective {
            id: Some(id),
            name: name.to_owned(),
            owner,
            dimension: dimension as u16,
            decay,
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

/// What the other methods are made of.
impl Transaction {
    fn next_id(&mut self, reader: &Reader) -> ExperienceId {
        let env = self.db.engine().env.as_ref();
        ExperienceId::from_u128(self.ids.next(reader.now, env))
    }

    /// What counts towards `Config::max_commit_bytes`.
    fn size(&self) -> usize {
        self.bytes + self.changes.len() * CHANGE_BYTES + self.guard.len() * SEEN_BYTES
    }

    /// Refuses what would make it too large to be committed.
    fn make_room(&self, changes: usize, bytes: usize) -> Result<()> {
        self.db.engine().committer()?;
        let total = self.size() + bytes + changes * CHANGE_BYTES;
        let limit = self.db.config().max_commit_bytes;
        if total > limit {
            return Err(PulseDBError::validation(
                "transaction",
                format!("{total} bytes of changes and of what was seen"),
                format!("config.max_commit_bytes is {limit}; commit in smaller parts"),
            ));
        }
        Ok(())
    }

    /// Adds a change that there is room for.
    fn write(&mut self, change: Change, bytes: usize, note: impl FnOnce(&mut Overlay)) {
        self.changes.push(change);
        self.bytes += bytes;
        self.note(note);
    }

    fn note(&mut self, note: impl FnOnce(&mut Overlay)) {
        if let Some(fixed) = &mut self.db.fixed {
            // Copied only where a read is still under way whose caller has gone.
            let reader = Arc::make_mut(fixed);
            note(Arc::make_mut(reader.overlay.get_or_insert_default()));
        }
    }
}

/// What a record of these traits takes in the log.
fn traits_bytes(traits: &Traits) -> usize {
    let mut payload = Vec::new();
    traits.encode(&mut payload);
    payload.len() + FRAME_HEADER_LEN
}

/// What the texts of a definition take in the log.
fn definition_bytes(definition: &Collective) -> usize {
    let owner = definition.owner_id.as_ref().map_or("", UserId::as_str);
    let embedder = definition.embedder.as_ref().map_or(0, |embedder| {
        embedder.provider.len() + embedder.model.len() + embedder.fingerprint.len()
    });
    definition.name.len() + owner.len() + embedder
}
