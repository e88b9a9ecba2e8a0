//! Which event does a record make?
//!
//! The same function serves the live path and the catching up, so both tell the same story. An event
//! shows the experience right after its change: a record of vitals or traits names by LSN what
//! the rest was at that moment.

use crate::{
    error::Result,
    format::{
        BodyView, DecodeError, ExperienceHead, FrameHeader, RecordKind, Traits, Vitals, assemble,
    },
    log::{Frame, SegmentSet},
    model::{
        CollectiveId, EntityId, EventType, Experience, ExperienceId, InstanceId, Lsn, Timestamp,
        WatchEvent, WatchFilter,
    },
    state::Snapshot,
    sync::Arc,
};

/// What events are made from.
pub struct Source<'a> {
    /// A snapshot at or behind the records.
    pub view: &'a Snapshot<Arc<SegmentSet>>,
    /// Number of the collective in the log.
    pub number: u32,
    /// Its id.
    pub collective: CollectiveId,
    /// Whose applications the vitals count.
    pub instance: InstanceId,
}

impl Source<'_> {
    /// The events of this collective's records in `first..=last`, at most `limit`, and the LSN up to
    /// which the records were read.
    ///
    /// # Errors
    /// `Corrupted` where a record is damaged.
    pub fn events(&self, first: Lsn, last: Lsn, limit: usize) -> Result<(Vec<WatchEvent>, Lsn)> {
        let mut frames = self.view.segments.iter_from(first, last).peekable();
        let mut events = Vec::new();
        let mut read = last;
        while let Some(frame) = frames.next() {
            // Whose record the damaged bytes were is not known, so nobody may skip them silently.
            let frame = frame.inspect_err(|error| self.view.segments.note_damage(error))?;
            if frame.header.collective != self.number {
                continue;
            }
            let absorbed = frames
                .peek()
                .and_then(|next| next.as_ref().ok())
                .is_some_and(|next| is_absorbed(&frame, &next.header));
            if absorbed {
                continue;
            }
            let event = self.event(&frame);
            let event = event.inspect_err(|error| self.view.segments.note_damage(error))?;
            if let Some(event) = event {
                events.push(event);
            }
            if events.len() >= limit {
                read = frame.header.lsn;
                break;
            }
        }
        Ok((events, read))
    }

    fn event(&self, frame: &Frame<'_>) -> Result<Option<WatchEvent>> {
        let header = &frame.header;
        let id = ExperienceId::from_u128(header.entity);
        let (entity, event_type, experience) = match header.kind {
            RecordKind::CollectiveDeleted => (
                EntityId::Collective(self.collective),
                EventType::Deleted,
                None,
            ),
            RecordKind::Body => (
                EntityId::Experience(id),
                EventType::Created,
                self.created(frame)?,
            ),
            RecordKind::Vitals => {
                let vitals = decoded(frame, frame.verified_payload().map(Vitals::decode)?)?;
                let experience = self.with_vitals(header, &vitals)?;
                (EntityId::Experience(id), vitals.change, experience)
            }
            RecordKind::Traits => {
                let traits = decoded(frame, frame.verified_payload().map(Traits::decode)?)?;
                let experience = self.with_traits(header, &traits)?;
                (EntityId::Experience(id), EventType::Updated, experience)
            }
            RecordKind::ExperienceDeleted => (EntityId::Experience(id), EventType::Deleted, None),
            _ => return Ok(None),
        };
        Ok(Some(WatchEvent {
            lsn: header.lsn,
            collective_id: self.collective,
            entity,
            event_type,
            timestamp: header.time,
            experience: experience.map(Arc::new),
        }))
    }

    fn created(&self, frame: &Frame<'_>) -> Result<Option<Experience>> {
        self.experience(frame, None, None, None).map(Some)
    }

    fn with_vitals(&self, header: &FrameHeader, vitals: &Vitals) -> Result<Option<Experience>> {
        let traits = match self.record(vitals.traits_lsn)? {
            Some(frame) => Some(decoded(
                &frame,
                frame.verified_payload().map(Traits::decode)?,
            )?),
            None => None,
        };
        let updated_at = vitals.updated_at.unwrap_or(header.time);
        self.at_row(header, updated_at, Some(vitals), traits.as_ref())
    }

    fn with_traits(&self, header: &FrameHeader, traits: &Traits) -> Result<Option<Experience>> {
        let vitals = match self.record(traits.vitals_lsn)? {
            Some(frame) => Some(decoded(
                &frame,
                frame.verified_payload().map(Vitals::decode)?,
            )?),
            None => None,
        };
        let updated_at = traits.updated_at.unwrap_or(header.time);
        self.at_row(header, updated_at, vitals.as_ref(), Some(traits))
    }

    /// The experience of the header's row; `None` once nothing of the row is left in memory.
    fn at_row(
        &self,
        header: &FrameHeader,
        updated_at: Timestamp,
        vitals: Option<&Vitals>,
        traits: Option<&Traits>,
    ) -> Result<Option<Experience>> {
        let place = self
            .view
            .tables
            .get(self.number)
            .and_then(|table| table.with_slot(header.row, |slot| slot.row().map(|row| row.place)))
            .flatten();
        let Some(place) = place else {
            return Ok(None);
        };
        let body = self.view.segments.frame(place)?;
        self.experience(&body, Some(updated_at), vitals, traits)
            .map(Some)
    }

    fn experience(
        &self,
        frame: &Frame<'_>,
        updated_at: Option<Timestamp>,
        vitals: Option<&Vitals>,
        traits: Option<&Traits>,
    ) -> Result<Experience> {
        let payload = frame.verified_payload()?;
        let experience = BodyView::parse(frame.header.dimension, payload).and_then(|body| {
            let vitals = vitals.cloned().map_or_else(|| body.vitals(), Ok)?;
            let traits = traits.cloned().map_or_else(|| body.traits(), Ok)?;
            let timestamp = body.recorded_at()?.unwrap_or(frame.header.time);
            let head = ExperienceHead {
                id: ExperienceId::from_u128(frame.header.entity),
                collective_id: self.collective,
                timestamp,
                updated_at: updated_at.or(vitals.updated_at).unwrap_or(timestamp),
                instance_id: self.instance,
            };
            assemble(&head, &body, &vitals, traits)
        });
        decoded(frame, experience)
    }

    fn record(&self, lsn: Lsn) -> Result<Option<Frame<'_>>> {
        if lsn == Lsn::ZERO {
            return Ok(None);
        }
        self.view
            .segments
            .find(lsn)
            .map(|place| self.view.segments.frame(place))
            .transpose()
    }
}

/// An update of both vitals and traits is two records of one commit, and one event: that of the
/// second, which shows both.
///
/// Not so where a transaction does something else first (reinforces, archives) and then changes traits.
fn is_absorbed(frame: &Frame<'_>, next: &FrameHeader) -> bool {
    let this = &frame.header;
    this.kind == RecordKind::Vitals
        && !this.closes_commit
        && next.kind == RecordKind::Traits
        && (this.collective, this.row) == (next.collective, next.row)
        && frame.verified_payload().is_ok_and(|payload| {
            Vitals::decode(payload).is_ok_and(|vitals| vitals.change == EventType::Updated)
        })
}

fn decoded<T>(frame: &Frame<'_>, result: Result<T, DecodeError>) -> Result<T> {
    result.map_err(|error| frame.corrupted(error.to_string()))
}

/// Whether a watcher with this filter wants the event.
pub fn wanted(filter: &WatchFilter, event: &WatchEvent) -> bool {
    if !filter.event_types.is_empty() && !filter.event_types.contains(&event.event_type) {
        return false;
    }
    let by_experience = !filter.domains.is_empty()
        || !filter.experience_types.is_empty()
        || filter.min_importance.is_some();
    if !by_experience {
        return true;
    }
    // What is gone has no fields left to ask. Whoever watched it hears of it rather than not.
    let Some(experience) = &event.experience else {
        return true;
    };
    let domains = &filter.domains;
    (domains.is_empty() || experience.domain.iter().any(|d| domains.contains(d)))
        && (filter.experience_types.is_empty()
            || filter
                .experience_types
                .contains(&experience.experience_type.kind()))
        && filter
            .min_importance
            .is_none_or(|min| experience.importance >= min)
}
