//! What a transaction reads, and what each answer depends on.
//!
//! A read first notes what it is about to see, then asks as a snapshot does.

use super::{SEEN_BYTES, Transaction};
use crate::{
    error::{PulseDBError, Result},
    model::{
        Collective, CollectiveId, DerivedInsight, EntityKind, Experience, ExperienceId,
        ExperienceRelation, InsightFilter, InsightHit, InsightId, Neighbour, Page, PageResult,
        Query, RelatedExperience, RelationDirection, RelationFilter, RelationId, RelationType,
        SearchFilter, SearchHit, SearchOptions, UserId, limits::MAX_GET_IDS,
    },
    read::{merged, overlay::Overlay},
    telemetry::Operation,
};

/// Reading experiences. Sees those that are asked for.
impl Transaction {
    /// One experience.
    ///
    /// # Errors
    /// As [`PulseDB::get_experience`](crate::PulseDB::get_experience), and
    /// [`PulseDBError::Validation`] where the transaction has seen too much.
    pub async fn get_experience(&mut self, id: ExperienceId) -> Result<Experience> {
        self.saw_experience(id)?;
        if self.overlay().is_none() {
            return self.db.get_experience(id).await;
        }
        self.db
            .read(Operation::TransactionRead, move |reader| {
                merged::experience(reader, id)
            })
            .await
    }

    /// Many experiences, in the order asked for; `None` for what does not exist.
    ///
    /// # Errors
    /// As [`PulseDB::get_experiences`](crate::PulseDB::get_experiences), and
    /// [`PulseDBError::Validation`] where the transaction has seen too much.
    pub async fn get_experiences(
        &mut self,
        ids: &[ExperienceId],
    ) -> Result<Vec<Option<Experience>>> {
        if ids.len() > MAX_GET_IDS {
            return Err(PulseDBError::validation(
                "ids",
                format!("{} ids", ids.len()),
                format!("there may be {MAX_GET_IDS}"),
            ));
        }
        ids.iter().try_for_each(|id| self.saw_experience(*id))?;
        let ids = ids.to_vec();
        self.db
            .read(Operation::TransactionRead, move |reader| {
                ids.into_iter()
                    .map(|id| match merged::experience(reader, id) {
                        Ok(experience) => Ok(Some(experience)),
                        Err(PulseDBError::NotFound { .. }) => Ok(None),
                        Err(error) => Err(error),
                    })
                    .collect()
            })
            .await
    }

    /// How warm an experience is, in [0, 1]. Sees the definition of its collective, too.
    ///
    /// # Errors
    /// As [`Transaction::get_experience`].
    pub async fn energy(&mut self, id: ExperienceId) -> Result<f32> {
        self.saw_experience(id)?;
        let (collective, energy) = self
            .db
            .read(Operation::TransactionRead, move |reader| {
                merged::energy(reader, id)
            })
            .await?;
        self.saw_definition(collective)?;
        Ok(energy)
    }
}

/// Reading collectives.
impl Transaction {
    /// One collective, or `None` where there is none of this id. Sees its definition.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`] where the transaction has seen too much.
    pub async fn get_collective(&mut self, id: CollectiveId) -> Result<Option<Collective>> {
        self.saw_definition(id)?;
        self.db.get_collective(id).await
    }

    /// All collectives, oldest first. Sees all definitions, and which there are.
    ///
    /// # Errors
    /// None at present.
    pub async fn list_collectives(&mut self) -> Result<Vec<Collective>> {
        self.guard.saw_all_definitions();
        self.db.list_collectives().await
    }

    /// The collectives of one owner, oldest first. Sees all definitions, and which there are.
    ///
    /// # Errors
    /// None at present.
    pub async fn list_collectives_by_owner(&mut self, owner: &UserId) -> Result<Vec<Collective>> {
        self.guard.saw_all_definitions();
        self.db.list_collectives_by_owner(owner).await
    }
}

/// Methods that see everything in a collective, and differ from those of the database in nothing else.
macro_rules! seeing {
    ($(#[$doc:meta])* $saw:ident:
        $($name:ident($of:ident: $id:ty, $($arg:ident: $type:ty),*) -> $output:ty;)+
    ) => {
        $(#[$doc])*
        impl Transaction {$(
            #[doc = concat!(
                "See [`PulseDB::", stringify!($name), "`](crate::PulseDB::", stringify!($name), ")."
            )]
            ///
            /// # Errors
            /// As there, and [`PulseDBError::Validation`] where the transaction has seen too much.
            pub async fn $name(&mut self, $of: $id, $($arg: $type),*) -> Result<$output> {
                self.$saw($of)?;
                self.db.$name($of, $($arg),*).await
            }
        )+}
    };
}

seeing! {
    /// Lists and searches. Each sees everything in the collective: it conflicts with every change
    /// of anything in there.
    saw_collective:
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
    list_relations(collective: CollectiveId, page: Page) -> PageResult<ExperienceRelation>;
    list_insights(collective: CollectiveId, page: Page) -> PageResult<DerivedInsight>;
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
}

seeing! {
    /// Following relations. Each sees everything in the collective of the experience.
    saw_around:
    get_related_experiences(
        id: ExperienceId,
        direction: RelationDirection
    ) -> Vec<RelatedExperience>;
    get_related_experiences_filtered(
        id: ExperienceId,
        filter: RelationFilter
    ) -> Vec<RelatedExperience>;
    get_relations(id: ExperienceId, filter: RelationFilter) -> Vec<ExperienceRelation>;
    neighbourhood(id: ExperienceId, depth: usize, types: Vec<RelationType>) -> Vec<Neighbour>;
}

/// What was seen. What the transaction has made itself nobody else can change.
impl Transaction {
    pub(super) fn saw_experience(&mut self, id: ExperienceId) -> Result<()> {
        self.check_seen()?;
        let own = self.overlay().and_then(|own| own.experience(id)).flatten();
        if own.is_none_or(|own| own.recorded.is_none()) {
            self.guard.saw(EntityKind::Experience, id.as_u128());
        }
        Ok(())
    }

    pub(super) fn saw_relation(&mut self, id: RelationId) -> Result<()> {
        self.check_seen()?;
        if self.overlay().and_then(|own| own.relation(id)).is_none() {
            self.guard.saw(EntityKind::Relation, id.as_u128());
        }
        Ok(())
    }

    pub(super) fn saw_insight(&mut self, id: InsightId) -> Result<()> {
        self.check_seen()?;
        if self.overlay().and_then(|own| own.insight(id)).is_none() {
            self.guard.saw(EntityKind::Insight, id.as_u128());
        }
        Ok(())
    }

    /// An experience was named, and everything around it seen.
    fn saw_around(&mut self, id: ExperienceId) -> Result<()> {
        self.saw_experience(id)?;
        let reader = self.db.reader()?;
        match reader.locate(id) {
            Ok((table, _)) => self.saw_collective(CollectiveId::from_u128(table.id)),
            // Nothing around it was seen.
            Err(_) => Ok(()),
        }
    }

    pub(super) fn saw_definition(&mut self, id: CollectiveId) -> Result<()> {
        self.check_seen()?;
        if !self.overlay().is_some_and(|own| own.has_created(id)) {
            self.guard.saw_definition(id);
        }
        Ok(())
    }

    fn saw_collective(&mut self, id: CollectiveId) -> Result<()> {
        self.check_seen()?;
        if !self.overlay().is_some_and(|own| own.has_created(id)) {
            self.guard.saw_collective(id);
        }
        Ok(())
    }

    pub(super) fn overlay(&self) -> Option<&Overlay> {
        self.db.fixed.as_ref()?.overlay.as_deref()
    }

    /// Refuses to see more than can be remembered.
    fn check_seen(&self) -> Result<()> {
        let total = self.size() + SEEN_BYTES;
        let limit = self.db.config().max_commit_bytes;
        if total > limit {
            return Err(PulseDBError::validation(
                "transaction",
                format!("{total} bytes, {SEEN_BYTES} of them for each thing that was seen"),
                format!("config.max_commit_bytes is {limit}; read from a snapshot, or list"),
            ));
        }
        Ok(())
    }
}
