//! How is one experience found by its id and read?
//!
//! In a snapshot that is looked at and not held: what point reads share they share without counting
//! references, because two threads that count on one cache line wait for each other longer than a
//! whole read takes. What a call keeps beyond its end holds its segment alone
//! ([`ExperienceView`]).

use crate::{
    error::{PulseDBError, Result},
    format::{ExperienceHead, assemble},
    log::SegmentSet,
    model::{CollectiveId, EntityKind, Experience, ExperienceId, InstanceId, Timestamp},
    read::experience_view::{ExperienceView, vitals},
    state::{
        IdIndex, Snapshot, Table, Values, Visited, body,
        replay::{self, HEALED},
    },
    sync::Arc,
};

/// The database as a read of one experience sees it.
#[derive(Clone, Copy)]
pub struct Point<'a> {
    /// What is visible.
    pub view: &'a Snapshot<Arc<SegmentSet>>,
    /// Rows by id; may point to rows that are not visible.
    pub ids: &'a IdIndex,
    /// The moment of the call, for expiry.
    pub now: Timestamp,
    /// Whose applications the vitals count.
    pub instance: InstanceId,
}

impl Point<'_> {
    /// Looks at the row of an experience.
    ///
    /// # Errors
    /// `NotFound` where there is none, or none visible.
    pub fn with_row<R>(
        &self,
        id: ExperienceId,
        look: impl FnOnce(&Table, &Visited<'_>) -> R,
    ) -> Result<R> {
        let found = self.ids.get(id.as_u128()).and_then(|at| {
            let table = self.view.tables.get(at.collective)?;
            table.with_row(at.row, self.view.lsn(), |row| {
                (!row.expired(self.now)).then(|| look(table, row))
            })?
        });
        found.ok_or_else(|| PulseDBError::not_found(EntityKind::Experience, id))
    }

    /// One experience.
    ///
    /// # Errors
    /// `NotFound`; `Corrupted` where a record of it is damaged.
    pub fn experience(&self, id: ExperienceId) -> Result<Experience> {
        self.with_row(id, |table, row| self.assemble(table, row))?
    }

    /// Reads the row of an experience with `read`. `None` where its body is not in memory and the caller
    /// may not wait for the medium.
    ///
    /// # Errors
    /// `NotFound`, and those of `read`.
    pub fn read_one<R>(
        &self,
        id: ExperienceId,
        wait: bool,
        read: impl FnOnce(&Self, &Table, &Visited<'_>) -> Result<R>,
    ) -> Result<Option<R>> {
        self.with_row(id, |table, row| {
            let now = wait || self.is_resident(row);
            now.then(|| read(self, table, row)).transpose()
        })?
    }

    fn is_resident(&self, row: &Visited<'_>) -> bool {
        let bytes = u64::from(row.row.frame_bytes);
        match self.view.segments.holder(row.row.place) {
            Ok((segment, unit)) => segment.is_resident(unit, bytes, self.now),
            // Nothing to wait for: the read answers with the error.
            Err(_) => true,
        }
    }

    /// The experience that a row stands for.
    ///
    /// # Errors
    /// `Corrupted` where a record of it is damaged.
    pub fn assemble(&self, table: &Table, row: &Visited<'_>) -> Result<Experience> {
        let segments = &self.view.segments;
        let values = self.present(row)?;
        let body = body::view(segments, row, table.dimension)?;
        let traits = match values.traits_place {
            None => body.traits(),
            Some(_) => Ok(replay::traits_at(segments, row.row, &values)?),
        };
        let experience = traits.and_then(|traits| {
            assemble(
                &self.head(table, row, &values),
                &body,
                &vitals(&values),
                traits,
            )
        });
        let experience = experience.map_err(|error| body::undecodable(segments, row, &error))?;
        believed(row).map(|()| experience)
    }

    /// The same, in place.
    ///
    /// # Errors
    /// As [`Point::assemble`].
    pub fn view_of(&self, table: &Table, row: &Visited<'_>) -> Result<ExperienceView> {
        let segments = &self.view.segments;
        let values = self.present(row)?;
        let body = body::view(segments, row, table.dimension)?;
        let later_traits = match values.traits_place {
            None => None,
            Some(_) => Some(Box::new(replay::traits_at(segments, row.row, &values)?)),
        };
        let (segment, unit) = segments.holder(row.row.place)?;
        let head = self.head(table, row, &values);
        let view = ExperienceView::new(segment, unit, &body, head, &values, later_traits);
        let view = view.map_err(|error| body::undecodable(segments, row, &error))?;
        believed(row).map(|()| view)
    }

    /// The row's values, unless damage hides them.
    fn present(&self, row: &Visited<'_>) -> Result<Values> {
        let values = row.values();
        match values.damaged_place {
            Some(place) => Err(replay::damage(&self.view.segments, place)),
            None => Ok(values),
        }
    }

    fn head(&self, table: &Table, row: &Visited<'_>, values: &Values) -> ExperienceHead {
        ExperienceHead {
            id: ExperienceId::from_u128(row.row.id),
            collective_id: CollectiveId::from_u128(table.id),
            timestamp: row.row.time,
            updated_at: values.updated_at,
            instance_id: self.instance,
        }
    }
}

/// Refuses a row whose body the open could not read: its values are not those of the body.
fn believed(row: &Visited<'_>) -> Result<()> {
    match row.row.kind {
        Some(_) => Ok(()),
        None => Err(PulseDBError::conflict(HEALED)),
    }
}
