//! From which product on a row may be near enough.

use super::metric::{Measured, Metric, Norms};
use crate::similarity::kernels::find_reached;

/// For each query, the smallest product at which a row may be within a limit, as a linear function of the row's norm:
/// it is the least distance that `Metric::of_product` gives, solved for the product. Most rows need no more than this
/// comparison.
pub struct Thresholds {
    metric: Metric,
    /// How far a product may be off, as a part of the product of both norms.
    error: f64,
    /// At norm 0.
    starts: Vec<f64>,
    /// Per unit of the norm.
    slopes: Vec<f64>,
}

impl Thresholds {
    /// For queries and their limits, in the metric's measure.
    pub fn new<'a>(
        metric: Metric,
        error: f64,
        limits: impl Iterator<Item = (&'a Measured<'a>, f64)>,
    ) -> Self {
        let lines = limits.map(|(query, limit)| metric.threshold(query, limit, error));
        let (starts, slopes) = lines.unzip();
        Thresholds {
            metric,
            error,
            starts,
            slopes,
        }
    }

    /// Sets the limit of a query.
    pub fn set(&mut self, index: usize, query: &Measured<'_>, limit: f64) {
        (self.starts[index], self.slopes[index]) = self.metric.threshold(query, limit, self.error);
    }

    /// Puts into `reached` the queries whose product with a row is enough; `products` are those with each query.
    pub fn find_reached(&self, row: Norms, products: &[f32], reached: &mut Vec<usize>) {
        reached.clear();
        let base = self.metric.base(row, self.error);
        find_reached(
            products,
            &self.starts,
            &self.slopes,
            base,
            row.norm(),
            reached,
        );
    }
}
