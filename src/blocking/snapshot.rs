//! Snapshots for programs without a runtime.

use super::{ExperienceStream, ExportStream, PulseDB, waiting::waiting};
use crate::{
    db,
    edge::block_on::block_on,
    error::Result,
    model::{
        Activity, AgentId, Collective, CollectiveId, CollectiveStats, ContextCandidates,
        ContextRequest, Cursor, DerivedInsight, Experience, ExperienceId, ExperienceRelation,
        ExportOptions, InsightFilter, InsightHit, InsightId, Lsn, Neighbour, Page, PageResult,
        Query, RelatedExperience, RelationDirection, RelationFilter, RelationId, RelationType,
        SearchExplanation, SearchFilter, SearchHit, SearchOptions, Timestamp, UserId,
    },
};

/// See [`crate::Snapshot`]; its methods wait on the calling thread.
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
///     ..NewExperience::new(notes, "me", "Seen before it was deleted.")
/// })?;
/// let before = db.snapshot()?;
/// db.delete_experience(id)?;
/// assert!(db.get_experience(id).is_err());
/// assert_eq!(before.get_experience(id)?.content, "Seen before it was deleted.");
/// db.close()
/// # }
/// ```
#[derive(Clone, Debug)]
pub struct Snapshot(db::Snapshot);

/// Snapshots.
impl PulseDB {
    /// See [`crate::PulseDB::snapshot`].
    ///
    /// # Errors
    /// As there.
    pub fn snapshot(&self) -> Result<Snapshot> {
        block_on(self.0.snapshot()).map(Snapshot)
    }

    /// See [`crate::PulseDB::snapshot_at`].
    ///
    /// # Errors
    /// As there.
    pub fn snapshot_at(&self, lsn: Lsn) -> Result<Snapshot> {
        block_on(self.0.snapshot_at(lsn)).map(Snapshot)
    }

    /// See [`crate::PulseDB::snapshot_at_time`].
    ///
    /// # Errors
    /// As there.
    pub fn snapshot_at_time(&self, time: Timestamp) -> Result<Snapshot> {
        block_on(self.0.snapshot_at_time(time)).map(Snapshot)
    }
}

impl Snapshot {
    /// See [`crate::Snapshot::cursor`].
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.0.cursor()
    }

    /// See [`crate::Snapshot::now`].
    #[must_use]
    pub fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// See [`crate::Snapshot::stream_experiences`].
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

    /// See [`crate::Snapshot::export`].
    ///
    /// # Errors
    /// As there.
    pub fn export(&self, collective: CollectiveId, options: ExportOptions) -> Result<ExportStream> {
        block_on(self.0.export(collective, options)).map(ExportStream)
    }
}

waiting! {
    /// Reading.
    impl Snapshot(self: &Self);
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
