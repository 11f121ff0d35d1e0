//! JPEG in Rust, through the `image` crate: builds without cmake and nasm, but is slower than libjpeg-turbo, and its
//! pixels differ from Pillow's by a few levels.

use std::io::Cursor;

use image::codecs::jpeg;

use super::{Format, Limits, Picture, PictureError, Size, other};

/// Which JPEG decoder is built in.
pub const JPEG_DECODER: &str = "zune-jpeg (not exact)";

/// Decodes `bytes` into `picture`, always in full size.
pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    _wanted: Option<Size>,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let decoder = jpeg::JpegDecoder::new(Cursor::new(bytes));
    other::decode_with(Format::Jpeg, decoder, limits, picture)
}
