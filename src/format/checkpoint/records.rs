//! How are rows, versions, graves, keys, edges and vectors written in a checkpoint?
//!
//! As records of a fixed length, one behind the other, so that any of them is found by its number
//! and read without another. Decoders are total: the checksum of the file says whether the bytes are
//! what was written, so a record is taken as it stands, and a kind without a meaning reads as none.

use super::super::{
    array_at, experience_type::experience_kind, put_at, relation::relation_type_of,
};
use crate::model::{ExperienceKind, Lsn, RelationType, Timestamp};

const PINNED: u8 = 1;
const KEYED: u8 = 1 << 1;
const EXPIRES: u8 = 1 << 2;
const ARCHIVED: u8 = 1 << 3;
const BOUNDED: u8 = 1 << 4;

/// Where a frame stands: id of its segment and the unit of 64 bytes in it. Segment 0 is none.
pub type FramePlace = (u32, u32);

/// A row: what never changes about it.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointRow {
    /// The record that created it.
    pub lsn: Lsn,
    /// The experience's id.
    pub id: u128,
    /// When it was recorded.
    pub time: Timestamp,
    /// Where its body is.
    pub place: FramePlace,
    /// Bytes of its frame.
    pub frame_bytes: u32,
    /// Components of the vector in its body.
    pub dimension: u16,
    /// Which of the collective's agents recorded it.
    pub agent: u32,
    /// 1 / ‖vector‖.
    pub inverse_norm: f32,
    /// Importance at creation.
    pub importance: f32,
    /// Confidence at creation.
    pub confidence: f32,
    /// Kind of its type; `None` where the body is damaged.
    pub kind: Option<ExperienceKind>,
    /// Pinned at creation.
    pub pinned: bool,
    /// Has an idempotency key.
    pub keyed: bool,
    /// Expiry at creation.
    pub expires_at: Option<Timestamp>,
    /// Holds only for a time, at creation.
    pub bounded: bool,
}

impl CheckpointRow {
    /// Bytes of a record.
    pub const LEN: usize = 72;

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        put_at(&mut out, 0, &self.lsn.get().to_le_bytes());
        put_at(&mut out, 8, &self.id.to_be_bytes());
        put_at(&mut out, 24, &self.time.as_millis().to_le_bytes());
        put_at(&mut out, 32, &self.place.0.to_le_bytes());
        put_at(&mut out, 36, &self.place.1.to_le_bytes());
        put_at(&mut out, 40, &self.frame_bytes.to_le_bytes());
        put_at(&mut out, 44, &self.agent.to_le_bytes());
        put_at(&mut out, 48, &self.inverse_norm.to_le_bytes());
        put_at(&mut out, 52, &self.importance.to_le_bytes());
        put_at(&mut out, 56, &self.confidence.to_le_bytes());
        let flags = flag(self.pinned, PINNED)
            | flag(self.keyed, KEYED)
            | flag(self.expires_at.is_some(), EXPIRES)
            | flag(self.bounded, BOUNDED);
        let kind = self.kind.map_or(0, |kind| kind as u8);
        put_at(&mut out, 60, &[kind, flags]);
        put_at(&mut out, 62, &self.dimension.to_le_bytes());
        put_at(&mut out, 64, &millis(self.expires_at));
        out
    }

    /// The record in `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let [kind, flags] = array_at(bytes, 60);
        Self {
            lsn: lsn_at(bytes, 0),
            id: id_of(bytes),
            time: time_at(bytes, 24),
            place: place_at(bytes, 32),
            frame_bytes: u32::from_le_bytes(array_at(bytes, 40)),
            dimension: u16::from_le_bytes(array_at(bytes, 62)),
            agent: u32::from_le_bytes(array_at(bytes, 44)),
            inverse_norm: f32::from_le_bytes(array_at(bytes, 48)),
            importance: f32::from_le_bytes(array_at(bytes, 52)),
            confidence: f32::from_le_bytes(array_at(bytes, 56)),
            kind: experience_kind(kind),
            pinned: flags & PINNED != 0,
            keyed: flags & KEYED != 0,
            expires_at: (flags & EXPIRES != 0).then(|| time_at(bytes, 64)),
            bounded: flags & BOUNDED != 0,
        }
    }
}

/// The id in a row's record, without the rest.
pub(super) fn id_of(bytes: &[u8]) -> u128 {
    u128::from_be_bytes(array_at(bytes, 8))
}

/// The place of the body in a row's record, without the rest.
pub(super) fn place_of(bytes: &[u8]) -> FramePlace {
    place_at(bytes, 32)
}

/// Values of a row behind those of its body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointVersion {
    /// Number of the collective.
    pub collective: u32,
    /// Number of the row in it.
    pub row: u32,
    /// Since when they hold.
    pub lsn: Lsn,
    /// In [0, 1].
    pub importance: f32,
    /// In [0, 1].
    pub confidence: f32,
    /// How often this instance applied it.
    pub applications: u32,
    /// Whether default searches leave it out.
    pub archived: bool,
    /// Whether it is exempt from expiry.
    pub pinned: bool,
    /// When it was last applied, or recorded.
    pub last_reinforced: Timestamp,
    /// When anything last changed.
    pub updated_at: Timestamp,
    /// From when on it is gone.
    pub expires_at: Option<Timestamp>,
    /// The record that the vitals came from; zero means the body.
    pub vitals_lsn: Lsn,
    /// The record that the traits came from; zero means the body.
    pub traits_lsn: Lsn,
    /// Where that record is; segment 0 means the body.
    pub traits_place: FramePlace,
    /// Where the damaged record is that hides the vitals; segment 0 means there is none.
    pub damaged_place: FramePlace,
    /// How often all other instances applied it.
    pub others: u32,
    /// Whether it holds only for a time.
    pub bounded: bool,
}

impl CheckpointVersion {
    /// Bytes of a record.
    pub const LEN: usize = 96;

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        put_at(&mut out, 0, &self.collective.to_le_bytes());
        put_at(&mut out, 4, &self.row.to_le_bytes());
        put_at(&mut out, 8, &self.lsn.get().to_le_bytes());
        put_at(&mut out, 16, &self.importance.to_le_bytes());
        put_at(&mut out, 20, &self.confidence.to_le_bytes());
        put_at(&mut out, 24, &self.applications.to_le_bytes());
        let flags = flag(self.pinned, PINNED)
            | flag(self.expires_at.is_some(), EXPIRES)
            | flag(self.archived, ARCHIVED)
            | flag(self.bounded, BOUNDED);
        put_at(&mut out, 28, &[flags]);
        put_at(
            &mut out,
            32,
            &self.last_reinforced.as_millis().to_le_bytes(),
        );
        put_at(&mut out, 40, &self.updated_at.as_millis().to_le_bytes());
        put_at(&mut out, 48, &millis(self.expires_at));
        put_at(&mut out, 56, &self.vitals_lsn.get().to_le_bytes());
        put_at(&mut out, 64, &self.traits_lsn.get().to_le_bytes());
        put_at(&mut out, 72, &self.traits_place.0.to_le_bytes());
        put_at(&mut out, 76, &self.traits_place.1.to_le_bytes());
        put_at(&mut out, 80, &self.damaged_place.0.to_le_bytes());
        put_at(&mut out, 84, &self.damaged_place.1.to_le_bytes());
        put_at(&mut out, 88, &self.others.to_le_bytes());
        out
    }

    /// The record in `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let [flags] = array_at(bytes, 28);
        Self {
            collective: u32::from_le_bytes(array_at(bytes, 0)),
            row: u32::from_le_bytes(array_at(bytes, 4)),
            lsn: lsn_at(bytes, 8),
            importance: f32::from_le_bytes(array_at(bytes, 16)),
            confidence: f32::from_le_bytes(array_at(bytes, 20)),
            applications: u32::from_le_bytes(array_at(bytes, 24)),
            archived: flags & ARCHIVED != 0,
            pinned: flags & PINNED != 0,
            last_reinforced: time_at(bytes, 32),
            updated_at: time_at(bytes, 40),
            expires_at: (flags & EXPIRES != 0).then(|| time_at(bytes, 48)),
            vitals_lsn: lsn_at(bytes, 56),
            traits_lsn: lsn_at(bytes, 64),
            traits_place: place_at(bytes, 72),
            damaged_place: place_at(bytes, 80),
            others: u32::from_le_bytes(array_at(bytes, 88)),
            bounded: flags & BOUNDED != 0,
        }
    }
}

/// A row that was deleted, but that an older snapshot may see.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointGrave {
    /// Number of the collective.
    pub collective: u32,
    /// Number of the row in it.
    pub row: u32,
    /// The record that deleted it.
    pub deleted_at: Lsn,
}

impl CheckpointGrave {
    /// Bytes of a record.
    pub const LEN: usize = 16;

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        put_at(&mut out, 0, &self.collective.to_le_bytes());
        put_at(&mut out, 4, &self.row.to_le_bytes());
        put_at(&mut out, 8, &self.deleted_at.get().to_le_bytes());
        out
    }

    /// The record in `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        Self {
            collective: u32::from_le_bytes(array_at(bytes, 0)),
            row: u32::from_le_bytes(array_at(bytes, 4)),
            deleted_at: lsn_at(bytes, 8),
        }
    }
}

/// Whose idempotency key stands where.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CheckpointKey {
    /// Number of the collective.
    pub collective: u32,
    /// Number of the row in it.
    pub row: u32,
    /// Where the key ends among the texts of all keys; it begins where the one before it ends.
    pub text_end: u64,
}

impl CheckpointKey {
    /// Bytes of a record.
    pub const LEN: usize = 16;

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        put_at(&mut out, 0, &self.collective.to_le_bytes());
        put_at(&mut out, 4, &self.row.to_le_bytes());
        put_at(&mut out, 8, &self.text_end.to_le_bytes());
        out
    }

    /// The record in `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        Self {
            collective: u32::from_le_bytes(array_at(bytes, 0)),
            row: u32::from_le_bytes(array_at(bytes, 4)),
            text_end: u64::from_le_bytes(array_at(bytes, 8)),
        }
    }
}

/// A relation, as seen from one of its ends.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointEdge {
    /// Number of the collective.
    pub collective: u32,
    /// Row of the experience at this end.
    pub row: u32,
    /// Row of the relation, among the relations.
    pub relation: u32,
    /// Row of the experience at the other end.
    pub other: u32,
    /// Whether the relation starts here.
    pub outgoing: bool,
    /// What it says.
    pub relation_type: RelationType,
    /// In [0, 1].
    pub strength: f32,
    /// Whether the relation has metadata.
    pub has_metadata: bool,
}

impl CheckpointEdge {
    /// Bytes of a record.
    pub const LEN: usize = 24;

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        put_at(&mut out, 0, &self.collective.to_le_bytes());
        put_at(&mut out, 4, &self.row.to_le_bytes());
        put_at(&mut out, 8, &self.relation.to_le_bytes());
        put_at(&mut out, 12, &self.other.to_le_bytes());
        put_at(&mut out, 16, &self.strength.to_le_bytes());
        put_at(
            &mut out,
            20,
            &[
                self.relation_type as u8,
                u8::from(self.outgoing),
                u8::from(self.has_metadata),
            ],
        );
        out
    }

    /// The record in `bytes`; `None` where its type has no meaning.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let (collective, row) = owner_of(bytes);
        let [code, outgoing, has_metadata] = array_at(bytes, 20);
        Some(Self {
            collective,
            row,
            relation: u32::from_le_bytes(array_at(bytes, 8)),
            other: u32::from_le_bytes(array_at(bytes, 12)),
            outgoing: outgoing != 0,
            relation_type: relation_type_of(code)?,
            strength: f32::from_le_bytes(array_at(bytes, 16)),
            has_metadata: has_metadata != 0,
        })
    }
}

/// A vector beside that of a body.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct CheckpointEmbedding {
    /// Number of the collective.
    pub collective: u32,
    /// Number of the row in it.
    pub row: u32,
    /// The re-embedding that it is of.
    pub epoch: Lsn,
    /// Its record,
    pub lsn: Lsn,
    /// and where that stands.
    pub place: FramePlace,
    /// 1 / ‖vector‖; 0 where the record is damaged.
    pub inverse_norm: f32,
}

impl CheckpointEmbedding {
    /// Bytes of a record.
    pub const LEN: usize = 40;

    /// The record's bytes.
    #[must_use]
    pub fn encode(&self) -> [u8; Self::LEN] {
        let mut out = [0; Self::LEN];
        put_at(&mut out, 0, &self.collective.to_le_bytes());
        put_at(&mut out, 4, &self.row.to_le_bytes());
        put_at(&mut out, 8, &self.epoch.get().to_le_bytes());
        put_at(&mut out, 16, &self.lsn.get().to_le_bytes());
        put_at(&mut out, 24, &self.place.0.to_le_bytes());
        put_at(&mut out, 28, &self.place.1.to_le_bytes());
        put_at(&mut out, 32, &self.inverse_norm.to_le_bytes());
        out
    }

    /// The record in `bytes`.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Self {
        let (collective, row) = owner_of(bytes);
        Self {
            collective,
            row,
            epoch: lsn_at(bytes, 8),
            lsn: lsn_at(bytes, 16),
            place: place_at(bytes, 24),
            inverse_norm: f32::from_le_bytes(array_at(bytes, 32)),
        }
    }
}

/// (collective, row) at the start of every record but that of a row: what they are sorted by.
pub(super) fn owner_of(bytes: &[u8]) -> (u32, u32) {
    (
        u32::from_le_bytes(array_at(bytes, 0)),
        u32::from_le_bytes(array_at(bytes, 4)),
    )
}

fn lsn_at(bytes: &[u8], at: usize) -> Lsn {
    Lsn::new(u64::from_le_bytes(array_at(bytes, at)))
}

fn time_at(bytes: &[u8], at: usize) -> Timestamp {
    Timestamp::from_millis(i64::from_le_bytes(array_at(bytes, at)))
}

fn place_at(bytes: &[u8], at: usize) -> FramePlace {
    (
        u32::from_le_bytes(array_at(bytes, at)),
        u32::from_le_bytes(array_at(bytes, at + 4)),
    )
}

fn millis(time: Option<Timestamp>) -> [u8; 8] {
    time.map_or(0, Timestamp::as_millis).to_le_bytes()
}

const fn flag(set: bool, bit: u8) -> u8 {
    if set { bit } else { 0 }
}
