//! JPEG in Rust, through the `image` crate: builds without cmake and nasm, but is slower than libjpeg-turbo, and its
//! pixels differ from Pillow's by a few levels.

use std::io::Cursor;

use image::codecs::jpeg;

use super::jpeg_part::{Pixels, Upsampling};
use super::{Format, Picture, image_crate};
use crate::pictures::limits::Limits;
use crate::pictures::resample::Target;
use crate::pictures::rows::Rows;
use crate::pictures::{PictureError, Size};

/// Which JPEG decoder is built in.
pub const JPEG_DECODER: &str = "zune-jpeg (not exact)";

/// What the decoder holds besides the pixels that it gives, in bytes per pixel at most: coefficients of 2 bytes, and
/// rows.
const BYTES_PER_PIXEL: usize = 12;

/// Decodes `bytes` into `out`, always in full size.
pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    _wanted: Option<Target>,
    out: &mut impl Rows,
) -> Result<(), PictureError> {
    let decoder = jpeg::JpegDecoder::new(Cursor::new(bytes));
    let memory = |size: Size| BYTES_PER_PIXEL * size.width * size.height + out.memory(size);
    let mut picture = Picture::default();
    image_crate::decode_with(Format::Jpeg, decoder, limits, memory, &mut picture)?;
    out.begin(picture.size);
    out.room(0, picture.size.height)
        .copy_from_slice(&picture.pixels);
    out.filled();
    Ok(())
}

/// No memory: nothing is decoded.
pub(super) fn coefficient_bytes(_full: Size, _components: usize) -> usize {
    0
}

/// A JPEG within another format is not read: this decoder cannot be told what its components are.
pub(super) fn decode_part(
    _bytes: &[u8],
    _limits: Limits,
    _most: Size,
    _pixels: Pixels,
    _upsampling: Upsampling,
    _out: &mut [u8],
) -> Result<Size, PictureError> {
    Err(PictureError::unsupported(
        Format::Jpeg,
        "JPEG within another format needs libjpeg-turbo, which this build does without",
    ))
}
