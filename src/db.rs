//! The database as an application holds it.
//!
//! [`PulseDB`] is the async façade: every method is a few lines that check, load a snapshot or submit
//! a request, and hand the work to the flow that does it. Follow a write into `write/`, a question into
//! `read/`, a subscription into `watch/`; [`engine`] shows what an open database consists of.

mod activities;
mod backup;
mod checkpoint;
mod collectives;
mod compaction;
mod context;
mod duplicates;
pub(crate) mod engine;
mod experiences;
mod expiry;
mod following;
mod insights;
mod observing;
mod reembed;
mod relations;
mod reranking;
mod search;
mod snapshot;
mod streaming;
mod tail;
mod telling;
mod tending;
mod transaction;
mod transfer;
mod upkeep;
mod vectors;
mod watching;

pub use reranking::Reranker;
pub use snapshot::Snapshot;
pub use streaming::ExperienceStream;
pub use transaction::Transaction;
pub use transfer::ExportStream;
#[cfg(test)]
mod damage_tests;
#[cfg(test)]
mod foresight_tests;

use std::{path::Path, sync::Arc};

use tracing::Instrument;

use crate::{
    config::{Config, EmbeddingProvider},
    db::engine::{Engine, stopped_error},
    edge::{pool, registry},
    embed::Embedder,
    env::{Env, OsEnv},
    error::{PulseDBError, Result},
    format::FORMAT_VERSION,
    model::{DatabaseMetadata, ExperienceId, InstanceId},
    read::{point::Point, reader::Reader},
    telemetry::{self, About, Operation, Told},
    vfs::{OsVfs, Vfs},
    write::{
        guard::Guard,
        request::{Change, Reply, Request},
    },
};

/// A handle to an open database: cheap to clone, `Send + Sync`, usable from any number of tasks, on
/// any runtime.
///
/// Every method that can wait is `async` and cancel-safe: a future that is dropped before its request
/// is queued has done nothing; after that the commit may still happen in full. No method blocks a
/// runtime's worker. When the last handle is dropped, everything acknowledged is already durable (in
/// the sense of the sync mode) and the database ends in the background; [`PulseDB::close`] waits for
/// that and reports its outcome.
///
/// ```
/// # fn main() -> pulsedb::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// use pulsedb::{Config, EmbeddingDimension, NewExperience, PulseDB};
///
/// let config = Config::external(EmbeddingDimension::Custom(3));
/// let db = PulseDB::open(dir.path(), config).await?;
/// let team = db.create_collective("team").await?;
/// let id = db
///     .record_experience(NewExperience {
///         embedding: Some(vec![0.1, 0.2, 0.9]),
///         ..NewExperience::new(team, "agent-1", "Retry with jitter, or all clients come back at once.")
///     })
///     .await?;
/// let found = db.search_similar(team, &[0.1, 0.2, 1.0], 5).await?;
/// assert_eq!(found[0].experience.id, id);
/// db.close().await?;
/// # Ok(())
/// # })
/// # }
/// ```
#[derive(Clone)]
pub struct PulseDB {
    handle: Arc<Handle>,
    /// Whether this handle's calls may block the thread they are made on.
    may_block: bool,
    /// What its reads see, if that is not what is newest.
    fixed: Option<Arc<Reader>>,
}

/// What a change without a body takes: its record, and its place in queue and group.
const CHANGE_BYTES: usize = 256;

/// The last of these to go starts the end.
struct Handle(Arc<Engine>);

impl Drop for Handle {
    fn drop(&mut self) {
        self.0.stop();
    }
}

impl std::fmt::Debug for PulseDB {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("PulseDB")
            .field("path", &self.engine().path)
            .field("instance", &self.engine().instance)
            .finish_non_exhaustive()
    }
}

/// Lifecycle.
impl PulseDB {
    /// Opens the database in the directory `path` for writing, creating it where there is none.
    ///
    /// # Errors
    /// [`PulseDBError::Locked`] at once while another writer has it open, [`PulseDBError::Config`] for a
    /// configuration that cannot work or a directory that holds something else,
    /// [`PulseDBError::Version`] for files of a newer format.
    pub async fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        let embedder = provided_embedder(&config);
        Self::open_on(
            path.as_ref(),
            config,
            embedder,
            Arc::new(OsVfs),
            Arc::new(OsEnv),
        )
        .await
    }

    /// The same as [`PulseDB::open`], for whoever likes to say so.
    ///
    /// # Errors
    /// As [`PulseDB::open`].
    pub async fn open_write(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        Self::open(path, config).await
    }

    /// Opens an existing database for reading, also beside a writer in this process or another one, which
    /// it follows: every commit shows some microseconds after it is durable, whole and in order, and
    /// watches tell of it. A single call sees one snapshot. The handle writes nothing, and outlives the
    /// writer; [`FollowHealth`](crate::FollowHealth) in its health says how far it has come. Activities
    /// show those heartbeats that were logged.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
    /// # runtime.block_on(async {
    /// use pulsedb::{Config, EmbeddingDimension, NewExperience, PulseDB};
    ///
    /// let config = Config::external(EmbeddingDimension::Custom(2));
    /// let writer = PulseDB::open(dir.path(), config.clone()).await?;
    /// let team = writer.create_collective("team").await?;
    /// let reader = PulseDB::open_read_only(dir.path(), config).await?;
    /// let mut events = reader.watch_experiences(team).await?;
    /// let id = writer
    ///     .record_experience(NewExperience {
    ///         embedding: Some(vec![0.6, 0.8]),
    ///         ..NewExperience::new(team, "agent-1", "Written by one, read by the other.")
    ///     })
    ///     .await?;
    /// let event = events.recv().await.unwrap()?;
    /// assert_eq!(event.experience.as_ref().unwrap().id, id);
    /// assert_eq!(reader.get_experience(id).await?.content, "Written by one, read by the other.");
    /// # reader.close().await?;
    /// # writer.close().await
    /// # })
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Io`] where there is no database.
    pub async fn open_read_only(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        let config = Config {
            read_only: true,
            ..config
        };
        Self::open(path, config).await
    }

    /// Opens with an embedder of the application's own; the configuration's provider is ignored.
    ///
    /// # Errors
    /// As [`PulseDB::open`], and [`PulseDBError::Config`] where the embedder's dimension is not the
    /// configuration's.
    pub async fn open_with_embedder(
        path: impl AsRef<Path>,
        config: Config,
        embedder: Arc<dyn Embedder>,
    ) -> Result<Self> {
        Self::open_on(
            path.as_ref(),
            config,
            Some(embedder),
            Arc::new(OsVfs),
            Arc::new(OsEnv),
        )
        .await
    }

    /// Opens on a file system and a clock of the caller's, such as the simulated ones.
    ///
    /// # Errors
    /// As [`PulseDB::open`].
    #[cfg(feature = "sim")]
    pub async fn open_simulated(
        path: impl AsRef<Path>,
        config: Config,
        vfs: impl Vfs + 'static,
        env: impl Env + 'static,
    ) -> Result<Self> {
        let embedder = provided_embedder(&config);
        Self::open_on(
            path.as_ref(),
            config,
            embedder,
            Arc::new(vfs),
            Arc::new(env),
        )
        .await
    }

    /// Has a handle that only reads look at the files now, as it does by itself when they change. For tests
    /// on a simulated file system, which tells nobody.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    #[cfg(feature = "sim")]
    #[doc(hidden)]
    pub async fn look_at_files(&self) -> Result<()> {
        let engine = Arc::clone(self.engine());
        let look = move || {
            let follower = engine.follower.as_ref();
            follower.is_some_and(|follower| follower.look(true))
        };
        self.engine().readers.run(look).await.map(drop)
    }

    async fn open_on(
        path: &Path,
        config: Config,
        embedder: Option<Arc<dyn Embedder>>,
        vfs: Arc<dyn Vfs>,
        env: Arc<dyn Env>,
    ) -> Result<Self> {
        let dimension = config.embedding_dimension.get();
        if let Some(embedder) = &embedder
            && embedder.dimension() != dimension
        {
            return Err(PulseDBError::config(
                "embedding_dimension",
                format!(
                    "{dimension}, but the embedder makes {}",
                    embedder.dimension()
                ),
            ));
        }
        telemetry::describe();
        let default_collective = config.default_collective.clone();
        let path = std::path::absolute(path).map_err(PulseDBError::io("find", path))?;
        registry::wait_for_end(&path).await;
        let engine = pool::run_once("open", move || {
            Engine::open(&path, config, embedder, &vfs, env)
        })?
        .await??;
        let db = Self {
            handle: Arc::new(Handle(engine)),
            may_block: false,
            fixed: None,
        };
        if let Some(name) = default_collective
            && !db.is_read_only()
        {
            db.get_or_create_collective(&name).await?;
        }
        Ok(db)
    }

    /// Ends the database: waits until everything queued is committed, writes the clean end and
    /// releases the files. All clones of this handle answer [`PulseDBError::Closed`] from now on.
    /// Closing again waits for the same end.
    ///
    /// # Errors
    /// What stopped the writer, if something did; the files are released all the same.
    pub async fn close(&self) -> Result<()> {
        self.engine().stop();
        self.engine().ended().await
    }

    /// Makes everything acknowledged durable, whatever the sync mode.
    ///
    /// # Errors
    /// [`PulseDBError::Io`] where the system refuses; the handle then writes no more.
    pub async fn flush(&self) -> Result<()> {
        self.commit(vec![Change::Flush], 0).await.map(drop)
    }

    /// From now on the crate's own caches take at most so many MiB (see [`Config::cache_size_mb`]); what is too
    /// much is forgotten at once. 0 keeps nothing. For this open database, through whatever handle;
    /// [`config`](Self::config) goes on telling what it was opened with.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{Config, EmbeddingDimension, blocking::PulseDB};
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::D384))?;
    /// db.set_cache_size_mb(8)?;
    /// # db.close()
    /// # }
    /// ```
    ///
    /// # Errors
    /// [`PulseDBError::Config`] above [`Config::MAX_CACHE_SIZE_MB`].
    pub fn set_cache_size_mb(&self, mib: usize) -> Result<()> {
        let config = Config {
            cache_size_mb: mib,
            ..self.config().clone()
        };
        config.check()?;
        if let Some(embedder) = &self.engine().embedder {
            embedder.set_bytes(config.cache_bytes());
        }
        Ok(())
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &Config {
        &self.engine().config
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        &self.engine().path
    }

    /// Its identity, for ever.
    pub fn instance_id(&self) -> InstanceId {
        self.engine().instance
    }

    /// Whether this handle cannot write.
    pub fn is_read_only(&self) -> bool {
        self.engine().committer.is_none()
    }

    /// What the database is and how large.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn metadata(&self) -> Result<DatabaseMetadata> {
        let engine = self.engine();
        let reader = engine.reader()?;
        let segments = reader.view.segments.segments();
        Ok(DatabaseMetadata {
            instance_id: engine.instance,
            format_version: FORMAT_VERSION,
            created_at: engine.manifest.current().created_at,
            cursor: reader.view.cursor,
            path: engine.path.clone(),
            segments: segments.len() as u64,
            log_bytes: segments.iter().map(|segment| segment.end()).sum(),
            collectives: reader.view.tables.len() as u64,
        })
    }
}

/// What the other methods are made of.
impl PulseDB {
    pub(crate) fn engine(&self) -> &Arc<Engine> {
        &self.handle.0
    }

    /// The same database for a caller that may block: its commits and reads run on its own thread
    /// where that saves a hand-off.
    pub(crate) fn for_blocking(self) -> Self {
        Self {
            may_block: true,
            ..self
        }
    }

    /// Commits `changes`, all or none, which take `bytes` in the queue beside a constant.
    async fn commit(&self, changes: Vec<Change>, bytes: usize) -> Result<Vec<Reply>> {
        self.commit_if(None, changes, bytes).await
    }

    /// The same, if everything still is as `guard` has seen it.
    async fn commit_if(
        &self,
        guard: Option<Box<Guard>>,
        changes: Vec<Change>,
        bytes: usize,
    ) -> Result<Vec<Reply>> {
        let engine = self.engine();
        let about = observing::about(&changes, guard.is_some());
        let call = engine.telemetry.begin(about);
        let submitted = self.submit(guard, changes, bytes);
        let replies = submitted.instrument(call.span().clone()).await;
        let lsn = engine.published.with(|view| view.map(|view| view.lsn()));
        call.end(
            replies,
            Told {
                lsn,
                ..Told::default()
            },
        )
    }

    async fn submit(
        &self,
        guard: Option<Box<Guard>>,
        changes: Vec<Change>,
        bytes: usize,
    ) -> Result<Vec<Reply>> {
        let engine = self.engine();
        let committer = engine.committer()?;
        let bytes = bytes + changes.len() * CHANGE_BYTES;
        let limit = engine.config.max_commit_bytes;
        if bytes > limit {
            return Err(PulseDBError::validation(
                "commit",
                format!("{bytes} bytes"),
                format!("config.max_commit_bytes is {limit}; split the batch"),
            ));
        }
        let permit = engine.admission.admit(bytes).await?;
        let mut changes = changes.into_iter();
        let Some(first) = changes.next() else {
            return Ok(Vec::new());
        };
        let request = Request {
            first,
            rest: changes.collect(),
            guard,
            room: Box::new(permit),
        };
        let ticket = if self.may_block {
            committer.submit_lending(request)
        } else {
            committer.submit(request)
        };
        ticket.map_err(stopped_error)?.await
    }

    /// Commits one change.
    async fn commit_one(&self, change: Change, bytes: usize) -> Result<Reply> {
        let replies = self.commit(vec![change], bytes).await?;
        Ok(replies.into_iter().next().unwrap_or(Reply::Done))
    }

    /// What a call sees.
    fn reader(&self) -> Result<Reader> {
        match &self.fixed {
            Some(reader) => Ok(Reader {
                fixed: true,
                ..Reader::clone(reader)
            }),
            None => self.engine().reader(),
        }
    }

    /// The same for a read of one experience, which only looks at it.
    fn with_point<R>(&self, id: ExperienceId, look: impl FnOnce(&Point<'_>) -> R) -> Result<R> {
        match &self.fixed {
            Some(reader) => Ok(look(&reader.point())),
            None => self.engine().with_point(id, look),
        }
    }

    /// Answers a question that may take its time.
    async fn read<T: Send + 'static>(
        &self,
        about: impl Into<About>,
        question: impl FnOnce(&Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        self.read_telling(about, |reader, _| question(reader)).await
    }

    /// The same for one about one experience that takes about a microsecond: where the caller may wait, its thread
    /// does it without ceremony.
    async fn read_briefly<T: Send + 'static>(
        &self,
        operation: Operation,
        id: ExperienceId,
        question: impl Fn(&Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        if self.may_block {
            let here = || {
                let reader = match &self.fixed {
                    Some(_) => self.reader()?,
                    None => self.engine().reader_about(id)?,
                };
                question(&reader).map(Some)
            };
            if let Some(answer) = self.engine().telemetry.briefly(operation, here)? {
                return Ok(answer);
            }
        }
        self.read(operation, question).await
    }

    /// The same for one whose answer says more of the call.
    async fn read_telling<T: Send + 'static>(
        &self,
        about: impl Into<About>,
        question: impl FnOnce(&Reader, &mut Told) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let call = self.engine().telemetry.begin(about);
        let span = call.span().clone();
        let asked = self
            .ask(move |reader| {
                let mut told = Told {
                    lsn: Some(reader.lsn()),
                    ..Told::default()
                };
                let answer = span.in_scope(|| question(reader, &mut told));
                Ok((answer, told))
            })
            .await;
        match asked {
            Ok((answer, told)) => call.end(answer, told),
            Err(error) => call.end(Err(error), Told::default()),
        }
    }

    /// The same for what is part of another operation.
    async fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&Reader) -> Result<T> + Send + 'static,
    ) -> Result<T> {
        let reader = self.reader()?;
        if self.may_block {
            question(&reader)
        } else {
            self.engine().readers.run(move || question(&reader)).await?
        }
    }
}

/// The embedder that the configuration names.
fn provided_embedder(config: &Config) -> Option<Arc<dyn Embedder>> {
    match &config.embedding_provider {
        #[cfg(feature = "embed")]
        EmbeddingProvider::Builtin { model_path } => {
            Some(Arc::new(crate::embed::Builtin::with_model(
                model_path.clone(),
                config.embed_threads,
                config.embedding_dimension.get(),
                config.model.clone(),
            )))
        }
        EmbeddingProvider::External => None,
    }
}
