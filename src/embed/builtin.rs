//! How does the store embed texts by itself?
//!
//! Joins lookup, model and threads to an [`Embedder`]. Making one costs nothing and cannot fail:
//! the model is looked for, read and hashed on the embedder's own threads when the first text
//! arrives, so that an open stays short, and a store whose model is missing can still be read. A
//! load that failed is tried again by the next text, since the remedy is to put files in place. Where
//! the configuration asks for it, a model that the cache lacks is downloaded by the load, whoever
//! still waits for it.

use std::{
    fmt,
    num::NonZeroUsize,
    path::PathBuf,
    sync::{Arc, OnceLock},
    thread,
};

use parking_lot::Mutex;

#[cfg(feature = "hub")]
use super::hub;
use super::{
    embedder::{EmbedFuture, Embedder, Priority},
    encoder::Encoder,
    model_files::{self, Surroundings},
    pool::{Encode, Pool},
};
#[cfg(feature = "hub")]
use crate::config::ModelDownload;
use crate::{
    config::{ModelConfig, Precision},
    error::{PulseDBError, Result},
    model::EmbedderIdentity,
};

/// Components of vectors of all-MiniLM-L6-v2.
const DIMENSION: usize = 384;

/// A BERT in this process; by default all-MiniLM-L6-v2: 384 components, unit length, of the first
/// 256 tokens.
///
/// A directory with `config.json`, `tokenizer.json` and `model.safetensors` is looked for at the
/// given path, at `PULSEDB_MODEL_DIR`, then in `pulsedb/all-MiniLM-L6-v2` of the user's cache
/// directory. Dropping it does not wait for its threads.
#[derive(Debug)]
pub struct Builtin {
    model: Arc<Model>,
    pool: Pool,
}

/// The model, from when it is first needed.
struct Model {
    path: Option<PathBuf>,
    dimension: usize,
    options: ModelConfig,
    loading: Mutex<()>,
    loaded: OnceLock<Loaded>,
}

struct Loaded {
    identity: EmbedderIdentity,
    encoder: Encoder,
}

impl fmt::Debug for Model {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Model")
            .field("path", &self.path)
            .field(
                "identity",
                &self.loaded.get().map(|loaded| &loaded.identity),
            )
            .finish_non_exhaustive()
    }
}

impl Builtin {
    /// Remembers where to look, and on how many threads to run (0: one per core). Does nothing
    /// else yet.
    #[must_use]
    pub fn new(model_path: Option<PathBuf>, threads: usize) -> Self {
        Self::with_model(model_path, threads, DIMENSION, ModelConfig::default())
    }

    /// The same for any BERT that sentence-transformers runs, whose vectors have `dimension`
    /// components. Pooling, length, prefixes and whether vectors get length 1 are taken from the
    /// files beside the weights, as far as `options` say nothing; a model that asks for something
    /// else than the mean or the first token, or whose dimension is another, is an error of the
    /// first text.
    #[must_use]
    pub fn with_model(
        model_path: Option<PathBuf>,
        threads: usize,
        dimension: usize,
        options: ModelConfig,
    ) -> Self {
        let threads = match threads {
            0 => thread::available_parallelism().map_or(1, NonZeroUsize::get),
            threads => threads,
        };
        let model = Arc::new(Model {
            path: model_path,
            dimension,
            options,
            loading: Mutex::default(),
            loaded: OnceLock::new(),
        });
        Self {
            pool: Pool::new(threads, Arc::clone(&model)),
            model,
        }
    }

    /// Where the user's cache directory has the model, there or not: the last place where it is looked for.
    ///
    /// # Errors
    ///
    /// [`Embedding`](PulseDBError::Embedding) if the environment names neither a cache nor a home directory.
    pub fn cache_dir() -> Result<PathBuf> {
        let entry = Surroundings::of_process().cache_entry();
        entry.ok_or_else(|| PulseDBError::Embedding(model_files::NO_CACHE.into()))
    }

    /// Loads the model now, so that the first text does not wait for it. Afterwards the identity
    /// is known.
    ///
    /// # Errors
    ///
    /// [`Embedding`](PulseDBError::Embedding) if the model is not found, which lists the
    /// places and the remedies, or cannot be used; [`Download`](PulseDBError::Download) if it is to
    /// be downloaded and cannot be had.
    pub async fn load(&self) -> Result<()> {
        // Any text will do: what makes vectors of texts is what has to work.
        self.embed(vec![String::new()], Priority::Query)
            .await
            .map(drop)
    }
}

impl Embedder for Builtin {
    fn identity(&self) -> Option<&EmbedderIdentity> {
        self.model.loaded.get().map(|loaded| &loaded.identity)
    }

    fn dimension(&self) -> usize {
        self.model.dimension
    }

    fn embed(&self, texts: Vec<String>, priority: Priority) -> EmbedFuture<'_> {
        // Queued now and not at the first poll, so that what a caller starts together runs so.
        let pending = self.pool.submit(texts, priority);
        Box::pin(async move { pending?.await })
    }

    /// Known once the model is loaded.
    fn precision(&self) -> Option<Precision> {
        Some(self.model.loaded.get()?.encoder.precision())
    }

    /// As the model counts them, once it is loaded.
    fn count_tokens(&self, text: &str) -> Option<usize> {
        self.model.loaded.get()?.encoder.count_tokens(text)
    }
}

impl Model {
    fn get(&self) -> Result<&Loaded> {
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let _one_at_a_time = self.loading.lock();
        if let Some(loaded) = self.loaded.get() {
            return Ok(loaded);
        }
        let (path, around) = (self.path.as_deref(), Surroundings::of_process());
        // What would be downloaded has vectors of one dimension.
        #[cfg(feature = "hub")]
        if self.options.download == ModelDownload::WhenMissing
            && self.dimension == DIMENSION
            && let Some(dir) = model_files::lacking(path, &around)
        {
            hub::download_default(&dir)?;
        }
        let files = model_files::find(path, &around)?;
        let encoder = Encoder::load(&files, self.dimension, &self.options)?;
        let identity = EmbedderIdentity {
            provider: "builtin".into(),
            model: encoder.name().to_owned(),
            fingerprint: encoder.fingerprint().to_owned(),
        };
        Ok(self.loaded.get_or_init(|| Loaded { identity, encoder }))
    }
}

impl Encode for Arc<Model> {
    fn prepare(&self) -> Result<()> {
        self.get().map(drop)
    }

    fn encode(
        &self,
        texts: &[&str],
        priority: Priority,
        pause: &dyn Fn(),
    ) -> Result<Vec<Vec<f32>>> {
        self.get()?.encoder.encode(texts, priority, pause)
    }
}
