//! What does an agent framework need of a memory?
//!
//! The core of [`PulseDB`], as a trait that can be used behind `dyn`: a framework that is written against it
//! can be tested with a memory of its own, and given another one later. It leaves out what operates a
//! database; that is done where the database is opened.

use std::pin::Pin;

use crate::{
    db::PulseDB,
    error::Result,
    model::{
        CollectiveId, ContextCandidates, ContextRequest, Experience, ExperienceId,
        ExperienceUpdate, InsightId, NewExperience, NewInsight, NewRelation, Query,
        RelatedExperience, RelationDirection, RelationId, SearchHit, SearchOptions,
    },
    watch::WatchStream,
};

/// An answer to come.
pub type StoreFuture<'a, T> = Pin<Box<dyn Future<Output = Result<T>> + Send + 'a>>;

/// A memory that agents share. Each method does what the one of the same name does in [`PulseDB`], which
/// documents errors and cancel safety.
///
/// ```
/// use std::sync::Arc;
///
/// use pulsedb::{
///     CollectiveId, Config, ContextRequest, EmbeddingDimension, MemoryStore, NewExperience, PulseDB,
///     Result,
/// };
///
/// /// An agent that looks up what is known before it acts, and notes what it learned.
/// struct Agent {
///     memory: Arc<dyn MemoryStore>,
///     team: CollectiveId,
///     name: &'static str,
/// }
///
/// impl Agent {
///     async fn work(&self, task: &str) -> Result<String> {
///         let request = ContextRequest::about_vector(self.team, meaning_of(task));
///         let known = self.memory.get_context_candidates(request).await?;
///         let advice = known.similar.first();
///         if let Some(best) = advice {
///             // It was of use: that keeps it warm.
///             self.memory.reinforce_experience(best.experience.id).await?;
///         }
///         let outcome = match advice {
///             Some(best) => format!("{task}: did as {} found", best.experience.source_agent),
///             None => format!("{task}: found out the hard way"),
///         };
///         self.memory
///             .record_experience(NewExperience {
///                 embedding: Some(meaning_of(task)),
///                 ..NewExperience::new(self.team, self.name, outcome.clone())
///             })
///             .await?;
///         Ok(outcome)
///     }
/// }
///
/// /// Stands for a model.
/// fn meaning_of(text: &str) -> Vec<f32> {
///     let mut meaning = vec![0.1; 26];
///     for letter in text.bytes().filter(u8::is_ascii_lowercase) {
///         meaning[usize::from(letter - b'a')] += 1.0;
///     }
///     meaning
/// }
///
/// # fn main() -> Result<()> {
/// # let dir = tempfile::tempdir().unwrap();
/// # let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
/// # runtime.block_on(async {
/// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(26))).await?;
/// let team = db.create_collective("team").await?;
/// let memory: Arc<dyn MemoryStore> = Arc::new(db.clone());
/// let (ann, bob) = (
///     Agent { memory: Arc::clone(&memory), team, name: "ann" },
///     Agent { memory, team, name: "bob" },
/// );
/// assert_eq!(ann.work("build on arm").await?, "build on arm: found out the hard way");
/// assert_eq!(bob.work("build on arm").await?, "build on arm: did as ann found");
/// # db.close().await
/// # })
/// # }
/// ```
pub trait MemoryStore: Send + Sync {
    /// The collective of this name, made if there is none.
    fn get_or_create_collective<'a>(&'a self, name: &'a str) -> StoreFuture<'a, CollectiveId>;
    /// Records an experience.
    fn record_experience(&self, new: NewExperience) -> StoreFuture<'_, ExperienceId>;
    /// Records many in one commit.
    fn record_experiences(&self, new: Vec<NewExperience>) -> StoreFuture<'_, Vec<ExperienceId>>;
    /// One experience.
    fn get_experience(&self, id: ExperienceId) -> StoreFuture<'_, Experience>;
    /// Changes the fields that `update` names.
    fn update_experience(&self, id: ExperienceId, update: ExperienceUpdate) -> StoreFuture<'_, ()>;
    /// Notes that it was of use; answers how often it was.
    fn reinforce_experience(&self, id: ExperienceId) -> StoreFuture<'_, u32>;
    /// Deletes an experience.
    fn delete_experience(&self, id: ExperienceId) -> StoreFuture<'_, ()>;
    /// The newest experiences, newest first.
    fn get_recent_experiences(
        &self,
        collective: CollectiveId,
        limit: usize,
    ) -> StoreFuture<'_, Vec<Experience>>;
    /// The experiences that a query finds by words, by vector, or by both.
    fn search(
        &self,
        collective: CollectiveId,
        query: Query,
        options: SearchOptions,
    ) -> StoreFuture<'_, Vec<SearchHit>>;
    /// Everything that is known about a query.
    fn get_context_candidates(&self, request: ContextRequest)
    -> StoreFuture<'_, ContextCandidates>;
    /// Stores a relation.
    fn store_relation(&self, new: NewRelation) -> StoreFuture<'_, RelationId>;
    /// The experiences that this one has relations with.
    fn get_related_experiences(
        &self,
        id: ExperienceId,
        direction: RelationDirection,
    ) -> StoreFuture<'_, Vec<RelatedExperience>>;
    /// Stores an insight.
    fn store_insight(&self, new: NewInsight) -> StoreFuture<'_, InsightId>;
    /// Tells of every change in a collective from now on.
    fn watch_experiences(&self, collective: CollectiveId) -> StoreFuture<'_, WatchStream>;
}

/// Methods that call the ones of the same name.
macro_rules! same {
    ($($name:ident$(<$life:lifetime>)?($($arg:ident: $type:ty),*) -> $output:ty;)+) => {$(
        fn $name$(<$life>)?(&$($life)? self, $($arg: $type),*) -> same!(@ $output $(, $life)?) {
            Box::pin(PulseDB::$name(self, $($arg),*))
        }
    )+};
    (@ $output:ty) => { StoreFuture<'_, $output> };
    (@ $output:ty, $life:lifetime) => { StoreFuture<$life, $output> };
}

impl MemoryStore for PulseDB {
    same! {
        get_or_create_collective<'a>(name: &'a str) -> CollectiveId;
        record_experience(new: NewExperience) -> ExperienceId;
        record_experiences(new: Vec<NewExperience>) -> Vec<ExperienceId>;
        get_experience(id: ExperienceId) -> Experience;
        update_experience(id: ExperienceId, update: ExperienceUpdate) -> ();
        reinforce_experience(id: ExperienceId) -> u32;
        delete_experience(id: ExperienceId) -> ();
        get_recent_experiences(collective: CollectiveId, limit: usize) -> Vec<Experience>;
        search(collective: CollectiveId, query: Query, options: SearchOptions) -> Vec<SearchHit>;
        get_context_candidates(request: ContextRequest) -> ContextCandidates;
        store_relation(new: NewRelation) -> RelationId;
        get_related_experiences(
            id: ExperienceId,
            direction: RelationDirection
        ) -> Vec<RelatedExperience>;
        store_insight(new: NewInsight) -> InsightId;
        watch_experiences(collective: CollectiveId) -> WatchStream;
    }
}
