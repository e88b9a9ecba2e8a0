//! Which small values of an experience change often, and how are they written?
//!
//! A vitals record replaces the one before it whole. The first vitals of an experience stand in its
//! body. Written by `write`, read by recovery, the state and the readers.

use super::{
    DecodeError, UnknownFields,
    fields::{FieldWriter, Fields, missing},
};
use crate::model::{EventType, Lsn, Timestamp};

/// The small mutable values of an experience.
#[derive(Clone, Debug, PartialEq)]
pub struct Vitals {
    /// In [0, 1].
    pub importance: f32,
    /// In [0, 1].
    pub confidence: f32,
    /// How often this instance applied it.
    pub applications: u32,
    /// When it was last applied; `None` if never, which counts as when it was recorded.
    pub last_reinforced: Option<Timestamp>,
    /// Whether default searches leave it out.
    pub archived: bool,
    /// What this record changed.
    pub change: EventType,
    /// The vitals before these; 0 if they stand in the body.
    pub prev: Lsn,
    /// The traits that are current together with these; 0 if they stand in the body.
    pub traits_lsn: Lsn,
    /// How often all other instances applied it: the saturating sum of the traits' counts, so that
    /// energy needs no traits.
    pub others: u32,
    /// When anything of it last changed, where that is not the time of the frame.
    pub updated_at: Option<Timestamp>,
    /// What a newer build stored.
    pub unknown: UnknownFields,
}

impl Vitals {
    /// The vitals of a new experience.
    #[must_use]
    pub fn initial(importance: f32, confidence: f32) -> Self {
        Self {
            importance,
            confidence,
            applications: 0,
            last_reinforced: None,
            archived: false,
            change: EventType::Created,
            prev: Lsn::ZERO,
            traits_lsn: Lsn::ZERO,
            others: 0,
            updated_at: None,
            unknown: UnknownFields::default(),
        }
    }

    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = FieldWriter::new(out);
        writer.f32(1, self.importance);
        writer.f32(2, self.confidence);
        if self.applications != 0 {
            writer.bytes(3, &self.applications.to_le_bytes());
        }
        writer.time(4, self.last_reinforced);
        writer.flag(5, self.archived);
        if self.change != EventType::Created {
            writer.u8(6, self.change as u8);
        }
        writer.lsn(7, self.prev);
        writer.lsn(8, self.traits_lsn);
        if self.others != 0 {
            writer.bytes(9, &self.others.to_le_bytes());
        }
        writer.time(10, self.updated_at);
        writer.unknown(&self.unknown);
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let mut importance = None;
        let mut confidence = None;
        let mut vitals = Self::initial(0.0, 0.0);
        let mut fields = Fields::new(payload);
        while let Some(field) = fields.next_field()? {
            match field.tag {
                1 => importance = Some(field.ratio("vitals.importance", 1.0)?),
                2 => confidence = Some(field.ratio("vitals.confidence", 1.0)?),
                3 => vitals.applications = field.u32("vitals.applications")?,
                4 => vitals.last_reinforced = Some(field.time("vitals.last_reinforced")?),
                5 => vitals.archived = field.flag("vitals.archived")?,
                6 => {
                    vitals.change = event_type(field.u8("vitals.change")?)
                        .ok_or_else(|| field.wrong("vitals.change", "no change has this code"))?;
                }
                7 => vitals.prev = field.lsn("vitals.prev")?,
                8 => vitals.traits_lsn = field.lsn("vitals.traits_lsn")?,
                9 => vitals.others = field.u32("vitals.others")?,
                10 => vitals.updated_at = Some(field.time("vitals.updated_at")?),
                _ => {
                    vitals.unknown = UnknownFields::keep(fields.keep_from(&field, payload)?);
                    break;
                }
            }
        }
        vitals.importance = importance.ok_or(missing("vitals.importance", 1))?;
        vitals.confidence = confidence.ok_or(missing("vitals.confidence", 2))?;
        Ok(vitals)
    }
}

const fn event_type(code: u8) -> Option<EventType> {
    Some(match code {
        1 => EventType::Created,
        2 => EventType::Updated,
        3 => EventType::Archived,
        4 => EventType::Unarchived,
        5 => EventType::Reinforced,
        6 => EventType::Deleted,
        _ => return None,
    })
}
