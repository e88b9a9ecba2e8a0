//! Which experiences have cooled down, and how warm are some?
//!
//! Energy is computed from columns, for all rows of a collective in one pass; only what is answered is
//! read from the log.

use std::collections::BinaryHeap;

use roaring::RoaringBitmap;

use crate::{
    error::{PulseDBError, Result},
    model::{CollectiveId, Experience, ExperienceId, limits::MAX_PAGE_LIMIT},
    read::reader::Reader,
    state::Visited,
};

/// The coldest experiences below the floor of their collective, coldest first, ties by id: none that is
/// pinned, archived or expired.
pub fn coldest(reader: &Reader, collective: CollectiveId, limit: usize) -> Result<Vec<Experience>> {
    if limit == 0 || limit > MAX_PAGE_LIMIT {
        return Err(PulseDBError::validation(
            "limit",
            limit,
            format!("it must be in 1..={MAX_PAGE_LIMIT}"),
        ));
    }
    let table = reader.table(collective)?;
    let decay = reader.collective(collective)?.decay.clone();
    let rows = table.rows(reader.lsn());
    let mut unreadable = RoaringBitmap::new();
    loop {
        // The warmest of the coldest on top.
        let mut coldest = BinaryHeap::with_capacity(limit + 1);
        table.for_each_from(0, reader.lsn(), |row| {
            if let Some(energy) = cold_energy(reader, &row, &decay)
                && !unreadable.contains(row.number)
            {
                // Energies are not negative, so their bits are in the order of their values.
                coldest.push((energy.to_bits(), row.row.id, row.number));
                if coldest.len() > limit {
                    coldest.pop();
                }
            }
            true
        });
        let mut experiences = Vec::with_capacity(coldest.len());
        let found = coldest.into_sorted_vec();
        let before = unreadable.len();
        for (_, _, number) in found {
            let Some(row) = rows.visible(number) else {
                continue;
            };
            match reader.assemble(table, &row)? {
                Some(experience) => experiences.push(experience),
                // It has kept another one out.
                None => {
                    unreadable.insert(number);
                }
            }
        }
        if unreadable.len() == before {
            return Ok(experiences);
        }
    }
}

/// The energy of a row that may cool down, where it is below the floor.
fn cold_energy(
    reader: &Reader,
    row: &Visited<'_>,
    decay: &crate::model::DecayConfig,
) -> Option<f32> {
    row.row.kind?;
    row.values().cold(decay, reader.now)
}

/// How warm these are, in the order asked for; `None` for what does not exist.
pub fn energies(reader: &Reader, ids: &[ExperienceId]) -> Result<Vec<Option<f32>>> {
    let energy = |id: &ExperienceId| match reader.point().energy(*id) {
        Ok(energy) => Ok(Some(energy)),
        Err(PulseDBError::NotFound { .. }) => Ok(None),
        Err(error) => Err(error),
    };
    ids.iter().map(energy).collect()
}
