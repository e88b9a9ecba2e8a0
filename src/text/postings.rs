//! In which rows is a term, and how often?
//!
//! A list of (row, times), by row, as a run keeps it: gaps and counts in as few bytes as they need, in blocks
//! of [`BLOCK`]. A list of several blocks begins with a table that says of each how far it goes and what
//! bounds its scores, so that a search passes over blocks that cannot win. Reading is total: bytes that are no list
//! are a short one.

use std::ops::Range;

/// Postings of a block: enough to make up for its entry in the table, few enough to be passed over.
pub const BLOCK: usize = 128;

/// Bytes of a block's entry in the table.
const ENTRY_BYTES: usize = 12;

/// A row that has the term, and how often.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Posting {
    /// The row, counted from the first of its run.
    pub row: u32,
    /// How often the term is in it.
    pub tf: u32,
}

/// What is known of a block without reading it.
#[derive(Clone, Copy, Debug)]
pub struct Head {
    /// Its last row.
    pub last: u32,
    /// No row of it has the term more often.
    pub max_tf: u32,
    /// No row of it is shorter.
    pub min_length: u16,
    start: usize,
    end: usize,
}

/// Writes a list behind `out`; `length` says how long a row is.
pub fn write(postings: &[Posting], length: impl Fn(u32) -> u16, out: &mut Vec<u8>) {
    write_varint(postings.len() as u64, out);
    let table = out.len();
    let blocks = postings.len().div_ceil(BLOCK);
    if blocks > 1 {
        out.resize(table + blocks * ENTRY_BYTES, 0);
    }
    let payload = out.len();
    let mut before = u32::MAX;
    for (number, block) in postings.chunks(BLOCK).enumerate() {
        for posting in block {
            let gap = posting.row.wrapping_sub(before).wrapping_sub(1);
            write_varint(u64::from(gap) << 1 | u64::from(posting.tf == 1), out);
            if posting.tf != 1 {
                write_varint(posting.tf.into(), out);
            }
            before = posting.row;
        }
        if blocks > 1 {
            let max_tf = block.iter().map(|posting| posting.tf).max().unwrap_or(0);
            let min_length = block.iter().map(|posting| length(posting.row)).min();
            let end = (out.len() - payload) as u32;
            let mut entry = [0; ENTRY_BYTES];
            let fields = before
                .to_le_bytes()
                .into_iter()
                .chain(end.to_le_bytes())
                .chain((max_tf.min(u16::MAX.into()) as u16).to_le_bytes())
                .chain(min_length.unwrap_or(0).to_le_bytes());
            entry
                .iter_mut()
                .zip(fields)
                .for_each(|(to, from)| *to = from);
            let at = table + number * ENTRY_BYTES;
            if let Some(place) = out.get_mut(at..at + ENTRY_BYTES) {
                place.copy_from_slice(&entry);
            }
        }
    }
}

/// A list as it stands in a run.
#[derive(Clone, Copy, Debug)]
pub struct List<'a> {
    count: usize,
    table: &'a [u8],
    payload: &'a [u8],
}

impl<'a> List<'a> {
    /// The list that `bytes` begin with.
    #[must_use]
    pub fn new(bytes: &'a [u8]) -> Self {
        let mut rest = bytes;
        let count = read_varint(&mut rest) as usize;
        let blocks = count.div_ceil(BLOCK);
        let table = if blocks > 1 { blocks * ENTRY_BYTES } else { 0 };
        let (table, payload) = rest.split_at_checked(table).unwrap_or((&[], &[]));
        Self {
            count,
            table,
            payload,
        }
    }

    /// Rows that have the term.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Blocks of it.
    #[must_use]
    pub fn blocks(&self) -> usize {
        self.count.div_ceil(BLOCK)
    }

    /// What is known of a block; `None` behind the last one, and of a single one.
    #[must_use]
    pub fn head(&self, block: usize) -> Option<Head> {
        let entry = |block: usize| {
            let (entries, _) = self.table.as_chunks::<ENTRY_BYTES>();
            entries.get(block)
        };
        let [l0, l1, l2, l3, e0, e1, e2, e3, t0, t1, m0, m1] = *entry(block)?;
        let start = match block.checked_sub(1) {
            None => 0,
            Some(before) => {
                let [_, _, _, _, e0, e1, e2, e3, ..] = *entry(before)?;
                u32::from_le_bytes([e0, e1, e2, e3]) as usize
            }
        };
        let max_tf = u16::from_le_bytes([t0, t1]);
        Some(Head {
            last: u32::from_le_bytes([l0, l1, l2, l3]),
            // What did not fit may be anything.
            max_tf: if max_tf == u16::MAX {
                u32::MAX
            } else {
                max_tf.into()
            },
            min_length: u16::from_le_bytes([m0, m1]),
            start,
            end: u32::from_le_bytes([e0, e1, e2, e3]) as usize,
        })
    }

    /// The block where a row stands, if it is in the list; the number of blocks behind the last one.
    #[must_use]
    pub fn block_of(&self, row: u32) -> usize {
        let (entries, _) = self.table.as_chunks::<ENTRY_BYTES>();
        entries.partition_point(|[l0, l1, l2, l3, ..]| u32::from_le_bytes([*l0, *l1, *l2, *l3]) < row)
    }

    /// The rows of which a block tells all: those behind the block before it, up to its own last.
    #[must_use]
    pub fn rows_of(&self, block: usize) -> Range<u32> {
        let end = |block: usize| self.head(block).map(|head| head.last.saturating_add(1));
        let before = block.checked_sub(1).and_then(end);
        before.unwrap_or(0)..end(block).unwrap_or(u32::MAX)
    }

    /// Reads a block.
    pub fn read(&self, block: usize, into: &mut Vec<Posting>) {
        into.clear();
        let (mut bytes, mut row) = match self.head(block) {
            Some(head) => {
                let before = block.checked_sub(1).and_then(|before| self.head(before));
                let bytes = self.payload.get(head.start..head.end).unwrap_or_default();
                (bytes, before.map_or(u32::MAX, |head| head.last))
            }
            None if block == 0 => (self.payload, u32::MAX),
            None => return,
        };
        let count = self.count.saturating_sub(block * BLOCK).min(BLOCK);
        into.extend((0..count).map(|_| {
            let value = read_varint(&mut bytes);
            row = row.wrapping_add((value >> 1) as u32).wrapping_add(1);
            let tf = if value & 1 == 1 {
                1
            } else {
                read_varint(&mut bytes) as u32
            };
            Posting { row, tf }
        }));
    }

    /// Shows all of it.
    pub fn each(&self, mut see: impl FnMut(Posting)) {
        let mut block = Vec::with_capacity(BLOCK);
        for number in 0..self.blocks() {
            self.read(number, &mut block);
            block.iter().copied().for_each(&mut see);
        }
    }
}

fn write_varint(mut value: u64, out: &mut Vec<u8>) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

#[inline]
fn read_varint(bytes: &mut &[u8]) -> u64 {
    // Nearly all have one byte or two, and which is not to be foreseen: no branch asks.
    if let Some([first, second]) = bytes.first_chunk()
        && first & second & 0x80 == 0
    {
        let longer = u64::from(first >> 7);
        *bytes = bytes.get(1 + longer as usize..).unwrap_or_default();
        return u64::from(first & 0x7f) | (u64::from(*second) * longer) << 7;
    }
    let mut value = 0;
    for shift in (0..64).step_by(7) {
        let Some((byte, rest)) = bytes.split_first() else {
            break;
        };
        *bytes = rest;
        value |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            break;
        }
    }
    value
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_list_is_read_as_it_was_written(
            gaps in prop::collection::vec((prop_oneof![0..4u32, 0..300_000u32], prop_oneof![Just(1u32), 1..100_000u32]), 0..600),
        ) {
            let mut row = 0;
            let postings: Vec<Posting> = gaps
                .iter()
                .map(|(gap, tf)| {
                    row += gap + 1;
                    Posting { row: row - 1, tf: *tf }
                })
                .collect();
            let mut bytes = vec![7];
            write(&postings, |row| (row % 1000) as u16, &mut bytes);
            let end = bytes.len();
            bytes.extend([9, 9, 9]);
            let list = List::new(&bytes[1..]);
            let mut found = Vec::new();
            list.each(|posting| found.push(posting));
            prop_assert_eq!(&found, &postings);
            prop_assert_eq!(list.count(), postings.len());
            for (number, block) in postings.chunks(BLOCK).enumerate().filter(|_| postings.len() > BLOCK) {
                let head = list.head(number).unwrap();
                prop_assert_eq!(head.last, block.last().unwrap().row);
                prop_assert!(block.iter().all(|posting| posting.tf <= head.max_tf));
                prop_assert!(block.iter().all(|posting| (posting.row % 1000) as u16 >= head.min_length));
            }
            prop_assert!(end > 1);
        }

        #[test]
        fn bytes_of_any_kind_are_some_list(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
            let list = List::new(&bytes);
            let mut block = Vec::new();
            for number in 0..list.blocks().min(10) {
                list.read(number, &mut block);
            }
        }
    }
}
