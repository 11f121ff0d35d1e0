//! The bytes of a picture file -> RGB pixels -> the model's input size.
//!
//! [`PictureReader::read`] gives, byte for byte, what Pillow 13.0.0 gives for
//! `Image.open(file).convert("RGB").resize((width, height))`: bicubic with antialiasing, without regard to the aspect
//! ratio, and without a look at EXIF orientation or colour profiles. Transparency is dropped, not blended. Everything
//! here works on memory: no files, no logging, no environment.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`PictureReader`], which ties the steps together |
//! | `error.rs` | why a picture can fail |
//! | `format.rs` | which format the bytes are in |
//! | `jpeg_turbo.rs`, `jpeg_rust.rs` | JPEG, through libjpeg-turbo or in Rust, by feature |
//! | `png.rs`, `gif.rs`, `tiff.rs`, `bmp.rs`, `ico.rs`, `webp.rs`, `other.rs` | the other formats |
//! | `convert.rs` | gray, CMYK, 16 bits, ... -> 8-bit RGB, as Pillow's `convert("RGB")` does it |
//! | `resample.rs`, `resample_avx2.rs` | the change of size |

use std::any::Any;
use std::cell::Cell;
use std::panic::{AssertUnwindSafe, catch_unwind};

mod bmp;
mod convert;
mod error;
mod format;
mod gif;
mod ico;
mod other;
mod png;
mod resample;
#[cfg(target_arch = "x86_64")]
mod resample_avx2;
mod tiff;
mod webp;

#[cfg(feature = "turbojpeg")]
#[path = "jpeg_turbo.rs"]
mod jpeg;
#[cfg(all(feature = "pure-rust", not(feature = "turbojpeg")))]
#[path = "jpeg_rust.rs"]
mod jpeg;
#[cfg(not(any(feature = "turbojpeg", feature = "pure-rust")))]
compile_error!(
    "no JPEG decoder: build with the default features (libjpeg-turbo, needs cmake and nasm) \
     or with `--no-default-features --features pure-rust`"
);

pub use error::PictureError;
pub use format::Format;
pub use jpeg::JPEG_DECODER;
pub use resample::{Resampler, Size};

/// The pixels that Pillow refuses to go beyond: twice its `Image.MAX_IMAGE_PIXELS`, which is a quarter of a gibibyte
/// of 3-byte pixels (`1024 * 1024 * 1024 // 4 // 3`), is where it raises `DecompressionBombError`.
pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;

/// The longest side of a picture: libpng's own default (`PNG_USER_WIDTH_MAX`, `PNG_USER_HEIGHT_MAX`). It bounds the
/// memory for resampling coefficients, which grows with the side and not with the pixels.
pub const MAX_SIDE: usize = 1_000_000;

/// Memory that each reader may use without asking, in bytes: it keeps buffers up to this size for the next picture. A
/// JPEG of seven megapixels needs as much.
pub const OWN_MEMORY: u64 = 64 << 20;

/// Options of a [`PictureReader`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PixelOptions {
    /// Pictures with more pixels fail before they are decoded. Default: [`DEFAULT_MAX_PIXELS`].
    pub max_pixels: u64,
    /// Let the JPEG decoder shrink large pictures by 2, 4 or 8 while decoding, to no less than four times the output size
    /// on each side: faster, but no longer Pillow's exact pixels. Without effect with the feature `pure-rust` alone.
    /// Default: false.
    pub scaled_decode: bool,
}

impl Default for PixelOptions {
    fn default() -> Self {
        Self {
            max_pixels: DEFAULT_MAX_PIXELS,
            scaled_decode: false,
        }
    }
}

/// Reads pictures into RGB pixels of a wanted size. One per worker: it owns all buffers, and uses them again for the next
/// picture.
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
            resampler: Resampler::new(),
        }
    }

    /// Decodes a picture, converts it to RGB, resamples it to `width` x `height` pixels and writes it to `out`
    /// `[height, width, 3]`: rows from the top, pixels from the left, red, green and blue from 0 to 255.
    ///
    /// The format is that of the bytes; of several frames or pages it is the first. On an error, `out` is as before.
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
        self.read_within(u64::MAX, bytes, width, height, out)
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
        let scaled = self.options.scaled_decode.then_some(size);
        let decoded = self.decode_within(memory, bytes, scaled);
        if decoded.is_ok() {
            let Picture {
                pixels, size: from, ..
            } = &self.picture;
            self.resampler.resample(pixels, *from, out, size);
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
        self.decode_within(u64::MAX, bytes, None)?;
        Ok((self.picture.size, &self.picture.pixels))
    }

    /// Decodes a picture and makes it fit into a square of `side` pixels, aspect ratio kept and never enlarged: its size,
    /// and `[size.height, size.width, 3]`. To be looked at: the JPEG decoder shrinks large pictures, so that these are
    /// not Pillow's exact pixels.
    ///
    /// # Errors
    ///
    /// As [`read`](Self::read).
    pub fn read_to_fit(
        &mut self,
        bytes: &[u8],
        side: usize,
    ) -> Result<(Size, Vec<u8>), PictureError> {
        let square = Size {
            width: side,
            height: side,
        };
        self.decode_within(u64::MAX, bytes, Some(square))?;
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

    /// Leaves the picture in `self.picture`.
    fn decode_within(
        &mut self,
        memory: u64,
        bytes: &[u8],
        wanted: Option<Size>,
    ) -> Result<(), PictureError> {
        let limits = Limits {
            max_pixels: self.options.max_pixels,
            memory,
        };
        let picture = &mut self.picture;
        let decoded = catch_panic(|| decode(bytes, limits, wanted, picture));
        if matches!(decoded, Err(PictureError::DecoderPanicked { .. })) {
            self.picture = Picture::default();
        }
        decoded
    }

    fn give_back_large_buffers(&mut self) {
        if self.picture.capacity() as u64 > OWN_MEMORY {
            self.picture = Picture::default();
            self.resampler = Resampler::new();
        }
    }
}

fn decode(
    bytes: &[u8],
    limits: Limits,
    wanted: Option<Size>,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let format = Format::of(bytes)?;
    match format {
        Format::Jpeg => jpeg::decode(bytes, limits, wanted, picture),
        Format::Png => png::decode(bytes, limits, picture),
        Format::Gif => gif::decode(bytes, limits, picture),
        Format::Tiff => tiff::decode(bytes, limits, picture),
        Format::Bmp => bmp::decode(bytes, limits, picture),
        Format::Ico => ico::decode(bytes, limits, picture),
        Format::WebP => webp::decode(bytes, limits, picture),
        Format::Pnm | Format::Qoi => other::decode(format, bytes, limits, picture),
    }
}

thread_local! {
    static CATCHES_PANICS: Cell<bool> = const { Cell::new(false) };
}

/// Whether a panic of this thread would be one of a decoder, which becomes a [`PictureError::DecoderPanicked`]: a panic
/// hook asks this to know that it has nothing to print.
pub fn catches_panics() -> bool {
    CATCHES_PANICS.get()
}

/// Makes an error of a panic: the only place where one is caught. The caller throws away what `work` has left half
/// done.
fn catch_panic<T>(work: impl FnOnce() -> Result<T, PictureError>) -> Result<T, PictureError> {
    CATCHES_PANICS.set(true);
    let ended = catch_unwind(AssertUnwindSafe(work));
    CATCHES_PANICS.set(false);
    ended.unwrap_or_else(|panic| {
        Err(PictureError::DecoderPanicked {
            message: panic_message(&*panic),
        })
    })
}

fn panic_message(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    text.or_else(|| panic.downcast_ref::<String>().map(String::as_str))
        .unwrap_or("no message")
        .to_owned()
}

/// A decoded picture, and room for what a decoder gives before it is converted to RGB.
#[derive(Debug, Default)]
struct Picture {
    /// RGB, `[size.height, size.width, 3]`.
    pixels: Vec<u8>,
    size: Size,
    raw: Vec<u8>,
}

impl Picture {
    /// Makes room for a picture of `size`. The pixels are those of the picture before, or zero.
    fn resize(&mut self, size: Size) -> &mut [u8] {
        self.size = size;
        self.pixels.resize(size.rgb_len(), 0);
        &mut self.pixels
    }

    /// Takes `raw_len` raw bytes of a picture of `size` from `fill` and converts them with `convert`.
    fn fill_converted<E>(
        &mut self,
        size: Size,
        raw_len: usize,
        fill: impl FnOnce(&mut [u8]) -> Result<(), E>,
        convert: impl FnOnce(&[u8], &mut [u8]),
    ) -> Result<(), E> {
        let mut raw = std::mem::take(&mut self.raw);
        raw.resize(raw_len, 0);
        let filled = fill(&mut raw);
        if filled.is_ok() {
            convert(&raw, self.resize(size));
        }
        self.raw = raw;
        filled
    }

    fn capacity(&self) -> usize {
        self.pixels.capacity() + self.raw.capacity()
    }
}

/// What a decoder checks before it makes room for a picture.
#[derive(Debug, Clone, Copy)]
struct Limits {
    max_pixels: u64,
    /// Bytes, besides those of the file.
    memory: u64,
}

impl Limits {
    /// The size that a file's header gives, when it is within the limits.
    fn check(
        self,
        format: Format,
        width: impl Into<u64>,
        height: impl Into<u64>,
    ) -> Result<Size, PictureError> {
        let (width, height) = (width.into(), height.into());
        if width == 0 || height == 0 {
            return Err(PictureError::corrupt(format, "a side of zero pixels"));
        }
        if width.saturating_mul(height) > self.max_pixels {
            return Err(PictureError::TooLarge {
                width,
                height,
                limit: self.max_pixels,
            });
        }
        match (usize::try_from(width), usize::try_from(height)) {
            (Ok(w), Ok(h)) if w <= MAX_SIDE && h <= MAX_SIDE => Ok(Size {
                width: w,
                height: h,
            }),
            _ => Err(PictureError::TooLong { width, height }),
        }
    }

    /// Whether a picture of `size` may be decoded: into RGB, with `more` bytes of memory for what comes before.
    fn check_memory(self, format: Format, size: Size, more: usize) -> Result<(), PictureError> {
        let needed = size.rgb_len().saturating_add(more);
        let bytes = needed as u64;
        if bytes > self.memory {
            return Err(PictureError::NeedsMemory { bytes });
        }
        // A decoder that gets no memory may end the process, so that this asks for it, untouched, and gives it back.
        if bytes > OWN_MEMORY && Vec::<u8>::new().try_reserve_exact(needed).is_err() {
            return Err(PictureError::OutOfMemory { format });
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_becomes_an_error_with_its_message() {
        let of =
            |work: fn() -> Result<(), PictureError>| catch_panic(work).unwrap_err().to_string();
        assert_eq!(
            of(|| panic!("at row {}", 7)),
            "the picture's decoder panicked: at row 7"
        );
        assert_eq!(
            of(|| panic!("plain")),
            "the picture's decoder panicked: plain"
        );
    }

    #[test]
    fn limits_are_on_pixels_and_on_sides() {
        let limits = Limits {
            max_pixels: 3_000_000,
            memory: u64::MAX,
        };
        let check = |width: u64, height: u64| limits.check(Format::Png, width, height);
        assert!(
            check(1_500_000, 2).is_err_and(|error| matches!(error, PictureError::TooLong { .. }))
        );
        assert!(
            check(u64::MAX, u64::MAX)
                .is_err_and(|error| matches!(error, PictureError::TooLarge { .. }))
        );
        assert!(check(0, 5).is_err_and(|error| matches!(error, PictureError::Corrupt { .. })));
        let size = Size {
            width: 1_000_000,
            height: 3,
        };
        assert_eq!(check(1_000_000, 3).unwrap(), size);
    }
}
