//! Where do codes stand, so that no load of theirs crosses a cache line?

use std::ops::{Deref, DerefMut};

/// Bytes of a cache line, and of the widest vector register.
const LINE: usize = 64;

#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Line([i8; LINE]);

/// Signed bytes that start on a cache line.
#[derive(Debug, Default)]
pub struct AlignedCodes {
    lines: Vec<Line>,
}

impl AlignedCodes {
    /// `len` zeros, rounded up to whole cache lines.
    #[must_use]
    pub fn zeroed(len: usize) -> Self {
        Self {
            lines: vec![Line([0; LINE]); len.div_ceil(LINE)],
        }
    }
}

impl Deref for AlignedCodes {
    type Target = [i8];

    fn deref(&self) -> &[i8] {
        let len = self.lines.len() * LINE;
        // SAFETY: `lines` is that many initialised `Line`s, each exactly `LINE` bytes of `i8`
        // without padding (`repr(C)`, size a multiple of the alignment), and the result borrows it.
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), len) }
    }
}

impl DerefMut for AlignedCodes {
    fn deref_mut(&mut self) -> &mut [i8] {
        let len = self.lines.len() * LINE;
        // SAFETY: as in `deref`; every pattern of bits is an `i8`, and the result borrows `self`
        // mutably, so nobody else looks.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }
}
