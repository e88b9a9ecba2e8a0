//! How does a record of the log become a mutation of the tables, and where are a row's traits?
//!
//! The reading half of [`crate::state::apply`]: an open walks the log through [`mutation`].

use crate::{
    error::{PulseDBError, Result},
    format::{
        ActivityRecord, BodyView, CollectiveRecord, EmbeddingRecord, FrameHeader, RecordKind,
        RelationRecord, Traits, Vitals, decode_activity_end,
    },
    log::{Frame, Place, SegmentSet},
    model::{CollectiveId, ExperienceKind, Lsn},
    state::{Applier, Live, Mutation, Row, RowRef, Values},
    sync::Arc,
};

/// Why a record that the open could not read is not believed later: what was derived from it then is
/// not what it says.
pub const HEALED: &str = "a record that was damaged reads well again; reopen";

const NEWEST: Lsn = Lsn::new(u64::MAX);

/// What the record in `frame` changes; `payload` was compared with its checksum.
pub fn mutation(frame: &Frame<'_>, payload: &[u8], applier: &Applier) -> Result<Mutation> {
    let header = &frame.header;
    let at = row_ref(header);
    let fault = |what: String| frame.corrupted(what);
    Ok(match header.kind {
        RecordKind::Collective => {
            let id = CollectiveId::from_u128(header.entity);
            let record =
                CollectiveRecord::decode(id, payload).map_err(|error| fault(error.to_string()))?;
            Mutation::Define {
                collective: header.collective,
                definition: Arc::new(record.collective),
            }
        }
        RecordKind::CollectiveDeleted => Mutation::DeleteCollective {
            collective: header.collective,
        },
        RecordKind::Body | RecordKind::Insight => {
            let body = BodyView::parse(header.dimension, payload)
                .map_err(|error| fault(error.to_string()))?;
            if header.kind == RecordKind::Insight {
                body.derivation()
                    .map_err(|error| fault(error.to_string()))?;
            }
            body_mutation(header, frame.place, at, &body)
                .map_err(|error| fault(error.to_string()))?
        }
        RecordKind::Vitals => {
            let vitals = Vitals::decode(payload).map_err(|error| fault(error.to_string()))?;
            revision(at, applier, |values| {
                values.importance = vitals.importance;
                values.confidence = vitals.confidence;
                values.applications = vitals.applications;
                values.archived = vitals.archived;
                if let Some(time) = vitals.last_reinforced {
                    values.last_reinforced = time;
                }
                values.vitals_lsn = header.lsn;
                values.updated_at = vitals.updated_at.unwrap_or(header.time);
                values.others = vitals.others;
                values.damaged_place = None;
            })
        }
        RecordKind::Traits => {
            let traits = Traits::decode(payload).map_err(|error| fault(error.to_string()))?;
            revision(at, applier, |values| {
                values.expires_at = traits.expires_at;
                values.pinned = traits.pinned;
                values.traits_lsn = header.lsn;
                values.traits_place = Some(frame.place);
                values.updated_at = traits.updated_at.unwrap_or(header.time);
                values.bounded = traits.is_bounded();
            })
        }
        RecordKind::Relation => {
            let relation =
                RelationRecord::decode(payload).map_err(|error| fault(error.to_string()))?;
            Mutation::Relate {
                at,
                row: relation_row(header, frame.place, &relation),
                source: relation.source.row,
                target: relation.target.row,
                relation_type: relation.relation_type,
                has_metadata: relation.metadata.is_some(),
            }
        }
        RecordKind::ExperienceDeleted
        | RecordKind::RelationDeleted
        | RecordKind::InsightDeleted => Mutation::Delete { at },
        RecordKind::Activity => {
            let record =
                ActivityRecord::decode(payload).map_err(|error| fault(error.to_string()))?;
            Mutation::Activity {
                collective: header.collective,
                agent: record.agent_id.as_str().into(),
                activity: Some(Arc::new(Live::new(record))),
            }
        }
        RecordKind::ActivityEnded => {
            let agent = decode_activity_end(payload).map_err(|error| fault(error.to_string()))?;
            Mutation::Activity {
                collective: header.collective,
                agent: agent.into(),
                activity: None,
            }
        }
        RecordKind::Embedding | RecordKind::InsightEmbedding => {
            let record = EmbeddingRecord::decode(header.dimension, payload)
                .map_err(|error| fault(error.to_string()))?;
            Mutation::Embed {
                at,
                epoch: record.epoch,
                place: frame.place,
                inverse_norm: record.inverse_norm,
            }
        }
        RecordKind::Close => Mutation::Nothing,
    })
}

fn row_ref(header: &FrameHeader) -> RowRef {
    RowRef {
        collective: header.table(),
        row: header.row,
    }
}

/// What is known of a record whose payload is damaged: the row answers with the damage.
pub fn damaged_mutation(header: &FrameHeader, place: Place, applier: &Applier) -> Mutation {
    let at = row_ref(header);
    match header.kind {
        RecordKind::Body | RecordKind::Insight => Mutation::Record {
            at,
            row: row_of(header, place),
            agent: "".into(),
            key: None,
            first: None,
        },
        RecordKind::Vitals => revision(at, applier, |values| values.damaged_place = Some(place)),
        RecordKind::Traits => revision(at, applier, |values| {
            values.traits_lsn = header.lsn;
            values.traits_place = Some(place);
        }),
        RecordKind::CollectiveDeleted => Mutation::DeleteCollective {
            collective: header.collective,
        },
        RecordKind::ExperienceDeleted
        | RecordKind::RelationDeleted
        | RecordKind::InsightDeleted
        // Between which experiences it stood, nobody knows; but its number was given.
        | RecordKind::Relation => Mutation::Delete { at },
        // To which re-embedding it belonged, nobody knows; where it is missed, the row says so.
        RecordKind::Embedding
        | RecordKind::InsightEmbedding
        | RecordKind::Collective
        | RecordKind::Activity
        | RecordKind::ActivityEnded
        | RecordKind::Close => Mutation::Nothing,
    }
}

/// The traits of a row with these values, read from the log.
pub fn traits_at(segments: &SegmentSet, row: &Row, values: &Values) -> Result<Traits> {
    let read = |place: Place| {
        let frame = segments.frame(place)?;
        let payload = frame.verified_payload()?;
        let traits = match values.traits_place {
            None => BodyView::parse(frame.header.dimension, payload).and_then(|body| body.traits()),
            Some(_) => Traits::decode(payload),
        };
        traits.map_err(|error| frame.corrupted(error.to_string()))
    };
    read(values.traits_place.unwrap_or(row.place)).inspect_err(|error| segments.note_damage(error))
}

/// The row of a body as far as its header tells.
fn row_of(header: &FrameHeader, place: Place) -> Row {
    Row {
        lsn: header.lsn,
        id: header.entity,
        time: header.time,
        place,
        frame_bytes: header.frame_len() as u32,
        dimension: header.dimension,
        agent: 0,
        inverse_norm: 0.0,
        importance: 0.0,
        confidence: 0.0,
        kind: None,
        pinned: false,
        keyed: false,
        expires_at: None,
        bounded: false,
    }
}

/// The row of a relation.
pub fn relation_row(header: &FrameHeader, place: Place, relation: &RelationRecord) -> Row {
    Row {
        importance: relation.strength,
        time: relation.recorded_at.unwrap_or(header.time),
        kind: Some(ExperienceKind::Generic),
        ..row_of(header, place)
    }
}

fn body_mutation(
    header: &FrameHeader,
    place: Place,
    at: RowRef,
    body: &BodyView<'_>,
) -> Result<Mutation, crate::format::DecodeError> {
    let vitals = body.vitals()?;
    let traits = body.traits()?;
    let key = body.idempotency_key()?;
    // Views hand these out without looking at them again.
    body.content()?;
    body.source_task()?;
    body.content_hash()?;
    let row = Row {
        time: body.recorded_at()?.unwrap_or(header.time),
        inverse_norm: body.inverse_norm(),
        importance: vitals.importance,
        confidence: vitals.confidence,
        kind: Some(body.kind()?),
        pinned: traits.pinned,
        keyed: key.is_some(),
        expires_at: traits.expires_at,
        bounded: traits.is_bounded(),
        ..row_of(header, place)
    };
    Ok(Mutation::Record {
        at,
        first: first_values(&row, &vitals),
        row,
        agent: body.source_agent()?.into(),
        key: key.map(Arc::from),
    })
}

/// The values of a new row whose vitals say more than its columns hold: it was recorded elsewhere first.
#[must_use]
pub fn first_values(row: &Row, vitals: &Vitals) -> Option<Box<Values>> {
    let columns = row.initial_values();
    let values = Values {
        applications: vitals.applications,
        others: vitals.others,
        archived: vitals.archived,
        last_reinforced: vitals.last_reinforced.unwrap_or(row.time),
        updated_at: vitals.updated_at.unwrap_or(row.time),
        ..columns
    };
    (values != columns).then(|| Box::new(values))
}

/// New values for a row that exists; nothing where it does not (its body was lost to damage).
fn revision(at: RowRef, applier: &Applier, change: impl FnOnce(&mut Values)) -> Mutation {
    let known = applier
        .tables()
        .get(at.collective)
        .and_then(|table| table.row(at.row, NEWEST));
    match known {
        Some(state) => {
            let mut values = state.values;
            change(&mut values);
            Mutation::Revise { at, values }
        }
        None => Mutation::Nothing,
    }
}

/// Where the damage is that hides a row's present values, as an error.
pub fn damage(segments: &SegmentSet, place: Place) -> PulseDBError {
    match segments
        .frame(place)
        .and_then(|frame| frame.verified_payload().map(drop))
    {
        Err(error) => {
            segments.note_damage(&error);
            error
        }
        Ok(()) => PulseDBError::conflict(HEALED),
    }
}
