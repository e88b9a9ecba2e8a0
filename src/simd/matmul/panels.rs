//! In which order does a product read its right factor?

use std::ops::Range;

use super::{COLUMNS, Line};

/// A matrix of `depth` rows and some columns: sixteen columns after sixteen, each of these panels
/// row by row, the last one filled up with zeros.
#[derive(Debug, Default)]
pub struct Panels {
    lines: Vec<Aligned>,
    depth: usize,
    count: usize,
}

/// A line of the cache.
#[derive(Clone, Copy, Debug)]
#[repr(C, align(64))]
struct Aligned(Line);

impl Panels {
    /// Packs the matrix whose *columns* are these rows: how layers keep their weights, and keys are
    /// found.
    #[must_use]
    pub fn of_columns(columns: &[f32], depth: usize) -> Self {
        let mut panels = Self::default();
        let count = columns.len().checked_div(depth).unwrap_or(0);
        panels.set_columns(columns, depth, count, depth);
        panels
    }

    /// The same, in place: `count` columns of `depth` numbers, `stride` apart.
    ///
    /// # Panics
    ///
    /// If `columns` is too short.
    pub fn set_columns(&mut self, columns: &[f32], stride: usize, count: usize, depth: usize) {
        self.resize(count, depth);
        for (panel, lines) in self.lines.chunks_exact_mut(depth.max(1)).enumerate() {
            let first = panel * COLUMNS;
            for place in 0..COLUMNS {
                let column = first + place;
                if column < count {
                    let values = &columns[column * stride..][..depth];
                    for (line, value) in lines.iter_mut().zip(values) {
                        line.0[place] = *value;
                    }
                } else {
                    lines.iter_mut().for_each(|line| line.0[place] = 0.0);
                }
            }
        }
    }

    /// Packs in place the matrix of these `depth` rows of `count` numbers, `stride` apart.
    ///
    /// # Panics
    ///
    /// If `rows` is too short.
    pub fn set_rows(&mut self, rows: &[f32], stride: usize, count: usize, depth: usize) {
        self.resize(count, depth);
        for (panel, lines) in self.lines.chunks_exact_mut(depth.max(1)).enumerate() {
            let first = panel * COLUMNS;
            let width = COLUMNS.min(count - first);
            for (row, line) in lines.iter_mut().enumerate() {
                let (values, padding) = line.0.split_at_mut(width);
                values.copy_from_slice(&rows[row * stride + first..][..width]);
                padding.fill(0.0);
            }
        }
    }

    /// Steps of the inner sum.
    #[must_use]
    pub fn depth(&self) -> usize {
        self.depth
    }

    /// Panels of [`COLUMNS`] columns.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// These steps of a panel; none behind the last panel.
    pub(super) fn steps(&self, panel: usize, steps: Range<usize>) -> &[Line] {
        let start = panel * self.depth;
        let lines = self.lines.get(start + steps.start..start + steps.end);
        Aligned::lines(lines.unwrap_or(&[]))
    }

    fn resize(&mut self, count: usize, depth: usize) {
        self.depth = depth;
        self.count = count.div_ceil(COLUMNS);
        self.lines
            .resize(self.count * depth, Aligned([0.0; COLUMNS]));
    }
}

impl Aligned {
    fn lines(aligned: &[Self]) -> &[Line] {
        // SAFETY: an `Aligned` is exactly one `Line` (`repr(C)`, whose size is the alignment, so
        // without padding), and the result borrows it.
        unsafe { std::slice::from_raw_parts(aligned.as_ptr().cast(), aligned.len()) }
    }
}
