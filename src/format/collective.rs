//! How is a collective written?
//!
//! The record holds all of it; a later record with the same id replaces it whole. The id and the
//! collective's number stand in the frame header. Written by `write`, read by recovery.

use super::{
    DecodeError, UnknownFields,
    fields::{Field, FieldWriter, Fields, missing},
};
use crate::model::{
    Collective, CollectiveId, DecayConfig, EmbedderIdentity, Lsn, NextVectors, Precisions,
    RecallWeights, Timestamp, UserId, VectorEpoch, limits::MAX_DIMENSION,
};

/// Most that `freq_weight` can be.
const MAX_FREQ_WEIGHT: f32 = 100.0;

/// A collective as it stands in the log.
#[derive(Clone, Debug, PartialEq)]
pub struct CollectiveRecord {
    /// The collective.
    pub collective: Collective,
    /// What a newer build stored.
    pub unknown: UnknownFields,
}

impl CollectiveRecord {
    /// Appends the payload.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let collective = &self.collective;
        let decay = &collective.decay;
        let mut writer = FieldWriter::new(out);
        writer.bytes(1, collective.name.as_bytes());
        writer.optional(
            2,
            collective
                .owner_id
                .as_ref()
                .map(|id| id.as_str().as_bytes()),
        );
        writer.bytes(3, &collective.embedding_dimension.to_le_bytes());
        writer.time(4, Some(collective.created_at));
        writer.bytes(5, &decay.half_life_ms.to_le_bytes());
        writer.f32(6, decay.freq_weight);
        writer.f32(7, decay.floor);
        writer.flag(8, decay.auto_archive_below_floor);
        if let Some(weights) = &decay.default_recall_weights {
            writer.f32(9, weights.similarity);
            writer.f32(10, weights.energy);
        }
        if let Some(embedder) = &collective.embedder {
            writer.bytes(11, embedder.provider.as_bytes());
            writer.bytes(12, embedder.model.as_bytes());
            writer.bytes(13, embedder.fingerprint.as_bytes());
        }
        writer.lsn(14, collective.vectors.epoch);
        writer.lsn(15, collective.vectors.since);
        if let Some(next) = &collective.vectors.next {
            writer.lsn(16, next.epoch);
            writer.bytes(17, &next.dimension.to_le_bytes());
            writer.bytes(18, next.embedder.provider.as_bytes());
            writer.bytes(19, next.embedder.model.as_bytes());
            writer.bytes(20, next.embedder.fingerprint.as_bytes());
        }
        writer.flag(21, collective.precisions.f32);
        writer.flag(22, collective.precisions.bf16);
        writer.unknown(&self.unknown);
    }

    /// Reads a payload; the id comes from the frame header.
    pub fn decode(id: CollectiveId, payload: &[u8]) -> Result<Self, DecodeError> {
        let mut read = Read::default();
        let mut unknown = UnknownFields::default();
        let mut fields = Fields::new(payload);
        while let Some(field) = fields.next_field()? {
            if field.tag > 22 {
                unknown = UnknownFields::keep(fields.keep_from(&field, payload)?);
                break;
            }
            read.field(&field)?;
        }
        let collective = read.finish(id)?;
        Ok(Self {
            collective,
            unknown,
        })
    }
}

/// What has been read so far.
#[derive(Default)]
struct Read {
    name: Option<String>,
    owner_id: Option<UserId>,
    dimension: Option<u16>,
    created_at: Option<Timestamp>,
    half_life_ms: Option<u64>,
    freq_weight: Option<f32>,
    floor: Option<f32>,
    auto_archive: bool,
    similarity: Option<f32>,
    energy: Option<f32>,
    provider: Option<String>,
    model: Option<String>,
    fingerprint: Option<String>,
    epoch: Lsn,
    since: Lsn,
    next_epoch: Option<Lsn>,
    next_dimension: Option<u16>,
    next_provider: Option<String>,
    next_model: Option<String>,
    next_fingerprint: Option<String>,
    precisions: Precisions,
}

impl Read {
    fn field(&mut self, field: &Field<'_>) -> Result<(), DecodeError> {
        let text = |name| field.text(name).map(str::to_owned).map(Some);
        match field.tag {
            1 => self.name = text("collective.name")?,
            2 => self.owner_id = text("collective.owner_id")?.map(UserId::from),
            3 => self.dimension = Some(dimension(field, "collective.dimension")?),
            4 => self.created_at = Some(field.time("collective.created_at")?),
            5 => self.half_life_ms = Some(half_life(field)?),
            6 => {
                let weight = field.ratio("collective.freq_weight", MAX_FREQ_WEIGHT)?;
                self.freq_weight = Some(weight);
            }
            7 => self.floor = Some(field.ratio("collective.floor", 1.0)?),
            8 => self.auto_archive = field.flag("collective.auto_archive_below_floor")?,
            9 => self.similarity = Some(field.ratio("collective.weight_similarity", f32::MAX)?),
            10 => self.energy = Some(field.ratio("collective.weight_energy", f32::MAX)?),
            11 => self.provider = text("collective.embedder_provider")?,
            12 => self.model = text("collective.embedder_model")?,
            13 => self.fingerprint = text("collective.embedder_fingerprint")?,
            14 => self.epoch = field.lsn("collective.epoch")?,
            15 => self.since = field.lsn("collective.since")?,
            16 => self.next_epoch = Some(field.lsn("collective.next_epoch")?),
            17 => self.next_dimension = Some(dimension(field, "collective.next_dimension")?),
            18 => self.next_provider = text("collective.next_provider")?,
            19 => self.next_model = text("collective.next_model")?,
            20 => self.next_fingerprint = text("collective.next_fingerprint")?,
            21 => self.precisions.f32 = field.flag("collective.f32")?,
            22 => self.precisions.bf16 = field.flag("collective.bf16")?,
            _ => {}
        }
        Ok(())
    }

    /// The re-embedding under way: all of its fields, or none.
    fn next(&mut self) -> Result<Option<NextVectors>, DecodeError> {
        let embedder = (
            self.next_provider.take(),
            self.next_model.take(),
            self.next_fingerprint.take(),
        );
        match (self.next_epoch, self.next_dimension, embedder) {
            (None, None, (None, None, None)) => Ok(None),
            (Some(epoch), Some(dimension), (Some(provider), Some(model), Some(fingerprint))) => {
                Ok(Some(NextVectors {
                    epoch,
                    dimension,
                    embedder: EmbedderIdentity {
                        provider,
                        model,
                        fingerprint,
                    },
                }))
            }
            _ => Err(missing("collective.next", 16)),
        }
    }

    fn finish(mut self, id: CollectiveId) -> Result<Collective, DecodeError> {
        let next = self.next()?;
        let default_recall_weights = match (self.similarity, self.energy) {
            (Some(similarity), Some(energy)) => Some(RecallWeights { similarity, energy }),
            (None, None) => None,
            (None, _) => return Err(missing("collective.weight_similarity", 9)),
            (_, None) => return Err(missing("collective.weight_energy", 10)),
        };
        let embedder = match (self.provider, self.model, self.fingerprint) {
            (Some(provider), Some(model), Some(fingerprint)) => Some(EmbedderIdentity {
                provider,
                model,
                fingerprint,
            }),
            (None, None, None) => None,
            (None, ..) => return Err(missing("collective.embedder_provider", 11)),
            (_, None, _) => return Err(missing("collective.embedder_model", 12)),
            (.., None) => return Err(missing("collective.embedder_fingerprint", 13)),
        };
        Ok(Collective {
            id,
            name: self.name.ok_or(missing("collective.name", 1))?,
            owner_id: self.owner_id,
            embedding_dimension: self.dimension.ok_or(missing("collective.dimension", 3))?,
            decay: DecayConfig {
                half_life_ms: self
                    .half_life_ms
                    .ok_or(missing("collective.half_life_ms", 5))?,
                freq_weight: self
                    .freq_weight
                    .ok_or(missing("collective.freq_weight", 6))?,
                floor: self.floor.ok_or(missing("collective.floor", 7))?,
                auto_archive_below_floor: self.auto_archive,
                default_recall_weights,
            },
            embedder,
            created_at: self.created_at.ok_or(missing("collective.created_at", 4))?,
            vectors: VectorEpoch {
                epoch: self.epoch,
                since: self.since,
                next,
            },
            precisions: self.precisions,
        })
    }
}

fn dimension(field: &Field<'_>, name: &'static str) -> Result<u16, DecodeError> {
    let value = field.u16(name)?;
    if (1..=MAX_DIMENSION).contains(&usize::from(value)) {
        Ok(value)
    } else {
        Err(field.wrong(name, "the number is out of range"))
    }
}

fn half_life(field: &Field<'_>) -> Result<u64, DecodeError> {
    match field.u64("collective.half_life_ms")? {
        0 => Err(field.wrong("collective.half_life_ms", "the number is out of range")),
        value => Ok(value),
    }
}
