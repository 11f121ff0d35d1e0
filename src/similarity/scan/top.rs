//! The nearest so far.

use super::metric::Range;
use crate::similarity::collection::Position;

/// Keeps every candidate whose lower bound does not exceed the `k`-th smallest upper bound.
pub struct Top {
    k: usize,
    /// The `k`-th smallest upper bound so far.
    limit: f64,
    found: Vec<(Range, Position)>,
    /// At how many candidates to drop those above the limit.
    full: usize,
    /// Whether far more than `k` are below the limit, because the ranges are wide.
    is_crowded: bool,
}

impl Top {
    pub fn new(k: usize) -> Self {
        Top {
            k,
            limit: f64::INFINITY,
            found: Vec::new(),
            full: room(k),
            is_crowded: false,
        }
    }

    /// Whether narrower ranges are needed: otherwise all rows might be kept.
    pub fn is_crowded(&self) -> bool {
        self.is_crowded
    }

    /// A candidate whose lower bound is above this need not be offered.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Keeps a candidate if it may be near enough.
    pub fn offer(&mut self, range: Range, position: Position) {
        if range.least <= self.limit {
            self.found.push((range, position));
            if self.found.len() >= self.full {
                self.drop_the_rest();
            }
        }
    }

    pub fn merge(&mut self, other: Top) {
        for (range, position) in other.found {
            self.offer(range, position);
        }
    }

    /// The positions, in any order.
    pub fn finish(mut self) -> impl Iterator<Item = Position> {
        self.drop_the_rest();
        self.found.into_iter().map(|(_, position)| position)
    }

    fn drop_the_rest(&mut self) {
        if self.found.len() > self.k {
            let by_most = |one: &(Range, Position), other: &(Range, Position)| {
                one.0.most.total_cmp(&other.0.most)
            };
            let (_, last, _) = self.found.select_nth_unstable_by(self.k - 1, by_most);
            self.limit = last.0.most;
            let limit = self.limit;
            self.found.retain(|(range, _)| range.least <= limit);
            self.is_crowded = self.found.len() > self.k + room(self.k) / 2;
        }
        // Ties may be many: room for as many again, so that each is moved a bounded number of times.
        self.full = room(self.found.len().max(self.k));
    }
}

fn room(k: usize) -> usize {
    k.saturating_mul(2).saturating_add(16)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    /// Random ranges of some width, of which many are equal.
    fn offers(rng: &mut StdRng) -> Vec<(Range, Position)> {
        let (kinds, widths) = (rng.random_range(1..60u32), rng.random_range(1..5u32));
        let count = rng.random_range(0..300);
        let offer = |row| {
            let least = f64::from(rng.random_range(0..kinds));
            let most = least + f64::from(rng.random_range(0..widths));
            (Range { least, most }, Position { part: 0, row })
        };
        (0..count).map(offer).collect()
    }

    #[test]
    fn however_it_is_offered_and_merged_all_that_may_belong_are_kept_and_no_others() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..300 {
            let offers = offers(&mut rng);
            for k in [
                1,
                2,
                rng.random_range(3..40usize),
                offers.len().max(1),
                1000,
            ] {
                let mut tops: Vec<Top> = (0..rng.random_range(1..5)).map(|_| Top::new(k)).collect();
                for &(range, position) in &offers {
                    let top = rng.random_range(0..tops.len());
                    tops[top].offer(range, position);
                }
                let merged = tops.into_iter().reduce(|mut one, other| {
                    one.merge(other);
                    one
                });
                let mut found: Vec<Position> = merged.unwrap().finish().collect();
                found.sort_unstable();
                let mut mosts: Vec<f64> = offers.iter().map(|(range, _)| range.most).collect();
                mosts.sort_by(f64::total_cmp);
                let limit = mosts.get(k - 1).copied().unwrap_or(f64::INFINITY);
                let belong = offers.iter().filter(|(range, _)| range.least <= limit);
                let expected: Vec<Position> = belong.map(|(_, position)| *position).collect();
                assert_eq!(found, expected, "{k} of {}", offers.len());
            }
        }
    }

    #[test]
    fn it_keeps_no_more_than_belong_while_it_is_offered_more() {
        let mut top = Top::new(10);
        for row in 0..100_000 {
            let distance = f64::from(row * 7919 % 100_003);
            let range = Range {
                least: distance,
                most: distance,
            };
            top.offer(range, Position { part: 0, row });
            assert!(top.found.len() <= room(10));
        }
        assert_eq!(top.finish().count(), 10);
    }
}
