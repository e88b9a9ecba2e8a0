//! Searches, as the application asks them.

use crate::{
    db::PulseDB,
    error::{PulseDBError, Result},
    model::{
        Collective, CollectiveId, Query, RecallWeights, SearchExplanation, SearchFilter, SearchHit,
        SearchOptions,
    },
    read::{
        account,
        hybrid::{self, Asked},
        reader::Reader,
        search,
        texts::Words,
    },
    sync::Arc,
    telemetry::{About, Operation, Told},
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
        let text = query.text.clone();
        match self.understood(collective, query).await? {
            Understood::Vector(vector) => {
                let found = self.search_vectors(collective, vec![vector], options);
                Ok(found.await?.pop().unwrap_or_default())
            }
            Understood::Words(asked) => {
                let operation = if asked.vector.is_some() {
                    Operation::SearchHybrid
                } else {
                    Operation::SearchWords
                };
                let about = operation.of(collective).asking(text);
                self.with_words(about, collective, asked, options, move |one, told| {
                    let hits =
                        hybrid::search(one.reader, collective, one.asked, one.options, one.limits)?;
                    told.rows = Some(hits.len() as u64);
                    Ok(hits)
                })
                .await
            }
        }
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

    /// How a search would be answered now: the plan, what it looked at, how long each stage took, and where each
    /// part of the score of each result comes from. Runs the search.
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
    /// db.record_experience(NewExperience {
    ///     embedding: Some(vec![0.6, 0.8]),
    ///     ..NewExperience::new(team, "agent-1", "Retries need jitter.")
    /// })?;
    /// let query = Query::plain("jitter of retries").with_vector([0.6, 0.8]);
    /// let told = db.explain(team, query, SearchOptions::default())?;
    /// assert_eq!(told.words.unwrap().terms.len(), 2);
    /// let best = &told.results[0];
    /// assert_eq!(best.terms.len(), 2);
    /// let shares = best.parts.dense.unwrap().share + best.parts.lexical.unwrap().share;
    /// assert!((best.score - shares).abs() < 1e-6);
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`PulseDB::search`].
    pub async fn explain(
        &self,
        collective: CollectiveId,
        query: impl Into<Query> + Send,
        options: SearchOptions,
    ) -> Result<SearchExplanation> {
        let clock = Arc::clone(&self.engine().env);
        let about = Operation::Explain.of(collective);
        let query = match self.understood(collective, query.into()).await? {
            Understood::Vector(query) => query,
            Understood::Words(asked) => {
                return self
                    .with_words(about, collective, asked, options, move |one, _| {
                        let clock = &*clock;
                        account::explain(
                            one.reader,
                            collective,
                            one.asked,
                            one.options,
                            one.limits,
                            clock,
                        )
                    })
                    .await;
            }
        };
        self.check_search(collective, &[&query], &options)?;
        let (ef, indexing) = (
            self.config().hnsw.ef_search,
            Arc::clone(&self.engine().indexing),
        );
        self.read(about, move |reader| {
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

    /// What a query asks for, with the meaning of its text where the store embeds.
    pub(super) async fn understood(
        &self,
        collective: CollectiveId,
        query: Query,
    ) -> Result<Understood> {
        let Some(text) = query.text else {
            let none = || PulseDBError::validation("query", "nothing", "it has a text or a vector");
            return query.vector.map(Understood::Vector).ok_or_else(none);
        };
        hybrid::check(&text)?;
        let analyser = self.engine().wording.analyser();
        let question = if query.plain {
            Question::plain(&text, analyser)
        } else {
            Question::expression(&text, analyser)
        };
        let embeds = query.vector.is_none() && !query.words_only;
        let (vector, embedded_for) = if embeds && self.engine().embedder.is_some() {
            let definition = self.reader()?.collective(collective)?;
            let vector = self.meaning_of(&definition, &question).await?;
            (vector, Some(definition))
        } else {
            (query.vector, None)
        };
        Ok(Understood::Words(InWords {
            question,
            vector,
            embedded_for,
        }))
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

    /// Looks for a question, and its vector, where it has one.
    pub(super) async fn with_words<T: Send + 'static>(
        &self,
        about: About,
        collective: CollectiveId,
        asked: InWords,
        options: SearchOptions,
        look: impl FnOnce(WordSearch<'_>, &mut Told) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let InWords {
            question,
            vector,
            embedded_for,
        } = asked;
        let queries: Vec<&[f32]> = vector.iter().map(Vec::as_slice).collect();
        self.check_search(collective, &queries, &options)?;
        drop(queries);
        hybrid::check_question(&question, &options)?;
        let ef = self.config().hnsw.ef_search;
        let (words, indexing) = (self.words(), Arc::clone(&self.engine().indexing));
        let answer = self.read_telling(about, move |reader, told| {
            if vector.is_some() {
                indexing.make_loaded(&reader.view);
            }
            let asked = Asked {
                question: &question,
                vector: vector.as_deref(),
            };
            let one = WordSearch {
                reader,
                asked,
                options: &options,
                limits: (ef, &words),
            };
            look(one, told)
        });
        let answer = answer.await?;
        embedded_for.map_or(Ok(()), |definition| self.still_goes_by(&definition))?;
        Ok(answer)
    }

    /// What a search by words needs to know.
    pub(super) fn words(&self) -> Words {
        let (engine, text) = (self.engine(), &self.config().text);
        if let Err(error) = engine.index_words() {
            tracing::warn!(%error, "no thread indexes words; searches do it");
        }
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
        let about = Operation::SearchNothing.of(collective);
        self.read_telling(about, move |reader, told| {
            indexing.make_loaded(&reader.view);
            let vectors: Vec<&[f32]> = queries.iter().map(Vec::as_slice).collect();
            let (hits, plan) = search::search(reader, collective, &vectors, &options, ef)?;
            told.operation = Some(Operation::search(plan));
            told.rows = Some(hits.iter().map(Vec::len).sum::<usize>() as u64);
            Ok(hits)
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

/// What a query asks for.
pub(super) enum Understood {
    /// What is near a vector.
    Vector(Vec<f32>),
    /// What has words, and what is near their meaning, where that is known.
    Words(InWords),
}

/// A question in words.
pub(super) struct InWords {
    /// The words.
    pub(super) question: Question,
    /// What they mean, where that is known.
    pub(super) vector: Option<Vec<f32>>,
    /// What the collective was when they were embedded.
    pub(super) embedded_for: Option<Arc<Collective>>,
}

/// A search by words on a reader's thread.
pub(super) struct WordSearch<'a> {
    pub(super) reader: &'a Reader,
    pub(super) asked: Asked<'a>,
    pub(super) options: &'a SearchOptions,
    /// The breadth of graphs, and what it takes to know of words.
    pub(super) limits: (usize, &'a Words),
}

fn check_weights(weights: Option<&RecallWeights>) -> Result<()> {
    weights.map_or(Ok(()), |weights| {
        validate::recall_weights("weights", weights)
    })
}
