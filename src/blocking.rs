//! The database for programs without a runtime.
//!
//! The same methods as [`crate::PulseDB`], waiting on the calling thread. Where the committer is idle
//! the caller commits itself, which saves two hand-offs; reads run on the caller's thread. For
//! threads that may block: not for a runtime's workers.

use std::{
    error::Error,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use futures_core::Stream;

use crate::{
    config::Config,
    db::{self, Reranker},
    edge::block_on::block_on,
    embed::Embedder,
    error::Result,
    model::{
        Activity, AgentId, BackupId, BackupInfo, BackupList, BackupOptions, BackupProgress,
        BackupReport, BackupRetention, Changes, Collective, CollectiveId, CollectiveStats,
        CompactionProgress, CompactionReport, ContextCandidates, ContextRequest, Cursor,
        DatabaseMetadata, DecayConfig, DerivedInsight, Diagnosis, ErasureReport, Experience,
        ExperienceId, ExperienceRelation, ExperienceUpdate, ExportOptions, Fragmentation, Health,
        ImportOptions, ImportReport, InsightFilter, InsightHit, InsightId, InstanceId, LogOptions,
        LogPage, Metrics, Neighbour, NewActivity, NewExperience, NewInsight, NewRelation, Page,
        PageResult, Progress, PruneReport, Query, RecordOptions, RecordOutcome, ReembedReport,
        RelatedExperience, RelationDirection, RelationFilter, RelationId, RelationType,
        RestoreOptions, RestorePoint, RestoreReport, SalvageReport, SearchExplanation,
        SearchFilter, SearchHit, SearchOptions, Timestamp, UpkeepStatus, UserId, VerifyProgress,
        VerifyReport,
    },
    read::experience_view::ExperienceView,
};

mod ears;
mod snapshot;
mod streams;
mod transaction;
mod waiting;

pub use snapshot::Snapshot;
pub use streams::{ChangeFeed, WatchItems, WatchStream};
pub use transaction::Transaction;
use waiting::waiting;

/// A handle to an open database whose methods wait on the calling thread.
///
/// ```
/// use pulsedb::{Config, EmbeddingDimension, NewExperience, blocking::PulseDB};
///
/// # fn main() -> pulsedb::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
/// let notes = db.create_collective("notes")?;
/// let id = db.record_experience(NewExperience {
///     embedding: Some(vec![0.6, 0.8]),
///     ..NewExperience::new(notes, "me", "Blocking callers commit on their own thread.")
/// })?;
/// assert_eq!(db.get_experience(id)?.embedding, [0.6, 0.8]);
/// db.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct PulseDB(db::PulseDB);

/// The experiences of a collective, for a thread that may wait; see [`crate::ExperienceStream`].
#[derive(Debug)]
pub struct ExperienceStream(db::ExperienceStream);

impl Iterator for ExperienceStream {
    type Item = Result<Experience>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.0.recv_here()
    }
}

/// The lines of an export, for a thread that may wait; see [`crate::ExportStream`].
#[derive(Debug)]
pub struct ExportStream(db::ExportStream);

impl Iterator for ExportStream {
    type Item = Result<String>;

    fn next(&mut self) -> Option<Self::Item> {
        self.0.0.recv_here()
    }
}

/// Lines that are there when they are asked for, or for which the thread may wait.
struct Lines<I>(I);

impl<I: Iterator + Unpin> Stream for Lines<I> {
    type Item = I::Item;

    fn poll_next(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        Poll::Ready(self.0.next())
    }
}

/// Opening.
impl PulseDB {
    /// See [`crate::PulseDB::open`].
    ///
    /// # Errors
    /// As there.
    pub fn open(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        block_on(db::PulseDB::open(path, config)).map(Self::from)
    }

    /// See [`crate::PulseDB::open_write`].
    ///
    /// # Errors
    /// As there.
    pub fn open_write(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        Self::open(path, config)
    }

    /// See [`crate::PulseDB::open_read_only`].
    ///
    /// # Errors
    /// As there.
    pub fn open_read_only(path: impl AsRef<Path>, config: Config) -> Result<Self> {
        block_on(db::PulseDB::open_read_only(path, config)).map(Self::from)
    }

    /// See [`crate::PulseDB::open_with_embedder`].
    ///
    /// # Errors
    /// As there.
    pub fn open_with_embedder(
        path: impl AsRef<Path>,
        config: Config,
        embedder: Arc<dyn Embedder>,
    ) -> Result<Self> {
        block_on(db::PulseDB::open_with_embedder(path, config, embedder)).map(Self::from)
    }

    /// See [`crate::PulseDB::salvage`].
    ///
    /// # Errors
    /// As there.
    pub fn salvage(source: impl AsRef<Path>, dest: impl AsRef<Path>) -> Result<SalvageReport> {
        block_on(db::PulseDB::salvage(source, dest))
    }

    /// See [`crate::PulseDB::salvage_with`].
    ///
    /// # Errors
    /// As there.
    pub fn salvage_with(
        source: impl AsRef<Path>,
        dest: impl AsRef<Path>,
        tell: impl FnMut(VerifyProgress) + Send + 'static,
    ) -> Result<SalvageReport> {
        block_on(db::PulseDB::salvage_with(source, dest, tell))
    }

    /// See [`crate::PulseDB::list_backups`].
    ///
    /// # Errors
    /// As there.
    pub fn list_backups(dir: impl AsRef<Path>) -> Result<BackupList> {
        block_on(db::PulseDB::list_backups(dir))
    }

    /// See [`crate::PulseDB::verify_backup`].
    ///
    /// # Errors
    /// As there.
    pub fn verify_backup(dir: impl AsRef<Path>, id: BackupId) -> Result<BackupReport> {
        block_on(db::PulseDB::verify_backup(dir, id))
    }

    /// See [`crate::PulseDB::verify_backup_with`].
    ///
    /// # Errors
    /// As there.
    pub fn verify_backup_with(
        dir: impl AsRef<Path>,
        id: BackupId,
        tell: impl FnMut(BackupProgress) + Send + 'static,
    ) -> Result<BackupReport> {
        block_on(db::PulseDB::verify_backup_with(dir, id, tell))
    }

    /// See [`crate::PulseDB::prune_backups`].
    ///
    /// # Errors
    /// As there.
    pub fn prune_backups(dir: impl AsRef<Path>, retention: BackupRetention) -> Result<PruneReport> {
        block_on(db::PulseDB::prune_backups(dir, retention))
    }

    /// See [`crate::PulseDB::restore`].
    ///
    /// # Errors
    /// As there.
    pub fn restore(
        dir: impl AsRef<Path>,
        id: BackupId,
        to: impl AsRef<Path>,
        options: RestoreOptions,
    ) -> Result<RestoreReport> {
        block_on(db::PulseDB::restore(dir, id, to, options))
    }

    /// See [`crate::PulseDB::restore_with`].
    ///
    /// # Errors
    /// As there.
    pub fn restore_with(
        dir: impl AsRef<Path>,
        id: BackupId,
        to: impl AsRef<Path>,
        options: RestoreOptions,
        tell: impl FnMut(BackupProgress) + Send + 'static,
    ) -> Result<RestoreReport> {
        block_on(db::PulseDB::restore_with(dir, id, to, options, tell))
    }

    /// See [`crate::PulseDB::restore_until`].
    ///
    /// # Errors
    /// As there.
    pub fn restore_until(
        dir: impl AsRef<Path>,
        point: RestorePoint,
        to: impl AsRef<Path>,
    ) -> Result<RestoreReport> {
        block_on(db::PulseDB::restore_until(dir, point, to))
    }

    /// As [`PulseDB::set_cache_size_mb`](db::PulseDB::set_cache_size_mb).
    ///
    /// # Errors
    /// As [`PulseDB::set_cache_size_mb`](db::PulseDB::set_cache_size_mb).
    pub fn set_cache_size_mb(&self, mib: usize) -> Result<()> {
        self.0.set_cache_size_mb(mib)
    }

    /// The configuration it was opened with.
    pub fn config(&self) -> &Config {
        self.0.config()
    }

    /// Its directory.
    pub fn path(&self) -> &Path {
        self.0.path()
    }

    /// Its identity, for ever.
    pub fn instance_id(&self) -> InstanceId {
        self.0.instance_id()
    }

    /// Whether this handle cannot write.
    pub fn is_read_only(&self) -> bool {
        self.0.is_read_only()
    }

    /// See [`crate::PulseDB::stream_experiences`].
    ///
    /// # Errors
    /// As there.
    pub fn stream_experiences(
        &self,
        collective: CollectiveId,
        page: Page,
    ) -> Result<ExperienceStream> {
        block_on(self.0.stream_experiences(collective, page)).map(ExperienceStream)
    }

    /// See [`crate::PulseDB::export`].
    ///
    /// # Errors
    /// As there.
    pub fn export(&self, collective: CollectiveId, options: ExportOptions) -> Result<ExportStream> {
        block_on(self.0.export(collective, options)).map(ExportStream)
    }

    /// See [`crate::PulseDB::import`]; `BufRead::lines` makes such lines of a file.
    ///
    /// # Errors
    /// As there.
    pub fn import<L, E>(
        &self,
        collective: Option<CollectiveId>,
        lines: impl IntoIterator<Item = Result<L, E>, IntoIter: Send + Unpin>,
        options: ImportOptions,
    ) -> Result<ImportReport>
    where
        L: AsRef<str> + Send,
        E: Error + Send + Sync + 'static,
    {
        block_on(self.0.import(collective, Lines(lines.into_iter()), options))
    }

    /// See [`crate::PulseDB::import_with`].
    ///
    /// # Errors
    /// As there.
    pub fn import_with<L, E>(
        &self,
        collective: Option<CollectiveId>,
        lines: impl IntoIterator<Item = Result<L, E>, IntoIter: Send + Unpin>,
        options: ImportOptions,
        tell: impl FnMut(Progress) + Send,
    ) -> Result<ImportReport>
    where
        L: AsRef<str> + Send,
        E: Error + Send + Sync + 'static,
    {
        let lines = Lines(lines.into_iter());
        block_on(self.0.import_with(collective, lines, options, tell))
    }
}

impl From<db::PulseDB> for PulseDB {
    /// The same database, for a thread that may block.
    fn from(db: db::PulseDB) -> Self {
        Self(db.for_blocking())
    }
}

waiting! {
    /// Everything else.
    impl PulseDB(self: &Self);
    close() -> ();
    flush() -> ();
    checkpoint() -> Cursor;
    metadata() -> DatabaseMetadata;
    health_check() -> Health;
    metrics() -> Metrics;
    current_cursor() -> Cursor;
    poll_changes(since: Cursor, limit: usize) -> Changes;
    create_collective(name: &str) -> CollectiveId;
    create_collective_with_owner(name: &str, owner: impl Into<UserId>) -> CollectiveId;
    get_or_create_collective(name: &str) -> CollectiveId;
    get_collective(id: CollectiveId) -> Option<Collective>;
    list_collectives() -> Vec<Collective>;
    list_collectives_by_owner(owner: &UserId) -> Vec<Collective>;
    get_collective_stats(id: CollectiveId) -> CollectiveStats;
    set_decay_config(id: CollectiveId, decay: DecayConfig) -> ();
    delete_collective(id: CollectiveId) -> ();
    record_experience(new: NewExperience) -> ExperienceId;
    record_experiences(batch: Vec<NewExperience>) -> Vec<ExperienceId>;
    update_experience(id: ExperienceId, update: ExperienceUpdate) -> ();
    set_tag(id: ExperienceId, key: &str, value: &str) -> ();
    remove_tag(id: ExperienceId, key: &str) -> ();
    archive_experience(id: ExperienceId) -> ();
    unarchive_experience(id: ExperienceId) -> ();
    reinforce_experience(id: ExperienceId) -> u32;
    delete_experience(id: ExperienceId) -> ();
    get_experience(id: ExperienceId) -> Experience;
    get_experience_view(id: ExperienceId) -> ExperienceView;
    get_experiences(ids: &[ExperienceId]) -> Vec<Option<Experience>>;
    energy(id: ExperienceId) -> f32;
    get_experience_as_of(id: ExperienceId, as_of: Timestamp) -> Experience;
    energies(ids: &[ExperienceId]) -> Vec<Option<f32>>;
    list_cold_experiences(collective: CollectiveId, limit: usize) -> Vec<Experience>;
    first_n(collective: CollectiveId, n: usize) -> Vec<Experience>;
    last_n(collective: CollectiveId, n: usize) -> Vec<Experience>;
    list_experiences(collective: CollectiveId, page: Page) -> PageResult<Experience>;
    get_recent_experiences(collective: CollectiveId, limit: usize) -> Vec<Experience>;
    get_recent_experiences_filtered(
        collective: CollectiveId,
        limit: usize,
        filter: SearchFilter
    ) -> Vec<Experience>;
    search_similar(collective: CollectiveId, query: &[f32], k: usize) -> Vec<SearchHit>;
    search_similar_filtered(
        collective: CollectiveId,
        query: &[f32],
        k: usize,
        filter: SearchFilter
    ) -> Vec<SearchHit>;
    search(
        collective: CollectiveId,
        query: impl Into<Query> + Send,
        options: SearchOptions
    ) -> Vec<SearchHit>;
    search_batch(
        collective: CollectiveId,
        queries: &[Vec<f32>],
        options: SearchOptions
    ) -> Vec<Vec<SearchHit>>;
    search_text(collective: CollectiveId, query: &str, options: SearchOptions) -> Vec<SearchHit>;
    explain(
        collective: CollectiveId,
        query: impl Into<Query> + Send,
        options: SearchOptions
    ) -> SearchExplanation;
    search_reranked(
        collective: CollectiveId,
        query: impl Into<Query> + Send,
        options: SearchOptions,
        reranker: Arc<dyn Reranker>
    ) -> Vec<SearchHit>;
    rebuild_index(collective: CollectiveId) -> ();
    store_relation(new: NewRelation) -> RelationId;
    delete_relation(id: RelationId) -> ();
    store_insight(new: NewInsight) -> InsightId;
    delete_insight(id: InsightId) -> ();
    get_relation(id: RelationId) -> Option<ExperienceRelation>;
    get_related_experiences(
        id: ExperienceId,
        direction: RelationDirection
    ) -> Vec<RelatedExperience>;
    get_related_experiences_filtered(
        id: ExperienceId,
        filter: RelationFilter
    ) -> Vec<RelatedExperience>;
    get_relations(id: ExperienceId, filter: RelationFilter) -> Vec<ExperienceRelation>;
    list_relations(collective: CollectiveId, page: Page) -> PageResult<ExperienceRelation>;
    list_insights(collective: CollectiveId, page: Page) -> PageResult<DerivedInsight>;
    neighbourhood(id: ExperienceId, depth: usize, types: Vec<RelationType>) -> Vec<Neighbour>;
    get_context_candidates(request: ContextRequest) -> ContextCandidates;
    get_insight(id: InsightId) -> Option<DerivedInsight>;
    get_insights(collective: CollectiveId, query: &[f32], k: usize) -> Vec<InsightHit>;
    get_insights_filtered(
        collective: CollectiveId,
        query: &[f32],
        k: usize,
        filter: InsightFilter
    ) -> Vec<InsightHit>;
    search_insights(
        collective: CollectiveId,
        query: impl Into<Query> + Send,
        k: usize,
        filter: InsightFilter
    ) -> Vec<InsightHit>;
    get_insights_by_text(
        collective: CollectiveId,
        query: &str,
        k: usize,
        filter: InsightFilter
    ) -> Vec<InsightHit>;

    backup(dir: impl AsRef<Path>, options: BackupOptions) -> BackupInfo;
    backup_with(
        dir: impl AsRef<Path>,
        options: BackupOptions,
        tell: impl FnMut(BackupProgress) + Send + 'static
    ) -> BackupInfo;
    compact() -> CompactionReport;
    compact_with(observe: impl Fn(CompactionProgress) + Send + 'static) -> CompactionReport;
    fragmentation() -> Fragmentation;
    erase(id: ExperienceId) -> ErasureReport;
    diagnose() -> Diagnosis;
    read_log(options: LogOptions) -> LogPage;
    verify() -> VerifyReport;
    reembed(
        collective: CollectiveId,
        embedder: Option<Arc<dyn Embedder>>
    ) -> ReembedReport;
    reembed_with(
        collective: CollectiveId,
        embedder: Option<Arc<dyn Embedder>>,
        tell: impl FnMut(Progress) + Send
    ) -> ReembedReport;
    cancel_reembed(collective: CollectiveId) -> ();
    verify_with(tell: impl FnMut(VerifyProgress) + Send + 'static) -> VerifyReport;
    register_activity(new: NewActivity) -> ();
    update_heartbeat(collective: CollectiveId, agent: &AgentId) -> ();
    end_activity(collective: CollectiveId, agent: &AgentId) -> ();
    get_activity(collective: CollectiveId, agent: &AgentId) -> Option<Activity>;
    get_active_agents(collective: CollectiveId) -> Vec<Activity>;
    list_stale_activities(collective: CollectiveId) -> Vec<Activity>;
    record_experience_with(new: NewExperience, options: RecordOptions) -> RecordOutcome;
    record_experiences_with(
        batch: Vec<NewExperience>,
        options: RecordOptions
    ) -> Vec<RecordOutcome>;
    record_experiences_telling(
        batch: Vec<NewExperience>,
        tell: impl FnMut(Progress) + Send
    ) -> Vec<ExperienceId>;
    supersede_experience(old: ExperienceId, new: NewExperience) -> ExperienceId;
    expire() -> usize;
    archive_cold(collective: CollectiveId) -> usize;
    pause_upkeep() -> ();
    resume_upkeep() -> ();
    upkeep_status() -> UpkeepStatus;
}
