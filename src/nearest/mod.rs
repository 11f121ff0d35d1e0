//! The exact search: the nearest features of a collection to some queries, in one pass over the data.
//!
//! Each row is first looked at in 32 bits, one query at a time or all of them in a matrix product. That gives the distance
//! but for a rounding error with a known bound; only where the distance, less that bound, is not above the `k`-th best so
//! far, it is computed again in 64 bits, and that number counts. So the result does not depend on how many queries are
//! asked at once, on the number of threads, or on the processor.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | the pass over the data |
//! | `product.rs` | the matrix product |
//! | `metric.rs` | distances, in 32 bits with their bounds and in 64 bits |
//! | `top.rs` | the `k` best so far, and all that tie with the last |

mod metric;
mod product;
mod top;

use rayon::prelude::*;

use crate::collection::{Collection, Position};
pub use metric::Metric;
use metric::{Measured, Norms};
use product::products;
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
    /// Where its feature stands.
    #[serde(skip)]
    pub position: Position,
}

/// The `k` nearest objects to each query, nearest first, those of one distance by object id. `queries` are
/// `[n, collection.length()]`. Rows that hold a number that is not finite are nobody's neighbours.
pub fn nearest(
    collection: &Collection,
    queries: &[f32],
    k: usize,
    metric: Metric,
) -> Vec<Vec<Neighbour>> {
    nearest_of(collection, queries, k, metric, &|_| true, &[])
}

/// The same of some objects alone: those of the parts whose index `is_scanned`, and for each query its `candidates`.
/// These are none, or as many lists as queries, and stand in parts that are not scanned.
pub fn nearest_of(
    collection: &Collection,
    queries: &[f32],
    k: usize,
    metric: Metric,
    is_scanned: &dyn Fn(u32) -> bool,
    candidates: &[Vec<Position>],
) -> Vec<Vec<Neighbour>> {
    let length = collection.length();
    if length == 0 || queries.is_empty() || k == 0 {
        return vec![Vec::new(); queries.len().checked_div(length).unwrap_or(0)];
    }
    assert_eq!(queries.len() % length, 0, "queries are not [n, {length}]");
    let scan = Scan::new(queries, length, metric);
    let blocks: Vec<(u32, usize)> = (0..)
        .zip(collection.parts())
        .filter(|(part, _)| is_scanned(*part))
        .flat_map(|(part, rows)| {
            (0..rows.rows())
                .step_by(BLOCK_ROWS)
                .map(move |first| (part, first))
        })
        .collect();
    let empty = || scan.queries.iter().map(|_| Top::new(k)).collect();
    let mut tops: Vec<Top> = (blocks.par_iter())
        .fold(empty, |mut tops: Vec<Top>, &(part, first)| {
            let rows = &collection.parts()[part as usize].features()[first * length..];
            let rows = &rows[..rows.len().min(BLOCK_ROWS * length)];
            let position = |row: usize| Position {
                part,
                row: (first + row) as u32,
            };
            scan.block(rows, &position, &mut tops);
            tops
        })
        .reduce(empty, |mut one, other| {
            (one.iter_mut().zip(other)).for_each(|(one, other)| one.merge(other));
            one
        });
    (tops.par_iter_mut().zip(&scan.queries).zip(candidates)).for_each(
        |((top, query), candidates)| {
            for &position in candidates {
                top.offer(
                    metric.distance(query, collection.feature(position)),
                    position,
                );
            }
        },
    );
    tops.into_iter()
        .map(|top| named(collection, top, k))
        .collect()
}

/// Resolves ids: of several objects at the last distance, the first by id are kept.
fn named(collection: &Collection, top: Top, k: usize) -> Vec<Neighbour> {
    let found = top.finish().into_iter();
    let mut neighbours: Vec<Neighbour> = found
        .map(|(distance, position)| Neighbour {
            object_id: collection.id(position),
            distance,
            position,
        })
        .collect();
    neighbours.sort_by(|one, other| {
        (one.distance.total_cmp(&other.distance)).then_with(|| one.object_id.cmp(&other.object_id))
    });
    neighbours.truncate(k);
    neighbours
}

/// What all threads share.
struct Scan<'a> {
    queries: Vec<Measured<'a>>,
    /// `[n, length]`.
    matrix: &'a [f32],
    length: usize,
    metric: Metric,
}

impl<'a> Scan<'a> {
    fn new(queries: &'a [f32], length: usize, metric: Metric) -> Self {
        Scan {
            queries: queries.chunks_exact(length).map(Measured::new).collect(),
            matrix: queries,
            length,
            metric,
        }
    }

    /// Looks at the rows of a block, `[n, length]`.
    fn block(&self, rows: &[f32], position: &dyn Fn(usize) -> Position, tops: &mut [Top]) {
        if self.queries.len() < MATRIX_QUERIES {
            for (row, feature) in rows.chunks_exact(self.length).enumerate() {
                for (query, top) in self.queries.iter().zip(&mut *tops) {
                    if self.metric.at_least(query, feature) <= top.limit() {
                        top.offer(self.metric.distance(query, feature), position(row));
                    }
                }
            }
            return;
        }
        let count = self.queries.len();
        let mut all = vec![0.0; rows.len() / self.length * count];
        products(rows, self.matrix, self.length, &mut all);
        let features = rows.chunks_exact(self.length);
        for (row, (feature, products)) in features.zip(all.chunks_exact(count)).enumerate() {
            let norms = Norms::of(feature);
            for ((query, &product), top) in self.queries.iter().zip(products).zip(&mut *tops) {
                let limit = top.limit();
                if self.metric.may_be_within(limit, query, norms, product) {
                    top.offer(self.metric.distance(query, feature), position(row));
                }
            }
        }
    }
}
