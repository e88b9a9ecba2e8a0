//! Which experiences of a snapshot does one repeat that is to be recorded?
//!
//! The reading half of a recording with a policy: everything that takes time. What was recorded since the
//! snapshot, and whether what is found here still lives, is the committer's to see
//! ([`crate::state::sighting`] argues why that is enough). A row whose body is damaged is no duplicate of
//! anything: nobody can tell what it says.

use std::collections::BTreeSet;

use crate::{
    error::Result,
    model::{
        CollectiveId,
        limits::{MAX_BATCH_QUERIES, MAX_DUPLICATES},
    },
    read::{reader::Reader, search},
    state::{
        Rows, Table, Visited, body,
        content_index::Met,
        sighting::{Comparison, Found, Sighting, Sought, best_first},
    },
};

/// What is asked, and where.
#[derive(Clone, Copy)]
pub struct Question<'a> {
    /// Where the experience is to be recorded.
    pub collective: CollectiveId,
    /// What of it makes a duplicate.
    pub sought: &'a Sought,
}

/// Looks for all of them in the whole snapshot.
pub fn look(reader: &Reader, questions: &[Question<'_>]) -> Result<Vec<Sighting>> {
    let mut sightings = Vec::with_capacity(questions.len());
    let runs = questions.chunk_by(|a, b| a.collective == b.collective);
    for run in runs.flat_map(|run| run.chunks(MAX_BATCH_QUERIES)) {
        let Some(first) = run.first() else { continue };
        let look = Look::new(reader, first.collective)?;
        let near = look.near(run)?;
        for (question, near) in run.iter().zip(near) {
            sightings.push(look.sighting(question.sought, near));
        }
    }
    Ok(sightings)
}

/// Brings earlier sightings up to date: looks at the rows since only, where that is enough.
pub fn look_on(
    reader: &Reader,
    questions: &[Question<'_>],
    before: &[Sighting],
) -> Result<Vec<Sighting>> {
    let both = questions.iter().zip(before);
    both.map(|(question, before)| {
        let look = Look::new(reader, question.collective)?;
        if let Some(sighting) = look.on(question.sought, before) {
            return Ok(sighting);
        }
        let near = look.near(&[*question])?.into_iter().next();
        Ok(look.sighting(question.sought, near.unwrap_or_default()))
    })
    .collect()
}

/// One snapshot of one collective.
struct Look<'a> {
    reader: &'a Reader,
    table: &'a Table,
    /// Rows from this number on are newer than the snapshot.
    until: u32,
    /// Loaded after `until`, so that every row below it is there.
    rows: Rows,
}

impl<'a> Look<'a> {
    fn new(reader: &'a Reader, collective: CollectiveId) -> Result<Self> {
        let table = reader.table(collective)?;
        Ok(Self {
            reader,
            table,
            until: table.row_count_at(reader.lsn()),
            rows: table.rows(reader.lsn()),
        })
    }

    /// For each question the rows that are near enough.
    fn near(&self, questions: &[Question<'_>]) -> Result<Vec<Vec<u32>>> {
        let asked = |question: &Question<'_>| question.sought.threshold.is_some();
        if !questions.iter().any(asked) {
            return Ok(vec![Vec::new(); questions.len()]);
        }
        let vectors: Vec<&[f32]> = questions
            .iter()
            .map(|question| question.sought.vector.as_slice())
            .collect();
        let nearest = search::nearest(self.reader, self.table, &vectors, MAX_DUPLICATES)?;
        let enough = nearest.into_iter().zip(questions).map(|(best, question)| {
            let threshold = question.sought.threshold.unwrap_or(f32::INFINITY);
            let near = best.iter().take_while(|one| one.similarity >= threshold);
            near.map(|one| one.row).collect()
        });
        Ok(enough.collect())
    }

    /// The duplicates among the rows `near` and those of the same content.
    fn sighting(&self, sought: &Sought, near: Vec<u32>) -> Sighting {
        let more = near.len() == MAX_DUPLICATES;
        let comparison = Comparison::new(sought);
        let mut rows: BTreeSet<u32> = near.into_iter().collect();
        let mut more_by_content = false;
        if sought.same_content {
            let same = self.of_content(sought);
            more_by_content = same.len() == MAX_DUPLICATES;
            rows.extend(same);
        }
        let mut found: Vec<Found> = rows
            .into_iter()
            .filter_map(|row| self.compared(row, &comparison))
            .collect();
        let cut = best_first(&mut found);
        Sighting {
            until: self.until,
            found,
            more: cut || more || more_by_content,
        }
    }

    /// The first rows of the same content.
    fn of_content(&self, sought: &Sought) -> Vec<u32> {
        let index = self.table.content_index();
        let hash_of = |row: &Visited<'_>| {
            let body = body::view(&self.reader.view.segments, row);
            body.ok()?.content_hash().ok()
        };
        index.catch_up(
            self.until,
            |row| hash_of(&self.rows.visible(row)?),
            // Whoever looks at a later snapshot than this one may have added later rows.
            |row| row < self.until && self.rows.visible(row).is_none(),
        );
        index.first_with(&sought.hash, MAX_DUPLICATES, |row| {
            if row >= self.until {
                return Met::Other;
            }
            match self.rows.visible(row) {
                None => Met::Deleted,
                Some(row) if self.reader.expired(&row) => Met::Other,
                Some(row) if hash_of(&row) == Some(sought.hash) => Met::Wanted,
                Some(_) => Met::Other,
            }
        })
    }

    /// What was found before as far as it lives, and the rows since; `None` where that is not enough.
    fn on(&self, sought: &Sought, before: &Sighting) -> Option<Sighting> {
        let lives = |row: u32| {
            let row = self.rows.visible(row)?;
            (!self.reader.expired(&row)).then_some(())
        };
        let mut found = before.left(|found| lives(found.row).is_some())?;
        let comparison = Comparison::new(sought);
        let since = before.until..self.until;
        found.extend(since.filter_map(|row| self.compared(row, &comparison)));
        let cut = best_first(&mut found);
        Some(Sighting {
            until: self.until.max(before.until),
            found,
            more: cut || before.more,
        })
    }

    fn compared(&self, number: u32, comparison: &Comparison<'_>) -> Option<Found> {
        let row = self.rows.visible(number)?;
        if self.reader.expired(&row) {
            return None;
        }
        // Of one that the open could not read nothing is believed.
        row.row.kind?;
        let segments = &self.reader.view.segments;
        let hash = body::view(segments, &row).ok()?.content_hash();
        let stored = body::vector(segments, &row, self.table).ok()?;
        comparison.found(
            (number, row.row.id),
            hash.ok()?,
            stored.vector,
            stored.inverse_norm,
        )
    }
}
