//! Experiences, as the application records, changes, gets and lists them.

use crate::{
    db::{PulseDB, collectives::unexpected},
    error::{PulseDBError, Result},
    model::{
        CollectiveId, Direction, EntityKind, Experience, ExperienceId, ExperienceUpdate,
        NewExperience, Page, PageResult, Progress, SearchFilter, Timestamp, limits::MAX_GET_IDS,
    },
    read::{cold, experience_view::ExperienceView, list, point::ReadRow},
    telemetry::Operation,
    write::{
        draft::{Draft, Embedded},
        request::{Change, Reply},
        validate,
    },
};

/// Texts that are embedded between two words on how far it is: what an embedder takes together.
const TEXTS_BETWEEN_TELLS: usize = 256;

/// Recording and changing experiences.
impl PulseDB {
    /// Records one experience and answers when it is durable and visible.
    ///
    /// With an `idempotency_key` that the collective has already seen, nothing is recorded and the
    /// id of the first is answered.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] for a field outside its limit, [`PulseDBError::NotFound`] for an
    /// unknown collective, [`PulseDBError::Embedding`] where the vector would mix two models,
    /// [`PulseDBError::Backpressure`] where the queue stayed full for `Config::write_timeout`.
    pub async fn record_experience(&self, new: NewExperience) -> Result<ExperienceId> {
        let ids = self.record_experiences(vec![new]).await?;
        ids.into_iter()
            .next()
            .ok_or_else(|| unexpected(&Reply::Done))
    }

    /// Records a batch in one durable commit: all of it, or nothing. The ids come in the order of
    /// the batch.
    ///
    /// # Errors
    /// As [`PulseDB::record_experience`]; a batch over `Config::max_commit_bytes` is refused.
    pub async fn record_experiences(&self, batch: Vec<NewExperience>) -> Result<Vec<ExperienceId>> {
        let drafts = batch.into_iter().map(Draft::experience);
        let embedded = self.embed_drafts(drafts.collect::<Result<_>>()?).await?;
        self.record_embedded(embedded).await
    }

    /// The same as [`PulseDB::record_experiences`], telling how many of the texts are embedded, after each
    /// 256 of them. Dropping the future stops it; nothing is recorded then, unless everything was embedded and
    /// is on its way already.
    ///
    /// # Errors
    /// As [`PulseDB::record_experiences`].
    pub async fn record_experiences_telling(
        &self,
        batch: Vec<NewExperience>,
        mut tell: impl FnMut(Progress) + Send,
    ) -> Result<Vec<ExperienceId>> {
        let total = Some(batch.len() as u64);
        let drafts = batch.into_iter().map(Draft::experience);
        let drafts = drafts.collect::<Result<_>>()?;
        let told = |done| {
            tell(Progress {
                done: done as u64,
                total,
            });
        };
        let embedded = self.embed_drafts_with(drafts, TEXTS_BETWEEN_TELLS, told);
        let embedded = embedded.await?;
        self.record_embedded(embedded).await
    }

    async fn record_embedded(&self, embedded: Vec<Embedded>) -> Result<Vec<ExperienceId>> {
        let bytes = embedded.iter().map(|one| one.bytes()).sum();
        let changes = embedded.into_iter().map(Change::Record).collect();
        self.commit(changes, bytes)
            .await?
            .into_iter()
            .map(|reply| match reply {
                Reply::Experience(id) => Ok(id),
                other => Err(unexpected(&other)),
            })
            .collect()
    }

    /// Records an experience that takes the place of `old`, and ends the validity of `old`, unless it has
    /// an end already: one durable commit, and `valid_to` of the old one is its time. Both go on being
    /// found.
    ///
    /// With an `idempotency_key` that the collective has already seen, nothing is changed and the id of
    /// the first is answered.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, NewExperience, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// let say = |content: &str| NewExperience {
    ///     embedding: Some(vec![0.6, 0.8]),
    ///     ..NewExperience::new(team, "agent-1", content)
    /// };
    /// let old = db.record_experience(say("The staging server is at port 8080."))?;
    /// let new = db.supersede_experience(old, say("The staging server is at port 9090."))?;
    /// assert!(db.get_experience(old)?.valid_to.is_some());
    /// assert_eq!(db.get_experience(new)?.valid_to, None);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`PulseDB::record_experience`]; [`PulseDBError::NotFound`] for `old`, and for the new one where it
    /// has expired already, [`PulseDBError::Conflict`] where `old` is in another collective,
    /// [`PulseDBError::Validation`] where its validity has not begun yet.
    pub async fn supersede_experience(
        &self,
        old: ExperienceId,
        new: NewExperience,
    ) -> Result<ExperienceId> {
        let embedded = self.embed_drafts(vec![Draft::experience(new)?]).await?;
        let Some(embedded) = embedded.into_iter().next() else {
            return Err(unexpected(&Reply::Done));
        };
        let bytes = embedded.bytes();
        let change = Change::Supersede(old, Box::new(embedded), None);
        match self.commit_one(change, bytes).await? {
            Reply::Experience(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    /// Changes the fields that `update` names.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn update_experience(
        &self,
        id: ExperienceId,
        update: ExperienceUpdate,
    ) -> Result<()> {
        validate::update(&update)?;
        let bytes = validate::update_bytes(&update);
        self.commit_one(Change::Update(id, Box::new(update)), bytes)
            .await
            .map(drop)
    }

    /// Sets one tag, leaving the others.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`]; [`PulseDBError::Validation`], also where it would be the 51st.
    pub async fn set_tag(&self, id: ExperienceId, key: &str, value: &str) -> Result<()> {
        validate::tag(key, value)?;
        let change = Change::SetTag(id, key.to_owned(), Some(value.to_owned()));
        self.commit_one(change, key.len() + value.len())
            .await
            .map(drop)
    }

    /// Removes one tag; fine where it is not set.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn remove_tag(&self, id: ExperienceId, key: &str) -> Result<()> {
        validate::tag(key, "")?;
        let change = Change::SetTag(id, key.to_owned(), None);
        self.commit_one(change, key.len()).await.map(drop)
    }

    /// Takes an experience out of default searches; fine where it already is.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`].
    pub async fn archive_experience(&self, id: ExperienceId) -> Result<()> {
        self.commit_one(Change::SetArchived(id, true), 0)
            .await
            .map(drop)
    }

    /// Brings an experience back into default searches; fine where it already is.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`].
    pub async fn unarchive_experience(&self, id: ExperienceId) -> Result<()> {
        self.commit_one(Change::SetArchived(id, false), 0)
            .await
            .map(drop)
    }

    /// Notes that an experience was applied once more, and answers how often by now.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`].
    pub async fn reinforce_experience(&self, id: ExperienceId) -> Result<u32> {
        match self.commit_one(Change::Reinforce(id), 0).await? {
            Reply::Applications(count) => Ok(count),
            other => Err(unexpected(&other)),
        }
    }

    /// Deletes an experience.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`].
    pub async fn delete_experience(&self, id: ExperienceId) -> Result<()> {
        self.commit_one(Change::Delete(id), 0).await.map(drop)
    }
}

/// Getting and listing experiences.
impl PulseDB {
    /// One experience.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`]; [`PulseDBError::Corrupted`] naming file and offset where its
    /// bytes are damaged.
    pub async fn get_experience(&self, id: ExperienceId) -> Result<Experience> {
        self.read_one(id, |point, table, row| point.assemble(table, row))
            .await
    }

    /// One experience, if what it says holds at `as_of`: not before its `valid_from`, and before its
    /// `valid_to`.
    ///
    /// # Errors
    /// As [`PulseDB::get_experience`]; [`PulseDBError::NotFound`] also outside of those bounds.
    pub async fn get_experience_as_of(
        &self,
        id: ExperienceId,
        as_of: Timestamp,
    ) -> Result<Experience> {
        let experience = self.get_experience(id).await?;
        if experience.holds_at(as_of) {
            Ok(experience)
        } else {
            Err(not_found(id))
        }
    }

    /// One experience as it stands, read in place: without copying its text and its vector.
    ///
    /// # Errors
    /// As [`PulseDB::get_experience`].
    pub async fn get_experience_view(&self, id: ExperienceId) -> Result<ExperienceView> {
        self.read_one(id, |point, table, row| point.view_of(table, row))
            .await
    }

    /// Reads one experience: at once where its body is in memory or the caller may wait.
    async fn read_one<T: Send + 'static>(&self, id: ExperienceId, read: ReadRow<T>) -> Result<T> {
        let in_memory = || {
            let mut answer = None;
            self.with_point(id, |point| {
                point.read_one(id, self.may_block, read, &mut answer)
            })??;
            answer.transpose()
        };
        match self.engine().telemetry.briefly(Operation::Get, in_memory)? {
            Some(answer) => Ok(answer),
            None => {
                self.read(Operation::GetFromMedium, move |reader| {
                    reader.point().read_from_medium(id, read)
                })
                .await
            }
        }
    }

    /// Many experiences of one snapshot, in the order asked for; `None` for what does not exist.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] for more than 10,000 ids, [`PulseDBError::Corrupted`].
    pub async fn get_experiences(&self, ids: &[ExperienceId]) -> Result<Vec<Option<Experience>>> {
        check_count(ids)?;
        let ids = ids.to_vec();
        self.read(Operation::GetMany, move |reader| {
            let point = reader.point();
            ids.into_iter()
                .map(|id| match point.experience(id) {
                    Ok(experience) => Ok(Some(experience)),
                    Err(PulseDBError::NotFound { .. }) => Ok(None),
                    Err(error) => Err(error),
                })
                .collect()
        })
        .await
    }

    /// How warm an experience is now, in [0, 1].
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`].
    pub async fn energy(&self, id: ExperienceId) -> Result<f32> {
        self.with_point(id, |point| point.energy(id))?
    }

    /// How warm many experiences of one snapshot are now, in the order asked for; `None` for what does
    /// not exist.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] for more than 10,000 ids.
    pub async fn energies(&self, ids: &[ExperienceId]) -> Result<Vec<Option<f32>>> {
        check_count(ids)?;
        let ids = ids.to_vec();
        self.read(Operation::GetMany, move |reader| {
            cold::energies(reader, &ids)
        })
        .await
    }

    /// What has cooled down: the experiences whose energy is now below the collective's `decay.floor`,
    /// coldest first, ties by id, at most `limit`. Pinned and archived ones are left out: they do not
    /// cool, or were put aside already.
    ///
    /// Looks at every row of the collective, but reads only what it answers.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`] unless the limit is in 1–1000.
    pub async fn list_cold_experiences(
        &self,
        collective: CollectiveId,
        limit: usize,
    ) -> Result<Vec<Experience>> {
        self.read(Operation::List.of(collective), move |reader| {
            cold::coldest(reader, collective, limit)
        })
        .await
    }

    /// One page of a collective by time or id; see [`Page`].
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`] unless the limit is in 1–1000.
    pub async fn list_experiences(
        &self,
        collective: CollectiveId,
        page: Page,
    ) -> Result<PageResult<Experience>> {
        self.read(Operation::List.of(collective), move |reader| {
            list::page(reader, collective, &page)
        })
        .await
    }

    /// The `n` oldest experiences of a collective, archived ones too, oldest first.
    ///
    /// # Errors
    /// As [`PulseDB::list_experiences`], for `n` as the limit.
    pub async fn first_n(&self, collective: CollectiveId, n: usize) -> Result<Vec<Experience>> {
        self.end_of_list(collective, Direction::Ascending, n).await
    }

    /// The `n` newest experiences of a collective, archived ones too, newest first.
    ///
    /// # Errors
    /// As [`PulseDB::list_experiences`], for `n` as the limit.
    pub async fn last_n(&self, collective: CollectiveId, n: usize) -> Result<Vec<Experience>> {
        self.end_of_list(collective, Direction::Descending, n).await
    }

    async fn end_of_list(
        &self,
        collective: CollectiveId,
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<Experience>> {
        let page = Page {
            direction,
            limit,
            ..Page::default()
        };
        let listed = self.list_experiences(collective, page).await?;
        Ok(listed.items)
    }

    /// The newest experiences that are not archived, newest first.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`] unless the limit is in 1–1000.
    pub async fn get_recent_experiences(
        &self,
        collective: CollectiveId,
        limit: usize,
    ) -> Result<Vec<Experience>> {
        self.get_recent_experiences_filtered(collective, limit, SearchFilter::default())
            .await
    }

    /// The newest experiences that pass the filter, newest first.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`], [`PulseDBError::Validation`].
    pub async fn get_recent_experiences_filtered(
        &self,
        collective: CollectiveId,
        limit: usize,
        filter: SearchFilter,
    ) -> Result<Vec<Experience>> {
        self.read(Operation::List.of(collective), move |reader| {
            list::recent(reader, collective, limit, &filter)
        })
        .await
    }
}

fn check_count(ids: &[ExperienceId]) -> Result<()> {
    if ids.len() > MAX_GET_IDS {
        return Err(PulseDBError::validation(
            "ids",
            format!("{} ids", ids.len()),
            format!("there may be {MAX_GET_IDS}"),
        ));
    }
    Ok(())
}

fn not_found(id: ExperienceId) -> PulseDBError {
    PulseDBError::not_found(EntityKind::Experience, id)
}
