//! TIFF: the first page, with integer samples.

use std::io::Cursor;

use tiff::decoder::{ChunkType, Decoder, Limits as DecoderLimits};
use tiff::tags::{PhotometricInterpretation, SampleFormat, Tag};
use tiff::{ColorType, TiffError, TiffResult};

use super::{Format, Picture};
use crate::pictures::convert::{
    cmyk_to_rgb, gray_alpha_to_rgb, gray_to_rgb, gray16_to_rgb, palette_to_rgb, rgb16_to_rgb,
    rgba_to_rgb,
};
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;
use crate::pictures::{PictureError, Size};

/// Memory that the values of tags take, for each byte in the file at most; and the most for all.
const TAG_BYTES_PER_FILE_BYTE: usize = 56;
const MAX_TAG_BYTES: usize = 448 << 20;

/// The most that a pixel has in the formats that are read here: four channels of 16 bits.
const MAX_BYTES_PER_PIXEL: u64 = 8;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    limits.check_memory(Format::Tiff, Size::default(), tag_bytes(bytes))?;
    let mut decoder = Decoder::new(Cursor::new(bytes)).map_err(error)?;
    let photometric = decoder.find_tag_unsigned::<u16>(Tag::PhotometricInterpretation);
    let palette = PhotometricInterpretation::RGBPalette.to_u16();
    if photometric.map_err(error)? == Some(palette) {
        return decode_palette(bytes, decoder, limits, picture);
    }
    decode_samples(&mut decoder, limits, picture, None)
}

/// The `tiff` crate refuses pictures with a palette. But their indices are stored as gray levels are, so that it reads
/// them from a copy that calls itself gray.
fn decode_palette(
    bytes: &[u8],
    mut decoder: Decoder<Cursor<&[u8]>>,
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let map = decoder.get_tag_u16_vec(Tag::ColorMap).map_err(error)?;
    // All reds, then all greens, then all blues; Pillow takes the upper 8 bits.
    let len = map.len() / CHANNELS;
    let palette: Vec<_> = (0..len)
        .map(|entry| [0, 1, 2].map(|channel| map[channel * len + entry].to_be_bytes()[0]))
        .collect();
    let at = photometric_value(bytes, &decoder)
        .ok_or_else(|| PictureError::corrupt(Format::Tiff, "no photometric interpretation"))?;
    let mut gray = bytes.to_vec();
    gray[at..at + 2].copy_from_slice(&match decoder.byte_order() {
        tiff::tags::ByteOrder::LittleEndian => PhotometricInterpretation::BlackIsZero
            .to_u16()
            .to_le_bytes(),
        tiff::tags::ByteOrder::BigEndian => PhotometricInterpretation::BlackIsZero
            .to_u16()
            .to_be_bytes(),
    });
    let mut decoder = Decoder::new(Cursor::new(gray.as_slice())).map_err(error)?;
    decode_samples(&mut decoder, limits, picture, Some(&palette))
}

/// Where the first page's photometric interpretation lies in the file.
fn photometric_value(bytes: &[u8], decoder: &Decoder<Cursor<&[u8]>>) -> Option<usize> {
    let little = decoder.byte_order() == tiff::tags::ByteOrder::LittleEndian;
    let number = |at: usize, len: usize| -> Option<usize> {
        let bytes = bytes.get(at..at.checked_add(len)?)?;
        let join = |number, &byte: &u8| number << 8 | usize::from(byte);
        Some(if little {
            bytes.iter().rev().fold(0, join)
        } else {
            bytes.iter().fold(0, join)
        })
    };
    // Lengths in a plain TIFF and in a BigTIFF: of the directory's position, its count, an entry, and its head.
    let big = number(2, 2)? == 43;
    let (position_at, position_len, count_len, entry_len, head_len) = if big {
        (8, 8, 8, 20, 12)
    } else {
        (4, 4, 2, 12, 8)
    };
    let directory = number(position_at, position_len)?;
    let first = directory.checked_add(count_len)?;
    let mut entries = (0..number(directory, count_len)?)
        .map_while(|entry| first.checked_add(entry.checked_mul(entry_len)?));
    let entry = entries.find(|&at| {
        number(at, 2).is_none_or(|tag| tag == usize::from(Tag::PhotometricInterpretation.to_u16()))
    })?;
    let value = entry.checked_add(head_len)?;
    number(value, 2).map(|_| value)
}

fn decode_samples(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    limits: Limits,
    picture: &mut Picture,
    palette: Option<&[[u8; CHANNELS]]>,
) -> Result<(), PictureError> {
    let (width, height) = decoder.dimensions().map_err(error)?;
    let size = limits.check(Format::Tiff, width, height)?;
    let color = decoder.colortype().map_err(error)?;
    let layout = decoder.image_buffer_layout().map_err(error)?;
    let unsupported =
        || PictureError::unsupported(Format::Tiff, format!("samples of type {color:?}"));
    let (channels, bits) = match color {
        ColorType::Gray(bits @ (1 | 2 | 4 | 8 | 16)) => (1, usize::from(bits)),
        ColorType::GrayA(8)
        | ColorType::Multiband {
            bit_depth: 8,
            num_samples: 2,
        } => (2, 8),
        ColorType::RGB(bits @ (8 | 16)) => (3, usize::from(bits)),
        ColorType::RGBA(bits @ (8 | 16)) => (4, usize::from(bits)),
        ColorType::CMYK(8) => (4, 8),
        _ => return Err(unsupported()),
    };
    let row_len = (size.width * channels * bits).div_ceil(8);
    let raw_len = row_len * size.height;
    if layout.sample_format != SampleFormat::Uint
        || layout.complete_len != raw_len
        || (layout.planes > 1 && layout.planes != channels)
    {
        return Err(unsupported());
    }
    let row_bytes = check_chunks(decoder, size, limits)?;
    // Planes are copied when they are interleaved.
    let copies = if layout.planes > 1 { 2 } else { 1 };
    let tag_bytes = tag_bytes(decoder.inner().get_ref());
    // Pictures with a palette are decoded from a copy of the file.
    let copied = palette.map_or(0, |_| decoder.inner().get_ref().len());
    limits.check_memory(
        Format::Tiff,
        size,
        copied + tag_bytes + row_bytes + copies * raw_len,
    )?;
    let mut decoder_limits = DecoderLimits::default();
    decoder_limits.decoding_buffer_size = raw_len;
    // A strip or tile may be as large as the picture, and a tile reaches over its edges.
    decoder_limits.intermediate_buffer_size = raw_len.saturating_mul(2).max(64 << 20);
    set_limits(decoder, decoder_limits)?;
    let read = |raw: &mut [u8]| -> TiffResult<()> {
        decoder.read_image_bytes(raw)?;
        if layout.planes > 1 {
            interleave(raw, channels, bits / 8);
        }
        Ok(())
    };
    let convert = |raw: &[u8], out: &mut [u8]| match (channels, bits) {
        (1, 16) => gray16_to_rgb(raw, 1, out),
        (1, _) => small_to_rgb(raw, size, row_len, bits, palette, out),
        (2, _) => gray_alpha_to_rgb(raw, out),
        (_, 16) => rgb16_to_rgb(raw, channels, out),
        (3, _) => out.copy_from_slice(raw),
        _ if color == ColorType::CMYK(8) => cmyk_to_rgb(raw, out),
        _ => rgba_to_rgb(raw, out),
    };
    picture
        .fill_converted(size, raw_len, read, convert)
        .map_err(error)
}

/// The memory for the values of tags of a file.
fn tag_bytes(bytes: &[u8]) -> usize {
    MAX_TAG_BYTES.min(TAG_BYTES_PER_FILE_BYTE * bytes.len())
}

/// Refuses pictures whose strips or tiles make far more work than their pixels: tiles that reach far over the edges,
/// samples that are thrown away, and many chunks that lie over the same compressed bytes. Returns the bytes of a row of
/// one chunk.
fn check_chunks(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    size: Size,
    limits: Limits,
) -> Result<usize, PictureError> {
    let number = |decoder: &mut Decoder<_>, tag| decoder.find_tag_unsigned::<u64>(tag);
    let samples = number(decoder, Tag::SamplesPerPixel).map_err(error)?;
    let bits = decoder.find_tag_unsigned_vec::<u64>(Tag::BitsPerSample);
    let bits = bits.map_err(error)?.and_then(|bits| bits.first().copied());
    let pixel_bits = samples.unwrap_or(1) * bits.unwrap_or(1);
    let (chunk_width, chunk_height) = decoder.chunk_dimensions();
    let (width, height) = (size.width as u64, size.height as u64);
    let (row, rows, counts) = match decoder.get_chunk_type() {
        ChunkType::Strip => (width, height, Tag::StripByteCounts),
        ChunkType::Tile => (
            width.next_multiple_of(chunk_width.into()),
            height.next_multiple_of(chunk_height.into()),
            Tag::TileByteCounts,
        ),
    };
    let decoded = (row.saturating_mul(rows)).saturating_mul(pixel_bits) / 8;
    let most = limits.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL);
    let counts = decoder.find_tag_unsigned_vec::<u64>(counts);
    let counts = counts.map_err(error)?.unwrap_or_default();
    let file_len = decoder.inner().get_ref().len() as u64;
    // A count that is too large is common, and harmless where it goes over the end of the file.
    let compressed: u64 = counts.iter().map(|&count| count.min(file_len)).sum();
    if decoded > most || compressed > decoded.max(4 * file_len) {
        return Err(PictureError::unsupported(
            Format::Tiff,
            format!("strips or tiles of {decoded} bytes, {compressed} in the file"),
        ));
    }
    let row_bits = u64::from(chunk_width).saturating_mul(pixel_bits);
    Ok((row_bits / 8).min(decoded) as usize)
}

/// Replaces the limits of a decoder, which has only a method that takes it by value.
fn set_limits(
    decoder: &mut Decoder<Cursor<&[u8]>>,
    limits: DecoderLimits,
) -> Result<(), PictureError> {
    let bytes = *decoder.inner().get_ref();
    *decoder = Decoder::new(Cursor::new(bytes))
        .map_err(error)?
        .with_limits(limits);
    Ok(())
}

/// `[channels, pixels]` samples of `sample_len` bytes -> `[pixels, channels]`.
fn interleave(raw: &mut [u8], channels: usize, sample_len: usize) {
    let planes = raw.to_vec();
    let pixels = planes.len() / channels / sample_len;
    for (index, sample) in planes.chunks_exact(sample_len).enumerate() {
        let (channel, pixel) = (index / pixels, index % pixels);
        raw[(pixel * channels + channel) * sample_len..][..sample_len].copy_from_slice(sample);
    }
}

/// Gray levels or palette indices of 1 to 8 bits, the first in a byte's highest bits, in rows of `row_len` bytes.
fn small_to_rgb(
    raw: &[u8],
    size: Size,
    row_len: usize,
    bits: usize,
    palette: Option<&[[u8; CHANNELS]]>,
    out: &mut [u8],
) {
    let top = u8::MAX >> (8 - bits);
    let row_pixels = size.width * CHANNELS;
    let mut levels = vec![0; size.width];
    for (row, out) in raw
        .chunks_exact(row_len)
        .zip(out.chunks_exact_mut(row_pixels))
    {
        for (x, level) in levels.iter_mut().enumerate() {
            let at = x * bits;
            *level = row[at / 8] >> (8 - bits - at % 8) & top;
        }
        match palette {
            Some(palette) => palette_to_rgb(&levels, palette, out),
            None => {
                levels.iter_mut().for_each(|level| *level *= u8::MAX / top);
                gray_to_rgb(&levels, out);
            }
        }
    }
}

fn error(error: TiffError) -> PictureError {
    match error {
        TiffError::IoError(source) => PictureError::io(Format::Tiff, source),
        TiffError::UnsupportedError(_) | TiffError::LimitsExceeded => {
            PictureError::unsupported(Format::Tiff, error)
        }
        _ => PictureError::corrupt(Format::Tiff, error),
    }
}
