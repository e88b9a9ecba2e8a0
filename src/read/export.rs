//! How does a collective become the lines of an export?
//!
//! In the order of time, from one snapshot, piece by piece as any list. A damaged experience is left out, as
//! from any list.

use crate::{
    error::Result,
    format::LineWriter,
    model::{CollectiveId, ExportOptions, Page, limits::MAX_PAGE_LIMIT},
    read::{list::Listing, reader::Reader},
};

/// A collective on its way out.
pub struct Export {
    reader: Reader,
    collective: CollectiveId,
    options: ExportOptions,
    listing: Listing,
    lines: LineWriter,
    stage: Stage,
}

enum Stage {
    Header,
    Experiences,
    Ended,
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
        })
    }

    /// The next lines, perhaps none, without line feeds; `None` when there are no more.
    ///
    /// # Errors
    /// What keeps the log from being read.
    pub fn next_piece(&mut self) -> Result<Option<Vec<String>>> {
        match self.stage {
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
                    self.stage = Stage::Ended;
                    Ok(Some(vec![self.lines.end()?]))
                }
            },
            Stage::Ended => Ok(None),
        }
    }
}
