//! PNG; of an animation the picture that any program shows.

use std::borrow::Cow;
use std::io::Cursor;

use png::{BitDepth, ColorType, Decoder, DecodingError, Reader, Transformations};

use super::{Format, Picture};
use crate::pictures::PictureError;
use crate::pictures::convert::{
    gray_alpha_to_rgb, gray_alpha16_to_rgb, gray_to_rgb, gray16_to_rgb, rgb16_to_rgb, rgba_to_rgb,
};
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;

/// Memory that the decoder may take besides the picture: for a row (at most 8 bytes x
/// [`MAX_SIDE`](crate::pictures::MAX_SIDE)) and chunks, of which EXIF data alone may be long. Nobody is asked for it.
const DECODER_BYTES: usize = 24 << 20;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let file = without_animation(bytes);
    let copied = match &file {
        Cow::Owned(copy) => copy.len(),
        Cow::Borrowed(_) => 0,
    };
    let mut decoder = Decoder::new_with_limits(
        Cursor::new(&*file),
        png::Limits {
            bytes: DECODER_BYTES,
        },
    );
    // Pillow does not look at the checksums of pixel data either.
    decoder.ignore_checksums(true);
    decoder.set_ignore_text_chunk(true);
    decoder.set_ignore_iccp_chunk(true);
    // Palettes become RGB, 1 to 4 bits become 8. Samples of 16 bits stay, for Pillow treats gray and colour apart.
    decoder.set_transformations(Transformations::EXPAND);
    let header = decoder.read_header_info().map_err(error)?;
    let size = limits.check(Format::Png, header.width, header.height)?;
    let mut reader = decoder.read_info().map_err(error)?;
    let (color, depth) = reader.output_color_type();
    let raw_len = reader
        .output_buffer_size()
        .ok_or_else(|| error(DecodingError::LimitsExceeded))?;
    let direct = (color, depth) == (ColorType::Rgb, BitDepth::Eight);
    let more = copied + if direct { 0 } else { raw_len };
    limits.check_memory(Format::Png, size, more)?;
    if direct {
        return read_pixels(&mut reader, picture.resize(size)).map_err(error);
    }
    let plain_gray = reader.info().color_type == ColorType::Grayscale;
    let sixteen = depth == BitDepth::Sixteen;
    picture
        .fill_converted(
            size,
            raw_len,
            |raw| {
                read_pixels(&mut reader, raw)?;
                if sixteen {
                    make_native(raw);
                }
                Ok(())
            },
            |raw, out| match (color, sixteen) {
                (ColorType::Grayscale | ColorType::Indexed, false) => gray_to_rgb(raw, out),
                (ColorType::GrayscaleAlpha, false) => gray_alpha_to_rgb(raw, out),
                (ColorType::Rgb, false) => out.copy_from_slice(raw),
                (ColorType::Rgba, false) => rgba_to_rgb(raw, out),
                (ColorType::Grayscale | ColorType::Indexed, true) => gray16_to_rgb(raw, 1, out),
                // Alpha from one transparent level does not make Pillow read gray any other way.
                (ColorType::GrayscaleAlpha, true) if plain_gray => gray16_to_rgb(raw, 2, out),
                (ColorType::GrayscaleAlpha, true) => gray_alpha16_to_rgb(raw, out),
                (ColorType::Rgb, true) => rgb16_to_rgb(raw, CHANNELS, out),
                (ColorType::Rgba, true) => rgb16_to_rgb(raw, 4, out),
            },
        )
        .map_err(error)
}

/// The file without what it says of an animation before its pixels: the decoder would refuse the picture for an error
/// in it.
fn without_animation(bytes: &[u8]) -> Cow<'_, [u8]> {
    const SIGNATURE: usize = 8;
    let mut copy = None;
    let mut at = SIGNATURE;
    while let Some(&[a, b, c, d, name @ ..]) =
        bytes.get(at..).and_then(|rest| rest.first_chunk::<8>())
    {
        let end = at.saturating_add(12 + u32::from_be_bytes([a, b, c, d]) as usize);
        let end = end.min(bytes.len());
        match &name {
            b"IDAT" => break,
            b"acTL" | b"fcTL" => {
                copy.get_or_insert_with(|| bytes[..at].to_vec());
            }
            _ => {
                if let Some(copy) = &mut copy {
                    copy.extend_from_slice(&bytes[at..end]);
                }
            }
        }
        at = end;
    }
    match copy {
        Some(mut copy) => {
            copy.extend_from_slice(&bytes[at..]);
            copy.into()
        }
        None => bytes.into(),
    }
}

/// Reads the picture without looking at what follows its last row, as Pillow does, for that may be missing.
fn read_pixels(reader: &mut Reader<Cursor<&[u8]>>, out: &mut [u8]) -> Result<(), DecodingError> {
    if reader.info().interlaced {
        return reader.next_frame(out).map(drop);
    }
    let (width, height) = reader.info().size();
    let row_len = reader
        .output_line_size(width)
        .ok_or(DecodingError::LimitsExceeded)?;
    for row in out.chunks_exact_mut(row_len).take(height as usize) {
        reader.read_row(row)?;
    }
    Ok(())
}

/// Big-endian samples of 16 bits -> the machine's byte order.
fn make_native(raw: &mut [u8]) {
    for sample in raw.as_chunks_mut().0 {
        *sample = u16::from_be_bytes(*sample).to_ne_bytes();
    }
}

fn error(error: DecodingError) -> PictureError {
    match error {
        DecodingError::IoError(source) => PictureError::io(Format::Png, source),
        DecodingError::LimitsExceeded => PictureError::unsupported(Format::Png, error),
        _ => PictureError::corrupt(Format::Png, error),
    }
}
