//! Products in AMX, the matrix unit of Xeons since 2023: 16 rows times 16 queries of 32 numbers each in one
//! instruction.
//!
//! It multiplies numbers in bf16, which has 8 of the 24 bits of precision of `f32`, and adds in `f32`. So each number
//! is split into a high and a low part in bf16, and a product is high times high plus high times low plus low times
//! high. The low part is at most 2^-8 of the number, and what is cut off after it at most 2^-16. So a product loses
//! 2^-16 for the row, 2^-16 for the query, and 2^-16 for low times low: within [`super::AMX_LOSS`].
//!
//! 100,000 rows of 1280 and 16 queries take two cores as long as reading the rows does, 28 ms, and 64 queries 44 ms.

use std::arch::asm;
use std::arch::x86_64::*;
use std::mem::offset_of;
use std::sync::LazyLock;

use nix::libc;

use super::Products;
use super::avx512::{LANES, load};

/// Rows, or queries, that one instruction multiplies.
const TILE: usize = 16;
/// Numbers of each that it multiplies.
const STEP: usize = 2 * LANES;
/// Tiles of rows that a tile of queries is multiplied with once it is loaded.
const ROW_TILES: usize = 4;
/// Rows that are split, and then multiplied: 330 KB at a dimension of 1280, which stay in a core's second cache.
const ROWS: usize = ROW_TILES * TILE;
/// While a step is multiplied, so many lines (of 64 bytes) of the rows that come next are fetched into the second
/// cache, for memory not to rest: 28 ms instead of 41 with 16 queries, and the same with twice as many.
const FETCHED: usize = 4;

/// 32 numbers in bf16. Two that share 32 bits are multiplied with two of the other side and added: the first number
/// with the 17th, the second with the 18th, and so on, since the order of a sum is any and this one takes the least
/// work.
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
        #[allow(unused_unsafe, reason = "it is unsafe before Rust 1.94")]
        #[expect(unsafe_code)]
        // SAFETY: every processor of this architecture has the instruction, and where there is AVX-512, there is leaf
        // 7.
        let features = || unsafe { __cpuid_count(7, 0).edx };
        let has_it =
            is_x86_feature_detected!("avx512f") && features() & BF16_AND_TILES == BF16_AND_TILES;
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

/// See [`super::products`]; `None` where there is no AMX.
pub fn products(queries: &[f32], dimension: usize) -> Option<Products<'static>> {
    let queries = Queries::new(queries, dimension)?;
    Some(Products {
        loss: super::AMX_LOSS,
        multiply: Box::new(move |rows, out, squares| queries.products(rows, out, squares)),
    })
}

/// Queries, split and in the order in which they are multiplied. There are some only where there is AMX.
struct Queries {
    /// For each 16 queries a tile of each step: a line has two numbers of every query.
    tiles: Vec<[Split; TILE]>,
    count: usize,
    dimension: usize,
}

impl Queries {
    /// Of `[n, dimension]`; `None` where there is no AMX.
    fn new(queries: &[f32], dimension: usize) -> Option<Self> {
        #[expect(unsafe_code)]
        // SAFETY: where there is AMX, there is AVX-512.
        is_there().then(|| unsafe { Self::of(queries, dimension) })
    }

    /// See [`super::Multiply`].
    fn products(&self, rows: &[f32], out: &mut [f32], squares: &mut [f32]) {
        #[expect(unsafe_code)]
        // SAFETY: there is AMX, and so AVX-512.
        unsafe {
            self.products_in_avx512(rows, out, squares);
        }
    }

    #[target_feature(enable = "avx512f")]
    fn of(queries: &[f32], dimension: usize) -> Self {
        let (count, steps) = (queries.len() / dimension, dimension.div_ceil(STEP));
        let mut tiles = vec![[ZEROS; TILE]; count.div_ceil(TILE) * steps];
        let mut parts = vec![ZEROS; steps];
        for (number, query) in queries.chunks_exact(dimension).enumerate() {
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
            dimension,
        }
    }

    #[target_feature(enable = "avx512f")]
    fn products_in_avx512(&self, rows: &[f32], out: &mut [f32], squares: &mut [f32]) {
        let steps = self.dimension.div_ceil(STEP);
        // One more, since lines that are a multiple of 4096 bytes apart would have the same few places in the first
        // cache.
        let width = steps + 1;
        let mut parts = vec![ZEROS; ROWS * width];
        // So many numbers of the next rows `multiply` has fetched when their turn comes.
        let ahead = self.tiles.len() * FETCHED * LANES;
        let groups = (rows.chunks(ROWS * self.dimension)).zip(squares.chunks_mut(ROWS));
        for ((rows, squares), out) in groups.zip(out.chunks_mut(ROWS * self.count)) {
            let next = rows.as_ptr_range().end;
            let rows = rows.chunks_exact(self.dimension);
            for ((row, parts), square) in rows.zip(parts.chunks_exact_mut(width)).zip(squares) {
                *square = split(row, &mut parts[..steps], ahead);
            }
            for (number, tiles) in self.tiles.chunks_exact(steps).enumerate() {
                let next = next.wrapping_add(number * steps * FETCHED * LANES);
                let sums = self.multiply(&parts, width, tiles, next);
                let out = out.chunks_exact_mut(self.count);
                for (sums, out) in sums.as_flattened().iter().zip(out) {
                    let out = &mut out[number * TILE..];
                    let wanted = out.len().min(TILE);
                    out[..wanted].copy_from_slice(&sums[..wanted]);
                }
            }
        }
    }

    /// The products of [`ROWS`] rows, which are `width` apart, with a tile of queries. Meanwhile what is at `next` is
    /// fetched.
    fn multiply(
        &self,
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
        const { assert!(ROW_TILES == 4, "a pointer and a tile of sums for each") };
        assert!(rows.len() >= ROWS * width && queries.len() <= width && !queries.is_empty());
        let mut sums = [[[0f32; TILE]; TILE]; ROW_TILES];
        let stride = width * size_of::<Split>();
        #[expect(unsafe_code)]
        // SAFETY: there is AMX, or there would be no `self`. There are `ROWS` rows of `stride` bytes, and in each as
        // many steps, of 128 bytes, as `queries` has, of 2 KB; to fetch is allowed anywhere. The tiles are set, used
        // and given back in here, so that nothing else sees them.
        unsafe {
            // Tiles 0 to 3 are the sums of the four tiles of rows, 4 and 5 the queries, high and low, and 6 and 7 the
            // rows, high and low: one is loaded while the other is multiplied.
            asm!(
                "ldtilecfg [{shape}]",
                "tilezero tmm0",
                "tilezero tmm1",
                "tilezero tmm2",
                "tilezero tmm3",
                "2:",
                "tileloadd tmm4, [{queries} + {pair}]",
                "tileloadd tmm5, [{queries} + {pair} + {low}]",
                "tileloadd tmm6, [{rows} + {stride}]",
                "tdpbf16ps tmm0, tmm6, tmm4",
                "tileloadd tmm7, [{rows} + {stride} + {low}]",
                "tdpbf16ps tmm0, tmm6, tmm5",
                "tileloadd tmm6, [{second} + {stride}]",
                "tdpbf16ps tmm0, tmm7, tmm4",
                "tdpbf16ps tmm1, tmm6, tmm4",
                "tileloadd tmm7, [{second} + {stride} + {low}]",
                "tdpbf16ps tmm1, tmm6, tmm5",
                "tileloadd tmm6, [{third} + {stride}]",
                "tdpbf16ps tmm1, tmm7, tmm4",
                "tdpbf16ps tmm2, tmm6, tmm4",
                "tileloadd tmm7, [{third} + {stride} + {low}]",
                "tdpbf16ps tmm2, tmm6, tmm5",
                "tileloadd tmm6, [{fourth} + {stride}]",
                "tdpbf16ps tmm2, tmm7, tmm4",
                "tdpbf16ps tmm3, tmm6, tmm4",
                "tileloadd tmm7, [{fourth} + {stride} + {low}]",
                "tdpbf16ps tmm3, tmm6, tmm5",
                "tdpbf16ps tmm3, tmm7, tmm4",
                ".rept {fetched}",
                "prefetcht1 [{next}]",
                "add {next}, {line}",
                ".endr",
                "add {queries}, {tile}",
                "add {rows}, {pair}",
                "add {second}, {pair}",
                "add {third}, {pair}",
                "add {fourth}, {pair}",
                "dec {steps}",
                "jnz 2b",
                "tilestored [{sums} + {line}], tmm0",
                "tilestored [{sums} + {line} + {sum}], tmm1",
                "tilestored [{sums} + {line} + 2 * {sum}], tmm2",
                "tilestored [{sums} + {line} + 3 * {sum}], tmm3",
                "tilerelease",
                shape = in(reg) &raw const SHAPE,
                pair = in(reg) size_of::<Split>(),
                line = in(reg) size_of::<Line>(),
                stride = in(reg) stride,
                steps = inout(reg) queries.len() => _,
                queries = inout(reg) queries.as_ptr() => _,
                rows = inout(reg) rows.as_ptr() => _,
                second = inout(reg) rows[TILE * width..].as_ptr() => _,
                third = inout(reg) rows[2 * TILE * width..].as_ptr() => _,
                fourth = inout(reg) rows[3 * TILE * width..].as_ptr() => _,
                next = inout(reg) next => _,
                low = const offset_of!(Split, low),
                tile = const size_of::<[Split; TILE]>(),
                sum = const size_of::<[[f32; TILE]; TILE]>(),
                fetched = const FETCHED,
                sums = in(reg) sums.as_mut_ptr(),
                out("tmm0") _,
                out("tmm1") _,
                out("tmm2") _,
                out("tmm3") _,
                out("tmm4") _,
                out("tmm5") _,
                out("tmm6") _,
                out("tmm7") _,
                options(nostack),
            );
        }
        sums
    }
}

/// Splits the numbers of a row, fills the last step with zeros, and returns the sum of the squares. Meanwhile what is
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
