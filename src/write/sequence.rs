//! What becomes of a request, given everything before it?
//!
//! The only place where a request meets the state it changes: existence, uniqueness, the embedder's
//! identity, the new values. Every refusal happens here, before anything is appended. A request
//! that is refused leaves no trace in the group.

mod activity;
mod append;
mod archive;
mod duplicates;
mod expiry;
mod guard;
mod import;
mod insights;
mod reembedding;
mod relations;
mod succession;

pub use duplicates::{Checked, Looked, Written};

use crate::{
    env::Env,
    error::{PulseDBError, Result},
    format::{
        BodyView, CollectiveRecord, FrameHeader, MAX_COLLECTIVE_NUMBER, RecordKind, RowKind,
        Traits, UnknownFields, Vitals, collective_of, payload_crc,
    },
    log::OutFrame,
    model::{
        Collective, CollectiveId, DecayConfig, EntityKind, EventType, ExperienceId,
        ExperienceUpdate, InsightId, Lsn, Timestamp,
    },
    state::{Applier, Mutation, RowRef, Table, Visited},
    sync::Arc,
    write::{
        draft::Embedded,
        guard::Guard,
        identity::IdSource,
        pending::{Item, Pending, Present},
        request::{Answer, Change, NewCollective, Reply, Request},
        revision,
        sequence::duplicates::Recent,
    },
};

/// Reads the traits that a row has in the log.
pub trait TraitsSource {
    /// The traits of `present`, which the group did not set.
    fn traits(&self, present: &Present) -> Result<Traits>;

    /// What is compared of a row of `table`; `None` where it is damaged.
    fn written(&self, row: &Visited<'_>, table: &Table) -> Option<Written>;
}

/// What the committer alone counts.
pub struct Sequencer {
    next_lsn: Lsn,
    last_time: Timestamp,
    ids: IdSource,
    env: Arc<dyn Env>,
}

/// A group with everything decided.
pub struct Sequenced {
    /// The records to append.
    pub items: Vec<Item>,
    /// One answer per request, true once the items are durable.
    pub answers: Vec<Answer>,
    /// A flush was asked for.
    pub flush: bool,
    /// Room to give back when the group is answered.
    pub rooms: Vec<Box<dyn Send>>,
}

impl Sequencer {
    /// The time of the newest record.
    pub fn last_time(&self) -> Timestamp {
        self.last_time
    }

    /// Continues behind `last_time` and `last_id` with the LSN `next_lsn`.
    pub fn new(next_lsn: Lsn, last_time: Timestamp, last_id: u128, env: Arc<dyn Env>) -> Self {
        Self {
            next_lsn,
            last_time,
            ids: IdSource::new(last_id),
            env,
        }
    }

    /// Decides a group.
    pub fn sequence(
        &mut self,
        requests: Vec<Request>,
        applier: &Applier,
        source: &dyn TraitsSource,
    ) -> Sequenced {
        self.last_time = self.last_time.max(self.env.now());
        let mut step = Step {
            sequencer: self,
            applier,
            source,
            pending: Pending::with_room(requests.len()),
            last_collective: None,
            recent: Recent::default(),
        };
        let mut answers = Vec::with_capacity(requests.len());
        let mut rooms = Vec::with_capacity(requests.len());
        let mut flush = false;
        for request in requests {
            flush |= matches!(request.first, Change::Flush);
            rooms.push(request.room);
            answers.push(match request.guard {
                None => step.request(request.first, request.rest),
                Some(guard) => step.transaction(&guard, request.first, request.rest),
            });
        }
        let items = step.pending.into_items();
        self.next_lsn = Lsn::new(self.next_lsn.get() + items.len() as u64);
        Sequenced {
            items,
            answers,
            flush,
            rooms,
        }
    }
}

/// One group being decided.
struct Step<'a> {
    sequencer: &'a mut Sequencer,
    applier: &'a Applier,
    source: &'a dyn TraitsSource,
    pending: Pending,
    /// The collective that was looked up last: most requests of a group name the same.
    last_collective: Option<(u32, Arc<Collective>)>,
    /// What was compared with candidates for duplicates.
    recent: Recent,
}

impl Step<'_> {
    /// A request whose changes were decided elsewhere, on what `guard` has seen.
    fn transaction(&mut self, guard: &Guard, first: Change, rest: Vec<Change>) -> Answer {
        self.check(guard)?;
        self.request(first, rest).map_err(|error| match error {
            // It was there when the change was made.
            PulseDBError::NotFound { kind, id } => {
                guard::changed(format!("{kind} {id}"), "deleted, or has expired,")
            }
            // It was in the right collective when the change was made, and was imported into another one.
            PulseDBError::Validation { value, .. } => guard::changed(value, "moved"),
            other => other,
        })
    }

    fn request(&mut self, first: Change, rest: Vec<Change>) -> Answer {
        let mark = self.pending.len();
        let replies: Answer = std::iter::once(first)
            .chain(rest)
            .map(|change| self.change(change))
            .collect();
        let undone = replies
            .as_ref()
            .map_or(true, |replies| replies.contains(&Reply::LookAgain));
        if undone {
            if self.pending.len() > mark {
                self.pending.cut(mark);
                self.last_collective = None;
                self.recent = Recent::default();
            }
        } else if self.pending.len() > mark
            && let Some(last) = self.pending.last_mut()
        {
            last.frame.header.closes_commit = true;
        }
        replies
    }

    fn change(&mut self, change: Change) -> Result<Reply> {
        match change {
            Change::Record(embedded) => self.record(embedded),
            Change::Reinforce(id) => self.reinforce(id),
            Change::Update(id, update) => self.update(id, &update),
            Change::SetTag(id, key, value) => self.set_tag(id, key, value),
            Change::SetArchived(id, archived) => self.set_archived(id, archived),
            Change::Delete(id) => self.delete(id),
            Change::Erase(id) => Ok(self.erase(id)),
            Change::CreateCollective {
                id,
                new,
                reuse_named,
            } => self.create_collective(id, new, reuse_named),
            Change::SetDecay(id, decay) => self.set_decay(id, decay),
            Change::DeleteCollective(id) => self.delete_collective(id),
            Change::Flush => Ok(Reply::Done),
            Change::Relate(id, new) => self.relate(id, *new),
            Change::DeleteRelation(id) => self.delete_relation(id),
            Change::DeleteInsight(id) => self.delete_insight(id),
            Change::Activity(collective, agent, change) => {
                self.activity(collective, agent, *change)
            }
            Change::Import(embedded, existing) => self.import(embedded, existing),
            Change::ImportInsight(embedded) => self.import_insight(embedded),
            Change::ImportRelation(relation) => self.import_relation(*relation),
            Change::RestoreCollective(definition) => self.restore_collective(*definition),
            Change::RecordChecked(checked) => self.record_checked(*checked),
            Change::Supersede(old, new, relation) => self.supersede(old, *new, relation),
            Change::Expire(ids) => Ok(self.expire(&ids)),
            Change::ArchiveCold { ids, asked } => self.archive_cold(&ids, asked),
            Change::BeginReembedding(id, dimension, embedder) => {
                self.begin_reembedding(id, dimension, *embedder)
            }
            Change::Embed(embedding) => self.embed(*embedding),
            Change::EndReembedding(id, epoch, rows, precision) => {
                self.end_reembedding(id, epoch, rows, precision)
            }
            Change::CancelReembedding(id) => self.cancel_reembedding(id),
        }
    }

    fn record(&mut self, embedded: Embedded) -> Result<Reply> {
        let number = self.collective_for_vectors(&embedded)?;
        let (kind, table) = match embedded.row_kind {
            RowKind::Insight => {
                self.check_sources(number, &embedded.sources)?;
                (RecordKind::Insight, RowKind::Insight.table(number))
            }
            RowKind::Experience | RowKind::Relation => (RecordKind::Body, number),
        };
        if let Some(known) = self.recorded(number, &embedded)? {
            return Ok(Reply::Experience(known));
        }
        let id = self.id_or(embedded.id)?;
        self.append((table, kind), embedded, id)?;
        Ok(match kind {
            RecordKind::Insight => Reply::Insight(InsightId::from_u128(id)),
            _ => Reply::Experience(ExperienceId::from_u128(id)),
        })
    }

    /// The experience with the same idempotency key, for whoever records it again. A transaction has decided
    /// that there is none.
    fn recorded(&mut self, collective: u32, embedded: &Embedded) -> Result<Option<ExperienceId>> {
        let known = self.keyed(collective, embedded);
        match (known, embedded.id, &embedded.key) {
            (Some(_), Some(_), Some(key)) => {
                Err(guard::changed(format!("idempotency key {key:?}"), "used"))
            }
            _ => Ok(known),
        }
    }

    /// The experience with the same idempotency key. One that has expired gives its key free: it is
    /// deleted, in the commit that takes the key, so that no two rows have it.
    fn keyed(&mut self, collective: u32, embedded: &Embedded) -> Option<ExperienceId> {
        let key = embedded.key.as_ref()?;
        let known = self.pending.keyed(collective, key, self.applier)?;
        if known.values.expired(self.sequencer.last_time) {
            self.delete_row(&known);
            return None;
        }
        Some(ExperienceId::from_u128(known.row.id))
    }

    /// The number of the collective, once it is sure that the vector may enter it. The first write
    /// stamps the embedder's identity into the collective.
    fn collective_for_vectors(&mut self, embedded: &Embedded) -> Result<u32> {
        let (number, definition) = self.collective(embedded.collective)?;
        if let Some(stamped) = embedded.enter(&definition)? {
            self.define(number, stamped);
        }
        Ok(number)
    }

    fn reinforce(&mut self, id: ExperienceId) -> Result<Reply> {
        let mut present = self.present(id)?;
        revision::reinforce(&mut present.values, self.now());
        let applications = present.values.all_applications();
        self.revise_vitals(present, EventType::Reinforced, id)?;
        Ok(Reply::Applications(applications))
    }

    fn set_archived(&mut self, id: ExperienceId, archived: bool) -> Result<Reply> {
        let mut present = self.present(id)?;
        if present.values.archived != archived {
            present.values.archived = archived;
            let change = if archived {
                EventType::Archived
            } else {
                EventType::Unarchived
            };
            self.revise_vitals(present, change, id)?;
        }
        Ok(Reply::Done)
    }

    fn update(&mut self, id: ExperienceId, update: &ExperienceUpdate) -> Result<Reply> {
        let mut present = self.present(id)?;
        if revision::names_vitals(update) {
            revision::update_values(&mut present.values, update);
            present = self.revise_vitals(present, EventType::Updated, id)?;
        }
        if revision::names_traits(update) {
            let mut changed = self.traits(&present)?;
            revision::update_traits(&mut changed, update)?;
            self.revise_traits(present, changed, id);
        }
        Ok(Reply::Done)
    }

    fn set_tag(&mut self, id: ExperienceId, key: String, value: Option<String>) -> Result<Reply> {
        let present = self.present(id)?;
        let mut changed = self.traits(&present)?;
        if revision::set_tag(&mut changed, key, value)? {
            self.revise_traits(present, changed, id);
        }
        Ok(Reply::Done)
    }

    fn delete(&mut self, id: ExperienceId) -> Result<Reply> {
        let present = self.present(id)?;
        self.delete_row(&present);
        Ok(Reply::Done)
    }

    fn delete_row(&mut self, present: &Present) {
        self.push_tombstone(RecordKind::ExperienceDeleted, present.at, present.row.id);
    }

    fn push_tombstone(&mut self, kind: RecordKind, at: RowRef, entity: u128) {
        let header = self.header(kind, at, entity);
        self.push_encoded(header, Vec::new(), Mutation::Delete { at }, None);
    }

    fn create_collective(
        &mut self,
        id: Option<CollectiveId>,
        new: NewCollective,
        reuse_named: bool,
    ) -> Result<Reply> {
        if reuse_named && let Some(known) = self.pending.named_collective(&new.name, self.applier) {
            return Ok(Reply::Collective(known.id));
        }
        let number = self.pending.next_collective(self.applier);
        if number > MAX_COLLECTIVE_NUMBER {
            return Err(PulseDBError::conflict(format!(
                "the database has used up its {MAX_COLLECTIVE_NUMBER} numbers of collectives"
            )));
        }
        let id = id.unwrap_or_else(|| CollectiveId::from_u128(self.next_id()));
        self.define(number, new.defined(id, self.sequencer.last_time));
        Ok(Reply::Collective(id))
    }

    fn set_decay(&mut self, id: CollectiveId, decay: DecayConfig) -> Result<Reply> {
        let (number, definition) = self.collective(id)?;
        let mut changed = Collective::clone(&definition);
        changed.decay = decay;
        self.define(number, changed);
        Ok(Reply::Done)
    }

    fn delete_collective(&mut self, id: CollectiveId) -> Result<Reply> {
        let (collective, _) = self.collective(id)?;
        let at = RowRef { collective, row: 0 };
        let header = self.header(RecordKind::CollectiveDeleted, at, id.as_u128());
        let mutation = Mutation::DeleteCollective { collective };
        self.last_collective = None;
        self.push_encoded(header, Vec::new(), mutation, None);
        Ok(Reply::Done)
    }

    fn define(&mut self, collective: u32, definition: Collective) {
        let at = RowRef { collective, row: 0 };
        let header = self.header(RecordKind::Collective, at, definition.id.as_u128());
        let mut payload = Vec::new();
        let record = CollectiveRecord {
            collective: definition,
            unknown: UnknownFields::default(),
        };
        record.encode(&mut payload);
        let definition = record.collective;
        let definition = Arc::new(definition);
        self.last_collective = None;
        let mutation = Mutation::Define {
            collective,
            definition,
        };
        self.push_encoded(header, payload, mutation, None);
    }

    /// Writes the vitals that `present` now has.
    fn revise_vitals(
        &mut self,
        present: Present,
        change: EventType,
        id: ExperienceId,
    ) -> Result<Present> {
        self.revise_vitals_at(present, change, id, None)
    }

    /// The same of what changed at another time than now.
    fn revise_vitals_at(
        &mut self,
        mut present: Present,
        change: EventType,
        id: ExperienceId,
        updated_at: Option<Timestamp>,
    ) -> Result<Present> {
        if present.values.damaged_place.is_some() {
            return Err(PulseDBError::conflict(format!(
                "the present values of experience {id} are damaged; read it for file and offset"
            )));
        }
        let header = self.header(RecordKind::Vitals, present.at, id.as_u128());
        let vitals = Vitals {
            importance: present.values.importance,
            confidence: present.values.confidence,
            applications: present.values.applications,
            last_reinforced: Some(present.values.last_reinforced),
            archived: present.values.archived,
            change,
            prev: present.values.vitals_lsn,
            traits_lsn: present.values.traits_lsn,
            others: present.values.others,
            updated_at,
            unknown: UnknownFields::default(),
        };
        let mut payload = Vec::new();
        vitals.encode(&mut payload);
        present.values.vitals_lsn = header.lsn;
        present.values.updated_at = updated_at.unwrap_or(header.time);
        let mutation = Mutation::Revise {
            at: present.at,
            values: present.values,
        };
        self.push_encoded(header, payload, mutation, Some(present.clone()));
        Ok(present)
    }

    /// Writes `traits` as the row's traits.
    fn revise_traits(&mut self, present: Present, traits: Traits, id: ExperienceId) {
        self.revise_traits_at(present, traits, id, None);
    }

    /// The same of what changed at another time than now.
    fn revise_traits_at(
        &mut self,
        mut present: Present,
        mut traits: Traits,
        id: ExperienceId,
        updated_at: Option<Timestamp>,
    ) {
        let header = self.header(RecordKind::Traits, present.at, id.as_u128());
        traits.prev = present.values.traits_lsn;
        traits.vitals_lsn = present.values.vitals_lsn;
        present.values.traits_lsn = header.lsn;
        present.values.updated_at = updated_at.unwrap_or(header.time);
        revision::show_traits(&mut present.values, &traits);
        traits.updated_at = updated_at;
        let mut payload = Vec::new();
        traits.encode(&mut payload);
        present.traits = Some(Arc::new(traits));
        let mutation = Mutation::Revise {
            at: present.at,
            values: present.values,
        };
        self.push_encoded(header, payload, mutation, Some(present));
    }

    fn push_encoded(
        &mut self,
        mut header: FrameHeader,
        payload: Vec<u8>,
        mutation: Mutation,
        after: Option<Present>,
    ) {
        header.payload_len = payload.len() as u32;
        header.payload_crc = payload_crc(&payload);
        self.pending.push(Item {
            frame: OutFrame {
                header,
                payload: payload.into(),
            },
            mutation,
            after,
        });
    }

    /// A header with everything but the payload's length and checksum.
    fn header(&self, kind: RecordKind, at: RowRef, entity: u128) -> FrameHeader {
        FrameHeader {
            payload_len: 0,
            payload_crc: 0,
            kind,
            closes_commit: false,
            dimension: 0,
            lsn: self.next_record(),
            time: self.sequencer.last_time,
            collective: collective_of(at.collective),
            row: at.row,
            entity,
            durable_upto: Lsn::ZERO,
        }
    }

    /// The LSN of the record that comes next.
    fn next_record(&self) -> Lsn {
        Lsn::new(self.sequencer.next_lsn.get() + self.pending.len() as u64)
    }

    /// The time of the group's records.
    const fn now(&self) -> Timestamp {
        self.sequencer.last_time
    }

    /// An id that was made elsewhere, unless it is in use; otherwise a new one.
    fn id_or(&mut self, made: Option<u128>) -> Result<u128> {
        let Some(id) = made else {
            return Ok(self.next_id());
        };
        if self.pending.present(id, self.applier).is_some() {
            return Err(PulseDBError::conflict(format!(
                "the id {} is there already",
                ExperienceId::from_u128(id)
            )));
        }
        Ok(id)
    }

    fn next_id(&mut self) -> u128 {
        let sequencer = &mut *self.sequencer;
        sequencer
            .ids
            .next(sequencer.last_time, sequencer.env.as_ref())
    }

    fn traits(&mut self, present: &Present) -> Result<Traits> {
        match &present.traits {
            Some(set) => Ok(Traits::clone(set)),
            // Of a row of this group nothing is in the log yet.
            None => match self.pending.body(present.at) {
                Some(frame) => BodyView::parse(frame.header.dimension, &frame.payload)
                    .and_then(|body| body.traits())
                    .map_err(|error| PulseDBError::conflict(error.to_string())),
                None => self.source.traits(present),
            },
        }
    }

    fn present(&mut self, id: ExperienceId) -> Result<Present> {
        self.present_of(RowKind::Experience, id.as_u128())
            .filter(|present| !present.values.expired(self.sequencer.last_time))
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Experience, id))
    }

    /// The row that has this id now, if it is one of this kind.
    fn present_of(&mut self, kind: RowKind, id: u128) -> Option<Present> {
        self.pending
            .present(id, self.applier)
            .filter(|present| RowKind::of_table(present.at.collective) == kind)
    }

    fn collective(&mut self, id: CollectiveId) -> Result<(u32, Arc<Collective>)> {
        if let Some((number, definition)) = &self.last_collective
            && definition.id == id
        {
            return Ok((*number, Arc::clone(definition)));
        }
        let found = self
            .pending
            .find_collective(id.as_u128(), self.applier)
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Collective, id))?;
        self.last_collective = Some((found.0, Arc::clone(&found.1)));
        Ok(found)
    }
}
