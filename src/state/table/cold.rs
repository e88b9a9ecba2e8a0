//! Which rows of a table have cooled down?

use super::Rows;
use crate::model::{DecayConfig, Timestamp};

/// What a walk met.
#[derive(Debug, Default)]
pub struct ColdWalk {
    /// Ids of rows that are cold.
    pub cold: Vec<u128>,
    /// Where the walk is to go on; `None` at its end.
    pub go_on: Option<usize>,
}

impl Rows {
    /// The visible rows that are cold at `now`, from the chunk `from` on, chunk by chunk until there are `enough`
    /// or so many chunks were walked. What nobody has asked for before does not stay in memory.
    #[must_use]
    pub fn cold(
        &self,
        from: usize,
        decay: &DecayConfig,
        now: Timestamp,
        enough: usize,
        chunks: usize,
    ) -> ColdWalk {
        let mut walk = ColdWalk::default();
        let until = from.saturating_add(chunks);
        for (index, chunk) in self.chunks.iter().enumerate().skip(from) {
            if walk.cold.len() >= enough || index >= until {
                walk.go_on = Some(index);
                break;
            }
            let Some(chunk) = chunk else { continue };
            chunk.with_slots(|slots| {
                for slot in slots {
                    let row = slot.visible(self.lsn);
                    // What a damaged body says is not known.
                    let Some(row) = row.filter(|row| row.kind.is_some()) else {
                        continue;
                    };
                    let values = slot.values(row, self.lsn);
                    if values.damaged_place.is_none() && values.cold(decay, now).is_some() {
                        walk.cold.push(row.id);
                    }
                }
            });
        }
        walk
    }
}
