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

/// 16-bit gray, the first of `channels` per pixel, cut off at 255: strange, but so Pillow does for modes `I;16` and
/// `I`.
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

/// CMYK with 0 for no ink, the first 4 of `samples` per pixel.
pub(super) fn cmyk_to_rgb(raw: &[u8], samples: usize, out: &mut [u8]) {
    for (cmyk, rgb) in raw
        .chunks_exact(samples)
        .zip(out.chunks_exact_mut(CHANNELS))
    {
        ink_to_rgb([cmyk[0], cmyk[1], cmyk[2], cmyk[3]], rgb);
    }
}

/// The same by the upper 8 of 16 bits: Pillow's raw mode `CMYK;16L`.
pub(super) fn cmyk16_to_rgb(raw: &[u8], samples: usize, out: &mut [u8]) {
    let pixels = raw.chunks_exact(2 * samples);
    for (cmyk, rgb) in pixels.zip(out.chunks_exact_mut(CHANNELS)) {
        let ink = [0, 2, 4, 6].map(|at| sample_16(&cmyk[at..at + 2]).to_be_bytes()[0]);
        ink_to_rgb(ink, rgb);
    }
}

fn ink_to_rgb(cmyk: [u8; 4], rgb: &mut [u8]) {
    let light = 255 - cmyk[3];
    for (ink, value) in cmyk.into_iter().zip(rgb) {
        *value = light.saturating_sub(divided_by_255(u32::from(ink) * u32::from(light)));
    }
}

/// Levels that were multiplied by the alpha of their pixel -> levels: Pillow's raw mode `RGBa`. Nothing is seen without
/// alpha.
fn without_alpha(level: u8, alpha: u8) -> u8 {
    match alpha {
        0 => 0,
        alpha => (u32::from(level) * 255 / u32::from(alpha)).min(255) as u8,
    }
}

/// Gray that was multiplied by alpha, the second of `samples` per pixel. (Pillow refuses it.)
pub(super) fn gray_associated_to_rgb(raw: &[u8], samples: usize, out: &mut [u8]) {
    for (pixel, rgb) in raw
        .chunks_exact(samples)
        .zip(out.chunks_exact_mut(CHANNELS))
    {
        rgb.fill(without_alpha(pixel[0], pixel[1]));
    }
}

/// Colours that were multiplied by alpha, the fourth of `samples` per pixel; of 16 bits the upper 8.
pub(super) fn rgb_associated_to_rgb(raw: &[u8], samples: usize, bits: usize, out: &mut [u8]) {
    let sample_len = bits / 8;
    let upper = |bytes: &[u8]| match sample_len {
        2 => sample_16(bytes).to_be_bytes()[0],
        _ => bytes[0],
    };
    let pixels = raw.chunks_exact(samples * sample_len);
    for (pixel, rgb) in pixels.zip(out.chunks_exact_mut(CHANNELS)) {
        let alpha = upper(&pixel[CHANNELS * sample_len..]);
        for (sample, value) in pixel.chunks_exact(sample_len).zip(rgb) {
            *value = without_alpha(upper(sample), alpha);
        }
    }
}

/// A row of 12-bit gray, two in three bytes, cut off at 255 as 16 bits are.
pub(super) fn gray12_to_rgb(row: &[u8], out: &mut [u8]) {
    for (x, rgb) in out.chunks_exact_mut(CHANNELS).enumerate() {
        let at = x / 2 * 3;
        let level = match x % 2 {
            0 => u16::from(row[at]) << 4 | u16::from(row[at + 1]) >> 4,
            _ => u16::from(row[at + 1] & 0xf) << 8 | u16::from(row[at + 2]),
        };
        rgb.fill(level.min(255) as u8);
    }
}

/// Gray of `LEN` bytes, which `number` makes a number of, cut off at 0 and 255: Pillow's modes `I` and `F`.
pub(super) fn numbers_to_rgb<const LEN: usize>(
    raw: &[u8],
    number: impl Fn([u8; LEN]) -> i32,
    out: &mut [u8],
) {
    let pixels = raw.as_chunks::<LEN>().0.iter();
    for (&bytes, rgb) in pixels.zip(out.chunks_exact_mut(CHANNELS)) {
        rgb.fill(number(bytes).clamp(0, 255) as u8);
    }
}

/// What makes RGB of 8-bit YCbCr: what each value of Y, Cb and Cr adds, in fractions that `shift` bits stand for.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct YCbCr {
    luma: Vec<i32>,
    red_of_cr: Vec<i32>,
    green_of_cb: Vec<i32>,
    green_of_cr: Vec<i32>,
    blue_of_cb: Vec<i32>,
    green_shift: u32,
}

impl YCbCr {
    /// As Pillow converts its mode `YCbCr`: JFIF's coefficients in 64ths.
    pub(super) fn of_pillow() -> Self {
        let table = |factor: f64| -> Vec<i32> {
            let value = |code: i32| (f64::from(code - 128) * factor * 64.0 + 0.5) as i32;
            (0..256).map(value).collect()
        };
        let whole = |table: Vec<i32>| table.into_iter().map(|value| value >> 6).collect();
        YCbCr {
            luma: (0..256).collect(),
            red_of_cr: whole(table(1.402)),
            green_of_cb: table(-0.34414),
            green_of_cr: table(-0.71414),
            blue_of_cb: whole(table(1.772)),
            green_shift: 6,
        }
    }

    /// As libtiff does: `luma` is what red, green and blue add to Y, and `range` which values of Y, Cb and Cr stand for
    /// the least and the most.
    pub(super) fn of_libtiff(luma: [f32; 3], range: [f32; 6]) -> Self {
        const HALF: i32 = 1 << 15;
        // Of what is not a number, nothing.
        let fraction = |value: f32| match value >= 0.0 {
            true => (f64::from(value.min(2.0)) * 65536.0 + 0.5) as i32,
            false => 0,
        };
        let [red, green, blue] = luma;
        let of_cr = 2.0 - 2.0 * red;
        let of_cb = 2.0 - 2.0 * blue;
        let codes = |low: f32, high: f32, scale: f32, first: i32| -> Vec<i32> {
            let span = if high == low { 1.0 } else { high - low };
            let value = |code: i32| {
                let value = (code.wrapping_sub(low as i32)) as f32 * scale / span;
                match value >= -4096.0 {
                    true => value.min(4096.0) as i32,
                    false => -4096,
                }
            };
            (first..first + 256).map(value).collect()
        };
        let cb = codes(range[2] - 128.0, range[3] - 128.0, 127.0, -128);
        let cr = codes(range[4] - 128.0, range[5] - 128.0, 127.0, -128);
        let whole = |factor: f32, codes: &[i32]| {
            let factor = fraction(factor);
            codes
                .iter()
                .map(|code| (factor * code + HALF) >> 16)
                .collect()
        };
        let minus = |factor: f32, codes: &[i32], more: i32| {
            let factor = -fraction(factor);
            codes.iter().map(|code| factor * code + more).collect()
        };
        YCbCr {
            luma: codes(range[0], range[1], 255.0, 0),
            red_of_cr: whole(of_cr, &cr),
            green_of_cb: minus(blue * of_cb / green, &cb, HALF),
            green_of_cr: minus(red * of_cr / green, &cr, 0),
            blue_of_cb: whole(of_cb, &cb),
            green_shift: 16,
        }
    }

    /// Converts `[pixels, 3]` where they are.
    pub(super) fn to_rgb(&self, pixels: &mut [u8]) {
        for pixel in pixels.as_chunks_mut::<CHANNELS>().0 {
            let [y, cb, cr] = pixel.map(usize::from);
            let luma = self.luma[y];
            let green = (self.green_of_cb[cb] + self.green_of_cr[cr]) >> self.green_shift;
            let rgb = [self.red_of_cr[cr], green, self.blue_of_cb[cb]];
            *pixel = rgb.map(|colour| (luma + colour).clamp(0, 255) as u8);
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
