//! JPEG XL, in a container or as it is, through the crate `jxl-oxide`, turned as its header says.

use std::error::Error;

use jxl_oxide::{
    AllocTracker, EnumColourEncoding, ImageStream, InitializeResult, JxlImage, JxlThreadPool,
    PixelFormat, RenderingIntent,
};

use super::{Format, Picture};
use crate::pictures::PictureError;
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;

/// What the decoder may take for each sample, in bytes. (32 for a pixel of three were measured.)
const BYTES_PER_SAMPLE: usize = 16;

/// The same whatever the size of the picture.
const BYTES: usize = 16 << 20;

/// More frames before the first one is whole are layers that nobody makes.
const MAX_FRAMES: usize = 256;

/// The header is looked for in as much as this at a time, in bytes.
const PART: usize = 4096;

/// The most bytes that the header and the colour profile in it may take.
const MAX_HEADER: usize = 4 << 20;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let mut parts = codestream(bytes)?
        .into_iter()
        .flat_map(|part| part.chunks(PART));
    let memory = AllocTracker::with_limit(BYTES);
    let mut image = read_header(&mut parts, memory.clone())?;
    let size = limits.check(Format::JpegXl, image.width(), image.height())?;
    let more_channels = image.image_header().metadata.ec_info.len();
    let allowed = (size.width * size.height)
        .saturating_mul(CHANNELS + more_channels)
        .saturating_mul(BYTES_PER_SAMPLE);
    // The bytes of frames are copied.
    let copied = bytes.len().saturating_add(BYTES);
    limits.check_memory(Format::JpegXl, size, allowed.saturating_add(copied))?;
    memory.expand_limit(allowed);
    while image.num_loaded_keyframes() == 0 {
        if image.num_loaded_frames() > MAX_FRAMES {
            return Err(unsupported("more than 256 layers"));
        }
        let part = parts
            .next()
            .ok_or_else(|| truncated("a frame ends early"))?;
        image.feed_bytes(part).map_err(corrupt)?;
    }
    show_as_srgb(&mut image);
    let depth = image.image_header().metadata.bit_depth.bits_per_sample();
    let format = image.pixel_format();
    let rendered = image.render_frame(0).map_err(corrupt)?;
    let mut samples = rendered.stream_no_alpha();
    let shown = (samples.width() as usize, samples.height() as usize);
    if shown != (size.width, size.height) {
        return Err(corrupt("a frame of another size than the picture's"));
    }
    match format {
        PixelFormat::Rgb | PixelFormat::Rgba if samples.channels() == 3 => {
            samples.write_to_buffer(picture.resize(size));
        }
        PixelFormat::Gray | PixelFormat::Graya if samples.channels() == 1 => {
            let (out, _) = picture.resize(size).as_chunks_mut::<CHANNELS>();
            fill_gray(&mut samples, size.width, depth, out);
        }
        _ => return Err(unsupported(format!("{format:?}"))),
    }
    Ok(())
}

/// Colours that were coded in the format's own space, with a profile to go back by, become sRGB: there is no conversion
/// to profiles here. What was coded as it was stays in its profile.
fn show_as_srgb(image: &mut JxlImage) {
    let metadata = &image.image_header().metadata;
    if !metadata.xyb_encoded || !metadata.colour_encoding.want_icc() {
        return;
    }
    let encoding = match image.pixel_format() {
        PixelFormat::Gray | PixelFormat::Graya => EnumColourEncoding::gray_srgb,
        _ => EnumColourEncoding::srgb,
    };
    image.request_color_encoding(encoding(RenderingIntent::Relative));
}

/// Row by row. Pillow has 16 bits for gray of more than 8, and cuts them off at 255 on the way to RGB.
fn fill_gray(samples: &mut ImageStream, width: usize, depth: u32, out: &mut [[u8; CHANNELS]]) {
    let (mut row, mut wide_row) = (vec![0_u8; width], vec![0_u16; width]);
    for out in out.chunks_exact_mut(width) {
        if depth > 8 {
            samples.write_to_buffer(&mut wide_row);
            for (value, wide) in row.iter_mut().zip(&wide_row) {
                *value = (*wide).min(255) as u8;
            }
        } else {
            samples.write_to_buffer(&mut row);
        }
        for (rgb, value) in out.iter_mut().zip(&row) {
            rgb.fill(*value);
        }
    }
}

/// Takes as many parts as the header needs.
fn read_header<'a>(
    parts: &mut impl Iterator<Item = &'a [u8]>,
    memory: AllocTracker,
) -> Result<JxlImage, PictureError> {
    let builder = JxlImage::builder().pool(JxlThreadPool::none());
    let mut image = builder.alloc_tracker(memory).build_uninit();
    // Each try begins again, so that it comes after twice as many bytes.
    let (mut fed, mut next_try) = (0, 0);
    loop {
        let part = parts.next();
        if let Some(part) = part {
            image.feed_bytes(part).map_err(corrupt)?;
            fed += part.len();
        }
        if part.is_some() && fed < next_try {
            continue;
        }
        next_try = 2 * fed;
        match image.try_init().map_err(corrupt)? {
            InitializeResult::Initialized(image) => return Ok(image),
            InitializeResult::NeedMoreData(_) if part.is_none() => {
                return Err(truncated("the header ends early"));
            }
            InitializeResult::NeedMoreData(_) if fed > MAX_HEADER => {
                return Err(unsupported("a header of more than 4 MiB"));
            }
            InitializeResult::NeedMoreData(same) => image = same,
        }
    }
}

/// The parts of the codestream within a container, or all there is. The other boxes, which may be compressed, are never
/// opened.
fn codestream(bytes: &[u8]) -> Result<Vec<&[u8]>, PictureError> {
    if bytes.starts_with(b"\xff\x0a") {
        return Ok(vec![bytes]);
    }
    let (mut parts, mut rest) = (Vec::new(), bytes);
    while let Some((&[a, b, c, d, name @ ..], content)) = rest.split_first_chunk::<8>() {
        let len = u32::from_be_bytes([a, b, c, d]) as usize;
        let (head, len) = match (len, content.first_chunk()) {
            (0, _) => (8, rest.len()),
            (1, Some(&len)) => (16, usize::try_from(u64::from_be_bytes(len)).unwrap_or(0)),
            _ => (8, len),
        };
        if len < head {
            return Err(corrupt("a box that is shorter than its own name"));
        }
        let end = len.min(rest.len());
        match &name {
            b"jxlc" => parts.push(rest.get(head..end).unwrap_or_default()),
            // After the part's number.
            b"jxlp" => parts.push(rest.get(head + 4..end).unwrap_or_default()),
            _ => {}
        }
        rest = &rest[end..];
    }
    match parts.first() {
        None => Err(truncated("no codestream")),
        // The decoder would open a container within the container, with its compressed boxes.
        Some(part) if !part.starts_with(b"\xff\x0a") => Err(corrupt("not a codestream")),
        Some(_) => Ok(parts),
    }
}

type Source = Box<dyn Error + Send + Sync>;

fn unsupported(source: impl Into<Source>) -> PictureError {
    PictureError::unsupported(Format::JpegXl, source)
}

fn truncated(source: impl Into<Source>) -> PictureError {
    PictureError::truncated(Format::JpegXl, source)
}

fn corrupt(source: impl Into<Source>) -> PictureError {
    PictureError::corrupt(Format::JpegXl, source)
}
