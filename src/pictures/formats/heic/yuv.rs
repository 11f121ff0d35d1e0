//! Brightness and colour -> RGB, as libheif 1.23 does it for pillow-heif: every pixel has the colour of the block it
//! lies in.

use crate::pictures::formats::heif::{Colour, Layout, Planes};
use crate::pictures::size::CHANNELS;

/// Code points of ITU-T H.273 for `MatrixCoefficients`.
mod code {
    pub const IDENTITY: u16 = 0;
    pub const BT709: u16 = 1;
    pub const FCC: u16 = 4;
    pub const SMPTE240: u16 = 7;
    pub const YCGCO: u16 = 8;
    pub const BT2020: [u16; 2] = [9, 10];
    pub const BY_PRIMARIES: [u16; 2] = [12, 13];
}

/// Whether pictures whose numbers mean this are read: what libheif has its own arithmetic for, and what it takes for
/// BT.601.
pub(super) fn is_read(colour: Colour) -> bool {
    matches!(colour.matrix, 0..=10 | 12 | 13)
}

/// Writes the picture to `out`, `[height, width, 3]`. Whether it `has_alpha`, which is dropped, decides what
/// pillow-heif makes of gray pictures of more than 8 bits.
pub(super) fn to_rgb(picture: &Planes, has_alpha: bool, out: &mut [u8]) {
    let cut = picture.bits - 8;
    match picture.layout {
        // 16 bits, which Pillow cuts off at 255 on the way to RGB.
        Layout::Gray if cut > 0 && !has_alpha => {
            let bits = picture.bits;
            fill_gray(
                picture,
                |value| (u32::from(value) << (16 - bits)).min(255) as u8,
                out,
            );
        }
        Layout::Gray => fill_gray(picture, |value| (value >> cut) as u8, out),
        layout => {
            let colour = picture.colour;
            let is_plain = ![code::IDENTITY, code::YCGCO].contains(&colour.matrix);
            let weights = Weights::of(colour);
            if layout == Layout::HalfBoth && colour.is_full_range && is_plain {
                let weights = weights.fixed();
                convert(
                    picture,
                    |values| fixed(weights, values.map(|value| value >> cut)),
                    out,
                );
            } else {
                convert(picture, |values| float(colour, weights, cut, values), out);
            }
        }
    }
}

fn fill_gray(picture: &Planes, level: impl Fn(u16) -> u8, out: &mut [u8]) {
    let (pixels, _) = out.as_chunks_mut::<CHANNELS>();
    for (pixel, &value) in pixels.iter_mut().zip(&picture.planes[0]) {
        pixel.fill(level(value));
    }
}

/// `pixel` makes RGB of brightness and the two colours.
fn convert(picture: &Planes, pixel: impl Fn([u16; 3]) -> [u8; CHANNELS], out: &mut [u8]) {
    let (size, layout) = (picture.size, picture.layout);
    let colours = layout.colour_size(size);
    let across = if layout == Layout::Full { 1 } else { 2 };
    let down = if layout == Layout::HalfBoth { 2 } else { 1 };
    let [light, first, second] = &picture.planes;
    let rows = light.chunks_exact(size.width);
    for (y, (light, out)) in rows
        .zip(out.chunks_exact_mut(size.width * CHANNELS))
        .enumerate()
    {
        let [first, second] =
            [first, second].map(|plane| &plane[y / down * colours.width..][..colours.width]);
        let (pixels, _) = out.as_chunks_mut();
        for (x, (out, &light)) in pixels.iter_mut().zip(light).enumerate() {
            *out = pixel([light, first[x / across], second[x / across]]);
        }
    }
}

/// By how much a step of the two colours changes red, green and blue.
#[derive(Clone, Copy, Debug)]
struct Weights<T> {
    red: T,
    green: [T; 2],
    blue: T,
}

impl Weights<f32> {
    fn of(colour: Colour) -> Self {
        let Some((red, blue)) = light_weights(colour) else {
            return Self {
                red: 1.402,
                green: [-0.344136, -0.714136],
                blue: 1.772,
            };
        };
        let rest = blue + red - 1.0;
        Self {
            red: 2.0 * (-red + 1.0),
            green: [
                2.0 * blue * (-blue + 1.0) / rest,
                2.0 * red * (-red + 1.0) / rest,
            ],
            blue: 2.0 * (-blue + 1.0),
        }
    }

    /// With 8 fractional bits.
    fn fixed(self) -> Weights<i32> {
        let fixed = |weight: f32| (256.0 * weight).round() as i32;
        Weights {
            red: fixed(self.red),
            green: self.green.map(fixed),
            blue: fixed(self.blue),
        }
    }
}

/// The weights of red and blue in brightness; none where BT.601 is meant or nothing is said.
fn light_weights(colour: Colour) -> Option<(f32, f32)> {
    use code::*;
    match colour.matrix {
        BT709 => Some((0.2126, 0.0722)),
        FCC => Some((0.30, 0.11)),
        5 | 6 => Some((0.299, 0.114)),
        SMPTE240 => Some((0.212, 0.087)),
        matrix if BT2020.contains(&matrix) => Some((0.2627, 0.0593)),
        matrix if BY_PRIMARIES.contains(&matrix) => weights_of_primaries(colour.primaries),
        _ => None,
    }
}

/// As ITU-T H.273 has it for `MatrixCoefficients` 12.
fn weights_of_primaries(primaries: u16) -> Option<(f32, f32)> {
    // x and y of green, blue, red and white, by `ColourPrimaries`.
    let [[gx, gy], [bx, by], [rx, ry], [wx, wy]]: [[f32; 2]; 4] = match primaries {
        1 => [
            [0.300, 0.600],
            [0.150, 0.060],
            [0.640, 0.330],
            [0.3127, 0.3290],
        ],
        4 => [[0.21, 0.71], [0.14, 0.08], [0.67, 0.33], [0.310, 0.316]],
        5 => [[0.29, 0.60], [0.15, 0.06], [0.64, 0.33], [0.3127, 0.3290]],
        6 | 7 => [
            [0.310, 0.595],
            [0.155, 0.070],
            [0.630, 0.340],
            [0.3127, 0.3290],
        ],
        8 => [
            [0.243, 0.692],
            [0.145, 0.049],
            [0.681, 0.319],
            [0.310, 0.316],
        ],
        9 => [
            [0.170, 0.797],
            [0.131, 0.046],
            [0.708, 0.292],
            [0.3127, 0.3290],
        ],
        10 => [[0.0, 1.0], [0.0, 0.0], [1.0, 0.0], [0.333333, 0.33333]],
        11 => [
            [0.265, 0.690],
            [0.150, 0.060],
            [0.680, 0.320],
            [0.314, 0.351],
        ],
        12 => [
            [0.265, 0.690],
            [0.150, 0.060],
            [0.680, 0.320],
            [0.3127, 0.3290],
        ],
        22 => [
            [0.295, 0.605],
            [0.155, 0.077],
            [0.630, 0.340],
            [0.3127, 0.3290],
        ],
        _ => return None,
    };
    let [rz, gz, bz, wz] = [(rx, ry), (gx, gy), (bx, by), (wx, wy)].map(|(x, y)| 1.0 - (x + y));
    let all = wy * (rx * (gy * bz - by * gz) + gx * (by * rz - ry * bz) + bx * (ry * gz - gy * rz));
    let red = ry * (wx * (gy * bz - by * gz) + wy * (bx * gz - gx * bz) + wz * (gx * by - bx * gy));
    let blue =
        by * (wx * (ry * gz - gy * rz) + wy * (gx * rz - rx * gz) + wz * (rx * gy - gx * ry));
    Some((red / all, blue / all))
}

/// libheif's whole numbers, of values of 8 bits.
fn fixed(weights: Weights<i32>, values: [u16; 3]) -> [u8; CHANNELS] {
    let [light, first, second] = values.map(i32::from);
    let (first, second) = (first - 128, second - 128);
    let level = |sum: i32| (light + ((sum + 128) >> 8)).clamp(0, 255) as u8;
    [
        level(weights.red * second),
        level(weights.green[0] * first + weights.green[1] * second),
        level(weights.blue * first),
    ]
}

/// libheif's floating point, of values that have so many bits more than 8, which it cuts off at the end.
fn float(colour: Colour, weights: Weights<f32>, cut: u32, values: [u16; 3]) -> [u8; CHANNELS] {
    let scaled = |value: i32| (value << cut) as f32;
    let most = (256 << cut) - 1;
    let level = |value: f32| (((value + 0.5) as i32).clamp(0, most) >> cut) as u8;
    // To the whole range from 16..=235, and from 16..=240; libheif has these numbers.
    let (light_scale, colour_scale) = (1.1689, 1.1429);
    let [light, first, second] = values.map(f32::from);
    if colour.matrix == code::IDENTITY {
        return match colour.is_full_range {
            true => [second, light, first].map(level),
            false => [
                level((second - scaled(16)) * colour_scale),
                level((light - scaled(16)) * light_scale),
                level((first - scaled(16)) * colour_scale),
            ],
        };
    }
    let [first, second] = [first, second].map(|value| value - scaled(128));
    if colour.matrix == code::YCGCO {
        return [
            light - first + second,
            light + first,
            light - first - second,
        ]
        .map(level);
    }
    let (light, first, second) = match colour.is_full_range {
        true => (light, first, second),
        false => (
            (light - scaled(16)) * light_scale,
            first * colour_scale,
            second * colour_scale,
        ),
    };
    [
        level(light + weights.red * second),
        level(light + weights.green[0] * first + weights.green[1] * second),
        level(light + weights.blue * first),
    ]
}
