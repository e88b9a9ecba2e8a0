//! What does a frame say, whatever its kind?
//!
//! One value for any record, decoded in full: for tools that look at a log as a log (verify, salvage,
//! dump). Flows that know which kind they look for use that kind's module.

use super::{
    ActivityRecord, BodyView, CollectiveRecord, DecodeError, EmbeddingRecord, FrameHeader,
    RecordKind, RelationRecord, Traits, Vitals, decode_activity_end,
};
use crate::model::CollectiveId;

/// One record.
#[derive(Clone, Debug)]
pub enum Record<'a> {
    /// A collective as it stands from now on.
    Collective(Box<CollectiveRecord>),
    /// A collective and everything in it is gone.
    CollectiveDeleted,
    /// An experience's immutable part and first values; every field was looked at.
    Body(Box<BodyView<'a>>),
    /// An experience's small mutable values.
    Vitals(Vitals),
    /// An experience's large mutable values.
    Traits(Box<Traits>),
    /// An experience is gone.
    ExperienceDeleted,
    /// The writer closed the database.
    Close,
    /// A relation.
    Relation(Box<RelationRecord>),
    /// A relation is gone.
    RelationDeleted,
    /// An insight; every field was looked at.
    Insight(Box<BodyView<'a>>),
    /// An insight is gone.
    InsightDeleted,
    /// What an agent does from now on.
    Activity(Box<ActivityRecord>),
    /// An agent's activity is over.
    ActivityEnded {
        /// The agent.
        agent_id: &'a str,
    },
    /// Another vector of an experience or an insight.
    Embedding {
        /// What stands behind the vector.
        record: EmbeddingRecord,
        /// The vector's bytes.
        vector: &'a [u8],
    },
}

impl<'a> Record<'a> {
    /// The record in a frame whose checksums were compared.
    pub fn decode(header: &FrameHeader, payload: &'a [u8]) -> Result<Self, DecodeError> {
        Ok(match header.kind {
            RecordKind::Collective => {
                let id = CollectiveId::from_u128(header.entity);
                Self::Collective(Box::new(CollectiveRecord::decode(id, payload)?))
            }
            RecordKind::CollectiveDeleted => Self::CollectiveDeleted,
            RecordKind::Body => {
                let body = BodyView::parse(header.dimension, payload)?;
                body.check()?;
                Self::Body(Box::new(body))
            }
            RecordKind::Vitals => Self::Vitals(Vitals::decode(payload)?),
            RecordKind::Traits => Self::Traits(Box::new(Traits::decode(payload)?)),
            RecordKind::ExperienceDeleted => Self::ExperienceDeleted,
            RecordKind::Close => Self::Close,
            RecordKind::Relation => Self::Relation(Box::new(RelationRecord::decode(payload)?)),
            RecordKind::RelationDeleted => Self::RelationDeleted,
            RecordKind::Insight => {
                let body = BodyView::parse(header.dimension, payload)?;
                body.check()?;
                body.derivation()?;
                Self::Insight(Box::new(body))
            }
            RecordKind::InsightDeleted => Self::InsightDeleted,
            RecordKind::Activity => Self::Activity(Box::new(ActivityRecord::decode(payload)?)),
            RecordKind::ActivityEnded => Self::ActivityEnded {
                agent_id: decode_activity_end(payload)?,
            },
            RecordKind::Embedding | RecordKind::InsightEmbedding => {
                let record = EmbeddingRecord::decode(header.dimension, payload)?;
                let len = usize::from(header.dimension) * size_of::<f32>();
                let vector = payload.get(..len).unwrap_or_default();
                Self::Embedding { record, vector }
            }
        })
    }
}
