//! Insights, as the application stores and finds them.

use crate::{
    db::{PulseDB, collectives::unexpected, search::Understood},
    error::Result,
    model::{
        CollectiveId, DerivedInsight, InsightFilter, InsightHit, InsightId, NewInsight, Page,
        PageResult, Query,
    },
    read::{insights, list::Damaged, search},
    sync::Arc,
    telemetry::Operation,
    write::{
        draft::Draft,
        request::{Change, Reply},
    },
};

/// Insights.
impl PulseDB {
    /// Stores an insight and answers when it is durable and visible. Sources that are deleted later leave
    /// its list; the insight stays.
    ///
    /// Cancel-safe up to the queue; after that it may still be stored.
    ///
    /// # Errors
    /// As [`PulseDB::record_experience`]; [`PulseDBError::NotFound`](crate::PulseDBError::NotFound) for a
    /// source that is not there, [`PulseDBError::Validation`](crate::PulseDBError::Validation) for one
    /// of another collective, one that is named twice, none at all or more than 100.
    pub async fn store_insight(&self, new: NewInsight) -> Result<InsightId> {
        let embedded = self.embed_drafts(vec![Draft::insight(new)?]).await?;
        let bytes = embedded.iter().map(|one| one.bytes()).sum();
        let changes = embedded.into_iter().map(Change::Record).collect();
        match self.commit(changes, bytes).await?.first() {
            Some(Reply::Insight(id)) => Ok(*id),
            other => Err(unexpected(other.unwrap_or(&Reply::Done))),
        }
    }

    /// The insight with this id; `None` where there is none.
    ///
    /// # Errors
    /// [`PulseDBError::Corrupted`](crate::PulseDBError::Corrupted) where its record is damaged.
    pub async fn get_insight(&self, id: InsightId) -> Result<Option<DerivedInsight>> {
        self.read(Operation::ReadInsights, move |reader| {
            insights::insight(reader, id)
        })
        .await
    }

    /// The `k` insights most similar to `query`, best first, ties by id; `query` has the collective's
    /// dimension, `k` is in 1–1000.
    ///
    /// # Errors
    /// As [`PulseDB::search_similar`].
    pub async fn get_insights(
        &self,
        collective: CollectiveId,
        query: &[f32],
        k: usize,
    ) -> Result<Vec<InsightHit>> {
        self.get_insights_filtered(collective, query, k, InsightFilter::default())
            .await
    }

    /// As [`PulseDB::get_insights`], among those that pass the filter.
    ///
    /// # Errors
    /// As [`PulseDB::search_similar_filtered`].
    pub async fn get_insights_filtered(
        &self,
        collective: CollectiveId,
        query: &[f32],
        k: usize,
        filter: InsightFilter,
    ) -> Result<Vec<InsightHit>> {
        self.check_search(collective, &[query], &insights::options(k, &filter))?;
        let query = query.to_vec();
        let ef = self.config().hnsw.ef_search;
        let indexing = Arc::clone(&self.engine().indexing);
        self.read(Operation::ReadInsights.of(collective), move |reader| {
            indexing.make_loaded(&reader.view);
            insights::similar(reader, collective, &query, k, &filter, ef)
        })
        .await
    }

    /// The `k` insights that speak most for a query, best first: a text, a vector, or a [`Query`] of both, as in
    /// [`PulseDB::search`]. Where a transaction has changed insights of the collective, its vector alone counts.
    ///
    /// Cancel-safe: it changes nothing.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{
    ///     Config, EmbeddingDimension, InsightFilter, InsightType, NewExperience, NewInsight,
    ///     blocking::PulseDB,
    /// };
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// let source = db.record_experience(NewExperience {
    ///     embedding: Some(vec![0.6, 0.8]),
    ///     ..NewExperience::new(team, "agent-1", "All clients came back at once.")
    /// })?;
    /// db.store_insight(NewInsight {
    ///     collective_id: team,
    ///     content: "Retries need jitter.".into(),
    ///     embedding: Some(vec![0.8, 0.6]),
    ///     source_experience_ids: vec![source],
    ///     insight_type: InsightType::Pattern,
    ///     confidence: 0.9,
    ///     domain: Vec::new(),
    /// })?;
    /// let hits = db.search_insights(team, "retry +jitter", 5, InsightFilter::default())?;
    /// assert_eq!(hits.len(), 1);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`PulseDB::search`].
    pub async fn search_insights(
        &self,
        collective: CollectiveId,
        query: impl Into<Query> + Send,
        k: usize,
        filter: InsightFilter,
    ) -> Result<Vec<InsightHit>> {
        match self.understood(collective, query.into()).await? {
            Understood::Vector(vector) => {
                self.get_insights_filtered(collective, &vector, k, filter)
                    .await
            }
            Understood::Words(asked) => {
                let options = insights::options(k, &filter);
                let about = Operation::ReadInsights.of(collective);
                self.with_words(about, collective, asked, options, move |one, _| {
                    let (asked, limits) = (one.asked, one.limits);
                    insights::with_words(one.reader, collective, asked, k, &filter, limits)
                })
                .await
            }
        }
    }

    /// As [`PulseDB::search_insights`], for a text as it is: by its words, and by its meaning, for which it is embedded with
    /// the store's embedder.
    ///
    /// # Errors
    /// As [`PulseDB::search_text`].
    pub async fn get_insights_by_text(
        &self,
        collective: CollectiveId,
        query: &str,
        k: usize,
        filter: InsightFilter,
    ) -> Result<Vec<InsightHit>> {
        let definition = self.reader()?.collective(collective)?;
        search::check(&insights::options(k, &filter), &[], |_, _| Ok(()))?;
        let vector = self.embed_query(&definition, query).await?;
        let query = Query::plain(query).with_vector(vector);
        let hits = self.search_insights(collective, query, k, filter).await?;
        self.still_goes_by(&definition)?;
        Ok(hits)
    }

    /// The insights of a collective, page by page: by time or id, in either direction, between bounds. Of
    /// `page.filter`, domains, confidence and times count.
    ///
    /// # Errors
    /// As [`PulseDB::list_experiences`].
    pub async fn list_insights(
        &self,
        collective: CollectiveId,
        page: Page,
    ) -> Result<PageResult<DerivedInsight>> {
        self.read(Operation::ReadInsights.of(collective), move |reader| {
            insights::page(reader, collective, &page, &Damaged::default())
        })
        .await
    }

    /// Deletes an insight.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound).
    pub async fn delete_insight(&self, id: InsightId) -> Result<()> {
        self.commit_one(Change::DeleteInsight(id), 0).await?;
        Ok(())
    }
}
