//! Where did the frames of a segment go when it was rewritten?
//!
//! Rows name their frames by the place where they were when the row was made, for as long as the
//! database is open. Compaction copies frames in their order and closes the gaps, so the new unit of a
//! frame is the number of copied units in front of it: one bit per unit of the old segment, and a count
//! per block of them (Jacobson's rank, FOCS 1989). That is a quarter of a percent of the old segment,
//! needs no row to be touched, and holds for whoever still reads the old segment as well, since it
//! belongs to the set of segments and not to the rows.

/// Units of one block: the bits of a cache line.
const BLOCK_UNITS: u32 = 512;
const WORD_UNITS: u32 = u64::BITS;

#[derive(Clone, Debug, Default)]
struct Block {
    /// Copied units in front of this block.
    before: u32,
    /// One bit per unit: was it copied?
    copied: [u64; (BLOCK_UNITS / WORD_UNITS) as usize],
}

/// The way from the units of one segment to those of another.
#[derive(Clone, Debug)]
pub(crate) struct Relocation {
    /// Id of the segment that holds the frames now.
    to: u32,
    /// Unit there of the first copied one.
    base: u32,
    /// Number of the first block.
    first_block: u32,
    blocks: Vec<Block>,
    /// Copied units in all.
    copied: u32,
}

impl Relocation {
    /// Nothing is copied yet; what will be begins at `base` in the segment `to`.
    pub(crate) fn new(to: u32, base: u32) -> Self {
        Self {
            to,
            base,
            first_block: 0,
            blocks: Vec::new(),
            copied: 0,
        }
    }

    /// The segment that holds the frames now.
    pub(crate) fn to(&self) -> u32 {
        self.to
    }

    /// The units `unit..unit + count` are copied behind all that were. Units ascend.
    pub(crate) fn copy(&mut self, unit: u32, count: u32) {
        for unit in unit..unit.saturating_add(count) {
            let block = unit / BLOCK_UNITS;
            if self.blocks.is_empty() {
                self.first_block = block;
            }
            let index = block.saturating_sub(self.first_block) as usize;
            if self.blocks.len() <= index {
                let fresh = Block {
                    before: self.copied,
                    ..Block::default()
                };
                self.blocks.resize(index + 1, fresh);
            }
            if let Some((word, bit)) = self.bit_mut(unit) {
                *word |= bit;
                self.copied += 1;
            }
        }
    }

    /// Where `unit` is now; `None` if it was left out.
    pub(crate) fn unit(&self, unit: u32) -> Option<u32> {
        let block = (unit / BLOCK_UNITS).checked_sub(self.first_block)?;
        let block = self.blocks.get(block as usize)?;
        let within = unit % BLOCK_UNITS;
        let (word, bit) = (within / WORD_UNITS, 1u64 << (within % WORD_UNITS));
        let here = *block.copied.get(word as usize)?;
        if here & bit == 0 {
            return None;
        }
        let words = block.copied.iter().take(word as usize);
        let in_front: u32 = words.map(|word| word.count_ones()).sum();
        let in_word = (here & (bit - 1)).count_ones();
        Some(self.base + block.before + in_front + in_word)
    }

    /// The copied units, ascending.
    fn units(&self) -> impl Iterator<Item = u32> {
        self.blocks
            .iter()
            .zip(self.first_block..)
            .flat_map(|(block, number)| {
                let words = block.copied.iter().zip(0..);
                words.flat_map(move |(word, index)| {
                    let start = number * BLOCK_UNITS + index * WORD_UNITS;
                    let word = *word;
                    (0..WORD_UNITS)
                        .filter(move |bit| word >> bit & 1 == 1)
                        .map(move |bit| start + bit)
                })
            })
    }

    /// This way and then `next`, which leads on from the segment that this one leads to.
    pub(crate) fn then(&self, next: &Self) -> Self {
        let mut whole = Self::new(next.to, next.base);
        for (unit, middle) in self.units().zip(self.base..) {
            let Some(end) = next.unit(middle) else {
                continue;
            };
            if whole.copied == 0 {
                whole.base = end;
            }
            whole.copy(unit, 1);
        }
        whole
    }

    fn bit_mut(&mut self, unit: u32) -> Option<(&mut u64, u64)> {
        let block = (unit / BLOCK_UNITS).checked_sub(self.first_block)?;
        let block = self.blocks.get_mut(block as usize)?;
        let within = unit % BLOCK_UNITS;
        let word = block.copied.get_mut((within / WORD_UNITS) as usize)?;
        Some((word, 1 << (within % WORD_UNITS)))
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn relocation(to: u32, base: u32, frames: &[(u32, u32)]) -> Relocation {
        let mut relocation = Relocation::new(to, base);
        for &(unit, count) in frames {
            relocation.copy(unit, count);
        }
        relocation
    }

    #[test]
    fn gaps_are_closed_and_what_was_left_out_is_nowhere() {
        let moved = relocation(7, 64, &[(100, 3), (103, 1), (5000, 2)]);
        assert_eq!(moved.to(), 7);
        let found: Vec<_> = [99, 100, 101, 103, 104, 4999, 5000, 5001, 5002]
            .map(|unit| moved.unit(unit))
            .into();
        let some = Some;
        let nowhere = None;
        assert_eq!(
            found,
            [
                nowhere,
                some(64),
                some(65),
                some(67),
                nowhere,
                nowhere,
                some(68),
                some(69),
                nowhere
            ]
        );
    }

    proptest! {
        #[test]
        fn a_way_over_two_segments_is_one_way(
            first in proptest::collection::btree_set(64u32..4000, 0..300),
            kept in proptest::collection::vec(any::<bool>(), 300),
        ) {
            let to_b = relocation(2, 70, &first.iter().map(|&unit| (unit, 1)).collect::<Vec<_>>());
            let in_b: Vec<u32> = (70..70 + first.len() as u32).collect();
            let on: Vec<(u32, u32)> = in_b.iter().zip(&kept).filter(|(_, kept)| **kept)
                .map(|(&unit, _)| (unit, 1)).collect();
            let to_c = relocation(3, 90, &on);
            let whole = to_b.then(&to_c);
            for unit in 0..4100 {
                let expected = to_b.unit(unit).and_then(|middle| to_c.unit(middle));
                prop_assert_eq!(whole.unit(unit), expected, "unit {}", unit);
            }
        }
    }
}
