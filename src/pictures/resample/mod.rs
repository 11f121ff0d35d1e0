//! Changes the size of an RGB picture exactly as Pillow does, or torchvision.
//!
//! With antialiasing, bicubic if not told otherwise, in two passes, one per axis, with 8-bit pixels between them. Every
//! output pixel is the rounded sum of a run of source pixels times coefficients in fixed point, so the arithmetic is
//! all in integers and its result does not depend on the order of the sums: the versions for AVX-512 and AVX2 and the
//! portable one agree to the bit with each other and with `ImagingResample` in Pillow (`src/libImaging/Resample.c`).
//! The order of the passes does show in the result, and [`Resampling`] says whose it is. torchvision has the same sums,
//! and coarser coefficients.

#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
mod avx512;
mod row_resampler;

pub(super) use row_resampler::RowResampler;

use serde::{Deserialize, Serialize};

use super::size::{CHANNELS, Size};

/// Fractional bits of a coefficient: Pillow's `PRECISION_BITS`, which leaves 8 bits for the result and 2 for sums
/// outside of `0..=255` (the filter has negative lobes) in an `i32`.
pub(super) const PRECISION_BITS: u32 = 32 - 8 - 2;

/// Half of one output level, so that the final shift rounds.
pub(super) const HALF: i32 = 1 << (PRECISION_BITS - 1);

/// Pillow's `a` of the bicubic filter (Keys' convolution kernel).
const BICUBIC_A: f64 = -0.5;

/// What weighs the source pixels of an output pixel, by their distance: Pillow's filters.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Filter {
    /// The pixel that is nearest; nothing is weighed.
    Nearest,
    /// A triangle.
    Bilinear,
    /// Keys' cubic.
    #[default]
    Bicubic,
    /// A windowed sinc.
    Lanczos,
}

impl Filter {
    /// The name in recipes and configurations.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nearest => "nearest",
            Self::Bilinear => "bilinear",
            Self::Bicubic => "bicubic",
            Self::Lanczos => "lanczos",
        }
    }

    /// The filter is zero from this distance on, in units of its scale.
    fn support(self) -> f64 {
        match self {
            Self::Nearest => 0.0,
            Self::Bilinear => 1.0,
            Self::Bicubic => 2.0,
            Self::Lanczos => 3.0,
        }
    }

    fn weight(self, x: f64) -> f64 {
        match self {
            Self::Nearest => 1.0,
            Self::Bilinear => (1.0 - x.abs()).max(0.0),
            Self::Bicubic => bicubic(x),
            Self::Lanczos if (-3.0..3.0).contains(&x) => sinc(x) * sinc(x / 3.0),
            Self::Lanczos => 0.0,
        }
    }
}

/// Whose pixels a change of size gives. There are only 8 bits between the two passes, so that their order shows: in one
/// of nine photographs at 224 x 224, by up to 12 levels.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum Resampling {
    /// Pillow 12.3.0: the horizontal pass first, except where the picture is more than 100 times as high as wide and
    /// gets lower. Pillow 9.5.0 to 12.1.1 do the same without that exception.
    Pillow12,
    /// Pillow 13.0.0: the vertical pass first where it throws away clearly more (its pull request 9549).
    #[default]
    Pillow13,
    /// torchvision 0.29 with PyTorch 2.15, on bytes on the CPU, antialiased: the horizontal pass first, and
    /// coefficients of 16 bits (`upsample_avx_bilinear_bicubic_uint8` in its `UpSampleKernelAVXAntialias.h`).
    Torchvision,
}

impl Resampling {
    /// All of them.
    pub const ALL: [Self; 3] = [Self::Pillow12, Self::Pillow13, Self::Torchvision];

    /// What recipes call it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Pillow12 => "Pillow 12",
            Self::Pillow13 => "Pillow 13",
            Self::Torchvision => "torchvision",
        }
    }

    /// For Pillow 13 this was found by comparing both orders with the 13.0.0 wheel on random sizes, many of them next
    /// to the boundary; for 12 it is what `Image.resize` says.
    fn starts_vertically(self, from: Size, to: Size) -> bool {
        let gone = |from: usize, to: usize| from as i64 - to as i64;
        let clearly_more = match self {
            Self::Pillow12 => from.height > from.width * 100,
            Self::Pillow13 => gone(from.height, to.height) > 2 * gone(from.width, to.width),
            Self::Torchvision => false,
        };
        from.height > to.height && clearly_more
    }

    /// The size between the two passes, where of the new size `to` only a part of size `part` is made.
    pub(super) fn middle(self, from: Size, to: Size, part: Size) -> Size {
        match self.starts_vertically(from, to) {
            true => Size {
                width: from.width,
                height: part.height,
            },
            false => Size {
                width: part.width,
                height: from.height,
            },
        }
    }
}

/// Changes the size of pictures; keeps its buffers from one picture to the next.
#[derive(Debug)]
pub struct Resampler {
    resampling: Resampling,
    kernel: Kernel,
    coefficients: Coefficients,
    /// What the first pass gives.
    between: Vec<u8>,
    /// Rows of a picture that comes in rows.
    rows: Vec<u8>,
}

impl Resampler {
    /// A resampler that uses AVX2 where the processor has it.
    pub fn new(resampling: Resampling) -> Self {
        Self::with_filter(resampling, Filter::default())
    }

    /// The same with another filter than the bicubic one.
    pub fn with_filter(resampling: Resampling, filter: Filter) -> Self {
        let mut resampler = Self::with_kernel(resampling, Kernel::detect());
        resampler.coefficients.filter = filter;
        resampler
    }

    /// A resampler that uses no more than what every processor has: for tests and benchmarks, the result is the same.
    pub fn portable(resampling: Resampling) -> Self {
        Self::with_kernel(resampling, Kernel::Portable)
    }

    fn with_kernel(resampling: Resampling, kernel: Kernel) -> Self {
        Self {
            resampling,
            kernel,
            coefficients: Coefficients {
                are_short: resampling == Resampling::Torchvision,
                ..Coefficients::default()
            },
            between: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The bytes in its buffers.
    pub(super) fn capacity(&self) -> usize {
        self.between.capacity() + self.rows.capacity()
    }

    /// Resamples `source` `[from.height, from.width, 3]` into `out` `[to.height, to.width, 3]`, both RGB, 0 to 255.
    ///
    /// # Panics
    ///
    /// When a slice has not the length of its size, or a side is zero.
    pub fn resample(&mut self, source: &[u8], from: Size, out: &mut [u8], to: Size) {
        self.resample_part(source, from, out, to, to, [0, 0]);
    }

    /// Resamples `source` to the size `whole`, of which only a part of size `part` is made: that whose upper left pixel
    /// is at `corner`, `[x, y]`. `out` is `[part.height, part.width, 3]`.
    ///
    /// # Panics
    ///
    /// When a slice has not the length of its size, a side is zero, or the part is not in the whole.
    pub fn resample_part(
        &mut self,
        source: &[u8],
        from: Size,
        out: &mut [u8],
        whole: Size,
        part: Size,
        corner: [usize; 2],
    ) {
        assert_eq!(source.len(), from.rgb_len(), "source is not {from:?}");
        assert_eq!(out.len(), part.rgb_len(), "output is not {part:?}");
        assert!(
            !source.is_empty() && !out.is_empty(),
            "a picture has at least one pixel"
        );
        let across = Axis::new(from.width, whole.width, corner[0], part.width);
        let down = Axis::new(from.height, whole.height, corner[1], part.height);
        if across.is_identity() && down.is_identity() {
            out.copy_from_slice(source);
        } else if across.is_identity() {
            self.vertical(source, from, out, down);
        } else if down.is_identity() {
            self.horizontal(source, from, out, across);
        } else {
            let mut between = std::mem::take(&mut self.between);
            let middle = self.resampling.middle(from, whole, part);
            between.resize(middle.rgb_len(), 0);
            if self.resampling.starts_vertically(from, whole) {
                self.vertical(source, from, &mut between, down);
                self.horizontal(&between, middle, out, across);
            } else {
                self.horizontal(source, from, &mut between, across);
                self.vertical(&between, middle, out, down);
            }
            self.between = between;
        }
    }

    fn horizontal(&mut self, source: &[u8], from: Size, out: &mut [u8], axis: Axis) {
        self.coefficients.compute_part(axis);
        (self.kernel).horizontal(source, from, out, &self.coefficients);
    }

    fn vertical(&mut self, source: &[u8], from: Size, out: &mut [u8], axis: Axis) {
        self.coefficients.compute_part(axis);
        let row_len = from.width * CHANNELS;
        for (y, out) in out.chunks_exact_mut(row_len).enumerate() {
            let Run { start, len } = self.coefficients.runs[y];
            let rows = &source[start * row_len..][..len * row_len];
            (self.kernel).vertical_row(rows, y, out, &self.coefficients);
        }
    }
}

#[derive(Debug, Clone, Copy)]
enum Kernel {
    Portable,
    #[cfg(target_arch = "x86_64")]
    Avx2(avx2::Avx2),
    #[cfg(target_arch = "x86_64")]
    Avx512(avx512::Avx512),
}

impl Kernel {
    fn detect() -> Self {
        #[cfg(target_arch = "x86_64")]
        if let Some(avx512) = avx512::Avx512::detect() {
            return Self::Avx512(avx512);
        } else if let Some(avx2) = avx2::Avx2::detect() {
            return Self::Avx2(avx2);
        }
        Self::Portable
    }

    /// `from.height` rows of `source`, each to as many pixels as there are runs. Behind the rows there may be more
    /// bytes.
    fn horizontal(self, source: &[u8], from: Size, out: &mut [u8], coefficients: &Coefficients) {
        match self {
            Self::Portable => horizontal_portable(source, from, out, coefficients),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.horizontal(source, from, out, coefficients),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(avx512) => avx512.horizontal(source, from, out, coefficients),
        }
    }

    /// The rows of run `y` to one row.
    fn vertical_row(self, rows: &[u8], y: usize, out: &mut [u8], coefficients: &Coefficients) {
        match self {
            Self::Portable => vertical_portable_row(rows, y, 0, out, coefficients),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.vertical_row(rows, y, out, coefficients),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(avx512) => avx512.vertical_row(rows, y, out, coefficients),
        }
    }
}

/// What becomes of the positions of one axis.
#[derive(Debug, Clone, Copy)]
struct Axis {
    from: usize,
    /// All positions that there would be.
    whole: usize,
    /// The first one that is made.
    first: usize,
    /// How many are made.
    count: usize,
}

impl Axis {
    fn new(from: usize, whole: usize, first: usize, count: usize) -> Self {
        assert!(first + count <= whole, "a part of the whole");
        Self {
            from,
            whole,
            first,
            count,
        }
    }

    /// All positions of the new length.
    fn all(from: usize, to: usize) -> Self {
        Self::new(from, to, 0, to)
    }

    fn is_identity(&self) -> bool {
        self.from == self.whole && self.count == self.whole
    }
}

/// What one axis needs: for every output position, where its run of source positions starts and their coefficients.
#[derive(Debug, Default)]
pub(super) struct Coefficients {
    /// The runs, one per output position.
    pub(super) runs: Vec<Run>,
    /// `[runs, stride]` coefficients with [`PRECISION_BITS`] fractional bits, zero behind a run's end.
    fixed: Vec<i32>,
    /// `[runs, stride / 2]`: the same coefficients two by two, split for 16-bit multiplications.
    pairs: Vec<Pair>,
    /// `[runs, stride / 4]`: the same coefficients four by four, split for 8-bit multiplications.
    quads: Vec<Quad>,
    /// Room for one run's coefficients, a multiple of 4.
    stride: usize,
    filter: Filter,
    /// Whether coefficients have 16 bits, as torchvision's.
    are_short: bool,
    weights: Vec<f64>,
}

/// A run of source positions.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Run {
    pub(super) start: usize,
    pub(super) len: usize,
}

/// Two neighbouring coefficients, each split into `high * 256 + low` with a signed high and an unsigned low part; the
/// first coefficient is in the lower 16 bits.
///
/// High parts fit 16 bits as long as coefficients are below 2 in absolute value; the filter is at most 1, and half of
/// its positive lobe always falls on the picture, so normalised coefficients stay below 1.3.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) high: i32,
    pub(super) low: i32,
}

impl Pair {
    fn new(first: i32, second: i32) -> Self {
        let pack = |first: i32, second: i32| (first & 0xffff) | (second << 16);
        Self {
            high: pack(first >> 8, second >> 8),
            low: pack(first & 0xff, second & 0xff),
        }
    }
}

/// Four neighbouring coefficients, each split into `high * 65536 + middle * 256 + low` with signed parts of 8 bits; the
/// first coefficient is in the lowest bits.
///
/// High parts fit 8 bits as long as coefficients are below 31 in absolute value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Quad {
    pub(super) high: i32,
    pub(super) middle: i32,
    pub(super) low: i32,
}

impl Quad {
    fn new(coefficients: [i32; 4]) -> Self {
        let mut parts = [[0; 4]; 3];
        for (index, coefficient) in coefficients.into_iter().enumerate() {
            let low = coefficient as i8;
            let rest = (coefficient - i32::from(low)) >> 8;
            let middle = rest as i8;
            let high = (rest - i32::from(middle)) >> 8;
            for (part, value) in parts.iter_mut().zip([high as i8, middle, low]) {
                part[index] = value as u8;
            }
        }
        let [high, middle, low] = parts.map(i32::from_le_bytes);
        Self { high, middle, low }
    }
}

impl Coefficients {
    /// How many source positions the longest run has.
    fn longest_run(&self, from: usize, to: usize) -> usize {
        let support = self.filter.support() * (from as f64 / to as f64).max(1.0);
        (support.ceil() as usize * 2 + 1).min(from)
    }

    /// Fills in the coefficients of all positions.
    pub(super) fn compute(&mut self, from: usize, to: usize) {
        self.compute_part(Axis::all(from, to));
    }

    /// Fills in the coefficients that take `from` positions to `to`, in the order of operations of Pillow's
    /// `precompute_coeffs`, which the last bit of a coefficient can depend on.
    fn compute_part(&mut self, axis: Axis) {
        let Axis {
            from,
            whole,
            first,
            count,
        } = axis;
        let filter = self.filter;
        let scale = from as f64 / whole as f64;
        // A filter narrower than one pixel would leave pixels out: it grows when shrinking, never shrinks.
        let filter_scale = scale.max(1.0);
        self.stride = self.longest_run(from, whole).next_multiple_of(4);
        self.runs.clear();
        self.fixed.clear();
        self.pairs.clear();
        self.quads.clear();
        self.fixed.reserve(count * self.stride);
        self.pairs.reserve(count * self.stride / 2);
        self.quads.reserve(count * self.stride / 4);
        let bits = match self.are_short {
            true => self.short_bits(from, whole),
            false => PRECISION_BITS,
        };
        // Pillow looks the nearest pixel up elsewhere (`Geometry.c`), where it adds up the positions.
        let mut nearest = scale * 0.5;
        if filter == Filter::Nearest {
            (0..first).for_each(|_| nearest += scale);
        }
        for position in first..first + count {
            let center = match filter {
                Filter::Nearest => nearest,
                _ => (position as f64 + 0.5) * scale,
            };
            nearest += scale;
            let (start, end) = match filter {
                Filter::Nearest => {
                    let start = (center as usize).min(from - 1);
                    self.weights.clear();
                    self.weights.push(filter.weight(0.0));
                    (start, start + 1)
                }
                _ => self.weigh(center, filter_scale, from),
            };
            let sum: f64 = self.weights.iter().sum();
            let first = self.fixed.len();
            self.fixed
                .extend((self.weights.iter()).map(|weight| fixed_point(weight / sum, bits)));
            self.fixed.resize(first + self.stride, 0);
            self.pairs.extend(
                self.fixed[first..]
                    .chunks_exact(2)
                    .map(|two| Pair::new(two[0], two[1])),
            );
            let (fours, _) = self.fixed[first..].as_chunks();
            self.quads.extend(fours.iter().copied().map(Quad::new));
            self.runs.push(Run {
                start,
                len: end - start,
            });
        }
    }

    /// Makes `weights` those around `center`, before they are divided by their sum; gives where they begin and end.
    fn weigh(&mut self, center: f64, filter_scale: f64, from: usize) -> (usize, usize) {
        let support = self.filter.support() * filter_scale;
        // The casts saturate at zero, where Pillow clamps.
        let start = (center - support + 0.5) as usize;
        let end = ((center + support + 0.5) as usize).min(from);
        let inverse = 1.0 / filter_scale;
        let filter = self.filter;
        let distance = |step: usize| ((step + start) as f64 - center + 0.5) * inverse;
        self.weights.clear();
        self.weights
            .extend((0..end - start).map(|step| filter.weight(distance(step))));
        (start, end)
    }

    /// How many fractional bits a coefficient has in torchvision: as many as the largest of the axis leaves in 16, and
    /// no more than 22.
    fn short_bits(&mut self, from: usize, to: usize) -> u32 {
        let scale = from as f64 / to as f64;
        let mut most = 0.0_f64;
        for position in 0..to {
            self.weigh((position as f64 + 0.5) * scale, scale.max(1.0), from);
            let sum: f64 = self.weights.iter().sum();
            let largest = self.weights.iter().map(|weight| weight / sum);
            most = largest.fold(most, f64::max);
        }
        let is_too_large =
            |bits: &u32| 0.5 + most * f64::from(1 << (bits + 1)) >= f64::from(1 << 15);
        (0..PRECISION_BITS)
            .find(is_too_large)
            .unwrap_or(PRECISION_BITS)
    }

    /// All coefficients, `[runs, stride]`, and the stride.
    pub(super) fn table(&self) -> (&[i32], usize) {
        (&self.fixed, self.stride)
    }

    /// The coefficients of the run at `position`, without padding.
    pub(super) fn fixed(&self, position: usize) -> &[i32] {
        &self.fixed[position * self.stride..][..self.runs[position].len]
    }

    /// The run at `position` in groups of `2 * pairs` coefficients, the last one filled up with zeros.
    pub(super) fn pairs(&self, position: usize, group: usize) -> &[Pair] {
        let groups = self.runs[position].len.div_ceil(2 * group);
        &self.pairs[position * self.stride / 2..][..groups * group]
    }

    /// The run at `position`, the last quad filled up with zeros.
    pub(super) fn quads(&self, position: usize) -> &[Quad] {
        &self.quads[position * self.stride / 4..][..self.runs[position].len.div_ceil(4)]
    }
}

/// A weight with [`PRECISION_BITS`] fractional bits, of which it has `bits` and the others are zero: sums are then what
/// they would be with fewer.
fn fixed_point(weight: f64, bits: u32) -> i32 {
    let scaled = weight * f64::from(1 << bits);
    // Rounds half away from zero: the cast cuts the fraction off.
    let rounded = (scaled + 0.5_f64.copysign(scaled)) as i32;
    rounded << (PRECISION_BITS - bits)
}

fn bicubic(x: f64) -> f64 {
    let x = x.abs();
    if x < 1.0 {
        ((BICUBIC_A + 2.0) * x - (BICUBIC_A + 3.0)) * x * x + 1.0
    } else if x < 2.0 {
        (((x - 5.0) * x + 8.0) * x - 4.0) * BICUBIC_A
    } else {
        0.0
    }
}

fn sinc(x: f64) -> f64 {
    if x == 0.0 {
        return 1.0;
    }
    let x = x * std::f64::consts::PI;
    x.sin() / x
}

/// The level that a sum of pixels times coefficients (plus [`HALF`]) stands for.
fn level(sum: i32) -> u8 {
    (sum >> PRECISION_BITS).clamp(0, 255) as u8
}

fn horizontal_portable(source: &[u8], from: Size, out: &mut [u8], coefficients: &Coefficients) {
    let width = coefficients.runs.len();
    let source_rows = source.chunks_exact(from.width * CHANNELS);
    for (row, out) in source_rows.zip(out.chunks_exact_mut(width * CHANNELS)) {
        for (x, (run, out)) in coefficients
            .runs
            .iter()
            .zip(out.chunks_exact_mut(CHANNELS))
            .enumerate()
        {
            let pixels = row[run.start * CHANNELS..].chunks_exact(CHANNELS);
            let mut sum = [HALF; CHANNELS];
            for (pixel, &coefficient) in pixels.zip(coefficients.fixed(x)) {
                for channel in 0..CHANNELS {
                    sum[channel] += i32::from(pixel[channel]) * coefficient;
                }
            }
            for channel in 0..CHANNELS {
                out[channel] = level(sum[channel]);
            }
        }
    }
}

/// The vertical pass from the rows of run `y` to one row, from byte `first` of it on. Works in pieces of a row whose
/// sums stay in registers, a shape that compilers turn into vector code.
pub(super) fn vertical_portable_row(
    rows: &[u8],
    y: usize,
    first: usize,
    out: &mut [u8],
    coefficients: &Coefficients,
) {
    const PIECE: usize = 32;
    let row_len = out.len();
    for (piece, out) in out[first..].chunks_mut(PIECE).enumerate() {
        let at = first + piece * PIECE;
        let mut sums = [HALF; PIECE];
        for (row, &coefficient) in rows.chunks_exact(row_len).zip(coefficients.fixed(y)) {
            for (sum, &value) in sums.iter_mut().zip(&row[at..at + out.len()]) {
                *sum += i32::from(value) * coefficient;
            }
        }
        for (out, sum) in out.iter_mut().zip(sums) {
            *out = level(sum);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::pictures::rows::Rows;

    /// Pixels without any pattern, full of hard edges, from a small generator (Knuth's MMIX constants).
    fn noise(size: Size, seed: u64) -> Vec<u8> {
        let mut state = seed;
        let mut next = || {
            state = state
                .wrapping_mul(6364136223846793005)
                .wrapping_add(1442695040888963407);
            let byte = (state >> 56) as u8;
            if byte < 64 {
                0
            } else if byte > 192 {
                255
            } else {
                byte
            }
        };
        (0..size.rgb_len()).map(|_| next()).collect()
    }

    fn resampled(resampler: &mut Resampler, source: &[u8], from: Size, to: Size) -> Vec<u8> {
        let mut out = vec![0; to.rgb_len()];
        resampler.resample(source, from, &mut out, to);
        out
    }

    /// The same through rows that come a few at a time.
    fn resampled_in_rows(
        resampler: &mut Resampler,
        source: &[u8],
        from: Size,
        to: Size,
        count: usize,
    ) -> Vec<u8> {
        let mut out = vec![0; to.rgb_len()];
        let mut rows = RowResampler::new(resampler, to);
        // What came before does not count.
        rows.begin(Size {
            width: from.height,
            height: from.width,
        });
        rows.room(0, 1).fill(99);
        rows.filled();
        rows.begin(from);
        let row_len = from.width * CHANNELS;
        for (index, some) in source.chunks(count * row_len).enumerate() {
            rows.room(index * count, some.len() / row_len)
                .copy_from_slice(some);
            rows.filled();
        }
        rows.finish(&mut out);
        out
    }

    /// All that this processor has.
    fn kernels() -> Vec<Kernel> {
        let mut kernels = vec![Kernel::Portable];
        #[cfg(target_arch = "x86_64")]
        {
            kernels.extend(avx2::Avx2::detect().map(Kernel::Avx2));
            kernels.extend(avx512::Avx512::detect().map(Kernel::Avx512));
        }
        kernels
    }

    #[test]
    fn all_kernels_agree_on_every_kind_of_size_and_so_do_rows() {
        let sides = [1, 2, 3, 4, 5, 7, 15, 16, 17, 33, 64, 100, 223, 341];
        let targets = [(1, 1), (7, 5), (5, 7), (16, 3), (31, 64), (224, 96)];
        for pillow in Resampling::ALL {
            let mut portable = Resampler::portable(pillow);
            let mut resamplers: Vec<_> = (kernels().into_iter())
                .map(|kernel| Resampler::with_kernel(pillow, kernel))
                .collect();
            for width in sides {
                for height in sides {
                    let from = Size { width, height };
                    let source = noise(from, (width * 1000 + height) as u64);
                    for (width, height) in targets {
                        let to = Size { width, height };
                        let expected = resampled(&mut portable, &source, from, to);
                        for (index, resampler) in resamplers.iter_mut().enumerate() {
                            let kernel = resampler.kernel;
                            let found = resampled(resampler, &source, from, to);
                            assert!(found == expected, "{from:?} to {to:?}, {kernel:?}");
                            let count = 1 + (from.width + to.height + index) % 16;
                            let found = resampled_in_rows(resampler, &source, from, to, count);
                            assert!(
                                found == expected,
                                "{from:?} to {to:?}, {kernel:?}, {count} rows at a time"
                            );
                        }
                    }
                }
            }
        }
    }

    #[test]
    fn of_a_picture_that_comes_in_rows_only_a_few_are_held() {
        let sizes = [(4000, 3000), (3000, 4000), (2000, 6000), (1000, 9000)];
        let to = Size {
            width: 224,
            height: 224,
        };
        for ((width, height), pillow) in sizes
            .into_iter()
            .flat_map(|size| Resampling::ALL.map(|pillow| (size, pillow)))
        {
            let from = Size { width, height };
            let mut resampler = Resampler::new(pillow);
            let mut rows = RowResampler::new(&mut resampler, to);
            let promised = rows.memory(from);
            assert!(promised * 4 < from.rgb_len(), "{from:?}: {promised} bytes");
            rows.begin(from);
            for first in (0..height).step_by(16) {
                rows.room(first, 16.min(height - first));
                rows.filled();
            }
            rows.finish(&mut vec![0; to.rgb_len()]);
            // A vector may grow to twice as much as is asked for.
            assert!(resampler.capacity() <= 2 * promised, "{from:?}");
        }
    }

    #[test]
    fn coefficients_sum_to_one_and_fit_their_pairs_and_quads() {
        let mut coefficients = Coefficients::default();
        for (from, to) in [
            (1, 224),
            (2, 224),
            (3, 1000),
            (223, 224),
            (225, 224),
            (500, 224),
            (9999, 7),
            (5, 1),
        ] {
            coefficients.compute(from, to);
            for position in 0..to {
                let fixed = coefficients.fixed(position);
                let sum: i32 = fixed.iter().sum();
                assert!(
                    (sum - (1 << PRECISION_BITS)).unsigned_abs() as usize <= fixed.len(),
                    "{from} to {to}"
                );
                let run = coefficients.runs[position];
                assert!(run.start + run.len <= from, "{from} to {to}");
                for (two, pair) in fixed.chunks(2).zip(coefficients.pairs(position, 1)) {
                    let second = two.get(1).copied().unwrap_or(0);
                    let join = |high: i16, low: i16| i32::from(high) * 256 + i32::from(low);
                    assert_eq!(join(pair.high as i16, pair.low as i16), two[0]);
                    assert_eq!(
                        join((pair.high >> 16) as i16, (pair.low >> 16) as i16),
                        second
                    );
                }
                for (four, quad) in fixed.chunks(4).zip(coefficients.quads(position)) {
                    let parts = [quad.high, quad.middle, quad.low].map(i32::to_le_bytes);
                    for (index, &coefficient) in four.iter().enumerate() {
                        let [high, middle, low] = parts.map(|part| i32::from(part[index] as i8));
                        assert_eq!(high * 65536 + middle * 256 + low, coefficient);
                    }
                }
            }
        }
    }

    #[test]
    fn a_flat_picture_stays_flat() {
        let (from, to) = (
            Size {
                width: 13,
                height: 41,
            },
            Size {
                width: 9,
                height: 60,
            },
        );
        let mut resampler = Resampler::new(Resampling::Pillow13);
        let flat = resampled(&mut resampler, &vec![77; from.rgb_len()], from, to);
        assert!(flat.iter().all(|&value| value == 77));
    }

    #[test]
    fn pillow_13_starts_with_the_axis_that_throws_away_more_and_pillow_12_with_narrow_pictures() {
        let to = Size {
            width: 224,
            height: 224,
        };
        for (width, height, vertical) in [
            (500, 375, [false, false, false]),
            (375, 500, [false, false, false]),
            (224, 225, [false, true, false]),
            (300, 376, [false, false, false]),
            (300, 377, [false, true, false]),
            (100, 200, [false, false, false]),
            (100, 225, [false, true, false]),
            (3, 300, [false, true, false]),
            (3, 301, [true, true, false]),
            (2, 224, [false, false, false]),
        ] {
            let from = Size { width, height };
            let starts = Resampling::ALL.map(|one| one.starts_vertically(from, to));
            assert_eq!(starts, vertical, "{width}x{height}");
        }
    }

    /// What Pillow 12.3.0 and 13.0.0 make of `Image.frombytes("RGB", (3, 9), noise).resize((4, 2))`.
    #[test]
    fn each_order_gives_the_pixels_of_its_pillow() {
        let (from, to) = (
            Size {
                width: 3,
                height: 9,
            },
            Size {
                width: 4,
                height: 2,
            },
        );
        let expected: [[u8; 24]; 2] = [
            [
                90, 111, 177, 130, 123, 125, 159, 131, 105, 153, 132, 130, //
                154, 154, 107, 153, 94, 122, 126, 89, 92, 94, 149, 35,
            ],
            [
                88, 110, 179, 130, 122, 125, 158, 131, 105, 154, 131, 131, //
                157, 156, 105, 153, 93, 122, 126, 89, 91, 93, 149, 30,
            ],
        ];
        for (pillow, expected) in Resampling::ALL.into_iter().zip(expected) {
            for make in [Resampler::new, Resampler::portable] {
                let found = resampled(&mut make(pillow), &noise(from, 1), from, to);
                assert_eq!(found, expected, "{pillow:?}");
            }
        }
    }

    /// What torchvision 0.29.2 makes of `noise` with `resize(…, [2, 4], BICUBIC, antialias=True)`, on bytes. Pillow's
    /// coefficients give another level in two places.
    #[test]
    fn torchvision_has_coefficients_of_16_bits() {
        let from = Size {
            width: 44,
            height: 35,
        };
        let to = Size {
            width: 4,
            height: 2,
        };
        let expected = [
            130, 142, 123, 127, 133, 119, 132, 129, 132, 129, 132, 125, //
            124, 137, 124, 126, 133, 123, 126, 115, 131, 131, 120, 128,
        ];
        for make in [Resampler::new, Resampler::portable] {
            let resampled =
                |resampling| resampled(&mut make(resampling), &noise(from, 1), from, to);
            assert_eq!(resampled(Resampling::Torchvision), expected);
            assert_ne!(resampled(Resampling::Pillow12), expected);
        }
    }
}
