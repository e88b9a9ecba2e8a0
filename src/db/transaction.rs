//! A unit of work on a snapshot, committed whole or not at all.
//!
//! [`Transaction`] decides in a snapshot: its reads are those of the snapshot merged with its own writes
//! (`read/overlay.rs`, `read/merged.rs`), and note what they have seen ([`Guard`]); its writes are collected
//! as the changes of one request. The committer refuses the request if anything that was seen has
//! changed (`write/sequence/guard.rs`). A kind of change or read that is added later goes here: a write is
//! a [`Change`] and a version in the overlay, a read notes in the guard what its answer depends on.

mod collectives;
mod experiences;
mod insights;
mod reads;
mod relations;
mod succession;

use crate::{
    db::{CHANGE_BYTES, PulseDB},
    error::{PulseDBError, Result},
    format::{BodyView, DecodeError},
    model::{Collective, Cursor, Timestamp, UserId},
    read::overlay::Overlay,
    sync::Arc,
    write::{draft::Embedded, guard::Guard, identity::IdSource, request::Change},
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
/// * by reading or deleting one relation: that relation, also where there is none, and both of its ends;
/// * by reading one insight: that insight, also where there is none, and what it was derived from; by
///   deleting one: that insight;
/// * by a list or a search, and by following the relations of an experience: everything in the
///   collective;
/// * by reading or changing the definition of a collective: that definition;
/// * by listing collectives: which there are, and their definitions;
/// * by recording an experience, and by storing a relation or an insight: nothing, so that transactions
///   which only do that never conflict, except over an idempotency key, over a relation that says the
///   same, and where what is related or derived from is gone by then.
///
/// A batch of different changes is a transaction that reads nothing. Activities are what agents do now, and
/// not part of transactions: nobody decides anything by them that has to stay so until a commit.
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

/// What the other methods are made of.
impl Transaction {
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

    /// An id that it makes itself, so that later changes can name it.
    fn next_id(&mut self) -> u128 {
        let env = self.db.engine().env.as_ref();
        self.ids.next(self.guard.now(), env)
    }

    /// What the embedder stamps into a collective, if this is its first vector.
    fn entering(&self, embedded: &Embedded) -> Result<Option<Collective>> {
        let definition = self.db.reader()?.collective(embedded.collective)?;
        embedded.enter(&definition)
    }

    /// Stamps it, unless another one has meanwhile.
    fn enter(&mut self, embedded: &Embedded) -> Result<()> {
        if let Some(stamped) = self.entering(embedded)? {
            self.bytes += stamp_bytes(&stamped);
            self.note(|overlay| overlay.redefine(stamped));
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

/// What was encoded, as it will be read.
fn decoded<T>(
    embedded: &Embedded,
    read: impl FnOnce(&BodyView<'_>) -> std::result::Result<T, DecodeError>,
) -> Result<T> {
    BodyView::parse(embedded.dimension, &embedded.payload)
        .and_then(|body| read(&body))
        .map_err(|error| PulseDBError::conflict(error.to_string()))
}

/// What a stamped definition takes: it is a record that no change stands for.
fn stamp_bytes(stamped: &Collective) -> usize {
    CHANGE_BYTES + definition_bytes(stamped)
}

/// What the texts of a definition take in the log.
fn definition_bytes(definition: &Collective) -> usize {
    let owner = definition.owner_id.as_ref().map_or("", UserId::as_str);
    let embedder = definition.embedder.as_ref().map_or(0, |embedder| {
        embedder.provider.len() + embedder.model.len() + embedder.fingerprint.len()
    });
    definition.name.len() + owner.len() + embedder
}
