//! How is it done with AMX? Tile registers hold sixteen rows of 64 bytes: 16 × 16 sums, sixteen rows of 32
//! steps, or 32 steps of sixteen columns. One instruction multiplies the latter two and adds to the first.
//!
//! A *block* is two tiles of rows by two panels: its four tiles of sums stay in registers through a whole run of
//! steps, and each tile that is loaded is multiplied twice. All tiles of a product have the same number of rows,
//! up to sixteen, that leaves the least of them without a row; so tiles are configured once, at its beginning. A
//! block that is not whole writes to memory of its own, from where what there is room for is copied.
//!
//! The configuration is the thread's. It is loaded at the beginning of a product and released at its end, so none is left
//! behind, whatever runs on the thread in between two products; contents of tiles never outlive one `asm!`. The
//! system must save tiles between threads, and Linux wants to be asked for that, once for the process.

use std::arch::{asm, x86_64::*};

use super::{
    super::{COLUMNS, Line, Onto, Panels, Start, panels::Aligned},
    Kernels, Pair, Pairs, x86_avx512,
};

/// Most rows of a tile.
const TILE_ROWS: usize = 16;
/// Pairs of steps of a tile.
const TILE_PAIRS: usize = 16;
/// Bytes of a tile's row.
const ROW_BYTES: usize = 64;
/// Pairs of steps that are taken at once. The two panels' part is then 24 KiB, half of the first cache of the CPUs
/// that have AMX, where it stays while the rows pass by; and 384 steps are the whole width of small models.
const STEPS: usize = 192;
/// Columns of a block.
const WIDE: usize = 2 * COLUMNS;

/// If the CPU and the system have it.
pub(super) fn kernels() -> Option<&'static Kernels> {
    static KERNELS: Kernels = Kernels {
        name: "AMX",
        round: x86_avx512::round,
        product,
    };
    // Every CPU with AMX rounds with AVX512-BF16.
    (x86_avx512::kernels().is_some() && has_instructions() && may_use_tiles()).then_some(&KERNELS)
}

/// Whether the CPU has tiles of bf16, and the system has turned them on.
fn has_instructions() -> bool {
    /// Bits of `edx` of leaf 7: AMX-BF16 and AMX-TILE.
    const INSTRUCTIONS: u32 = 1 << 22 | 1 << 24;
    /// Bits of XCR0: configuration and contents of tiles.
    const STATE: u64 = 1 << 17 | 1 << 18;
    #[allow(
        unused_unsafe,
        reason = "asking the CPU is safe since some release of Rust"
    )]
    // SAFETY: a CPU with AVX-512, which was asked for before, told so in this leaf; and since the system has turned that on,
    // there is XGETBV.
    let (leaf, enabled) = unsafe { (__cpuid_count(7, 0), _xgetbv(0)) };
    leaf.edx & INSTRUCTIONS == INSTRUCTIONS && enabled & STATE == STATE
}

/// Whether this process may use tiles, now that it has asked. The system refuses if one of its threads handles signals on a
/// stack too small to save them on.
#[cfg(target_os = "linux")]
fn may_use_tiles() -> bool {
    const ARCH_REQ_XCOMP_PERM: libc::c_int = 0x1023;
    const XFEATURE_XTILEDATA: libc::c_ulong = 18;
    // SAFETY: asks for a permission by two numbers; no memory is named. All it changes for others is
    // how much a signal's frame may take, and Linux checks that there is room.
    unsafe {
        libc::syscall(
            libc::SYS_arch_prctl,
            ARCH_REQ_XCOMP_PERM,
            XFEATURE_XTILEDATA,
        ) == 0
    }
}

/// How other systems are asked has not been tried.
#[cfg(not(target_os = "linux"))]
fn may_use_tiles() -> bool {
    false
}

/// What `ldtilecfg` reads.
#[repr(C, align(64))]
struct Configuration {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_of_a_row: [u16; 16],
    rows: [u8; 16],
}

/// Tiles of some shape, as long as this lives.
struct Configured;

impl Configured {
    /// Tiles 0–3 are sums and 4 and 5 rows, all `height` rows high; 6 and 7 are panels.
    ///
    /// # Safety
    ///
    /// The CPU must have AMX, and the process the permission to use it; `height` is 1 to 16.
    unsafe fn new(height: u8) -> Self {
        let mut configuration = Configuration {
            palette: 1,
            start_row: 0,
            reserved: [0; 14],
            bytes_of_a_row: [0; 16],
            rows: [0; 16],
        };
        configuration.bytes_of_a_row[..8].fill(ROW_BYTES as u16);
        configuration.rows[..6].fill(height);
        configuration.rows[6..8].fill(TILE_PAIRS as u8);
        // SAFETY: reads the 64 bytes of `configuration`; the caller vouches for the instruction. It clears
        // tiles, which nobody else uses: the compiler does not, and a product leaves none configured.
        unsafe {
            asm!("ldtilecfg [{}]", in(reg) &raw const configuration, options(nostack, readonly, preserves_flags));
        }
        Self
    }
}

impl Drop for Configured {
    fn drop(&mut self) {
        // SAFETY: whoever made this has the instructions; tiles hold nothing any more.
        unsafe { asm!("tilerelease", options(nostack, nomem, preserves_flags)) }
    }
}

/// One block: so many lines of the rows from the first of two tiles on, by two panels.
struct Block<'a> {
    /// From the first row's first line on.
    a: &'a [Line<Pair>],
    /// Lines from one row to the next.
    a_stride: usize,
    /// Rows of a tile.
    height: usize,
    panels: [&'a [Line<Pair>]; 2],
    /// Bytes from a panel to what is needed soon, which is asked for meanwhile.
    ahead: usize,
    start: Start<'a>,
    out: &'a mut [f32],
    out_stride: usize,
}

/// Where its sums come from and go to, for each tile of rows; read by `asm!`.
#[repr(C)]
struct Places {
    from: [*const f32; 2],
    /// Bytes; 0 where all rows begin with the same.
    from_stride: usize,
    to: [*mut f32; 2],
    /// Bytes.
    to_stride: usize,
}

/// # Safety
///
/// The CPU must have AMX, and the process the permission to use it.
unsafe fn product(
    rows: &Pairs,
    panels: &Panels<Pair>,
    onto: Onto<'_>,
    out: &mut [f32],
    out_stride: usize,
) {
    let count = rows.count;
    if count == 0 {
        return;
    }
    let blocks = count.div_ceil(2 * TILE_ROWS);
    let height = count.div_ceil(2 * blocks);
    // SAFETY: the caller vouches for AMX; the height is at least one and, by the number of blocks, at most sixteen.
    let _configured = unsafe { Configured::new(height as u8) };
    let a = Aligned::lines(&rows.lines);
    let depth = panels.depth();
    for first_step in (0..depth.max(1)).step_by(STEPS) {
        let steps = first_step..depth.min(first_step + STEPS);
        for panel in (0..panels.count()).step_by(2) {
            let first = panels.steps(panel, steps.clone());
            let (second, width) = if panel + 1 < panels.count() {
                (panels.steps(panel + 1, steps.clone()), WIDE)
            } else {
                // What comes of the first one twice is left.
                (first, COLUMNS)
            };
            let column = panel * COLUMNS;
            let start = match onto {
                _ if first_step > 0 => Start::Sums,
                Onto::Nothing => Start::Zero,
                Onto::Bias(bias) => Start::Bias(&bias[column..column + width]),
                Onto::Itself => Start::Sums,
            };
            for row in (0..count).step_by(2 * height) {
                let block = Block {
                    a: &a[row * rows.width + first_step / TILE_PAIRS..],
                    a_stride: rows.width,
                    height,
                    panels: [first, second],
                    // Once is enough; afterwards this asks for what is loaded next, and is there.
                    ahead: if row == 0 { 2 * depth * ROW_BYTES } else { 0 },
                    start,
                    out: &mut out[row * out_stride + column..],
                    out_stride,
                };
                let here = (count - row).min(2 * height);
                // SAFETY: the caller vouches for AMX, and tiles have this height.
                unsafe {
                    if here == 2 * height && width == WIDE {
                        block.run();
                    } else {
                        block.run_part(here, width);
                    }
                }
            }
        }
    }
}

impl Block<'_> {
    /// Computes its first rows and columns, and leaves the others of `out` alone.
    ///
    /// # Safety
    ///
    /// As of [`run`](Self::run).
    unsafe fn run_part(self, rows: usize, columns: usize) {
        let mut sums = [[0.0; WIDE]; 2 * TILE_ROWS];
        for (row, sums) in sums.iter_mut().take(rows).enumerate() {
            match self.start {
                Start::Zero => {}
                Start::Bias(bias) => sums[..columns].copy_from_slice(&bias[..columns]),
                Start::Sums => {
                    let from = &self.out[row * self.out_stride..][..columns];
                    sums[..columns].copy_from_slice(from);
                }
            }
        }
        let whole = Block {
            start: Start::Sums,
            out: sums.as_flattened_mut(),
            out_stride: WIDE,
            ..self
        };
        // SAFETY: the caller vouches for what `run` asks.
        unsafe { whole.run() }
        for (row, sums) in sums.iter().take(rows).enumerate() {
            self.out[row * self.out_stride..][..columns].copy_from_slice(&sums[..columns]);
        }
    }

    /// Computes it.
    ///
    /// # Safety
    ///
    /// The CPU must have AMX, and tiles must be [`Configured`] for this height.
    unsafe fn run(self) {
        static ZEROS: [f32; WIDE] = [0.0; WIDE];
        let last_row = 2 * self.height - 1;
        let [first, second] = self.panels;
        let lines = first.len() / TILE_PAIRS;
        assert!(self.a.len() >= last_row * self.a_stride + lines);
        assert!(first.len() == lines * TILE_PAIRS && second.len() == first.len());
        assert!(self.out.len() >= last_row * self.out_stride + WIDE);
        let row_of_second = self.height * self.out_stride;
        let to = self.out.as_mut_ptr();
        let to = [to, to.wrapping_add(row_of_second)];
        let stride = self.out_stride * size_of::<f32>();
        let (from, from_stride) = match self.start {
            Start::Zero => ([ZEROS.as_ptr(); 2], 0),
            Start::Bias(bias) => {
                assert!(bias.len() >= WIDE);
                ([bias.as_ptr(); 2], 0)
            }
            Start::Sums => (to.map(<*mut f32>::cast_const), stride),
        };
        let places = Places {
            from,
            from_stride,
            to,
            to_stride: stride,
        };
        let a = self.a.as_ptr();
        // SAFETY: the caller vouches for the instructions and for the tiles' shapes: sums and rows of `height` rows
        // of 64 bytes, panels of 16. Read are, `lines` times, a line of each of the 2 · `height` rows of `a` and sixteen lines of each
        // panel; at the beginning two lines of sums for each row, or one pair of lines again and again where the stride is
        // 0; written are as many at the end. The assertions saw that all of these lie within the slices, of which `out` is
        // borrowed mutably. Prefetches cannot fault, whatever the address. Tiles are clobbered, and no other register is changed but those named.
        unsafe {
            asm!(
                "mov {place}, [{places}]",
                "mov {stride}, [{places} + 16]",
                "tileloadd tmm0, [{place} + {stride}*1]",
                "tileloadd tmm1, [{place} + {stride}*1 + 64]",
                "mov {place}, [{places} + 8]",
                "tileloadd tmm2, [{place} + {stride}*1]",
                "tileloadd tmm3, [{place} + {stride}*1 + 64]",
                "test {lines}, {lines}",
                "jz 3f",
                "2:",
                "tileloadd tmm4, [{a} + {a_stride}*1]",
                "tileloadd tmm6, [{first} + {line}*1]",
                "tileloadd tmm7, [{second} + {line}*1]",
                "tdpbf16ps tmm0, tmm4, tmm6",
                "tileloadd tmm5, [{b} + {a_stride}*1]",
                "tdpbf16ps tmm1, tmm4, tmm7",
                "tdpbf16ps tmm2, tmm5, tmm6",
                "tdpbf16ps tmm3, tmm5, tmm7",
                ".irp at, 0, 64, 128, 192, 256, 320, 384, 448, 512, 576, 640, 704, 768, 832, 896, 960",
                "prefetcht1 [{first} + {ahead}*1 + \\at]",
                "prefetcht1 [{second} + {ahead}*1 + \\at]",
                ".endr",
                "add {a}, 64",
                "add {b}, 64",
                "add {first}, 1024",
                "add {second}, 1024",
                "dec {lines}",
                "jnz 2b",
                "3:",
                "mov {place}, [{places} + 24]",
                "mov {stride}, [{places} + 40]",
                "tilestored [{place} + {stride}*1], tmm0",
                "tilestored [{place} + {stride}*1 + 64], tmm1",
                "mov {place}, [{places} + 32]",
                "tilestored [{place} + {stride}*1], tmm2",
                "tilestored [{place} + {stride}*1 + 64], tmm3",
                places = in(reg) &raw const places,
                place = out(reg) _,
                stride = out(reg) _,
                a = inout(reg) a => _,
                b = inout(reg) a.wrapping_add(self.height * self.a_stride) => _,
                a_stride = in(reg) self.a_stride * ROW_BYTES,
                first = inout(reg) first.as_ptr() => _,
                second = inout(reg) second.as_ptr() => _,
                line = in(reg) ROW_BYTES,
                ahead = in(reg) self.ahead,
                lines = inout(reg) lines => _,
                out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
                out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
                options(nostack),
            );
        }
    }
}
