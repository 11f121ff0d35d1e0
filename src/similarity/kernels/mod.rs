//! The arithmetic of a search, in the fastest instructions that this processor has.
//!
//! | file | instructions | what |
//! |---|---|---|
//! | `amx.rs` | AMX | `products` |
//! | `bf16.rs` | AVX-512 with bf16 | `products`, for many queries |
//! | `avx512.rs` | AVX-512 | `products`, `find_reached`, `find_near` |
//! | `vnni.rs` | AVX-512 VNNI | `byte_products` |
//! | `avx2.rs` | AVX2, F16C, FMA | `byte_products`, `sum`, `squared_distance_f16`, `squared_distance_i8` |
//! | `portable.rs` | those of any processor | all of them |
//!
//! A function has the same name in every file; the one of that name in this file chooses among them.

use std::ops::AddAssign;

use half::f16;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
#[cfg(target_arch = "x86_64")]
mod bf16;
mod portable;
#[cfg(target_arch = "x86_64")]
mod vnni;

/// A way to multiply rows with queries.
pub struct Products<'a> {
    /// How they are multiplied.
    pub multiply: Multiply<'a>,
    /// What is lost of a product besides what sums in 32 bits lose, at most, as a part of the product of both norms.
    loss: f64,
}

/// `(rows, out, squares)`: writes the dot product of each row with each query to `out`, and that of each row with
/// itself to `squares`, in 32 bits. `rows` are `[n, dimension]`, `out` `[n, queries]`, `squares` `[n]`. The order of
/// the sums is any.
pub type Multiply<'a> = Box<dyn Fn(&[f32], &mut [f32], &mut [f32]) + Sync + 'a>;

impl Products<'_> {
    /// How far a product may be off, as a part of the product of both norms.
    pub fn error(&self, dimension: usize) -> f64 {
        sum_error(dimension) + self.loss
    }
}

/// Products with `queries`, `[n, dimension]`.
///
/// (100,000 rows of 1280 and 64 queries on two cores: 44 ms in AMX, 82 in AVX-512, and 150 in the crate `ndarray`,
/// which knows neither.)
pub fn products(queries: &[f32], dimension: usize) -> Products<'_> {
    #[cfg(target_arch = "x86_64")]
    if let Some(products) = amx::products(queries, dimension)
        .or_else(|| bf16::products(queries, dimension))
        .or_else(|| avx512::products(queries, dimension))
    {
        return products;
    }
    portable::products(queries, dimension)
}

/// Adds to `reached` the places of the products that are at least `base + start + slope * norm`, each with its own
/// start and slope, or where that is not finite. They are as many as products.
pub fn find_reached(
    products: &[f32],
    starts: &[f64],
    slopes: &[f64],
    base: f64,
    norm: f64,
    reached: &mut Vec<usize>,
) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        #[expect(unsafe_code)]
        // SAFETY: there is AVX-512.
        return unsafe { avx512::find_reached(products, starts, slopes, base, norm, reached) };
    }
    portable::find_reached(products, starts, slopes, base, norm, reached);
}

/// What a product of bytes is compared with: `product * (scale * row_scale)` with `base + start - slope * error`, where
/// each product has its own start, slope and scale.
#[derive(Clone, Copy, Debug)]
pub struct NearLines<'a> {
    pub starts: &'a [f64],
    pub slopes: &'a [f64],
    pub scales: &'a [f64],
    pub base: f64,
    pub error: f64,
    pub row_scale: f64,
}

/// Adds to `near` the places of the products that are not below their lines, or whose lines are no numbers. There are
/// lines for all of them, at least.
pub fn find_near(products: &[i32], lines: NearLines<'_>, near: &mut Vec<usize>) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        #[expect(unsafe_code)]
        // SAFETY: there is AVX-512.
        return unsafe { avx512::find_near(products, lines, near) };
    }
    portable::find_near(products, lines, near);
}

/// `(rows, out)`: writes the dot product of each row with each query to `out`. `rows` are `[n, dimension]`, `out`
/// `[n, queries]`.
pub type ByteProducts<'a> = Box<dyn Fn(&[i8], &mut [i32]) + Sync + 'a>;

/// The largest byte whose products may be added `dimension` times in 32 bits.
pub fn largest_byte(dimension: usize) -> i8 {
    let largest = (i32::MAX as usize / dimension.max(1)).isqrt();
    largest.clamp(1, 127) as i8
}

/// Products with `queries`, `[n, dimension]`, of a dimension that is a multiple of 4. They are exact where no byte is
/// beyond [`largest_byte`] in either direction.
pub fn byte_products(queries: &[i8], dimension: usize) -> ByteProducts<'_> {
    assert_eq!(dimension % 4, 0, "four bytes are multiplied at once");
    #[cfg(target_arch = "x86_64")]
    if let Some(products) =
        vnni::byte_products(queries, dimension).or_else(|| avx2::byte_products(queries, dimension))
    {
        return products;
    }
    portable::byte_products(queries, dimension)
}

/// What this program has code for and this processor has: some of `AVX2`, `AVX-512`, `VNNI`, `BF16` and `AMX`.
pub fn simd() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("AVX-512", is_x86_feature_detected!("avx512f")),
        ("VNNI", is_x86_feature_detected!("avx512vnni")),
        ("BF16", is_x86_feature_detected!("avx512bf16")),
        ("AMX", amx::is_there()),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let known: [(&str, bool); 0] = [];
    let here = known.into_iter().filter(|(_, is_here)| *is_here);
    here.map(|(name, _)| name).collect()
}

/// Every way to make products that this processor has.
#[cfg(test)]
pub fn all_products(queries: &[f32], dimension: usize) -> Vec<(&'static str, Products<'_>)> {
    let ways = [
        ("portable", Some(portable::products(queries, dimension))),
        #[cfg(target_arch = "x86_64")]
        ("AVX-512", avx512::products(queries, dimension)),
        #[cfg(target_arch = "x86_64")]
        ("bf16", bf16::products(queries, dimension)),
        #[cfg(target_arch = "x86_64")]
        ("AMX", amx::products(queries, dimension)),
    ];
    let here = ways.into_iter();
    let here = here.filter_map(|(name, products)| products.map(|products| (name, products)));
    here.collect()
}

/// Every way to make products of bytes that this processor has.
#[cfg(test)]
pub fn all_byte_products(
    queries: &[i8],
    dimension: usize,
) -> Vec<(&'static str, ByteProducts<'_>)> {
    let ways = [
        (
            "portable",
            Some(portable::byte_products(queries, dimension)),
        ),
        #[cfg(target_arch = "x86_64")]
        ("AVX2", avx2::byte_products(queries, dimension)),
        #[cfg(target_arch = "x86_64")]
        ("AVX-512 VNNI", vnni::byte_products(queries, dimension)),
    ];
    let here = ways.into_iter();
    let here = here.filter_map(|(name, products)| products.map(|products| (name, products)));
    here.collect()
}

/// What AMX cuts off, at most, as a part of the product of both norms.
const AMX_LOSS: f64 = 1.0 / 16_384.0;

/// Bound of the relative error of a [`sum`] of `dimension` products in 32 bits, in any order: each addition and each
/// product adds at most half a unit in the last place. Doubled, for what is left out here.
pub fn sum_error(dimension: usize) -> f64 {
    (dimension + 2) as f64 * f64::from(f32::EPSILON)
}

/// What sums are made of: `f32` or `f64`.
pub trait Term: Copy + Default + AddAssign + Into<f64> {}
impl Term for f32 {}
impl Term for f64 {}

/// The sum over both of what `term` makes of two numbers, in its type but for the last step. The order, and with it
/// each bit, is the same on every processor.
pub fn sum<T: Term>(one: &[f32], other: &[f32], term: impl Fn(f32, f32) -> T) -> f64 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: The processor has what the function needs.
        #[expect(unsafe_code)]
        return unsafe { avx2::sum(one, other, term) };
    }
    portable::sum(one, other, term)
}

/// [`sum`] in 64 bits throughout.
pub fn sum_f64(one: &[f32], other: &[f32], term: impl Fn(f64, f64) -> f64) -> f64 {
    sum(one, other, |one, other| {
        term(f64::from(one), f64::from(other))
    })
}

/// The dot product, in 64 bits throughout.
pub fn dot(one: &[f32], other: &[f32]) -> f64 {
    sum_f64(one, other, |one, other| one * other)
}

/// The square of the distance between two vectors of one dimension.
///
/// usearch has functions of its own for every processor. They take 3.4 minutes of a processor to build; this one and
/// the next are what is used of them.
pub fn squared_distance_f16(one: &[f16], other: &[f16]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
    {
        // SAFETY: The processor has what the function needs.
        #[expect(unsafe_code)]
        return unsafe { avx2::squared_distance_f16(one, other) };
    }
    portable::squared_distance_f16(one, other)
}

/// The square of the distance between two vectors of one dimension.
pub fn squared_distance_i8(one: &[i8], other: &[i8]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: The processor has what the function needs.
        #[expect(unsafe_code)]
        return unsafe { avx2::squared_distance_i8(one, other) };
    }
    portable::squared_distance_i8(one, other)
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn every_way_gives_the_products_of_every_row_with_every_query() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut magnitudes = [1.0, 1e-15, 1e15, -1e-3].into_iter().cycle();
        for (n, m, dimension) in [
            (1, 1, 1),
            (7, 3, 15),
            (6, 4, 16),
            (64, 16, 32),
            (13, 9, 33),
            (130, 17, 70),
            (256, 64, 100),
            (7, 5, 645),
            (13, 6, 1300),
            (19, 40, 645),
        ] {
            let mut random = |count| -> Vec<f32> {
                let numbers = (0..count).map(|_| rng.random_range(-1.0..1.0f32));
                numbers.collect()
            };
            let (mut rows, queries) = (random(n * dimension), random(m * dimension));
            for row in rows.chunks_mut(dimension) {
                let magnitude = magnitudes.next().expect("no end");
                row.iter_mut().for_each(|number| *number *= magnitude);
            }
            for (way, products) in all_products(&queries, dimension) {
                let (mut out, mut squares) = (vec![f32::NAN; n * m], vec![f32::NAN; n]);
                (products.multiply)(&rows, &mut out, &mut squares);
                let rows = rows.chunks(dimension).zip(&squares);
                for ((row, square), out) in rows.zip(out.chunks(m)) {
                    let expected = dot(row, row);
                    assert!((f64::from(*square) - expected).abs() < 1e-5 * expected);
                    for (query, found) in queries.chunks(dimension).zip(out) {
                        let expected = dot(row, query);
                        let norms = (dot(row, row) * dot(query, query)).sqrt();
                        let off = (f64::from(*found) - expected).abs();
                        assert!(
                            off <= norms * products.error(dimension),
                            "{way} {n} {m} {dimension}: {found} instead of {expected}"
                        );
                    }
                }
            }
        }
    }

    #[test]
    fn the_bounds_hold_where_every_number_is_rounded_by_the_most_and_in_one_direction() {
        let dimension = 640;
        // Halfway between two numbers of 8 bits, and just below.
        for number in [
            1.0f32 + 1.0 / 256.0,
            1.0 + 3.0 / 256.0,
            (1.0f32 + 1.0 / 256.0).next_up(),
        ] {
            let (rows, queries) = (vec![number; 15 * dimension], vec![-number; 33 * dimension]);
            let expected = -(dimension as f64) * f64::from(number).powi(2);
            for (way, products) in all_products(&queries, dimension) {
                let (mut out, mut squares) = (vec![f32::NAN; 15 * 33], vec![f32::NAN; 15]);
                (products.multiply)(&rows, &mut out, &mut squares);
                for found in out {
                    let off = (f64::from(found) - expected).abs() / expected.abs();
                    assert!(
                        off <= products.error(dimension),
                        "{way}: {found}, {expected}"
                    );
                }
            }
        }
    }

    #[test]
    fn what_reaches_its_threshold_or_is_not_finite_is_found_in_every_way() {
        let mut rng = StdRng::seed_from_u64(2);
        for count in [0, 1, 15, 16, 17, 64, 83] {
            let products: Vec<f32> = (0..count)
                .map(|at| match at % 11 {
                    10 => [f32::NAN, f32::INFINITY, f32::NEG_INFINITY][rng.random_range(0..3)],
                    _ => rng.random_range(-9..9) as f32,
                })
                .collect();
            let mut lines =
                || -> Vec<f64> { (0..count).map(|_| rng.random_range(-4..4).into()).collect() };
            let (starts, slopes) = (lines(), lines());
            let (base, norm) = (1.0, 0.5);
            let expected = (0..count).filter(|&at| {
                let threshold = base + starts[at] + slopes[at] * norm;
                !products[at].is_finite() || f64::from(products[at]) >= threshold
            });
            let expected: Vec<usize> = expected.collect();
            let mut found = Vec::new();
            find_reached(&products, &starts, &slopes, base, norm, &mut found);
            assert_eq!(found, expected);
            let mut found = Vec::new();
            portable::find_reached(&products, &starts, &slopes, base, norm, &mut found);
            assert_eq!(found, expected);
        }
    }

    #[test]
    fn what_is_not_below_its_line_is_near_in_every_way() {
        let mut rng = StdRng::seed_from_u64(3);
        for count in [0, 1, 15, 16, 17, 64, 83] {
            let products: Vec<i32> = (0..count).map(|_| rng.random_range(-9..9)).collect();
            let mut lines = || -> Vec<f64> {
                // More than there are products.
                let lines = (0..count + 5).map(|at| match at % 13 {
                    12 => [f64::NAN, f64::INFINITY, f64::NEG_INFINITY][rng.random_range(0..3)],
                    _ => rng.random_range(-4..4).into(),
                });
                lines.collect()
            };
            let (starts, slopes, scales) = (lines(), lines(), lines());
            let lines = NearLines {
                starts: &starts,
                slopes: &slopes,
                scales: &scales,
                base: 1.0,
                error: 0.5,
                row_scale: 2.0,
            };
            let expected = (0..count).filter(|&at| {
                let line = 1.0 + starts[at] - slopes[at] * 0.5;
                let there = f64::from(products[at]) * (scales[at] * 2.0);
                there.is_nan() || line.is_nan() || there >= line
            });
            let expected: Vec<usize> = expected.collect();
            let mut near = Vec::new();
            find_near(&products, lines, &mut near);
            assert_eq!(near, expected);
            let mut near = Vec::new();
            portable::find_near(&products, lines, &mut near);
            assert_eq!(near, expected);
        }
    }

    #[test]
    fn every_way_gives_the_exact_products_of_bytes() {
        let mut rng = StdRng::seed_from_u64(1);
        for (n, m, dimension) in [
            (1, 1, 4),
            (14, 32, 8),
            (15, 33, 36),
            (29, 70, 132),
            (3, 5, 1280),
            (2, 3, 1 << 18),
        ] {
            let largest = largest_byte(dimension);
            // The greatest sums of both signs are among them.
            let mut bytes = |count: usize| -> Vec<i8> {
                let mut bytes: Vec<i8> = (0..count * dimension)
                    .map(|_| rng.random_range(-largest..=largest))
                    .collect();
                bytes[..dimension].fill(largest);
                bytes[(count - 1) * dimension..].fill(if count > 1 { -largest } else { largest });
                bytes
            };
            let (rows, queries) = (bytes(n), bytes(m));
            let expected = rows.chunks(dimension).flat_map(|row| {
                queries.chunks(dimension).map(move |query| {
                    let products = row.iter().zip(query);
                    products
                        .map(|(&one, &other)| i64::from(one) * i64::from(other))
                        .sum::<i64>()
                })
            });
            let expected: Vec<i64> = expected.collect();
            for (way, products) in all_byte_products(&queries, dimension) {
                let mut out = vec![i32::MIN; n * m];
                products(&rows, &mut out);
                let out: Vec<i64> = out.into_iter().map(i64::from).collect();
                assert!(out == expected, "{way} {n} {m} {dimension}");
            }
        }
    }

    #[test]
    fn distances_are_the_same_in_both_types_and_both_ways() {
        for dimension in [1, 7, 8, 31, 1280, 20_001] {
            let bytes = |factor: usize, range: usize| -> Vec<i8> {
                let numbers = (0..dimension).map(|at| (at * factor % range) as i8);
                numbers.collect()
            };
            let (one, other) = (bytes(37, 255), bytes(91, 253));
            let expected: f64 = (one.iter().zip(&other))
                .map(|(&one, &other)| (f64::from(one) - f64::from(other)).powi(2))
                .sum();
            let halves = |bytes: &[i8]| -> Vec<f16> {
                let halves = bytes.iter().map(|&byte| f16::from_f32(byte.into()));
                halves.collect()
            };
            let (one_half, other_half) = (halves(&one), halves(&other));
            for found in [
                squared_distance_i8(&one, &other),
                portable::squared_distance_i8(&one, &other),
                squared_distance_f16(&one_half, &other_half),
                portable::squared_distance_f16(&one_half, &other_half),
            ] {
                let error = (f64::from(found) - expected).abs() / expected.max(1.0);
                // So many sums in 32 bits, one after the other, in the portable functions.
                assert!(error < 1e-4, "{dimension}: {found}, expected {expected}");
            }
        }
    }
}
