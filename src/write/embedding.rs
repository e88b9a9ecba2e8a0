//! What becomes of a vector that a re-embedding has made, before the committer sees it?
//!
//! Checked, encoded and checksummed on the caller's side, as experiences are.

use crate::{
    error::Result,
    format::{EmbeddingRecord, FRAME_HEADER_LEN, RowKind, UnknownFields, payload_crc},
    model::{CollectiveId, Lsn},
    simd::inverse_norm,
    write::validate,
};

/// The row that a vector is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EmbeddedRow {
    /// What it is.
    pub kind: RowKind,
    /// Its number.
    pub row: u32,
    /// Its id.
    pub id: u128,
}

/// A checked vector for a row, encoded.
#[derive(Debug)]
pub struct NewEmbedding {
    /// Whose row.
    pub collective: CollectiveId,
    /// Which row.
    pub of: EmbeddedRow,
    /// The re-embedding that made it.
    pub epoch: Lsn,
    /// Components of the vector.
    pub dimension: u16,
    /// The record's payload.
    pub payload: Vec<u8>,
    /// Its checksum.
    pub payload_crc: u32,
    /// 1 / ‖vector‖.
    pub inverse_norm: f32,
}

impl NewEmbedding {
    /// Checks and encodes a vector, which has to have this dimension.
    ///
    /// # Errors
    /// `Validation` for a vector that no row can have.
    pub fn new(
        collective: CollectiveId,
        of: EmbeddedRow,
        epoch: Lsn,
        dimension: u16,
        vector: &[f32],
    ) -> Result<Self> {
        validate::vector("embedding", vector, usize::from(dimension))?;
        let record = EmbeddingRecord {
            inverse_norm: inverse_norm(vector),
            epoch,
            unknown: UnknownFields::default(),
        };
        let mut payload = Vec::new();
        record.encode(vector, &mut payload);
        Ok(Self {
            collective,
            of,
            epoch,
            dimension,
            payload_crc: payload_crc(&payload),
            payload,
            inverse_norm: record.inverse_norm,
        })
    }

    /// Bytes it will take in the queue and in the log, up to alignment.
    pub fn bytes(&self) -> usize {
        self.payload.len() + FRAME_HEADER_LEN
    }
}
