//! A frame of AV1, through dav1d.

use std::ffi::{c_int, c_uint, c_void};

// For the library that it links.
use libdav1d_sys as _;

use super::{corrupt, unsupported};
use crate::pictures::formats::heif::{Frame, Layout, Planes};
use crate::pictures::{Format, PictureError, Size};

/// The pictures that a decoder has at a time, at most: the one it shows, the same without film grain, and one that the
/// first is made from. A file may ask for up to ten, but not a still picture.
const PICTURES: usize = 3;

/// What the decoder keeps for each pixel besides pictures (modes, filters), in bytes.
const REST: usize = 4;

/// What a decoder needs whatever the size of the picture.
const CONTEXT: usize = 4 << 20;

/// What a file says of a frame before it is decoded. One that is larger is not decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coding {
    pub(super) size: Size,
    pub(super) layout: Layout,
    /// Whether its values have more than 8 bits.
    pub(super) is_wide: bool,
}

impl Coding {
    /// The values in its planes.
    fn values(self) -> usize {
        let [width, height] =
            [self.size.width, self.size.height].map(|side| side.next_multiple_of(128));
        let colours = self.layout.colour_size(Size { width, height });
        width * height + 2 * colours.width * colours.height
    }

    /// The bytes of [`Planes`].
    pub(super) fn planes(self) -> usize {
        2 * self.values()
    }

    /// The bytes of the decoder's pictures.
    fn pictures(self) -> usize {
        PICTURES * (self.values() * if self.is_wide { 2 } else { 1 } + PICTURE_EXTRA)
    }

    /// What the decoder needs.
    pub(super) fn memory(self) -> usize {
        self.pictures() + self.size.width * self.size.height * REST + CONTEXT
    }
}

/// What a picture takes besides its planes.
const PICTURE_EXTRA: usize = 128;

/// Decodes the first picture of `data`, which must have this size.
pub(super) fn decode(
    data: &[u8],
    operating_point: u8,
    coding: Coding,
) -> Result<Planes, PictureError> {
    if data.is_empty() {
        return Err(corrupt("a picture without data"));
    }
    // dav1d looks at sides of up to 65,536 pixels, and so at products that a number of 32 bits holds.
    let pixels = coding.size.width * coding.size.height;
    let max_pixels = c_uint::try_from(pixels).map_err(|_| unsupported("more than 2^32 pixels"))?;
    let mut frame = Frame::empty();
    #[allow(unsafe_code, reason = "C function")]
    // SAFETY: pointer and length are those of a slice, which is only read, and not after the call.
    let status = unsafe {
        c::simsearch_av1_decode(
            data.as_ptr(),
            data.len(),
            operating_point.into(),
            max_pixels,
            coding.pictures(),
            &mut frame,
        )
    };
    match status {
        0 => {}
        -2 => {
            return Err(PictureError::OutOfMemory {
                format: Format::Avif,
            });
        }
        _ => return Err(corrupt("dav1d finds no picture that it can decode")),
    }
    #[allow(unsafe_code, reason = "C functions")]
    // SAFETY: the frame was decoded, and nobody uses it after its release.
    unsafe {
        let most_bits = if coding.is_wide { 12 } else { 8 };
        // Some files say 4:4:4 of a frame that is 4:2:0, and are read by all.
        let planes = frame.copy(Format::Avif, coding.size, coding.layout, most_bits);
        c::simsearch_av1_release(frame.owner);
        planes
    }
}

#[allow(unsafe_code, reason = "C functions")]
mod c {
    use super::*;

    unsafe extern "C" {
        pub fn simsearch_av1_decode(
            bytes: *const u8,
            len: usize,
            operating_point: c_int,
            max_pixels: c_uint,
            max_bytes: usize,
            frame: *mut Frame,
        ) -> c_int;
        pub fn simsearch_av1_release(owner: *mut c_void);
    }
}
