//! What decoders of the `image` crate have in common.

use image::error::{ImageError, LimitErrorKind};
use image::{ColorType, ImageDecoder, ImageResult};

use super::{Format, Picture};
use crate::pictures::convert::{
    gray_alpha_to_rgb, gray_to_rgb, gray16_to_rgb, rgb16_to_rgb, rgba_to_rgb, rounded_16_to_8,
};
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;
use crate::pictures::{PictureError, Size};

/// For decoders that need no memory besides that for the pixels that they give.
pub(super) fn needs_none(_size: Size) -> usize {
    0
}

/// Decodes into `picture`. `memory` gives the bytes that the decoder itself needs for a picture of a size.
pub(super) fn decode_with(
    format: Format,
    decoder: ImageResult<impl ImageDecoder>,
    limits: Limits,
    memory: impl FnOnce(Size) -> usize,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let decoder = decoder.map_err(|source| error(format, source))?;
    let (width, height) = decoder.dimensions();
    let size = limits.check(format, width, height)?;
    let color = decoder.color_type();
    let raw_len = size.width * size.height * usize::from(color.bytes_per_pixel());
    let direct = color == ColorType::Rgb8;
    let copy_len = if direct { 0 } else { raw_len };
    limits.check_memory(format, size, memory(size).saturating_add(copy_len))?;
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
        ColorType::L16 => |raw, out| gray16_to_rgb(raw, 1, out),
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
