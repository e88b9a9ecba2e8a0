//! Is an experience that is to be recorded still a duplicate, or one by now?
//!
//! Somebody has looked in a snapshot ([`Sighting`]). What is left for the committer is bounded: to ask
//! whether what was found still lives, and to compare with the rows recorded since, those of the group
//! included, one after the other. Where more came in between than the request allows, or others would have
//! to take the places of those that are gone, it answers [`Reply::LookAgain`] and changes nothing: the
//! caller looks on from there. So what is answered holds for the state that the commit builds on, and of
//! many who record the same at once, one is first.

use std::{
    collections::{HashMap, VecDeque},
    ops::Range,
};

use super::Step;
use crate::{
    error::Result,
    format::BodyView,
    model::{
        ContentHash, Duplicate, DuplicatePolicy, ExperienceId, Lsn, RecordAction, RecordOutcome,
    },
    state::{
        RowRef,
        sighting::{Comparison, Found, Sighting, Sought, best_first},
    },
    sync::Arc,
    write::{draft::Embedded, request::Reply},
};

/// An experience and its policy.
pub struct Checked {
    /// The experience.
    pub embedded: Embedded,
    /// What to do about duplicates; `None` where it is recorded without looking for any.
    pub looked: Option<Looked>,
}

/// What somebody has seen.
pub struct Looked {
    /// What to do about duplicates.
    pub policy: DuplicatePolicy,
    /// What was looked for.
    pub sought: Arc<Sought>,
    /// What was found.
    pub sighting: Sighting,
    /// So many rows may have come in since.
    pub most_since: u32,
}

/// What is compared of a body.
#[derive(Clone, Debug)]
pub struct Written {
    id: u128,
    hash: ContentHash,
    vector: Vec<f32>,
    inverse_norm: f32,
}

impl Written {
    /// What is compared of the experience `id`.
    pub fn new(id: u128, hash: ContentHash, vector: Vec<f32>, inverse_norm: f32) -> Self {
        Self {
            id,
            hash,
            vector,
            inverse_norm,
        }
    }

    /// What is compared of the body of the experience `id`; `None` where it cannot be read.
    pub fn of(id: u128, body: &BodyView<'_>) -> Option<Self> {
        let hash = body.content_hash().ok()?;
        Some(Self::new(id, hash, body.vector_f32(), body.inverse_norm()))
    }
}

/// The bodies of recent rows that were compared in a group, by collective, so that a group of many that
/// record with a policy reads each once. Bodies never change, so this needs no care but when rows are
/// taken back.
#[derive(Default)]
pub(super) struct Recent(HashMap<u32, Bodies>);

/// The bodies of adjacent rows.
struct Bodies {
    first: u32,
    /// `None` for rows that are gone or damaged.
    bodies: VecDeque<Option<Written>>,
}

impl Bodies {
    fn end(&self) -> u32 {
        self.first.saturating_add(self.bodies.len() as u32)
    }

    /// Sees to it that all of `rows` are there.
    fn reach(&mut self, rows: &Range<u32>, mut read: impl FnMut(u32) -> Option<Written>) {
        while self.first > rows.start {
            self.first -= 1;
            self.bodies.push_front(read(self.first));
        }
        for row in self.end()..rows.end {
            self.bodies.push_back(read(row));
        }
    }

    fn iter(&self, rows: &Range<u32>) -> impl Iterator<Item = (u32, &Written)> {
        let skipped = rows.start.saturating_sub(self.first);
        let bodies = self.bodies.iter().skip(skipped as usize);
        let numbered = rows.clone().zip(bodies);
        numbered.filter_map(|(row, written)| Some((row, written.as_ref()?)))
    }
}

impl Step<'_> {
    pub(super) fn record_checked(&mut self, checked: Checked) -> Result<Reply> {
        let Checked { embedded, looked } = checked;
        let number = self.collective_for_vectors(&embedded)?;
        if let Some(known) = self.keyed(number, &embedded) {
            return Ok(outcome(known, RecordAction::Skipped, &[]));
        }
        let found = match &looked {
            None => Vec::new(),
            Some(looked) => match self.duplicates(number, looked) {
                Some(found) => found,
                None => return Ok(Reply::LookAgain),
            },
        };
        let policy = looked.map(|looked| looked.policy);
        let best = found.first().map(|best| ExperienceId::from_u128(best.id));
        match (policy, best) {
            (Some(DuplicatePolicy::Skip), Some(best)) => {
                Ok(outcome(best, RecordAction::Skipped, &found))
            }
            (Some(DuplicatePolicy::Reinforce), Some(best)) => {
                self.reinforce(best)?;
                Ok(outcome(best, RecordAction::Reinforced, &found))
            }
            _ => match self.record(embedded)? {
                Reply::Experience(id) => Ok(outcome(id, RecordAction::Recorded, &found)),
                other => Ok(other),
            },
        }
    }

    /// What is a duplicate now, best first; `None` where it takes another look to tell.
    fn duplicates(&mut self, number: u32, looked: &Looked) -> Option<Vec<Found>> {
        let since = looked.sighting.until..self.end_of(number);
        if since.len() > looked.most_since as usize {
            return None;
        }
        let mut found = looked.sighting.left(|found| self.lives(number, found))?;
        let comparison = Comparison::new(&looked.sought);
        let mut fresh = Vec::new();
        for (row, written) in self.recent(number, &since).iter(&since) {
            let (hash, norm) = (written.hash, written.inverse_norm);
            fresh.extend(comparison.found((row, written.id), hash, &written.vector, norm));
        }
        found.extend(fresh.into_iter().filter(|found| self.lives(number, found)));
        best_first(&mut found);
        Some(found)
    }

    /// Whether the row is there, in the tables or in the group.
    fn lives(&mut self, collective: u32, found: &Found) -> bool {
        let at = RowRef {
            collective,
            row: found.row,
        };
        let present = self.pending.present_row(at, self.applier);
        present.is_some_and(|present| !present.values.expired(self.sequencer.last_time))
    }

    /// The bodies of recent rows, at least of these.
    fn recent(&mut self, collective: u32, rows: &Range<u32>) -> &Bodies {
        let table = self.applier.tables().get(collective);
        let in_table = table.map(|table| (table, table.rows(Lsn::new(u64::MAX))));
        let (pending, source) = (&mut self.pending, self.source);
        let bodies = self.recent.0.entry(collective).or_insert(Bodies {
            first: rows.start,
            bodies: VecDeque::new(),
        });
        bodies.reach(rows, |row| {
            if let Some(frame) = pending.body(RowRef { collective, row }) {
                let body = BodyView::parse(frame.header.dimension, &frame.payload).ok()?;
                return Written::of(frame.header.entity, &body);
            }
            let (table, rows) = in_table.as_ref()?;
            let row = rows.visible(row)?;
            // Of one that the open could not read nothing is believed.
            row.row.kind?;
            source.written(&row, table)
        });
        bodies
    }
}

fn outcome(id: ExperienceId, action: RecordAction, found: &[Found]) -> Reply {
    Reply::Outcome(RecordOutcome {
        id,
        action,
        duplicates: found.iter().map(|found| Duplicate::from(*found)).collect(),
    })
}

#[cfg(test)]
#[path = "duplicates_tests.rs"]
mod tests;
