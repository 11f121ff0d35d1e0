//! Products in AVX-512.

use std::arch::x86_64::*;
use std::slice::Chunks;

use super::Products;

/// Rows and queries that are multiplied at once: 24 sums, 6 rows and a query are in 31 of the 32 registers, and each
/// load serves four or six products.
const ROWS: usize = 6;
const QUERIES: usize = 4;
/// Numbers in a register, and in a line of the caches.
pub const LANES: usize = 16;
/// How much of a row is multiplied with all queries before the rest: 6 rows and 4 queries of 640 numbers are 26 KB, so
/// that the rows stay in the core's first cache (48 KB) until all queries have passed.
const VECTORS: usize = 640 / LANES;

/// See [`super::products`]; `None` where there is no AVX-512.
pub fn products(queries: &[f32], dimension: usize) -> Option<Products<'static>> {
    let queries = Queries::new(queries, dimension)?;
    Some(Products {
        loss: 0.0,
        multiply: Box::new(move |rows, out, squares| queries.products(rows, out, squares)),
    })
}

/// Queries in the order in which they are multiplied: of each four, [`LANES`] numbers of the first, of the second, and
/// so on. Zeros stand for what four queries, or [`LANES`] numbers, lack. There are some only where there is AVX-512.
struct Queries {
    fours: Vec<Four>,
    count: usize,
    dimension: usize,
}

/// [`LANES`] numbers of each of four queries, each in a line of the cache.
#[derive(Clone)]
#[repr(align(64))]
struct Four([[f32; LANES]; QUERIES]);

impl Queries {
    /// Of `[n, dimension]`; `None` where there is no AVX-512.
    fn new(queries: &[f32], dimension: usize) -> Option<Self> {
        if !is_x86_feature_detected!("avx512f") {
            return None;
        }
        let count = queries.len() / dimension;
        let vectors = dimension.div_ceil(LANES);
        let mut fours = vec![Four([[0.0; LANES]; QUERIES]); count.div_ceil(QUERIES) * vectors];
        for (number, query) in queries.chunks_exact(dimension).enumerate() {
            let first = number / QUERIES * vectors;
            for (four, part) in fours[first..].iter_mut().zip(query.chunks(LANES)) {
                four.0[number % QUERIES][..part.len()].copy_from_slice(part);
            }
        }
        Some(Queries {
            fours,
            count,
            dimension,
        })
    }

    /// See [`super::Multiply`].
    fn products(&self, rows: &[f32], out: &mut [f32], squares: &mut [f32]) {
        #[expect(unsafe_code)]
        // SAFETY: there is AVX-512.
        unsafe {
            self.products_in_avx512(rows, out, squares);
        }
    }

    #[target_feature(enable = "avx512f")]
    fn products_in_avx512(&self, rows: &[f32], out: &mut [f32], squares: &mut [f32]) {
        let (dimension, m) = (self.dimension, self.count);
        let groups = out.chunks_mut(ROWS * m).zip(squares.chunks_mut(ROWS));
        for (number, (out, squares)) in groups.enumerate() {
            let rows = &rows[number * ROWS * dimension..];
            // First, one after the other, as memory is read fastest.
            for (row, square) in rows.chunks_exact(dimension).zip(squares) {
                *square = sum_of_squares(row);
            }
            if out.len() == ROWS * m {
                let (rows, behind) = rows.split_at(ROWS * dimension);
                let next = &behind[..behind.len().min(rows.len())];
                some_rows::<ROWS>(rows, self, out, next);
            } else {
                let rows = rows.chunks_exact(dimension);
                for (row, out) in rows.zip(out.chunks_exact_mut(m)) {
                    some_rows::<1>(row, self, out, &[]);
                }
            }
        }
    }
}

/// `R` rows and all queries. Meanwhile the rows that come `next` are fetched into the second cache, a line in each
/// step: with 16 queries it takes 16 ms instead of 18, and 21 where the fetching is spread evenly.
#[target_feature(enable = "avx512f")]
fn some_rows<const R: usize>(rows: &[f32], queries: &Queries, out: &mut [f32], next: &[f32]) {
    let Queries {
        ref fours,
        count,
        dimension,
    } = *queries;
    let vectors = dimension.div_ceil(LANES);
    let mut next = next.chunks(LANES);
    out.fill(0.0);
    let mut rest = [[0.0; LANES]; R];
    for (rest, row) in rest.iter_mut().zip(rows.chunks_exact(dimension)) {
        let last = row.len() / LANES * LANES;
        rest[..row.len() - last].copy_from_slice(&row[last..]);
    }
    for from in (0..vectors).step_by(VECTORS) {
        let part = from..vectors.min(from + VECTORS);
        for (number, fours) in fours.chunks_exact(vectors).enumerate() {
            let first = number * QUERIES;
            let sums = tile(rows, dimension, &rest, part.clone(), fours, &mut next);
            for (row, sums) in sums.into_iter().enumerate() {
                let to = &mut out[row * count..][..count][first..];
                for (to, sum) in to.iter_mut().zip(totals(sums)) {
                    *to += sum;
                }
            }
        }
    }
}

/// The products of a part of `R` rows with four queries, each in as many sums as a register has.
#[expect(
    clippy::needless_range_loop,
    reason = "indices say which register is meant"
)]
#[target_feature(enable = "avx512f")]
#[inline]
fn tile<const R: usize>(
    rows: &[f32],
    dimension: usize,
    rest: &[[f32; LANES]; R],
    part: std::ops::Range<usize>,
    fours: &[Four],
    next: &mut Chunks<'_, f32>,
) -> [[__m512; QUERIES]; R] {
    let mut sums = [[_mm512_setzero_ps(); QUERIES]; R];
    let whole = dimension / LANES;
    assert!(rows.len() == R * dimension && part.end <= fours.len());
    let mut add = |row_parts: [__m512; R], four: &Four| {
        for query in 0..QUERIES {
            let query_part = load(&four.0[query]);
            for row in 0..R {
                sums[row][query] = _mm512_fmadd_ps(row_parts[row], query_part, sums[row][query]);
            }
        }
    };
    for at in part.start..part.end.min(whole) {
        if let Some(line) = next.next() {
            _mm_prefetch::<_MM_HINT_T1>(line.as_ptr().cast());
        }
        let mut row_parts = [_mm512_setzero_ps(); R];
        for row in 0..R {
            #[expect(unsafe_code)]
            // SAFETY: `at` is below `whole`, so that the numbers are within their row, and there are `R` rows. (Checked
            // slices cost a sixth of the speed here.)
            let numbers = unsafe { &*rows.as_ptr().add(row * dimension + at * LANES).cast() };
            row_parts[row] = load(numbers);
        }
        add(row_parts, &fours[at]);
    }
    if part.end > whole {
        let mut row_parts = [_mm512_setzero_ps(); R];
        for row in 0..R {
            row_parts[row] = load(&rest[row]);
        }
        add(row_parts, &fours[whole]);
    }
    sums
}

/// See [`super::find_reached`]. (100,000 rows and 64 queries: 1 ms, and 4 in what every processor has.)
#[target_feature(enable = "avx512f")]
pub fn find_reached(
    products: &[f32],
    starts: &[f64],
    slopes: &[f64],
    base: f64,
    norm: f64,
    reached: &mut Vec<usize>,
) {
    super::portable::find_reached(products, starts, slopes, base, norm, reached);
}

/// See [`super::find_near`]. (A pair of 1,280 numbers takes 6.6 ns with its product, and 8.2 in what every processor has.)
#[target_feature(enable = "avx512f")]
pub fn find_near(products: &[i32], lines: super::NearLines<'_>, near: &mut Vec<usize>) {
    super::portable::find_near(products, lines, near);
}

#[target_feature(enable = "avx512f")]
fn sum_of_squares(row: &[f32]) -> f32 {
    let mut sums = [_mm512_setzero_ps(); 4];
    let (parts, rest) = row.as_chunks::<LANES>();
    for (at, part) in parts.iter().enumerate() {
        let part = load(part);
        sums[at % 4] = _mm512_fmadd_ps(part, part, sums[at % 4]);
    }
    let rest: f32 = rest.iter().map(|number| number * number).sum();
    totals(sums).iter().sum::<f32>() + rest
}

/// The totals of four times as many sums as a register has.
#[target_feature(enable = "avx512f")]
#[inline]
fn totals([one, two, three, four]: [__m512; QUERIES]) -> [f32; QUERIES] {
    // In each quarter of a register: one two one two, and three four three four; then one two three four.
    let pairs = |one, other| {
        let (low, high) = (
            _mm512_unpacklo_ps(one, other),
            _mm512_unpackhi_ps(one, other),
        );
        _mm512_castps_pd(_mm512_add_ps(low, high))
    };
    let (low, high) = (pairs(one, two), pairs(three, four));
    let quarters = _mm512_add_ps(
        _mm512_castpd_ps(_mm512_unpacklo_pd(low, high)),
        _mm512_castpd_ps(_mm512_unpackhi_pd(low, high)),
    );
    let upper = _mm512_extractf64x4_pd::<1>(_mm512_castps_pd(quarters));
    let halves = _mm256_add_ps(_mm512_castps512_ps256(quarters), _mm256_castpd_ps(upper));
    let (low, high) = (
        _mm256_castps256_ps128(halves),
        _mm256_extractf128_ps::<1>(halves),
    );
    bytemuck::cast(_mm_add_ps(low, high))
}

#[target_feature(enable = "avx512f")]
#[inline]
pub fn load(numbers: &[f32; LANES]) -> __m512 {
    #[expect(unsafe_code)]
    // SAFETY: as many numbers as it reads are there, and it wants them at no special place.
    unsafe {
        _mm512_loadu_ps(numbers.as_ptr())
    }
}
