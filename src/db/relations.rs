//! Relations, as the application stores them and walks along them.

use crate::{
    db::{PulseDB, collectives::unexpected},
    error::Result,
    model::{
        CollectiveId, ExperienceId, ExperienceRelation, Neighbour, NewRelation, Page, PageResult,
        RelatedExperience, RelationDirection, RelationFilter, RelationId, RelationType,
    },
    read::{list::Damaged, relations},
    telemetry::Operation,
    write::{
        request::{Change, Reply},
        validate,
    },
};

/// Relations between experiences.
impl PulseDB {
    /// Stores a relation and answers when it is durable and visible. It is there as long as both of its
    /// ends: deleting an experience, or its expiry, takes its relations away.
    ///
    /// Cancel-safe up to the queue; after that it may still be stored.
    ///
    /// # Errors
    /// [`PulseDBError::Validation`](crate::PulseDBError::Validation) for a relation of an experience with
    /// itself or with one of another collective, a strength outside [0, 1], and metadata that is no
    /// JSON or too long; [`PulseDBError::NotFound`](crate::PulseDBError::NotFound) for an end that is not
    /// there; [`PulseDBError::Conflict`](crate::PulseDBError::Conflict) naming the relation that says
    /// the same already.
    ///
    /// ```
    /// # fn main() -> pulsedb::Result<()> {
    /// # let dir = tempfile::tempdir().unwrap();
    /// use pulsedb::{
    ///     Config, EmbeddingDimension, NewExperience, NewRelation, RelationDirection, RelationType,
    ///     blocking::PulseDB,
    /// };
    ///
    /// let db = PulseDB::open(dir.path(), Config::external(EmbeddingDimension::Custom(2)))?;
    /// let team = db.create_collective("team")?;
    /// let learn = |text: &str| {
    ///     db.record_experience(NewExperience {
    ///         embedding: Some(vec![0.6, 0.8]),
    ///         ..NewExperience::new(team, "agent-1", text)
    ///     })
    /// };
    /// let (cause, remedy) = (learn("The pool was exhausted.")?, learn("Bound the queue.")?);
    /// db.store_relation(NewRelation::new(remedy, cause, RelationType::Elaborates))?;
    /// let related = db.get_related_experiences(cause, RelationDirection::Incoming)?;
    /// assert_eq!(related[0].experience.id, remedy);
    /// # db.close()
    /// # }
    /// ```
    pub async fn store_relation(&self, new: NewRelation) -> Result<RelationId> {
        validate::relation(&new)?;
        let bytes = new.metadata.as_ref().map_or(0, String::len);
        match self
            .commit_one(Change::Relate(None, Box::new(new)), bytes)
            .await?
        {
            Reply::Relation(id) => Ok(id),
            other => Err(unexpected(&other)),
        }
    }

    /// The relation with this id; `None` where there is none, or one of its ends is gone.
    ///
    /// # Errors
    /// [`PulseDBError::Corrupted`](crate::PulseDBError::Corrupted) where its record is damaged.
    pub async fn get_relation(&self, id: RelationId) -> Result<Option<ExperienceRelation>> {
        self.read(Operation::ReadRelations, move |reader| {
            relations::relation(reader, id)
        })
        .await
    }

    /// Deletes a relation.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound).
    pub async fn delete_relation(&self, id: RelationId) -> Result<()> {
        self.commit_one(Change::DeleteRelation(id), 0).await?;
        Ok(())
    }

    /// The experiences that this one has relations with, and the relations, oldest first; at most 1000.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound).
    pub async fn get_related_experiences(
        &self,
        id: ExperienceId,
        direction: RelationDirection,
    ) -> Result<Vec<RelatedExperience>> {
        let filter = RelationFilter {
            direction,
            ..RelationFilter::default()
        };
        self.get_related_experiences_filtered(id, filter).await
    }

    /// As [`PulseDB::get_related_experiences`], along the relations that pass the filter.
    ///
    /// # Errors
    /// As there, and [`PulseDBError::Validation`](crate::PulseDBError::Validation) for a limit or a
    /// strength out of range.
    pub async fn get_related_experiences_filtered(
        &self,
        id: ExperienceId,
        filter: RelationFilter,
    ) -> Result<Vec<RelatedExperience>> {
        self.read(Operation::ReadRelations, move |reader| {
            relations::related(reader, id, &filter)
        })
        .await
    }

    /// The relations of an experience that pass the filter, oldest first, without what they lead to.
    ///
    /// # Errors
    /// As [`PulseDB::get_related_experiences_filtered`].
    pub async fn get_relations(
        &self,
        id: ExperienceId,
        filter: RelationFilter,
    ) -> Result<Vec<ExperienceRelation>> {
        self.read_briefly(Operation::GetRelations, id, move |reader| {
            relations::relations(reader, id, &filter)
        })
        .await
    }

    /// The relations of a collective, page by page: by time or id, in either direction, between bounds.
    ///
    /// # Errors
    /// As [`PulseDB::list_experiences`]; [`PulseDBError::Validation`](crate::PulseDBError::Validation) where
    /// `page.filter` asks for something.
    pub async fn list_relations(
        &self,
        collective: CollectiveId,
        page: Page,
    ) -> Result<PageResult<ExperienceRelation>> {
        self.read(Operation::ReadRelations.of(collective), move |reader| {
            relations::page(reader, collective, &page, &Damaged::default())
        })
        .await
    }

    /// The experiences that are at most `depth` relations away, nearest first: in the breadth, whichever
    /// way the relations lead, along those of `types` (all of them where there are none). At most 1000
    /// experiences and 8 steps.
    ///
    /// # Errors
    /// [`PulseDBError::NotFound`](crate::PulseDBError::NotFound),
    /// [`PulseDBError::Validation`](crate::PulseDBError::Validation) for a depth outside 1–8.
    pub async fn neighbourhood(
        &self,
        id: ExperienceId,
        depth: usize,
        types: Vec<RelationType>,
    ) -> Result<Vec<Neighbour>> {
        self.read(Operation::ReadRelations, move |reader| {
            relations::neighbourhood(reader, id, depth, &types)
        })
        .await
    }
}
