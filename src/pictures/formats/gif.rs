//! GIF: the first frame.

use std::borrow::Cow;

use gif::{ColorOutput, DecodeOptions, DecodingError, MemoryLimit};

use super::{Format, Picture};
use crate::pictures::PictureError;
use crate::pictures::convert::palette_to_rgb;
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;

/// Where the flags and the global palette stand in a file.
const FLAGS: usize = 10;
const GLOBAL_PALETTE: usize = 13;

type Palette = [[u8; CHANNELS]];

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let bytes = with_global_palette(bytes);
    let mut options = DecodeOptions::new();
    options.set_color_output(ColorOutput::Indexed);
    // Extensions that nobody knows are passed over.
    options.allow_unknown_blocks(true);
    // The frame's size is checked below, before there is memory for it.
    options.set_memory_limit(MemoryLimit::Unlimited);
    let mut decoder = options.read_info(bytes.as_ref()).map_err(error)?;
    let screen = (decoder.width(), decoder.height());
    let global = decoder
        .global_palette()
        .unwrap_or_default()
        .as_chunks()
        .0
        .to_vec();
    let frame = decoder.next_frame_info().map_err(error)?;
    let frame = frame.ok_or_else(|| PictureError::corrupt(Format::Gif, "no frame"))?;
    let (left, top) = (usize::from(frame.left), usize::from(frame.top));
    let (frame_width, frame_height) = (usize::from(frame.width), usize::from(frame.height));
    let transparent = frame.transparent;
    let local = frame
        .palette
        .as_deref()
        .unwrap_or_default()
        .as_chunks()
        .0
        .to_vec();
    // As Pillow: a frame that reaches over the screen makes it larger, a smaller one leaves the rest of the screen
    // in the transparent colour, or the palette's first.
    let width = (left + frame_width).max(screen.0.into());
    let height = (top + frame_height).max(screen.1.into());
    let size = limits.check(Format::Gif, width as u64, height as u64)?;
    let copied = if matches!(bytes, Cow::Owned(_)) {
        bytes.len()
    } else {
        0
    };
    limits.check_memory(Format::Gif, size, copied + 2 * width * height)?;
    let mut indices = vec![0; frame_width * frame_height];
    decoder.read_into_buffer(&mut indices).map_err(error)?;
    picture.fill_converted(
        size,
        width * height,
        |canvas| {
            canvas.fill(transparent.unwrap_or(0));
            if frame_width > 0 {
                let rows = canvas.chunks_exact_mut(width).skip(top);
                for (canvas, frame) in rows.zip(indices.chunks_exact(frame_width)) {
                    canvas[left..left + frame_width].copy_from_slice(frame);
                }
            }
            Ok(())
        },
        |canvas, out| palette_to_rgb(canvas, &effective_palette(&local, &global), out),
    )
}

/// The palette that Pillow takes: the frame's own, or the global one, or gray levels. It takes a palette in which each
/// index is its own gray level for none, even where that makes it go on to a global palette of other colours.
fn effective_palette<'a>(local: &'a Palette, global: &'a Palette) -> Cow<'a, Palette> {
    let is_gray_ramp = |palette: &Palette| {
        palette
            .iter()
            .enumerate()
            .all(|(index, entry)| entry.iter().all(|&value| usize::from(value) == index))
    };
    match [local, global]
        .into_iter()
        .find(|palette| !is_gray_ramp(palette))
    {
        Some(palette) => palette.into(),
        None => (0..=255).map(|gray| [gray; CHANNELS]).collect(),
    }
}

/// The `gif` crate refuses frames without any palette, which Pillow reads as gray: so they get one of gray levels.
fn with_global_palette(bytes: &[u8]) -> Cow<'_, [u8]> {
    const PRESENT: u8 = 0x80;
    const OF_256: u8 = 7;
    if bytes.len() < GLOBAL_PALETTE || bytes[FLAGS] & PRESENT != 0 {
        return bytes.into();
    }
    let (head, tail) = bytes.split_at(GLOBAL_PALETTE);
    let mut with_palette = Vec::with_capacity(bytes.len() + 256 * CHANNELS);
    with_palette.extend_from_slice(head);
    with_palette[FLAGS] |= PRESENT | OF_256;
    with_palette.extend((0..=255).flat_map(|gray| [gray; CHANNELS]));
    with_palette.extend_from_slice(tail);
    with_palette.into()
}

fn error(error: DecodingError) -> PictureError {
    match error {
        DecodingError::UnexpectedEof => PictureError::truncated(Format::Gif, error),
        DecodingError::Io(source) => PictureError::io(Format::Gif, source),
        _ => PictureError::corrupt(Format::Gif, error),
    }
}
