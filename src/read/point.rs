//! How is one experience found by its id and read?
//!
//! In a snapshot that is looked at and not held: what point reads share they share without counting
//! references, because two threads that count on one cache line wait for each other longer than a
//! whole read takes. What a call keeps beyond its end holds its segment alone
//! ([`ExperienceView`]).

use crate::{
    error::{PulseDBError, Result},
    format::{ExperienceHead, RowKind, Vitals, assemble},
    log::{Place, SegmentSet},
    model::{CollectiveId, EntityKind, Experience, ExperienceId, InstanceId, Timestamp},
    read::experience_view::ExperienceView,
    state::{
        IdIndex, RowRef, Snapshot, Table, Values, Visited, body,
        replay::{self, HEALED},
    },
    sync::Arc,
};

/// Bytes of a body that are asked for before its size is known: a vector of 384 components and a text
/// of some lines.
const FETCHED_BYTES: u32 = 2304;

/// How the row of an experience is read.
pub type ReadRow<T> = fn(&Point<'_>, &Table, &Visited<'_>) -> Result<T>;

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
    /// Shows the row of an experience to `look`.
    ///
    /// # Errors
    /// `NotFound` where there is none, or none visible.
    pub fn with_row(
        &self,
        id: ExperienceId,
        look: impl FnOnce(&Table, &Visited<'_>),
    ) -> Result<()> {
        self.visit((RowKind::Experience, id.as_u128()), |_| (), look)
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Experience, id))
    }

    /// Shows the row of a relation or an insight to `look`; `None` where there is none, or none visible.
    pub fn with_row_of(
        &self,
        kind: RowKind,
        id: u128,
        look: impl FnOnce(&Table, &Visited<'_>),
    ) -> Option<()> {
        self.visit((kind, id), |_| (), look)
    }

    /// `meanwhile` is told where the body may be, while the row is on its way from memory.
    fn visit(
        &self,
        (kind, id): (RowKind, u128),
        meanwhile: impl FnOnce(Place),
        look: impl FnOnce(&Table, &Visited<'_>),
    ) -> Option<()> {
        let (at, place) = self.ids.find(id)?;
        let mut look = Some(look);
        let mut visit = |at: RowRef, meanwhile: &mut dyn FnMut()| {
            let table = self.view.tables.get(at.collective)?;
            if table.kind() != kind {
                return None;
            }
            let look = |row: &Visited<'_>| {
                let there = !row.expired(self.now);
                let look = look.take().filter(|_| there)?;
                look(table, row);
                Some(())
            };
            table.with_row(at.row, self.view.lsn(), meanwhile, look)
        };
        let mut meanwhile = Some(meanwhile);
        let mut once = || {
            if let Some(meanwhile) = meanwhile.take() {
                meanwhile(place);
            }
        };
        if let Some(seen) = visit(at, &mut once) {
            return seen;
        }
        // What it was given to may be newer than the snapshot, which sees what had it before.
        let former = self.ids.former(id);
        let earlier = former.into_iter().filter(|former| *former != at);
        earlier.into_iter().find_map(|at| visit(at, &mut || ()))?
    }

    /// How warm an experience is.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn energy(&self, id: ExperienceId) -> Result<f32> {
        let mut energy = None;
        self.with_row(id, |table, row| {
            let definition = table.definition(self.view.lsn());
            energy = definition.map(|one| row.values().energy(&one.decay, self.now));
        })?;
        energy.ok_or_else(|| PulseDBError::not_found(EntityKind::Experience, id))
    }

    /// One experience.
    ///
    /// # Errors
    /// `NotFound`; `Corrupted` where a record of it is damaged.
    pub fn experience(&self, id: ExperienceId) -> Result<Experience> {
        let mut answer = Err(PulseDBError::not_found(EntityKind::Experience, id));
        self.with_row(id, |table, row| answer = self.assemble(table, row))?;
        answer
    }

    /// Reads the row of an experience with `read` into `answer`, which stays empty where the body is not
    /// in memory and the caller may not wait for the medium.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn read_one<T>(
        &self,
        id: ExperienceId,
        wait: bool,
        read: ReadRow<T>,
        answer: &mut Option<Result<T>>,
    ) -> Result<()> {
        let look = |table: &Table, row: &Visited<'_>| {
            if wait || self.is_resident(row) {
                *answer = Some(read(self, table, row));
            }
        };
        let one = (RowKind::Experience, id.as_u128());
        self.visit(one, |place| self.fetch(place), look)
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Experience, id))
    }

    /// Reads the row of an experience with `read`, whose body may have to come from the medium: all of it
    /// comes now, and is compared with its checksums once more.
    ///
    /// # Errors
    /// `NotFound`, and those of `read`.
    pub fn read_from_medium<T>(&self, id: ExperienceId, read: ReadRow<T>) -> Result<T> {
        let mut answer = Err(PulseDBError::not_found(EntityKind::Experience, id));
        self.with_row(id, |table, row| {
            let body = body::compare(&self.view.segments, row);
            answer = body.and_then(|_| read(self, table, row));
        })?;
        answer
    }

    /// Has the CPU fetch the body that may stand at `place` while the row is looked at.
    fn fetch(&self, place: Place) {
        if let Ok((segment, unit)) = self.view.segments.holder(place) {
            segment.prefetch(unit, FETCHED_BYTES);
        }
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
        if row.row.kind.is_none() {
            return Err(self.disbelieved(table, row));
        }
        self.assembled(table, row)
    }

    /// The same, in place.
    ///
    /// # Errors
    /// As [`Point::assemble`].
    pub fn view_of(&self, table: &Table, row: &Visited<'_>) -> Result<ExperienceView> {
        if row.row.kind.is_none() {
            return Err(self.disbelieved(table, row));
        }
        let segments = &self.view.segments;
        let values = self.present(row)?;
        let body = body::view(segments, row)?;
        let later_traits = match values.traits_place {
            None => None,
            Some(_) => Some(Box::new(replay::traits_at(segments, row.row, &values)?)),
        };
        let (segment, unit) = segments.holder(row.row.place)?;
        let beside = match table.vectors_beside(row.row) {
            Some(_) => {
                let (place, _) = body::vector_place(segments, row, table)?;
                let (segment, unit) = segments.holder(place)?;
                Some((Arc::clone(segment), unit, table.dimension))
            }
            None => None,
        };
        let head = self.head(table, row, &values);
        Ok(ExperienceView::new(
            (segment, unit),
            beside,
            &body,
            head,
            &values,
            later_traits,
        ))
    }

    fn assembled(&self, table: &Table, row: &Visited<'_>) -> Result<Experience> {
        let segments = &self.view.segments;
        let values = self.present(row)?;
        let body = body::view(segments, row)?;
        let undecodable = |error| body::undecodable(segments, row, &error);
        let traits = match values.traits_place {
            None => body.traits().map_err(undecodable)?,
            Some(_) => replay::traits_at(segments, row.row, &values)?,
        };
        let head = self.head(table, row, &values);
        let mut whole = assemble(&head, &body, &vitals(&values), traits).map_err(undecodable)?;
        if table.vectors_beside(row.row).is_some() {
            whole.embedding = body::vector(segments, row, table)?.vector.to_vec();
        }
        Ok(whole)
    }

    /// Why a row is not believed whose body the open could not read: its values are not those of the
    /// body.
    #[cold]
    fn disbelieved(&self, table: &Table, row: &Visited<'_>) -> PulseDBError {
        match self.assembled(table, row) {
            Ok(_) => PulseDBError::conflict(HEALED),
            Err(error) => error,
        }
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

/// The vitals of these values.
fn vitals(values: &Values) -> Vitals {
    let mut vitals = Vitals::initial(values.importance, values.confidence);
    vitals.applications = values.applications;
    vitals.last_reinforced = Some(values.last_reinforced);
    vitals.archived = values.archived;
    vitals.others = values.others;
    vitals
}
