//! The two resampling passes for processors with AVX-512 and its instructions for neural networks (VNNI).
//!
//! `vpdpbusd` multiplies 64 pairs of an unsigned and a signed number of 8 bits, adds four neighbours and the sum so
//! far. A pixel is such an unsigned number; a coefficient of 24 bits comes split in three signed ones (see [`Quad`]).
//! Sums may wrap around, for they are put together modulo 2^32, where the whole sum fits.

use std::arch::x86_64::*;

use bytemuck::{bytes_of, pod_read_unaligned};

use super::{CHANNELS, Coefficients, HALF, PRECISION_BITS, Quad, Size, vertical_portable_row};

/// Rows that the horizontal pass works on at once: one in each quarter of a register.
const ROWS: usize = 4;

/// Bytes of one load of the horizontal pass, which uses 12 of them (4 pixels).
const LOAD: usize = 16;

/// Bytes of four pixels.
const STEP: usize = 4 * CHANNELS;

/// Bytes of one row that the vertical pass works on at once.
const PIECE: usize = 64;

/// Proof that the processor has what is needed.
#[derive(Debug, Clone, Copy)]
pub(super) struct Avx512(());

impl Avx512 {
    pub(super) fn detect() -> Option<Self> {
        let found = is_x86_feature_detected!("avx512f")
            && is_x86_feature_detected!("avx512bw")
            && is_x86_feature_detected!("avx512vnni");
        found.then_some(Self(()))
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
        // SAFETY: an `Avx512` exists only where `detect` found the features.
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
        // SAFETY: an `Avx512` exists only where `detect` found the features.
        unsafe {
            vertical_row(rows, row_len, y, out, coefficients)
        }
    }
}

/// The sums of 16 values in three parts; see [`Quad`].
#[derive(Clone, Copy)]
struct Sums {
    high: __m512i,
    middle: __m512i,
    low: __m512i,
}

impl Sums {
    #[target_feature(enable = "avx512f")]
    fn zero() -> Self {
        let zero = _mm512_setzero_si512();
        Self {
            high: zero,
            middle: zero,
            low: zero,
        }
    }

    /// Adds 16 times four values times their coefficients.
    #[target_feature(enable = "avx512f,avx512vnni")]
    fn add(&mut self, values: __m512i, quad: &Quad) {
        self.high = _mm512_dpbusd_epi32(self.high, values, _mm512_set1_epi32(quad.high));
        self.middle = _mm512_dpbusd_epi32(self.middle, values, _mm512_set1_epi32(quad.middle));
        self.low = _mm512_dpbusd_epi32(self.low, values, _mm512_set1_epi32(quad.low));
    }

    #[target_feature(enable = "avx512f")]
    fn plus(self, other: Self) -> Self {
        Self {
            high: _mm512_add_epi32(self.high, other.high),
            middle: _mm512_add_epi32(self.middle, other.middle),
            low: _mm512_add_epi32(self.low, other.low),
        }
    }

    /// The rounded sums, not yet clipped to 8 bits.
    #[target_feature(enable = "avx512f")]
    fn levels(self) -> __m512i {
        let upper = _mm512_add_epi32(_mm512_slli_epi32::<8>(self.high), self.middle);
        let sum = _mm512_add_epi32(_mm512_slli_epi32::<8>(upper), self.low);
        let rounded = _mm512_add_epi32(sum, _mm512_set1_epi32(HALF));
        _mm512_srai_epi32::<PRECISION_BITS>(rounded)
    }
}

// The functions below call no closures where it counts: those are compiled without the processor's features.

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
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
            let pixels = horizontal_pixel(rows, coefficients.runs[x].start, coefficients.quads(x));
            for (y, pixel) in ys.into_iter().zip(pixels) {
                out[y * out_row + x * CHANNELS..][..CHANNELS].copy_from_slice(&pixel[..CHANNELS]);
            }
        }
    }
}

/// One output pixel of four rows, as RGB and a byte without meaning.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn horizontal_pixel(rows: [&[u8]; ROWS], start: usize, quads: &[Quad]) -> [[u8; 4]; ROWS] {
    // Two sums, so that an addition need not wait for the one before.
    let (mut sums, mut others) = (Sums::zero(), Sums::zero());
    let mut at = start * CHANNELS;
    // Four quads at once, so that bounds are checked once for them.
    let (fours, rest) = quads.as_chunks::<4>();
    for four in fours {
        let rows = [
            block(rows[0], at),
            block(rows[1], at),
            block(rows[2], at),
            block(rows[3], at),
        ];
        sums.add(pixels(rows, 0), &four[0]);
        others.add(pixels(rows, STEP), &four[1]);
        sums.add(pixels(rows, 2 * STEP), &four[2]);
        others.add(pixels(rows, 3 * STEP), &four[3]);
        at += 4 * STEP;
    }
    for quad in rest {
        sums.add(pixels(rows, at), quad);
        at += STEP;
    }
    let levels = _mm512_max_epi32(sums.plus(others).levels(), _mm512_setzero_si512());
    bytemuck::cast(_mm512_cvtusepi32_epi8(levels))
}

/// What the loads of four quads reach.
#[target_feature(enable = "avx512f")]
fn block(row: &[u8], at: usize) -> &[u8] {
    &row[at..at + 3 * STEP + LOAD]
}

/// Four neighbouring pixels of each row, from byte `at` on: a row in each quarter of the register, and in that the same
/// channel of all pixels together.
#[target_feature(enable = "avx512f,avx512bw")]
fn pixels(rows: [&[u8]; ROWS], at: usize) -> __m512i {
    let by_channel = _mm512_broadcast_i32x4(_mm_setr_epi8(
        0, 3, 6, 9, 1, 4, 7, 10, 2, 5, 8, 11, -1, -1, -1, -1,
    ));
    let values = _mm512_castsi128_si512(load(rows[0], at));
    let values = _mm512_inserti32x4::<1>(values, load(rows[1], at));
    let values = _mm512_inserti32x4::<2>(values, load(rows[2], at));
    let values = _mm512_inserti32x4::<3>(values, load(rows[3], at));
    _mm512_shuffle_epi8(values, by_channel)
}

#[target_feature(enable = "avx512f")]
fn load(bytes: &[u8], at: usize) -> __m128i {
    pod_read_unaligned(&bytes[at..at + LOAD])
}

#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn vertical_row(
    rows: &[u8],
    row_len: usize,
    y: usize,
    out: &mut [u8],
    coefficients: &Coefficients,
) {
    if out.len() < PIECE {
        return vertical_portable_row(rows, row_len, y, 0, out, coefficients);
    }
    let quads = coefficients.quads(y);
    for at in (0..out.len()).step_by(PIECE) {
        // The last piece moves back to end with the row, and overlaps the one before.
        let at = at.min(out.len() - PIECE);
        let piece = vertical_piece(rows, row_len, at, quads);
        out[at..at + PIECE].copy_from_slice(bytes_of(&piece));
    }
}

#[target_feature(enable = "avx512f")]
fn load_piece(bytes: &[u8], at: usize) -> __m512i {
    pod_read_unaligned(&bytes[at..at + PIECE])
}

/// 64 bytes of one output row, those from byte `at` on.
#[target_feature(enable = "avx512f,avx512bw,avx512vnni")]
fn vertical_piece(rows: &[u8], row_len: usize, at: usize, quads: &[Quad]) -> __m512i {
    // The last row need not be whole.
    let last = (rows.len() - 1) / row_len;
    let mut sums = [Sums::zero(); 4];
    for (step, quad) in quads.iter().enumerate() {
        // Behind the run, coefficients are zero: any row does.
        let row = |row: usize| (4 * step + row).min(last) * row_len + at;
        let first = load_piece(rows, row(0));
        let second = load_piece(rows, row(1));
        let third = load_piece(rows, row(2));
        let fourth = load_piece(rows, row(3));
        let upper = [
            _mm512_unpacklo_epi8(first, second),
            _mm512_unpackhi_epi8(first, second),
        ];
        let lower = [
            _mm512_unpacklo_epi8(third, fourth),
            _mm512_unpackhi_epi8(third, fourth),
        ];
        // In each quarter of a register: columns 0 to 3, then 4 to 7, 8 to 11 and 12 to 15.
        sums[0].add(_mm512_unpacklo_epi16(upper[0], lower[0]), quad);
        sums[1].add(_mm512_unpackhi_epi16(upper[0], lower[0]), quad);
        sums[2].add(_mm512_unpacklo_epi16(upper[1], lower[1]), quad);
        sums[3].add(_mm512_unpackhi_epi16(upper[1], lower[1]), quad);
    }
    let [a, b, c, d] = sums;
    _mm512_packus_epi16(
        _mm512_packs_epi32(a.levels(), b.levels()),
        _mm512_packs_epi32(c.levels(), d.levels()),
    )
}
