//! Are the bytes of a row's body those that were recorded?
//!
//! A body is compared with its checksums once, at its first use after an open, and its slot
//! remembers that: a commit and a replay count as such a use, a row that comes from elsewhere is
//! compared by whoever reads it first. So no flipped bit changes an answer silently, and a warm read
//! pays one load instead of a checksum. Everybody who reads a row's vector, content or first traits
//! goes through here. Damage is confined to its record, and noted for health to list.

use crate::{
    error::{PulseDBError, Result},
    format::{BodyView, DecodeError, RecordKind, Traits},
    log::{Segment, SegmentSet},
    state::{Row, Values, Visited, replay},
};

/// The payload of a row's body.
///
/// # Errors
/// `Corrupted` where it is not what was recorded.
pub fn payload<'s>(segments: &'s SegmentSet, row: &Visited<'_>) -> Result<&'s [u8]> {
    let found = segments.holder(row.row.place).and_then(|(segment, unit)| {
        if row.checked() {
            return segment.payload(unit);
        }
        let payload = compared(segment, unit, row.row)?;
        row.note_checked();
        Ok(payload)
    });
    found.inspect_err(|error| segments.note_damage(error))
}

/// The body of a row, read in place; `dimension` is the collective's.
///
/// # Errors
/// As [`payload`].
pub fn view<'s>(
    segments: &'s SegmentSet,
    row: &Visited<'_>,
    dimension: u16,
) -> Result<BodyView<'s>> {
    let payload = payload(segments, row)?;
    BodyView::parse(dimension, payload).map_err(|error| undecodable(segments, row, &error))
}

/// The vector of a row, read in place; `dimension` is the collective's.
///
/// # Errors
/// As [`payload`].
pub fn vector<'s>(
    segments: &'s SegmentSet,
    row: &Visited<'_>,
    dimension: u16,
) -> Result<&'s [f32]> {
    if !row.checked() {
        payload(segments, row)?;
    }
    segments.vector(row.row.place, dimension)
}

/// The traits of a row with these values.
///
/// # Errors
/// As [`payload`].
pub fn traits(
    segments: &SegmentSet,
    row: &Visited<'_>,
    values: &Values,
    dimension: u16,
) -> Result<Traits> {
    if values.traits_place.is_some() {
        return replay::traits_at(segments, row.row, values);
    }
    let traits = view(segments, row, dimension)?.traits();
    traits.map_err(|error| undecodable(segments, row, &error))
}

/// What is wrong with a body whose checksums are right, as an error that names the place.
pub fn undecodable(segments: &SegmentSet, row: &Visited<'_>, error: &DecodeError) -> PulseDBError {
    let error = match segments.holder(row.row.place) {
        Ok((segment, unit)) => segment.corrupted_frame(unit, error.to_string()),
        Err(damage) => damage,
    };
    segments.note_damage(&error);
    error
}

fn compared<'s>(segment: &'s Segment, unit: u32, row: &Row) -> Result<&'s [u8]> {
    let frame = segment.frame(unit)?;
    let payload = frame.verified_payload()?;
    let header = &frame.header;
    if (header.kind, header.lsn, header.entity) != (RecordKind::Body, row.lsn, row.id) {
        return Err(frame.corrupted(format!(
            "record {} stands where the body of record {} was",
            header.lsn, row.lsn
        )));
    }
    Ok(payload)
}
