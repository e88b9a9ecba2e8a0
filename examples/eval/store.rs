//! Everything that the evaluation asks of PulseDB.

use std::{collections::HashMap, path::Path, sync::Arc};

use pulsedb::{
    CollectiveId, Config, Embedder, EmbeddingDimension, ExperienceId, NewExperience, PulseDB,
    SearchOptions,
};

use crate::{Outcome, collection::Document, vectors::Known};

/// Documents of one durable commit.
const BATCH: usize = 64;

/// A way to find documents.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Method {
    /// By meaning: the similarity of vectors.
    Dense,
}

impl Method {
    /// Those that this build can ask by.
    pub(crate) const ALL: &[Self] = &[Self::Dense];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Dense => "dense",
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
        let hits = match method {
            Method::Dense => {
                self.db
                    .search_text(shelf.collective, question, options)
                    .await?
            }
        };
        let place = |id| shelf.places.get(id).copied();
        Ok(hits
            .iter()
            .filter_map(|hit| place(&hit.experience.id))
            .collect())
    }

    pub(crate) async fn close(self) -> Outcome<()> {
        Ok(self.db.close().await?)
    }
}
