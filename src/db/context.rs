//! Everything that an agent should know before it starts, in one call.

use crate::{
    db::{PulseDB, search::Understood},
    embed::Embedder,
    error::Result,
    model::{ContextCandidates, ContextRequest, SearchOptions},
    read::{
        context::{self, Settings},
        filter, hybrid, insights,
    },
    sync::Arc,
    telemetry::Operation,
    write::validate,
};

/// Context.
impl PulseDB {
    /// What is known about a query: similar and recent experiences, insights, the relations between all that,
    /// and who is at work; all of one snapshot, so that the parts fit each other.
    ///
    /// Each part is limited and filtered by the request. What says the same is answered once
    /// ([`ContextRequest::collapse_above`]); texts that do not fit into what is left of [`ContextRequest::max_tokens`] are left out, each
    /// in its turn, and counted. Every item says what speaks for it.
    ///
    /// Cancel-safe: it changes nothing.
    ///
    /// # Errors
    /// As [`PulseDB::search`]; [`PulseDBError::Validation`](crate::PulseDBError::Validation) for a limit out of range.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{
    ///     Config, ContextRequest, EmbeddingDimension, NewExperience, blocking::PulseDB,
    /// };
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// for text in ["Pin the toolchain.", "Pin the tool chain."] {
    ///     db.record_experience(NewExperience {
    ///         embedding: Some(vec![0.6, 0.8]),
    ///         ..NewExperience::new(team, "agent-1", text)
    ///     })?;
    /// }
    /// let context = db.get_context_candidates(ContextRequest {
    ///     max_tokens: Some(500),
    ///     ..ContextRequest::about_vector(team, vec![0.6, 0.8])
    /// })?;
    /// // Both say the same: one is answered, and names the other.
    /// assert_eq!(context.similar.len(), 1);
    /// assert_eq!(context.similar[0].siblings.len(), 1);
    /// # db.close()
    /// # }
    /// ```
    pub async fn get_context_candidates(
        &self,
        request: ContextRequest,
    ) -> Result<ContextCandidates> {
        context::check(&request)?;
        if let Some(weights) = &request.weights {
            validate::recall_weights("weights", weights)?;
        }
        filter::check(&request.filter)?;
        filter::check(&insights::options(1, &request.insight_filter).filter)?;
        let collective = request.collective_id;
        let text = request.query.text.clone();
        // The vector first, then the snapshot: embedding takes longer than a commit.
        let understood = self.understood(collective, request.query.clone()).await?;
        let (question, vector, embedded_for) = match understood {
            Understood::Vector(vector) => (None, Some(vector), None),
            Understood::Words(asked) => (Some(asked.question), asked.vector, asked.embedded_for),
        };
        if let Some(vector) = &vector {
            let dimension = usize::from(self.reader()?.table(collective)?.dimension);
            validate::vector("query", vector, dimension)?;
        }
        let question = match question {
            Some(question) => {
                hybrid::check_question(&question, &SearchOptions::default())?;
                Some((question, self.words()))
            }
            None => None,
        };
        let engine = self.engine();
        let (ef, indexing) = (self.config().hnsw.ef_search, Arc::clone(&engine.indexing));
        let stale_ms = self.stale_ms();
        let embedder = engine.embedder.clone();
        let found = self
            .read(
                Operation::Context.of(collective).asking(text),
                move |reader| {
                    if vector.is_some() {
                        indexing.make_loaded(&reader.view);
                    }
                    let count = |text: &str| {
                        let counted = embedder.as_ref().and_then(|one| one.count_tokens(text));
                        counted.unwrap_or_else(|| text.len().div_ceil(BYTES_PER_TOKEN))
                    };
                    let settings = Settings {
                        ef,
                        stale_ms,
                        words: question.as_ref().map(|(question, words)| (question, words)),
                        count: &count,
                    };
                    context::candidates(reader, &request, vector.as_deref(), &settings)
                },
            )
            .await?;
        embedded_for.map_or(Ok(()), |definition| self.still_goes_by(&definition))?;
        Ok(found)
    }
}

/// Bytes of a token, where nobody counts them: a little below the average of English prose.
const BYTES_PER_TOKEN: usize = 4;
