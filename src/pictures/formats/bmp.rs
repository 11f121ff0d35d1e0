//! BMP.

use std::io::Cursor;

use image::codecs::bmp::BmpDecoder;

use super::{Format, Picture, other};
use crate::pictures::PictureError;
use crate::pictures::limits::Limits;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    other::decode_with(
        Format::Bmp,
        BmpDecoder::new(Cursor::new(bytes)),
        limits,
        other::needs_none,
        picture,
    )?;
    if let Some(bits) = channel_bits(bytes) {
        for pixel in picture.pixels.as_chunks_mut().0 {
            rescale(pixel, bits);
        }
    }
    Ok(())
}

/// How many bits red, green and blue have in a picture of 16 bits per pixel; `None` for any other picture.
fn channel_bits(bytes: &[u8]) -> Option<[u32; 3]> {
    const HEADER_LEN_AT: usize = 14;
    const BITS_PER_PIXEL_AT: usize = 28;
    const COMPRESSION_AT: usize = 30;
    const MASKS_AT: usize = 54;
    const OLD_HEADER_LEN: u32 = 12;
    const BIT_FIELDS: u32 = 3;
    let number = |at: usize| Some(u32::from_le_bytes(*bytes.get(at..)?.first_chunk()?));
    let bits_per_pixel = number(BITS_PER_PIXEL_AT)? & 0xffff;
    if number(HEADER_LEN_AT)? == OLD_HEADER_LEN || bits_per_pixel != 16 {
        return None;
    }
    if number(COMPRESSION_AT)? != BIT_FIELDS {
        return Some([5; 3]);
    }
    let mask_bits = |channel: usize| Some(number(MASKS_AT + 4 * channel)?.count_ones());
    Some([mask_bits(0)?, mask_bits(1)?, mask_bits(2)?])
}

/// The decoder rounds when it takes 5 or 6 bits to 8, and Pillow cuts off: back to the few bits, and up again.
fn rescale(pixel: &mut [u8; 3], bits: [u32; 3]) {
    for (value, bits) in pixel.iter_mut().zip(bits) {
        if let 1..8 = bits {
            let top = (1 << bits) - 1;
            let level = (u32::from(*value) * top + 127) / 255;
            *value = (level * 255 / top) as u8;
        }
    }
}
