//! Which event does a record make?
//!
//! The same function serves the live path and the catching up, so both tell the same story; what a new experience
//! shows is known before the log has it, from the same bytes. An event
//! shows the experience right after its change: a record of vitals or traits names by LSN what
//! the rest was at that moment. Where that is gone from the log by now, since the experience was deleted or
//! changed again, the event shows none.
//!
//! What goes along with something else has no event of its own: the relations of an experience, everything in
//! a collective. Their records do not exist, and which there were is not in the log of that moment.

use std::{cell::RefCell, collections::HashMap};

use crate::{
    error::Result,
    format::{
        ActivityRecord, CollectiveRecord, DecodeError, FrameHeader, RecordKind, Traits, Vitals,
        decode_activity_end,
    },
    log::{Frame, OutFrame, SegmentSet},
    model::{
        CollectiveId, EntityId, EventType, ExperienceId, InsightId, InstanceId, Lsn, RelationId,
        WatchEvent,
    },
    state::Snapshot,
    sync::Arc,
    watch::told::{Foreseen, Told},
};

/// Records looked at in one go while catching up: some milliseconds.
const BATCH_RECORDS: usize = 16 * 1024;
/// Bytes of the records whose events are made in one go: what a subscriber that catches up holds.
const BATCH_BYTES: u64 = 1024 * 1024;

/// LSNs in front of a definition among which an earlier one of the same millisecond is looked for first.
const LOOK_BACK: u64 = 64;

/// Which of the database's collectives, by number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Scope {
    /// This one.
    Collective(u32),
    /// All.
    All,
}

impl Scope {
    /// Whether the collective is one of them.
    pub fn has(self, number: u32) -> bool {
        match self {
            Self::Collective(one) => one == number,
            Self::All => true,
        }
    }
}

/// What a run of records makes.
pub struct Batch {
    /// The events, in the order of LSNs, each with the number of its collective.
    pub events: Vec<(u32, WatchEvent)>,
    /// Up to where the records were read.
    pub read: Lsn,
}

/// What events are made from.
pub struct Source<'a> {
    /// A snapshot at or behind the records.
    pub(super) view: &'a Snapshot<Arc<SegmentSet>>,
    /// Whose applications the vitals count.
    pub(super) instance: InstanceId,
    /// Ids of collectives that the snapshot does not see any more.
    deleted: RefCell<HashMap<u32, CollectiveId>>,
}

impl<'a> Source<'a> {
    /// Events as this instance sees them.
    pub fn new(view: &'a Snapshot<Arc<SegmentSet>>, instance: InstanceId) -> Self {
        Self {
            view,
            instance,
            deleted: RefCell::default(),
        }
    }

    /// What happened: the events of the records in `first..=last` of the collectives that `has` names.
    ///
    /// # Errors
    /// `Corrupted` where a record is damaged.
    pub fn events(
        &self,
        first: Lsn,
        last: Lsn,
        has: impl Fn(u32) -> bool,
    ) -> Result<Vec<(u32, WatchEvent)>> {
        let batch = self.happened(first, last, usize::MAX, has)?;
        Ok(batch.events)
    }

    /// The events of records that the log is being given, to be made when somebody takes them, where the records say all
    /// that the events show: those of new experiences. `None` where there are others among them, which are to be read
    /// from the log later.
    pub fn foreseen(
        &self,
        frames: &[OutFrame],
        has: impl Fn(u32) -> bool,
    ) -> Option<Vec<(u32, Told)>> {
        let foreseen = |frame: &OutFrame| {
            if frame.header.kind != RecordKind::Body {
                return None;
            }
            let number = frame.header.collective;
            let table = self.view.tables.get(number)?;
            let foreseen = Foreseen {
                frame: frame.clone(),
                collective: CollectiveId::from_u128(table.id),
                instance: self.instance,
            };
            Some((number, foreseen.into()))
        };
        let wanted = frames.iter().filter(|frame| has(frame.header.collective));
        wanted.map(foreseen).collect()
    }

    /// The first of what [`Self::events`] answers, at most `limit`; where it ends earlier, the rest is to be
    /// asked for behind [`Batch::read`].
    ///
    /// # Errors
    /// As there.
    pub fn some_events(&self, first: Lsn, last: Lsn, scope: Scope, limit: usize) -> Result<Batch> {
        self.happened(first, last, limit, |number| scope.has(number))
    }

    fn happened(
        &self,
        first: Lsn,
        last: Lsn,
        limit: usize,
        has: impl Fn(u32) -> bool,
    ) -> Result<Batch> {
        self.batch(first, last, limit, |frame, next| {
            if !has(frame.header.collective)
                || next.is_some_and(|next| is_absorbed(frame, &next.header))
            {
                return Ok(None);
            }
            self.event(frame)
        })
    }

    /// What is there: each thing that the snapshot sees and that one of the records in `first..=view.lsn()`
    /// made, as the snapshot sees it. Collectives and activities are made by the newest record of theirs.
    ///
    /// # Errors
    /// `Corrupted` where a record is damaged.
    pub fn some_present(&self, first: Lsn, scope: Scope, limit: usize) -> Result<Batch> {
        self.batch(first, self.view.lsn(), limit, |frame, _| {
            if !scope.has(frame.header.collective) {
                return Ok(None);
            }
            self.present(frame)
        })
    }

    fn batch(
        &self,
        first: Lsn,
        last: Lsn,
        limit: usize,
        event: impl Fn(&Frame<'_>, Option<&Frame<'_>>) -> Result<Option<WatchEvent>>,
    ) -> Result<Batch> {
        let segments = &self.view.segments;
        let mut frames = segments.iter_from(first, last).peekable();
        let mut batch = Batch {
            events: Vec::new(),
            read: last,
        };
        let (mut records, mut bytes) = (0, 0);
        while let Some(frame) = frames.next() {
            // Whose record the damaged bytes were is not known, so nobody may skip them silently.
            let frame = frame.inspect_err(|error| segments.note_damage(error))?;
            let next = frames.peek().and_then(|next| next.as_ref().ok());
            let event = event(&frame, next).inspect_err(|error| segments.note_damage(error))?;
            records += 1;
            if let Some(event) = event {
                batch.events.push((frame.header.collective, event));
                bytes += frame.header.frame_len();
            }
            let full = batch.events.len() >= limit
                || (limit != usize::MAX && (records >= BATCH_RECORDS || bytes >= BATCH_BYTES));
            // Never between two records that make one event.
            if full && next.is_none_or(|next| !is_absorbed(&frame, &next.header)) {
                batch.read = frame.header.lsn;
                break;
            }
        }
        Ok(batch)
    }

    fn event(&self, frame: &Frame<'_>) -> Result<Option<WatchEvent>> {
        let header = &frame.header;
        if header.kind == RecordKind::Close {
            return Ok(None);
        }
        let collective = self.collective(frame)?;
        let id = header.entity;
        let mut shown = None;
        let (entity, event_type) = match header.kind {
            RecordKind::Collective => (
                EntityId::Collective(collective),
                if self.is_redefinition(frame)? {
                    EventType::Updated
                } else {
                    EventType::Created
                },
            ),
            RecordKind::CollectiveDeleted => (EntityId::Collective(collective), EventType::Deleted),
            RecordKind::Body => {
                shown = self
                    .experience(frame, collective, None, None, None)
                    .map(Some)?;
                experience(id, EventType::Created)
            }
            RecordKind::Vitals => {
                let vitals = decoded(frame, frame.verified_payload().map(Vitals::decode)?)?;
                shown = self.with_vitals(header, collective, &vitals)?;
                experience(id, vitals.change)
            }
            RecordKind::Traits => {
                let traits = decoded(frame, frame.verified_payload().map(Traits::decode)?)?;
                shown = self.with_traits(header, collective, &traits)?;
                experience(id, EventType::Updated)
            }
            RecordKind::ExperienceDeleted => experience(id, EventType::Deleted),
            RecordKind::Relation => relation(id, EventType::Created),
            RecordKind::RelationDeleted => relation(id, EventType::Deleted),
            RecordKind::Insight => insight(id, EventType::Created),
            RecordKind::InsightDeleted => insight(id, EventType::Deleted),
            RecordKind::Activity => {
                let record = decoded(frame, frame.verified_payload().map(ActivityRecord::decode)?)?;
                // A heartbeat is the record of before with a later sign of life.
                let event_type = if record.last_heartbeat == record.started_at {
                    EventType::Created
                } else {
                    EventType::Updated
                };
                (EntityId::Activity(record.agent_id.into()), event_type)
            }
            RecordKind::ActivityEnded => {
                let agent = decoded(frame, frame.verified_payload().map(decode_activity_end)?)?;
                (EntityId::Activity(agent.into()), EventType::Deleted)
            }
            // What is known of the experience stays the same.
            RecordKind::Embedding | RecordKind::InsightEmbedding | RecordKind::Close => {
                return Ok(None);
            }
        };
        Ok(Some(WatchEvent {
            lsn: header.lsn,
            collective_id: collective,
            entity,
            event_type,
            timestamp: header.time,
            experience: shown.map(Arc::new),
        }))
    }

    fn present(&self, frame: &Frame<'_>) -> Result<Option<WatchEvent>> {
        let header = &frame.header;
        let now = self.view.lsn();
        let Some(table) = self.view.tables.get(header.table()) else {
            return Ok(None);
        };
        let collective = CollectiveId::from_u128(table.id);
        let mut shown = None;
        let entity = match header.kind {
            RecordKind::Collective => {
                let definitions = table.definitions(now, now);
                if definitions.last().map(|(since, _)| *since) != Some(header.lsn) {
                    return Ok(None);
                }
                EntityId::Collective(collective)
            }
            RecordKind::Body | RecordKind::Relation | RecordKind::Insight => {
                let state = table.row(header.row, now);
                let Some(state) = state.filter(|state| state.row.lsn == header.lsn) else {
                    return Ok(None);
                };
                match header.kind {
                    RecordKind::Relation => {
                        EntityId::Relation(RelationId::from_u128(header.entity))
                    }
                    RecordKind::Insight => EntityId::Insight(InsightId::from_u128(header.entity)),
                    _ => {
                        shown = self.as_of_now(frame, collective, &state.values)?;
                        EntityId::Experience(ExperienceId::from_u128(header.entity))
                    }
                }
            }
            RecordKind::Activity => {
                let record = decoded(frame, frame.verified_payload().map(ActivityRecord::decode)?)?;
                let activities = &table.activities;
                if !activities.is_needed(&record.agent_id, header.lsn, now) {
                    return Ok(None);
                }
                EntityId::Activity(record.agent_id.into())
            }
            _ => return Ok(None),
        };
        Ok(Some(WatchEvent {
            lsn: header.lsn,
            collective_id: collective,
            entity,
            event_type: EventType::Created,
            timestamp: header.time,
            experience: shown.map(Arc::new),
        }))
    }

    /// The collective of a record, also where it is gone by now: its deletion, which is then behind the
    /// record, names it.
    fn collective(&self, frame: &Frame<'_>) -> Result<CollectiveId> {
        let header = &frame.header;
        let number = header.collective;
        if matches!(
            header.kind,
            RecordKind::Collective | RecordKind::CollectiveDeleted
        ) {
            return Ok(CollectiveId::from_u128(header.entity));
        }
        if let Some(table) = self.view.tables.get(number) {
            return Ok(CollectiveId::from_u128(table.id));
        }
        if let Some(id) = self.deleted.borrow().get(&number) {
            return Ok(*id);
        }
        let segments = &self.view.segments;
        let active = segments.segments().last();
        let active_first = active.map_or(Lsn::ZERO, |active| active.header().first_lsn);
        // Sealed segments know which collectives are deleted in them.
        let mut deletion = None;
        if header.lsn < active_first {
            let sealed = segments.sealed().iter();
            deletion = sealed
                .flat_map(|segment| &segment.summary().deleted_collectives)
                .find(|(deleted, lsn)| *deleted == number && *lsn > header.lsn)
                .and_then(|(_, lsn)| self.record(*lsn).transpose())
                .transpose()?;
        }
        let deletion = deletion.or_else(|| {
            let behind = segments.iter_from(header.lsn.max(active_first), self.view.lsn());
            behind.flatten().find(|frame| {
                frame.header.kind == RecordKind::CollectiveDeleted
                    && frame.header.collective == number
            })
        });
        let deletion = deletion.ok_or_else(|| frame.corrupted("nobody knows its collective"))?;
        let id = CollectiveId::from_u128(deletion.header.entity);
        self.deleted.borrow_mut().insert(number, id);
        Ok(id)
    }

    /// Whether the collective of a definition was there before.
    fn is_redefinition(&self, frame: &Frame<'_>) -> Result<bool> {
        let header = &frame.header;
        let id = CollectiveId::from_u128(header.entity);
        let payload = frame.verified_payload()?;
        let record = decoded(frame, CollectiveRecord::decode(id, payload))?;
        if record.collective.created_at != header.time {
            return Ok(true);
        }
        // Made in this millisecond, perhaps by an earlier record, which is not far.
        let last = header.lsn.get().saturating_sub(1);
        let mut distance = LOOK_BACK;
        loop {
            let first = last.saturating_sub(distance);
            let mut began_before = None;
            let earlier = self
                .view
                .segments
                .iter_from(Lsn::new(first), Lsn::new(last));
            for earlier in earlier.flatten() {
                began_before.get_or_insert(earlier.header.time < header.time);
                if earlier.header.kind == RecordKind::Collective
                    && earlier.header.collective == header.collective
                {
                    return Ok(true);
                }
            }
            if first == 0 || began_before == Some(true) {
                return Ok(false);
            }
            distance = distance.saturating_mul(2);
        }
    }

    pub(super) fn record(&self, lsn: Lsn) -> Result<Option<Frame<'_>>> {
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

fn experience(id: u128, event_type: EventType) -> (EntityId, EventType) {
    (
        EntityId::Experience(ExperienceId::from_u128(id)),
        event_type,
    )
}

fn relation(id: u128, event_type: EventType) -> (EntityId, EventType) {
    (EntityId::Relation(RelationId::from_u128(id)), event_type)
}

fn insight(id: u128, event_type: EventType) -> (EntityId, EventType) {
    (EntityId::Insight(InsightId::from_u128(id)), event_type)
}

pub(super) fn decoded<T>(frame: &Frame<'_>, result: Result<T, DecodeError>) -> Result<T> {
    result.map_err(|error| frame.corrupted(error.to_string()))
}
