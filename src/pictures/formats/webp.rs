//! WebP: the first frame.

use std::borrow::Cow;
use std::io::Cursor;

use image::codecs::webp::WebPDecoder;
use memchr::memmem;

use super::{Format, Picture, image_crate};
use crate::pictures::limits::Limits;
use crate::pictures::{PictureError, Size};

/// What the decoder holds besides the pixels that it gives, in bytes per pixel at most: planes, alpha, transforms and
/// the canvas of an animation.
const BYTES_PER_PIXEL: usize = 20;

/// What the decoder makes of each byte of a lossless picture at most: a few bytes describe a Huffman table of 4 kB, and
/// there may be 65,536 times five of them, for a picture of any size.
const TABLE_BYTES_PER_FILE_BYTE: usize = 600;

/// Where a lossy frame has its size, behind the name of its chunk: after the chunk's length, the frame's tag and a
/// start code.
const LOSSY_SIZE_AT: usize = 14;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let bytes = &with_plain_first_frame(bytes);
    let memory = |size: Size| {
        let pixels = (size.width * size.height).max(lossy_pixels(bytes));
        let tables = match has_lossless_data(bytes) {
            true => TABLE_BYTES_PER_FILE_BYTE * bytes.len(),
            false => 0,
        };
        let copied = match bytes {
            Cow::Owned(copy) => copy.len(),
            Cow::Borrowed(_) => 0,
        };
        BYTES_PER_PIXEL * pixels + tables + copied
    };
    let decoder = WebPDecoder::new(Cursor::new(bytes));
    image_crate::decode_with(Format::WebP, decoder, limits, memory, picture).map_err(|error| {
        // The decoder calls it corrupt when pixel data ends early.
        match error {
            PictureError::Corrupt { source, .. } if !is_whole_riff(bytes) => {
                PictureError::truncated(Format::WebP, source)
            }
            _ => error,
        }
    })
}

/// libwebp never blends the first frame of an animation with what is below it, for that is nothing. The decoder here
/// does, unless the frame's flags say otherwise.
fn with_plain_first_frame(bytes: &[u8]) -> Cow<'_, [u8]> {
    const NO_BLENDING: u8 = 2;
    /// After the names and lengths, of the file and its first chunk, which tells of animation.
    const FIRST_CHUNK: usize = 12;
    /// After the frame's name and length, its position, size and duration.
    const FLAGS_AT: usize = 8 + 15;
    let mut at = FIRST_CHUNK;
    while let Some(&[a, b, c, d, len @ ..]) =
        bytes.get(at..).and_then(|rest| rest.first_chunk::<8>())
    {
        if [a, b, c, d] == *b"ANMF" {
            return match bytes.get(at + FLAGS_AT) {
                Some(flags) if flags & NO_BLENDING == 0 => {
                    let mut copy = bytes.to_vec();
                    copy[at + FLAGS_AT] |= NO_BLENDING;
                    copy.into()
                }
                _ => bytes.into(),
            };
        }
        let len = u32::from_le_bytes(len) as usize;
        at = at.saturating_add(8 + len.next_multiple_of(2));
    }
    bytes.into()
}

/// The pixels of the largest lossy frame, by its own header: the decoder makes room for it before it compares that with
/// the size of the picture. Bytes that only look like a frame count too, which does no harm.
fn lossy_pixels(bytes: &[u8]) -> usize {
    let side = |at: usize| {
        let side = bytes.get(at..).and_then(|bytes| bytes.first_chunk());
        usize::from(side.map_or(0, |&side| u16::from_le_bytes(side) & 0x3fff))
    };
    memmem::find_iter(bytes, b"VP8 ")
        .map(|at| side(at + LOSSY_SIZE_AT) * side(at + LOSSY_SIZE_AT + 2))
        .max()
        .unwrap_or(0)
}

/// Whether a picture or its alpha channel may be coded without loss.
fn has_lossless_data(bytes: &[u8]) -> bool {
    [b"VP8L", b"ALPH"]
        .into_iter()
        .any(|name| memmem::find(bytes, name).is_some())
}

/// Whether all bytes are there that a RIFF file says to have behind its first 8.
fn is_whole_riff(bytes: &[u8]) -> bool {
    let len = bytes.get(4..).and_then(|bytes| bytes.first_chunk());
    len.is_some_and(|&len| u32::from_le_bytes(len) as usize <= bytes.len() - 8)
}
