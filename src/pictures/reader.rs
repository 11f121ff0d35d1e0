//! Ties the steps together: decode, convert, resample.

use image::metadata::Orientation;

use super::formats::{self, Picture};
use super::limits::{DEFAULT_MAX_PIXELS, Limits, OWN_MEMORY};
use super::memory::Memory;
use super::panics::catch_panic;
use super::resample::{RowResampler, Target};
use super::{Filter, Fit, PictureError, Resampler, Resampling, Size, orientation};
use crate::support::fault;

/// Options of a [`PictureReader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelOptions {
    /// Pictures with more pixels fail before they are decoded. Default: [`DEFAULT_MAX_PIXELS`].
    pub max_pixels: u64,
    /// Let the JPEG decoder shrink large pictures by 2, 4 or 8 while decoding, to no less than four times the size that
    /// they are resampled to on each side: faster, but no longer Pillow's exact pixels. Without effect with the feature
    /// `pure-rust` alone. Default: false.
    pub scaled_decode: bool,
    /// Turn pictures as their EXIF orientation says, before the size is changed: as Pillow's `ImageOps.exif_transpose`.
    /// TIFFs are turned in any case, as Pillow does when it loads them. Default: false.
    pub apply_orientation: bool,
    /// Let a GPU decode JPEG pictures, which [`GpuReader`](super::GpuReader) does and a [`PictureReader`] does not:
    /// faster, but no longer Pillow's exact pixels. Default: false.
    pub decode_on_gpu: bool,
    /// Whose pixels a change of size gives. Default: those of Pillow 13.
    pub resampling: Resampling,
    /// How a picture becomes one of the model's size. Default: each side by itself.
    pub fit: Fit,
    /// What weighs the pixels when the size changes. Default: bicubic.
    pub filter: Filter,
    /// Whether the channels are blue, green, red instead of red, green, blue. Default: no.
    pub bgr: bool,
}

impl Default for PixelOptions {
    fn default() -> Self {
        Self {
            max_pixels: DEFAULT_MAX_PIXELS,
            scaled_decode: false,
            apply_orientation: false,
            decode_on_gpu: false,
            resampling: Resampling::default(),
            fit: Fit::default(),
            filter: Filter::default(),
            bgr: false,
        }
    }
}

/// Reads pictures into RGB pixels of a wanted size. One per worker: it owns all buffers, and uses them again for the
/// next picture.
#[derive(Debug)]
pub struct PictureReader {
    options: PixelOptions,
    picture: Picture,
    resampler: Resampler,
}

impl PictureReader {
    /// A reader without any buffers yet.
    pub fn new(options: PixelOptions) -> Self {
        Self {
            options,
            picture: Picture::default(),
            resampler: Resampler::with_filter(options.resampling, options.filter),
        }
    }

    /// Decodes a picture, converts it to RGB, resamples it to `width` x `height` pixels and writes it to `out`
    /// `[height, width, 3]`: rows from the top, pixels from the left, red, green and blue from 0 to 255.
    ///
    /// The format is that of the bytes; of several frames or pages it is the first. On an error, `out` is as before. A
    /// large picture waits until the others that are read have left it memory.
    ///
    /// # Errors
    ///
    /// See [`PictureError`]; the reader is ready for the next picture after any of them.
    ///
    /// # Panics
    ///
    /// When `out` has not `height * width * 3` bytes, or none.
    pub fn read(
        &mut self,
        bytes: &[u8],
        width: usize,
        height: usize,
        out: &mut [u8],
    ) -> Result<(), PictureError> {
        Memory::of_process().within(|memory| self.read_within(memory, bytes, width, height, out))
    }

    /// As [`read`](Self::read), with no more than `memory` bytes besides those of the file: a picture that needs more
    /// fails with [`PictureError::NeedsMemory`] as soon as that is known, which is before it is decoded.
    pub fn read_within(
        &mut self,
        memory: u64,
        bytes: &[u8],
        width: usize,
        height: usize,
        out: &mut [u8],
    ) -> Result<(), PictureError> {
        let size = Size { width, height };
        assert_eq!(out.len(), size.rgb_len(), "output is not {size:?}");
        assert!(!out.is_empty(), "output is empty");
        let orientation = self.orientation(bytes);
        let target = Target {
            resampling: self.options.resampling,
            filter: self.options.filter,
            orientation,
            fit: self.options.fit,
            to: size,
        };
        let limits = self.limits(memory, Some(target));
        let stored = target.turned(size);
        let scaled = self.options.scaled_decode.then_some(target);
        let decoded = if formats::gives_rows(bytes) {
            let mut rows = RowResampler::new(&mut self.resampler, target);
            let decoded = caught(|| formats::decode_rows(bytes, limits, scaled, &mut rows));
            decoded.map(|()| rows.finish(out))
        } else {
            let decoded = self.decode_within(limits, bytes, scaled);
            // A HEIC picture may have been cropped.
            let decoded = decoded.and_then(|()| target.check(self.picture.size));
            decoded.map(|()| {
                let Picture { pixels, size, .. } = &self.picture;
                (self.resampler).take_through(&target.passes(*size), pixels, out);
            })
        };
        if decoded.is_ok() && orientation != Orientation::NoTransforms {
            let (_, upright) = orientation::apply(orientation, stored, out.to_vec());
            out.copy_from_slice(&upright);
        }
        if decoded.is_ok() && self.options.bgr {
            let (pixels, _) = out.as_chunks_mut::<3>();
            pixels.iter_mut().for_each(|pixel| pixel.swap(0, 2));
        }
        self.give_back_large_buffers();
        decoded
    }

    /// Decodes a picture and converts it to RGB, `[size.height, size.width, 3]`, in its own size.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn decode(&mut self, bytes: &[u8]) -> Result<(Size, &[u8]), PictureError> {
        Memory::of_process()
            .within(|memory| self.decode_within(self.limits(memory, None), bytes, None))?;
        self.picture.turn(self.orientation(bytes));
        Ok((self.picture.size, &self.picture.pixels))
    }

    /// Decodes a picture and makes it fit into a square of `side` pixels, aspect ratio kept and never enlarged: its
    /// size, and `[size.height, size.width, 3]`. To be looked at: the JPEG decoder shrinks large pictures, so that
    /// these are not Pillow's exact pixels. Not turned, whatever the options say.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_to_fit(
        &mut self,
        bytes: &[u8],
        side: usize,
    ) -> Result<(Size, Vec<u8>), PictureError> {
        let square = Target {
            resampling: self.options.resampling,
            filter: self.options.filter,
            orientation: Orientation::NoTransforms,
            fit: Fit::default(),
            to: Size {
                width: side,
                height: side,
            },
        };
        let decoded = Memory::of_process()
            .within(|memory| self.decode_within(self.limits(memory, None), bytes, Some(square)));
        if let Err(error) = decoded {
            self.give_back_large_buffers();
            return Err(error);
        }
        let from = self.picture.size;
        let longest = from.width.max(from.height);
        let shrink = |length: usize| (length * side + longest / 2) / longest;
        let size = match longest > side {
            true => Size {
                width: shrink(from.width).max(1),
                height: shrink(from.height).max(1),
            },
            false => from,
        };
        let mut out = vec![0; size.rgb_len()];
        self.resampler
            .resample(&self.picture.pixels, from, &mut out, size);
        self.give_back_large_buffers();
        Ok((size, out))
    }

    fn orientation(&self, bytes: &[u8]) -> Orientation {
        match self.options.apply_orientation {
            true => orientation::of(bytes),
            false => Orientation::NoTransforms,
        }
    }

    fn limits(&self, memory: u64, target: Option<Target>) -> Limits {
        Limits {
            max_pixels: self.options.max_pixels,
            memory,
            target,
        }
    }

    /// Leaves the picture in `self.picture`. It may be shrunk for what is `wanted`.
    fn decode_within(
        &mut self,
        limits: Limits,
        bytes: &[u8],
        wanted: Option<Target>,
    ) -> Result<(), PictureError> {
        let picture = &mut self.picture;
        let decoded = caught(|| formats::decode(bytes, limits, wanted, picture));
        if matches!(decoded, Err(PictureError::DecoderPanicked { .. })) {
            self.picture = Picture::default();
        }
        decoded
    }

    fn give_back_large_buffers(&mut self) {
        if (self.picture.capacity() + self.resampler.capacity()) as u64 > OWN_MEMORY {
            self.picture = Picture::default();
            self.resampler = Resampler::with_filter(self.options.resampling, self.options.filter);
        }
    }
}

/// Runs a decoder, whose panics are errors.
fn caught(decode: impl FnOnce() -> Result<(), PictureError>) -> Result<(), PictureError> {
    catch_panic(|| fault::decoder(decode))
}
