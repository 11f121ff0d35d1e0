//! The products of many rows with many queries: in AMX or AVX-512 where the processor has it, else by the crate `ndarray`.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

use super::scan::metric::Norms;

#[cfg(target_arch = "x86_64")]
mod amx;
#[cfg(target_arch = "x86_64")]
mod avx512;

/// `(rows, out, squares)`: writes the sums of the products of each row with each query to `out`, and those of each row with
/// itself to `squares`. `rows` are `[n, length]`, `out` `[n, queries]`, `squares` `[n]`. The order of the sums is any.
pub type Products<'a> = Box<dyn Fn(&[f32], &mut [f32], &mut [f32]) + Sync + 'a>;

/// How far a product may be off beside the rounding of sums in 32 bits, as a part of the product of both lengths: what AMX
/// cuts off.
pub const MOST_LOST: f64 = 1.0 / 16_384.0;

/// Products with `queries`, `[n, length]`, in the way that is fastest on this processor.
///
/// (100,000 rows of 1280 and 64 queries on two cores: 44 ms in AMX, 82 in AVX-512, and 150 by the crate, which knows neither.)
pub fn fastest(queries: &[f32], length: usize) -> Products<'_> {
    #[cfg(target_arch = "x86_64")]
    if let Some(products) = in_amx(queries, length).or_else(|| in_avx512(queries, length)) {
        return products;
    }
    by_the_crate(queries, length)
}

/// What this program has code for and this processor has: some of `AVX2`, `AVX-512` and `AMX`.
pub fn simd() -> Vec<&'static str> {
    #[cfg(target_arch = "x86_64")]
    let known = [
        ("AVX2", is_x86_feature_detected!("avx2")),
        ("AVX-512", is_x86_feature_detected!("avx512f")),
        ("AMX", amx::is_there()),
    ];
    #[cfg(not(target_arch = "x86_64"))]
    let known: [(&str, bool); 0] = [];
    let here = known.into_iter().filter(|(_, is_here)| *is_here);
    here.map(|(name, _)| name).collect()
}

#[cfg(target_arch = "x86_64")]
fn in_amx(queries: &[f32], length: usize) -> Option<Products<'static>> {
    let queries = amx::Queries::new(queries, length)?;
    Some(Box::new(move |rows, out, squares| {
        queries.products(rows, out, squares);
    }))
}

#[cfg(target_arch = "x86_64")]
fn in_avx512(queries: &[f32], length: usize) -> Option<Products<'static>> {
    let queries = avx512::Queries::new(queries, length)?;
    Some(Box::new(move |rows, out, squares| {
        queries.products(rows, out, squares);
    }))
}

/// On any processor.
pub fn by_the_crate(queries: &[f32], length: usize) -> Products<'_> {
    let shaped = "rows of one length";
    let queries = ArrayView2::from_shape((queries.len() / length, length), queries).expect(shaped);
    Box::new(move |rows, out, squares| {
        for (square, row) in squares.iter_mut().zip(rows.chunks_exact(length)) {
            *square = Norms::of(row).squares() as f32;
        }
        let (n, m) = (rows.len() / length, queries.nrows());
        let rows = ArrayView2::from_shape((n, length), rows).expect(shaped);
        let mut out = ArrayViewMut2::from_shape((n, m), out).expect(shaped);
        general_mat_mul(1.0, &rows, &queries.t(), 0.0, &mut out);
    })
}

/// Every way that this processor has.
#[cfg(test)]
pub fn all_ways(queries: &[f32], length: usize) -> Vec<(&'static str, Products<'_>)> {
    let ways = [
        ("crate", Some(by_the_crate(queries, length))),
        #[cfg(target_arch = "x86_64")]
        ("AVX-512", in_avx512(queries, length)),
        #[cfg(target_arch = "x86_64")]
        ("AMX", in_amx(queries, length)),
    ];
    let here = ways.into_iter();
    let here = here.filter_map(|(name, products)| products.map(|products| (name, products)));
    here.collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::similarity::scan::metric::product_error;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn every_way_gives_the_products_of_every_row_with_every_query() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut magnitudes = [1.0, 1e-15, 1e15, -1e-3].into_iter().cycle();
        for (n, m, length) in [
            (1, 1, 1),
            (7, 3, 15),
            (6, 4, 16),
            (64, 16, 32),
            (13, 9, 33),
            (130, 17, 70),
            (256, 64, 100),
            (7, 5, 645),
            (13, 6, 1300),
        ] {
            let mut random = |count| -> Vec<f32> {
                let numbers = (0..count).map(|_| rng.random_range(-1.0..1.0f32));
                numbers.collect()
            };
            let (mut rows, queries) = (random(n * length), random(m * length));
            for row in rows.chunks_mut(length) {
                let magnitude = magnitudes.next().expect("no end");
                row.iter_mut().for_each(|number| *number *= magnitude);
            }
            for (way, products) in all_ways(&queries, length) {
                let (mut out, mut squares) = (vec![f32::NAN; n * m], vec![f32::NAN; n]);
                products(&rows, &mut out, &mut squares);
                for ((row, square), out) in (rows.chunks(length).zip(&squares)).zip(out.chunks(m)) {
                    let expected = product(row, row);
                    assert!((f64::from(*square) - expected).abs() < 1e-5 * expected);
                    for (query, found) in queries.chunks(length).zip(out) {
                        let expected = product(row, query);
                        let lengths = (product(row, row) * product(query, query)).sqrt();
                        let off = (f64::from(*found) - expected).abs();
                        assert!(
                            off <= lengths * product_error(length),
                            "{way} {n} {m} {length}: {found} instead of {expected}"
                        );
                    }
                }
            }
        }
    }

    fn product(one: &[f32], other: &[f32]) -> f64 {
        let products = one.iter().zip(other);
        let products = products.map(|(one, other)| f64::from(*one) * f64::from(*other));
        products.sum()
    }
}
