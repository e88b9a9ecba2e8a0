//! In which rows is a term, and how often?
//!
//! A list of (row, times), by row, as a run keeps it, in blocks of [`BLOCK`]. In a list of one block, gaps and counts
//! have as few bytes as they need; where there are several, as few bits as the largest of their block needs, for these are
//! read all the time. Such a list begins with a table that says of each block how far it goes and what
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

/// Postings of a block once they are read, by row.
#[derive(Clone, Debug, Default)]
pub struct Block {
    /// The rows, counted from the first of the run.
    pub rows: Vec<u32>,
    /// How often the term is in each.
    pub tfs: Vec<u32>,
}

impl Block {
    fn clear(&mut self) {
        self.rows.clear();
        self.tfs.clear();
    }
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
        let gaps = block.iter().map(|posting| {
            let gap = posting.row.wrapping_sub(before).wrapping_sub(1);
            before = posting.row;
            gap
        });
        if blocks == 1 {
            for (gap, posting) in gaps.zip(block) {
                write_varint(u64::from(gap) << 1 | u64::from(posting.tf == 1), out);
                if posting.tf != 1 {
                    write_varint(posting.tf.into(), out);
                }
            }
        } else {
            let gaps: Vec<u32> = gaps.collect();
            let more: Vec<u32> = block
                .iter()
                .map(|posting| posting.tf.wrapping_sub(1))
                .collect();
            let (of_gaps, of_more) = (bits(&gaps), bits(&more));
            out.extend([of_gaps, of_more]);
            pack(&gaps, of_gaps, out);
            pack(&more, of_more, out);
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
        entries
            .partition_point(|[l0, l1, l2, l3, ..]| u32::from_le_bytes([*l0, *l1, *l2, *l3]) < row)
    }

    /// The rows of which a block tells all: those behind the block before it, up to its own last.
    #[must_use]
    pub fn rows_of(&self, block: usize) -> Range<u32> {
        let end = |block: usize| self.head(block).map(|head| head.last.saturating_add(1));
        let before = block.checked_sub(1).and_then(end);
        before.unwrap_or(0)..end(block).unwrap_or(u32::MAX)
    }

    /// Reads a block.
    pub fn read(&self, block: usize, into: &mut Block) {
        into.clear();
        let count = self.count.saturating_sub(block * BLOCK).min(BLOCK);
        match self.head(block) {
            Some(head) => {
                let before = block.checked_sub(1).and_then(|before| self.head(before));
                let row = before.map_or(u32::MAX, |head| head.last);
                let bytes = self.payload.get(head.start..head.end);
                read_packed(bytes.unwrap_or_default(), (row, count), into);
            }
            None if block == 0 => read_varints(self.payload, count, into),
            None => {}
        }
    }

    /// Shows all of it.
    pub fn each(&self, mut see: impl FnMut(Posting)) {
        let mut block = Block::default();
        for number in 0..self.blocks() {
            self.read(number, &mut block);
            let postings = block.rows.iter().zip(&block.tfs);
            postings.for_each(|(row, tf)| see(Posting { row: *row, tf: *tf }));
        }
    }
}

/// The postings of a list of one block.
fn read_varints(mut bytes: &[u8], count: usize, into: &mut Block) {
    let mut row = u32::MAX;
    for _ in 0..count {
        let value = read_varint(&mut bytes);
        row = row.wrapping_add((value >> 1) as u32).wrapping_add(1);
        let tf = if value & 1 == 1 {
            1
        } else {
            read_varint(&mut bytes) as u32
        };
        into.rows.push(row);
        into.tfs.push(tf);
    }
}

/// The postings of a block behind `row`.
fn read_packed(bytes: &[u8], (mut row, count): (u32, usize), into: &mut Block) {
    let Some(([of_gaps, of_more], bytes)) = bytes.split_first_chunk() else {
        return;
    };
    let (gaps, more) = bytes
        .split_at_checked(packed_bytes(count, *of_gaps))
        .unwrap_or((bytes, &[]));
    let gaps = unpack(gaps, *of_gaps);
    into.rows.extend(gaps.iter().take(count).map(|gap| {
        row = row.wrapping_add(*gap).wrapping_add(1);
        row
    }));
    if *of_more == 0 {
        into.tfs.resize(count, 1);
    } else {
        let more = unpack(more, *of_more);
        let times = more.iter().map(|more| more.wrapping_add(1));
        into.tfs.extend(times.take(count));
    }
}

/// Bits that the largest of some values needs.
fn bits(values: &[u32]) -> u8 {
    let largest = values.iter().max().copied().unwrap_or(0);
    (u32::BITS - largest.leading_zeros()) as u8
}

fn packed_bytes(count: usize, bits: u8) -> usize {
    (count * usize::from(bits)).div_ceil(8)
}

/// Writes values of so many bits each, lowest first.
fn pack(values: &[u32], bits: u8, out: &mut Vec<u8>) {
    let (mut held, mut count) = (0_u64, 0);
    for value in values {
        held |= u64::from(*value) << count;
        count += u32::from(bits);
        while count >= 8 {
            out.push(held as u8);
            held >>= 8;
            count -= 8;
        }
    }
    if count > 0 {
        out.push(held as u8);
    }
}

/// The values of a block, and zeros behind them.
fn unpack(packed: &[u8], bits: u8) -> [u32; BLOCK] {
    let bits = u32::from(bits).min(u32::BITS) as usize;
    // Behind the last value there is as much as one read takes.
    let mut padded = [0; BLOCK * size_of::<u32>() + size_of::<u64>()];
    for (to, from) in padded.iter_mut().zip(packed) {
        *to = *from;
    }
    let mask = (1_u64 << bits) - 1;
    std::array::from_fn(|number| {
        let at = number * bits;
        let word = padded.get(at / 8..).and_then(<[u8]>::first_chunk);
        let word = word.map_or(0, |word| u64::from_le_bytes(*word));
        (word >> (at % 8) & mask) as u32
    })
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
            let mut block = Block::default();
            for number in 0..list.blocks().min(10) {
                list.read(number, &mut block);
            }
        }
    }
}
