//! How is a segment file read without mapping it?
//!
//! With pread, a piece at a time: a page that the medium cannot give is an error here, where a map
//! would end the process. What cannot be read stands for bytes that no frame consists of, so that a
//! walk reports it like any other damage, and [`Pieces::refusal`] says why. Frames that are mapped
//! anyway are a [`Source`] as they are. Called by whoever looks for damage.

use std::{ops::Range, sync::Arc};

use crate::vfs::VfsFile;

use super::walk::slice;

/// Bytes read at a time; a longer frame is read whole.
const PIECE_BYTES: u64 = 1024 * 1024;
/// What a piece that cannot be read is divided into: what media lose at a time.
const BLOCK_BYTES: u64 = 4096;
/// Stands for a byte that cannot be read: neither a frame nor nothing begins with it.
const UNREADABLE: u8 = 0xff;
/// Ranges that are remembered for their reason; a medium with more of them has no better one.
const MAX_REFUSALS: usize = 1024;

/// Bytes that frames stand in, from the first byte of their file on.
pub(crate) trait Source {
    /// How many there are.
    fn len(&self) -> u64;

    /// `len` of them from `at`, if there are so many.
    fn slice(&mut self, at: u64, len: u64) -> Option<&[u8]>;
}

impl Source for &[u8] {
    fn len(&self) -> u64 {
        <[u8]>::len(self) as u64
    }

    fn slice(&mut self, at: u64, len: u64) -> Option<&[u8]> {
        slice(self, at, len)
    }
}

/// A file, read in pieces.
#[derive(Debug)]
pub(crate) struct Pieces {
    file: Arc<dyn VfsFile>,
    len: u64,
    /// The piece at hand, and where it begins.
    piece: Vec<u8>,
    start: u64,
    refusals: Vec<(Range<u64>, String)>,
}

impl Pieces {
    /// The first `len` bytes of `file`.
    pub(crate) fn new(file: Arc<dyn VfsFile>, len: u64) -> Self {
        Self {
            file,
            len,
            piece: Vec::new(),
            start: 0,
            refusals: Vec::new(),
        }
    }

    /// What the system said when a part of `range` was to be read, if it did not give it.
    pub(crate) fn refusal(&self, range: Range<u64>) -> Option<&str> {
        let meets =
            |(other, _): &&(Range<u64>, String)| other.start < range.end && range.start < other.end;
        self.refusals
            .iter()
            .find(meets)
            .map(|(_, why)| why.as_str())
    }

    fn fill(&mut self, at: u64, len: u64) {
        self.start = at;
        self.piece.clear();
        self.piece.resize(len as usize, UNREADABLE);
        if self.file.read_exact_at(&mut self.piece, at).is_ok() {
            return;
        }
        let mut from = at;
        while from < at + len {
            // Aligned in the file, as what a medium loses is.
            let range = from..(from - from % BLOCK_BYTES + BLOCK_BYTES).min(at + len);
            let places = (range.start - at) as usize..(range.end - at) as usize;
            let Some(block) = self.piece.get_mut(places) else {
                return;
            };
            if let Err(error) = self.file.read_exact_at(block, from) {
                block.fill(UNREADABLE);
                let known = self.refusals.iter().any(|(other, _)| *other == range);
                if !known && self.refusals.len() < MAX_REFUSALS {
                    self.refusals
                        .push((range.clone(), format!("it cannot be read: {error}")));
                }
            }
            from = range.end;
        }
    }
}

impl Source for Pieces {
    fn len(&self) -> u64 {
        self.len
    }

    fn slice(&mut self, at: u64, len: u64) -> Option<&[u8]> {
        if at.checked_add(len)? > self.len {
            return None;
        }
        let end = self.start + self.piece.len() as u64;
        if at < self.start || at + len > end {
            self.fill(at, len.max(PIECE_BYTES).min(self.len - at));
        }
        slice(&self.piece, at - self.start, len)
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use super::*;
    use crate::vfs::{OpenMode, SimVfs, Vfs};

    const LEN: u64 = 5 * PIECE_BYTES / 2;

    fn byte(at: u64) -> u8 {
        (at ^ (at >> 9) ^ (at >> 18)) as u8
    }

    fn file() -> (SimVfs, Pieces) {
        let vfs = SimVfs::new(1);
        let file = vfs.open(Path::new("f"), OpenMode::CreateNew).unwrap();
        let bytes: Vec<u8> = (0..LEN).map(byte).collect();
        file.write_all_at(&bytes, 0).unwrap();
        (vfs, Pieces::new(file, LEN))
    }

    #[test]
    fn any_slice_is_that_of_the_file() {
        let (_vfs, mut pieces) = file();
        let edges = [
            0,
            1,
            PIECE_BYTES - 1,
            PIECE_BYTES,
            2 * PIECE_BYTES - 7,
            LEN - 1,
            LEN,
        ];
        for at in edges.into_iter().chain(edges.into_iter().rev()) {
            for len in [0, 1, 64, BLOCK_BYTES, PIECE_BYTES + 1, 2 * PIECE_BYTES] {
                let expected: Option<Vec<u8>> =
                    (at + len <= LEN).then(|| (at..at + len).map(byte).collect());
                assert_eq!(pieces.slice(at, len), expected.as_deref(), "{at}, {len}");
            }
        }
        assert_eq!(pieces.slice(u64::MAX, 2), None);
    }

    #[test]
    fn what_cannot_be_read_is_one_block_and_no_more() {
        let (vfs, mut pieces) = file();
        let hole = 3 * BLOCK_BYTES..4 * BLOCK_BYTES;
        vfs.read_fault(Path::new("f"), hole.start + 9..hole.start + 10)
            .unwrap();
        let from = hole.start - 100;
        let found = pieces.slice(from, BLOCK_BYTES + 200).unwrap().to_vec();
        for (at, found) in (from..).zip(found) {
            let expected = if hole.contains(&at) {
                UNREADABLE
            } else {
                byte(at)
            };
            assert_eq!(found, expected, "byte {at}");
        }
        assert_eq!(pieces.refusal(0..hole.start), None);
        assert!(pieces.refusal(hole).unwrap().contains("cannot be read"));
    }
}
