//! Are the bytes of a row's body those that were recorded?
//!
//! A body is compared with its checksums once, at its first use after an open, and its slot
//! remembers that: a commit and a replay count as such a use, a row that comes from elsewhere is
//! compared by whoever reads it first. So no flipped bit changes an answer silently, and a warm read
//! pays one load instead of a checksum. Everybody who reads a row's vector, content or first traits
//! goes through here. Damage is confined to its record, and noted for health to list.

use crate::{
    error::{PulseDBError, Result},
    format::{BodyView, DecodeError, Traits},
    log::{Frame, SegmentSet},
    state::{Row, Values, Visited, replay},
};

/// The payload of a row's body; `dimension` is the collective's.
///
/// # Errors
/// `Corrupted` where it is not what was recorded.
pub fn payload<'s>(
    segments: &'s SegmentSet,
    row: &Visited<'_>,
    dimension: u16,
) -> Result<&'s [u8]> {
    if !row.checked() {
        return compare(segments, row, dimension);
    }
    segments
        .holder(row.row.place)
        .and_then(|(segment, unit)| segment.payload(unit))
        .inspect_err(|error| segments.note_damage(error))
}

/// The same, compared with its checksums whether that was done before or not: for what comes from the
/// medium again.
///
/// # Errors
/// As [`payload`].
pub fn compare<'s>(
    segments: &'s SegmentSet,
    row: &Visited<'_>,
    dimension: u16,
) -> Result<&'s [u8]> {
    let payload = segments
        .frame(row.row.place)
        .and_then(|frame| compared(&frame, row.row, dimension))
        .inspect_err(|error| segments.note_damage(error))?;
    // One that the open could not read is compared whenever somebody asks for it.
    if row.row.kind.is_some() {
        row.note_checked();
    }
    Ok(payload)
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
    let payload = payload(segments, row, dimension)?;
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
        compare(segments, row, dimension)?;
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

fn compared<'s>(frame: &Frame<'s>, row: &Row, dimension: u16) -> Result<&'s [u8]> {
    let payload = frame.verified_payload()?;
    let header = &frame.header;
    if !header.kind.makes_row() || (header.lsn, header.entity) != (row.lsn, row.id) {
        return Err(frame.corrupted(format!(
            "record {} stands where the body of record {} was",
            header.lsn, row.lsn
        )));
    }
    if header.dimension != dimension {
        return Err(frame.corrupted(format!(
            "the vector has {} components, those of the collective {dimension}",
            header.dimension
        )));
    }
    Ok(payload)
}
