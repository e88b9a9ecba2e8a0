//! How is such a product computed twice to sixteen times as fast, of numbers of half the bits?
//!
//! bf16 is the upper half of an f32: its range, and eight bits of precision. A product of two fits an f32 exactly,
//! and CPUs with AVX512-BF16 or AMX add two such products to a sum in f32 at once. So the inner sum goes by [`Pair`]s of steps, for
//! both factors: weights are rounded and packed into panels of pairs once, rows become [`Pairs`] when they enter a
//! product, and sums begin, stay and end in f32. Both are filled up with zeros to whole lines of 32 steps, which is the
//! depth of a tile register of AMX.
//!
//! Sums of a row are taken in the same order whatever rows stand beside it, as those of f32 are; between AMX and
//! AVX512-BF16 the order differs. Rounding is to the nearest, to the even one of two; what is smaller than the smallest
//! normal f32 counts as zero. Without those instructions there is nothing here to gain, so [`kernels`] has none then.

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(test)]
mod portable;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_avx512;

use std::{fmt, sync::OnceLock};

use super::{COLUMNS, Onto, Panels, Rows, panels::Aligned};
#[cfg(test)]
pub use portable::portable;

/// Steps of a line of [`Pairs`], two to each pair.
const LINE_STEPS: usize = 2 * COLUMNS;
/// Room for rows goes up by so many, the height of what AMX takes at once, so that it may look at rows
/// behind the last one.
const ROOM: usize = 32;

/// Two steps that follow each other, the first in the lower half.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[repr(transparent)]
pub struct Pair(u32);

/// Rows of pairs, each filled up to whole lines.
#[derive(Debug, Default)]
pub struct Pairs {
    lines: Vec<Aligned<Pair>>,
    /// Lines of a row.
    width: usize,
    count: usize,
}

/// The functions of one instruction set. Holding them is the proof that they can run.
pub struct Kernels {
    name: &'static str,
    /// Rounds numbers into as many pairs as hold them.
    round: unsafe fn(&[f32; LINE_STEPS], &mut [Pair; COLUMNS]),
    product: unsafe fn(&Pairs, &Panels<Pair>, Onto<'_>, &mut [f32], usize),
}

impl fmt::Debug for Kernels {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name)
    }
}

/// The best ones that this CPU can run, if it can run any.
pub fn kernels() -> Option<&'static Kernels> {
    static CHOSEN: OnceLock<Option<&Kernels>> = OnceLock::new();
    *CHOSEN.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        let best = amx::kernels().or_else(x86_avx512::kernels);
        #[cfg(not(target_arch = "x86_64"))]
        let best = None;
        best
    })
}

impl Kernels {
    /// Puts `count` rows of `width` numbers, `stride` apart, in the place of what `pairs` held.
    ///
    /// # Panics
    ///
    /// If `rows` is too short.
    pub fn round(&self, rows: Rows<'_>, count: usize, width: usize, pairs: &mut Pairs) {
        pairs.width = width.div_ceil(LINE_STEPS);
        pairs.count = count;
        let room = count.next_multiple_of(ROOM) * pairs.width;
        pairs.lines.resize(room, Aligned::default());
        let lines = Aligned::lines_mut(&mut pairs.lines);
        for (row, lines) in lines
            .chunks_exact_mut(pairs.width.max(1))
            .take(count)
            .enumerate()
        {
            let (whole, rest) = rows.values[row * rows.stride..][..width].as_chunks();
            let mut lines = lines.iter_mut();
            for (numbers, line) in whole.iter().zip(&mut lines) {
                // SAFETY: these kernels were handed out, so the CPU has their instructions.
                unsafe { (self.round)(numbers, line) }
            }
            if let Some(line) = lines.next() {
                let mut filled = [0.0; LINE_STEPS];
                filled[..rest.len()].copy_from_slice(rest);
                // SAFETY: as above.
                unsafe { (self.round)(&filled, line) }
            }
        }
    }

    /// Packs the matrix whose columns are these rows of `depth` numbers.
    #[must_use]
    pub fn panels_of_columns(&self, columns: &[f32], depth: usize) -> Panels<Pair> {
        let rows = Rows {
            values: columns,
            stride: depth,
        };
        let count = columns.len().checked_div(depth).unwrap_or(0);
        let mut pairs = Pairs::default();
        self.round(rows, count, depth, &mut pairs);
        let mut panels = Panels::default();
        let stride = pairs.width * COLUMNS;
        panels.set_columns(pairs.rows().values, stride, count, stride);
        panels
    }

    /// `out = onto + rows · panels`, as [`product`](super::product) does it.
    ///
    /// # Panics
    ///
    /// If the rows are not as wide as the panels are deep, or a slice is too short: the caller's mistake,
    /// not bad data.
    pub fn product(
        &self,
        rows: &Pairs,
        panels: &Panels<Pair>,
        onto: Onto<'_>,
        out: &mut [f32],
        out_stride: usize,
    ) {
        assert_eq!(rows.width * COLUMNS, panels.depth());
        // SAFETY: these kernels were handed out, so the CPU has their instructions.
        unsafe { (self.product)(rows, panels, onto, out, out_stride) }
    }
}

impl Pairs {
    fn rows(&self) -> Rows<'_, Pair> {
        Rows {
            values: Aligned::lines(&self.lines).as_flattened(),
            stride: self.width * COLUMNS,
        }
    }
}
