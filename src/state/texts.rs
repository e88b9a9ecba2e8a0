//! What does the index of words read of a table?
//!
//! Text and task of each row that somebody may see, as of a snapshot. Damaged rows have none: nobody can find them.

use crate::{
    format::BodyView,
    log::SegmentSet,
    model::Lsn,
    state::{Rows, Table, Visited, body},
    text::index::{Texts, Told},
};

/// The texts of a table.
pub struct TableTexts<'a> {
    segments: &'a SegmentSet,
    rows: Rows,
    horizon: Lsn,
}

impl<'a> TableTexts<'a> {
    /// Those that somebody may see, as of a snapshot.
    #[must_use]
    pub fn new(segments: &'a SegmentSet, table: &Table, lsn: Lsn) -> Self {
        Self {
            segments,
            // Before the rows: what goes meanwhile is still needed.
            horizon: table.horizon(),
            rows: table.rows(lsn),
        }
    }

    /// Those that somebody at or above `horizon` may see.
    #[must_use]
    pub fn seen_from(self, horizon: Lsn) -> Self {
        Self { horizon, ..self }
    }
}

impl Texts for TableTexts<'_> {
    fn show(&self, row: u32, see: &mut dyn FnMut(Option<Told<'_>>)) {
        let row = self.rows.needed(row, self.horizon);
        see(row.and_then(|row| {
            let body = readable(self.segments, &row)?;
            Some(Told {
                text: body.content().ok()?,
                task: body.source_task().ok()?,
            })
        }));
    }

    fn is_needed(&self, row: u32) -> bool {
        self.rows.is_needed(row, self.horizon)
    }

    fn horizon(&self) -> Lsn {
        self.horizon
    }
}

/// What a row says; `None` where it is damaged.
#[must_use]
pub fn text<'s>(segments: &'s SegmentSet, row: &Visited<'_>) -> Option<&'s str> {
    readable(segments, row)?.content().ok()
}

/// The body of a row; `None` where it is damaged.
fn readable<'s>(segments: &'s SegmentSet, row: &Visited<'_>) -> Option<BodyView<'s>> {
    row.row.kind?;
    body::view(segments, row).ok()
}
