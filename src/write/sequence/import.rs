//! What becomes of an experience that was recorded elsewhere first?
//!
//! It keeps its id and its times. One that the collective has already changes as far as [`Existing`] says;
//! how, is a pure function of both.

use super::Step;
use crate::{
    error::{PulseDBError, Result},
    format::{RecordKind, Traits},
    model::{Collective, EventType, Existing, ExperienceId, Precisions, VectorEpoch, counters},
    state::Values,
    write::{
        draft::{Embedded, Origin},
        request::{Imported, Reply},
    },
};

impl Step<'_> {
    pub(super) fn import(&mut self, embedded: Embedded, existing: Existing) -> Result<Reply> {
        let Some(origin) = &embedded.origin else {
            return self.record(embedded);
        };
        let id = ExperienceId::from_u128(origin.id);
        let (number, _) = self.collective(embedded.collective)?;
        // One that has expired is there, too: its id is taken until it is deleted.
        let Some(present) = self.pending.present(origin.id, self.applier) else {
            return self.import_new(embedded, id);
        };
        if present.at.collective != number {
            return Err(PulseDBError::conflict(format!(
                "experience {id} is in another collective of this database; ids are given once"
            )));
        }
        if existing == Existing::Skip {
            return Ok(Reply::Imported(Imported::Unchanged));
        }
        let before = (present.values, self.traits(&present)?);
        let (values, traits) = match existing {
            Existing::Overwrite => overwritten(&before, origin),
            Existing::Merge | Existing::Skip => merged(&before, origin),
        };
        let updated_at = Some(values.updated_at);
        let (new_vitals, new_traits) = (vitals_differ(&before.0, &values), traits != before.1);
        let mut present = present;
        if new_vitals {
            present.values = values;
            present = self.revise_vitals_at(present, EventType::Updated, id, updated_at)?;
        }
        if new_traits {
            self.revise_traits_at(present, traits, id, updated_at);
        }
        let changed = new_vitals || new_traits;
        Ok(Reply::Imported(if changed {
            Imported::Changed
        } else {
            Imported::Unchanged
        }))
    }

    fn import_new(&mut self, embedded: Embedded, id: ExperienceId) -> Result<Reply> {
        let number = self.collective_for_vectors(&embedded)?;
        if let Some(other) = self.keyed(number, &embedded) {
            return Err(PulseDBError::conflict(format!(
                "experience {id} has the idempotency key of experience {other} here"
            )));
        }
        self.append((number, RecordKind::Body), embedded, id.as_u128())?;
        Ok(Reply::Imported(Imported::Created))
    }

    /// A collective with an id from elsewhere; the one that has it, if there is one.
    pub(super) fn restore_collective(&mut self, definition: Collective) -> Result<Reply> {
        let id = definition.id;
        if self.collective(id).is_err() {
            let number = self.pending.next_collective(self.applier);
            let created_at = self.sequencer.last_time;
            self.define(
                number,
                Collective {
                    // The first vector says whose they are.
                    embedder: None,
                    precisions: Precisions::default(),
                    created_at,
                    vectors: VectorEpoch::default(),
                    ..definition
                },
            );
        }
        Ok(Reply::Collective(id))
    }
}

/// The values that a record of vitals holds.
fn vitals_differ(one: &Values, other: &Values) -> bool {
    let vitals = |values: &Values| Values {
        expires_at: None,
        pinned: false,
        bounded: false,
        ..*values
    };
    vitals(one) != vitals(other)
}

/// All that can change is as it comes.
fn overwritten((values, traits): &(Values, Traits), origin: &Origin) -> (Values, Traits) {
    let theirs = &origin.vitals;
    let values = Values {
        importance: theirs.importance,
        confidence: theirs.confidence,
        applications: theirs.applications,
        others: theirs.others,
        last_reinforced: theirs.last_reinforced.unwrap_or(origin.recorded_at),
        archived: theirs.archived,
        updated_at: theirs.updated_at.unwrap_or(origin.recorded_at),
        ..*values
    };
    let counts = origin.traits.foreign_applications.clone();
    let mut changed = replaced(traits, origin);
    changed.foreign_applications = counts;
    (values, changed)
}

/// Counts are merged, and the rest comes from where it changed last.
fn merged((values, traits): &(Values, Traits), origin: &Origin) -> (Values, Traits) {
    let theirs = &origin.vitals;
    let their_update = theirs.updated_at.unwrap_or(origin.recorded_at);
    let newer = their_update > values.updated_at;
    let mut traits = if newer {
        replaced(traits, origin)
    } else {
        traits.clone()
    };
    let their_counts = &origin.traits.foreign_applications;
    counters::merge(&mut traits.foreign_applications, their_counts);
    let their_use = theirs.last_reinforced.unwrap_or(origin.recorded_at);
    let mut values = Values {
        applications: values.applications.max(theirs.applications),
        others: counters::total(&traits.foreign_applications),
        last_reinforced: values.last_reinforced.max(their_use),
        ..*values
    };
    if newer {
        values.importance = theirs.importance;
        values.confidence = theirs.confidence;
        values.archived = theirs.archived;
        values.updated_at = their_update;
    }
    (values, traits)
}

/// Their traits, counts aside, in the place of ours in the log.
fn replaced(traits: &Traits, origin: &Origin) -> Traits {
    Traits {
        prev: traits.prev,
        vitals_lsn: traits.vitals_lsn,
        updated_at: traits.updated_at,
        foreign_applications: traits.foreign_applications.clone(),
        unknown: traits.unknown.clone(),
        ..origin.traits.clone()
    }
}
