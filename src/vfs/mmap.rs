//! How are the bytes of a file read in place?
//!
//! [`Map`] is a read-only shared map of the beginning of a file. The crate's contract for it, which
//! the unsafe blocks below lean on:
//!
//! - No file that is mapped is ever truncated (a file that shrinks turns reads into `SIGBUS`).
//! - Callers only ask for ranges whose bytes never change again. The log writes behind its
//!   published end, through `pwrite`, and never rewrites a published byte; retired files are
//!   recycled only when an exclusive lock proves that nobody maps them.
//!
//! Against other programs that write into the directory, and against a medium that fails under a
//! mapped page, no library can defend; both are documented limits.
#![allow(unsafe_code)]

use std::{fmt, fs::File, io, ops::Range};

use memmap2::{Mmap, MmapOptions};

// Stored numbers are little endian and are read in place.
#[cfg(not(target_endian = "little"))]
compile_error!("PulseDB maps little-endian files and runs on little-endian targets only");

/// Pages asked about in one `mincore` call.
const RESIDENCY_BATCH: usize = 128;

/// A read-only map of `[0, len)` of a file.
pub struct Map {
    bytes: Mmap,
    page: usize,
}

#[allow(clippy::len_without_is_empty, reason = "no caller would ask")]
impl Map {
    /// Maps the first `len` bytes of `file`; `UnexpectedEof` if it is shorter.
    pub(super) fn of(file: &File, len: u64) -> io::Result<Self> {
        if file.metadata()?.len() < len {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let len = usize::try_from(len).map_err(|_| io::ErrorKind::FileTooLarge)?;
        // SAFETY: what can go wrong with a map is that the file changes underneath. Its length was
        // checked above and this crate never shrinks a mapped file, so every mapped page exists.
        // Its bytes are handed out only through `get`, whose callers ask for finished ranges alone.
        let bytes = unsafe { MmapOptions::new().len(len).map(file)? };
        Ok(Self {
            bytes,
            page: rustix::param::page_size(),
        })
    }

    /// Mapped bytes.
    #[must_use]
    pub fn len(&self) -> u64 {
        self.bytes.len() as u64
    }

    /// The bytes of `range`, which must never change again; `None` if it leaves the map.
    #[inline]
    #[must_use]
    pub fn get(&self, range: Range<u64>) -> Option<&[u8]> {
        self.bytes.get(indices(range)?)
    }

    /// The bytes of `range` as numbers; `None` if it leaves the map, does not start on a multiple of
    /// four or does not hold whole numbers.
    #[must_use]
    pub fn floats(&self, range: Range<u64>) -> Option<&[f32]> {
        let bytes = self.get(range)?;
        // SAFETY: every pattern of 32 bits is an `f32`, and `align_to` itself checks alignment; the
        // result lives as long as `bytes`.
        let (before, floats, after) = unsafe { bytes.align_to::<f32>() };
        (before.is_empty() && after.is_empty()).then_some(floats)
    }

    /// As [`Self::floats`], for whole numbers.
    #[must_use]
    pub fn numbers(&self, range: Range<u64>) -> Option<&[u32]> {
        let bytes = self.get(range)?;
        // SAFETY: every pattern of 32 bits is a `u32`, and `align_to` itself checks alignment; the
        // result lives as long as `bytes`.
        let (before, numbers, after) = unsafe { bytes.align_to::<u32>() };
        (before.is_empty() && after.is_empty()).then_some(numbers)
    }

    /// The bytes of `range` as signed ones; `None` if it leaves the map.
    #[must_use]
    pub fn signed(&self, range: Range<u64>) -> Option<&[i8]> {
        let bytes = self.get(range)?;
        // SAFETY: every byte is an `i8` of the same size and alignment, so all of them are in the
        // middle; the result lives as long as `bytes`.
        let (_, signed, _) = unsafe { bytes.align_to::<i8>() };
        Some(signed)
    }

    /// Maps all pages at once, for who is about to read all of them: a page at a time costs several
    /// times as much. A hint.
    pub fn populate(&self) {
        // A system that does not know it maps them as they are read.
        #[cfg(target_os = "linux")]
        let _ = self.bytes.advise(memmap2::Advice::PopulateRead);
    }

    /// Are all pages of `range` in memory, so that reading it would not wait for the medium? An
    /// answer of the moment; `false` where it leaves the map or the system does not say.
    #[must_use]
    pub fn is_resident(&self, range: Range<u64>) -> bool {
        let Some(range) = indices(range).filter(|range| range.end <= self.bytes.len()) else {
            return false;
        };
        let mut start = range.start - range.start % self.page;
        while start < range.end {
            let end = range.end.min(start + RESIDENCY_BATCH * self.page);
            let Some(batch) = self.bytes.get(start..end) else {
                return false;
            };
            let mut pages = [0_u8; RESIDENCY_BATCH];
            // SAFETY: `batch` lies in this live map and starts on a page boundary (a map does, and
            // `start` is a multiple of the page size). mincore writes one byte for each page begun
            // in `batch`, which is at most RESIDENCY_BATCH pages long, and reads nothing.
            let answer = unsafe {
                libc::mincore(
                    batch.as_ptr().cast_mut().cast(),
                    batch.len(),
                    pages.as_mut_ptr().cast(),
                )
            };
            let count = batch.len().div_ceil(self.page);
            if answer != 0 || pages.iter().take(count).any(|page| page & 1 == 0) {
                return false;
            }
            start = end;
        }
        true
    }
}

/// All of it: for files that are never written to again.
impl AsRef<[u8]> for Map {
    fn as_ref(&self) -> &[u8] {
        &self.bytes
    }
}

impl fmt::Debug for Map {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // Without the bytes: they may be the user's.
        f.debug_struct("Map").field("len", &self.len()).finish()
    }
}

/// A range of file offsets as a range of indices; `None` if it does not fit or runs backwards.
fn indices(range: Range<u64>) -> Option<Range<usize>> {
    let (start, end) = (
        usize::try_from(range.start).ok()?,
        usize::try_from(range.end).ok()?,
    );
    (start <= end).then_some(start..end)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::reversed_empty_ranges)]

    use std::os::unix::fs::FileExt;

    use super::*;

    fn map_of(content: &[u8], len: u64) -> io::Result<Map> {
        let file = tempfile::tempfile().unwrap();
        file.write_all_at(content, 0).unwrap();
        Map::of(&file, len)
    }

    #[test]
    fn ranges_are_checked() {
        let map = map_of(b"0123456789", 8).unwrap();
        assert_eq!(map.len(), 8);
        assert_eq!(map.get(2..5), Some(&b"234"[..]));
        assert_eq!(map.get(8..8), Some(&b""[..]));
        assert_eq!(map.get(7..9), None, "the file goes on, the map does not");
        assert_eq!(map.get(5..2), None);
        assert_eq!(map.get(0..u64::MAX), None);
    }

    #[test]
    fn a_map_longer_than_the_file_is_refused() {
        let error = map_of(b"abc", 4).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
        assert_eq!(map_of(b"", 0).unwrap().len(), 0);
    }

    #[test]
    fn floats_need_alignment_and_whole_numbers() {
        let content: Vec<u8> = [1.5_f32, -2.0, 3.25]
            .iter()
            .flat_map(|number| number.to_le_bytes())
            .collect();
        let map = map_of(&content, 12).unwrap();
        assert_eq!(map.floats(0..12), Some(&[1.5, -2.0, 3.25][..]));
        assert_eq!(map.floats(4..8), Some(&[-2.0][..]));
        assert_eq!(map.floats(0..0), Some(&[][..]));
        assert_eq!(map.floats(2..6), None, "not aligned");
        assert_eq!(map.floats(0..6), None, "half a number");
        assert_eq!(map.floats(8..16), None, "outside");
    }

    #[test]
    fn numbers_and_signed_bytes_are_read_in_place() {
        let map = map_of(&[1, 2, 3, 4, 0xff, 0x80, 0x7f, 0], 8).unwrap();
        assert_eq!(map.numbers(0..8), Some(&[0x0403_0201, 0x007f_80ff][..]));
        assert_eq!(map.numbers(1..5), None, "not aligned");
        assert_eq!(map.numbers(0..6), None, "half a number");
        assert_eq!(map.signed(4..7), Some(&[-1, -128, 127][..]));
        assert_eq!(map.signed(4..9), None, "outside");
    }

    #[test]
    fn residency_is_asked_page_by_page() {
        let page = rustix::param::page_size() as u64;
        // More pages than one batch, so that the loop goes round.
        let len = page * (RESIDENCY_BATCH as u64 + 3);
        let map = map_of(&vec![7; usize::try_from(len).unwrap()], len).unwrap();
        assert!(map.is_resident(0..len), "just written");
        assert!(map.is_resident(page + 1..page + 2));
        assert!(map.is_resident(len..len), "nothing to wait for");
        assert!(!map.is_resident(len - 1..len + 1));

        let holes = tempfile::tempfile().unwrap();
        holes.set_len(len).unwrap();
        let map = Map::of(&holes, len).unwrap();
        assert!(!map.is_resident(0..1), "nobody has touched it");
        assert!(!map.is_resident(len - 1..len), "the last batch counts too");
    }

    #[test]
    fn debug_shows_no_content() {
        let map = map_of(b"secret", 6).unwrap();
        assert_eq!(format!("{map:?}"), "Map { len: 6 }");
    }
}
