//! Which bytes are on the simulated medium?
//!
//! Sparse, so that preallocated files cost nothing: bytes never written read as zero.

use std::collections::BTreeMap;

const BLOCK: usize = 4096;

/// The bytes of a file.
#[derive(Clone, Debug, Default)]
pub(super) struct Image {
    len: u64,
    blocks: BTreeMap<u64, Box<[u8; BLOCK]>>,
}

impl Image {
    pub(super) const fn len(&self) -> u64 {
        self.len
    }

    /// Cuts the image, or lets it grow by zeros.
    pub(super) fn set_len(&mut self, len: u64) {
        if len < self.len {
            let (last, within) = (len / BLOCK as u64, (len % BLOCK as u64) as usize);
            self.blocks.retain(|&number, _| number <= last);
            if let Some(rest) = self
                .blocks
                .get_mut(&last)
                .and_then(|block| block.get_mut(within..))
            {
                rest.fill(0);
            }
        }
        self.len = len;
    }

    /// Writes, growing where needed.
    pub(super) fn write(&mut self, offset: u64, data: &[u8]) {
        for (at, part) in pieces(offset, data, BLOCK) {
            let within = (at % BLOCK as u64) as usize;
            let block = self
                .blocks
                .entry(at / BLOCK as u64)
                .or_insert_with(|| Box::new([0; BLOCK]));
            if let Some(target) = block.get_mut(within..within + part.len()) {
                target.copy_from_slice(part);
            }
        }
        if !data.is_empty() {
            self.len = self.len.max(offset + data.len() as u64);
        }
    }

    /// The byte at `offset`; `None` behind the end.
    pub(super) fn byte(&self, offset: u64) -> Option<u8> {
        if offset >= self.len {
            return None;
        }
        let within = (offset % BLOCK as u64) as usize;
        let block = self.blocks.get(&(offset / BLOCK as u64));
        Some(
            block
                .and_then(|block| block.get(within))
                .map_or(0, |&byte| byte),
        )
    }

    /// What was written, in ascending order: offset and bytes, cut at the end of the image.
    pub(super) fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks.iter().filter_map(|(number, block)| {
            let offset = number * BLOCK as u64;
            let len = self.len.saturating_sub(offset).min(BLOCK as u64) as usize;
            block.get(..len).map(|bytes| (offset, bytes))
        })
    }
}

/// `data` at `offset`, cut at the multiples of `unit`.
pub(super) fn pieces(offset: u64, data: &[u8], unit: usize) -> impl Iterator<Item = (u64, &[u8])> {
    let (mut at, mut rest) = (offset, data);
    std::iter::from_fn(move || {
        if rest.is_empty() {
            return None;
        }
        let until_cut = unit - (at % unit as u64) as usize;
        let (piece, later) = rest.split_at(until_cut.min(rest.len()));
        let start = at;
        at += piece.len() as u64;
        rest = later;
        Some((start, piece))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_cut_off_does_not_come_back() {
        let mut image = Image::default();
        image.write(0, &[1; 3 * BLOCK]);
        image.set_len(10);
        assert_eq!(image.byte(10), None);
        image.set_len(3 * BLOCK as u64);
        let bytes = [9, 10, BLOCK as u64, 3 * BLOCK as u64 - 1].map(|at| image.byte(at));
        assert_eq!(bytes, [Some(1), Some(0), Some(0), Some(0)]);
    }

    #[test]
    fn parts_end_with_the_image() {
        let mut image = Image::default();
        image.write(BLOCK as u64 - 1, b"ab");
        let parts: Vec<(u64, usize)> = image.parts().map(|(at, part)| (at, part.len())).collect();
        assert_eq!(parts, [(0, BLOCK), (BLOCK as u64, 1)]);
    }

    #[test]
    fn pieces_are_cut_at_multiples() {
        let found: Vec<(u64, &[u8])> = pieces(6, b"abcdefg", 4).collect();
        assert_eq!(found, [(6, &b"ab"[..]), (8, b"cdef"), (12, b"g")]);
    }
}
