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
    log::{Frame, Place, SegmentSet},
    state::{Row, Table, Values, Visited, replay},
};

/// The payload of a row's body.
///
/// # Errors
/// `Corrupted` where it is not what was recorded.
pub fn payload<'s>(segments: &'s SegmentSet, row: &Visited<'_>) -> Result<&'s [u8]> {
    with_dimension(segments, row).map(|(_, payload)| payload)
}

/// The same, and how many components of a vector it begins with: compaction leaves out a vector that
/// nobody goes by any more.
fn with_dimension<'s>(segments: &'s SegmentSet, row: &Visited<'_>) -> Result<(u16, &'s [u8])> {
    if !row.checked() {
        return compare(segments, row);
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
pub fn compare<'s>(segments: &'s SegmentSet, row: &Visited<'_>) -> Result<(u16, &'s [u8])> {
    let compared = segments
        .frame(row.row.place)
        .and_then(|frame| compared(&frame, row.row))
        .inspect_err(|error| segments.note_damage(error))?;
    // One that the open could not read is compared whenever somebody asks for it.
    if row.row.kind.is_some() {
        row.note_checked();
    }
    Ok(compared)
}

/// The body of a row, read in place.
///
/// # Errors
/// As [`payload`].
pub fn view<'s>(segments: &'s SegmentSet, row: &Visited<'_>) -> Result<BodyView<'s>> {
    let (dimension, payload) = with_dimension(segments, row)?;
    BodyView::parse(dimension, payload).map_err(|error| undecodable(segments, row, &error))
}

/// The vector that a row has now, read in place.
#[derive(Clone, Copy, Debug)]
pub struct Stored<'s> {
    /// Its components.
    pub vector: &'s [f32],
    /// 1 / its length.
    pub inverse_norm: f32,
}

/// Where the vector of a row of `table` stands that the table goes by: in its body, or beside it.
///
/// # Errors
/// `Corrupted` where its record is not what was written, or is missing.
pub fn vector_place(
    segments: &SegmentSet,
    row: &Visited<'_>,
    table: &Table,
) -> Result<(Place, f32)> {
    let Some(beside) = table.vectors_beside(row.row) else {
        if !row.checked() {
            compare(segments, row)?;
        }
        if row.row.dimension != table.dimension {
            let what = format!(
                "the vector has {} components, those of the collective {}",
                row.row.dimension, table.dimension
            );
            return Err(damaged(segments, row.row.place, what));
        }
        return Ok((row.row.place, row.row.inverse_norm));
    };
    let found = beside.with(row.number, |placed| {
        if !placed.checked() {
            let frame = segments.frame(placed.place)?;
            frame.verified_payload()?;
            let header = &frame.header;
            if (header.lsn, header.entity, header.dimension)
                != (placed.lsn, row.row.id, table.dimension)
            {
                return Err(frame.corrupted("it is not the vector that was written here"));
            }
            placed.note_checked();
        }
        Ok((placed.place, placed.inverse_norm))
    });
    match found {
        Some(found) => found.inspect_err(|error| segments.note_damage(error)),
        None => {
            let what = "the record of its vector is lost; re-embed the collective".to_owned();
            Err(damaged(segments, row.row.place, what))
        }
    }
}

/// The vector of a row of `table` that the table goes by.
///
/// # Errors
/// As [`vector_place`].
pub fn vector<'s>(
    segments: &'s SegmentSet,
    row: &Visited<'_>,
    table: &Table,
) -> Result<Stored<'s>> {
    let (place, inverse_norm) = vector_place(segments, row, table)?;
    let vector = segments.vector(place, table.dimension)?;
    Ok(Stored {
        vector,
        inverse_norm,
    })
}

/// The traits of a row with these values.
///
/// # Errors
/// As [`payload`].
pub fn traits(segments: &SegmentSet, row: &Visited<'_>, values: &Values) -> Result<Traits> {
    if values.traits_place.is_some() {
        return replay::traits_at(segments, row.row, values);
    }
    let traits = view(segments, row)?.traits();
    traits.map_err(|error| undecodable(segments, row, &error))
}

/// What is wrong with a body whose checksums are right, as an error that names the place.
pub fn undecodable(segments: &SegmentSet, row: &Visited<'_>, error: &DecodeError) -> PulseDBError {
    damaged(segments, row.row.place, error.to_string())
}

fn damaged(segments: &SegmentSet, place: Place, what: String) -> PulseDBError {
    let error = match segments.holder(place) {
        Ok((segment, unit)) => segment.corrupted_frame(unit, what),
        Err(damage) => damage,
    };
    segments.note_damage(&error);
    error
}

fn compared<'s>(frame: &Frame<'s>, row: &Row) -> Result<(u16, &'s [u8])> {
    let payload = frame.verified_payload()?;
    let header = &frame.header;
    if !header.kind.makes_row() || (header.lsn, header.entity) != (row.lsn, row.id) {
        return Err(frame.corrupted(format!(
            "record {} stands where the body of record {} was",
            header.lsn, row.lsn
        )));
    }
    Ok((header.dimension, payload))
}
