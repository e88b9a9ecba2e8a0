//! Which experience does an event show?
//!
//! The experience right after the change, put together from the records that the changed one names by LSN. Where
//! one of those is gone from the log, or the row from memory, the experience is gone or changed by now, and the event
//! shows none: never one with values of another moment.

use crate::{
    error::Result,
    format::{
        BodyView, DecodeError, ExperienceHead, FrameHeader, RecordKind, Traits, Vitals, assemble,
    },
    log::Frame,
    model::{CollectiveId, Experience, ExperienceId, InstanceId, Lsn, Timestamp},
    state::{Values, body},
    watch::event::{Source, decoded},
};

impl Source<'_> {
    pub(super) fn with_vitals(
        &self,
        header: &FrameHeader,
        collective: CollectiveId,
        vitals: &Vitals,
    ) -> Result<Option<Experience>> {
        let Some(traits) = self.traits(vitals.traits_lsn)? else {
            return Ok(None);
        };
        let updated_at = vitals.updated_at.unwrap_or(header.time);
        self.at_row(
            header,
            collective,
            updated_at,
            Some(vitals),
            traits.as_ref(),
        )
    }

    pub(super) fn with_traits(
        &self,
        header: &FrameHeader,
        collective: CollectiveId,
        traits: &Traits,
    ) -> Result<Option<Experience>> {
        let Some(vitals) = self.vitals(traits.vitals_lsn)? else {
            return Ok(None);
        };
        let updated_at = traits.updated_at.unwrap_or(header.time);
        self.at_row(
            header,
            collective,
            updated_at,
            vitals.as_ref(),
            Some(traits),
        )
    }

    /// An experience with the values of the snapshot.
    pub(super) fn as_of_now(
        &self,
        body: &Frame<'_>,
        collective: CollectiveId,
        values: &Values,
    ) -> Result<Option<Experience>> {
        let (Some(vitals), Some(traits)) = (
            self.vitals(values.vitals_lsn)?,
            self.traits(values.traits_lsn)?,
        ) else {
            return Ok(None);
        };
        let updated_at = Some(values.updated_at);
        self.experience(
            body,
            collective,
            updated_at,
            vitals.as_ref(),
            traits.as_ref(),
        )
        .map(Some)
    }

    /// The traits of a record that another one names: `Some(None)` for those of the body, `None` where the log
    /// does not have the record any more.
    fn traits(&self, lsn: Lsn) -> Result<Option<Option<Traits>>> {
        self.named(lsn, RecordKind::Traits, Traits::decode)
    }

    /// The same for vitals.
    fn vitals(&self, lsn: Lsn) -> Result<Option<Option<Vitals>>> {
        self.named(lsn, RecordKind::Vitals, Vitals::decode)
    }

    fn named<T>(
        &self,
        lsn: Lsn,
        kind: RecordKind,
        decode: impl FnOnce(&[u8]) -> Result<T, DecodeError>,
    ) -> Result<Option<Option<T>>> {
        if lsn == Lsn::ZERO {
            return Ok(Some(None));
        }
        match self.record(lsn)? {
            Some(frame) if frame.header.kind == kind => {
                decoded(&frame, frame.verified_payload().map(decode)?).map(|it| Some(Some(it)))
            }
            _ => Ok(None),
        }
    }

    /// The experience of the header's row; `None` once nothing of the row is left in memory.
    fn at_row(
        &self,
        header: &FrameHeader,
        collective: CollectiveId,
        updated_at: Timestamp,
        vitals: Option<&Vitals>,
        traits: Option<&Traits>,
    ) -> Result<Option<Experience>> {
        let place = self
            .view
            .tables
            .get(header.collective)
            .and_then(|table| table.with_slot(header.row, |slot| slot.row().map(|row| row.place)))
            .flatten();
        let Some(place) = place else {
            return Ok(None);
        };
        let body = self.view.segments.frame(place)?;
        self.experience(&body, collective, Some(updated_at), vitals, traits)
            .map(Some)
    }

    pub(super) fn experience(
        &self,
        frame: &Frame<'_>,
        collective: CollectiveId,
        updated_at: Option<Timestamp>,
        vitals: Option<&Vitals>,
        traits: Option<&Traits>,
    ) -> Result<Experience> {
        let payload = frame.verified_payload()?;
        let changed = (updated_at, vitals, traits);
        let experience = assembled(&frame.header, payload, collective, self.instance, changed);
        let mut experience = decoded(frame, experience)?;
        if let Some(vector) = self.vector_beside(frame) {
            experience.embedding = vector;
        }
        Ok(experience)
    }

    /// The vector that the row of a body has in the snapshot, where that is not the one in the body.
    fn vector_beside(&self, body: &Frame<'_>) -> Option<Vec<f32>> {
        let table = self.view.tables.get(body.header.table())?;
        let rows = table.rows(self.view.lsn());
        let row = rows.filled(body.header.row)?;
        table.vectors_beside(row.row)?;
        let stored = body::vector(&self.view.segments, &row, table).ok()?;
        Some(stored.vector.to_vec())
    }
}

/// The experience that a body tells, with what was changed since: when, vitals, traits.
pub(super) fn assembled(
    header: &FrameHeader,
    payload: &[u8],
    collective: CollectiveId,
    instance: InstanceId,
    changed: (Option<Timestamp>, Option<&Vitals>, Option<&Traits>),
) -> Result<Experience, DecodeError> {
    let (updated_at, vitals, traits) = changed;
    let body = BodyView::parse(header.dimension, payload)?;
    let vitals = vitals.cloned().map_or_else(|| body.vitals(), Ok)?;
    let traits = traits.cloned().map_or_else(|| body.traits(), Ok)?;
    let timestamp = body.recorded_at()?.unwrap_or(header.time);
    let head = ExperienceHead {
        id: ExperienceId::from_u128(header.entity),
        collective_id: collective,
        timestamp,
        updated_at: updated_at.or(vitals.updated_at).unwrap_or(timestamp),
        instance_id: instance,
    };
    assemble(&head, &body, &vitals, traits)
}
