//! ICO: the largest picture, which is a PNG or half a BMP.

use std::io::Cursor;

use image::codecs::ico::IcoDecoder;

use super::{Format, Picture, other, png};
use crate::pictures::PictureError;
use crate::pictures::limits::Limits;

/// Lengths in a file: of its head, and of an entry for a picture.
const HEAD: usize = 6;
const ENTRY: usize = 16;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    // The `image` crate would decode a PNG without limits on the memory for its chunks.
    let best = best_picture(bytes);
    if matches!(best.map(Format::of), Some(Ok(Format::Png))) {
        return png::decode(best.unwrap_or_default(), limits, picture);
    }
    let decoder = IcoDecoder::new(Cursor::new(bytes));
    other::decode_with(Format::Ico, decoder, limits, other::needs_none, picture)
}

/// The bytes from where the picture begins that the decoder chooses too: of the most bits per pixel, the largest; of
/// equal ones the last entry, or else the first.
fn best_picture(bytes: &[u8]) -> Option<&[u8]> {
    let count = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let entries = bytes.get(HEAD..)?.as_chunks::<ENTRY>().0;
    let (last, others) = entries.get(..count.into())?.split_last()?;
    let score = |entry: &[u8; ENTRY]| {
        let side = |value: u8| if value == 0 { 256 } else { u32::from(value) };
        let bits = u16::from_le_bytes([entry[6], entry[7]]);
        (bits, side(entry[0]) * side(entry[1]))
    };
    let better = |best, entry| {
        if score(entry) > score(best) {
            entry
        } else {
            best
        }
    };
    let best = others.iter().fold(last, better);
    let at = u32::from_le_bytes(*best.last_chunk()?);
    bytes.get(at as usize..)
}
