//! Whose vectors are these, and may they meet those of the collective?
//!
//! With an embedder the store makes every vector itself and refuses the caller's, which would mix
//! models; without one the caller must bring it. Either way the embedder's identity is stamped into
//! a collective by its first write and compared with every later one.

use tracing::Instrument;

use crate::{
    db::{PulseDB, engine::stopped_error},
    embed::{Embedder, Priority},
    error::{PulseDBError, Result},
    model::{Collective, CollectiveId, EmbedderIdentity},
    state::Table,
    sync::Arc,
    telemetry::{Operation, Told},
    write::draft::{Draft, Embedded},
};

impl PulseDB {
    /// Gets the vectors of a batch, and encodes it.
    pub(super) async fn embed_drafts(&self, batch: Vec<Draft>) -> Result<Vec<Embedded>> {
        let engine = self.engine();
        let committer = engine.committer()?;
        let reader = self.reader()?;
        let mut drafts = Vec::with_capacity(batch.len());
        let mut growing: Vec<Arc<Table>> = Vec::new();
        for mut draft in batch {
            let table = reader.table(draft.collective())?;
            let grows = table.of_kind(draft.row_kind()).unwrap_or(table);
            let known = |other: &Arc<Table>| other.number == grows.number;
            if !growing.iter().any(known) {
                growing.push(Arc::clone(grows));
            }
            let vector = draft.take_vector();
            drafts.push((draft, table.dimension, vector));
        }
        drop(reader);
        for table in growing {
            self.wait_for_room(&table).await?;
        }
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
        let texts = drafts.iter().map(|(draft, ..)| draft.content().to_owned());
        let (vectors, identity) = self
            .embedded(embedder.as_ref(), texts.collect(), Priority::Ingest)
            .await?;
        let identity = Arc::new(identity);
        drafts
            .into_iter()
            .zip(vectors)
            .map(|((draft, dimension, _), vector)| {
                draft.embed(&vector, dimension, Some(Arc::clone(&identity)))
            })
            .collect()
    }

    /// The vectors of texts for a collective of this dimension, and whose they are.
    pub(super) async fn embed_texts(
        &self,
        texts: Vec<String>,
        dimension: u16,
        priority: Priority,
    ) -> Result<(Vec<Vec<f32>>, Arc<EmbedderIdentity>)> {
        let Some(embedder) = &self.engine().embedder else {
            return Err(PulseDBError::Embedding(
                "the store was opened with external embeddings".into(),
            ));
        };
        check_dimension(embedder.as_ref(), dimension)?;
        let (vectors, identity) = self.embedded(embedder.as_ref(), texts, priority).await?;
        Ok((vectors, Arc::new(identity)))
    }

    /// Waits until the indexes of a collective have room for more rows.
    pub(super) async fn make_room(&self, collective: CollectiveId) -> Result<()> {
        let table = Arc::clone(self.engine().reader()?.table(collective)?);
        self.wait_for_room(&table).await
    }

    /// Waits until the indexes of a table have room for more rows, if they have none. Only recordings wait
    /// here: nothing in the commit path ever does.
    async fn wait_for_room(&self, table: &Table) -> Result<()> {
        let engine = self.engine();
        let timeout = engine.config.write_timeout;
        let has_room = || engine.indexing.has_room(table) && engine.wording.has_room(table);
        if engine.index_room.pass(timeout, has_room).await {
            return Ok(());
        }
        let (what, limit) = if engine.wording.has_room(table) {
            let bytes = engine.config.hnsw.max_tail_bytes;
            (
                "the vector index, which is being built",
                format!("{bytes} bytes"),
            )
        } else {
            let rows = engine.config.text.max_tail_rows;
            (
                "the index of words, which is behind",
                format!("{rows} rows"),
            )
        };
        Err(PulseDBError::Backpressure {
            what: what.into(),
            limit,
            waited_ms: timeout.as_millis() as u64,
        })
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
                 it with that embedder, or search by vector",
                collective.id
            ))),
            _ => vectors
                .pop()
                .ok_or_else(|| PulseDBError::Embedding("the embedder answered no vector".into())),
        }
    }

    /// One vector for each text, and whose they are.
    async fn embedded(
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

fn check_dimension(embedder: &dyn Embedder, dimension: u16) -> Result<()> {
    if embedder.dimension() == usize::from(dimension) {
        return Ok(());
    }
    Err(PulseDBError::Embedding(format!(
        "the embedder makes {} components, the collective's embeddings have {dimension}",
        embedder.dimension()
    )))
}
