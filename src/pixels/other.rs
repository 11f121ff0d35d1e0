//! The formats that the `image` crate reads just as wanted: WebP, PNM, ICO and QOI.

use std::io::Cursor;

use image::codecs::{ico, pnm, qoi, webp};
use image::error::{ImageError, LimitErrorKind};
use image::{ColorType, ImageDecoder, ImageResult};

use super::convert::{
    gray_alpha_to_rgb, gray_to_rgb, gray16_to_rgb, rgb16_to_rgb, rgba_to_rgb, rounded_16_to_8,
};
use super::resample::CHANNELS;
use super::{Format, Limits, Picture, PictureError};

/// Memory that a decoder may take besides the picture, in bytes per pixel of it: one more copy in 16-bit RGBA.
const DECODER_BYTES_PER_PIXEL: u64 = 8;

pub(super) fn decode(
    format: Format,
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let reader = Cursor::new(bytes);
    match format {
        Format::WebP => decode_with(format, webp::WebPDecoder::new(reader), limits, picture)
            .map_err(|error| {
                // The decoder calls it corrupt when pixel data ends early.
                match error {
                    PictureError::Corrupt { source, .. } if !is_whole_riff(bytes) => {
                        PictureError::truncated(format, source)
                    }
                    _ => error,
                }
            }),
        Format::Ico => decode_with(format, ico::IcoDecoder::new(reader), limits, picture),
        Format::Qoi => decode_with(format, qoi::QoiDecoder::new(reader), limits, picture),
        _ => decode_with(format, pnm::PnmDecoder::new(reader), limits, picture),
    }
}

/// Whether all bytes are there that a RIFF file says to have behind its first 8.
fn is_whole_riff(bytes: &[u8]) -> bool {
    let len = bytes.get(4..).and_then(|bytes| bytes.first_chunk());
    len.is_some_and(|&len| u32::from_le_bytes(len) as usize <= bytes.len() - 8)
}

pub(super) fn decode_with(
    format: Format,
    decoder: ImageResult<impl ImageDecoder>,
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let mut decoder = decoder.map_err(|source| error(format, source))?;
    let (width, height) = decoder.dimensions();
    let size = limits.check(format, width, height)?;
    let mut decoder_limits = image::Limits::no_limits();
    decoder_limits.max_alloc =
        Some((DECODER_BYTES_PER_PIXEL * size.width as u64 * size.height as u64).max(1 << 20));
    decoder
        .set_limits(decoder_limits)
        .map_err(|source| error(format, source))?;
    let color = decoder.color_type();
    let raw_len = size.width * size.height * usize::from(color.bytes_per_pixel());
    let convert: fn(&[u8], &mut [u8]) = match color {
        ColorType::Rgb8 => {
            let pixels = picture.resize(size);
            return decoder
                .read_image(pixels)
                .map_err(|source| error(format, source));
        }
        ColorType::L8 => gray_to_rgb,
        ColorType::La8 => gray_alpha_to_rgb,
        ColorType::Rgba8 => rgba_to_rgb,
        ColorType::L16 => gray16_to_rgb,
        ColorType::Rgb16 if format == Format::Pnm => rounded_16_to_8,
        ColorType::Rgb16 => |raw, out| rgb16_to_rgb(raw, CHANNELS, out),
        ColorType::Rgba16 => |raw, out| rgb16_to_rgb(raw, 4, out),
        _ => {
            return Err(PictureError::unsupported(
                format,
                format!("pixels of type {color:?}"),
            ));
        }
    };
    picture
        .fill_converted(size, raw_len, |raw| decoder.read_image(raw), convert)
        .map_err(|source| error(format, source))
}

fn error(format: Format, error: ImageError) -> PictureError {
    match error {
        ImageError::IoError(source) => PictureError::io(format, source),
        ImageError::Unsupported(_) => PictureError::unsupported(format, error),
        ImageError::Limits(ref limit) if limit.kind() != LimitErrorKind::DimensionError => {
            PictureError::unsupported(format, error)
        }
        _ if is_unexpected_end(&error) => PictureError::truncated(format, error),
        _ => PictureError::corrupt(format, error),
    }
}

/// Whether running out of bytes is somewhere behind an error.
fn is_unexpected_end(error: &(dyn std::error::Error + 'static)) -> bool {
    std::iter::successors(Some(error), |error| error.source()).any(|error| {
        let io = error.downcast_ref::<std::io::Error>();
        io.is_some_and(|io| io.kind() == std::io::ErrorKind::UnexpectedEof)
    })
}
