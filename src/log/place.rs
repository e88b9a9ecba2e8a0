//! Where in the log does a frame stand?
//!
//! A place names a segment and a 64-byte unit in it, eight bytes in all, so that row tables can
//! hold millions of them. Places are derived state: they are never written into a record, since
//! compaction moves frames. Every segment begins with a header block, so no frame has unit 0.

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
    /// Where nothing stands: of a record that the log does not hold yet.
    pub(crate) const NOWHERE: Self = Self {
        segment: 0,
        unit: 0,
    };

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
}
