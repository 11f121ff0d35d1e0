//! What decoders give -> 8-bit RGB, as Pillow's `convert("RGB")` does it.
//!
//! All functions take whole pictures without row padding; `out` has 3 bytes per pixel. Samples of 16 bits are in the
//! machine's byte order.

use super::size::CHANNELS;

/// Gray `[pixels]`.
pub(super) fn gray_to_rgb(raw: &[u8], out: &mut [u8]) {
    for (&gray, rgb) in raw.iter().zip(out.chunks_exact_mut(CHANNELS)) {
        rgb.fill(gray);
    }
}

/// Gray and alpha `[pixels, 2]`; alpha is dropped.
pub(super) fn gray_alpha_to_rgb(raw: &[u8], out: &mut [u8]) {
    for (gray, rgb) in raw.chunks_exact(2).zip(out.chunks_exact_mut(CHANNELS)) {
        rgb.fill(gray[0]);
    }
}

/// RGB and alpha `[pixels, 4]`; alpha is dropped.
pub(super) fn rgba_to_rgb(raw: &[u8], out: &mut [u8]) {
    for (rgba, rgb) in raw.chunks_exact(4).zip(out.chunks_exact_mut(CHANNELS)) {
        rgb.copy_from_slice(&rgba[..CHANNELS]);
    }
}

/// The upper 8 of 16 bits, for the first 3 of `channels` per pixel: Pillow's raw modes `RGB;16`, `RGBA;16`.
pub(super) fn rgb16_to_rgb(raw: &[u8], channels: usize, out: &mut [u8]) {
    for (pixel, rgb) in raw
        .chunks_exact(2 * channels)
        .zip(out.chunks_exact_mut(CHANNELS))
    {
        for (sample, value) in pixel.chunks_exact(2).zip(rgb) {
            *value = sample_16(sample).to_be_bytes()[0];
        }
    }
}

/// 16-bit gray, the first of `channels` per pixel, cut off at 255: strange, but so Pillow does for modes `I;16` and `I`.
pub(super) fn gray16_to_rgb(raw: &[u8], channels: usize, out: &mut [u8]) {
    for (pixel, rgb) in raw
        .chunks_exact(2 * channels)
        .zip(out.chunks_exact_mut(CHANNELS))
    {
        rgb.fill(sample_16(pixel).min(255) as u8);
    }
}

/// The upper 8 bits of 16-bit gray, alpha dropped: Pillow's raw mode `LA;16B`.
pub(super) fn gray_alpha16_to_rgb(raw: &[u8], out: &mut [u8]) {
    for (pixel, rgb) in raw.chunks_exact(4).zip(out.chunks_exact_mut(CHANNELS)) {
        rgb.fill(sample_16(&pixel[..2]).to_be_bytes()[0]);
    }
}

/// Indices `[pixels]` into a palette of RGB entries; an index beyond it is black.
pub(super) fn palette_to_rgb(raw: &[u8], palette: &[[u8; CHANNELS]], out: &mut [u8]) {
    for (&index, rgb) in raw.iter().zip(out.chunks_exact_mut(CHANNELS)) {
        rgb.copy_from_slice(palette.get(usize::from(index)).unwrap_or(&[0; CHANNELS]));
    }
}

/// CMYK `[pixels, 4]` with 0 for no ink.
pub(super) fn cmyk_to_rgb(raw: &[u8], out: &mut [u8]) {
    for (cmyk, rgb) in raw.chunks_exact(4).zip(out.chunks_exact_mut(CHANNELS)) {
        let light = 255 - cmyk[3];
        for (&ink, value) in cmyk.iter().zip(rgb) {
            *value = light.saturating_sub(divided_by_255(u32::from(ink) * u32::from(light)));
        }
    }
}

/// CMYK `[pixels, 4]` with 255 for no ink, as JPEG files have it.
#[cfg(feature = "turbojpeg")]
pub(super) fn inverted_cmyk_to_rgb(raw: &[u8], out: &mut [u8]) {
    for (cmyk, rgb) in raw.chunks_exact(4).zip(out.chunks_exact_mut(CHANNELS)) {
        let light = cmyk[3];
        for (&paper, value) in cmyk.iter().zip(rgb) {
            *value =
                light.saturating_sub(divided_by_255(u32::from(255 - paper) * u32::from(light)));
        }
    }
}

/// Rounded division of a product of two 8-bit values, Pillow's `MULDIV255`.
fn divided_by_255(product: u32) -> u8 {
    let rounded = product + 128;
    (((rounded >> 8) + rounded) >> 8) as u8
}

fn sample_16(bytes: &[u8]) -> u16 {
    u16::from_ne_bytes([bytes[0], bytes[1]])
}

/// 16-bit samples, as many as `out` has bytes, rounded to 8 bits: Pillow does so for PNM only.
pub(super) fn rounded_16_to_8(raw: &[u8], out: &mut [u8]) {
    for (sample, value) in raw.chunks_exact(2).zip(out) {
        *value = ((u32::from(sample_16(sample)) + 128) / 257) as u8;
    }
}
