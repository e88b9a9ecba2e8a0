//! Which bytes stand for what?
//!
//! Every byte on disk is made and read here, and nowhere else; `storage-format.md` is the normative
//! description, and a test decodes its examples with this code. Nothing here does I/O, and nothing
//! here panics: every decoder is a total function of arbitrary bytes, with no unchecked length.
//!
//! Conventions: little endian, fixed width, CRC-32 as in gzip. Payloads are sequences of tagged
//! fields ([`fields`]) in ascending order of their tags; a field that a build does not know is kept
//! and written back, so that an older build does not lose what a newer one stored.
//!
//! Whoever needs bytes calls this: the log, the manifest and the flows. It names `model` only.

pub mod activity;
pub mod backup;
pub mod body;
pub mod change;
pub mod checkpoint;
pub mod collective;
pub mod decode_error;
mod embedding;
pub mod experience;
pub mod experience_type;
pub mod fields;
pub mod frame;
#[allow(
    dead_code,
    reason = "read and written by the vector engine, which nothing calls yet"
)]
pub mod graph;
pub mod insight;
pub mod lines;
pub mod log_record;
pub mod manifest;
pub mod record;
pub mod relation;
pub mod row_kind;
pub mod segment;
pub mod tail;
pub mod traits;
pub mod vitals;

#[cfg(test)]
mod checkpoint_tests;
#[cfg(test)]
mod examples_tests;
#[cfg(test)]
mod file_property_tests;
#[cfg(test)]
mod graph_tests;
#[cfg(test)]
mod record_property_tests;

pub use activity::{ActivityRecord, decode_activity_end, encode_activity_end};
pub use backup::{BackupFault, BackupManifest, BackupPiece, BackupSegment, Sha256Digest};
#[cfg(test)]
pub use body::Body;
pub use body::{BodyFields, BodyParts, BodyView, encode_body};
pub use change::{append_record, decode_change, encode_change, records_of};
pub use checkpoint::{
    CHECKPOINT_HEADER_LEN, Checkpoint, CheckpointActivity, CheckpointCollective, CheckpointCounts,
    CheckpointDamage, CheckpointDirectory, CheckpointEdge, CheckpointEmbedding, CheckpointGrave,
    CheckpointHeader, CheckpointKey, CheckpointRow, CheckpointSegment, CheckpointVersion,
    FramePlace, RowRun, SlotTable, checkpoint_file_lsn, checkpoint_file_name, id_hash, id_slots,
    key_hash, key_slot, key_slots, slot_of,
};
pub use collective::CollectiveRecord;
pub use decode_error::{DecodeError, FileFault};
pub use embedding::{EMBEDDING_FIELDS_LEN, EmbeddingRecord};
pub use experience::{ExperienceHead, assemble};
pub use fields::UnknownFields;
pub use frame::{
    FRAME_ALIGN, FRAME_HEADER_LEN, FrameHeader, RecordKind, frame_dimension, frame_len,
    frame_payload_len, implied_seed, payload_crc, verify_frame,
};
pub use graph::{Covered, GRAPH_HEADER_LEN, GraphHeader, GraphLayout, GraphParams};
pub use insight::Derivation;
pub use lines::{Header, Line, LineReader, LineWriter, MAX_LINE_BYTES};
pub use log_record::{entity_of, logged};
pub use manifest::{Fork, Manifest, SegmentEntry, SyncModeCode};
pub use record::Record;
pub use relation::{RelationEnd, RelationRecord};
pub use row_kind::{MAX_COLLECTIVE_NUMBER, RowKind, collective_of};
pub use segment::{SEGMENT_HEADER_LEN, SegmentHeader, parse_segment_file_name, segment_file_name};
pub use tail::{TAIL_LEN, Tail};
pub use traits::Traits;
pub use vitals::Vitals;

/// The version of the format that this build writes, and the newest that it reads.
pub const FORMAT_VERSION: u32 = 1;

/// Copies `N` bytes from `at` on; zeros where there are none. Callers check the length first; the
/// zeros only spare them a second check.
fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes
        .get(at..)
        .and_then(|rest| rest.first_chunk::<N>())
        .copied()
        .unwrap_or([0; N])
}

/// The components of a vector, copied; bit for bit.
fn floats(bytes: &[u8]) -> Vec<f32> {
    let (components, _) = bytes.as_chunks::<4>();
    let component = |bytes: &[u8; 4]| f32::from_le_bytes(*bytes);
    components.iter().map(component).collect()
}

/// Writes `value` at `at`, if it fits there.
fn put_at(out: &mut [u8], at: usize, value: &[u8]) {
    if let Some(slot) = out.get_mut(at..at + value.len()) {
        slot.copy_from_slice(value);
    }
}

/// What the headers of segments, graphs and checkpoints, and manifests of every version share: magic, then the version, and in the
/// last four bytes the checksum of all before.
fn check_file(bytes: &[u8], magic: [u8; 8]) -> Result<(), FileFault> {
    let (covered, crc) = bytes.split_last_chunk().ok_or(FileFault::Length)?;
    if !covered.starts_with(&magic) {
        return Err(FileFault::Magic);
    }
    if crc32fast::hash(covered) != u32::from_le_bytes(*crc) {
        return Err(FileFault::Checksum);
    }
    let found = u32::from_le_bytes(array_at(covered, magic.len()));
    if found == FORMAT_VERSION {
        Ok(())
    } else {
        Err(FileFault::Version { found })
    }
}
