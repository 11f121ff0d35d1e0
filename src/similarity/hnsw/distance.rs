//! Squares of the distance between two vectors as the index stores them.
//!
//! usearch has functions of its own for every processor. They take 3.4 minutes of a processor to build; these two are what
//! is used of them.

use half::f16;

/// The square of the distance between two vectors of one length.
pub fn between_halves(one: &[f16], other: &[f16]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2")
        && is_x86_feature_detected!("f16c")
        && is_x86_feature_detected!("fma")
    {
        // SAFETY: The processor has what the function needs.
        #[expect(unsafe_code)]
        return unsafe { avx2::between_halves(one, other) };
    }
    between_halves_plain(one, other)
}

/// The square of the distance between two vectors of one length.
pub fn between_bytes(one: &[i8], other: &[i8]) -> f32 {
    #[cfg(target_arch = "x86_64")]
    if is_x86_feature_detected!("avx2") {
        // SAFETY: The processor has what the function needs.
        #[expect(unsafe_code)]
        return unsafe { avx2::between_bytes(one, other) };
    }
    between_bytes_plain(one, other)
}

fn between_halves_plain(one: &[f16], other: &[f16]) -> f32 {
    let differences = one.iter().zip(other);
    differences
        .map(|(one, other)| (one.to_f32() - other.to_f32()).powi(2))
        .sum()
}

#[inline(always)]
fn between_bytes_plain(one: &[i8], other: &[i8]) -> f32 {
    // A difference has at most 8 bits and a sign, so that a sum of so many squares fits 32 bits.
    let pieces = one.chunks(1 << 14).zip(other.chunks(1 << 14));
    let sums = pieces.map(|(one, other)| {
        let differences = one.iter().zip(other);
        let squares = differences.map(|(&one, &other)| (i32::from(one) - i32::from(other)).pow(2));
        squares.sum::<i32>() as f32
    });
    sums.sum()
}

#[cfg(target_arch = "x86_64")]
mod avx2 {
    use std::arch::x86_64::*;

    use half::f16;

    /// Numbers in a register.
    const LANES: usize = 8;

    #[target_feature(enable = "avx2,f16c,fma")]
    pub fn between_halves(one: &[f16], other: &[f16]) -> f32 {
        // Sums that do not wait for each other.
        let mut sums = [_mm256_setzero_ps(); 4];
        let pieces = one.chunks_exact(LANES).zip(other.chunks_exact(LANES));
        for (index, (one, other)) in pieces.enumerate() {
            let difference = _mm256_sub_ps(floats(one), floats(other));
            let sum = &mut sums[index % 4];
            *sum = _mm256_fmadd_ps(difference, difference, *sum);
        }
        let whole = one.len() / LANES * LANES;
        let rest = super::between_halves_plain(&one[whole..], &other[whole..]);
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

    /// The compiler turns the plain function into vector instructions here.
    #[target_feature(enable = "avx2")]
    pub fn between_bytes(one: &[i8], other: &[i8]) -> f32 {
        super::between_bytes_plain(one, other)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_ways_give_the_same() {
        for length in [1, 7, 8, 31, 1280, 20_001] {
            let one: Vec<i8> = (0..length).map(|index| (index * 37 % 255) as i8).collect();
            let other: Vec<i8> = (0..length).map(|index| (index * 91 % 253) as i8).collect();
            let expected: f64 = (one.iter().zip(&other))
                .map(|(&one, &other)| (f64::from(one) - f64::from(other)).powi(2))
                .sum();
            let halves = |bytes: &[i8]| -> Vec<f16> {
                bytes
                    .iter()
                    .map(|&byte| f16::from_f32(byte.into()))
                    .collect()
            };
            let (one_half, other_half) = (halves(&one), halves(&other));
            for found in [
                between_bytes(&one, &other),
                between_bytes_plain(&one, &other),
                between_halves(&one_half, &other_half),
                between_halves_plain(&one_half, &other_half),
            ] {
                let error = (f64::from(found) - expected).abs() / expected.max(1.0);
                // So many sums in 32 bits, one after the other, in the plain functions.
                assert!(error < 1e-4, "{length}: {found}, expected {expected}");
            }
        }
    }
}
