//! Searches, as the application asks them.

use crate::{
    db::PulseDB,
    error::Result,
    model::{
        CollectiveId, RecallWeights, SearchExplanation, SearchFilter, SearchHit, SearchOptions,
    },
    read::search,
    sync::Arc,
    write::validate,
};

/// Searching.
impl PulseDB {
    /// The `k` experiences most similar to `query` that are not archived, best first, ties by id.
    ///
    /// `query` has the collective's dimension; `k` is in 1–1000.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound) for an unknown collective,
    /// [`PulseDBError::Validation`](crate::PulseDBError::Validation) for `k` or a vector that is too
    /// short, too long, not finite or zero.
    pub async fn search_similar(
        &self,
        collective: CollectiveId,
        query: &[f32],
        k: usize,
    ) -> Result<Vec<SearchHit>> {
        let options = SearchOptions {
            k,
            ..SearchOptions::default()
        };
        self.search(collective, query, options).await
    }

    /// As [`PulseDB::search_similar`], among the experiences that pass the filter; `k` results
    /// whenever `k` pass.
    ///
    /// # Errors
    /// As [`PulseDB::search_similar`].
    pub async fn search_similar_filtered(
        &self,
        collective: CollectiveId,
        query: &[f32],
        k: usize,
        filter: SearchFilter,
    ) -> Result<Vec<SearchHit>> {
        let options = SearchOptions {
            k,
            filter,
            ..SearchOptions::default()
        };
        self.search(collective, query, options).await
    }

    /// The general search by vector.
    ///
    /// # Errors
    /// As [`PulseDB::search_similar`], and for weights that are negative or not finite.
    pub async fn search(
        &self,
        collective: CollectiveId,
        query: &[f32],
        options: SearchOptions,
    ) -> Result<Vec<SearchHit>> {
        let mut results = self
            .search_vectors(collective, vec![query.to_vec()], options)
            .await?;
        Ok(results.pop().unwrap_or_default())
    }

    /// Many searches of one snapshot that share their pass over the rows; one result list per query,
    /// in their order. At most 1000 queries.
    ///
    /// # Errors
    /// As [`PulseDB::search`]; one bad query fails the call.
    pub async fn search_batch(
        &self,
        collective: CollectiveId,
        queries: &[Vec<f32>],
        options: SearchOptions,
    ) -> Result<Vec<Vec<SearchHit>>> {
        self.search_vectors(collective, queries.to_vec(), options)
            .await
    }

    /// Searches by meaning: embeds `query` with the store's embedder.
    ///
    /// # Errors
    /// As [`PulseDB::search`], and [`PulseDBError::Embedding`](crate::PulseDBError::Embedding) where the
    /// store has no embedder or the collective holds vectors of another one.
    pub async fn search_text(
        &self,
        collective: CollectiveId,
        query: &str,
        options: SearchOptions,
    ) -> Result<Vec<SearchHit>> {
        // The vector first, then the snapshot: embedding takes longer than a commit.
        let definition = self.reader()?.collective(collective)?;
        check_weights(options.weights.as_ref())?;
        search::check(&options, &[], |_, _| Ok(()))?;
        let vector = self.embed_query(&definition, query).await?;
        self.search(collective, &vector, options).await
    }

    /// How a search would be answered now: the plan, what it looked at, and how long each stage
    /// took. Runs the search.
    ///
    /// # Errors
    /// As [`PulseDB::search`].
    pub async fn explain(
        &self,
        collective: CollectiveId,
        query: &[f32],
        options: SearchOptions,
    ) -> Result<SearchExplanation> {
        self.check_search(collective, &[query], &options)?;
        let (query, ef) = (query.to_vec(), self.config().hnsw.ef_search);
        let clock = Arc::clone(&self.engine().env);
        let indexing = Arc::clone(&self.engine().indexing);
        self.read(move |reader| {
            indexing.make_loaded(&reader.view);
            search::explain(reader, collective, &query, &options, ef, &*clock)
        })
        .await
    }

    /// Builds the vector index of a collective anew, from the log, and answers when it is in place.
    /// Searches and recordings go on meanwhile. A collective that is too small for a graph
    /// (`Config::hnsw.first_graph_rows`) is searched exactly and needs none.
    ///
    /// Cancel-safe: a build whose caller went away is finished all the same.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound),
    /// [`PulseDBError::ReadOnly`](crate::PulseDBError::ReadOnly), and what kept the files from being
    /// written; the index then stays as it was.
    pub async fn rebuild_index(&self, collective: CollectiveId) -> Result<()> {
        self.engine().committer()?;
        let table = Arc::clone(self.engine().reader()?.table(collective)?);
        self.engine().indexing.rebuild(&table).wait().await
    }

    async fn search_vectors(
        &self,
        collective: CollectiveId,
        queries: Vec<Vec<f32>>,
        options: SearchOptions,
    ) -> Result<Vec<Vec<SearchHit>>> {
        let vectors: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
        self.check_search(collective, &vectors, &options)?;
        drop(vectors);
        let ef = self.config().hnsw.ef_search;
        let indexing = Arc::clone(&self.engine().indexing);
        self.read(move |reader| {
            indexing.make_loaded(&reader.view);
            let vectors: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
            search::search(reader, collective, &vectors, &options, ef)
        })
        .await
    }

    pub(super) fn check_search(
        &self,
        collective: CollectiveId,
        queries: &[&[f32]],
        options: &SearchOptions,
    ) -> Result<()> {
        check_weights(options.weights.as_ref())?;
        let dimension = usize::from(self.reader()?.table(collective)?.dimension);
        search::check(options, queries, |field, vector| {
            validate::vector(field, vector, dimension)
        })
    }
}

fn check_weights(weights: Option<&RecallWeights>) -> Result<()> {
    weights.map_or(Ok(()), |weights| {
        validate::recall_weights("weights", weights)
    })
}
