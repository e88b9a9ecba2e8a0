//! Which records does somebody still need?
//!
//! Pure, apart from reading headers. A record may go only where it is certain that it is useless at
//! the horizon: it was deleted, or replaced, at or below it. What is not understood is kept.
//!
//! A tombstone goes when nothing that it kills can be anywhere else, and in the same step as what it
//! kills in the segments that are rewritten; else an open would bring the dead back. The newest row
//! of a collective, and the newest collective, keep their tombstones for ever: numbers are given once.

use std::collections::HashMap;

use crate::{
    format::{
        ActivityRecord, CollectiveRecord, EMBEDDING_FIELDS_LEN, EmbeddingRecord, FRAME_ALIGN,
        FrameHeader, RecordKind, collective_of, decode_activity_end, frame_len,
    },
    log::{Frame, Segment, SegmentSet},
    model::{CollectiveId, Lsn},
    state::{Held, Row, Table, Values},
    sync::Arc,
};

/// Bytes of a record of vitals, about: its place is not known, only its LSN.
const VITALS_BYTES: u64 = 192;

/// What has to be kept of a record.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Keep {
    /// Nothing.
    Nothing,
    /// Everything but the vector of a body.
    WithoutVector,
    /// Everything.
    Whole,
}

/// Whether nobody at or above `horizon` goes by the vector in the body of a row: a re-embedding has ended
/// by then that has given it another.
fn lacks_use(table: &Table, lsn: Lsn, row: u32, horizon: Lsn) -> bool {
    table.since() <= horizon
        && lsn <= table.since()
        && table.embeddings().is_some_and(|beside| beside.has(row))
}

/// Decides for the frames of segments that are rewritten together.
pub(super) struct Judge<'a> {
    held: &'a Held<Arc<SegmentSet>>,
    /// The segments that stay as they are.
    others: Vec<&'a Segment>,
    /// Collectives that were deleted at or below the horizon, and when.
    deleted: HashMap<u32, Lsn>,
}

impl<'a> Judge<'a> {
    /// For the segments with these ids.
    pub(super) fn new(held: &'a Held<Arc<SegmentSet>>, run: &[u32]) -> Self {
        // The active segment is the last one and begins behind everything that is rewritten, so what
        // is in it is neither killed by that nor kills any of it below the horizon without standing
        // in the tables.
        let sealed = held.segments.sealed();
        let deleted = sealed
            .iter()
            .flat_map(|segment| &segment.summary().deleted_collectives)
            .filter(|(_, lsn)| *lsn <= held.horizon)
            .copied();
        Self {
            held,
            others: sealed
                .iter()
                .filter(|segment| !run.contains(&segment.id()))
                .map(|segment| &**segment)
                .collect(),
            deleted: deleted.collect(),
        }
    }

    /// What has to be kept of a record.
    pub(super) fn keep(&self, frame: &Frame<'_>) -> Keep {
        if !self.keeps(frame) {
            Keep::Nothing
        } else if self.has_other_vector(&frame.header) {
            Keep::WithoutVector
        } else {
            Keep::Whole
        }
    }

    /// Whether everybody goes by another vector than that in this body.
    fn has_other_vector(&self, header: &FrameHeader) -> bool {
        let makes_vector = matches!(header.kind, RecordKind::Body | RecordKind::Insight);
        makes_vector
            && header.dimension > 0
            && self
                .held
                .tables
                .get(header.table())
                .is_some_and(|table| lacks_use(table, header.lsn, header.row, self.held.horizon))
    }

    fn keeps_embedding(&self, table: &Table, frame: &Frame<'_>) -> bool {
        let header = &frame.header;
        let record = frame
            .verified_payload()
            .map(|payload| EmbeddingRecord::decode(header.dimension, payload));
        let Ok(Ok(record)) = record else {
            return true;
        };
        let next = table.next_embeddings();
        let is_used = record.epoch == table.epoch
            || next.is_some_and(|next| next.epoch == record.epoch)
            || table.since() > self.held.horizon;
        is_used && self.is_visible(table, header)
    }

    fn keeps(&self, frame: &Frame<'_>) -> bool {
        let header = &frame.header;
        if header.kind == RecordKind::Close {
            return false;
        }
        if header.lsn > self.held.horizon {
            return true;
        }
        if header.kind == RecordKind::CollectiveDeleted {
            return header.collective.saturating_add(1) >= self.held.next_collective
                || self.is_elsewhere(header.lsn, |_| true);
        }
        if self
            .deleted
            .get(&header.collective)
            .is_some_and(|deleted_at| header.lsn < *deleted_at)
        {
            return false;
        }
        // A collective whose definition is damaged has no table; its records are there all the same.
        let Some(table) = self.held.tables.get(header.table()) else {
            return true;
        };
        match header.kind {
            RecordKind::Collective => {
                is_first_definition(frame) || self.keeps_definition(table, header.lsn)
            }
            RecordKind::Body | RecordKind::Insight => self.is_visible(table, header),
            // One that is gone with its experience has no tombstone to keep the table's last number.
            RecordKind::Relation => {
                self.is_visible(table, header) || header.row.saturating_add(1) >= table.row_count()
            }
            RecordKind::Vitals | RecordKind::Traits => self.keeps_version(table, frame),
            RecordKind::ExperienceDeleted
            | RecordKind::RelationDeleted
            | RecordKind::InsightDeleted => {
                header.row.saturating_add(1) >= table.row_count()
                    || self.is_elsewhere(header.lsn, |segment| {
                        segment.summary().may_hold_victim(header)
                    })
            }
            RecordKind::Close | RecordKind::CollectiveDeleted => true,
            RecordKind::Activity => self.keeps_activity(table, frame),
            RecordKind::ActivityEnded => self.keeps_end(frame),
            RecordKind::Embedding | RecordKind::InsightEmbedding => {
                self.keeps_embedding(table, frame)
            }
        }
    }

    /// Can anybody at or above the horizon see the row of a record?
    fn is_visible(&self, table: &Table, header: &FrameHeader) -> bool {
        self.with_row(table, header, |_, _| ()).is_some()
    }

    /// May a segment that stays hold something that a tombstone of this LSN kills?
    fn is_elsewhere(&self, lsn: Lsn, may_hold: impl Fn(&Segment) -> bool) -> bool {
        self.others.iter().any(|segment| {
            let header = segment.header();
            header.first_lsn < lsn && header.cleaned < lsn && may_hold(segment)
        })
    }

    fn keeps_activity(&self, table: &Table, frame: &Frame<'_>) -> bool {
        let record = frame.verified_payload().map(ActivityRecord::decode);
        match record {
            Ok(Ok(record)) => {
                let (lsn, horizon) = (frame.header.lsn, self.held.horizon);
                table.activities.is_needed(&record.agent_id, lsn, horizon)
            }
            _ => true,
        }
    }

    fn keeps_end(&self, frame: &Frame<'_>) -> bool {
        let agent = frame.verified_payload().map(decode_activity_end);
        match agent {
            Ok(Ok(agent)) => self.is_elsewhere(frame.header.lsn, |segment| {
                let summary = segment.summary();
                summary.may_hold_activity(frame.header.collective, agent)
            }),
            _ => true,
        }
    }

    fn keeps_definition(&self, table: &Table, lsn: Lsn) -> bool {
        let needed = table.definitions(self.held.horizon, Lsn::new(u64::MAX));
        // One behind the oldest that is needed, and not among them, could not be decoded.
        needed.first().is_none_or(|(oldest, _)| lsn >= *oldest)
    }

    fn keeps_version(&self, table: &Table, frame: &Frame<'_>) -> bool {
        let lsn = frame.header.lsn;
        let is_vitals = frame.header.kind == RecordKind::Vitals;
        let needed = self.with_row(table, &frame.header, |row, versions| {
            let mut needed = false;
            let mut oldest = Lsn::ZERO;
            versions(row, &mut |values| {
                oldest = if is_vitals {
                    values.vitals_lsn
                } else {
                    values.traits_lsn
                };
                // A damaged record hides what is true: without it the row would show older values.
                needed |= oldest == lsn || self.is_damage(values, frame);
            });
            needed || lsn > oldest
        });
        needed.unwrap_or(false)
    }

    fn is_damage(&self, values: &Values, frame: &Frame<'_>) -> bool {
        values
            .damaged_place
            .is_some_and(|place| self.held.segments.resolve(place) == frame.place)
    }

    /// Looks at the row of a record, if anybody at or above the horizon can see it. The second argument
    /// shows the versions that they see, newest first.
    fn with_row<R>(
        &self,
        table: &Table,
        header: &FrameHeader,
        look: impl FnOnce(&Row, &dyn Fn(&Row, &mut dyn FnMut(&Values))) -> R,
    ) -> Option<R> {
        let horizon = self.held.horizon;
        // A slot that is empty was freed: nobody can see the row.
        table.with_slot(header.row, |slot| {
            let row = slot.row()?;
            let versions = |row: &Row, look: &mut dyn FnMut(&Values)| {
                slot.versions(row, horizon, |_, values| look(&values));
            };
            (!slot.gone(horizon)).then(|| look(row, &versions))
        })?
    }
}

/// Whether the record made its collective. It stays as long as the collective, in front of the rows:
/// who replays the log would not know where they belong.
fn is_first_definition(frame: &Frame<'_>) -> bool {
    let id = CollectiveId::from_u128(frame.header.entity);
    let record = frame
        .verified_payload()
        .map(|payload| CollectiveRecord::decode(id, payload));
    match record {
        Ok(Ok(record)) => record.collective.created_at == frame.header.time,
        _ => true,
    }
}

/// About how many bytes of each segment somebody needs, by id. Bodies and traits are counted exactly.
pub(super) fn live_bytes(held: &Held<Arc<SegmentSet>>) -> HashMap<u32, u64> {
    let segments = &held.segments;
    let mut live: HashMap<u32, u64> = HashMap::new();
    let mut add = |segment: u32, bytes: u64| *live.entry(segment).or_default() += bytes;
    for table in held.tables.iter() {
        for (_, version) in table.activities.needed(held.horizon, Lsn::new(u64::MAX)) {
            if let Some(activity) = &version.activity
                && let Some(segment) = segments.holding(version.lsn)
            {
                add(segment.id(), activity.record().frame_len());
            }
        }
        let embedding_bytes = |dimension: u16| {
            let vector = u32::from(dimension) * size_of::<f32>() as u32;
            frame_len(vector + EMBEDDING_FIELDS_LEN as u32)
        };
        let present = table.embeddings();
        let present = present.map(|beside| (beside, embedding_bytes(table.dimension)));
        let next = table.next_embeddings().map(|next| {
            let definition = held.tables.get(collective_of(table.number));
            let definition = definition.and_then(|it| it.definition(Lsn::new(u64::MAX)));
            let next_vectors = definition.as_ref().and_then(|it| it.vectors.next.as_ref());
            (
                next,
                embedding_bytes(next_vectors.map_or(0, |it| it.dimension)),
            )
        });
        let rows = table.rows(Lsn::new(u64::MAX));
        rows.for_each_kept(held.horizon, |kept| {
            let place = segments.resolve(kept.row.place);
            let mut bytes = u64::from(kept.row.frame_bytes);
            if lacks_use(table, kept.row.lsn, kept.number, held.horizon) {
                let vector = u64::from(kept.row.dimension) * size_of::<f32>() as u64;
                bytes = bytes.saturating_sub(vector - vector % FRAME_ALIGN);
            }
            add(place.segment, bytes);
            let next = next.as_ref().map(|(next, bytes)| (&**next, *bytes));
            for (beside, bytes) in present.into_iter().chain(next) {
                if let Some(place) = beside.with(kept.number, |placed| placed.place) {
                    add(segments.resolve(place).segment, bytes);
                }
            }
            let versions = kept.versions();
            let Some((_, values)) = versions.last() else {
                return;
            };
            if values.vitals_lsn != Lsn::ZERO
                && let Some(segment) = segments.holding(values.vitals_lsn)
            {
                add(segment.id(), VITALS_BYTES);
            }
            if let Some(place) = values.traits_place
                && let Ok(frame) = segments.frame(place)
            {
                add(frame.place.segment, frame.header.frame_len());
            }
        });
    }
    live
}
