//! How is a few rows' product with a matrix of weights computed as fast as this CPU can?
//!
//! The right factor is packed once into [`Panels`]: sixteen columns side by side, one step of the
//! inner sum after the other, which is the order that every instruction set reads it in. A *tile* is
//! a few rows of one panel (or of two) whose sums stay in registers through a whole run of steps; it
//! is all that is written per instruction set, chosen at the first call by what the CPU has.
//!
//! Sums of a row are taken in the same order whatever rows stand beside it, so a row's result does
//! not depend on them. Tiles only ever see slices whose lengths they check: what they are unsafe
//! about is whether the CPU has their instructions.
//!
//! What a step is made of is a type's parameter: one f32 here, and two numbers of half the bits in [`bf16`],
//! whose panels, rows and loops are these.
#![allow(
    clippy::indexing_slicing,
    reason = "lengths are what callers of this crate promise; a broken promise must stop here"
)]

pub mod bf16;
#[cfg(target_arch = "aarch64")]
mod neon;
mod panels;
mod scalar;
#[cfg(test)]
mod tests;
#[cfg(target_arch = "x86_64")]
mod x86_avx2;
#[cfg(target_arch = "x86_64")]
mod x86_avx512;

use std::sync::OnceLock;

pub use panels::Panels;

/// Columns of a panel: one register of AVX-512, two of AVX2, four of NEON.
pub const COLUMNS: usize = 16;
/// Steps that a tile takes at once. A panel's part is then 16 KiB, which stays in the first cache
/// while the rows pass by.
const STEPS: usize = 256;

/// One step of a panel.
type Line<T = f32> = [T; COLUMNS];

/// Rows of numbers, the first of each `stride` behind that of the one before.
#[derive(Clone, Copy, Debug)]
pub struct Rows<'a, T = f32> {
    /// From the first number of the first row on.
    pub values: &'a [T],
    /// Numbers from one row to the next.
    pub stride: usize,
}

/// What a product begins with.
#[derive(Clone, Copy, Debug)]
pub enum Onto<'a> {
    /// Zero.
    Nothing,
    /// The same for every row: as many numbers as there are columns.
    Bias(&'a [f32]),
    /// What stands there already.
    Itself,
}

/// `out = onto + rows · panels`, for `count` rows.
///
/// `out` has rows too, `out_stride` apart. Whole panels are written: of the last one also the columns
/// that are only padding, so there must be room for them.
///
/// # Panics
///
/// If a slice is too short for what is asked: the caller's mistake, not bad data.
pub fn product(
    rows: Rows<'_>,
    count: usize,
    panels: &Panels,
    onto: Onto<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    product_with(chosen(), rows, count, panels, onto, out, out_stride);
}

fn product_with<T: Copy + Default>(
    tiles: &Tiles<T>,
    rows: Rows<'_, T>,
    count: usize,
    panels: &Panels<T>,
    onto: Onto<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    if count == 0 {
        return;
    }
    let most = tiles.narrow.len();
    // Of about the same height: a last tile of one row would take as long as one of four.
    let tile_count = count.div_ceil(most);
    let depth = panels.depth();
    for first_step in (0..depth.max(1)).step_by(STEPS) {
        let steps = first_step..depth.min(first_step + STEPS);
        let mut panel = 0;
        while panel < panels.count() {
            let wide = !tiles.wide.is_empty() && panel + 1 < panels.count();
            let (kernels, together) = if wide {
                (tiles.wide, 2)
            } else {
                (tiles.narrow, 1)
            };
            let column = panel * COLUMNS;
            let b = panels.steps(panel, steps.clone());
            let second = if wide {
                panels.steps(panel + 1, steps.clone())
            } else {
                &[]
            };
            let ahead = panels.steps(panel + together, steps.clone());
            let start = match onto {
                _ if first_step > 0 => Start::Sums,
                Onto::Nothing => Start::Zero,
                Onto::Bias(bias) => Start::Bias(&bias[column..column + together * COLUMNS]),
                Onto::Itself => Start::Sums,
            };
            let mut row = 0;
            for number in 0..tile_count {
                let height = (count - row).div_ceil(tile_count - number);
                let part = ahead.len().div_ceil(tile_count);
                let tile = Tile {
                    a: &rows.values[row * rows.stride + first_step..],
                    a_stride: rows.stride,
                    b,
                    second,
                    ahead: ahead.chunks(part.max(1)).nth(number).unwrap_or(&[]),
                    start,
                    out: &mut out[row * out_stride + column..],
                    out_stride,
                };
                // SAFETY: this table was handed out, so the CPU has its instructions.
                unsafe { kernels[height - 1](tile) }
                row += height;
            }
            panel += together;
        }
    }
}

/// The tiles of one instruction set: at index n those of n + 1 rows.
struct Tiles<T: 'static = f32> {
    /// For the tests' notes.
    #[cfg_attr(not(test), allow(dead_code, reason = "said by the tests alone"))]
    name: &'static str,
    narrow: &'static [unsafe fn(Tile<'_, T>)],
    /// Of two panels; empty where there are not the registers for it.
    wide: &'static [unsafe fn(Tile<'_, T>)],
}

/// What one tile computes. Each is unsafe to call on a CPU without the instructions that it was
/// compiled for, and for no other reason.
struct Tile<'a, T = f32> {
    /// From the first row's first step on.
    a: &'a [T],
    a_stride: usize,
    b: &'a [Line<T>],
    /// The panel beside it, as long; looked at by wide tiles only.
    second: &'a [Line<T>],
    /// What is needed soon: asked for meanwhile, so that weights arrive while others are multiplied.
    #[cfg_attr(
        not(target_arch = "x86_64"),
        allow(dead_code, reason = "there is no stable hint elsewhere")
    )]
    ahead: &'a [Line<T>],
    start: Start<'a>,
    out: &'a mut [f32],
    out_stride: usize,
}

#[derive(Clone, Copy)]
enum Start<'a> {
    Zero,
    Bias(&'a [f32]),
    Sums,
}

impl<T> Tile<'_, T> {
    /// Stops a tile of `rows` rows and `columns` columns that would leave its slices.
    #[inline(always)]
    fn check(&self, rows: usize, columns: usize) {
        let last = rows - 1;
        assert!(self.a.len() >= last * self.a_stride + self.b.len());
        assert!(self.out.len() >= last * self.out_stride + columns);
        assert!(columns == COLUMNS || self.second.len() == self.b.len());
        if let Start::Bias(bias) = self.start {
            assert!(bias.len() >= columns);
        }
    }
}

/// Asks the CPU to fetch a line of weights.
#[cfg(target_arch = "x86_64")]
#[inline(always)]
fn ask_for<T>(line: *const Line<T>) {
    use std::arch::x86_64::{_MM_HINT_T0, _mm_prefetch};
    // SAFETY: a hint that reads nothing and cannot fault, whatever the address; SSE, which has it, is
    // part of x86-64.
    unsafe { _mm_prefetch::<_MM_HINT_T0>(line.cast()) }
}

/// The best tiles that this CPU can run.
fn chosen() -> &'static Tiles {
    static CHOSEN: OnceLock<&Tiles> = OnceLock::new();
    CHOSEN.get_or_init(|| {
        #[cfg(target_arch = "x86_64")]
        let best = x86_avx512::tiles().or_else(x86_avx2::tiles);
        #[cfg(target_arch = "aarch64")]
        let best = neon::tiles();
        #[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
        let best = None;
        best.unwrap_or(scalar::tiles())
    })
}
