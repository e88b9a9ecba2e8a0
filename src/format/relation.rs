//! How is a relation written?
//!
//! Whole, once: nothing of it ever changes. Each end stands with its row, so that a replay finds it
//! without asking the index of ids.

use super::{
    DecodeError, UnknownFields, array_at,
    fields::{Field, FieldWriter, Fields, missing},
};
use crate::model::{RelationType, Timestamp};

/// An experience that a relation starts from or leads to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RelationEnd {
    /// The experience's id.
    pub id: u128,
    /// Its row in the collective.
    pub row: u32,
}

/// A relation.
#[derive(Clone, Debug, PartialEq)]
pub struct RelationRecord {
    /// Where it starts.
    pub source: RelationEnd,
    /// Where it leads.
    pub target: RelationEnd,
    /// What it says.
    pub relation_type: RelationType,
    /// In [0, 1].
    pub strength: f32,
    /// JSON of the application's own.
    pub metadata: Option<String>,
    /// When it was stored, where that is not the time of its frame.
    pub recorded_at: Option<Timestamp>,
    /// What a newer build stored.
    pub unknown: UnknownFields,
}

impl RelationRecord {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut writer = FieldWriter::new(out);
        writer.bytes(1, &self.source.encode());
        writer.bytes(2, &self.target.encode());
        writer.u8(3, self.relation_type as u8);
        writer.f32(4, self.strength);
        writer.optional(5, self.metadata.as_deref().map(str::as_bytes));
        writer.time(6, self.recorded_at);
        writer.unknown(&self.unknown);
    }

    /// Reads a payload.
    pub fn decode(payload: &[u8]) -> Result<Self, DecodeError> {
        let (mut source, mut target, mut kind, mut strength) = (None, None, None, None);
        let (mut metadata, mut recorded_at) = (None, None);
        let mut unknown = UnknownFields::default();
        let mut fields = Fields::new(payload);
        while let Some(field) = fields.next_field()? {
            match field.tag {
                1 => source = Some(RelationEnd::decode(&field, "relation.source")?),
                2 => target = Some(RelationEnd::decode(&field, "relation.target")?),
                3 => kind = Some(relation_type(&field)?),
                4 => strength = Some(field.ratio("relation.strength", 1.0)?),
                5 => metadata = Some(field.text("relation.metadata")?.to_owned()),
                6 => recorded_at = Some(field.time("relation.recorded_at")?),
                _ => {
                    unknown = UnknownFields::keep(fields.keep_from(&field, payload)?);
                    break;
                }
            }
        }
        Ok(Self {
            source: source.ok_or(missing("relation.source", 1))?,
            target: target.ok_or(missing("relation.target", 2))?,
            relation_type: kind.ok_or(missing("relation.type", 3))?,
            strength: strength.ok_or(missing("relation.strength", 4))?,
            metadata,
            recorded_at,
            unknown,
        })
    }
}

impl RelationEnd {
    fn encode(&self) -> [u8; 20] {
        let mut out = [0; 20];
        super::put_at(&mut out, 0, &self.id.to_be_bytes());
        super::put_at(&mut out, 16, &self.row.to_le_bytes());
        out
    }

    fn decode(field: &Field<'_>, name: &'static str) -> Result<Self, DecodeError> {
        let bytes: [u8; 20] = field.array(name)?;
        Ok(Self {
            id: u128::from_be_bytes(array_at(&bytes, 0)),
            row: u32::from_le_bytes(array_at(&bytes, 16)),
        })
    }
}

fn relation_type(field: &Field<'_>) -> Result<RelationType, DecodeError> {
    const NAME: &str = "relation.type";
    relation_type_of(field.u8(NAME)?).ok_or(field.wrong(NAME, "no relation has this type"))
}

/// The type with this code.
pub(super) const fn relation_type_of(code: u8) -> Option<RelationType> {
    Some(match code {
        1 => RelationType::Supports,
        2 => RelationType::Contradicts,
        3 => RelationType::Elaborates,
        4 => RelationType::Supersedes,
        5 => RelationType::Implies,
        6 => RelationType::RelatedTo,
        _ => return None,
    })
}
