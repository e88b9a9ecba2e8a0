//! Searches, as the application asks them.

use crate::{
    db::PulseDB,
    error::{PulseDBError, Result},
    model::{
        Collective, CollectiveId, Query, RecallWeights, SearchExplanation, SearchFilter, SearchHit,
        SearchOptions,
    },
    read::{
        hybrid::{self, Asked},
        search,
        texts::Words,
    },
    sync::Arc,
    text::Question,
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

    /// The general search: by words, by vector, or both; `query` is a text, a vector, or a [`Query`] of both.
    ///
    /// By a vector alone it is [`PulseDB::search_similar`] with more options. By words it finds the experiences that
    /// hold most of them, the rarest first; with both, what is near in meaning and what holds the words become one
    /// ranking, in which experiences of one task that stand next to each other lend each other weight
    /// ([`NeighbourEvidence`](crate::NeighbourEvidence)). A text is also looked for by its meaning where the store has an
    /// embedder. `options.weights` weigh the whole ranking's score with energy. Filters, and what a query requires or
    /// excludes, hold for every result.
    ///
    /// The first search by words reads the texts of the whole collective, some 10 µs each; from then on what is
    /// recorded is indexed in the background, and what is not yet, by the search that needs it. The index is kept
    /// in memory, at some third of the texts' bytes.
    ///
    /// Cancel-safe: it changes nothing.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{
    ///     Config, EmbeddingDimension, NewExperience, Query, SearchOptions, blocking::PulseDB,
    /// };
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// for (text, vector) in [
    ///     ("Retries without jitter bring all clients back at once.", vec![0.6, 0.8]),
    ///     ("The deploy script is in tools/deploy.sh.", vec![0.8, -0.6]),
    /// ] {
    ///     db.record_experience(NewExperience {
    ///         embedding: Some(vector),
    ///         ..NewExperience::new(team, "agent-1", text)
    ///     })?;
    /// }
    /// let hits = db.search(team, "retry +jitter", SearchOptions::default())?;
    /// assert_eq!(hits.len(), 1);
    /// let both = Query::plain("where do we deploy from?").with_vector([0.7, -0.7]);
    /// let hits = db.search(team, both, SearchOptions::default())?;
    /// assert!(hits[0].experience.content.contains("tools/deploy.sh"));
    /// assert!(hits[0].parts.lexical.is_some() && hits[0].parts.dense.is_some());
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`PulseDB::search_similar`], and for weights that are negative or not finite, a text beyond
    /// [`MAX_QUERY_BYTES`](crate::model::limits::MAX_QUERY_BYTES), and a query of neither. In a transaction, a collective that it has
    /// changed is searched by vector only.
    pub async fn search(
        &self,
        collective: CollectiveId,
        query: impl Into<Query> + Send,
        options: SearchOptions,
    ) -> Result<Vec<SearchHit>> {
        let query = query.into();
        if let Some(text) = query.text {
            hybrid::check(&text)?;
            let analyser = self.engine().wording.analyser();
            let question = if query.plain {
                Question::plain(&text, analyser)
            } else {
                Question::expression(&text, analyser)
            };
            let embeds = query.vector.is_none() && !query.words_only;
            if embeds && self.engine().embedder.is_some() {
                let definition = self.reader()?.collective(collective)?;
                let vector = self.meaning_of(&definition, &question).await?;
                let hits = self
                    .search_words(collective, question, vector, options)
                    .await?;
                self.still_goes_by(&definition)?;
                return Ok(hits);
            }
            return self
                .search_words(collective, question, query.vector, options)
                .await;
        }
        let Some(vector) = query.vector else {
            return Err(PulseDBError::validation(
                "query",
                "nothing",
                "it has a text or a vector",
            ));
        };
        let mut results = self
            .search_vectors(collective, vec![vector], options)
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
        let hits = self.search(collective, &vector, options).await?;
        self.still_goes_by(&definition)?;
        Ok(hits)
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

    /// The vector of what a question means; `None` where that is nothing.
    async fn meaning_of(
        &self,
        definition: &Collective,
        question: &Question,
    ) -> Result<Option<Vec<f32>>> {
        if question.meaning.trim().is_empty() {
            return Ok(None);
        }
        self.embed_query(definition, &question.meaning)
            .await
            .map(Some)
    }

    async fn search_words(
        &self,
        collective: CollectiveId,
        question: Question,
        vector: Option<Vec<f32>>,
        options: SearchOptions,
    ) -> Result<Vec<SearchHit>> {
        let queries: Vec<&[f32]> = vector.iter().map(Vec::as_slice).collect();
        self.check_search(collective, &queries, &options)?;
        drop(queries);
        hybrid::check_question(&question, &options)?;
        let ef = self.config().hnsw.ef_search;
        let (words, indexing) = (self.words(), Arc::clone(&self.engine().indexing));
        self.read(move |reader| {
            if vector.is_some() {
                indexing.make_loaded(&reader.view);
            }
            let asked = Asked {
                question: &question,
                vector: vector.as_deref(),
            };
            hybrid::search(reader, collective, &asked, &options, (ef, &words))
        })
        .await
    }

    /// What a search by words needs to know.
    pub(super) fn words(&self) -> Words {
        let (engine, text) = (self.engine(), &self.config().text);
        engine.wording.ask();
        Words {
            analyser: Arc::clone(engine.wording.analyser()),
            parameters: (text.k1, text.b),
        }
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
