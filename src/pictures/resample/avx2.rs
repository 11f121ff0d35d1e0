//! The two resampling passes for processors with AVX2.
//!
//! A pixel is 8 bits and a coefficient 24, which AVX2 multiplies slowly (`vpmulld` takes two steps). So coefficients
//! come split in two (see [`Pair`]) and go through `vpmaddwd`, which multiplies 16 pairs of 16-bit numbers and adds
//! neighbours at once; `high * 256 + low` puts the exact sum together again.

use std::arch::x86_64::*;

use bytemuck::{bytes_of, pod_read_unaligned};

use super::{CHANNELS, Coefficients, HALF, PRECISION_BITS, Pair, Size, vertical_portable_row};

/// Rows that the horizontal pass works on at once, so that they share the loading of coefficients.
const ROWS: usize = 4;

/// Bytes of one load. The horizontal pass uses 12 of them (4 pixels).
const LOAD: usize = 16;

/// Proof that the processor has AVX2.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx2(());

impl Avx2 {
    pub(super) fn detect() -> Option<Self> {
        is_x86_feature_detected!("avx2").then_some(Self(()))
    }

    pub(super) fn horizontal(
        self,
        source: &[u8],
        from: Size,
        out: &mut [u8],
        coefficients: &Coefficients,
    ) {
        #[allow(
            unsafe_code,
            reason = "the only way to enter code for a processor feature"
        )]
        // SAFETY: an `Avx2` exists only where `detect` found the feature.
        unsafe {
            horizontal(source, from, out, coefficients)
        }
    }

    pub(super) fn vertical_row(
        self,
        rows: &[u8],
        row_len: usize,
        y: usize,
        out: &mut [u8],
        coefficients: &Coefficients,
    ) {
        #[allow(
            unsafe_code,
            reason = "the only way to enter code for a processor feature"
        )]
        // SAFETY: an `Avx2` exists only where `detect` found the feature.
        unsafe {
            vertical_row(rows, row_len, y, out, coefficients)
        }
    }
}

/// High and low sums of 8 values; see [`Pair`].
#[derive(Clone, Copy)]
struct Sums {
    high: __m256i,
    low: __m256i,
}

impl Sums {
    #[target_feature(enable = "avx2")]
    fn zero() -> Self {
        Self {
            high: _mm256_setzero_si256(),
            low: _mm256_setzero_si256(),
        }
    }

    /// Adds 8 times two 16-bit values times their coefficients.
    #[target_feature(enable = "avx2")]
    fn add(&mut self, values: __m256i, high: __m256i, low: __m256i) {
        self.high = _mm256_add_epi32(self.high, _mm256_madd_epi16(values, high));
        self.low = _mm256_add_epi32(self.low, _mm256_madd_epi16(values, low));
    }

    /// The rounded sums, not yet clipped to 8 bits.
    #[target_feature(enable = "avx2")]
    fn levels(self) -> __m256i {
        let sum = _mm256_add_epi32(_mm256_slli_epi32::<8>(self.high), self.low);
        let rounded = _mm256_add_epi32(sum, _mm256_set1_epi32(HALF));
        _mm256_srai_epi32::<{ PRECISION_BITS as i32 }>(rounded)
    }
}

#[target_feature(enable = "avx2")]
fn load(bytes: &[u8], at: usize) -> __m128i {
    pod_read_unaligned(&bytes[at..at + LOAD])
}

#[target_feature(enable = "avx2")]
fn broadcast(pair: Pair) -> (__m256i, __m256i) {
    (_mm256_set1_epi32(pair.high), _mm256_set1_epi32(pair.low))
}

#[target_feature(enable = "avx2")]
fn horizontal(source: &[u8], from: Size, out: &mut [u8], coefficients: &Coefficients) {
    let from_row = from.width * CHANNELS;
    let out_row = coefficients.runs.len() * CHANNELS;
    let mut last_rows = Vec::new();
    for first in (0..from.height).step_by(ROWS) {
        // Past the last row it is that row again, which writes the same result twice.
        let ys: [usize; ROWS] = std::array::from_fn(|row| (first + row).min(from.height - 1));
        let begin = first * from_row;
        let count = ys[ROWS - 1] + 1 - first;
        // Coefficients come in fours, so that loads reach up to 3 pixels and 4 bytes past the row's end: there the
        // coefficients are zero, but behind the last rows there must be something to load.
        let rows = if begin + count * from_row + LOAD <= source.len() {
            &source[begin..begin + count * from_row + LOAD]
        } else {
            last_rows.clear();
            last_rows.extend_from_slice(&source[begin..begin + count * from_row]);
            last_rows.resize(last_rows.len() + LOAD, 0);
            &last_rows
        };
        let rows: [&[u8]; ROWS] =
            std::array::from_fn(|row| &rows[(ys[row] - first) * from_row..][..from_row + LOAD]);
        for x in 0..coefficients.runs.len() {
            let pixels =
                horizontal_pixel(rows, coefficients.runs[x].start, coefficients.pairs(x, 2));
            for (y, pixel) in ys.into_iter().zip(pixels) {
                out[y * out_row + x * CHANNELS..][..CHANNELS].copy_from_slice(&pixel[..CHANNELS]);
            }
        }
    }
}

/// One output pixel of four rows, as RGB and a byte without meaning.
#[target_feature(enable = "avx2")]
fn horizontal_pixel(rows: [&[u8]; ROWS], start: usize, pairs: &[Pair]) -> [[u8; 4]; ROWS] {
    // Bring the same channel of two neighbouring pixels together as 16-bit numbers: r0 r1 g0 g1 b0 b1 0 0, in both
    // halves of the register, for each half holds a row.
    let (first_two, last_two) = (
        _mm256_broadcastsi128_si256(_mm_setr_epi8(
            0, -1, 3, -1, 1, -1, 4, -1, 2, -1, 5, -1, -1, -1, -1, -1,
        )),
        _mm256_broadcastsi128_si256(_mm_setr_epi8(
            6, -1, 9, -1, 7, -1, 10, -1, 8, -1, 11, -1, -1, -1, -1, -1,
        )),
    );
    let mut upper = Sums::zero();
    let mut lower = Sums::zero();
    for (step, pairs) in pairs.chunks_exact(2).enumerate() {
        let at = (start + 4 * step) * CHANNELS;
        let above = _mm256_set_m128i(load(rows[1], at), load(rows[0], at));
        let below = _mm256_set_m128i(load(rows[3], at), load(rows[2], at));
        let (high, low) = broadcast(pairs[0]);
        upper.add(_mm256_shuffle_epi8(above, first_two), high, low);
        lower.add(_mm256_shuffle_epi8(below, first_two), high, low);
        let (high, low) = broadcast(pairs[1]);
        upper.add(_mm256_shuffle_epi8(above, last_two), high, low);
        lower.add(_mm256_shuffle_epi8(below, last_two), high, low);
    }
    let words = _mm256_packs_epi32(upper.levels(), lower.levels());
    let bytes = _mm256_packus_epi16(words, words);
    // Rows 0 and 2 are in the lower half, 1 and 3 in the upper one.
    [
        _mm256_extract_epi32::<0>(bytes).to_le_bytes(),
        _mm256_extract_epi32::<4>(bytes).to_le_bytes(),
        _mm256_extract_epi32::<1>(bytes).to_le_bytes(),
        _mm256_extract_epi32::<5>(bytes).to_le_bytes(),
    ]
}

#[target_feature(enable = "avx2")]
fn vertical_row(
    rows: &[u8],
    row_len: usize,
    y: usize,
    out: &mut [u8],
    coefficients: &Coefficients,
) {
    if out.len() < LOAD {
        return vertical_portable_row(rows, row_len, y, 0, out, coefficients);
    }
    let pairs = coefficients.pairs(y, 1);
    for at in (0..out.len()).step_by(LOAD) {
        // The last piece moves back to end with the row, and overlaps the one before.
        let at = at.min(out.len() - LOAD);
        let piece = vertical_piece(rows, row_len, at, pairs);
        out[at..at + LOAD].copy_from_slice(bytes_of(&piece));
    }
}

/// 16 bytes of one output row, those from byte `at` on.
#[target_feature(enable = "avx2")]
fn vertical_piece(rows: &[u8], row_len: usize, at: usize, pairs: &[Pair]) -> __m128i {
    let mut left = Sums::zero();
    let mut right = Sums::zero();
    for (step, &pair) in pairs.iter().enumerate() {
        let first_at = 2 * step * row_len + at;
        let first = load(rows, first_at);
        // A run of odd length ends in half a pair, whose other coefficient is zero: any row does.
        let second_at = if first_at + row_len < rows.len() {
            first_at + row_len
        } else {
            first_at
        };
        let second = load(rows, second_at);
        let (high, low) = broadcast(pair);
        left.add(
            _mm256_cvtepu8_epi16(_mm_unpacklo_epi8(first, second)),
            high,
            low,
        );
        right.add(
            _mm256_cvtepu8_epi16(_mm_unpackhi_epi8(first, second)),
            high,
            low,
        );
    }
    // Packing works in halves of the register and leaves them crosswise: l0-3 r0-3 l4-7 r4-7.
    let words = _mm256_packs_epi32(left.levels(), right.levels());
    let words = _mm256_permute4x64_epi64::<0b11_01_10_00>(words);
    _mm_packus_epi16(
        _mm256_castsi256_si128(words),
        _mm256_extracti128_si256::<1>(words),
    )
}
