//! How is a record shown to whoever reads the log as a log?
//!
//! For tools and for those who repeat what happened: the same fields as in the record, by name. Called by
//! `upkeep` and `watch`.

use super::{
    ActivityRecord, BodyView, DecodeError, FrameHeader, Record, RecordKind, Traits, Vitals, floats,
};
use crate::model::{
    CollectiveId, EntityId, ExperienceId, InsightId, LogActivity, LogBody, LogRecord, LogTraits,
    LogVitals, RelationId,
};

/// What a record says, with texts and vectors where they are asked for.
pub fn logged(
    dimension: u16,
    record: Record<'_>,
    contents: bool,
    embeddings: bool,
) -> Result<LogRecord, DecodeError> {
    let shown = |body: &BodyView<'_>| self::body(dimension, body, contents, embeddings);
    Ok(match record {
        Record::Collective(record) => LogRecord::Collective {
            definition: record.collective,
        },
        Record::CollectiveDeleted => LogRecord::CollectiveDeleted,
        Record::Body(body) => LogRecord::Body(shown(&body)?),
        Record::Vitals(vitals) => LogRecord::Vitals(self::vitals(vitals)),
        Record::Traits(traits) => LogRecord::Traits(self::traits(*traits)),
        Record::ExperienceDeleted => LogRecord::ExperienceDeleted,
        Record::Close => LogRecord::Close,
        Record::Relation(relation) => LogRecord::Relation {
            source_id: ExperienceId::from_u128(relation.source.id),
            target_id: ExperienceId::from_u128(relation.target.id),
            relation_type: relation.relation_type,
            strength: relation.strength,
            metadata: relation.metadata.filter(|_| contents),
        },
        Record::RelationDeleted => LogRecord::RelationDeleted,
        Record::Insight(insight) => {
            let derivation = insight.derivation()?;
            LogRecord::Insight {
                insight_type: derivation.insight_type,
                source_ids: derivation.sources,
                body: shown(&insight)?,
            }
        }
        Record::InsightDeleted => LogRecord::InsightDeleted,
        Record::Activity(record) => LogRecord::Activity(activity(*record)),
        Record::ActivityEnded { agent_id } => LogRecord::ActivityEnded {
            agent_id: agent_id.into(),
        },
        Record::Embedding { record, vector } => LogRecord::Embedding {
            epoch: record.epoch,
            dimension,
            embedding: embeddings.then(|| floats(vector)),
        },
    })
}

/// What a record is about.
pub fn entity_of(header: &FrameHeader) -> Option<EntityId> {
    match header.kind {
        RecordKind::Collective | RecordKind::CollectiveDeleted => {
            Some(EntityId::Collective(CollectiveId::from_u128(header.entity)))
        }
        RecordKind::Body
        | RecordKind::Vitals
        | RecordKind::Traits
        | RecordKind::ExperienceDeleted
        | RecordKind::Embedding => {
            Some(EntityId::Experience(ExperienceId::from_u128(header.entity)))
        }
        RecordKind::Relation | RecordKind::RelationDeleted => {
            Some(EntityId::Relation(RelationId::from_u128(header.entity)))
        }
        RecordKind::Insight | RecordKind::InsightDeleted | RecordKind::InsightEmbedding => {
            Some(EntityId::Insight(InsightId::from_u128(header.entity)))
        }
        // An agent is no entity of its own: its name is its id, within a collective.
        RecordKind::Activity | RecordKind::ActivityEnded | RecordKind::Close => None,
    }
}

fn body(
    dimension: u16,
    body: &BodyView<'_>,
    contents: bool,
    embeddings: bool,
) -> Result<Box<LogBody>, DecodeError> {
    let content = body.content()?;
    Ok(Box::new(LogBody {
        experience_type: body.experience_type()?,
        source_agent: body.source_agent()?.to_owned(),
        source_task: body.source_task()?.map(str::to_owned),
        idempotency_key: body.idempotency_key()?.map(str::to_owned),
        content_hash: body.content_hash()?,
        recorded_at: body.recorded_at()?,
        content_bytes: content.len() as u64,
        content: contents.then(|| content.to_owned()),
        dimension,
        embedding: embeddings.then(|| body.vector_f32()),
        vitals: vitals(body.vitals()?),
        traits: traits(body.traits()?),
    }))
}

fn vitals(vitals: Vitals) -> LogVitals {
    LogVitals {
        importance: vitals.importance,
        confidence: vitals.confidence,
        applications: vitals.applications,
        last_reinforced: vitals.last_reinforced,
        archived: vitals.archived,
        change: vitals.change,
        others: vitals.others,
        updated_at: vitals.updated_at,
        replaces: vitals.prev,
        traits_lsn: vitals.traits_lsn,
    }
}

fn traits(traits: Traits) -> LogTraits {
    LogTraits {
        domain: traits.domain,
        tags: traits.tags,
        related_files: traits.related_files,
        expires_at: traits.expires_at,
        valid_from: traits.valid_from,
        valid_to: traits.valid_to,
        pinned: traits.pinned,
        foreign_applications: traits.foreign_applications,
        updated_at: traits.updated_at,
        replaces: traits.prev,
        vitals_lsn: traits.vitals_lsn,
    }
}

fn activity(record: ActivityRecord) -> LogActivity {
    LogActivity {
        agent_id: record.agent_id.into(),
        current_task: record.current_task.map(Into::into),
        context_summary: record.context_summary,
        started_at: record.started_at,
        last_heartbeat: record.last_heartbeat,
    }
}
