//! The database as it was at one commit.

use crate::{
    db::{ExperienceStream, ExportStream, PulseDB, tail::CommitterTail},
    error::{PulseDBError, Result},
    model::{
        Activity, AgentId, Collective, CollectiveId, CollectiveStats, ContextCandidates,
        ContextRequest, Cursor, DerivedInsight, Experience, ExperienceId, ExperienceRelation,
        ExportOptions, InsightFilter, InsightHit, InsightId, Lsn, Neighbour, Page, PageResult,
        Query, RelatedExperience, RelationDirection, RelationFilter, RelationId, RelationType,
        SearchExplanation, SearchFilter, SearchHit, SearchOptions, Timestamp, UserId,
    },
    read::reader::Reader,
    sync::Arc,
    telemetry::Operation,
};

/// A view of the whole database, fixed at one commit and one moment: what it answers never changes,
/// whatever is committed, deleted or compacted meanwhile. Expiry and energy are as of its moment.
/// Of heartbeats it shows those that were logged; see [`PulseDB::update_heartbeat`].
///
/// Cheap to clone. While it lives, the versions that it shows stay in memory and in the log's files,
/// and the database does not end by itself; it goes on answering after [`PulseDB::close`].
///
/// ```
/// # fn main() -> pulsedb::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// # use pulsedb::{Config, EmbeddingDimension, NewExperience, PulseDB};
/// # let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2))).await?;
/// # let team = db.create_collective("team").await?;
/// # let id = db.record_experience(NewExperience {
/// #     embedding: Some(vec![0.6, 0.8]), ..NewExperience::new(team, "a", "outdated") }).await?;
/// let before = db.snapshot().await?;
/// db.delete_experience(id).await?;
/// assert!(db.get_experience(id).await.is_err());
/// assert_eq!(before.get_experience(id).await?.content, "outdated");
/// # db.close().await
/// # })
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot {
    db: PulseDB,
    cursor: Cursor,
    now: Timestamp,
}

/// Snapshots.
impl PulseDB {
    /// The database as it is now, for as long as the snapshot lives.
    ///
    /// # Errors
    /// [`PulseDBError::Closed`].
    pub async fn snapshot(&self) -> Result<Snapshot> {
        Ok(self.fixed_at(self.reader()?))
    }

    /// The database as it was at `lsn`, or rather right after the last commit at or before it: as far
    /// back as `Config::retention`, or an older snapshot that is still held, reaches. Expiry is as of
    /// now.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] naming how far history reaches, for an LSN outside of it;
    /// [`PulseDBError::ReadOnly`] for any but the newest on a handle that only reads, which keeps no history of its own.
    pub async fn snapshot_at(&self, lsn: Lsn) -> Result<Snapshot> {
        let tail = CommitterTail(Arc::downgrade(self.engine()));
        let reader = self
            .read(Operation::Snapshot, move |now| {
                if lsn == now.lsn() {
                    return Ok(Reader::clone(now));
                }
                Ok(Reader {
                    view: tail.snapshot_at(lsn)?,
                    ..Reader::clone(now)
                })
            })
            .await?;
        Ok(self.fixed_at(reader))
    }

    /// The database as it was at `time`: right after the last commit made at or before it. Expiry is as
    /// of then.
    ///
    /// # Errors
    /// As [`PulseDB::snapshot_at`]; also for a time before the first commit.
    pub async fn snapshot_at_time(&self, time: Timestamp) -> Result<Snapshot> {
        let lsn = self
            .read(Operation::Snapshot, move |now| {
                now.view.segments.commit_at_time(time).ok_or_else(|| {
                    PulseDBError::validation("time", time, "nothing was committed by then")
                })
            })
            .await?;
        let mut snapshot = self.snapshot_at(lsn).await?;
        snapshot.set_now(time);
        Ok(snapshot)
    }

    fn fixed_at(&self, reader: Reader) -> Snapshot {
        Snapshot {
            cursor: reader.view.cursor,
            now: reader.now,
            db: Self {
                fixed: Some(Arc::new(reader)),
                ..self.clone()
            },
        }
    }
}

impl Snapshot {
    /// The commit that it is fixed at.
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.cursor
    }

    /// The moment that expiry and energy are computed for.
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.now
    }

    fn set_now(&mut self, now: Timestamp) {
        self.now = now;
        if let Some(reader) = &mut self.db.fixed {
            Arc::make_mut(reader).now = now;
        }
    }
}

/// Methods that differ from those of the database in nothing but the moment.
macro_rules! reading {
    ($($name:ident($($arg:ident: $type:ty),*) -> $output:ty;)+) => {
        /// Reading.
        impl Snapshot {$(
            #[doc = concat!("See [`PulseDB::", stringify!($name), "`].")]
            ///
            /// # Errors
            /// As there.
            pub async fn $name(&self, $($arg: $type),*) -> Result<$output> {
                self.db.$name($($arg),*).await
            }
        )+}
    };
}

reading! {
    get_collective(id: CollectiveId) -> Option<Collective>;
    list_collectives() -> Vec<Collective>;
    list_collectives_by_owner(owner: &UserId) -> Vec<Collective>;
    get_collective_stats(id: CollectiveId) -> CollectiveStats;
    get_experience(id: ExperienceId) -> Experience;
    get_experiences(ids: &[ExperienceId]) -> Vec<Option<Experience>>;
    energy(id: ExperienceId) -> f32;
    get_experience_as_of(id: ExperienceId, as_of: Timestamp) -> Experience;
    energies(ids: &[ExperienceId]) -> Vec<Option<f32>>;
    list_cold_experiences(collective: CollectiveId, limit: usize) -> Vec<Experience>;
    first_n(collective: CollectiveId, n: usize) -> Vec<Experience>;
    last_n(collective: CollectiveId, n: usize) -> Vec<Experience>;
    stream_experiences(collective: CollectiveId, page: Page) -> ExperienceStream;
    export(collective: CollectiveId, options: ExportOptions) -> ExportStream;
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
    get_activity(collective: CollectiveId, agent: &AgentId) -> Option<Activity>;
    get_active_agents(collective: CollectiveId) -> Vec<Activity>;
    list_stale_activities(collective: CollectiveId) -> Vec<Activity>;
}
