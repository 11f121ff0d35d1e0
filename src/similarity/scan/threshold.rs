//! From which product on a row may be near enough.

use super::metric::{Measured, Metric, Norms};

/// Queries that are compared together: most rows are near enough to none of them, and are then done with.
const TOGETHER: usize = 16;

/// For each query, the smallest product at which a row may be within a limit, as a linear function of the row's norm: it is
/// [`Metric::range_of_product`] solved for the product. Most rows need no more than this comparison.
pub struct Thresholds {
    metric: Metric,
    /// Numbers in a feature.
    dimension: usize,
    /// At norm 0.
    starts: Vec<f64>,
    /// Per unit of the norm.
    slopes: Vec<f64>,
}

impl Thresholds {
    /// For queries and their limits, in the metric's measure.
    pub fn new<'a>(
        metric: Metric,
        dimension: usize,
        limits: impl Iterator<Item = (&'a Measured<'a>, f64)>,
    ) -> Self {
        let lines = limits.map(|(query, limit)| metric.threshold(query, limit));
        let (starts, slopes) = lines.unzip();
        Thresholds {
            metric,
            dimension,
            starts,
            slopes,
        }
    }

    /// Sets the limit of a query.
    pub fn set(&mut self, index: usize, query: &Measured<'_>, limit: f64) {
        (self.starts[index], self.slopes[index]) = self.metric.threshold(query, limit);
    }

    /// Puts into `reached` the queries whose product with a row is enough; `products` are those with each query.
    pub fn find_reached(&self, row: Norms, products: &[f32], reached: &mut Vec<usize>) {
        reached.clear();
        let base = self.metric.base(row, self.dimension);
        let lines = (self.starts.chunks(TOGETHER)).zip(self.slopes.chunks(TOGETHER));
        let groups = products.chunks(TOGETHER).zip(lines);
        for (number, (products, (starts, slopes))) in groups.enumerate() {
            let is_reached = |index: usize| {
                let threshold = base + starts[index] + slopes[index] * row.norm();
                let below = threshold - f64::from(products[index]);
                // What is not finite may be near enough. (A comparison with infinity takes the compiler's code five times as
                // long.)
                !((below > 0.0) & (below < f64::MAX))
            };
            // Without a branch, for the compiler to do several at once.
            if (0..products.len()).fold(false, |any, index| any | is_reached(index)) {
                let first = number * TOGETHER;
                let indices = (0..products.len()).filter(|index| is_reached(*index));
                reached.extend(indices.map(|index| first + index));
            }
        }
    }
}
