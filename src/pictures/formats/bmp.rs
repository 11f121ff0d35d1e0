//! BMP, and the bitmaps within ICO: BMP without the file's head.

use super::{Format, Picture};
use crate::pictures::PictureError;
use crate::pictures::convert::palette_to_rgb;
use crate::pictures::limits::Limits;
use crate::pictures::size::{CHANNELS, Size};

/// Bytes of a file's head, and where in it the pixels' position is.
const HEAD: usize = 14;
const PIXELS_AT: usize = 10;

/// The size of a palette.
const COLOURS: usize = 256;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let pixels_at = number(bytes, PIXELS_AT, 4);
    let pixels_at = pixels_at.ok_or_else(|| truncated(Format::Bmp))?;
    decode_bitmap(Format::Bmp, bytes, HEAD, pixels_at, limits, picture)
}

/// Decodes the bitmap of an icon, which begins with its header at `header_at`. Its mask, which tells what is seen
/// through it, is of no use here: it only makes the bitmap twice as high.
pub(super) fn decode_icon(
    bytes: &[u8],
    header_at: usize,
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    decode_bitmap(Format::Ico, bytes, header_at, 0, limits, picture)
}

/// How pixels are stored.
enum Pixels {
    /// Indices of so many bits.
    Indexed(usize),
    /// Indices of 4 or 8 bits in runs.
    Runs { half_bytes: bool },
    /// 5 bits a colour, but green where it has 6.
    Words { green_bits: u32 },
    /// So many bytes, and where red, green and blue are among them.
    Bytes(usize, [usize; CHANNELS]),
}

fn decode_bitmap(
    format: Format,
    bytes: &[u8],
    header_at: usize,
    pixels_at: usize,
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let unsupported = |what| Err(PictureError::unsupported(format, what));
    let field = |at: usize, len: usize| {
        let found = header_at
            .checked_add(at)
            .and_then(|at| number(bytes, at, len));
        found.ok_or_else(|| truncated(format))
    };
    let header_len = field(0, 4)?;
    let old = header_len == 12;
    let mut top_down = false;
    let (width, height, bits, compression, mut colours) = match header_len {
        12 => (field(4, 2)?, field(6, 2)?, field(10, 2)?, 0, 0),
        40 | 52 | 56 | 64 | 108 | 124 => {
            // A negative height says that the first row is at the top.
            top_down = field(11, 1)? == 0xff;
            let height = field(8, 4)? as u32;
            let height = if top_down {
                height.wrapping_neg()
            } else {
                height
            };
            let compression = field(16, 4)?;
            (
                field(4, 4)?,
                height as usize,
                field(14, 2)?,
                compression,
                field(32, 4)?,
            )
        }
        other => return unsupported(format!("a header of {other} bytes")),
    };
    let height = if format == Format::Ico {
        height / 2
    } else {
        height
    };
    let size = limits.check(format, width as u64, height as u64)?;
    let mut next = header_at + header_len;
    let pixels = match (compression, bits) {
        (NONE, 1 | 4 | 8) => Pixels::Indexed(bits),
        (RLE_8 | RLE_4, 1 | 4 | 8) => Pixels::Runs {
            half_bytes: compression == RLE_4,
        },
        (NONE, 16) => Pixels::Words { green_bits: 5 },
        (NONE, 24) => Pixels::Bytes(3, [2, 1, 0]),
        (NONE, 32) => Pixels::Bytes(4, [2, 1, 0]),
        (BIT_FIELDS, 16 | 24 | 32) => {
            let mut masks_at = 40;
            if header_len < 52 {
                masks_at = header_len;
                next += 12;
            }
            let mask = |channel: usize| field(masks_at + 4 * channel, 4);
            match pixels_of_masks(bits, [mask(0)?, mask(1)?, mask(2)?]) {
                Some(pixels) => pixels,
                None => return unsupported("such bit fields".to_owned()),
            }
        }
        _ => return unsupported(format!("{bits} bits with compression {compression}")),
    };
    let mut palette = Vec::new();
    if bits <= 8 {
        if colours == 0 {
            colours = 1 << bits;
        }
        let entry_len = if old { 3 } else { 4 };
        let palette_len = colours.saturating_mul(entry_len);
        palette = read_palette(bytes.get(next..).unwrap_or_default(), colours, entry_len);
        next = next.saturating_add(palette_len);
    }
    // Some programs say that the pixels are where the palette is, or nothing.
    let at_palette = pixels_at == header_at + header_len && bits <= 8;
    let pixels_at = if pixels_at == 0 || at_palette {
        next
    } else {
        pixels_at
    };
    let data = bytes.get(pixels_at..).ok_or_else(|| truncated(format))?;
    if let Pixels::Runs { half_bytes } = pixels {
        let indices_len = size.width * size.height;
        limits.check_memory(format, size, indices_len)?;
        return picture.fill_converted(
            size,
            indices_len,
            |indices| {
                // Runs of single pixels begin at even positions of the file.
                let odd = pixels_at % 2 == 1;
                let filled = read_runs(data, odd, half_bytes, size, indices);
                filled.ok_or_else(|| truncated(format))
            },
            |indices, out| {
                let rows = indices.chunks_exact(size.width);
                for (row, out) in rows.zip(rows_of(out, size, top_down)) {
                    palette_to_rgb(row, &palette, out);
                }
            },
        );
    }
    limits.check_memory(format, size, 0)?;
    let row_len = (size.width * bits).div_ceil(8);
    let stride = row_len.next_multiple_of(4);
    // The last row may do without its padding.
    if data.len() < stride * (size.height - 1) + row_len {
        return Err(truncated(format));
    }
    let rows = rows_of(picture.resize(size), size, top_down);
    for (row, out) in data.chunks(stride).zip(rows) {
        row_to_rgb(&pixels, &palette, row, out);
    }
    Ok(())
}

const NONE: usize = 0;
const RLE_8: usize = 1;
const RLE_4: usize = 2;
const BIT_FIELDS: usize = 3;

/// The layouts that Pillow reads: whole bytes, and 5 or 6 bits in words.
fn pixels_of_masks(bits: usize, masks: [usize; CHANNELS]) -> Option<Pixels> {
    match (bits, masks) {
        (16, [0xf800, 0x7e0, 0x1f]) => Some(Pixels::Words { green_bits: 6 }),
        (16, [0x7c00, 0x3e0, 0x1f]) => Some(Pixels::Words { green_bits: 5 }),
        (24, [0xff_0000, 0xff00, 0xff]) => Some(Pixels::Bytes(3, [2, 1, 0])),
        (32, [0, 0, 0]) => Some(Pixels::Bytes(4, [2, 1, 0])),
        (32, masks) => {
            let is_byte = |mask: usize| (0..4).any(|byte| mask == 0xff << (8 * byte));
            let bytes = masks.map(|mask| mask.trailing_zeros() as usize / 8);
            masks
                .into_iter()
                .all(is_byte)
                .then_some(Pixels::Bytes(4, bytes))
        }
        _ => None,
    }
}

/// The palette that Pillow takes: one of gray levels in order it takes for none, so that it has all of them.
fn read_palette(bytes: &[u8], colours: usize, entry_len: usize) -> Vec<[u8; CHANNELS]> {
    let entries = bytes.chunks_exact(entry_len).take(colours.min(COLOURS));
    let palette: Vec<_> = entries
        .map(|entry| [entry[2], entry[1], entry[0]])
        .collect();
    let ramp = |(index, entry): (usize, &[u8; CHANNELS])| *entry == [index as u8; CHANNELS];
    if colours > 2 && palette.len() == colours && palette.iter().enumerate().all(ramp) {
        return (0..=u8::MAX).map(|gray| [gray; CHANNELS]).collect();
    }
    palette
}

/// The rows of a picture in the order of the file.
fn rows_of(out: &mut [u8], size: Size, top_down: bool) -> Box<dyn Iterator<Item = &mut [u8]> + '_> {
    let rows = out.chunks_exact_mut(size.width * CHANNELS);
    match top_down {
        true => Box::new(rows),
        false => Box::new(rows.rev()),
    }
}

fn row_to_rgb(pixels: &Pixels, palette: &[[u8; CHANNELS]], row: &[u8], out: &mut [u8]) {
    match *pixels {
        Pixels::Indexed(bits) => {
            let top = u8::MAX >> (8 - bits);
            for (x, rgb) in out.chunks_exact_mut(CHANNELS).enumerate() {
                let at = x * bits;
                let index = row[at / 8] >> (8 - bits - at % 8) & top;
                palette_to_rgb(&[index], palette, rgb);
            }
        }
        Pixels::Words { green_bits } => {
            let words = row
                .as_chunks()
                .0
                .iter()
                .map(|&word| u32::from(u16::from_le_bytes(word)));
            for (word, rgb) in words.zip(out.as_chunks_mut().0) {
                let level = |shift: u32, bits: u32| {
                    let top = (1 << bits) - 1;
                    ((word >> shift & top) * 255 / top) as u8
                };
                *rgb = [level(5 + green_bits, 5), level(5, green_bits), level(0, 5)];
            }
        }
        Pixels::Bytes(len, places) => {
            for (pixel, rgb) in row.chunks_exact(len).zip(out.as_chunks_mut().0) {
                *rgb = places.map(|place| pixel[place]);
            }
        }
        Pixels::Runs { .. } => {}
    }
}

/// Fills `indices`, rows in the order of the file, from runs; `None` where they end early. Pixels that are skipped are 0.
/// What a run has beyond the end of its row is dropped. `odd` is whether `data` begins at an odd position of the file.
fn read_runs(
    data: &[u8],
    odd: bool,
    half_bytes: bool,
    size: Size,
    indices: &mut [u8],
) -> Option<()> {
    let Size { width, .. } = size;
    let (mut at, mut x, mut filled) = (0, 0, 0);
    let nibble = |byte: u8, index: usize| match index % 2 {
        0 => byte >> 4,
        _ => byte & 0xf,
    };
    while filled < indices.len() {
        let &[count, value] = data.get(at..)?.first_chunk()?;
        at += 2;
        let room = indices.len() - filled;
        let out = &mut indices[filled..];
        match (count, value) {
            (1.., _) => {
                let count = usize::from(count).min(width.saturating_sub(x));
                for (index, out) in out.iter_mut().take(count).enumerate() {
                    *out = if half_bytes {
                        nibble(value, index)
                    } else {
                        value
                    };
                }
                x += count;
                filled += count.min(room);
            }
            (0, 0) => {
                let rest = (width - filled % width) % width;
                out[..rest].fill(0);
                filled += rest;
                x = 0;
            }
            (0, 1) => return None,
            (0, 2) => {
                let &[right, up] = data.get(at..)?.first_chunk()?;
                at += 2;
                let skipped = (usize::from(right) + usize::from(up) * width).min(room);
                out[..skipped].fill(0);
                filled += skipped;
                x = filled % width;
            }
            (0, count) => {
                let count = usize::from(count);
                let taken = count.min(room);
                let len = if half_bytes { taken.div_ceil(2) } else { taken };
                let run = data.get(at..at + len)?;
                for (index, out) in out.iter_mut().take(taken).enumerate() {
                    *out = match half_bytes {
                        true => nibble(run[index / 2], index),
                        false => run[index],
                    };
                }
                filled += taken;
                x += count;
                at += len;
                at += usize::from((at % 2 == 1) != odd);
            }
        }
    }
    Some(())
}

/// The little-endian number of `len` bytes at `at`.
fn number(bytes: &[u8], at: usize, len: usize) -> Option<usize> {
    let bytes = bytes.get(at..at.checked_add(len)?)?;
    Some(
        bytes
            .iter()
            .rev()
            .fold(0, |number, &byte| number << 8 | usize::from(byte)),
    )
}

fn truncated(format: Format) -> PictureError {
    PictureError::truncated(format, "unexpected end of file")
}
