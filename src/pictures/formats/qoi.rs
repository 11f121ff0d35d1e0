//! QOI, "quite OK image".

use super::{Format, Picture};
use crate::pictures::PictureError;
use crate::pictures::limits::Limits;

/// Bytes of a file's head: its name, the size, the number of channels and the colour space.
const HEAD: usize = 14;

/// How many pixels a code can go back to.
const SEEN: usize = 64;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let early = || PictureError::truncated(Format::Qoi, "unexpected end of file");
    let (head, codes) = bytes.split_at_checked(HEAD).ok_or_else(early)?;
    let [width, height] =
        [4, 8].map(|at| u32::from_be_bytes([head[at], head[at + 1], head[at + 2], head[at + 3]]));
    let size = limits.check(Format::Qoi, width, height)?;
    // A code makes this many pixels at most.
    if codes.len().saturating_mul(62) < size.width * size.height {
        return Err(early());
    }
    limits.check_memory(Format::Qoi, size, 0)?;
    // What follows the last pixel is of no use, and may be missing.
    fill(codes, picture.resize(size)).ok_or_else(early)
}

/// Fills `[pixels, 3]`; `None` where the codes end early.
fn fill(codes: &[u8], out: &mut [u8]) -> Option<()> {
    let mut codes = codes.iter().copied();
    let mut seen = [[0; 4]; SEEN];
    let mut pixel = [0, 0, 0, 255];
    let mut out = out.as_chunks_mut().0.iter_mut();
    while out.len() > 0 {
        let code = codes.next()?;
        let [red, green, blue, alpha] = pixel;
        let lower = code & 0x3f;
        pixel = match code {
            0xfe => [codes.next()?, codes.next()?, codes.next()?, alpha],
            0xff => [codes.next()?, codes.next()?, codes.next()?, codes.next()?],
            0x00..=0x3f => seen[usize::from(lower)],
            0x40..=0x7f => {
                let change = |value: u8, by: u8| value.wrapping_add(by & 3).wrapping_sub(2);
                [
                    change(red, lower >> 4),
                    change(green, lower >> 2),
                    change(blue, lower),
                    alpha,
                ]
            }
            0x80..=0xbf => {
                let more = codes.next()?;
                let by = lower.wrapping_sub(32);
                let change =
                    |value: u8, more: u8| value.wrapping_add(by).wrapping_add(more).wrapping_sub(8);
                [
                    change(red, more >> 4),
                    green.wrapping_add(by),
                    change(blue, more & 0xf),
                    alpha,
                ]
            }
            0xc0..=0xfd => {
                let run = out.by_ref().take(usize::from(lower) + 1);
                run.for_each(|rgb| *rgb = [red, green, blue]);
                continue;
            }
        };
        let [red, green, blue, alpha] = pixel;
        let place = [(red, 3), (green, 5), (blue, 7), (alpha, 11)]
            .map(|(value, factor)| usize::from(value) * factor);
        seen[place.iter().sum::<usize>() % SEEN] = pixel;
        *out.next()? = [red, green, blue];
    }
    Some(())
}
