//! How do tables begin with what a checkpoint holds?
//!
//! Nothing is copied at an open but definitions, agents and what they do, and which rows there are. A chunk makes its
//! slots from the checkpoint when one of them is first asked for; ids and keys are looked up in
//! place. The checkpoint never changes, so whoever makes a chunk makes the same, and what was changed
//! since stands in the slots, the versions and the maps over it.

use std::ops::Range;

use crate::{
    format::{Checkpoint, CheckpointActivity, CheckpointRow, CheckpointVersion, FramePlace},
    log::Place,
    model::Lsn,
    state::{
        activities::{Activities, Live, Version},
        chunk::{Row, Slot},
        values::Values,
    },
    sync::Arc,
};

/// The part of a checkpoint that is about one collective.
#[derive(Clone, Debug)]
pub struct Base {
    checkpoint: Arc<Checkpoint>,
    collective: u32,
}

impl Base {
    /// The part of the collective with this number.
    #[must_use]
    pub fn new(checkpoint: Arc<Checkpoint>, collective: u32) -> Self {
        Self {
            checkpoint,
            collective,
        }
    }

    /// How many of these rows there are.
    pub fn count(&self, rows: Range<u32>) -> u32 {
        self.runs(rows).map(|run| run.count).sum()
    }

    /// The first of these rows.
    pub fn first(&self, rows: Range<u32>) -> Option<Row> {
        let run = self.runs(rows).next()?;
        let (_, record) = self.checkpoint.rows(run).next()?;
        Some(row_of(&record))
    }

    /// The last row of all.
    pub fn last(&self) -> Option<Row> {
        let run = self.checkpoint.collective(self.collective)?.runs.last()?;
        let last = run.rows().end.checked_sub(1)?;
        self.first(last..last.saturating_add(1))
    }

    /// Whether somebody at or above `horizon` may see the row, as far as the checkpoint knows.
    pub fn is_needed(&self, row: u32, horizon: Lsn) -> bool {
        let only = row..row.saturating_add(1);
        self.count(only.clone()) > 0
            && self
                .checkpoint
                .graves_in(self.collective, only)
                .all(|grave| grave.deleted_at > horizon)
    }

    /// The slots of these rows, as the checkpoint has them.
    pub fn slots(&self, rows: Range<u32>) -> Box<[Slot]> {
        let slots: Box<[Slot]> = rows.clone().map(|_| Slot::default()).collect();
        let slot = |row: u32| slots.get(row.checked_sub(rows.start)? as usize);
        for run in self.runs(rows.clone()) {
            for (number, record) in self.checkpoint.rows(run) {
                if let Some(slot) = slot(number) {
                    slot.restore(row_of(&record));
                }
            }
        }
        for version in self.checkpoint.versions(self.collective, rows.clone()) {
            if let Some(slot) = slot(version.row) {
                slot.push(version.lsn, values_of(&version), Lsn::ZERO);
            }
        }
        for grave in self.checkpoint.graves_in(self.collective, rows.clone()) {
            if let Some(slot) = slot(grave.row) {
                slot.delete(grave.deleted_at);
            }
        }
        slots
    }

    fn runs(&self, rows: Range<u32>) -> impl Iterator<Item = crate::format::RowRun> {
        let collective = self.checkpoint.collective(self.collective);
        collective
            .into_iter()
            .flat_map(move |one| one.runs_in(rows.clone()))
    }
}

/// What the agents did as far as the checkpoint knows, in a table that knows nothing yet.
pub(super) fn restore_activities(activities: &Activities, kept: &[CheckpointActivity]) {
    for one in kept {
        let record = one.record.clone();
        let live = record.map(|record| Arc::new(Live::new(record)));
        activities.put(one.lsn, &one.agent_id.as_str().into(), live, Lsn::ZERO);
    }
}

/// A version of what an agent does, for a checkpoint.
#[must_use]
pub(crate) fn activity_of(agent: &str, version: &Version) -> CheckpointActivity {
    let live = version.activity.as_ref();
    CheckpointActivity {
        lsn: version.lsn,
        agent_id: agent.to_owned(),
        record: live.map(|live| live.record().clone()),
    }
}

/// A row as a checkpoint has it.
fn row_of(record: &CheckpointRow) -> Row {
    Row {
        lsn: record.lsn,
        id: record.id,
        time: record.time,
        place: place_of(record.place),
        frame_bytes: record.frame_bytes,
        dimension: record.dimension,
        agent: record.agent,
        inverse_norm: record.inverse_norm,
        importance: record.importance,
        confidence: record.confidence,
        kind: record.kind,
        pinned: record.pinned,
        keyed: record.keyed,
        expires_at: record.expires_at,
        bounded: record.bounded,
    }
}

/// A row for a checkpoint, its body at `place`.
#[must_use]
pub(crate) fn record_of(row: &Row, place: Place) -> CheckpointRow {
    CheckpointRow {
        lsn: row.lsn,
        id: row.id,
        time: row.time,
        place: (place.segment, place.unit),
        frame_bytes: row.frame_bytes,
        dimension: row.dimension,
        agent: row.agent,
        inverse_norm: row.inverse_norm,
        importance: row.importance,
        confidence: row.confidence,
        kind: row.kind,
        pinned: row.pinned,
        keyed: row.keyed,
        expires_at: row.expires_at,
        bounded: row.bounded,
    }
}

fn values_of(version: &CheckpointVersion) -> Values {
    let place = |place: FramePlace| (place.0 != 0).then(|| place_of(place));
    Values {
        importance: version.importance,
        confidence: version.confidence,
        applications: version.applications,
        last_reinforced: version.last_reinforced,
        updated_at: version.updated_at,
        expires_at: version.expires_at,
        archived: version.archived,
        pinned: version.pinned,
        vitals_lsn: version.vitals_lsn,
        traits_lsn: version.traits_lsn,
        traits_place: place(version.traits_place),
        damaged_place: place(version.damaged_place),
        others: version.others,
        bounded: version.bounded,
    }
}

/// A version for a checkpoint; `resolve` says where a place is now.
pub(crate) fn version_of(
    collective: u32,
    row: u32,
    lsn: Lsn,
    values: &Values,
    resolve: impl Fn(Place) -> Place,
) -> CheckpointVersion {
    let place = |place: Option<Place>| {
        place.map_or((0, 0), |place| {
            let now = resolve(place);
            (now.segment, now.unit)
        })
    };
    CheckpointVersion {
        collective,
        row,
        lsn,
        importance: values.importance,
        confidence: values.confidence,
        applications: values.applications,
        archived: values.archived,
        pinned: values.pinned,
        last_reinforced: values.last_reinforced,
        updated_at: values.updated_at,
        expires_at: values.expires_at,
        vitals_lsn: values.vitals_lsn,
        traits_lsn: values.traits_lsn,
        traits_place: place(values.traits_place),
        damaged_place: place(values.damaged_place),
        others: values.others,
        bounded: values.bounded,
    }
}

const fn place_of(place: FramePlace) -> Place {
    Place {
        segment: place.0,
        unit: place.1,
    }
}
