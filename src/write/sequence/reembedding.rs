//! How does a collective come to the vectors of another model?
//!
//! A definition begins it and names the model; the LSN of that record is the re-embedding's name from then
//! on. Vectors come in any order, each at most once for a row. Another definition, in one commit, makes the
//! collective go by them. *Invariant: when it does, every row that is there was looked at by whoever made the
//! vectors*: it says up to which row it has looked, and where others have come since, nothing changes.

use super::Step;
use crate::{
    config::Precision,
    error::{PulseDBError, Result},
    format::{RecordKind, RowKind},
    log::{OutFrame, Place},
    model::{
        Collective, CollectiveId, EmbedderIdentity, Lsn, NextVectors, Precisions, VectorEpoch,
    },
    state::{Mutation, RowRef},
    write::{embedding::NewEmbedding, pending::Item, request::Reply},
};

impl Step<'_> {
    pub(super) fn begin_reembedding(
        &mut self,
        id: CollectiveId,
        dimension: u16,
        embedder: EmbedderIdentity,
    ) -> Result<Reply> {
        let (number, definition) = self.collective(id)?;
        if definition.embedding_dimension == dimension
            && definition.embedder.as_ref() == Some(&embedder)
        {
            self.cancel_reembedding(id)?;
            return Ok(Reply::Reembedding(None));
        }
        if let Some(next) = &definition.vectors.next
            && next.dimension == dimension
            && next.embedder == embedder
        {
            return Ok(Reply::Reembedding(Some(next.epoch)));
        }
        let epoch = self.next_record();
        let next = NextVectors {
            epoch,
            dimension,
            embedder,
        };
        self.define_next(number, &definition, Some(next));
        Ok(Reply::Reembedding(Some(epoch)))
    }

    pub(super) fn cancel_reembedding(&mut self, id: CollectiveId) -> Result<Reply> {
        let (number, definition) = self.collective(id)?;
        if definition.vectors.next.is_some() {
            self.define_next(number, &definition, None);
        }
        Ok(Reply::Done)
    }

    pub(super) fn embed(&mut self, embedding: NewEmbedding) -> Result<Reply> {
        let NewEmbedding { of, epoch, .. } = embedding;
        let (number, definition) = self.collective(embedding.collective)?;
        if definition.vectors.epoch == epoch {
            return Ok(Reply::Done);
        }
        goes_on(&definition, epoch)?;
        let (table, kind) = match of.kind {
            RowKind::Insight => (RowKind::Insight.table(number), RecordKind::InsightEmbedding),
            RowKind::Experience | RowKind::Relation => (number, RecordKind::Embedding),
        };
        let at = RowRef {
            collective: table,
            row: of.row,
        };
        let present = self.pending.present_row(at, self.applier);
        if present.is_none_or(|present| present.row.id != of.id) || self.has_vector(at, epoch) {
            return Ok(Reply::Done);
        }
        let mut header = self.header(kind, at, of.id);
        header.dimension = embedding.dimension;
        header.payload_len = embedding.payload.len() as u32;
        header.payload_crc = embedding.payload_crc;
        self.pending.push(Item {
            frame: OutFrame {
                header,
                payload: embedding.payload.into(),
            },
            mutation: Mutation::Embed {
                at,
                epoch,
                place: Place::NOWHERE,
                inverse_norm: embedding.inverse_norm,
            },
            after: None,
        });
        Ok(Reply::Done)
    }

    pub(super) fn end_reembedding(
        &mut self,
        id: CollectiveId,
        epoch: Lsn,
        (experiences, insights): (u32, u32),
        precision: Option<Precision>,
    ) -> Result<Reply> {
        let (number, definition) = self.collective(id)?;
        if definition.vectors.epoch == epoch {
            return Ok(Reply::Done);
        }
        let next = goes_on(&definition, epoch)?;
        if self.end_of(number) > experiences
            || self.end_of(RowKind::Insight.table(number)) > insights
        {
            return Ok(Reply::LookAgain);
        }
        let since = self.next_record();
        let reembedded = Collective {
            embedding_dimension: next.dimension,
            embedder: Some(next.embedder.clone()),
            precisions: Precisions::default().with(precision),
            vectors: VectorEpoch {
                epoch,
                since,
                next: None,
            },
            ..Collective::clone(&definition)
        };
        self.define(number, reembedded);
        Ok(Reply::Done)
    }

    fn define_next(&mut self, number: u32, definition: &Collective, next: Option<NextVectors>) {
        let mut changed = definition.clone();
        changed.vectors.next = next;
        self.define(number, changed);
    }

    /// Whether a row has a vector of the re-embedding, in the tables or in the group.
    fn has_vector(&self, at: RowRef, epoch: Lsn) -> bool {
        let table = self.applier.tables().get(at.collective);
        let next = table.and_then(|table| table.next_embeddings());
        next.is_some_and(|next| next.epoch == epoch && next.has(at.row))
            || self.pending.embeds(at, epoch)
    }
}

fn goes_on(definition: &Collective, epoch: Lsn) -> Result<&NextVectors> {
    let next = definition.vectors.next.as_ref();
    next.filter(|next| next.epoch == epoch).ok_or_else(|| {
        PulseDBError::conflict(format!(
            "the re-embedding of collective {} was given up",
            definition.id
        ))
    })
}
