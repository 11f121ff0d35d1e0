//! The exact search: the nearest features of a collection to some queries, in one pass over the data.
//!
//! Distances are first computed in 32 bits, for one query at a time, or for many in a matrix product, which may be
//! rougher; what that leaves is computed in 32 bits then. The rounding error has a known bound, so that all rows but
//! the `k` nearest and a few others are certainly too far away. The distances of those that are left are computed again
//! in 64 bits, and these are the result. So it does not depend on how many queries are asked at once, on the number of
//! threads, or on the processor.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the pass over the data |
//! | `metric.rs` | distances: bounds in 32 bits, and values in 64 bits |
//! | `pairs.rs`, `rounded.rs` | all pairs of a collection within a limit |
//! | `threshold.rs` | from which product on a row may be near enough |
//! | `top.rs` | the `k` nearest so far |

mod metric;
pub mod pairs;
mod rounded;
mod threshold;
mod top;

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::kernels::{self, Products};
use crate::similarity::collection::{Collection, Position};
use metric::{Measured, Norms, Range};
pub use metric::{Metric, Printed};
use threshold::Thresholds;
use top::Top;

/// Rows that one thread takes at a time: 1.3 MB of features of 1280, which stay in a core's own cache while the matrix
/// product and the norms read them.
const BLOCK_ROWS: usize = 256;

/// From how many queries on a matrix product is faster than one distance after another. (100,000 x 1280 on two cores.)
const MATRIX_QUERIES: usize = 3;

/// An object, and how far it is from the query.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Neighbour {
    /// Its object id.
    pub object_id: String,
    /// Its distance, 0 or more.
    pub distance: f64,
    /// The path below the media directory of the file that its feature was made from, where that is recorded.
    pub path: Option<String>,
    /// Where its feature is.
    #[serde(skip)]
    pub position: Position,
}

/// The `k` nearest objects to each query, nearest first, those of one distance by object id. `queries` are
/// `[n, collection.dimension()]`. Rows that hold a number that is not finite are nobody's neighbours.
pub fn nearest(
    collection: &Collection,
    queries: &[f32],
    k: usize,
    metric: Metric,
) -> Vec<Vec<Neighbour>> {
    nearest_of(collection, queries, k, metric, &|_| true, &[])
}

/// The same among some objects only: those of the parts whose index `is_scanned`, and each query's `candidates`, which
/// are in other parts. There are no lists of candidates, or as many as queries.
pub(crate) fn nearest_of(
    collection: &Collection,
    queries: &[f32],
    k: usize,
    metric: Metric,
    is_scanned: &dyn Fn(u32) -> bool,
    candidates: &[Vec<Position>],
) -> Vec<Vec<Neighbour>> {
    let dimension = collection.dimension();
    if dimension == 0 || queries.is_empty() || k == 0 {
        return vec![Vec::new(); queries.len().checked_div(dimension).unwrap_or(0)];
    }
    assert_eq!(
        queries.len() % dimension,
        0,
        "queries are not [n, {dimension}]"
    );
    let scan = Scan::new(queries, dimension, metric);
    scan.nearest(collection, k, is_scanned, candidates)
}

/// The `k` nearest of some objects. Of several at the last distance, the first by id are kept.
fn named(collection: &Collection, mut found: Vec<(f64, Position)>, k: usize) -> Vec<Neighbour> {
    found.retain(|(distance, _)| distance.is_finite());
    if found.len() > k {
        let by_distance =
            |one: &(f64, Position), other: &(f64, Position)| one.0.total_cmp(&other.0);
        let (_, last, _) = found.select_nth_unstable_by(k - 1, by_distance);
        let limit = last.0;
        found.retain(|(distance, _)| *distance <= limit);
    }
    let mut neighbours: Vec<Neighbour> = (found.into_iter())
        .map(|(distance, position)| Neighbour {
            object_id: collection.id(position),
            distance,
            path: None,
            position,
        })
        .collect();
    neighbours.sort_by(|one, other| {
        (one.distance.total_cmp(&other.distance)).then_with(|| one.object_id.cmp(&other.object_id))
    });
    neighbours.truncate(k);
    // Of those that are left.
    for neighbour in &mut neighbours {
        neighbour.path = collection.path(neighbour.position);
    }
    neighbours
}

/// What all threads share.
struct Scan<'a> {
    queries: Vec<Measured<'a>>,
    dimension: usize,
    metric: Metric,
    /// How rows are multiplied with all queries; `None` where one distance after another is faster.
    products: Option<Products<'a>>,
}

impl<'a> Scan<'a> {
    fn new(queries: &'a [f32], dimension: usize, metric: Metric) -> Self {
        let measured: Vec<Measured> = queries.chunks_exact(dimension).map(Measured::new).collect();
        Scan {
            products: (measured.len() >= MATRIX_QUERIES)
                .then(|| kernels::products(queries, dimension)),
            queries: measured,
            dimension,
            metric,
        }
    }

    /// See [`nearest_of`].
    fn nearest(
        &self,
        collection: &Collection,
        k: usize,
        is_scanned: &dyn Fn(u32) -> bool,
        candidates: &[Vec<Position>],
    ) -> Vec<Vec<Neighbour>> {
        let blocks: Vec<(u32, usize)> = (0..)
            .zip(collection.parts())
            .filter(|(part, _)| is_scanned(*part))
            .flat_map(|(part, rows)| {
                (0..rows.rows())
                    .step_by(BLOCK_ROWS)
                    .map(move |first| (part, first))
            })
            .collect();
        // One list for each thread: a parallel fold begins another with each part that it splits off, and until a list
        // knows its limit, hundreds of rows go into it (64 queries: 8 ms of 56).
        let cursor = AtomicUsize::new(0);
        let threads = (0..rayon::current_num_threads()).into_par_iter();
        let tops = threads.with_max_len(1).map(|_| {
            let mut tops: Vec<Top> = self.queries.iter().map(|_| Top::new(k)).collect();
            while let Some(&(part, first)) = blocks.get(cursor.fetch_add(1, Ordering::Relaxed)) {
                let rows = &collection.parts()[part as usize].features()[first * self.dimension..];
                let rows = &rows[..rows.len().min(BLOCK_ROWS * self.dimension)];
                let position = |row: usize| {
                    let row = (first + row) as u32;
                    let position = Position { part, row };
                    (!collection.is_hidden(position)).then_some(position)
                };
                self.block(rows, &position, &mut tops);
            }
            tops
        });
        let tops = tops.reduce_with(|mut one, other| {
            (one.iter_mut().zip(other)).for_each(|(one, other)| one.merge(other));
            one
        });
        let tops = tops.expect("there are threads");
        let queries = self.queries.par_iter().zip(tops).enumerate();
        queries
            .map(|(index, (query, top))| {
                let candidates = candidates.get(index).into_iter().flatten().copied();
                let candidates = candidates.filter(|position| !collection.is_hidden(*position));
                let positions: Vec<Position> = top.finish().chain(candidates).collect();
                let found = positions.into_par_iter().map(|position| {
                    let distance = self.metric.distance(query, collection.feature(position));
                    (distance, position)
                });
                named(collection, found.collect(), k)
            })
            .collect()
    }

    /// Looks at the rows of a block, `[n, dimension]`; those without a position are hidden.
    fn block(&self, rows: &[f32], position: &dyn Fn(usize) -> Option<Position>, tops: &mut [Top]) {
        if let Some(products) = &self.products {
            return self.block_by_matrix(products, rows, position, tops);
        }
        for (row, feature) in rows.chunks_exact(self.dimension).enumerate() {
            for (query, top) in self.queries.iter().zip(&mut *tops) {
                let range = self.metric.range(query, feature);
                self.offer(range, query, feature, top, || position(row));
            }
        }
    }

    fn block_by_matrix(
        &self,
        by: &Products<'_>,
        rows: &[f32],
        position: &dyn Fn(usize) -> Option<Position>,
        tops: &mut [Top],
    ) {
        let Scan {
            metric, dimension, ..
        } = *self;
        let (count, queries) = (rows.len() / dimension, self.queries.len());
        let (mut products, mut squares) = (vec![0.0; count * queries], vec![0.0; count]);
        (by.multiply)(rows, &mut products, &mut squares);
        let limits = self.queries.iter().zip(tops.iter().map(Top::limit));
        let mut thresholds = Thresholds::new(metric, by.error(dimension), limits);
        let mut reached = Vec::new();
        for (row, products) in products.chunks_exact(queries).enumerate() {
            let norms = Norms::of_squares(squares[row].into());
            thresholds.find_reached(norms, products, &mut reached);
            for &index in &reached {
                let query = &self.queries[index];
                // The product may be rough. It has ruled out almost all.
                let feature = &rows[row * dimension..][..dimension];
                let range = metric.range(query, feature);
                self.offer(range, query, feature, &mut tops[index], || position(row));
                thresholds.set(index, query, tops[index].limit());
            }
        }
    }

    /// Offers a row, with its range in 64 bits where that in 32 bits is not known or says too little.
    fn offer(
        &self,
        range: Option<Range>,
        query: &Measured<'_>,
        feature: &[f32],
        top: &mut Top,
        position: impl FnOnce() -> Option<Position>,
    ) {
        let range = range.filter(|_| !top.is_crowded());
        if let Some(range) = range.or_else(|| self.metric.range_in_64_bits(query, feature))
            && range.least <= top.limit()
            && let Some(position) = position()
        {
            top.offer(range, position);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use crate::storage::npy;

    /// Two shards of random rows, more than a block in one of them: some are equal, some differ in the last bits alone,
    /// some are not finite, and some are too large or too small for sums in 32 bits.
    pub fn collection(rng: &mut StdRng, dimension: usize) -> Collection {
        let directory = tempfile::tempdir().unwrap();
        for (shard, rows) in [(0, BLOCK_ROWS + 77), (1, 41)] {
            let mut features = npy::features_header(&[rows, dimension]);
            let mut ids = npy::object_ids_header(rows, 10);
            let mut feature = vec![0.0; dimension];
            for row in 0..rows {
                match row % 9 {
                    0 => {}
                    1 => feature[dimension / 2] *= 1.0 + f32::EPSILON,
                    kind => feature.fill_with(|| match kind {
                        2 => 1e25 * rng.random_range(-1.0..1.0f32),
                        3 => 1e-25 * rng.random_range(-1.0..1.0f32),
                        4 => 3.0 + 1e-4 * rng.random_range(-1.0..1.0f32),
                        5 if rng.random_range(0..dimension) == 0 => f32::NAN,
                        _ => rng.random_range(-1.0..1.0f32),
                    }),
                }
                features.extend(feature.iter().flat_map(|number| number.to_le_bytes()));
                npy::append_object_id(&format!("{shard}-{row:04}"), 10, &mut ids);
            }
            let path = |part| directory.path().join(format!("{shard:04}.{part}.npy"));
            fs::write(path("features"), features).unwrap();
            fs::write(path("object_ids"), ids).unwrap();
        }
        Collection::open(directory.path()).unwrap()
    }

    #[test]
    fn the_same_is_found_to_the_bit_whatever_multiplies_rows_with_queries() {
        let mut rng = StdRng::seed_from_u64(1);
        for dimension in [1, 7, 33, 1280] {
            let collection = collection(&mut rng, dimension);
            let rows: Vec<&[f32]> = (collection.parts().iter())
                .flat_map(|part| part.features().chunks_exact(dimension))
                .filter(|row| row.iter().all(|number| number.is_finite()))
                .collect();
            for count in [3, 5, 64] {
                let queries = (0..count).flat_map(|_| rows[rng.random_range(0..rows.len())]);
                let queries: Vec<f32> = queries.copied().collect();
                for metric in [Metric::Euclidean, Metric::Cosine] {
                    let mut found = Vec::new();
                    for (way, products) in kernels::all_products(&queries, dimension) {
                        let mut scan = Scan::new(&queries, dimension, metric);
                        scan.products = Some(products);
                        found.push((way, scan.nearest(&collection, 20, &|_| true, &[])));
                    }
                    // And one query after the other, without a product.
                    let alone = queries.chunks_exact(dimension);
                    let alone = alone.flat_map(|query| nearest(&collection, query, 20, metric));
                    let alone: Vec<_> = alone.collect();
                    assert_eq!(alone.len(), count);
                    assert!(alone.iter().all(|neighbours| neighbours.len() == 20));
                    for (way, found) in found {
                        assert_eq!(found, alone, "{way}");
                    }
                }
            }
        }
    }

    /// Far from zero and close to each other, so that 32 bits do not tell them apart.
    #[test]
    fn few_rows_are_kept_where_32_bits_tell_nothing() {
        let (rows, dimension, k) = (4000, 64, 10);
        let number = |at: usize| 1000.0 + (at * 7919 % 1009) as f32 / 100_000.0;
        let features: Vec<f32> = (0..rows * dimension).map(number).collect();
        for metric in [Metric::Euclidean, Metric::Cosine] {
            for count in [1, 3] {
                let scan = Scan::new(&features[..count * dimension], dimension, metric);
                let mut tops: Vec<Top> = (0..count).map(|_| Top::new(k)).collect();
                for block in features.chunks(BLOCK_ROWS * dimension) {
                    let position = |row: usize| {
                        let (part, row) = (0, row as u32);
                        Some(Position { part, row })
                    };
                    scan.block(block, &position, &mut tops);
                }
                for top in tops {
                    let kept = top.finish().count();
                    assert!((k..10 * k).contains(&kept), "{metric:?} {count}: {kept}");
                }
            }
        }
    }
}
