//! Products in the bf16 of AVX-512, which processors of AMD have since 2022: 32 of them, and their sums by two, in one
//! instruction.
//!
//! Each number is rounded to 8 of its 24 bits. What that loses is too much to tell rows apart, and little enough to
//! rule almost all of them out, at twice the speed of 32 bits. (To split each number into two, as `amx.rs` does, takes
//! three instructions instead of two in 32 bits.)

use std::arch::x86_64::*;

use half::bf16;

use super::Products;
use super::avx512::{LANES, load};

/// From how many queries on this is faster than 32 bits: it takes as long for one as for [`QUERIES`] of them.
const LEAST: usize = 17;
/// Rows and queries that are multiplied at once: 28 sums, two registers of queries and two numbers of a row are in 31
/// of the 32 registers, and nothing is added across a register.
const ROWS: usize = 14;
const QUERIES: usize = 2 * LANES;
/// Rows that are multiplied at once when fewer are left: eight sums, enough for the instruction not to wait for itself.
const FEW: usize = 4;
/// What rounding takes from a number, at most, as a part of it: half of the last of 8 bits.
const ROUNDING: f64 = 1.0 / 256.0;
/// Numbers that are rounded in one instruction.
const STEP: usize = 2 * LANES;

/// Two numbers of each of [`QUERIES`] queries.
#[derive(Clone, Copy)]
#[repr(align(64))]
struct Line([[Pair; LANES]; 2]);

/// The bits of two numbers that are next to each other.
type Pair = [u16; 2];

/// See [`super::products`]; `None` where there is no bf16 in AVX-512, and for so few queries that 32 bits are faster.
pub fn products(queries: &[f32], dimension: usize) -> Option<Products<'static>> {
    let is_there = is_x86_feature_detected!("avx512f") && is_x86_feature_detected!("avx512bf16");
    let pays = queries.len() / dimension >= LEAST;
    let queries = (is_there && pays).then(|| Queries::new(queries, dimension))?;
    Some(Products {
        // Of a row each number may have lost the most. |q r - q' r'| <= |q - q'| |r| + |q'| |r - r'|
        loss: queries.loss + (1.0 + queries.loss) * ROUNDING,
        multiply: Box::new(move |rows, out, squares| {
            #[expect(unsafe_code)]
            // SAFETY: the processor has what the function needs.
            unsafe {
                queries.products(rows, out, squares);
            }
        }),
    })
}

/// Queries in the order in which they are multiplied. Zeros stand for what [`QUERIES`] queries, or [`STEP`] numbers,
/// lack.
struct Queries {
    /// For each [`QUERIES`] queries, the lines of all pairs.
    lines: Vec<Line>,
    count: usize,
    dimension: usize,
    /// Pairs in a row.
    pairs: usize,
    /// Norm of what rounding took from a query, as a part of its norm: of all of them the largest.
    loss: f64,
}

impl Queries {
    /// Of `[n, dimension]`.
    fn new(queries: &[f32], dimension: usize) -> Self {
        let (count, pairs) = (queries.len() / dimension, dimension.div_ceil(STEP) * LANES);
        let zeros = Line([[[0; 2]; LANES]; 2]);
        let mut lines = vec![zeros; count.div_ceil(QUERIES) * pairs];
        let mut loss = 0.0;
        for (number, query) in queries.chunks_exact(dimension).enumerate() {
            loss = f64::max(loss, loss_of(query));
            let (panel, place) = (number / QUERIES, number % QUERIES);
            let lines = &mut lines[panel * pairs..][..pairs];
            for (line, numbers) in lines.iter_mut().zip(query.chunks(2)) {
                let to = &mut line.0[place / LANES][place % LANES];
                for (to, number) in to.iter_mut().zip(numbers) {
                    *to = bf16::from_f32(*number).to_bits();
                }
            }
        }
        Queries {
            lines,
            count,
            dimension,
            pairs,
            loss,
        }
    }

    /// See [`super::Multiply`].
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn products(&self, rows: &[f32], out: &mut [f32], squares: &mut [f32]) {
        let mut rounded = vec![[0; 2]; ROWS * self.pairs];
        let (mut first, all) = (0, squares.len());
        while first < all {
            let count = match all - first {
                ROWS.. => ROWS,
                FEW.. => FEW,
                _ => 1,
            };
            let (from, to) = (first * self.dimension, (first + count) * self.dimension);
            let next = &rows[to..];
            let next = &next[..next.len().min(to - from)];
            let rows = rows[from..to].chunks_exact(self.dimension);
            let places = rounded.chunks_exact_mut(self.pairs);
            for ((row, place), square) in rows.zip(places).zip(&mut squares[first..]) {
                *square = round(row, place);
            }
            let rounded = &rounded[..count * self.pairs];
            let out = &mut out[first * self.count..][..count * self.count];
            match count {
                ROWS => self.some_rows::<ROWS>(rounded, out, next),
                FEW => self.some_rows::<FEW>(rounded, out, next),
                _ => self.some_rows::<1>(rounded, out, next),
            }
            first += count;
        }
    }

    /// `R` rows and all queries. Meanwhile the rows that come `next` are fetched into the second cache, a line in each
    /// step.
    #[target_feature(enable = "avx512f,avx512bf16")]
    fn some_rows<const R: usize>(&self, rows: &[Pair], out: &mut [f32], next: &[f32]) {
        for (number, lines) in self.lines.chunks_exact(self.pairs).enumerate() {
            let fetched = (number * self.pairs * LANES).min(next.len());
            let sums = tile::<R>(rows, lines, &next[fetched..]);
            for (sums, out) in sums.iter().zip(out.chunks_exact_mut(self.count)) {
                let out = &mut out[number * QUERIES..];
                let wanted = out.len().min(QUERIES);
                let sums: [f32; QUERIES] = bytemuck::cast(*sums);
                out[..wanted].copy_from_slice(&sums[..wanted]);
            }
        }
    }
}

/// Norm of what rounding takes from a query, as a part of its norm.
fn loss_of(query: &[f32]) -> f64 {
    let sum = |term: &dyn Fn(f64, f64) -> f64| -> f64 {
        let numbers = query.iter();
        let terms = numbers.map(|number| term((*number).into(), bf16::from_f32(*number).into()));
        terms.sum()
    };
    let lost = sum(&|number, rounded| (number - rounded).powi(2));
    let loss = (lost / sum(&|number, _| number * number)).sqrt();
    // Of zeros, and of what is not finite, it is no number; the largest of several leaves it out.
    loss.clamp(0.0, ROUNDING)
}

/// The products of `R` rows with [`QUERIES`] queries.
#[expect(
    clippy::needless_range_loop,
    reason = "indices say which register is meant"
)]
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn tile<const R: usize>(rows: &[Pair], lines: &[Line], next: &[f32]) -> [[__m512; 2]; R] {
    let pairs = lines.len();
    assert!(rows.len() == R * pairs);
    let mut next = next.chunks(LANES);
    let mut sums = [[_mm512_setzero_ps(); 2]; R];
    for (at, line) in lines.iter().enumerate() {
        if let Some(line) = next.next() {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
        let queries: [__m512i; 2] = bytemuck::cast(line.0);
        let queries = queries.map(|queries| as_bf16(queries));
        for row in 0..R {
            #[expect(unsafe_code)]
            // SAFETY: there are `R` rows of as many pairs as there are lines.
            let pair: [u8; 4] =
                unsafe { rows.as_ptr().add(row * pairs + at).cast::<[u8; 4]>().read() };
            let pair = as_bf16(_mm512_set1_epi32(i32::from_ne_bytes(pair)));
            for half in 0..2 {
                sums[row][half] = _mm512_dpbf16_ps(sums[row][half], queries[half], pair);
            }
        }
    }
    sums
}

/// The same bits.
#[target_feature(enable = "avx512f,avx512bf16")]
#[inline]
fn as_bf16(bits: __m512i) -> __m512bh {
    #[expect(unsafe_code)]
    // SAFETY: both are 64 bytes, of which every value is one.
    unsafe {
        std::mem::transmute(bits)
    }
}

/// Rounds the numbers of a row, fills the last step with zeros, and returns the sum of their squares before that.
#[target_feature(enable = "avx512f,avx512bf16")]
fn round(row: &[f32], to: &mut [Pair]) -> f32 {
    let mut sums = [_mm512_setzero_ps(); 2];
    let mut add = |numbers: &[f32; STEP], to: &mut [Pair; LANES]| {
        let parts = [0, LANES].map(|from| {
            let (part, _) = numbers[from..]
                .as_chunks()
                .0
                .split_first()
                .expect("there are two");
            load(part)
        });
        for (sum, part) in sums.iter_mut().zip(parts) {
            *sum = _mm512_fmadd_ps(part, part, *sum);
        }
        // The first goes into the upper half.
        let rounded = _mm512_cvtne2ps_pbh(parts[1], parts[0]);
        #[expect(unsafe_code)]
        // SAFETY: both are 64 bytes, of which every value is one.
        let rounded: [Pair; LANES] = unsafe { std::mem::transmute(rounded) };
        *to = rounded;
    };
    let (whole, rest) = row.as_chunks::<STEP>();
    let places = to.as_chunks_mut::<LANES>().0;
    for (numbers, to) in whole.iter().zip(&mut *places) {
        add(numbers, to);
    }
    if !rest.is_empty() {
        let mut numbers = [0.0; STEP];
        numbers[..rest.len()].copy_from_slice(rest);
        add(&numbers, &mut places[whole.len()]);
    }
    _mm512_reduce_add_ps(_mm512_add_ps(sums[0], sums[1]))
}
