//! What becomes of relations?
//!
//! Both ends have to be there, in the same collective, and no relation of the same type may lead from the
//! one to the other already. That is looked up among the edges of whichever end has fewer of them.

use super::Step;
use crate::{
    error::{PulseDBError, Result},
    format::{RecordKind, RelationEnd, RelationRecord, RowKind, UnknownFields, frame_len},
    log::Place,
    model::{
        EntityKind, ExperienceId, ExperienceRelation, NewRelation, RelationId, RelationType,
        Timestamp,
    },
    state::{Mutation, RowRef, replay::relation_row},
    write::{
        pending::Present,
        refusal,
        request::{Imported, Reply},
    },
};

impl Step<'_> {
    /// Stores a relation, with the id that a transaction has made for it.
    pub(super) fn relate(&mut self, id: Option<RelationId>, new: NewRelation) -> Result<Reply> {
        let id = id.map(RelationId::as_u128);
        match self.relation(new, (id, None))? {
            Ok(id) => Ok(Reply::Relation(id)),
            Err(known) => Err(refusal::relation_said_already(RelationId::from_u128(
                known.row.id,
            ))),
        }
    }

    /// One that was stored elsewhere first.
    pub(super) fn import_relation(&mut self, relation: ExperienceRelation) -> Result<Reply> {
        let id = relation.id.as_u128();
        if let Some(present) = self.pending.present(id, self.applier) {
            let same = RowKind::of_table(present.at.collective) == RowKind::Relation;
            return Self::already(same, EntityKind::Relation, id);
        }
        let origin = (Some(id), Some(relation.created_at));
        let new = NewRelation {
            source_id: relation.source_id,
            target_id: relation.target_id,
            relation_type: relation.relation_type,
            strength: relation.strength,
            metadata: relation.metadata,
        };
        Ok(Reply::Imported(match self.relation(new, origin)? {
            Ok(_) => Imported::Created,
            Err(_) => Imported::Unchanged,
        }))
    }

    /// Adds a relation, with the id that was made for it and the time of where it was stored first; or answers
    /// the one that says the same.
    fn relation(
        &mut self,
        new: NewRelation,
        (id, recorded_at): (Option<u128>, Option<Timestamp>),
    ) -> Result<Result<RelationId, Present>> {
        let source = self.present(new.source_id)?;
        let target = self.present(new.target_id)?;
        let collective = source.at.collective;
        if target.at.collective != collective {
            return Err(refusal::relation_leads_elsewhere(&new));
        }
        let ends = (source.at.row, target.at.row);
        if let Some(known) = self.relation_between(collective, ends, new.relation_type) {
            return Ok(Err(known));
        }
        let at = self.next_row(RowKind::Relation.table(collective))?;
        let id = self.id_or(id)?;
        let header = self.header(RecordKind::Relation, at, id);
        let end = |id: ExperienceId, present: &Present| RelationEnd {
            id: id.as_u128(),
            row: present.at.row,
        };
        let record = RelationRecord {
            source: end(new.source_id, &source),
            target: end(new.target_id, &target),
            relation_type: new.relation_type,
            strength: new.strength,
            metadata: new.metadata,
            recorded_at,
            unknown: UnknownFields::default(),
        };
        let mut payload = Vec::new();
        record.encode(&mut payload);
        let mut row = relation_row(&header, Place::NOWHERE, &record);
        row.frame_bytes = frame_len(payload.len() as u32) as u32;
        let mutation = Mutation::Relate {
            at,
            row,
            source: ends.0,
            target: ends.1,
            relation_type: record.relation_type,
            has_metadata: record.metadata.is_some(),
        };
        self.push_encoded(header, payload, mutation, None);
        Ok(Ok(RelationId::from_u128(id)))
    }

    pub(super) fn delete_relation(&mut self, id: RelationId) -> Result<Reply> {
        let present = self
            .present_of(RowKind::Relation, id.as_u128())
            .ok_or_else(|| PulseDBError::not_found(EntityKind::Relation, id))?;
        self.push_tombstone(RecordKind::RelationDeleted, present.at, id.as_u128());
        Ok(Reply::Done)
    }

    /// The relation of this type between two experiences, if there is one.
    fn relation_between(
        &mut self,
        collective: u32,
        (source, target): (u32, u32),
        relation_type: RelationType,
    ) -> Option<Present> {
        let relations = RowKind::Relation.table(collective);
        let fresh = self
            .pending
            .related(relations, (source, target), relation_type);
        if let Some(known) = fresh.and_then(|at| self.pending.present_row(at, self.applier)) {
            return Some(known);
        }
        let adjacency = &self.applier.tables().get(collective)?.adjacency;
        let from_source = adjacency.degree(source) <= adjacency.degree(target);
        let (row, other) = if from_source {
            (source, target)
        } else {
            (target, source)
        };
        adjacency
            .edges(row)
            .into_iter()
            .filter(|edge| {
                (edge.other, edge.outgoing, edge.relation_type)
                    == (other, from_source, relation_type)
            })
            .find_map(|edge| {
                let at = RowRef {
                    collective: relations,
                    row: edge.relation,
                };
                self.pending.present_row(at, self.applier)
            })
    }
}
