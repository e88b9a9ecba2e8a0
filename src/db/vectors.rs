//! Whose vectors are these, and may they meet those of the collective?
//!
//! With an embedder the store makes every vector itself and refuses the caller's, which would mix
//! models; without one the caller must bring it. Either way the embedder's identity is stamped into
//! a collective by its first write and compared with every later one.

use tracing::Instrument;

use crate::{
    config::Precision,
    db::{PulseDB, engine::stopped_error},
    embed::{Embedder, Priority},
    error::{PulseDBError, Result},
    format::RowKind,
    model::{Collective, CollectiveId, EmbedderIdentity},
    sync::Arc,
    telemetry::{Operation, Told},
    write::draft::{Draft, Embedded},
};

impl PulseDB {
    /// Gets the vectors of a batch, and encodes it.
    pub(super) async fn embed_drafts(&self, batch: Vec<Draft>) -> Result<Vec<Embedded>> {
        let all = batch.len().max(1);
        self.embed_drafts_with(batch, all, |_| {}).await
    }

    /// The same, so many texts at a time, telling after each time how many were embedded.
    pub(super) async fn embed_drafts_with(
        &self,
        batch: Vec<Draft>,
        at_once: usize,
        mut tell: impl FnMut(usize),
    ) -> Result<Vec<Embedded>> {
        let engine = self.engine();
        let committer = engine.committer()?;
        let mut growing: Vec<(CollectiveId, RowKind)> = Vec::new();
        for draft in &batch {
            let grows = (draft.collective(), draft.row_kind());
            if !growing.contains(&grows) {
                growing.push(grows);
            }
        }
        for (collective, kind) in growing {
            self.wait_for_room(collective, kind).await?;
        }
        // Behind the wait, which may have been for the end of a re-embedding.
        let reader = self.reader()?;
        let mut drafts = Vec::with_capacity(batch.len());
        for mut draft in batch {
            let dimension = reader.table(draft.collective())?.dimension;
            let vector = draft.take_vector();
            drafts.push((draft, dimension, vector));
        }
        drop(reader);
        let Some(embedder) = &engine.embedder else {
            return drafts
                .into_iter()
                .map(|(draft, dimension, vector)| {
                    let vector = vector.ok_or_else(|| {
                        PulseDBError::validation(
                            "embedding",
                            "none",
                            "the store was opened with external embeddings, so every write needs one",
                        )
                    })?;
                    draft.embed(&vector, dimension, None)
                })
                .collect();
        };
        // Embedding is much work to throw away.
        if let Some(stopped) = committer.stopped() {
            return Err(stopped_error(stopped));
        }
        for (_, dimension, vector) in &drafts {
            if vector.is_some() {
                return Err(PulseDBError::validation(
                    "embedding",
                    "a vector",
                    "this store embeds texts itself; leave the embedding out",
                ));
            }
            check_dimension(embedder.as_ref(), *dimension)?;
        }
        let mut embedded_drafts = Vec::with_capacity(drafts.len());
        let mut drafts = drafts.into_iter();
        loop {
            let part: Vec<_> = drafts.by_ref().take(at_once).collect();
            if part.is_empty() {
                return Ok(embedded_drafts);
            }
            let texts = part.iter().map(|(draft, ..)| draft.content().to_owned());
            let (vectors, identity) = self
                .embedded(embedder.as_ref(), texts.collect(), Priority::Ingest)
                .await?;
            let (identity, precision) = (Arc::new(identity), embedder.precision());
            for ((draft, dimension, _), vector) in part.into_iter().zip(vectors) {
                let identity = Some(Arc::clone(&identity));
                let embedded = draft.embed(&vector, dimension, identity)?;
                embedded_drafts.push(embedded.in_precision(precision));
            }
            tell(embedded_drafts.len());
        }
    }

    /// The vectors of texts for a collective of this dimension, whose they are, and what they were computed in.
    pub(super) async fn embed_texts(
        &self,
        texts: Vec<String>,
        dimension: u16,
        priority: Priority,
    ) -> Result<(Vec<Vec<f32>>, Arc<EmbedderIdentity>, Option<Precision>)> {
        let Some(embedder) = &self.engine().embedder else {
            return Err(PulseDBError::Embedding(
                "the store was opened with external embeddings".into(),
            ));
        };
        check_dimension(embedder.as_ref(), dimension)?;
        let (vectors, identity) = self.embedded(embedder.as_ref(), texts, priority).await?;
        Ok((vectors, Arc::new(identity), embedder.precision()))
    }

    /// Waits until the indexes of a collective have room for more rows.
    pub(super) async fn make_room(&self, collective: CollectiveId) -> Result<()> {
        self.wait_for_room(collective, RowKind::Experience).await
    }

    /// Waits until the indexes of a collective's rows of one kind have room for more of them, if they have none,
    /// and while a re-embedding of the collective ends. Only recordings wait here: nothing in the commit path
    /// ever does.
    async fn wait_for_room(&self, collective: CollectiveId, kind: RowKind) -> Result<()> {
        let engine = self.engine();
        let timeout = engine.config.write_timeout;
        // Asked of the present table each time: a re-embedding puts another one in its place.
        let hindrance = || {
            engine.published.with(|view| {
                let table = view?.tables.find(collective.as_u128())?;
                let grows = table.of_kind(kind).unwrap_or(table);
                if table.is_ending() {
                    Some(Hindrance::Reembedding)
                } else if !engine.wording.has_room(grows) {
                    Some(Hindrance::Words)
                } else if !engine.indexing.has_room(grows) {
                    Some(Hindrance::Vectors)
                } else {
                    None
                }
            })
        };
        let has_room = || hindrance().is_none();
        if engine.index_room.pass(timeout, has_room).await {
            return Ok(());
        }
        let (what, limit) = match hindrance() {
            None => return Ok(()),
            Some(Hindrance::Reembedding) => {
                let what = "the way into a collective whose re-embedding is about to end";
                (what, "until its last rows have vectors".to_owned())
            }
            Some(Hindrance::Words) => {
                let rows = engine.config.text.max_tail_rows;
                (
                    "the index of words, which is behind",
                    format!("{rows} rows"),
                )
            }
            Some(Hindrance::Vectors) => {
                let bytes = engine.config.hnsw.max_tail_bytes;
                (
                    "the vector index, which is being built",
                    format!("{bytes} bytes"),
                )
            }
        };
        Err(PulseDBError::Backpressure {
            what: what.into(),
            limit,
            waited_ms: timeout.as_millis() as u64,
        })
    }

    /// Refuses an answer to a question whose vector was made while the collective went by others than now.
    pub(super) fn still_goes_by(&self, asked: &Collective) -> Result<()> {
        let now = self.reader()?.collective(asked.id)?;
        if now.vectors.epoch == asked.vectors.epoch {
            return Ok(());
        }
        Err(PulseDBError::conflict(format!(
            "collective {} was re-embedded meanwhile; ask again",
            asked.id
        )))
    }

    /// The vector of a query text, for a collective that it may be compared with.
    pub(super) async fn embed_query(
        &self,
        collective: &Collective,
        text: &str,
    ) -> Result<Vec<f32>> {
        let Some(embedder) = &self.engine().embedder else {
            return Err(PulseDBError::Embedding(
                "the store was opened with external embeddings; embed the query and search by \
                 vector, or open it with an embedder"
                    .into(),
            ));
        };
        if text.trim().is_empty() {
            return Err(PulseDBError::validation(
                "query",
                format!("{text:?}"),
                "it must hold something other than white space",
            ));
        }
        check_dimension(embedder.as_ref(), collective.embedding_dimension)?;
        let (mut vectors, identity) = self
            .embedded(embedder.as_ref(), vec![text.to_owned()], Priority::Query)
            .await?;
        match &collective.embedder {
            Some(stamped) if *stamped != identity => Err(PulseDBError::Embedding(format!(
                "collective {} holds vectors of {stamped}, this store embeds with {identity}; open \
                 it with that embedder, re-embed the collective, or search by vector",
                collective.id
            ))),
            _ => vectors
                .pop()
                .ok_or_else(|| PulseDBError::Embedding("the embedder answered no vector".into())),
        }
    }

    /// Which model an embedder runs; where that is not known yet, it embeds a word.
    pub(super) async fn identity_of(&self, embedder: &dyn Embedder) -> Result<EmbedderIdentity> {
        if let Some(identity) = embedder.identity() {
            return Ok(identity.clone());
        }
        let word = vec!["word".to_owned()];
        let (_, identity) = self.embedded(embedder, word, Priority::Query).await?;
        Ok(identity)
    }

    /// One vector for each text, and whose they are.
    pub(super) async fn embedded(
        &self,
        embedder: &dyn Embedder,
        texts: Vec<String>,
        priority: Priority,
    ) -> Result<(Vec<Vec<f32>>, EmbedderIdentity)> {
        let count = texts.len();
        let call = self.engine().telemetry.begin(Operation::Embed);
        let made = embedder.embed(texts, priority);
        let made = made.instrument(call.span().clone()).await;
        let told = Told {
            rows: Some(count as u64),
            ..Told::default()
        };
        let vectors = call.end(made, told)?;
        if vectors.len() != count {
            return Err(PulseDBError::Embedding(format!(
                "the embedder answered {} vectors to {count} texts",
                vectors.len()
            )));
        }
        let identity = embedder.identity().cloned();
        let identity = identity.ok_or_else(|| {
            PulseDBError::Embedding("the embedder made vectors but has no identity".into())
        })?;
        Ok((vectors, identity))
    }
}

/// What a recording waits for.
enum Hindrance {
    /// A re-embedding of the collective is about to end.
    Reembedding,
    /// The index of words is behind.
    Words,
    /// The index of vectors is behind.
    Vectors,
}

fn check_dimension(embedder: &dyn Embedder, dimension: u16) -> Result<()> {
    if embedder.dimension() == usize::from(dimension) {
        return Ok(());
    }
    Err(PulseDBError::Embedding(format!(
        "the embedder makes {} components, the collective's embeddings have {dimension}",
        embedder.dimension()
    )))
}
