//! Where in the log does a frame stand?
//!
//! A place names a segment and a 64-byte unit in it, eight bytes in all, so that row tables can
//! hold millions of them. Places are derived state: they are never written into a record, since
//! compaction moves frames. Every segment begins with a header block, so no frame has unit 0, and
//! the packed form 0 is free to mean "none".

use crate::format::FRAME_ALIGN;

/// Bytes of one unit: frames start at multiples of it.
pub(crate) const UNIT_BYTES: u64 = FRAME_ALIGN;

/// The position of one frame.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub(crate) struct Place {
    /// Id of the segment.
    pub(crate) segment: u32,
    /// Offset in the segment's file, in units.
    pub(crate) unit: u32,
}

impl Place {
    /// The place of the frame at byte `offset`; `Config::MAX_SEGMENT_BYTES` keeps the unit in range.
    pub(crate) const fn at(segment: u32, offset: u64) -> Self {
        Self {
            segment,
            unit: (offset / UNIT_BYTES) as u32,
        }
    }

    /// Byte offset in the segment's file.
    pub(crate) const fn offset(self) -> u64 {
        self.unit as u64 * UNIT_BYTES
    }

    /// Eight bytes; 0 is the packed form of `None`.
    pub(crate) const fn pack(place: Option<Self>) -> u64 {
        match place {
            Some(place) => ((place.segment as u64) << 32) | place.unit as u64,
            None => 0,
        }
    }

    /// The inverse of [`Self::pack`].
    pub(crate) const fn unpack(packed: u64) -> Option<Self> {
        if packed == 0 {
            return None;
        }
        Some(Self {
            segment: (packed >> 32) as u32,
            unit: packed as u32,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn packing_is_reversible_and_zero_is_none() {
        for place in [
            Place::at(1, 4096),
            Place::at(u32::MAX, 64 * u64::from(u32::MAX)),
        ] {
            assert_eq!(Place::unpack(Place::pack(Some(place))), Some(place));
        }
        assert_eq!(Place::pack(None), 0);
        assert_eq!(Place::unpack(0), None);
        assert_eq!(Place::at(7, 4096).offset(), 4096);
    }
}
