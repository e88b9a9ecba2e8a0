//! What does one call read from?
//!
//! One snapshot and one moment, both fixed at the top of the call.

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    format::RowKind,
    log::SegmentSet,
    model::{
        Collective, CollectiveId, DecayConfig, EntityKind, Experience, ExperienceId, InstanceId,
        Lsn, Timestamp,
    },
    read::{
        filter::Compiled,
        overlay::{Overlay, OwnCollective, OwnExperience},
        point::Point,
    },
    state::{IdIndex, RowRef, Rows, Snapshot, Table, Visited, body, body::Stored},
    sync::Arc,
    vector::tail::{Block, RowVector, Tail},
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
    /// Whether somebody holds it beyond the call. Then it shows nothing that is not in the log.
    pub fixed: bool,
    /// What a transaction sees instead of parts of the snapshot.
    pub overlay: Option<Arc<Overlay>>,
}

impl Reader {
    /// The LSN of the snapshot.
    pub fn lsn(&self) -> Lsn {
        self.view.lsn()
    }

    /// The rows of a collective.
    pub fn table(&self, id: CollectiveId) -> Result<&Arc<Table>> {
        let overlay = self.overlay.as_ref();
        match overlay.and_then(|overlay| overlay.collective(id)) {
            Some(OwnCollective::Created { table, .. }) => Some(table),
            Some(OwnCollective::Deleted) => None,
            Some(OwnCollective::Redefined(_)) | None => self.view.tables.find(id.as_u128()),
        }
        .ok_or_else(|| PulseDBError::not_found(EntityKind::Collective, id))
    }

    /// The definition of the collective that a table holds. Those of relations and insights hold none.
    pub fn definition(&self, table: &Table) -> Option<Arc<Collective>> {
        let overlay = self.overlay.as_ref();
        let overlay = overlay.filter(|_| table.kind() == RowKind::Experience);
        match overlay.and_then(|overlay| overlay.collective(CollectiveId::from_u128(table.id))) {
            Some(own) => own.definition().cloned(),
            None => table.definition(self.lsn()),
        }
    }

    /// The rows of a table of which a transaction sees its own version, or none.
    pub fn hidden(&self, table: &Table) -> Option<&RoaringBitmap> {
        self.overlay.as_ref()?.hidden(table.number)
    }

    /// What a transaction has made of an experience, if it has touched it: nothing where that is gone, or
    /// has expired.
    pub fn touched(&self, id: ExperienceId) -> Option<Option<&Arc<OwnExperience>>> {
        let own = self.overlay.as_ref()?.experience(id)?;
        Some(own.filter(|own| !own.values.expired(self.now)))
    }

    /// Whether the experience of a visible row is there.
    pub fn shows(&self, row: &Visited<'_>) -> bool {
        match self.touched(ExperienceId::from_u128(row.row.id)) {
            Some(own) => own.is_some(),
            None => !self.expired(row),
        }
    }

    /// The collective of an experience that is there, and its row, unless a transaction has recorded it.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn locate(&self, id: ExperienceId) -> Result<(&Arc<Table>, Option<u32>)> {
        let none = || PulseDBError::not_found(EntityKind::Experience, id);
        let mut at = None;
        let _ = self.point().with_row(id, |table, row| {
            at = Some((table.number, row.number));
        });
        let in_snapshot = at.and_then(|(number, row)| Some((self.view.tables.get(number)?, row)));
        let row = in_snapshot.map(|(_, row)| row);
        if self.overlay.is_none() {
            return Ok((in_snapshot.ok_or_else(none)?.0, row));
        }
        let collective = match self.touched(id) {
            Some(own) => own.ok_or_else(none)?.collective,
            None => CollectiveId::from_u128(in_snapshot.ok_or_else(none)?.0.id),
        };
        // It may be one that the transaction has deleted.
        let table = self.table(collective).map_err(|_| none())?;
        Ok((table, row))
    }

    /// Whether a transaction has deleted what stands in a row, or with its collective.
    pub fn conceals(&self, table: &Table, row: &Visited<'_>) -> bool {
        let hidden = self.hidden(table);
        hidden.is_some_and(|rows| rows.contains(row.number))
            || self.table(CollectiveId::from_u128(table.id)).is_err()
    }

    /// The row of the snapshot that a relation or an insight has, unless a transaction has deleted it.
    pub fn row_of(&self, kind: RowKind, id: u128) -> Option<RowRef> {
        let mut at = None;
        self.point().with_row_of(kind, id, |table, row| {
            at = (!self.conceals(table, row)).then_some(RowRef {
                collective: table.number,
                row: row.number,
            });
        });
        at
    }

    /// How warm an experience is in a collective that fades like this.
    pub fn energy(&self, experience: &Experience, decay: &DecayConfig) -> f32 {
        decay.energy(
            experience.importance,
            experience.applications(),
            experience.last_reinforced,
            self.now,
        )
    }

    /// The definition of a collective.
    pub fn collective(&self, id: CollectiveId) -> Result<Arc<Collective>> {
        self.definition(self.table(id)?)
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Collective, id))
    }

    /// All collectives, oldest first.
    pub fn collectives(&self) -> Vec<Collective> {
        let created = self.overlay.iter().flat_map(|overlay| overlay.created());
        self.view
            .tables
            .collectives()
            .filter_map(|table| self.definition(table))
            .chain(created.map(Arc::clone))
            .map(|definition| Collective::clone(&definition))
            .collect()
    }

    /// The same, as far as one experience is concerned.
    pub fn point(&self) -> Point<'_> {
        Point {
            view: &self.view,
            ids: &self.ids,
            now: self.now,
            instance: self.instance,
        }
    }

    /// What was read, or nothing where the record is damaged. Damage is confined to its record: an
    /// answer of many leaves it out, and health lists it.
    pub fn unless_damaged<T>(read: Result<T>) -> Result<Option<T>> {
        match read {
            Ok(read) => Ok(Some(read)),
            Err(PulseDBError::Corrupted { .. }) => Ok(None),
            Err(error) => Err(error),
        }
    }

    /// The vector of a row; `None` where the row is damaged.
    pub fn vector<'s>(&'s self, table: &Table, row: &Visited<'_>) -> Result<Option<Stored<'s>>> {
        Self::unless_damaged(body::vector(&self.view.segments, row, table))
    }

    /// The codes of the block of `tail` that `row` is in, made if they are not there yet.
    pub fn block<'t>(
        &self,
        (table, rows): (&Table, &Rows),
        tail: &'t Tail,
        row: u32,
    ) -> Option<&'t Block> {
        tail.block(row, |row| self.row_vector(table, rows, row))
    }

    /// What the code of a row of `table` is made of.
    fn row_vector(&self, table: &Table, rows: &Rows, row: u32) -> RowVector<'_> {
        let Some(row) = rows.needed(row, table.horizon()) else {
            return RowVector::Gone;
        };
        match self.vector(table, &row) {
            Ok(Some(stored)) if row.row.kind.is_some() => {
                RowVector::Vector(stored.vector, stored.inverse_norm)
            }
            _ => RowVector::Unreadable,
        }
    }

    /// Whether a row that a walk passes has expired.
    pub fn expired(&self, row: &Visited<'_>) -> bool {
        row.expired(self.now)
    }

    /// The same as far as the columns tell.
    pub fn passes_columns(&self, filter: &Compiled<'_>, row: &Visited<'_>) -> bool {
        !self.expired(row) && filter.columns(row)
    }

    /// Whether a row that a walk passes is there and passes the filter; the traits are read last,
    /// and only where the filter asks for them. A row whose traits are damaged does not pass.
    pub fn passes(&self, filter: &Compiled<'_>, row: &Visited<'_>) -> Result<bool> {
        if !self.passes_columns(filter, row) {
            return Ok(false);
        }
        if !filter.needs_traits(row) {
            return Ok(true);
        }
        let traits = body::traits(&self.view.segments, row, &row.values());
        Ok(Self::unless_damaged(traits)?.is_some_and(|traits| filter.traits(&traits)))
    }

    /// Whether the experience that a row stands for can be read. Of one that is as it was recorded, nothing is but compared
    /// with its checksums.
    pub fn is_readable(&self, table: &Table, row: &Visited<'_>) -> Result<bool> {
        let read = if row.unchanged() && row.row.kind.is_some() {
            body::payload(&self.view.segments, row).map(drop)
        } else {
            self.point().view_of(table, row).map(drop)
        };
        Ok(Self::unless_damaged(read)?.is_some())
    }

    /// The experience that a row stands for, copied; `None` where a record of it is damaged.
    pub fn assemble(&self, table: &Table, row: &Visited<'_>) -> Result<Option<Experience>> {
        Self::unless_damaged(self.point().assemble(table, row))
    }
}
