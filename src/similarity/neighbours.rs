//! From queries to their neighbours: what `search` and the server both ask.

use super::collection::{Collection, Position};
use super::hnsw::ApproximateIndex;
use super::scan::{Metric, Neighbour, nearest, nearest_of};

/// A feature whose neighbours are wanted.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Query<'a> {
    /// `[collection.dimension()]`.
    pub feature: &'a [f32],
    /// The object whose feature it is; `None` for a picture.
    pub itself: Option<Position>,
    /// Neighbours that are wanted, the object itself included.
    pub k: usize,
}

/// How neighbours are found.
#[derive(Clone, Copy)]
pub(crate) enum Method<'a> {
    /// All of them, in one pass over the data for all queries.
    Exact(Metric),
    /// All of them among some objects, in rising order: each distance is computed in 64 bits, one query after the
    /// other.
    Among(Metric, &'a [Position]),
    /// Through an index, by the metric that it was made for; some may be missed.
    Approximate(&'a ApproximateIndex),
}

/// The `k` nearest objects to each query, nearest first, those of one distance by object id; an object that is its own
/// query comes before others of the same feature. Rows that hold a number that is not finite are nobody's neighbours,
/// and such a query has none.
pub(crate) fn neighbours(
    collection: &Collection,
    queries: &[Query<'_>],
    method: Method<'_>,
) -> Vec<Vec<Neighbour>> {
    let features: Vec<f32> = (queries.iter())
        .flat_map(|query| query.feature)
        .copied()
        .collect();
    let k = queries.iter().map(|query| query.k).max().unwrap_or(0);
    let mut found = match method {
        Method::Exact(metric) => nearest(collection, &features, k, metric),
        Method::Among(metric, objects) => features
            .chunks_exact(collection.dimension())
            .flat_map(|query| {
                let candidates = [objects.to_vec()];
                nearest_of(collection, query, k, metric, &|_| false, &candidates)
            })
            .collect(),
        Method::Approximate(index) => index.nearest(collection, &features, k),
    };
    for (query, neighbours) in queries.iter().zip(&mut found) {
        neighbours.truncate(query.k);
        let is_asked_for = |itself: &Position| match method {
            Method::Among(_, objects) => objects.binary_search(itself).is_ok(),
            Method::Exact(_) | Method::Approximate(_) => true,
        };
        if let Some(itself) = query.itself.filter(is_asked_for) {
            put_first(collection, itself, neighbours, query.k);
        }
    }
    found
}

/// Puts an object before others of the same feature, whose ids may come first. Where there are no neighbours, because
/// its feature is not finite, it adds none.
fn put_first(collection: &Collection, itself: Position, neighbours: &mut Vec<Neighbour>, k: usize) {
    if neighbours.is_empty() {
        return;
    }
    neighbours.retain(|neighbour| neighbour.position != itself);
    let itself = Neighbour {
        object_id: collection.id(itself),
        path: collection.path(itself),
        distance: 0.0,
        position: itself,
    };
    neighbours.insert(0, itself);
    neighbours.truncate(k);
}
