//! In AVX2. A function that only calls the portable one compiles it for these instructions.

use std::arch::x86_64::*;

use half::f16;

use super::{ByteProducts, Term, portable};

/// Numbers in a register.
const LANES: usize = 8;

/// See [`super::sum`].
#[target_feature(enable = "avx2")]
pub fn sum<T: Term>(one: &[f32], other: &[f32], term: impl Fn(f32, f32) -> T) -> f64 {
    portable::sum(one, other, term)
}

/// See [`super::byte_products`]; `None` where there is no AVX2.
pub fn byte_products(queries: &[i8], dimension: usize) -> Option<ByteProducts<'_>> {
    if !is_x86_feature_detected!("avx2") {
        return None;
    }
    Some(Box::new(move |rows, out| {
        // SAFETY: The processor has what the function needs.
        #[expect(unsafe_code)]
        unsafe {
            multiply_bytes(rows, queries, dimension, out);
        }
    }))
}

#[target_feature(enable = "avx2")]
fn multiply_bytes(rows: &[i8], queries: &[i8], dimension: usize, out: &mut [i32]) {
    portable::multiply_bytes(rows, queries, dimension, out);
}

/// See [`super::squared_distance_i8`].
#[target_feature(enable = "avx2")]
pub fn squared_distance_i8(one: &[i8], other: &[i8]) -> f32 {
    portable::squared_distance_i8(one, other)
}

/// See [`super::squared_distance_f16`].
#[target_feature(enable = "avx2,f16c,fma")]
pub fn squared_distance_f16(one: &[f16], other: &[f16]) -> f32 {
    // Sums that do not wait for each other.
    let mut sums = [_mm256_setzero_ps(); 4];
    let pieces = one.chunks_exact(LANES).zip(other.chunks_exact(LANES));
    for (index, (one, other)) in pieces.enumerate() {
        let difference = _mm256_sub_ps(floats(one), floats(other));
        let sum = &mut sums[index % 4];
        *sum = _mm256_fmadd_ps(difference, difference, *sum);
    }
    let whole = one.len() / LANES * LANES;
    let rest = portable::squared_distance_f16(&one[whole..], &other[whole..]);
    let sum = _mm256_add_ps(
        _mm256_add_ps(sums[0], sums[1]),
        _mm256_add_ps(sums[2], sums[3]),
    );
    let mut lanes = [0f32; LANES];
    // SAFETY: The array has room for the register.
    #[expect(unsafe_code)]
    unsafe {
        _mm256_storeu_ps(lanes.as_mut_ptr(), sum);
    }
    lanes.iter().sum::<f32>() + rest
}

#[target_feature(enable = "avx2,f16c")]
fn floats(halves: &[f16]) -> __m256 {
    assert_eq!(halves.len(), LANES);
    // SAFETY: There are as many numbers as the register takes, of two bytes each.
    #[expect(unsafe_code)]
    let halves = unsafe { _mm_loadu_si128(halves.as_ptr().cast()) };
    _mm256_cvtph_ps(halves)
}
