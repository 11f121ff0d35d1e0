//! PBM, PGM, PPM and the gray kind of PFM as Pillow reads them; PAM, which it does not, through the `image` crate.

use std::io::Cursor;

use image::codecs::pnm::PnmDecoder;

use super::{Format, Picture, image_crate};
use crate::pictures::PictureError;
use crate::pictures::convert::{gray_to_rgb, numbers_to_rgb};
use crate::pictures::limits::Limits;
use crate::pictures::size::{CHANNELS, Size};

/// The longest number that is read.
const LONGEST: usize = 10;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let kind = bytes[1];
    if kind == b'7' {
        let decoder = PnmDecoder::new(Cursor::new(bytes));
        return image_crate::decode_with(
            Format::Pnm,
            decoder,
            limits,
            image_crate::needs_none,
            picture,
        );
    }
    let mut header = Header { rest: &bytes[2..] };
    let (width, height) = (header.number()?, header.number()?);
    let size = limits.check(Format::Pnm, width, height)?;
    let channels = if matches!(kind, b'3' | b'6') {
        CHANNELS
    } else {
        1
    };
    let most = match kind {
        b'1' | b'4' => 1,
        b'f' => 0,
        _ => header.number()?,
    };
    if most > 65535 || (most == 0 && kind != b'f') {
        return Err(corrupt(format!("a maximum of {most}")));
    }
    let little = kind == b'f' && header.is_negative()?;
    let data = header.rest;
    let samples = size.width * size.height * channels;
    limits.check_memory(
        Format::Pnm,
        size,
        if kind == b'f' { 4 * samples } else { samples },
    )?;
    // Pillow makes 16 bits of gray that does not fit into 8, and cuts them off at 255.
    let scale = Scale {
        most,
        top: if channels == 1 && most > 255 {
            65535
        } else {
            255
        },
    };
    let read = |raw: &mut [u8]| match kind {
        b'1' => read_plain_bits(data, raw),
        b'2' | b'3' => read_plain(data, scale, raw),
        b'4' => read_bits(data, size, raw),
        b'f' => read_floats(data, little, size, raw),
        _ if most > 255 => {
            let samples = data.as_chunks().0;
            let levels = samples
                .iter()
                .map(|&sample| u16::from_be_bytes(sample).into());
            fill(raw, levels.map(|level| scale.level(level)))
        }
        _ if most == 255 => fill(raw, data.iter().copied()),
        _ => {
            let levels: Vec<u8> = (0..=255).map(|level| scale.level(level)).collect();
            fill(raw, data.iter().map(|&sample| levels[usize::from(sample)]))
        }
    };
    let raw_len = if kind == b'f' { 4 * samples } else { samples };
    picture.fill_converted(size, raw_len, read, |raw, out| match kind {
        b'f' => numbers_to_rgb(raw, |bytes| f32::from_ne_bytes(bytes) as i32, out),
        _ if channels == 1 => gray_to_rgb(raw, out),
        _ => out.copy_from_slice(raw),
    })
}

/// What stands before the pixels: numbers between white space and comments.
struct Header<'a> {
    rest: &'a [u8],
}

impl Header<'_> {
    fn word(&mut self) -> Result<String, PictureError> {
        let mut word = String::new();
        loop {
            let Some((&byte, rest)) = self.rest.split_first() else {
                return Err(truncated());
            };
            self.rest = rest;
            match byte {
                b'#' => {
                    let end = rest.iter().position(|byte| matches!(byte, b'\r' | b'\n'));
                    self.rest = &rest[end.map_or(rest.len(), |end| end + 1)..];
                }
                _ if is_white(byte) && word.is_empty() => {}
                _ if is_white(byte) => return Ok(word),
                _ if word.len() == LONGEST => return Err(corrupt("a number that is too long")),
                _ => word.push(byte.into()),
            }
        }
    }

    fn number(&mut self) -> Result<u64, PictureError> {
        let word = self.word()?;
        word.parse()
            .map_err(|_| corrupt(format!("`{word}` in place of a number")))
    }

    /// Whether the scale of a PFM is negative, which says that its numbers are little-endian.
    fn is_negative(&mut self) -> Result<bool, PictureError> {
        let word = self.word()?;
        match word.parse::<f64>() {
            Ok(scale) if scale != 0.0 && scale.is_finite() => Ok(scale < 0.0),
            _ => Err(corrupt(format!("`{word}` in place of a scale"))),
        }
    }
}

/// From 0 to `most` in the file, to 0 to `top`.
#[derive(Clone, Copy)]
struct Scale {
    most: u64,
    top: u64,
}

impl Scale {
    /// Rounded to the nearest, halves to even, and cut off at 255.
    fn level(self, sample: u64) -> u8 {
        let level = sample as f64 / self.most as f64 * self.top as f64;
        level.round_ties_even().min(255.0) as u8
    }
}

fn fill(out: &mut [u8], mut levels: impl Iterator<Item = u8>) -> Result<(), PictureError> {
    for out in out {
        *out = levels.next().ok_or_else(truncated)?;
    }
    Ok(())
}

/// Digits of 0 for white and 1 for black.
fn read_plain_bits(data: &[u8], out: &mut [u8]) -> Result<(), PictureError> {
    let mut digits = without_comments(data).filter(|byte| !is_white(*byte));
    for out in out {
        *out = match digits.next() {
            Some(b'0') => 255,
            Some(b'1') => 0,
            Some(_) => return Err(corrupt("a pixel that is neither 0 nor 1")),
            None => return Err(truncated()),
        };
    }
    Ok(())
}

fn read_plain(data: &[u8], scale: Scale, out: &mut [u8]) -> Result<(), PictureError> {
    let mut bytes = without_comments(data).peekable();
    for out in out {
        while bytes.next_if(|byte| is_white(*byte)).is_some() {}
        let (mut number, mut len) = (0, 0);
        while let Some(digit) = bytes.next_if(|byte| !is_white(*byte)) {
            len += 1;
            if !digit.is_ascii_digit() || len > LONGEST {
                return Err(corrupt("a sample that is not a number"));
            }
            number = number * 10 + u64::from(digit - b'0');
        }
        if len == 0 {
            return Err(truncated());
        }
        if number > scale.most {
            return Err(corrupt(format!("a sample of {number}")));
        }
        *out = scale.level(number);
    }
    Ok(())
}

/// The bytes without comments, which end with their line.
fn without_comments(data: &[u8]) -> impl Iterator<Item = u8> {
    let mut in_comment = false;
    data.iter().copied().filter(move |byte| {
        let was_in_comment = in_comment;
        in_comment = match byte {
            b'#' => true,
            b'\r' | b'\n' => false,
            _ => in_comment,
        };
        !was_in_comment && !in_comment
    })
}

/// Rows of whole bytes, 1 for black.
fn read_bits(data: &[u8], size: Size, out: &mut [u8]) -> Result<(), PictureError> {
    let row_len = size.width.div_ceil(8);
    if data.len() / row_len < size.height {
        return Err(truncated());
    }
    for (row, out) in data
        .chunks_exact(row_len)
        .zip(out.chunks_exact_mut(size.width))
    {
        for (x, out) in out.iter_mut().enumerate() {
            let black = row[x / 8] >> (7 - x % 8) & 1;
            *out = if black == 1 { 0 } else { 255 };
        }
    }
    Ok(())
}

/// Rows of real numbers from the bottom, to the machine's byte order from the top.
fn read_floats(data: &[u8], little: bool, size: Size, out: &mut [u8]) -> Result<(), PictureError> {
    let row_len = 4 * size.width;
    if data.len() / row_len < size.height {
        return Err(truncated());
    }
    for (row, out) in data
        .chunks_exact(row_len)
        .zip(out.chunks_exact_mut(row_len).rev())
    {
        for (&number, out) in row.as_chunks().0.iter().zip(out.as_chunks_mut().0) {
            let bits = match little {
                true => u32::from_le_bytes(number),
                false => u32::from_be_bytes(number),
            };
            *out = bits.to_ne_bytes();
        }
    }
    Ok(())
}

/// White space as Python has it.
fn is_white(byte: u8) -> bool {
    matches!(byte, b' ' | b'\t'..=b'\r')
}

fn truncated() -> PictureError {
    PictureError::truncated(Format::Pnm, "unexpected end of file")
}

fn corrupt(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> PictureError {
    PictureError::corrupt(Format::Pnm, source)
}
