//! Transactions for programs without a runtime.

use super::{PulseDB, waiting::waiting};
use crate::{
    db,
    edge::block_on::block_on,
    error::Result,
    model::{
        Collective, CollectiveId, Cursor, DecayConfig, DerivedInsight, Experience, ExperienceId,
        ExperienceRelation, ExperienceUpdate, InsightFilter, InsightHit, InsightId, Neighbour,
        NewExperience, NewInsight, NewRelation, Page, PageResult, Query, RelatedExperience,
        RelationDirection, RelationFilter, RelationId, RelationType, SearchFilter, SearchHit,
        SearchOptions, Timestamp, UserId,
    },
};

/// See [`crate::Transaction`]; its methods wait on the calling thread.
///
/// ```
/// use pulsedb::{Config, EmbeddingDimension, NewExperience, blocking::PulseDB};
///
/// # fn main() -> pulsedb::Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
/// let mut tx = db.begin()?;
/// let notes = tx.create_collective("notes")?;
/// tx.record_experience(NewExperience {
///     embedding: Some(vec![0.6, 0.8]),
///     ..NewExperience::new(notes, "me", "The collective and its first note come together.")
/// })?;
/// tx.commit()?;
/// assert_eq!(db.get_recent_experiences(notes, 10)?.len(), 1);
/// db.close()
/// # }
/// ```
#[derive(Debug)]
pub struct Transaction(db::Transaction);

impl PulseDB {
    /// See [`crate::PulseDB::begin`].
    ///
    /// # Errors
    /// As there.
    pub fn begin(&self) -> Result<Transaction> {
        block_on(self.0.begin()).map(Transaction)
    }
}

/// Beginning and end.
impl Transaction {
    /// See [`crate::Transaction::cursor`].
    #[must_use]
    pub fn cursor(&self) -> Cursor {
        self.0.cursor()
    }

    /// See [`crate::Transaction::now`].
    #[must_use]
    pub const fn now(&self) -> Timestamp {
        self.0.now()
    }

    /// See [`crate::Transaction::commit`].
    ///
    /// # Errors
    /// As there.
    pub fn commit(self) -> Result<()> {
        block_on(self.0.commit())
    }

    /// See [`crate::Transaction::rollback`].
    pub fn rollback(self) {
        self.0.rollback();
    }
}

waiting! {
    /// Reading and writing.
    impl Transaction(self: &mut Self);
    create_collective(name: &str) -> CollectiveId;
    create_collective_with_owner(name: &str, owner: impl Into<UserId>) -> CollectiveId;
    get_or_create_collective(name: &str) -> CollectiveId;
    get_collective(id: CollectiveId) -> Option<Collective>;
    list_collectives() -> Vec<Collective>;
    list_collectives_by_owner(owner: &UserId) -> Vec<Collective>;
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
    get_experiences(ids: &[ExperienceId]) -> Vec<Option<Experience>>;
    energy(id: ExperienceId) -> f32;
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
    supersede_experience(old: ExperienceId, new: NewExperience) -> ExperienceId;
    store_relation(new: NewRelation) -> RelationId;
    get_relation(id: RelationId) -> Option<ExperienceRelation>;
    delete_relation(id: RelationId) -> ();
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
    neighbourhood(id: ExperienceId, depth: usize, types: Vec<RelationType>) -> Vec<Neighbour>;
    store_insight(new: NewInsight) -> InsightId;
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
    list_insights(collective: CollectiveId, page: Page) -> PageResult<DerivedInsight>;
    delete_insight(id: InsightId) -> ();
}
