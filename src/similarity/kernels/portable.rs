//! On any processor.

use half::f16;
use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::{ByteProducts, NearLines, Products, Term};

/// Partial sums that are kept side by side, since each addition to one sum would wait for the last: what the compiler
/// turns into vector registers, and 80 additions for each at a dimension of 1280.
const LANES: usize = 16;

/// See [`super::products`].
pub fn products(queries: &[f32], dimension: usize) -> Products<'_> {
    let shaped = "rows of one dimension";
    let n = queries.len() / dimension;
    let queries = ArrayView2::from_shape((n, dimension), queries).expect(shaped);
    let multiply = move |rows: &[f32], out: &mut [f32], squares: &mut [f32]| {
        for (square, row) in squares.iter_mut().zip(rows.chunks_exact(dimension)) {
            *square = super::sum(row, row, |one, other| one * other) as f32;
        }
        let (n, m) = (rows.len() / dimension, queries.nrows());
        let rows = ArrayView2::from_shape((n, dimension), rows).expect(shaped);
        let mut out = ArrayViewMut2::from_shape((n, m), out).expect(shaped);
        general_mat_mul(1.0, &rows, &queries.t(), 0.0, &mut out);
    };
    Products {
        loss: 0.0,
        multiply: Box::new(multiply),
    }
}

/// Products that are compared together: most are too small, and these are then done with.
const TOGETHER: usize = 16;

/// See [`super::find_reached`]. Always inlined, as [`sum`] is.
#[inline(always)]
pub fn find_reached(
    products: &[f32],
    starts: &[f64],
    slopes: &[f64],
    base: f64,
    norm: f64,
    reached: &mut Vec<usize>,
) {
    let is_reached = |product: f32, start: f64, slope: f64| {
        let below = base + start + slope * norm - f64::from(product);
        // What is not finite may be near enough. (A comparison with infinity takes the compiler's code five times as
        // long.)
        !((below > 0.0) & (below < f64::MAX))
    };
    let (whole, rest) = products.as_chunks::<TOGETHER>();
    let (whole_starts, rest_starts) = starts.as_chunks::<TOGETHER>();
    let (whole_slopes, rest_slopes) = slopes.as_chunks::<TOGETHER>();
    let lines = whole_starts.iter().zip(whole_slopes);
    for (number, (products, (starts, slopes))) in whole.iter().zip(lines).enumerate() {
        // Without a branch, for the compiler to do several at once.
        let mut any = false;
        for at in 0..TOGETHER {
            any |= is_reached(products[at], starts[at], slopes[at]);
        }
        if any {
            let places =
                (0..TOGETHER).filter(|&at| is_reached(products[at], starts[at], slopes[at]));
            reached.extend(places.map(|at| number * TOGETHER + at));
        }
    }
    for (at, &product) in rest.iter().enumerate() {
        if is_reached(product, rest_starts[at], rest_slopes[at]) {
            reached.push(whole.len() * TOGETHER + at);
        }
    }
}

/// See [`super::find_near`]. Always inlined, as [`sum`] is.
#[inline(always)]
pub fn find_near(products: &[i32], lines: NearLines<'_>, near: &mut Vec<usize>) {
    let is_near = |product: i32, start: f64, slope: f64, scale: f64| {
        let needed = lines.base + start - slope * lines.error;
        let there = f64::from(product) * (scale * lines.row_scale);
        // What is no number is not ruled out.
        let is_ruled_out = there < needed;
        !is_ruled_out
    };
    let count = products.len();
    let (whole, rest) = products.as_chunks::<TOGETHER>();
    let (starts, rest_starts) = lines.starts[..count].as_chunks::<TOGETHER>();
    let (slopes, rest_slopes) = lines.slopes[..count].as_chunks::<TOGETHER>();
    let (scales, rest_scales) = lines.scales[..count].as_chunks::<TOGETHER>();
    let groups = whole.iter().zip(starts).zip(slopes).zip(scales);
    for (number, (((products, starts), slopes), scales)) in groups.enumerate() {
        let is_near = |at: usize| is_near(products[at], starts[at], slopes[at], scales[at]);
        // Without a branch, for the compiler to do several at once.
        let mut any = false;
        for at in 0..TOGETHER {
            any |= is_near(at);
        }
        if any {
            let places = (0..TOGETHER).filter(|&at| is_near(at));
            near.extend(places.map(|at| number * TOGETHER + at));
        }
    }
    for (at, &product) in rest.iter().enumerate() {
        if is_near(product, rest_starts[at], rest_slopes[at], rest_scales[at]) {
            near.push(whole.len() * TOGETHER + at);
        }
    }
}

/// See [`super::byte_products`].
pub fn byte_products(queries: &[i8], dimension: usize) -> ByteProducts<'_> {
    Box::new(move |rows, out| multiply_bytes(rows, queries, dimension, out))
}

/// Always inlined, as [`sum`] is.
#[inline(always)]
pub fn multiply_bytes(rows: &[i8], queries: &[i8], dimension: usize, out: &mut [i32]) {
    let m = queries.len() / dimension;
    for (row, out) in rows.chunks_exact(dimension).zip(out.chunks_exact_mut(m)) {
        for (query, out) in queries.chunks_exact(dimension).zip(out) {
            let products = row.iter().zip(query);
            *out = products
                .map(|(&one, &other)| i32::from(one) * i32::from(other))
                .sum();
        }
    }
}

/// See [`super::sum`]. Always inlined, to be made for the processor that its caller is made for.
#[inline(always)]
pub fn sum<T: Term>(one: &[f32], other: &[f32], term: impl Fn(f32, f32) -> T) -> f64 {
    let mut lanes = [T::default(); LANES];
    let (ones, others) = (one.chunks_exact(LANES), other.chunks_exact(LANES));
    let mut rest = T::default();
    for (&one, &other) in ones.remainder().iter().zip(others.remainder()) {
        rest += term(one, other);
    }
    for (one, other) in ones.zip(others) {
        for lane in 0..LANES {
            lanes[lane] += term(one[lane], other[lane]);
        }
    }
    lanes.into_iter().map(Into::into).sum::<f64>() + rest.into()
}

/// See [`super::squared_distance_f16`].
pub fn squared_distance_f16(one: &[f16], other: &[f16]) -> f32 {
    let differences = one.iter().zip(other);
    differences
        .map(|(one, other)| (one.to_f32() - other.to_f32()).powi(2))
        .sum()
}

/// See [`super::squared_distance_i8`]. Always inlined, as [`sum`] is.
#[inline(always)]
pub fn squared_distance_i8(one: &[i8], other: &[i8]) -> f32 {
    // A difference has at most 8 bits and a sign, so that a sum of so many squares fits 32 bits.
    let pieces = one.chunks(1 << 14).zip(other.chunks(1 << 14));
    let sums = pieces.map(|(one, other)| {
        let differences = one.iter().zip(other);
        let squares = differences.map(|(&one, &other)| (i32::from(one) - i32::from(other)).pow(2));
        squares.sum::<i32>() as f32
    });
    sums.sum()
}
