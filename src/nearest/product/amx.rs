//! Products in AMX, the matrix unit of Xeons since 2023: 16 rows times 16 queries of 32 numbers each in one instruction.
//!
//! It multiplies numbers in bf16, which has 8 of the 24 bits of precision of `f32`, and adds in `f32`. So each number is
//! split into a high and a low part in bf16, and a product is high times high plus high times low plus low times high. The
//! low part is cut off at 2^-15 of the number, in rows and in queries, and low times low is at most 2^-16 of the product:
//! together [`super::MOST_LOST`].
//!
//! 100,000 rows of 1280 and 16 queries take two cores as long as reading the rows does, 28 ms, and 64 queries 44 ms.

use std::arch::asm;
use std::arch::x86_64::*;
use std::sync::LazyLock;

use nix::libc;

use super::avx512::{LANES, load};

/// Rows, or queries, that one instruction multiplies.
const TILE: usize = 16;
/// Numbers of each that it multiplies.
const STEP: usize = 2 * LANES;
/// Tiles of rows that a tile of queries is multiplied with once it is loaded.
const ROW_TILES: usize = 4;
/// Rows that are split, and then multiplied: 330 KB at a length of 1280, which stay in a core's second cache.
const ROWS: usize = ROW_TILES * TILE;
/// While a step is multiplied, so many lines (of 64 bytes) of the rows that come next are fetched into the second cache, for
/// memory not to rest: 28 ms instead of 41 with 16 queries, and the same with twice as many.
const FETCHED: usize = 4;

/// 32 numbers in bf16. Two that share 32 bits are multiplied with two of the other side and added: the first number with
/// the 17th, the second with the 18th, and so on, since the order of a sum is any and this one takes the least work.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([u32; LANES]);

/// A step of a row, or a line of a tile of queries.
#[derive(Clone, Copy)]
#[repr(C)]
struct Split {
    high: Line,
    low: Line,
}

const ZEROS: Split = Split {
    high: Line([0; LANES]),
    low: Line([0; LANES]),
};

/// Whether processor and system have it. The system wants to be asked, for it keeps 8 KB more for each thread then.
pub fn is_there() -> bool {
    static IS_THERE: LazyLock<bool> = LazyLock::new(|| {
        // AMX-BF16 and AMX-TILE in Intel's manual, and the numbers in Linux's `Documentation/arch/x86/xstate.rst`.
        const BF16_AND_TILES: u32 = 1 << 22 | 1 << 24;
        const ARCH_REQ_XCOMP_PERM: libc::c_long = 0x1023;
        const XFEATURE_XTILEDATA: libc::c_long = 18;
        // Where there is AVX-512, there is a leaf 7.
        let has_it = is_x86_feature_detected!("avx512f")
            && __cpuid_count(7, 0).edx & BF16_AND_TILES == BF16_AND_TILES;
        #[expect(unsafe_code)]
        // SAFETY: the call takes two numbers, and touches no memory of ours.
        let allow = || unsafe {
            libc::syscall(
                libc::SYS_arch_prctl,
                ARCH_REQ_XCOMP_PERM,
                XFEATURE_XTILEDATA,
            )
        };
        has_it && allow() == 0
    });
    *IS_THERE
}

/// Queries, split and in the order in which they are multiplied.
pub struct Queries {
    /// For each 16 queries a tile of each step: a line has two numbers of every query.
    tiles: Vec<[Split; TILE]>,
    count: usize,
    length: usize,
}

impl Queries {
    /// Of `[n, length]`.
    #[target_feature(enable = "avx512f")]
    pub fn new(queries: &[f32], length: usize) -> Self {
        let (count, steps) = (queries.len() / length, length.div_ceil(STEP));
        let mut tiles = vec![[ZEROS; TILE]; count.div_ceil(TILE) * steps];
        let mut parts = vec![ZEROS; steps];
        for (number, query) in queries.chunks_exact(length).enumerate() {
            split(query, &mut parts, 0);
            let column = number % TILE;
            for (tile, part) in tiles[number / TILE * steps..].iter_mut().zip(&parts) {
                for (pair, line) in tile.iter_mut().enumerate() {
                    line.high.0[column] = part.high.0[pair];
                    line.low.0[column] = part.low.0[pair];
                }
            }
        }
        Queries {
            tiles,
            count,
            length,
        }
    }

    /// See [`super::Products`].
    #[target_feature(enable = "avx512f")]
    pub fn products(&self, rows: &[f32], out: &mut [f32], squares: &mut [f32]) {
        let steps = self.length.div_ceil(STEP);
        // One more, since lines that are a multiple of 4096 bytes apart would have the same few places in the first cache.
        let width = steps + 1;
        let mut parts = vec![ZEROS; ROWS * width];
        // So many numbers of the next rows are there already when their turn comes.
        let ahead = self.tiles.len() * FETCHED * LANES;
        let groups = (rows.chunks(ROWS * self.length)).zip(squares.chunks_mut(ROWS));
        for ((rows, squares), out) in groups.zip(out.chunks_mut(ROWS * self.count)) {
            let next = rows.as_ptr_range().end;
            let rows = rows.chunks_exact(self.length);
            for ((row, parts), square) in rows.zip(parts.chunks_exact_mut(width)).zip(squares) {
                *square = split(row, &mut parts[..steps], ahead);
            }
            for (number, tiles) in self.tiles.chunks_exact(steps).enumerate() {
                let next = next.wrapping_add(number * steps * FETCHED * LANES);
                let sums = multiply(&parts, width, tiles, next);
                let out = out.chunks_exact_mut(self.count);
                for (sums, out) in sums.as_flattened().iter().zip(out) {
                    let out = &mut out[number * TILE..];
                    let wanted = out.len().min(TILE);
                    out[..wanted].copy_from_slice(&sums[..wanted]);
                }
            }
        }
    }
}

/// Splits the numbers of a row, fills the last step with zeros, and returns the sum of the squares. Meanwhile what stands
/// so many numbers `ahead` is fetched into the second cache.
///
/// A high part is rounded, by half of its last unit, and a low one, which is what that leaves, is cut off.
#[target_feature(enable = "avx512f")]
fn split(row: &[f32], parts: &mut [Split], ahead: usize) -> f32 {
    let upper = _mm512_set1_epi32(0xffff_0000_u32 as i32);
    let half = _mm512_set1_epi32(0x8000);
    let both = |one, other| {
        let (one, other) = (_mm512_srli_epi32::<16>(one), _mm512_and_si512(other, upper));
        Line(bytemuck::cast(_mm512_or_si512(one, other)))
    };
    let mut sums = [_mm512_setzero_ps(); 2];
    let mut add = |numbers: &[f32; STEP], to: &mut Split| {
        let (mut high, mut low) = ([_mm512_setzero_si512(); 2], [_mm512_setzero_si512(); 2]);
        for (at, numbers) in numbers.as_chunks().0.iter().enumerate() {
            _mm_prefetch::<_MM_HINT_T1>(numbers.as_ptr().wrapping_add(ahead).cast());
            let numbers = load(numbers);
            sums[at] = _mm512_fmadd_ps(numbers, numbers, sums[at]);
            high[at] = _mm512_add_epi32(_mm512_castps_si512(numbers), half);
            let rounded = _mm512_castsi512_ps(_mm512_and_si512(high[at], upper));
            low[at] = _mm512_castps_si512(_mm512_sub_ps(numbers, rounded));
        }
        *to = Split {
            high: both(high[0], high[1]),
            low: both(low[0], low[1]),
        };
    };
    let (whole, rest) = row.as_chunks::<STEP>();
    for (numbers, to) in whole.iter().zip(&mut *parts) {
        add(numbers, to);
    }
    if !rest.is_empty() {
        let mut numbers = [0.0; STEP];
        numbers[..rest.len()].copy_from_slice(rest);
        add(&numbers, &mut parts[whole.len()]);
    }
    _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}

/// The products of [`ROWS`] rows, which are `width` apart, with a tile of queries. Meanwhile what stands at `next` is fetched.
fn multiply(
    rows: &[Split],
    width: usize,
    queries: &[[Split; TILE]],
    next: *const f32,
) -> [[[f32; TILE]; TILE]; ROW_TILES] {
    /// What `ldtilecfg` reads: all eight tiles have 16 rows of 64 bytes.
    #[repr(C, align(64))]
    struct Shape {
        palette: u8,
        start: u8,
        reserved: [u8; 14],
        bytes: [u16; 16],
        rows: [u8; 16],
    }
    static SHAPE: Shape = Shape {
        palette: 1,
        start: 0,
        reserved: [0; 14],
        bytes: [64, 64, 64, 64, 64, 64, 64, 64, 0, 0, 0, 0, 0, 0, 0, 0],
        rows: [16, 16, 16, 16, 16, 16, 16, 16, 0, 0, 0, 0, 0, 0, 0, 0],
    };
    assert!(rows.len() >= ROWS * width && queries.len() <= width && !queries.is_empty());
    let mut sums = [[[0f32; TILE]; TILE]; ROW_TILES];
    let stride = width * size_of::<Split>();
    #[expect(unsafe_code)]
    // SAFETY: there are `ROWS` rows of `stride` bytes, and in each as many steps, of 128 bytes, as `queries` has, of 2 KB; to
    // fetch is allowed anywhere. The tiles are set, used and given back in here, so that nothing else sees them.
    unsafe {
        asm!(
            "ldtilecfg [{shape}]",
            "tilezero tmm0",
            "tilezero tmm1",
            "tilezero tmm2",
            "tilezero tmm3",
            "2:",
            "tileloadd tmm4, [{queries} + {split}]",
            "tileloadd tmm5, [{queries} + {split} + 64]",
            "tileloadd tmm6, [{rows} + {stride}]",
            "tdpbf16ps tmm0, tmm6, tmm4",
            "tileloadd tmm7, [{rows} + {stride} + 64]",
            "tdpbf16ps tmm0, tmm6, tmm5",
            "tileloadd tmm6, [{second} + {stride}]",
            "tdpbf16ps tmm0, tmm7, tmm4",
            "tdpbf16ps tmm1, tmm6, tmm4",
            "tileloadd tmm7, [{second} + {stride} + 64]",
            "tdpbf16ps tmm1, tmm6, tmm5",
            "tileloadd tmm6, [{third} + {stride}]",
            "tdpbf16ps tmm1, tmm7, tmm4",
            "tdpbf16ps tmm2, tmm6, tmm4",
            "tileloadd tmm7, [{third} + {stride} + 64]",
            "tdpbf16ps tmm2, tmm6, tmm5",
            "tileloadd tmm6, [{fourth} + {stride}]",
            "tdpbf16ps tmm2, tmm7, tmm4",
            "tdpbf16ps tmm3, tmm6, tmm4",
            "tileloadd tmm7, [{fourth} + {stride} + 64]",
            "tdpbf16ps tmm3, tmm6, tmm5",
            "tdpbf16ps tmm3, tmm7, tmm4",
            ".rept {fetched}",
            "prefetcht1 [{next}]",
            "add {next}, 64",
            ".endr",
            "add {queries}, 2048",
            "add {rows}, 128",
            "add {second}, 128",
            "add {third}, 128",
            "add {fourth}, 128",
            "dec {steps}",
            "jnz 2b",
            "tilestored [{sums} + {line}], tmm0",
            "tilestored [{sums} + {line} + 1024], tmm1",
            "tilestored [{sums} + {line} + 2048], tmm2",
            "tilestored [{sums} + {line} + 3072], tmm3",
            "tilerelease",
            shape = in(reg) &raw const SHAPE,
            split = in(reg) size_of::<Split>(),
            line = in(reg) size_of::<Line>(),
            stride = in(reg) stride,
            steps = inout(reg) queries.len() => _,
            queries = inout(reg) queries.as_ptr() => _,
            rows = inout(reg) rows.as_ptr() => _,
            second = inout(reg) rows[TILE * width..].as_ptr() => _,
            third = inout(reg) rows[2 * TILE * width..].as_ptr() => _,
            fourth = inout(reg) rows[3 * TILE * width..].as_ptr() => _,
            next = inout(reg) next => _,
            fetched = const FETCHED,
            sums = in(reg) sums.as_mut_ptr(),
            options(nostack),
        );
    }
    sums
}
