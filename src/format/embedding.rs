//! How does a row get a vector beside that of its body?
//!
//! As in a body, the vector comes first, as its maker gave it, so that it stands aligned in the file; the
//! frame header has its dimension, and which row it is of. Which re-embedding it belongs to is named by the
//! LSN of the definition that began it. Written by `write`, read by the tables.

use super::{
    DecodeError, UnknownFields,
    fields::{FieldWriter, Fields, missing},
};
use crate::model::Lsn;

/// Bytes of the fields behind the vector, as this build writes them.
pub const EMBEDDING_FIELDS_LEN: usize = 2 * 5 + 4 + 8;

/// What stands behind the vector.
#[derive(Clone, Debug, PartialEq)]
pub struct EmbeddingRecord {
    /// 1 / length of the vector; finite, > 0.
    pub inverse_norm: f32,
    /// The definition of the collective that began the re-embedding.
    pub epoch: Lsn,
    /// What a newer build stored.
    pub unknown: UnknownFields,
}

impl EmbeddingRecord {
    /// Appends the payload: the vector, then the fields.
    pub fn encode(&self, vector: &[f32], out: &mut Vec<u8>) {
        out.extend(vector.iter().flat_map(|component| component.to_le_bytes()));
        let mut writer = FieldWriter::new(out);
        writer.f32(1, self.inverse_norm);
        writer.lsn(2, self.epoch);
        writer.unknown(&self.unknown);
    }

    /// Reads a payload that begins with a vector of this dimension.
    pub fn decode(dimension: u16, payload: &[u8]) -> Result<Self, DecodeError> {
        let (_, bytes) = payload
            .split_at_checked(usize::from(dimension) * size_of::<f32>())
            .ok_or(missing("embedding.vector", 0))?;
        let (mut inverse_norm, mut epoch) = (None, None);
        let mut unknown = UnknownFields::default();
        let mut fields = Fields::new(bytes);
        while let Some(field) = fields.next_field()? {
            match field.tag {
                1 => inverse_norm = Some(field.positive("embedding.inverse_norm")?),
                2 => epoch = Some(field.lsn("embedding.epoch")?),
                _ => {
                    unknown = UnknownFields::keep(fields.keep_from(&field, bytes)?);
                    break;
                }
            }
        }
        Ok(Self {
            inverse_norm: inverse_norm.ok_or(missing("embedding.inverse_norm", 1))?,
            epoch: epoch.ok_or(missing("embedding.epoch", 2))?,
            unknown,
        })
    }
}
