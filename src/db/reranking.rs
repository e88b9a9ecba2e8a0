//! Searches whose results somebody else puts in order.

use crate::{
    db::PulseDB,
    error::{PulseDBError, Result},
    model::{CollectiveId, Query, SearchHit, SearchOptions, limits::MAX_K},
    sync::Arc,
    telemetry::Operation,
};

/// Says how well texts answer a question: a cross-encoder, a late-interaction model, a call to a service. It reads question
/// and text together, which is more than an index can, and takes too long for more than some dozen texts.
pub trait Reranker: Send + Sync {
    /// A score for each text, higher for a better one, all finite. Runs on a thread of the readers' pool, and may block it.
    ///
    /// # Errors
    /// What kept it from scoring; the search fails with it.
    fn scores(&self, question: &str, texts: &[&str]) -> Result<Vec<f32>>;
}

/// Results that a re-ranker gets to see for each that is wanted, and at least.
const SEEN_PER_RESULT: usize = 4;
const SEEN_LEAST: usize = 50;

/// Searching with a second opinion.
impl PulseDB {
    /// As [`PulseDB::search`] with a query that has a text, its best results put in order by `reranker`: it is shown four
    /// times `options.k` of them, fifty at least. [`SearchHit::score`] is what it said.
    ///
    /// Cancel-safe: it changes nothing; a call of the re-ranker goes on to its end.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use std::sync::Arc;
    /// use pulsedb::{
    ///     Config, EmbeddingDimension, NewExperience, Reranker, Result, SearchOptions,
    ///     blocking::PulseDB,
    /// };
    ///
    /// /// In earnest, a model's forward pass over question and text.
    /// struct Shortest;
    ///
    /// impl Reranker for Shortest {
    ///     fn scores(&self, _question: &str, texts: &[&str]) -> Result<Vec<f32>> {
    ///         Ok(texts.iter().map(|text| -(text.len() as f32)).collect())
    ///     }
    /// }
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// for text in ["jitter, jitter and jitter", "some jitter"] {
    ///     db.record_experience(NewExperience {
    ///         embedding: Some(vec![0.6, 0.8]),
    ///         ..NewExperience::new(team, "agent-1", text)
    ///     })?;
    /// }
    /// let options = SearchOptions { k: 1, ..SearchOptions::default() };
    /// let hits = db.search_reranked(team, "jitter", options, Arc::new(Shortest))?;
    /// assert_eq!(hits[0].experience.content, "some jitter");
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// As [`PulseDB::search`], what the re-ranker answers, and [`PulseDBError::Validation`] for a query without a text or
    /// scores that are not one finite number for each text.
    pub async fn search_reranked(
        &self,
        collective: CollectiveId,
        query: impl Into<Query> + Send,
        options: SearchOptions,
        reranker: Arc<dyn Reranker>,
    ) -> Result<Vec<SearchHit>> {
        let query = query.into();
        let Some(question) = query.text.clone() else {
            return Err(PulseDBError::validation(
                "query",
                "no text",
                "a re-ranker reads it",
            ));
        };
        let k = options.k;
        let seen = k.saturating_mul(SEEN_PER_RESULT).max(SEEN_LEAST);
        let options = SearchOptions {
            // One that is out of bounds is refused as it is.
            k: if (1..=MAX_K).contains(&k) {
                seen.min(MAX_K)
            } else {
                k
            },
            ..options
        };
        let mut hits = self.search(collective, query, options).await?;
        self.read(Operation::Rerank, move |_| {
            let texts: Vec<&str> = hits.iter().map(|hit| &*hit.experience.content).collect();
            let scores = reranker.scores(&question, &texts)?;
            if scores.len() != texts.len() || scores.iter().any(|score| !score.is_finite()) {
                return Err(PulseDBError::validation(
                    "reranker",
                    format!("{} scores", scores.len()),
                    format!("there are {} texts, and scores are finite", texts.len()),
                ));
            }
            for (hit, score) in hits.iter_mut().zip(scores) {
                hit.score = score;
            }
            // Of equals, the one that the search found better stays before.
            hits.sort_by(|a, b| b.score.total_cmp(&a.score));
            hits.truncate(k);
            Ok(hits)
        })
        .await
    }
}
