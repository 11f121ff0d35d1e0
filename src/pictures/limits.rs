//! How large a picture may be, and how much memory it may take.

use super::resample::Target;
use super::{Format, PictureError, Size};

/// The pixels that Pillow refuses to go beyond: twice its `Image.MAX_IMAGE_PIXELS`, which is a quarter of a gibibyte
/// of 3-byte pixels (`1024 * 1024 * 1024 // 4 // 3`), is where it raises `DecompressionBombError`.
pub const DEFAULT_MAX_PIXELS: u64 = 178_956_970;

/// The longest side of a picture: libpng's own default (`PNG_USER_WIDTH_MAX`, `PNG_USER_HEIGHT_MAX`). It bounds the
/// memory for resampling coefficients, which grows with the side and not with the pixels.
pub const MAX_SIDE: usize = 1_000_000;

/// Memory that each reader may use without asking, in bytes: it keeps buffers up to this size for the next picture. A
/// progressive JPEG of ten megapixels needs as much.
pub const OWN_MEMORY: u64 = 64 << 20;

/// What a decoder checks before it makes room for a picture.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    pub(super) max_pixels: u64,
    /// Bytes, besides those of the file.
    pub(super) memory: u64,
    /// What is made of the picture.
    pub(super) target: Option<Target>,
}

impl Limits {
    /// The size that a file's header gives, when it is within the limits.
    pub(super) fn check(
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

    /// Whether a picture of `size` may be decoded: into RGB as a whole, with `more` bytes of memory for what comes
    /// before.
    pub(super) fn check_memory(
        self,
        format: Format,
        size: Size,
        more: usize,
    ) -> Result<(), PictureError> {
        self.check_all_memory(format, size, size.rgb_len().saturating_add(more))
    }

    /// Whether a picture of `size` may be decoded that needs this many bytes, besides those for the change of its size.
    pub(super) fn check_all_memory(
        self,
        format: Format,
        size: Size,
        bytes: usize,
    ) -> Result<(), PictureError> {
        let resampled = match self.target {
            Some(target) => {
                target.check(size)?;
                target.passes(size).memory
            }
            None => 0,
        };
        self.check_bytes(format, [bytes, resampled])
    }

    /// Whether there is memory for all of these.
    pub(super) fn check_bytes<const COUNT: usize>(
        self,
        format: Format,
        bytes: [usize; COUNT],
    ) -> Result<(), PictureError> {
        let needed = bytes.into_iter().fold(0, usize::saturating_add);
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
    fn limits_are_on_pixels_and_on_sides() {
        let limits = Limits {
            max_pixels: 3_000_000,
            memory: u64::MAX,
            target: None,
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
