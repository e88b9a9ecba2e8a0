//! Which frames stand in these bytes, whatever happened to them?
//!
//! Pure. A walk goes from frame to frame; where no valid header stands it searches on in steps of
//! one unit, and reports the stretch it skipped. It decides nothing about what a gap means: that
//! is the business of `scan`. Invariants: the frames of one walk have strictly increasing LSNs,
//! lie entirely below the limit, and every byte from the start to [`Walk::at`] was either in a
//! frame or in a reported gap. Called by `scan`, `recover`, `segment` and `set`.

use crate::format::{FRAME_HEADER_LEN, FrameHeader, payload_crc};

use super::{pieces::Source, place::UNIT_BYTES};

/// Runs of zeros are compared in blocks of this size: preallocated space is mostly zeros.
const BLOCK: usize = 4096;
static ZEROS: [u8; BLOCK] = [0; BLOCK];

/// What a walk came upon.
#[derive(Debug)]
pub(crate) enum Step {
    /// A frame whose header is valid. Its payload was not looked at.
    Frame {
        /// Byte offset of the header.
        at: u64,
        /// The header.
        header: FrameHeader,
    },
    /// No frame could be read here.
    Gap {
        /// Byte offset of the first unit that is no frame.
        at: u64,
        /// Where the next valid frame begins; the limit if there is none.
        resume: u64,
        /// End of the last unit of the gap that is not all zero.
        written: u64,
        /// What stands at `at`.
        what: String,
    },
}

/// A walk over the frames in `bytes[at..limit]`.
#[derive(Debug)]
pub(crate) struct Walk<S> {
    bytes: S,
    seed: u32,
    at: u64,
    limit: u64,
    last_lsn: u64,
}

impl<S: Source> Walk<S> {
    /// Starts at `at`, which must be where a frame begins; frames with an LSN up to `last_lsn`
    /// are no frames of this walk.
    pub(crate) fn new(bytes: S, seed: u32, at: u64, limit: u64, last_lsn: u64) -> Self {
        Self {
            limit: limit.min(bytes.len()),
            bytes,
            seed,
            at,
            last_lsn,
        }
    }

    /// What it walks over.
    pub(crate) fn source(&mut self) -> &mut S {
        &mut self.bytes
    }

    /// The payload of the frame at `at`, if it is what was written.
    pub(crate) fn payload(&mut self, at: u64, header: &FrameHeader) -> Option<&[u8]> {
        let len = u64::from(header.payload_len);
        let payload = self.bytes.slice(at + FRAME_HEADER_LEN as u64, len)?;
        (payload_crc(payload) == header.payload_crc).then_some(payload)
    }

    /// Where the walk stands.
    pub(crate) fn at(&self) -> u64 {
        self.at
    }

    /// The newest LSN the walk came upon.
    pub(crate) fn last_lsn(&self) -> u64 {
        self.last_lsn
    }

    /// The frame at `at`, or what is wrong with it.
    fn header_at(&mut self, at: u64) -> Result<FrameHeader, String> {
        let bytes = (self.bytes)
            .slice(at, FRAME_HEADER_LEN as u64)
            .filter(|_| at + FRAME_HEADER_LEN as u64 <= self.limit)
            .ok_or_else(|| "the segment ends inside a frame header".to_owned())?;
        let header = FrameHeader::decode(bytes, self.seed).map_err(|fault| fault.to_string())?;
        if at + header.frame_len() > self.limit {
            return Err("the frame reaches beyond the end of the segment".to_owned());
        }
        if header.lsn.get() <= self.last_lsn {
            return Err(format!(
                "LSN {} does not follow LSN {}",
                header.lsn, self.last_lsn
            ));
        }
        Ok(header)
    }

    /// The next unit at or behind `from` where a whole valid frame begins, or the limit; and the
    /// end of the last unit before it that is not all zero. The payload is checked as well, so
    /// that the one chance in 2^32 per unit of a header that passes by accident is squared.
    fn search(&mut self, from: u64) -> (u64, u64) {
        let mut at = from;
        let mut written = from;
        while at < self.limit {
            if let Some(block) = self.bytes.slice(at, BLOCK as u64)
                && block == ZEROS
            {
                at += BLOCK as u64;
                continue;
            }
            // One block's worth of units, so that a long run of zeros gets back to whole blocks.
            let block_end = (at + BLOCK as u64).min(self.limit);
            while at < block_end {
                let unit = UNIT_BYTES.min(self.limit - at);
                let written_to = self.bytes.slice(at, unit);
                if written_to.is_some_and(|unit| !is_zero(unit)) {
                    if let Ok(header) = self.header_at(at)
                        && self.payload(at, &header).is_some()
                    {
                        return (at, written);
                    }
                    written = at + unit;
                }
                at += unit;
            }
        }
        (self.limit, written)
    }
}

impl<S: Source> Iterator for Walk<S> {
    type Item = Step;

    /// Ends where nothing but zeros follow.
    fn next(&mut self) -> Option<Step> {
        if self.at >= self.limit {
            return None;
        }
        let at = self.at;
        match self.header_at(at) {
            Ok(header) => {
                self.at = at + header.frame_len();
                self.last_lsn = header.lsn.get();
                Some(Step::Frame { at, header })
            }
            Err(what) => {
                let (resume, written) = self.search(at);
                if resume == self.limit && written == at {
                    self.limit = at;
                    return None;
                }
                self.at = resume;
                Some(Step::Gap {
                    at,
                    resume,
                    written,
                    what,
                })
            }
        }
    }
}

/// `len` bytes from `at`, if there are so many.
pub(crate) fn slice(bytes: &[u8], at: u64, len: u64) -> Option<&[u8]> {
    let start = usize::try_from(at).ok()?;
    let end = usize::try_from(at.checked_add(len)?).ok()?;
    bytes.get(start..end)
}

fn is_zero(unit: &[u8]) -> bool {
    ZEROS.get(..unit.len()) == Some(unit)
}
