//! The best so far.

use crate::collection::Position;

/// The `k` nearest of what was offered, and all that tie with the last of them: which of these belong is for their object
/// ids to say.
pub struct Top {
    k: usize,
    /// What is further away does not belong.
    limit: f64,
    found: Vec<(f64, Position)>,
    /// When to drop what does not belong.
    full: usize,
}

impl Top {
    pub fn new(k: usize) -> Self {
        Top {
            k,
            limit: f64::INFINITY,
            found: Vec::new(),
            full: room(k),
        }
    }

    /// What is further away than this need not be offered.
    pub fn limit(&self) -> f64 {
        self.limit
    }

    /// Takes what is near enough; a distance that is not finite never is.
    pub fn offer(&mut self, distance: f64, position: Position) {
        if distance.is_finite() && distance <= self.limit {
            self.found.push((distance, position));
            if self.found.len() >= self.full {
                self.drop_the_rest();
            }
        }
    }

    pub fn merge(&mut self, other: Top) {
        for (distance, position) in other.found {
            self.offer(distance, position);
        }
    }

    /// Distances and positions, in no order.
    pub fn finish(mut self) -> Vec<(f64, Position)> {
        self.drop_the_rest();
        self.found
    }

    fn drop_the_rest(&mut self) {
        if self.found.len() > self.k {
            let by_distance =
                |one: &(f64, Position), other: &(f64, Position)| one.0.total_cmp(&other.0);
            let (_, last, _) = self.found.select_nth_unstable_by(self.k - 1, by_distance);
            self.limit = last.0;
            let limit = self.limit;
            self.found.retain(|(distance, _)| *distance <= limit);
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

    fn offer_all(k: usize, distances: &[f64]) -> Vec<f64> {
        let mut top = Top::new(k);
        for (row, &distance) in distances.iter().enumerate() {
            top.offer(
                distance,
                Position {
                    part: 0,
                    row: row as u32,
                },
            );
        }
        let mut found: Vec<f64> = top
            .finish()
            .into_iter()
            .map(|(distance, _)| distance)
            .collect();
        found.sort_by(f64::total_cmp);
        found
    }

    #[test]
    fn the_nearest_are_kept_and_all_that_tie_with_the_last() {
        let many: Vec<f64> = (0..1000)
            .map(|index| f64::from((index * 37) % 100))
            .collect();
        let mut sorted = many.clone();
        sorted.sort_by(f64::total_cmp);
        for k in [1, 2, 9, 10, 11, 25, 999, 1000, 2000] {
            let last = sorted[k.min(sorted.len()) - 1];
            let expected: Vec<f64> = sorted
                .iter()
                .copied()
                .filter(|distance| *distance <= last)
                .collect();
            assert_eq!(offer_all(k, &many), expected, "{k}");
        }
    }

    #[test]
    fn however_it_is_offered_and_merged_the_same_is_kept() {
        let mut rng = StdRng::seed_from_u64(1);
        for _ in 0..300 {
            let k = rng.random_range(1..40usize);
            let kinds = rng.random_range(1..60u32);
            let offered: Vec<(f64, Position)> = (0..rng.random_range(0..300u32))
                .map(|row| {
                    (
                        f64::from(rng.random_range(0..kinds)),
                        Position { part: 0, row },
                    )
                })
                .collect();
            let mut tops: Vec<Top> = (0..rng.random_range(1..5)).map(|_| Top::new(k)).collect();
            for &(distance, position) in &offered {
                let top = rng.random_range(0..tops.len());
                tops[top].offer(distance, position);
            }
            let merged = tops.into_iter().reduce(|mut one, other| {
                one.merge(other);
                one
            });
            let mut found = merged.unwrap().finish();
            let order = |one: &(f64, Position), other: &(f64, Position)| {
                one.0.total_cmp(&other.0).then(one.1.cmp(&other.1))
            };
            found.sort_by(order);
            let mut expected = offered;
            expected.sort_by(order);
            if let Some(&(last, _)) = expected.get(k - 1) {
                expected.retain(|(distance, _)| *distance <= last);
            }
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_not_finite_is_no_neighbour() {
        assert_eq!(
            offer_all(3, &[f64::NAN, 2.0, f64::INFINITY, 1.0]),
            [1.0, 2.0]
        );
    }
}
