//! In which order does a product read its right factor?

use std::ops::Range;

use super::{COLUMNS, Line};

/// A matrix of `depth` rows and some columns: sixteen columns after sixteen, each of these panels
/// row by row, the last one filled up with zeros.
#[derive(Debug, Default)]
pub struct Panels<T = f32> {
    lines: Vec<Aligned<T>>,
    depth: usize,
    count: usize,
}

/// A line of the cache.
#[derive(Clone, Copy, Debug, Default)]
#[repr(C, align(64))]
pub(super) struct Aligned<T>(pub(super) Line<T>);

impl<T: Copy + Default> Panels<T> {
    /// Packs the matrix whose *columns* are these rows: how layers keep their weights, and keys are
    /// found.
    #[must_use]
    pub fn of_columns(columns: &[T], depth: usize) -> Self {
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
    pub fn set_columns(&mut self, columns: &[T], stride: usize, count: usize, depth: usize) {
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
                    lines
                        .iter_mut()
                        .for_each(|line| line.0[place] = T::default());
                }
            }
        }
    }

    /// Packs in place the matrix of these `depth` rows of `count` numbers, `stride` apart.
    ///
    /// # Panics
    ///
    /// If `rows` is too short.
    pub fn set_rows(&mut self, rows: &[T], stride: usize, count: usize, depth: usize) {
        self.resize(count, depth);
        for (panel, lines) in self.lines.chunks_exact_mut(depth.max(1)).enumerate() {
            let first = panel * COLUMNS;
            let width = COLUMNS.min(count - first);
            for (row, line) in lines.iter_mut().enumerate() {
                let (values, padding) = line.0.split_at_mut(width);
                values.copy_from_slice(&rows[row * stride + first..][..width]);
                padding.fill(T::default());
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
    pub(super) fn steps(&self, panel: usize, steps: Range<usize>) -> &[Line<T>] {
        let start = panel * self.depth;
        let lines = self.lines.get(start + steps.start..start + steps.end);
        Aligned::lines(lines.unwrap_or(&[]))
    }

    fn resize(&mut self, count: usize, depth: usize) {
        self.depth = depth;
        self.count = count.div_ceil(COLUMNS);
        self.lines.resize(self.count * depth, Aligned::default());
    }
}

impl<T> Aligned<T> {
    /// The lines, without saying where they stand.
    pub(super) fn lines(aligned: &[Self]) -> &[Line<T>] {
        const { assert!(size_of::<Self>() == size_of::<Line<T>>()) };
        // SAFETY: an `Aligned` is exactly one `Line` (`repr(C)`, and of the same size, so without
        // padding), and the result borrows it.
        unsafe { std::slice::from_raw_parts(aligned.as_ptr().cast(), aligned.len()) }
    }

    /// The same, to be written.
    pub(super) fn lines_mut(aligned: &mut [Self]) -> &mut [Line<T>] {
        const { assert!(size_of::<Self>() == size_of::<Line<T>>()) };
        // SAFETY: as in `lines`; the result borrows it mutably, and any line may stand in an `Aligned`.
        unsafe { std::slice::from_raw_parts_mut(aligned.as_mut_ptr().cast(), aligned.len()) }
    }
}
