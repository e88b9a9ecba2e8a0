//! Streams of what stands in a collective, as the application takes them.

use std::{
    fmt,
    pin::Pin,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    db::PulseDB,
    edge::pieces::Pieces,
    error::Result,
    model::{CollectiveId, Experience, Page},
    read::list::Listing,
    sync::Arc,
};

/// The experiences of a collective as of one moment, in the order of a [`Page`]; from
/// [`PulseDB::stream_experiences`].
///
/// It holds at most as many experiences as the page's limit says, and about a mebibyte of them, reads on
/// when they were taken, and keeps the snapshot that it reads alive. Cancel-safe. It ends after an error.
#[must_use = "a stream does nothing unless it is polled"]
pub struct ExperienceStream(pub(crate) Pieces<Experience>);

impl ExperienceStream {
    /// The next experience; `None` at the end.
    ///
    /// Cancel-safe: a dropped future loses nothing.
    ///
    /// # Errors
    /// [`PulseDBError::Io`](crate::PulseDBError::Io) where the log cannot be read,
    /// [`PulseDBError::Backpressure`](crate::PulseDBError::Backpressure) where too many reads wait.
    pub async fn recv(&mut self) -> Option<Result<Experience>> {
        self.0.recv().await
    }
}

impl Stream for ExperienceStream {
    type Item = Result<Experience>;

    fn poll_next(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Pin::new(&mut self.0).poll_next(context)
    }
}

impl fmt::Debug for ExperienceStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ExperienceStream").finish_non_exhaustive()
    }
}

/// Streaming.
impl PulseDB {
    /// All experiences that `page` and its successors show, of one snapshot, in the page's order: what is
    /// committed meanwhile changes nothing. `page.limit` bounds how many are read at a time.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// # use pulsedb::{Config, EmbeddingDimension, NewExperience, PulseDB};
    /// use pulsedb::{Direction, Page};
    ///
    /// # let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2))).await?;
    /// # let team = db.create_collective("team").await?;
    /// # for text in ["first", "second"] { db.record_experience(NewExperience {
    /// #     embedding: Some(vec![0.6, 0.8]), ..NewExperience::new(team, "a", text) }).await?; }
    /// let newest_first = Page { direction: Direction::Descending, ..Page::default() };
    /// let mut experiences = db.stream_experiences(team, newest_first).await?;
    /// let mut texts = Vec::new();
    /// while let Some(experience) = experiences.recv().await {
    ///     texts.push(experience?.content);
    /// }
    /// assert_eq!(texts, ["second", "first"]);
    /// # db.close().await
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound),
    /// [`PulseDBError::Validation`](crate::PulseDBError::Validation) as
    /// [`PulseDB::list_experiences`].
    pub async fn stream_experiences(
        &self,
        collective: CollectiveId,
        page: Page,
    ) -> Result<ExperienceStream> {
        let mut listing = Listing::new(self.reader()?, collective, page)?;
        let readers = Arc::clone(&self.engine().readers);
        let work = move || listing.next_piece();
        Ok(ExperienceStream(Pieces::new(readers, Box::new(work))))
    }
}
