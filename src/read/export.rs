//! How does a collective become the lines of an export?
//!
//! Experiences, then insights, then relations, each in the order of time, from one snapshot, piece by piece as
//! any list. What is damaged is left out, as from any list, and so is what leads to it, since nobody could
//! import that; the end says how much.

use crate::{
    error::Result,
    format::LineWriter,
    model::{CollectiveId, ExportOptions, Page, limits::MAX_PAGE_LIMIT},
    read::{
        insights,
        list::{Damaged, Listing},
        reader::Reader,
        relations,
    },
};

/// A collective on its way out.
pub struct Export {
    reader: Reader,
    collective: CollectiveId,
    options: ExportOptions,
    listing: Listing,
    lines: LineWriter,
    stage: Stage,
    /// Insights and relations that are left out.
    left_out: Damaged,
}

enum Stage {
    Header,
    Experiences,
    Insights(Page),
    Relations(Page),
    Ended,
}

/// What stands behind the experiences, piece by piece: insights are up to 66 KiB each.
fn beside() -> Page {
    const PIECE: usize = 64;
    Page {
        limit: PIECE,
        ..Page::default()
    }
}

impl Export {
    /// Nothing was read yet.
    ///
    /// # Errors
    /// `NotFound`.
    pub fn new(reader: Reader, collective: CollectiveId, options: ExportOptions) -> Result<Self> {
        let page = Page {
            limit: MAX_PAGE_LIMIT,
            ..Page::default()
        };
        let listing = Listing::new(reader.clone(), collective, page)?;
        Ok(Self {
            reader,
            collective,
            options,
            listing,
            lines: LineWriter::default(),
            stage: Stage::Header,
            left_out: Damaged::default(),
        })
    }

    /// The next lines, perhaps none, without line feeds; `None` when there are no more.
    ///
    /// # Errors
    /// What keeps the log from being read.
    pub fn next_piece(&mut self) -> Result<Option<Vec<String>>> {
        match &mut self.stage {
            Stage::Header => {
                self.stage = Stage::Experiences;
                let definition = self.reader.collective(self.collective)?;
                let (instance, vectors) = (self.reader.instance, self.options.vectors);
                let header = self
                    .lines
                    .header(instance, vectors, definition.as_ref().clone())?;
                Ok(Some(vec![header]))
            }
            Stage::Experiences => match self.listing.next_piece()? {
                Some(experiences) => {
                    let lines = experiences.into_iter().map(|mut experience| {
                        if !self.options.vectors {
                            experience.embedding = Vec::new();
                        }
                        self.lines.experience(experience)
                    });
                    lines.collect::<Result<_>>().map(Some)
                }
                None => {
                    self.stage = Stage::Insights(beside());
                    Ok(Some(Vec::new()))
                }
            },
            Stage::Insights(page) => {
                let found = insights::page(&self.reader, self.collective, page, &self.left_out)?;
                match found.next {
                    Some(next) => page.after = Some(next),
                    None => self.stage = Stage::Relations(beside()),
                }
                let damaged = self.listing.damaged().borrow();
                let lines = found.items.into_iter().map(|mut insight| {
                    let sources = &mut insight.source_experience_ids;
                    sources.retain(|source| !damaged.contains(&source.as_u128()));
                    if !self.options.vectors {
                        insight.embedding = Vec::new();
                    }
                    self.lines.insight(insight)
                });
                lines.collect::<Result<_>>().map(Some)
            }
            Stage::Relations(page) => {
                let found = relations::page(&self.reader, self.collective, page, &self.left_out)?;
                let mut lines = Vec::with_capacity(found.items.len() + 1);
                let damaged = self.listing.damaged().borrow();
                let mut left_out = self.left_out.borrow_mut();
                for relation in found.items {
                    let ends = [relation.source_id, relation.target_id];
                    if ends.iter().any(|end| damaged.contains(&end.as_u128())) {
                        left_out.insert(relation.id.as_u128());
                    } else {
                        lines.push(self.lines.relation(relation)?);
                    }
                }
                match found.next {
                    Some(next) => page.after = Some(next),
                    None => {
                        let unreadable = damaged.len() as u64 + left_out.len() as u64;
                        lines.push(self.lines.end(unreadable)?);
                        self.stage = Stage::Ended;
                    }
                }
                Ok(Some(lines))
            }
            Stage::Ended => Ok(None),
        }
    }
}
