//! Distances between features: in 32 bits with a bound on their error, and in 64 bits.

use std::fmt;

use crate::similarity::kernels::{dot, sum, sum_error, sum_f64};

/// How the distance between two features is measured.
///
/// Each is a function of the product of the two features and of their norms: a scan for many queries has these alone.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Metric {
    /// The norm of the difference.
    #[default]
    Euclidean,
    /// 1 minus the cosine of the angle between them, from 0 to 2. A feature of zeros has no direction: it is at 1 from
    /// everything but another one, and at 0 from that.
    Cosine,
}

/// A distance as it is printed in lines: with as few digits as tell 32-bit numbers apart, which is what features are,
/// and never less than it is, so that `--max-distance` with this number includes it.
pub struct Printed(pub f64);

impl fmt::Display for Printed {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut near = self.0 as f32;
        loop {
            let text = near.to_string();
            if !text.parse().is_ok_and(|told: f64| told < self.0) {
                return to.write_str(&text);
            }
            near = near.next_up();
        }
    }
}

/// Squares of small numbers lose digits in 32 bits, or all of them: a sum of squares below this says nothing, and one
/// above it is off by far less. It also covers that AMX takes the smallest numbers, below 1e-38, as zeros.
const TINY: f64 = 1e-30;

/// A query, and what every distance to it needs.
pub struct Measured<'a> {
    feature: &'a [f32],
    norms: Norms,
    /// Sum of squares, in 64 bits.
    squares: f64,
}

/// Bounds of a distance's measure: the square of the distance for [`Metric::Euclidean`], since a root for each row
/// would take as long as the sum, and the distance itself for [`Metric::Cosine`].
#[derive(Clone, Copy, Debug)]
pub struct Range {
    pub least: f64,
    pub most: f64,
}

impl Range {
    fn around(measure: f64, error: f64) -> Self {
        Range {
            least: measure - error,
            most: measure + error,
        }
    }

    /// `None` where a sum is too large for 32 bits, or the row is not finite.
    fn known(self) -> Option<Self> {
        (self.least.is_finite() && self.most.is_finite()).then_some(self)
    }
}

/// The sum of squares of a feature, in 32 bits, and its root.
#[derive(Clone, Copy)]
pub struct Norms {
    squares: f64,
    norm: f64,
}

impl Norms {
    pub fn of(feature: &[f32]) -> Self {
        Self::of_squares(sum(feature, feature, |one, other| one * other))
    }

    /// From the sum of the squares.
    pub fn of_squares(squares: f64) -> Self {
        Norms {
            squares,
            norm: squares.sqrt(),
        }
    }

    /// The root of the sum of squares.
    pub fn norm(self) -> f64 {
        self.norm
    }

    /// The sum of squares.
    pub fn squares(self) -> f64 {
        self.squares
    }

    /// Whether 32 bits were enough for the sum.
    fn tells(self) -> bool {
        (TINY..f64::INFINITY).contains(&self.squares)
    }
}

impl<'a> Measured<'a> {
    pub fn new(feature: &'a [f32]) -> Self {
        Measured {
            feature,
            norms: Norms::of(feature),
            squares: dot(feature, feature),
        }
    }
}

impl Metric {
    /// All of them.
    #[cfg(test)]
    pub(crate) const ALL: [Metric; 2] = [Metric::Euclidean, Metric::Cosine];

    /// Its name, as on the command line.
    pub fn name(self) -> &'static str {
        match self {
            Metric::Euclidean => "euclidean",
            Metric::Cosine => "cosine",
        }
    }

    /// The distance of two features in 64 bits; not finite where one of them is not.
    pub fn between(self, one: &[f32], other: &[f32]) -> f64 {
        self.distance(&Measured::new(one), other)
    }

    /// The distance in 64 bits; not finite where the row is not.
    pub fn distance(self, query: &Measured<'_>, row: &[f32]) -> f64 {
        match self {
            Metric::Euclidean => {
                let squares = sum_f64(query.feature, row, |one, other| {
                    (one - other) * (one - other)
                });
                squares.sqrt()
            }
            Metric::Cosine => {
                let norms = (query.squares * dot(row, row)).sqrt();
                match norms {
                    0.0 if query.squares == 0.0 && row.iter().all(|value| *value == 0.0) => 0.0,
                    0.0 => 1.0,
                    // Two equal features have a quotient of exactly 1: the root of a square is exact.
                    norms => (1.0 - dot(query.feature, row) / norms).clamp(0.0, 2.0),
                }
            }
        }
    }

    /// The range of a row's distance in 64 bits, wide enough that two whose roots are equal are not told apart; `None`
    /// where it is not finite.
    pub fn range_in_64_bits(self, query: &Measured<'_>, row: &[f32]) -> Option<Range> {
        let distance = self.distance(query, row);
        let measure = match self {
            Metric::Euclidean => distance * distance,
            Metric::Cosine => distance,
        };
        Range::around(measure, measure * 4.0 * f64::EPSILON).known()
    }

    /// The range of a row's distance, in 32 bits; `None` where these are not enough.
    pub fn range(self, query: &Measured<'_>, row: &[f32]) -> Option<Range> {
        match self {
            Metric::Euclidean => {
                let squares = sum(query.feature, row, |one, other| {
                    (one - other) * (one - other)
                });
                Range::around(squares, squares * sum_error(row.len()) + TINY).known()
            }
            Metric::Cosine => {
                let product = sum(query.feature, row, |one, other| one * other);
                let error = sum_error(row.len());
                self.range_of_product(query, Norms::of(row), product, error)
            }
        }
    }

    /// The same from the sum of the products of query and row, which may be off by `error` as a part of the product of
    /// both norms.
    fn range_of_product(
        self,
        query: &Measured<'_>,
        row: Norms,
        product: f64,
        error: f64,
    ) -> Option<Range> {
        let (measure, error) = self.of_product(query, row, product, error);
        Range::around(measure, error).known()
    }

    /// The measure of a row's distance and how far it may be off; not finite where 32 bits are not enough.
    #[inline]
    fn of_product(self, query: &Measured<'_>, row: Norms, product: f64, error: f64) -> (f64, f64) {
        let ours = query.norms;
        match self {
            Metric::Euclidean => {
                let norms = ours.norm + row.norm;
                let squares = ours.squares + row.squares - 2.0 * product;
                (squares, error * norms * norms + TINY)
            }
            Metric::Cosine if !ours.tells() || !row.tells() => (f64::NAN, f64::NAN),
            Metric::Cosine => {
                let distance = 1.0 - product / (ours.norm * row.norm);
                (distance, 2.0 * error)
            }
        }
    }

    /// The smallest product at which a row may be within `limit`, as a linear function of the row's norm: start and
    /// slope. [`Metric::base`] is to be added, which depends on the row alone. The product may be off by `error` as a
    /// part of the product of both norms.
    ///
    /// For [`Metric::Euclidean`], `squares - error > limit` in `of_product` is, with the error `e`,
    /// `2 product < (1 - e) ours² - TINY - limit + (1 - e) row² - 2 e ours row`.
    pub fn threshold(self, query: &Measured<'_>, limit: f64, error: f64) -> (f64, f64) {
        let ours = query.norms;
        match self {
            Metric::Euclidean => {
                let start = (1.0 - error) * ours.squares - TINY - limit;
                (start / 2.0, -error * ours.norm)
            }
            Metric::Cosine if !ours.tells() => (f64::NAN, f64::NAN),
            Metric::Cosine => (0.0, (1.0 - limit - 2.0 * error) * ours.norm),
        }
    }

    /// What a row adds to [`Metric::threshold`], whatever the query.
    pub fn base(self, row: Norms, error: f64) -> f64 {
        match self {
            Metric::Euclidean => (1.0 - error) * row.squares / 2.0,
            Metric::Cosine if !row.tells() => f64::NAN,
            Metric::Cosine => 0.0,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use crate::similarity::scan::threshold::Thresholds;

    #[test]
    fn a_printed_distance_is_not_less_than_the_distance_and_as_near_as_32_bits_tell() {
        let mut rng = StdRng::seed_from_u64(5);
        let any = (0..1000).map(|_| rng.random_range(0.0..2.0f64));
        for distance in any.chain([0.0, 1e-300, 0.5, 1.0 / 3.0, f64::MAX]) {
            let text = Printed(distance).to_string();
            let told: f64 = text.parse().unwrap();
            assert!(told >= distance, "{distance} {text}");
            let near = distance as f32;
            let above = near.next_up().next_up();
            assert!(
                told <= f64::from(above) && text.len() < 50,
                "{distance} {text}"
            );
        }
        assert_eq!(Printed(0.25).to_string(), "0.25");
        assert_eq!(Printed(0.0).to_string(), "0");
        assert_eq!(Printed(f64::NAN).to_string(), "NaN");
    }

    #[test]
    fn the_bounds_hold_at_any_magnitude_and_are_close_at_usual_ones() {
        let mut rng = StdRng::seed_from_u64(1);
        for dimension in [1, 15, 16, 17, 100, 1280] {
            for spread in [0.0, 1e-6, 1e-3, 1.0] {
                for magnitude in [1e-40, 1e-23, 1e-18, 1e-3, 1.0, 1e3, 1e17, 1e19, 1e37] {
                    check_bounds(&mut rng, dimension, spread, magnitude, magnitude);
                    check_bounds(&mut rng, dimension, spread, 1.0, magnitude);
                    check_bounds(&mut rng, dimension, spread, 1.0, -magnitude);
                    check_bounds(&mut rng, dimension, spread, magnitude, -1.0);
                }
            }
        }
    }

    /// Of a query and a row that differ by `spread`, but for what both are multiplied with.
    fn check_bounds(rng: &mut StdRng, dimension: usize, spread: f32, ours: f32, magnitude: f32) {
        let mut random = || -> Vec<f32> {
            let numbers = (0..dimension).map(|_| rng.random_range(-1.0..1.0f32));
            numbers.collect()
        };
        let (query, other) = (random(), random());
        let row = query.iter().zip(other);
        let row = row.map(|(value, other)| (value + spread * other) * magnitude);
        let row: Vec<f32> = row.collect();
        let query: Vec<f32> = query.iter().map(|value| value * ours).collect();
        let measured = Measured::new(&query);
        let product = f64::from(sum(&query, &row, |one, other| one * other) as f32);
        let (norms, error) = (Norms::of(&row), sum_error(dimension));
        for metric in [Metric::Euclidean, Metric::Cosine] {
            let distance = metric.distance(&measured, &row);
            let of = format!("{metric:?} {dimension} {spread} {ours} {magnitude}: {distance}");
            let (measure, scale) = match metric {
                Metric::Euclidean => (distance * distance, measured.squares),
                Metric::Cosine => (distance, 1.0),
            };
            for range in [
                metric.range(&measured, &row),
                metric.range_of_product(&measured, norms, product, error),
                metric.range_in_64_bits(&measured, &row),
            ] {
                let usual = 1e-6..1e6;
                let is_usual = usual.contains(&magnitude.abs()) && usual.contains(&ours);
                let is_beyond = |limit| {
                    let mut reached = Vec::new();
                    let limits = [(&measured, limit)].into_iter();
                    let thresholds = Thresholds::new(metric, error, limits);
                    thresholds.find_reached(norms, &[product as f32], &mut reached);
                    reached.is_empty()
                };
                assert!(!is_beyond(measure), "{of}");
                assert!(range.is_some() || !is_usual, "{of}");
                let Some(range) = range else { continue };
                assert!(
                    (range.least..=range.most).contains(&measure),
                    "{of} {range:?}"
                );
                if is_usual {
                    assert!(
                        range.most - range.least < 0.01 * (measure + scale),
                        "{of} {range:?}"
                    );
                    assert!(
                        is_beyond(measure - 0.01 * (measure + scale)),
                        "{of} {range:?}"
                    );
                }
            }
        }
    }

    #[test]
    fn equal_features_are_at_zero_and_opposite_ones_at_two() {
        let feature: Vec<f32> = (0..1280).map(|index| (index as f32).sin()).collect();
        let opposite: Vec<f32> = feature.iter().map(|value| -3.0 * value).collect();
        let measured = Measured::new(&feature);
        assert_eq!(Metric::Euclidean.distance(&measured, &feature), 0.0);
        assert_eq!(Metric::Cosine.distance(&measured, &feature), 0.0);
        assert!((Metric::Cosine.distance(&measured, &opposite) - 2.0).abs() < 1e-7);
        let zeros = [0.0; 1280];
        assert_eq!(Metric::Cosine.distance(&measured, &zeros), 1.0);
        assert_eq!(
            Metric::Cosine.distance(&Measured::new(&zeros), &feature),
            1.0
        );
        assert_eq!(Metric::Cosine.distance(&Measured::new(&zeros), &zeros), 0.0);
    }
}
