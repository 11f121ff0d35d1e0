//! ICO: the largest picture, which is a PNG or half a BMP.

use std::cmp::Reverse;

use super::{Format, Picture, bmp, png};
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
    let at = best_picture(bytes);
    let at = at.ok_or_else(|| PictureError::truncated(Format::Ico, "unexpected end of file"))?;
    let best = bytes.get(at..).unwrap_or_default();
    match Format::of(best) {
        Ok(Format::Png) => png::decode(best, limits, picture),
        _ => bmp::decode_icon(bytes, at, limits, picture),
    }
}

/// Where the picture is that Pillow takes: the largest, of equal ones that of the fewest bits per pixel, and of these
/// the first.
fn best_picture(bytes: &[u8]) -> Option<usize> {
    let count = u16::from_le_bytes(*bytes.get(4..)?.first_chunk()?);
    let entries = bytes.get(HEAD..)?.as_chunks::<ENTRY>().0;
    let best = entries.get(..count.into())?.iter().min_by_key(|entry| {
        let side = |value: u8| if value == 0 { 256 } else { u32::from(value) };
        let bits = match (u16::from_le_bytes([entry[6], entry[7]]), entry[2]) {
            // Then the number of colours tells; none means many.
            (0, 0 | 1) => 256,
            (0, colours) => u32::from(colours).next_power_of_two().ilog2() as u16,
            (bits, _) => bits,
        };
        (Reverse(side(entry[0]) * side(entry[1])), bits)
    })?;
    Some(u32::from_le_bytes(*best.last_chunk()?) as usize)
}
