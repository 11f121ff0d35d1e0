//! Features rounded to 8 bits, with a bound on what that changes: enough to rule out almost all pairs of a collection.
//!
//! A row is a scale times whole numbers of 8 bits, and an error, the norm of what rounding took. Two rows are at most
//! both errors nearer to each other than their rounded forms are, by the inequality of the triangle. Sums of whole
//! numbers are exact, and everything else is in 64 bits, so that no magnitude of 32 bits is too large or too small.

use rayon::prelude::*;

use super::metric::Metric;
use crate::similarity::kernels::{NearLines, dot, find_near, largest_byte};

/// Covers what 64 bits round, here and in [`Metric::distance`]: sums of tens of thousands of squares lose less than
/// 1e-11.
const SLACK: f64 = 1e-9;

/// Rows are a multiple of so many bytes long: a line of the caches.
const ALIGNMENT: usize = 64;

/// Adding this to a small number in 64 bits and taking it off again rounds to a whole one.
const ROUNDER: f64 = 6_755_399_441_055_744.0;

/// Rounded rows, those of small norm first.
pub struct RoundedRows {
    /// `[rows, width]`.
    bytes: Vec<i8>,
    /// The dimension, rounded up.
    pub width: usize,
    /// What each row is, beside its bytes.
    pub rows: Vec<RoundedRow>,
}

/// For [`Metric::Cosine`] all but `index` are those of the feature divided by its norm: the square of the distance of
/// two such is twice the cosine's.
#[derive(Clone, Copy, Debug, Default)]
pub struct RoundedRow {
    /// Which of the features it is.
    pub index: u32,
    /// What the bytes are to be multiplied with.
    scale: f64,
    /// Sum of the squares of the rounded row.
    squares: f64,
    /// Norm of the difference to the feature, at most.
    error: f64,
}

impl RoundedRows {
    /// Of `count` features of a dimension, without those that are not finite. Takes a byte for each number, and 32 a
    /// row.
    pub fn new<'a>(
        count: usize,
        dimension: usize,
        metric: Metric,
        feature: impl Fn(u32) -> &'a [f32] + Sync,
    ) -> Self {
        let norms = (0..count as u32).into_par_iter().map(|index| {
            let feature = feature(index);
            (dot(feature, feature).sqrt(), index)
        });
        let mut norms: Vec<(f64, u32)> = norms.collect();
        norms.retain(|(norm, _)| norm.is_finite());
        if metric == Metric::Euclidean {
            norms.par_sort_unstable_by(|one, other| {
                one.0.total_cmp(&other.0).then(one.1.cmp(&other.1))
            });
        }
        let width = dimension.next_multiple_of(ALIGNMENT);
        let mut bytes = vec![0; norms.len() * width];
        let rows = norms.par_iter().zip(bytes.par_chunks_exact_mut(width));
        let rows = rows.map(|(&(norm, index), bytes)| {
            let unit = match metric {
                Metric::Euclidean => 1.0,
                Metric::Cosine => norm,
            };
            round(index, feature(index), unit, bytes)
        });
        RoundedRows {
            rows: rows.collect(),
            width,
            bytes,
        }
    }

    /// The bytes of some rows, `[n, width]`.
    pub fn bytes(&self, rows: std::ops::Range<usize>) -> &[i8] {
        &self.bytes[rows.start * self.width..rows.end * self.width]
    }
}

fn round(index: u32, feature: &[f32], unit: f64, bytes: &mut [i8]) -> RoundedRow {
    let largest = feature
        .iter()
        .fold(0f32, |most, number| most.max(number.abs()));
    let scale = f64::from(largest) / f64::from(largest_byte(feature.len()));
    let per_scale = if scale > 0.0 { 1.0 / scale } else { 0.0 };
    let mut whole_squares = 0i64;
    let mut error = [0.0; 8];
    for (at, (number, byte)) in feature.iter().zip(bytes).enumerate() {
        let number = f64::from(*number);
        let whole = number * per_scale + ROUNDER - ROUNDER;
        *byte = whole as i8;
        whole_squares += i64::from(*byte) * i64::from(*byte);
        let off = number - f64::from(*byte) * scale;
        error[at % 8] += off * off;
    }
    let error = error.iter().sum::<f64>().sqrt() * (1.0 + SLACK);
    let scale = scale / unit;
    RoundedRow {
        index,
        scale,
        squares: scale * scale * whole_squares as f64,
        // A feature of zeros has no direction: then this is no number, and such a row is never ruled out.
        error: error / unit,
    }
}

/// From which product of bytes on a row may be within a limit of some others, the queries: the square of the distance
/// of the rounded forms, `squares + squares - 2 product`, is then at most that of `limit + error + error`.
pub struct Reach {
    /// What depends on the query alone.
    starts: Vec<f64>,
    /// Twice `limit + error`.
    slopes: Vec<f64>,
    /// Twice the scale.
    scales: Vec<f64>,
}

impl Reach {
    /// `limit` is that of [`limit`].
    pub fn new(queries: &[RoundedRow], limit: f64) -> Self {
        let reach = |query: &RoundedRow| limit + query.error;
        let start = |query: &RoundedRow| {
            query.squares * (1.0 - SLACK) - reach(query) * reach(query) * (1.0 + SLACK)
        };
        Reach {
            starts: queries.iter().map(start).collect(),
            slopes: (queries.iter())
                .map(|query| 2.0 * reach(query) * (1.0 + SLACK))
                .collect(),
            scales: queries.iter().map(|query| 2.0 * query.scale).collect(),
        }
    }

    /// Adds to `near` the queries that a row may be within the limit of; `products` are those of the row with each query.
    pub fn find(&self, row: &RoundedRow, products: &[i32], near: &mut Vec<usize>) {
        let lines = NearLines {
            starts: &self.starts,
            slopes: &self.slopes,
            scales: &self.scales,
            base: row.squares * (1.0 - SLACK) - row.error * row.error * (1.0 + SLACK),
            error: row.error,
            row_scale: row.scale,
        };
        find_near(products, lines, near);
    }
}

/// A limit of [`Metric::distance`], as one between the rows that are rounded.
pub fn limit(metric: Metric, limit: f64) -> f64 {
    match metric {
        Metric::Euclidean => limit,
        Metric::Cosine => (2.0 * limit).sqrt(),
    }
}

/// Whether no row from this one on is within a limit of a row of a smaller norm, both of [`Metric::Euclidean`].
pub fn is_beyond(smaller: &RoundedRow, larger: &RoundedRow, limit: f64) -> bool {
    let (smaller, larger) = (
        smaller.squares.sqrt() + smaller.error,
        larger.squares.sqrt() - larger.error,
    );
    larger * (1.0 - SLACK) - smaller * (1.0 + SLACK) > limit * (1.0 + SLACK)
}
