//! The products of many rows with many queries: in AVX-512 where the processor has it, else by the crate for that.

use ndarray::linalg::general_mat_mul;
use ndarray::{ArrayView2, ArrayViewMut2};

/// Writes the sums of the products of each row with each query. `rows` are `[n, length]`, `queries` `[m, length]`,
/// `out` `[n, m]`. The order of the sums is any.
///
/// (25,000 rows, 64 queries, one core: 74 ms by the crate, and half of it in AVX-512, which it does not use.)
pub fn products(rows: &[f32], queries: &[f32], length: usize, out: &mut [f32]) {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx512f") {
        #[expect(unsafe_code)]
        // SAFETY: the processor has the feature.
        unsafe {
            avx512::products(rows, queries, length, out);
        }
        return;
    }
    by_the_crate(rows, queries, length, out);
}

fn by_the_crate(rows: &[f32], queries: &[f32], length: usize, out: &mut [f32]) {
    let (n, m) = (rows.len() / length, queries.len() / length);
    let shaped = "rows of one length";
    let rows = ArrayView2::from_shape((n, length), rows).expect(shaped);
    let queries = ArrayView2::from_shape((m, length), queries).expect(shaped);
    let mut out = ArrayViewMut2::from_shape((n, m), out).expect(shaped);
    general_mat_mul(1.0, &rows, &queries.t(), 0.0, &mut out);
}

#[cfg(target_arch = "x86_64")]
mod avx512 {
    use std::arch::x86_64::*;

    /// Rows and queries that are multiplied at once: 24 sums, 6 rows and a query are in 31 of the 32 registers, and each
    /// load serves four or six products.
    const ROWS: usize = 6;
    const QUERIES: usize = 4;
    /// Numbers in a register.
    const LANES: usize = 16;

    /// See [`super::products`].
    #[target_feature(enable = "avx512f")]
    pub fn products(rows: &[f32], queries: &[f32], length: usize, out: &mut [f32]) {
        let m = queries.len() / length;
        let rows = rows.chunks(ROWS * length);
        for (rows, out) in rows.zip(out.chunks_mut(ROWS * m)) {
            if rows.len() == ROWS * length {
                some_rows::<ROWS>(rows, queries, length, out);
            } else {
                let rows = rows.chunks_exact(length);
                for (row, out) in rows.zip(out.chunks_exact_mut(m)) {
                    some_rows::<1>(row, queries, length, out);
                }
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    fn some_rows<const R: usize>(rows: &[f32], queries: &[f32], length: usize, out: &mut [f32]) {
        let m = queries.len() / length;
        let mut first = 0;
        while first < m {
            let queries = &queries[first * length..];
            first += if m - first >= QUERIES {
                tile::<R, QUERIES>(rows, queries, length, &mut out[first..], m);
                QUERIES
            } else {
                tile::<R, 1>(rows, queries, length, &mut out[first..], m);
                1
            };
        }
    }

    /// `R` rows and the first `Q` queries; the products of a row are `stride` behind those of the one before.
    #[target_feature(enable = "avx512f")]
    fn tile<const R: usize, const Q: usize>(
        rows: &[f32],
        queries: &[f32],
        length: usize,
        out: &mut [f32],
        stride: usize,
    ) {
        let mut sums = [[_mm512_setzero_ps(); Q]; R];
        let vectors = length / LANES;
        let rows: [_; R] = std::array::from_fn(|row| rows[row * length..][..length].as_chunks());
        let queries: [_; Q] =
            std::array::from_fn(|query| queries[query * length..][..length].as_chunks());
        for at in 0..vectors {
            let mut row_parts = [_mm512_setzero_ps(); R];
            for row in 0..R {
                row_parts[row] = load(&rows[row].0[at]);
            }
            for query in 0..Q {
                let query_part = load(&queries[query].0[at]);
                for row in 0..R {
                    sums[row][query] =
                        _mm512_fmadd_ps(row_parts[row], query_part, sums[row][query]);
                }
            }
        }
        for row in 0..R {
            for query in 0..Q {
                let rest = rows[row].1.iter().zip(queries[query].1);
                let rest: f32 = rest.map(|(one, other)| one * other).sum();
                out[row * stride + query] = _mm512_reduce_add_ps(sums[row][query]) + rest;
            }
        }
    }

    #[target_feature(enable = "avx512f")]
    #[inline]
    fn load(numbers: &[f32; LANES]) -> __m512 {
        #[expect(unsafe_code)]
        // SAFETY: there are as many numbers as it reads, and it wants them at no special place.
        unsafe {
            _mm512_loadu_ps(numbers.as_ptr())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    #[test]
    fn both_ways_give_the_products_of_every_row_with_every_query() {
        let mut rng = StdRng::seed_from_u64(1);
        for (n, m, length) in [
            (1, 1, 1),
            (7, 3, 15),
            (6, 4, 16),
            (13, 9, 33),
            (256, 64, 100),
        ] {
            let mut random = |count| -> Vec<f32> {
                let numbers = (0..count).map(|_| rng.random_range(-1.0..1.0f32));
                numbers.collect()
            };
            let (rows, queries) = (random(n * length), random(m * length));
            for ways in [products, by_the_crate] {
                let mut out = vec![f32::NAN; n * m];
                ways(&rows, &queries, length, &mut out);
                for (row, out) in rows.chunks(length).zip(out.chunks(m)) {
                    for (query, found) in queries.chunks(length).zip(out) {
                        let expected = row.iter().zip(query);
                        let expected: f64 = expected
                            .map(|(one, other)| f64::from(*one) * f64::from(*other))
                            .sum();
                        let off = (f64::from(*found) - expected).abs();
                        assert!(
                            off < 1e-5,
                            "{n} {m} {length}: {found} instead of {expected}"
                        );
                    }
                }
            }
        }
    }
}
