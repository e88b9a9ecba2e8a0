//! How does a transaction record and change experiences?
//!
//! Each change is decided on the transaction's own version with the functions that the committer decides
//! with, and becomes a version in the overlay and a change of the request.

use super::{Transaction, decoded, stamp_bytes};
use crate::{
    db::collectives::unexpected,
    error::Result,
    format::{ExperienceHead, FRAME_HEADER_LEN, Traits, assemble},
    model::{EntityKind, ExperienceId, ExperienceUpdate, NewExperience, Timestamp},
    read::{merged, overlay::OwnExperience},
    state::RowRef,
    telemetry::Operation,
    write::{
        draft::{Draft, Embedded},
        request::{Change, Reply},
        revision, validate,
    },
};

/// Recording and changing experiences.
impl Transaction {
    /// Records one experience. The id is final; the experience is seen by this transaction at once, and by
    /// others after the commit. With an idempotency key that the collective has already seen, nothing is
    /// recorded and the id of the first is answered.
    ///
    /// # Errors
    /// As [`PulseDB::record_experience`](crate::PulseDB::record_experience), and [`PulseDBError::Validation`](crate::PulseDBError::Validation) where the transaction would become
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
        let drafts = batch.into_iter().map(Draft::experience);
        let drafts = drafts.collect::<Result<_>>()?;
        let embedded = self.db.embed_drafts(drafts).await?;
        let mut all = Vec::with_capacity(embedded.len());
        for one in embedded {
            all.push(self.stage(one)?);
        }
        self.make_room(all.len(), all.iter().map(|one| one.bytes).sum())?;
        // From here on nothing fails.
        let mut ids = Vec::with_capacity(all.len());
        for staged in all {
            ids.push(match self.keyed(&staged.embedded)? {
                Some(known) => known,
                None => self.record(staged, Change::Record)?,
            });
        }
        Ok(ids)
    }

    /// Changes the fields that `update` names.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::Validation`](crate::PulseDBError::Validation).
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
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound); [`PulseDBError::Validation`](crate::PulseDBError::Validation), also where it would be the 51st.
    pub async fn set_tag(&mut self, id: ExperienceId, key: &str, value: &str) -> Result<()> {
        validate::tag(key, value)?;
        self.change_tag(id, key, Some(value)).await
    }

    /// Removes one tag; fine where it is not set.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::Validation`](crate::PulseDBError::Validation).
    pub async fn remove_tag(&mut self, id: ExperienceId, key: &str) -> Result<()> {
        validate::tag(key, "")?;
        self.change_tag(id, key, None).await
    }

    /// Takes an experience out of default searches; fine where it already is.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::Validation`](crate::PulseDBError::Validation).
    pub async fn archive_experience(&mut self, id: ExperienceId) -> Result<()> {
        self.set_archived(id, true).await
    }

    /// Brings an experience back into default searches; fine where it already is.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::Validation`](crate::PulseDBError::Validation).
    pub async fn unarchive_experience(&mut self, id: ExperienceId) -> Result<()> {
        self.set_archived(id, false).await
    }

    /// Notes that an experience was applied once more, and answers how often by then.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::Validation`](crate::PulseDBError::Validation).
    pub async fn reinforce_experience(&mut self, id: ExperienceId) -> Result<u32> {
        let (mut own, at) = self.present(id, false).await?;
        revision::reinforce(&mut own.values, self.now());
        let applications = own.values.all_applications();
        self.change(id, own, at, Change::Reinforce(id), 0)?;
        Ok(applications)
    }

    /// Deletes an experience.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound), [`PulseDBError::Validation`](crate::PulseDBError::Validation).
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
    pub(super) async fn present(
        &mut self,
        id: ExperienceId,
        with_traits: bool,
    ) -> Result<(OwnExperience, Option<RowRef>)> {
        self.db.engine().committer()?;
        self.saw_experience(id)?;
        self.db
            .read(Operation::TransactionRead, move |reader| {
                merged::present(reader, id, with_traits)
            })
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
        revised(&mut own, self.now());
        self.write(change, bytes, |overlay| overlay.change(id, Some(own), at));
        Ok(())
    }

    /// What is to be recorded, with its id and as it will be read.
    pub(super) fn stage(&mut self, mut embedded: Embedded) -> Result<Staged> {
        let stamped = self.entering(&embedded)?;
        let raw = self.next_id();
        let (id, now) = (ExperienceId::from_u128(raw), self.now());
        embedded.id = Some(raw);
        let head = ExperienceHead {
            id,
            collective_id: embedded.collective,
            timestamp: now,
            updated_at: now,
            instance_id: self.db.instance_id(),
        };
        let own = decoded(&embedded, |body| {
            let traits = body.traits()?;
            let whole = assemble(&head, body, &body.vitals()?, traits.clone())?;
            Ok(OwnExperience::new(whole, traits, embedded.inverse_norm))
        })?;
        // Each of a batch counts it, although the first one stamps for all.
        let bytes = embedded.bytes() + stamped.as_ref().map_or(0, stamp_bytes);
        Ok(Staged {
            id,
            own,
            embedded,
            stamps: stamped.is_some(),
            bytes,
        })
    }

    /// Records what there is room for, by this change.
    pub(super) fn record(
        &mut self,
        staged: Staged,
        change: impl FnOnce(Embedded) -> Change,
    ) -> Result<ExperienceId> {
        let Staged {
            id, own, embedded, ..
        } = staged;
        if staged.stamps {
            self.enter(&embedded)?;
        }
        let (bytes, key) = (embedded.bytes(), embedded.key.clone());
        self.write(change(embedded), bytes, |overlay| {
            overlay.record(own, id, key.as_ref());
        });
        Ok(id)
    }

    /// The experience that has the key of what is to be recorded, decided as the committer will.
    pub(super) fn keyed(&mut self, embedded: &Embedded) -> Result<Option<ExperienceId>> {
        let Some(key) = &embedded.key else {
            return Ok(None);
        };
        let reader = self.db.reader()?;
        let touched = |id| reader.overlay.as_ref().and_then(|own| own.experience(id));
        let own = reader.overlay.as_ref();
        let own = own.and_then(|own| own.keyed(embedded.collective, key));
        let lives = |id: &ExperienceId| {
            let own = touched(*id).flatten();
            own.is_some_and(|own| !own.values.expired(reader.now))
        };
        if let Some(id) = own.filter(lives) {
            return Ok(Some(id));
        }
        let table = reader.table(embedded.collective)?;
        let known = self.db.engine().keys.get(table.number, key);
        let Some(row) = known.and_then(|at| table.row(at.row, reader.lsn())) else {
            return Ok(None);
        };
        let id = ExperienceId::from_u128(row.row.id);
        self.guard.saw(EntityKind::Experience, id.as_u128());
        // One that has expired gives its key free.
        let there = match touched(id) {
            Some(own) => own.is_some_and(|own| !own.values.expired(reader.now)),
            None => !row.values.expired(reader.now),
        };
        Ok(there.then_some(id))
    }
}

/// An experience that is about to be recorded.
pub(super) struct Staged {
    pub(super) id: ExperienceId,
    pub(super) own: OwnExperience,
    pub(super) embedded: Embedded,
    /// Whether it was the first vector of its collective when it was staged.
    stamps: bool,
    /// What it takes beside a constant.
    pub(super) bytes: usize,
}

/// Shows that an experience was changed at `now`.
pub(super) fn revised(own: &mut OwnExperience, now: Timestamp) {
    own.values.updated_at = now;
    if let Some(traits) = &own.traits {
        revision::show_traits(&mut own.values, traits);
    }
}

/// What a record of these traits takes in the log.
pub(super) fn traits_bytes(traits: &Traits) -> usize {
    let mut payload = Vec::new();
    traits.encode(&mut payload);
    payload.len() + FRAME_HEADER_LEN
}
