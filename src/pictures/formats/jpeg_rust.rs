//! JPEG in Rust, through the `image` crate: builds without cmake and nasm, but is slower than libjpeg-turbo, and its
//! pixels differ from Pillow's by a few levels.

use std::io::Cursor;

use image::codecs::jpeg;

use super::{Format, Picture, other};
use crate::pictures::limits::Limits;
use crate::pictures::{PictureError, Size};

/// Which JPEG decoder is built in.
pub const JPEG_DECODER: &str = "zune-jpeg (not exact)";

/// What the decoder holds besides the pixels that it gives, in bytes per pixel at most: coefficients of 2 bytes, and rows.
const BYTES_PER_PIXEL: usize = 12;

/// Decodes `bytes` into `picture`, always in full size.
pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    _wanted: Option<Size>,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let decoder = jpeg::JpegDecoder::new(Cursor::new(bytes));
    let memory = |size: Size| BYTES_PER_PIXEL * size.width * size.height;
    other::decode_with(Format::Jpeg, decoder, limits, memory, picture)
}
