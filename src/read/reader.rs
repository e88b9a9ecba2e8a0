//! What does one call read from?
//!
//! One snapshot and one moment, both fixed at the top of the call.

use crate::{
    error::{PulseDBError, Result},
    format::{BodyView, ExperienceHead, Traits, Vitals, assemble},
    log::SegmentSet,
    model::{
        Collective, CollectiveId, EntityKind, Experience, ExperienceId, InstanceId, Lsn, Timestamp,
    },
    read::filter::Compiled,
    state::{IdIndex, RowState, Snapshot, Table, Values, Visited, replay},
    sync::Arc,
};

/// The database as one call sees it.
#[derive(Clone)]
pub struct Reader {
    /// What is visible.
    pub view: Arc<Snapshot<Arc<SegmentSet>>>,
    /// Rows by id; may point to rows that are not visible.
    pub ids: Arc<IdIndex>,
    /// The moment of the call, for expiry and energy.
    pub now: Timestamp,
    /// Whose applications the vitals count.
    pub instance: InstanceId,
}

impl Reader {
    /// The LSN of the snapshot.
    pub fn lsn(&self) -> Lsn {
        self.view.lsn()
    }

    /// The rows of a collective.
    pub fn table(&self, id: CollectiveId) -> Result<&Arc<Table>> {
        self.view
            .tables
            .find(id.as_u128())
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Collective, id))
    }

    /// The definition of a collective.
    pub fn collective(&self, id: CollectiveId) -> Result<Arc<Collective>> {
        self.table(id)?
            .definition(self.lsn())
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Collective, id))
    }

    /// All collectives, oldest first.
    pub fn collectives(&self) -> Vec<Collective> {
        self.view
            .tables
            .iter()
            .filter_map(|table| table.definition(self.lsn()))
            .map(|definition| Collective::clone(&definition))
            .collect()
    }

    /// The row of an experience, if it is visible.
    pub fn find(&self, id: ExperienceId) -> Option<(&Arc<Table>, RowState)> {
        let at = self.ids.get(id.as_u128())?;
        let table = self.view.tables.get(at.collective)?;
        let state = table.row(at.row, self.lsn())?;
        (!state.values.expired(self.now)).then_some((table, state))
    }

    /// One experience.
    pub fn experience(&self, id: ExperienceId) -> Result<Experience> {
        let (table, state) = self
            .find(id)
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Experience, id))?;
        self.assemble(table, &state)
    }

    /// Whether the body of an experience is in memory, so that reading it waits for no disk.
    pub fn is_resident(&self, id: ExperienceId) -> bool {
        self.find(id).is_none_or(|(_, state)| {
            let place = state.row.place;
            self.view
                .segments
                .locate(place)
                .is_none_or(|(segment, unit)| {
                    segment.is_resident(unit, u64::from(state.row.frame_bytes))
                })
        })
    }

    /// Whether a row that a walk passes has expired.
    pub fn expired(&self, row: &Visited<'_>) -> bool {
        if row.unchanged() {
            !row.row.pinned && row.row.expires_at.is_some_and(|at| at <= self.now)
        } else {
            row.values().expired(self.now)
        }
    }

    /// The same as far as the columns tell.
    pub fn passes_columns(&self, filter: &Compiled<'_>, row: &Visited<'_>) -> bool {
        !self.expired(row) && filter.columns(row)
    }

    /// Whether a row that a walk passes is there and passes the filter; the traits are read last,
    /// and only where the filter asks for them.
    pub fn passes(&self, filter: &Compiled<'_>, row: &Visited<'_>) -> Result<bool> {
        if !self.passes_columns(filter, row) {
            return Ok(false);
        }
        if !filter.needs_traits() {
            return Ok(true);
        }
        let traits = replay::traits_at(&self.view.segments, row.row, &row.values())?;
        Ok(filter.traits(&traits))
    }

    /// The experience that a row stands for.
    pub fn assemble(&self, table: &Table, state: &RowState) -> Result<Experience> {
        self.assemble_values(table, state, &state.values)
    }

    fn assemble_values(
        &self,
        table: &Table,
        state: &RowState,
        values: &Values,
    ) -> Result<Experience> {
        if let Some(place) = values.damaged_place {
            return Err(replay::damage(&self.view.segments, place));
        }
        let frame = self.view.segments.frame(state.row.place)?;
        let payload = frame.verified_payload()?;
        let corrupted = |error: crate::format::DecodeError| frame.corrupted(error.to_string());
        let body = BodyView::parse(frame.header.dimension, payload).map_err(corrupted)?;
        let traits: Traits = if values.traits_place.is_none() {
            body.traits().map_err(corrupted)?
        } else {
            replay::traits_at(&self.view.segments, &state.row, values)?
        };
        let mut vitals = Vitals::initial(values.importance, values.confidence);
        vitals.applications = values.applications;
        vitals.last_reinforced = Some(values.last_reinforced);
        vitals.archived = values.archived;
        let head = ExperienceHead {
            id: ExperienceId::from_u128(state.row.id),
            collective_id: CollectiveId::from_u128(table.id),
            timestamp: state.row.time,
            updated_at: values.updated_at,
            instance_id: self.instance,
        };
        assemble(&head, &body, &vitals, &traits).map_err(corrupted)
    }
}
