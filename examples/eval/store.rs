//! Everything that the evaluation asks of PulseDB.

use std::{collections::HashMap, path::Path, sync::Arc};

use pulsedb::{
    CollectiveId, Config, Embedder, EmbeddingDimension, ExperienceId, NeighbourEvidence,
    NewExperience, PulseDB, Query, SearchHit, SearchOptions,
};

use crate::{Outcome, collection::Document, vectors::Known};

/// Documents of one durable commit.
const BATCH: usize = 64;

/// A way to find documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// By meaning: the similarity of vectors.
    Dense,
    /// By words: BM25.
    Lexical,
    /// By both.
    Hybrid,
    /// By both, and what stands beside a document in its task.
    HybridNeighbours,
}

impl Method {
    pub(crate) const ALL: &[Self] = &[
        Self::Dense,
        Self::Lexical,
        Self::Hybrid,
        Self::HybridNeighbours,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
            Self::Lexical => "lexical",
            Self::Hybrid => "hybrid",
            Self::HybridNeighbours => "hybrid_neighbours",
        }
    }
}

/// An open database.
pub(crate) struct Store {
    db: PulseDB,
}

/// Documents that are searched together.
pub(crate) struct Shelf {
    collective: CollectiveId,
    /// Where each stands in its group.
    places: HashMap<ExperienceId, usize>,
}

impl Shelf {
    fn places(&self, hits: &[SearchHit]) -> Vec<usize> {
        let place = |hit: &SearchHit| self.places.get(&hit.experience.id).copied();
        hits.iter().filter_map(place).collect()
    }
}

impl Store {
    /// A new database that embeds texts by itself, or with vectors from a file.
    pub(crate) async fn create(path: &Path, vectors: Option<&Path>) -> Outcome<Self> {
        let db = match vectors {
            Some(file) => {
                let known = Known::load(file)?;
                let config = Config {
                    embedding_dimension: EmbeddingDimension::Custom(known.dimension()),
                    ..Config::default()
                };
                PulseDB::open_with_embedder(path, config, Arc::new(known)).await?
            }
            None if cfg!(feature = "embed") => PulseDB::open(path, Config::default()).await?,
            None => return Err("this was built without the model: it needs --vectors".into()),
        };
        Ok(Self { db })
    }

    /// Records documents in their order, which becomes the order of time. Those without a text are left out: nothing
    /// could find them.
    pub(crate) async fn fill(&self, name: &str, documents: &[Document]) -> Outcome<Shelf> {
        let collective = self.db.create_collective(name).await?;
        let mut places = HashMap::with_capacity(documents.len());
        let with_text: Vec<(usize, &Document)> = documents
            .iter()
            .enumerate()
            .filter(|(_, document)| !document.text.trim().is_empty())
            .collect();
        for batch in with_text.chunks(BATCH) {
            let new = batch
                .iter()
                .map(|(_, document)| NewExperience {
                    source_task: document.task.clone().map(Into::into),
                    ..NewExperience::new(collective, "eval", document.text.as_str())
                })
                .collect();
            let ids = self.db.record_experiences(new).await?;
            places.extend(ids.into_iter().zip(batch.iter().map(|(place, _)| *place)));
        }
        Ok(Shelf { collective, places })
    }

    /// The places of the best documents, best first.
    pub(crate) async fn ask(
        &self,
        shelf: &Shelf,
        method: Method,
        question: &str,
        k: usize,
    ) -> Outcome<Vec<usize>> {
        let options = SearchOptions {
            k,
            ..SearchOptions::default()
        };
        let both = Query::plain(question);
        let (query, options) = match method {
            Method::Dense => {
                let hits = self
                    .db
                    .search_text(shelf.collective, question, options)
                    .await?;
                return Ok(shelf.places(&hits));
            }
            Method::Lexical => {
                let words = Query {
                    words_only: true,
                    ..both
                };
                (words, options)
            }
            Method::Hybrid => {
                let alone = SearchOptions {
                    neighbours: Some(NeighbourEvidence::NONE),
                    ..options
                };
                (both, alone)
            }
            Method::HybridNeighbours => (both, options),
        };
        let hits = self.db.search(shelf.collective, query, options).await?;
        Ok(shelf.places(&hits))
    }

    pub(crate) async fn close(self) -> Outcome<()> {
        Ok(self.db.close().await?)
    }
}
