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
mod coefficients;
mod passes;
mod row_resampler;

pub(super) use coefficients::Coefficients;
pub(super) use passes::{Axis, Target};
pub(super) use row_resampler::RowResampler;

use coefficients::{Pair, Quad, Run, Split};
use image::metadata::Orientation;
use passes::{Pass, Passes};
use serde::{Deserialize, Serialize};

use super::fit::Fit;
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
    /// A resampler that uses AVX-512 or AVX2 where the processor has it.
    pub fn new(resampling: Resampling) -> Self {
        Self::with_filter(resampling, Filter::default())
    }

    /// The same with another filter than the bicubic one.
    pub fn with_filter(resampling: Resampling, filter: Filter) -> Self {
        Self::with_kernel(resampling, filter, Kernel::detect())
    }

    /// A resampler that uses no more than what every processor has: for tests and benchmarks, the result is the same.
    pub fn portable(resampling: Resampling) -> Self {
        Self::with_kernel(resampling, Filter::default(), Kernel::Portable)
    }

    fn with_kernel(resampling: Resampling, filter: Filter, kernel: Kernel) -> Self {
        Self {
            resampling,
            kernel,
            coefficients: Coefficients::new(resampling, filter, kernel.split()),
            between: Vec::new(),
            rows: Vec::new(),
        }
    }

    /// The bytes in its buffers.
    pub(super) fn capacity(&self) -> usize {
        self.between.capacity() + self.rows.capacity() + self.coefficients.capacity()
    }

    /// Resamples `source` `[from.height, from.width, 3]` into `out` `[to.height, to.width, 3]`, both RGB, 0 to 255.
    ///
    /// # Panics
    ///
    /// When a slice has not the length of its size, or a side is zero.
    pub fn resample(&mut self, source: &[u8], from: Size, out: &mut [u8], to: Size) {
        let target = Target {
            resampling: self.resampling,
            filter: self.coefficients.filter,
            orientation: Orientation::NoTransforms,
            fit: Fit::default(),
            to,
        };
        assert!(
            from.rgb_len() > 0 && to.rgb_len() > 0,
            "a picture has at least one pixel"
        );
        self.take_through(&target.passes(from), source, out);
    }

    /// Takes `source`, `[from.height, from.width, 3]`, through the passes to `out`.
    ///
    /// # Panics
    ///
    /// When a slice has not the length of its size.
    pub(super) fn take_through(&mut self, passes: &Passes, source: &[u8], out: &mut [u8]) {
        let Passes { from, lines, .. } = *passes;
        assert_eq!(source.len(), from.rgb_len(), "source is not {from:?}");
        let row_len = from.width * CHANNELS;
        match (passes.first, passes.second) {
            (None, _) => out.copy_from_slice(source),
            (Some(only), None) => self.pass(only, source, row_len, lines.len, out),
            (Some(first), Some(_)) => {
                let mut between = std::mem::take(&mut self.between);
                between.resize(passes.middle.rgb_len(), 0);
                let source = match first {
                    Pass::Horizontal(_) => &source[lines.start * row_len..],
                    Pass::Vertical(_) => &source[lines.start * CHANNELS..],
                };
                self.pass(first, source, row_len, lines.len, &mut between);
                self.finish(passes, &between, out);
                self.between = between;
            }
        }
    }

    /// The second pass, where there is one.
    fn finish(&mut self, passes: &Passes, between: &[u8], out: &mut [u8]) {
        let Some(second) = passes.second else {
            return out.copy_from_slice(between);
        };
        let Size { width, height } = passes.middle;
        let lines = match second {
            Pass::Horizontal(_) => height,
            Pass::Vertical(_) => width,
        };
        self.pass(second, between, width * CHANNELS, lines, out);
    }

    /// One pass over rows of `row_len` bytes: over as many of them as there are `lines`, or over so many pixels at the
    /// beginning of each.
    fn pass(&mut self, pass: Pass, source: &[u8], row_len: usize, lines: usize, out: &mut [u8]) {
        let Self {
            kernel,
            coefficients,
            ..
        } = self;
        coefficients.compute(pass.axis());
        match pass {
            Pass::Horizontal(axis) => {
                let from = Size {
                    width: row_len / CHANNELS,
                    height: lines,
                };
                assert_eq!(out.len(), axis.count * lines * CHANNELS, "output");
                kernel.horizontal(source, from, out, coefficients);
            }
            Pass::Vertical(axis) => {
                assert_eq!(out.len(), axis.count * lines * CHANNELS, "output");
                for (y, out) in out.chunks_exact_mut(lines * CHANNELS).enumerate() {
                    let rows = &source[coefficients.runs[y].start * row_len..];
                    kernel.vertical_row(rows, row_len, y, out, coefficients);
                }
            }
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

    /// What it needs besides whole coefficients.
    fn split(self) -> Split {
        match self {
            Self::Portable => Split::None,
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(_) => Split::Pairs,
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(_) => Split::Quads,
        }
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

    /// The rows of run `y`, which begin with `rows` and are `row_len` bytes apart, to one row that is no longer. Behind
    /// them there may be more bytes.
    fn vertical_row(
        self,
        rows: &[u8],
        row_len: usize,
        y: usize,
        out: &mut [u8],
        coefficients: &Coefficients,
    ) {
        let last = (coefficients.runs[y].len - 1) * row_len;
        let rows = &rows[..last + out.len()];
        match self {
            Self::Portable => vertical_portable_row(rows, row_len, y, 0, out, coefficients),
            #[cfg(target_arch = "x86_64")]
            Self::Avx2(avx2) => avx2.vertical_row(rows, row_len, y, out, coefficients),
            #[cfg(target_arch = "x86_64")]
            Self::Avx512(avx512) => avx512.vertical_row(rows, row_len, y, out, coefficients),
        }
    }
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

/// The vertical pass from the rows of run `y`, `row_len` bytes apart, to one row, from byte `first` of it on. Works in
/// pieces of a row whose sums stay in registers, a shape that compilers turn into vector code.
pub(super) fn vertical_portable_row(
    rows: &[u8],
    row_len: usize,
    y: usize,
    first: usize,
    out: &mut [u8],
    coefficients: &Coefficients,
) {
    const PIECE: usize = 32;
    for (piece, out) in out[first..].chunks_mut(PIECE).enumerate() {
        let at = first + piece * PIECE;
        let mut sums = [HALF; PIECE];
        for (row, &coefficient) in rows.chunks(row_len).zip(coefficients.fixed(y)) {
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
    use crate::pictures::fit::{Resize, Rounding};
    use crate::pictures::orientation;
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

    /// What is made of all of a picture.
    fn squash(resampling: Resampling, to: Size) -> Target {
        Target {
            resampling,
            filter: Filter::default(),
            orientation: Orientation::NoTransforms,
            fit: Fit::default(),
            to,
        }
    }

    /// The same through rows that come a few at a time.
    fn resampled_in_rows(
        resampler: &mut Resampler,
        source: &[u8],
        from: Size,
        target: Target,
        count: usize,
    ) -> Vec<u8> {
        let mut out = vec![0; target.to.rgb_len()];
        let mut rows = RowResampler::new(resampler, target);
        // What came before does not count.
        rows.begin(from.transposed());
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

    /// Whole passes over the whole picture, turned, of which the middle is taken at the end: sums as they are in the
    /// books.
    fn resampled_by_the_book(source: &[u8], from: Size, target: Target) -> Vec<u8> {
        let (from, source) = orientation::apply(target.orientation, from, source.to_vec());
        let mut coefficients = Coefficients::new(target.resampling, target.filter, Split::None);
        let (whole, corner) = target.fit.of(from, target.to);
        let at = |size: Size, x: usize, y: usize, channel: usize| {
            (y * size.width + x) * CHANNELS + channel
        };
        let (mut pixels, mut size) = (source, from);
        let starts_vertically = target.resampling.starts_vertically(from, whole);
        for vertical in [starts_vertically, !starts_vertically] {
            let to = match vertical {
                true => Size {
                    height: whole.height,
                    ..size
                },
                false => Size {
                    width: whole.width,
                    ..size
                },
            };
            if to == size {
                continue;
            }
            coefficients.compute(match vertical {
                true => Axis::all(size.height, to.height),
                false => Axis::all(size.width, to.width),
            });
            let mut out = vec![0; to.rgb_len()];
            for y in 0..to.height {
                for x in 0..to.width {
                    let position = if vertical { y } else { x };
                    let start = coefficients.runs[position].start;
                    for channel in 0..CHANNELS {
                        let mut sum = HALF;
                        for (step, &weight) in coefficients.fixed(position).iter().enumerate() {
                            let from = match vertical {
                                true => at(size, x, start + step, channel),
                                false => at(size, start + step, y, channel),
                            };
                            sum += i32::from(pixels[from]) * weight;
                        }
                        out[at(to, x, y, channel)] = level(sum);
                    }
                }
            }
            (pixels, size) = (out, to);
        }
        let rows = pixels.chunks_exact(size.width * CHANNELS);
        let rows = rows.skip(corner[1]).take(target.to.height);
        rows.flat_map(|row| &row[corner[0] * CHANNELS..][..target.to.width * CHANNELS])
            .copied()
            .collect()
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
                .map(|kernel| Resampler::with_kernel(pillow, Filter::default(), kernel))
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
                            let target = squash(pillow, to);
                            let found = resampled_in_rows(resampler, &source, from, target, count);
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
    fn what_is_left_out_or_turned_afterwards_changes_no_pixel_of_the_middle() {
        let mut state = 7_u64;
        let mut below = |limit: usize| {
            state = (state.wrapping_mul(6364136223846793005)).wrapping_add(1442695040888963407);
            (state >> 33) as usize % limit
        };
        let filters = [
            Filter::Nearest,
            Filter::Bilinear,
            Filter::Bicubic,
            Filter::Lanczos,
        ];
        let mut seen = [0; 4];
        for round in 0..600 {
            // All shapes: a side of a few pixels, tall pictures, those that grow and those that shrink.
            let mut side = || match below(4) {
                0 => 1 + below(8),
                1 => 1 + below(40),
                _ => 1 + below(130),
            };
            let [width, height, wide, high, more] = std::array::from_fn(|_| side());
            let from = Size { width, height };
            let to = Size {
                width: 1 + wide / 3,
                height: 1 + high / 3,
            };
            let fit = Fit {
                resize: match round % 4 {
                    0 => Resize::Exact(to.width + more % 30, to.height + more % 7),
                    // The sides of the picture itself, one or both of them, of which a part is cut out.
                    1 => Resize::Exact(to.width.max(width), to.height.max(more)),
                    2 => Resize::Exact(to.width.max(width), to.height.max(height)),
                    _ => Resize::Shortest(to.width.max(to.height) + more % 9),
                },
                rounding: [Rounding::Down, Rounding::Even][round % 2],
            };
            let source = noise(from, round as u64);
            for (filter, resampling) in (filters.into_iter())
                .flat_map(|filter| Resampling::ALL.map(|resampling| (filter, resampling)))
            {
                let orientation = Orientation::from_exif(1 + below(8) as u8).unwrap();
                let target = Target {
                    resampling,
                    filter,
                    orientation,
                    fit,
                    to,
                };
                let turned = |found| orientation::apply(orientation, target.turned(to), found).1;
                let expected = resampled_by_the_book(&source, from, target);
                let passes = target.passes(from);
                seen[match (passes.first, passes.second) {
                    (_, None) => 0,
                    (Some(Pass::Vertical(_)), _) if passes.lines.len < width => 1,
                    (Some(Pass::Horizontal(_)), _) if passes.lines.len < height => 2,
                    _ => 3,
                }] += 1;
                for kernel in kernels() {
                    let mut resampler = Resampler::with_kernel(resampling, filter, kernel);
                    let case = format!("{from:?} {target:?} {kernel:?}");
                    let mut found = vec![0; to.rgb_len()];
                    resampler.take_through(&passes, &source, &mut found);
                    assert!(turned(found) == expected, "{case}");
                    let count = 1 + round % 17;
                    let found = resampled_in_rows(&mut resampler, &source, from, target, count);
                    assert!(turned(found) == expected, "{case}, {count} rows at a time");
                }
            }
        }
        assert!(seen.iter().all(|&count| count > 50), "{seen:?}");
    }

    /// With the shorter side 224 a portrait of 3 by 4 has a quarter of its rows cut off.
    #[test]
    fn rows_that_are_cut_off_get_no_pass_and_no_room() {
        let to = Size {
            width: 224,
            height: 224,
        };
        let target = |resampling| Target {
            fit: Fit {
                resize: Resize::Shortest(224),
                ..Fit::default()
            },
            ..squash(resampling, to)
        };
        let size = |width, height| Size { width, height };
        let middle = |from| target(Resampling::Pillow13).passes(from).middle;
        // The rest is what a run reaches beyond: two positions of the new length and one of the old.
        let run = 3000 * 2 / 224 + 1;
        let portrait = middle(size(3000, 4000)).height;
        assert!((3000..3000 + 2 * run).contains(&portrait), "{portrait}");
        assert_eq!(middle(size(4000, 3000)), size(224, 3000));
        for resampling in Resampling::ALL {
            let narrow = target(resampling).passes(size(100, 400_000));
            assert!(narrow.memory < 1 << 20, "{}", narrow.memory);
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
            let target = squash(pillow, to);
            let mut rows = RowResampler::new(&mut resampler, target);
            let promised = rows.memory(from) + target.passes(from).memory;
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
    fn coefficients_count_as_memory_and_take_no_more_than_is_said() {
        let from = Size {
            width: 1,
            height: 100_000,
        };
        let to = Size {
            width: 1,
            height: 10,
        };
        for pillow in Resampling::ALL {
            let passes = squash(pillow, to).passes(from);
            for kernel in kernels() {
                let mut resampler = Resampler::with_kernel(pillow, Filter::default(), kernel);
                resampled(&mut resampler, &vec![7; from.rgb_len()], from, to);
                // One pass, which needs no other buffer. Runs have 40,000 positions but for those at the ends.
                let capacity = resampler.capacity();
                assert!(
                    (1_600_000..=passes.memory).contains(&capacity),
                    "{capacity}"
                );
            }
        }
    }

    #[test]
    fn coefficients_sum_to_one_and_fit_their_pairs_and_quads() {
        let [mut coefficients, mut by_fours] = [Split::Pairs, Split::Quads]
            .map(|split| Coefficients::new(Resampling::default(), Filter::default(), split));
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
            coefficients.compute(Axis::all(from, to));
            by_fours.compute(Axis::all(from, to));
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
                for (four, quad) in fixed.chunks(4).zip(by_fours.quads(position)) {
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
