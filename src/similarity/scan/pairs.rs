//! All pairs of objects within a limit.
//!
//! Almost all pairs are ruled out by their features rounded to 8 bits, in a blocked matrix product of half of all
//! pairs; see `rounded.rs`. The distances of the others are computed in 64 bits, as those of a search are, and compared
//! with the limit. So the result is the same on every machine.

use std::sync::atomic::{AtomicUsize, Ordering};

use rayon::prelude::*;

use super::metric::{Measured, Metric};
use super::rounded::{Reach, RoundedRows, is_beyond, limit as rounded_limit};
use crate::similarity::collection::{Collection, Position};
use crate::similarity::kernels;

/// Rows that one thread multiplies with all that come after them: 330 KB at a dimension of 1280, which stay in a core's
/// second cache.
const QUERIES: usize = 256;
/// Rows that are multiplied with these, and then looked at: their products, 57 KB, stay in the cache until then.
const ROWS: usize = 56;

/// Pairs that are kept, at most, where nothing less is wanted: 1.6 GB.
pub const MOST_PAIRS: usize = 100_000_000;

/// A search is made in so many shares at most, one after the other. Each row is compared with those after it, so that
/// the first share has a twentieth of all pairs, and the later ones have fewer.
const SHARES: usize = 40;

/// Two objects, by their places among those that were compared, and how far they are from each other.
#[derive(Clone, Copy, Debug, Default, PartialEq, bytemuck::Pod, bytemuck::Zeroable)]
#[repr(C)]
pub struct Pair {
    /// The place that comes first.
    pub first: u32,
    /// The other one.
    pub second: u32,
    /// Their distance, at most the limit.
    pub distance: f64,
}

/// More pairs are within the limit than are wanted.
#[derive(Clone, Copy, Debug, thiserror::Error)]
#[error("more than {most} pairs are within {limit} of each other; take a smaller limit")]
pub struct TooManyPairs {
    /// The most pairs that were wanted.
    pub most: usize,
    /// The limit.
    pub limit: f64,
}

/// What to look for.
pub struct Wanted<'a> {
    /// How the distance is measured.
    pub metric: Metric,
    /// The largest distance, itself included.
    pub limit: f64,
    /// How many pairs may be within it, at most [`MOST_PAIRS`].
    pub most: usize,
    /// Whether a pair is wanted, by its places, however near it is; asked for a few pairs alone.
    pub is_wanted: &'a (dyn Fn(u32, u32) -> bool + Sync),
    /// Called with numbers of pairs that are done; together they are [`count`].
    pub advance: &'a (dyn Fn(u64) + Sync),
}

/// How many pairs there are among so many objects.
pub fn count(objects: usize) -> u64 {
    let objects = objects as u64;
    objects * objects.saturating_sub(1) / 2
}

/// A search for pairs, which is made share by share. Besides what is found (16 bytes a pair), it takes a byte for each
/// number, 32 bytes a row, and under a megabyte a thread.
pub struct PairSearch<'a> {
    collection: &'a Collection,
    objects: &'a [Position],
    wanted: &'a Wanted<'a>,
    rows: RoundedRows,
}

impl<'a> PairSearch<'a> {
    /// Prepares to search for pairs of some objects. Rows that hold a number that is not finite are in none.
    pub fn new(
        collection: &'a Collection,
        objects: &'a [Position],
        wanted: &'a Wanted<'a>,
    ) -> Self {
        let feature = |index: u32| collection.feature(objects[index as usize]);
        let dimension = collection.dimension();
        let rows = RoundedRows::new(objects.len(), dimension, wanted.metric, feature);
        // Those that were left out are done.
        (wanted.advance)(count(objects.len()) - count(rows.rows.len()));
        PairSearch {
            collection,
            objects,
            wanted,
            rows,
        }
    }

    /// How many shares there are. They depend on nothing but the features.
    pub fn shares(&self) -> usize {
        self.blocks().div_ceil(self.blocks_of_a_share())
    }

    /// Searches one share; the pairs are in no order.
    ///
    /// # Errors
    /// When it has more pairs than are wanted.
    pub fn find(&self, share: usize) -> Result<Vec<Pair>, TooManyPairs> {
        let feature = |index: u32| self.collection.feature(self.objects[index as usize]);
        let blocks = self.blocks_of(share);
        let (cursor, kept) = (AtomicUsize::new(blocks.start), AtomicUsize::new(0));
        // Of all threads together: each would fill the memory by itself otherwise.
        let most = self.wanted.most;
        let is_full = |more| kept.fetch_add(more, Ordering::Relaxed) + more > most;
        let threads = (0..rayon::current_num_threads()).into_par_iter();
        let found = threads.with_max_len(1).map(|_| {
            let mut found = Vec::new();
            loop {
                // The first have the most rows after them.
                let block = cursor.fetch_add(1, Ordering::Relaxed);
                if block >= blocks.end || is_full(0) {
                    return found;
                }
                block_pairs(
                    &self.rows,
                    block * QUERIES,
                    &feature,
                    self.wanted,
                    &is_full,
                    &mut found,
                );
            }
        });
        let found = found.reduce(Vec::new, |mut one, mut other| {
            one.append(&mut other);
            one
        });
        match is_full(0) {
            true => Err(self.too_many()),
            false => Ok(found),
        }
    }

    /// How many pairs are compared in a share.
    pub fn count(&self, share: usize) -> u64 {
        let blocks = self.blocks_of(share).map(|block| {
            let start = block * QUERIES;
            let after = self.rows.rows.len() - start;
            count(after) - count(after.saturating_sub(QUERIES))
        });
        blocks.sum()
    }

    /// What is said when there are too many in all shares together.
    pub fn too_many(&self) -> TooManyPairs {
        let Wanted { most, limit, .. } = *self.wanted;
        TooManyPairs { most, limit }
    }

    fn blocks(&self) -> usize {
        self.rows.rows.len().div_ceil(QUERIES)
    }

    fn blocks_of_a_share(&self) -> usize {
        self.blocks().div_ceil(SHARES).max(1)
    }

    fn blocks_of(&self, share: usize) -> std::ops::Range<usize> {
        let each = self.blocks_of_a_share();
        share * each..((share + 1) * each).min(self.blocks())
    }
}

/// The pairs of some objects that are within the limit, in the order of their distances and then of their places.
///
/// # Errors
/// When more pairs are within the limit than are wanted.
pub fn pairs_within(
    collection: &Collection,
    objects: &[Position],
    wanted: &Wanted<'_>,
) -> Result<Vec<Pair>, TooManyPairs> {
    let search = PairSearch::new(collection, objects, wanted);
    let mut found = Vec::new();
    for share in 0..search.shares() {
        found.extend(search.find(share)?);
        if found.len() > wanted.most {
            return Err(search.too_many());
        }
    }
    sort(&mut found);
    Ok(found)
}

/// Puts pairs in the order of their distances, and then of their places.
pub fn sort(pairs: &mut [Pair]) {
    pairs.par_sort_unstable_by(|one, other| {
        (one.distance.total_cmp(&other.distance))
            .then_with(|| (one.first, one.second).cmp(&(other.first, other.second)))
    });
}

/// The pairs of [`QUERIES`] rows from `start` on with each other and with all rows after them. `is_full` counts more
/// pairs, and says whether there are too many; then the rest is not looked for.
fn block_pairs<'a>(
    rows: &RoundedRows,
    start: usize,
    feature: &(impl Fn(u32) -> &'a [f32] + Sync),
    wanted: &Wanted<'_>,
    is_full: &dyn Fn(usize) -> bool,
    found: &mut Vec<Pair>,
) {
    let all = rows.rows.len();
    let end = (start + QUERIES).min(all);
    let queries = &rows.rows[start..end];
    let limit = rounded_limit(wanted.metric, wanted.limit);
    let products_with = kernels::byte_products(rows.bytes(start..end), rows.width);
    let reach = Reach::new(queries, limit);
    let mut measured: Vec<Option<Measured<'_>>> = queries.iter().map(|_| None).collect();
    let mut products = vec![0; ROWS * queries.len()];
    let mut near = Vec::new();
    let mut first = start;
    while first < all {
        let last = (first + ROWS).min(all);
        let is_sorted = wanted.metric == Metric::Euclidean;
        if is_sorted && is_beyond(&queries[queries.len() - 1], &rows.rows[first], limit) {
            break;
        }
        let products = &mut products[..(last - first) * queries.len()];
        products_with(rows.bytes(first..last), products);
        let before = found.len();
        let group = rows.rows[first..last].iter().zip(first..);
        for ((row, place), products) in group.zip(products.chunks_exact(queries.len())) {
            // Of a pair within the block the second is after the first.
            let earlier = queries.len().min(place - start);
            near.clear();
            reach.find(row, &products[..earlier], &mut near);
            for &query in &near {
                let (one, other) = (queries[query].index, row.index);
                let (one, other) = (one.min(other), one.max(other));
                if !(wanted.is_wanted)(one, other) {
                    continue;
                }
                let query_feature = || Measured::new(feature(queries[query].index));
                let query = measured[query].get_or_insert_with(query_feature);
                let distance = wanted.metric.distance(query, feature(row.index));
                if distance <= wanted.limit {
                    found.push(Pair {
                        first: one,
                        second: other,
                        distance,
                    });
                }
            }
        }
        if is_full(found.len() - before) {
            return;
        }
        first = last;
    }
    (wanted.advance)(count(queries.len()) + (queries.len() * (all - end)) as u64);
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use crate::similarity::scan::tests::collection;

    const ALL: &(dyn Fn(u32, u32) -> bool + Sync) = &|_, _| true;

    /// Every distance, one after the other, in the order of the places.
    fn all_pairs(collection: &Collection, objects: &[Position], metric: Metric) -> Vec<Pair> {
        let places = 0..objects.len() as u32;
        let pairs = places.clone().flat_map(|first| {
            let measured = Measured::new(collection.feature(objects[first as usize]));
            let others = places.clone().skip(first as usize + 1);
            others.map(move |second| Pair {
                first,
                second,
                distance: metric.distance(&measured, collection.feature(objects[second as usize])),
            })
        });
        pairs.filter(|pair| pair.distance.is_finite()).collect()
    }

    #[test]
    fn the_pairs_are_those_of_all_distances_at_any_magnitude_and_at_the_limit_itself() {
        let mut rng = StdRng::seed_from_u64(1);
        for dimension in [1, 7, 33, 645] {
            let collection = collection(&mut rng, dimension);
            // In no order, so that places and positions are told apart.
            let mut objects = collection.positions().collect::<Vec<_>>();
            objects.sort_by_key(|position| (position.row % 7, position.part));
            for metric in Metric::ALL {
                let all = all_pairs(&collection, &objects, metric);
                let mut distances: Vec<f64> = all.iter().map(|pair| pair.distance).collect();
                distances.sort_by(f64::total_cmp);
                let mut limits = vec![0.0, 1e-6, 0.1];
                for share in [0.01, 0.1, 0.5] {
                    let near = distances[(share * distances.len() as f64) as usize];
                    limits.extend([near, near.next_down()]);
                }
                for limit in limits {
                    let mut expected = all.clone();
                    expected.retain(|pair| pair.distance <= limit);
                    expected.sort_by(|one, other| one.distance.total_cmp(&other.distance));
                    let wanted = Wanted {
                        metric,
                        limit,
                        most: MOST_PAIRS,
                        is_wanted: ALL,
                        advance: &|_| {},
                    };
                    let found = pairs_within(&collection, &objects, &wanted).unwrap();
                    assert!(
                        found == expected,
                        "{metric:?} {dimension} {limit}: {} instead of {}",
                        found.len(),
                        expected.len()
                    );
                }
            }
        }
    }

    #[test]
    fn only_wanted_pairs_are_found_and_all_are_counted() {
        let collection = collection(&mut StdRng::seed_from_u64(2), 3);
        let objects = collection.positions().collect::<Vec<_>>();
        let done = std::sync::atomic::AtomicU64::new(0);
        let of_one_kind = |first: u32, second: u32| first % 2 == second % 2;
        let wanted = Wanted {
            metric: Metric::Euclidean,
            limit: 0.1,
            most: MOST_PAIRS,
            is_wanted: &of_one_kind,
            advance: &|more| {
                done.fetch_add(more, Ordering::Relaxed);
            },
        };
        let found = pairs_within(&collection, &objects, &wanted).unwrap();
        let mut expected = all_pairs(&collection, &objects, Metric::Euclidean);
        expected.retain(|pair| pair.distance <= 0.1 && pair.first % 2 == pair.second % 2);
        assert!(!expected.is_empty());
        assert_eq!(found.len(), expected.len());
        assert!(
            found
                .iter()
                .all(|pair| of_one_kind(pair.first, pair.second))
        );
        // All of them are ruled out early by their norms but for a few: progress does not depend on that.
        assert_eq!(done.into_inner(), count(objects.len()));
    }

    #[test]
    fn where_there_are_more_pairs_than_are_wanted_it_says_so_and_keeps_few_more() {
        let collection = collection(&mut StdRng::seed_from_u64(4), 3);
        let mut objects = collection.positions().collect::<Vec<_>>();
        objects.retain(|position| {
            let feature = collection.feature(*position);
            feature.iter().all(|number| number.is_finite())
        });
        let all = count(objects.len()) as usize;
        for (most, is_enough) in [(all, true), (all - 1, false), (0, false)] {
            let wanted = Wanted {
                metric: Metric::Euclidean,
                limit: 1e30,
                most,
                is_wanted: ALL,
                advance: &|_| {},
            };
            let found = pairs_within(&collection, &objects, &wanted);
            assert_eq!(
                found.map(|pairs| pairs.len()).ok(),
                is_enough.then_some(all)
            );
            // A block ends as soon as there are too many, and not with its last row.
            let feature = |index: u32| collection.feature(objects[index as usize]);
            let rows = RoundedRows::new(objects.len(), 3, wanted.metric, feature);
            let mut found = Vec::new();
            let kept = std::cell::Cell::new(0);
            let is_full = |more: usize| {
                kept.set(kept.get() + more);
                kept.get() > most
            };
            block_pairs(&rows, 0, &feature, &wanted, &is_full, &mut found);
            assert!(
                found.len() <= most + QUERIES * ROWS,
                "{} {most}",
                found.len()
            );
        }
    }

    #[test]
    fn shares_have_all_pairs_and_none_has_much_more_than_a_twentieth() {
        for rows in [0, 1, 255, 256, 257, 41 * 256, 41 * 256 + 1, 100_000] {
            let numbers: Vec<f32> = (0..rows).map(|row| row as f32).collect();
            let feature = |index: u32| std::slice::from_ref(&numbers[index as usize]);
            let wanted = Wanted {
                metric: Metric::Euclidean,
                limit: 0.0,
                most: MOST_PAIRS,
                is_wanted: ALL,
                advance: &|_| {},
            };
            let search = PairSearch {
                collection: &Collection::default(),
                objects: &[],
                wanted: &wanted,
                rows: RoundedRows::new(rows, 1, Metric::Euclidean, feature),
            };
            let counts: Vec<u64> = (0..search.shares())
                .map(|share| search.count(share))
                .collect();
            assert_eq!(counts.iter().sum::<u64>(), count(rows));
            assert!(search.shares() <= SHARES);
            if rows == 100_000 {
                assert!(
                    counts.iter().all(|share| *share * 19 < count(rows)),
                    "{counts:?}"
                );
            }
        }
    }

    #[test]
    fn rounding_rules_out_almost_all_that_is_too_far() {
        let mut rng = StdRng::seed_from_u64(3);
        let (count, dimension) = (500, 1280);
        let numbers = (0..count * dimension).map(|_| rng.random_range(-1.0..1.0f32));
        let features: Vec<f32> = numbers.collect();
        let feature = |index: u32| &features[index as usize * dimension..][..dimension];
        for metric in Metric::ALL {
            let rows = RoundedRows::new(count, dimension, metric, feature);
            let measured = Measured::new(feature(rows.rows[0].index));
            let distances = rows.rows[1..]
                .iter()
                .map(|row| metric.distance(&measured, feature(row.index)));
            let mut distances: Vec<f64> = distances.collect();
            distances.sort_by(f64::total_cmp);
            // Random rows are at nearly one distance from each other, so that all of them are at the nearest or beyond.
            let limit = rounded_limit(metric, distances[0] * 0.94);
            let reach = Reach::new(&rows.rows[..1], limit);
            let products_with = kernels::byte_products(rows.bytes(0..1), rows.width);
            let mut products = vec![0; count];
            products_with(rows.bytes(0..count), &mut products);
            let mut near = Vec::new();
            for (row, product) in rows.rows.iter().zip(&products).skip(1) {
                reach.find(row, std::slice::from_ref(product), &mut near);
            }
            assert!(near.is_empty(), "{metric:?}");
        }
    }
}
