//! What does the log say, record by record?
//!
//! A page of decoded records as of one snapshot, damage in its place among them. Called by the surface,
//! on a thread that may wait for the medium.

use std::sync::Arc;

use crate::{
    error::{PulseDBError, Result},
    format::{ActivityRecord, BodyView, DecodeError, Record, Traits, Vitals},
    log::{Frame, SegmentSet},
    model::{
        Damage, ExperienceId, LogActivity, LogBody, LogEntry, LogItem, LogOptions, LogPage,
        LogRecord, LogTraits, LogVitals,
    },
    state::Snapshot,
};

use super::verify::entity_of;

/// A page ends behind so many bytes of records.
const PAGE_BYTES: u64 = 4 * 1024 * 1024;

/// The records that `options` ask for, as `view` sees them.
pub(crate) fn page(view: &Snapshot<Arc<SegmentSet>>, options: &LogOptions) -> LogPage {
    let mut page = LogPage {
        items: Vec::new(),
        next: None,
    };
    let mut bytes = 0;
    for found in view.segments.iter_from(options.from, view.lsn()) {
        if let Ok(frame) = &found
            && (page.items.len() >= options.limit || bytes >= PAGE_BYTES)
        {
            page.next = Some(frame.header.lsn);
            return page;
        }
        page.items.push(match found {
            Ok(frame) => {
                bytes += frame.header.frame_len();
                match entry(view, &frame, options) {
                    Ok(entry) => LogItem::Record(Box::new(entry)),
                    Err(error) => LogItem::Damaged(Damage {
                        entity: entity_of(&frame.header),
                        ..damage(error)
                    }),
                }
            }
            Err(error) => LogItem::Damaged(damage(error)),
        });
    }
    page
}

fn damage(error: PulseDBError) -> Damage {
    let (file, offset, what) = match error {
        PulseDBError::Corrupted { file, offset, what } => (file, offset, what),
        other => (Default::default(), 0, other.to_string()),
    };
    Damage {
        file,
        offset,
        what,
        entity: None,
    }
}

fn entry(
    view: &Snapshot<Arc<SegmentSet>>,
    frame: &Frame<'_>,
    options: &LogOptions,
) -> Result<LogEntry> {
    let header = &frame.header;
    let payload = frame.verified_payload()?;
    let fault = |error: DecodeError| frame.corrupted(error.to_string());
    let record = match Record::decode(header, payload).map_err(fault)? {
        Record::Collective(record) => LogRecord::Collective {
            definition: record.collective,
        },
        Record::CollectiveDeleted => LogRecord::CollectiveDeleted,
        Record::Body(body) => {
            LogRecord::Body(self::body(header.dimension, &body, options).map_err(fault)?)
        }
        Record::Vitals(vitals) => LogRecord::Vitals(self::vitals(vitals)),
        Record::Traits(traits) => LogRecord::Traits(self::traits(*traits)),
        Record::ExperienceDeleted => LogRecord::ExperienceDeleted,
        Record::Close => LogRecord::Close,
        Record::Relation(relation) => LogRecord::Relation {
            source_id: ExperienceId::from_u128(relation.source.id),
            target_id: ExperienceId::from_u128(relation.target.id),
            relation_type: relation.relation_type,
            strength: relation.strength,
            metadata: relation.metadata.filter(|_| options.contents),
        },
        Record::RelationDeleted => LogRecord::RelationDeleted,
        Record::Insight(insight) => {
            let derivation = insight.derivation().map_err(fault)?;
            LogRecord::Insight {
                insight_type: derivation.insight_type,
                source_ids: derivation.sources,
                body: self::body(header.dimension, &insight, options).map_err(fault)?,
            }
        }
        Record::InsightDeleted => LogRecord::InsightDeleted,
        Record::Activity(record) => LogRecord::Activity(activity(*record)),
        Record::ActivityEnded { agent_id } => LogRecord::ActivityEnded {
            agent_id: agent_id.into(),
        },
    };
    let segment = view.segments.segment(frame.place.segment);
    Ok(LogEntry {
        lsn: header.lsn,
        timestamp: header.time,
        closes_commit: header.closes_commit,
        durable_upto: header.durable_upto,
        collective: header.collective,
        row: header.row,
        entity: entity_of(header),
        file: segment.map_or_else(Default::default, |segment| segment.path().to_owned()),
        offset: frame.place.offset(),
        bytes: header.frame_len(),
        record,
    })
}

fn body(
    dimension: u16,
    body: &BodyView<'_>,
    options: &LogOptions,
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
        content: options.contents.then(|| content.to_owned()),
        dimension,
        embedding: options.embeddings.then(|| body.vector_f32()),
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
