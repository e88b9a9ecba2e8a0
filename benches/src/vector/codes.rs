//! What does the bare graph know of a row? One signed byte per component.
//!
//! One unit for all rows, q99.95 of all |x| by 127; what lies beyond is clipped. Rows are padded for the
//! kernels.

use super::kernels::{Dot, STEP, pick};

/// Components that are looked at for the unit.
const SAMPLE: usize = 4_000_000;

/// The codes of all rows, one after the other.
pub(super) struct Codes {
    pub(super) width: usize,
    dimension: usize,
    factor: f32,
    rows: Vec<i8>,
    dot: Dot,
}

impl Codes {
    pub(super) fn of(rows: &[f32], dimension: usize) -> Self {
        let mut codes = Self {
            width: dimension.next_multiple_of(STEP),
            dimension,
            factor: 127.0 / quantile(rows, 0.9995),
            rows: Vec::new(),
            dot: pick().0,
        };
        let mut all = Vec::with_capacity(rows.len() / dimension * codes.width);
        for row in rows.chunks_exact(dimension) {
            codes.append(row, &mut all);
        }
        codes.rows = all;
        codes
    }

    /// The code of a query.
    pub(super) fn code(&self, vector: &[f32]) -> Vec<i8> {
        let mut code = Vec::with_capacity(self.width);
        self.append(vector, &mut code);
        code
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = &[i8]> {
        self.rows.chunks_exact(self.width)
    }

    /// How well a row matches a query's code; nothing where there is no such row.
    pub(super) fn score(&self, code: &[i8], row: usize) -> Option<i32> {
        let row = self.rows.get(row * self.width..(row + 1) * self.width)?;
        let code = code.get(..self.width)?;
        // SAFETY: both have `width` components, a multiple of `STEP`; the kernel was picked for this processor.
        Some(unsafe { (self.dot)(code.as_ptr(), row.as_ptr(), self.width) })
    }

    fn append(&self, vector: &[f32], codes: &mut Vec<i8>) {
        let coded = vector.iter().map(|x| (x * self.factor).round_ties_even());
        // A cast saturates; −128 is what the kernels cannot do with.
        codes.extend(coded.map(|x| x.clamp(-127.0, 127.0) as i8));
        codes.extend(std::iter::repeat_n(0, self.width - self.dimension));
    }
}

/// The value that this share of the magnitudes does not exceed.
fn quantile(rows: &[f32], share: f64) -> f32 {
    // Not a multiple of any dimension in use, so that all components have their turn.
    let step = (rows.len() / SAMPLE).max(1) | 1;
    let mut sample: Vec<f32> = rows.iter().step_by(step).map(|x| x.abs()).collect();
    let at = ((sample.len() as f64 * share) as usize).min(sample.len().saturating_sub(1));
    if sample.is_empty() {
        return 1.0;
    }
    let (_, value, _) = sample.select_nth_unstable_by(at, f32::total_cmp);
    value.max(f32::MIN_POSITIVE)
}
