//! Brightness and colour -> RGB, as libavif 1.4.2 does it, which has libyuv do it where that can: then in whole
//! numbers, and else in floating point. Planes of colour with fewer pixels are made larger in both by weighing the four
//! nearest by 9, 3, 3 and 1 (3 and 1 where only one side is halved).

use crate::pictures::formats::heif::{Colour, Layout, Planes};
use crate::pictures::size::CHANNELS;

/// Code points of ITU-T H.273 for `MatrixCoefficients`, and for `ColourPrimaries` where they are the same.
mod code {
    pub const IDENTITY: u16 = 0;
    pub const BT709: u16 = 1;
    pub const UNSPECIFIED: u16 = 2;
    pub const FCC: u16 = 4;
    pub const BT470BG: u16 = 5;
    pub const BT601: u16 = 6;
    pub const SMPTE240: u16 = 7;
    pub const YCGCO: u16 = 8;
    pub const BT2020: u16 = 9;
    pub const BY_PRIMARIES: u16 = 12;
}

/// Whether pictures whose numbers mean this are read: libavif refuses the others, but for YCgCo-R, and for code point
/// 12 with other primaries.
pub(super) fn is_read(colour: Colour, layout: Layout) -> bool {
    use code::*;
    match colour.matrix {
        IDENTITY => matches!(layout, Layout::Gray | Layout::Full),
        YCGCO => colour.is_full_range,
        BY_PRIMARIES => [BT709, UNSPECIFIED, BT470BG, BT601, BT2020].contains(&colour.primaries),
        matrix => [BT709, UNSPECIFIED, FCC, BT470BG, BT601, SMPTE240, BT2020].contains(&matrix),
    }
}

/// Writes the picture to `out`, `[height, width, 3]`. Whether it `has_alpha`, which is dropped, decides how libavif
/// converts gray pictures and those of 10 bits.
pub(super) fn to_rgb(picture: &Planes, has_alpha: bool, out: &mut [u8]) {
    let is_gray = picture.layout == Layout::Gray;
    match Weights::of(picture.colour, is_gray) {
        Some(weights) if !is_gray || has_alpha => {
            // With alpha libyuv reads some at the bits that they have; all others become 8 bits first.
            let bits = match (picture.bits, picture.layout) {
                (10, Layout::HalfBoth | Layout::HalfWidth | Layout::Full) if has_alpha => 10,
                (12, Layout::HalfBoth) if has_alpha => 12,
                _ => 8,
            };
            let cut = picture.bits - bits;
            convert(&Fixed { weights, bits, cut }, picture, out);
        }
        _ => convert(&Float::of(picture), picture, out),
    }
}

/// How planes of colour are made larger, and three values are made a pixel.
trait Conversion {
    type Value: Copy + Default;

    /// Whether the last pixel of a row has its own colour alone also where another is as near.
    const LAST_ALONE: bool;

    fn light(&self, value: u16) -> Self::Value;

    fn colour(&self, value: u16) -> Self::Value;

    /// The colour of a pixel from the four values nearest to it: the one it lies in, that beside it, that above or
    /// below it, and that across.
    fn weighed(&self, layout: Layout, four: [Self::Value; 4]) -> Self::Value;

    fn pixel(&self, light: Self::Value, colours: [Self::Value; 2]) -> [u8; CHANNELS];
}

fn convert<C: Conversion>(conversion: &C, picture: &Planes, out: &mut [u8]) {
    let (size, layout) = (picture.size, picture.layout);
    let colours = layout.colour_size(size);
    let mut rows = [(); 2].map(|()| vec![C::Value::default(); size.width]);
    let out_rows = out.chunks_exact_mut(size.width * CHANNELS);
    let light_rows = picture.planes[0].chunks_exact(size.width);
    for (y, (light, out)) in light_rows.zip(out_rows).enumerate() {
        for (plane, row) in picture.planes[1..].iter().zip(&mut rows) {
            let (near, far) = match layout {
                Layout::Gray => break,
                Layout::HalfBoth => (y / 2, neighbour(y, colours.height)),
                Layout::HalfWidth | Layout::Full => (y, y),
            };
            let [near, far] = [near, far].map(|y| &plane[y * colours.width..][..colours.width]);
            if layout == Layout::Full {
                for (to, &from) in row.iter_mut().zip(near) {
                    *to = conversion.colour(from);
                }
                continue;
            }
            widen(conversion, layout, near, far, row);
        }
        let colours = rows[0].iter().zip(&rows[1]);
        let (pixels, _) = out.as_chunks_mut();
        for ((&light, (&first, &second)), pixel) in light.iter().zip(colours).zip(pixels) {
            *pixel = conversion.pixel(conversion.light(light), [first, second]);
        }
    }
}

/// A row of colours from the two nearest rows that have half as many.
fn widen<C: Conversion>(
    conversion: &C,
    layout: Layout,
    near: &[u16],
    far: &[u16],
    row: &mut [C::Value],
) {
    let weighed = |[near, beside, far, across]: [u16; 4]| {
        let four = [near, beside, far, across].map(|value| conversion.colour(value));
        conversion.weighed(layout, four)
    };
    let alone = |at: usize| weighed([near[at], near[at], far[at], far[at]]);
    let last = near.len() - 1;
    row[0] = alone(0);
    // Between two colours lie two pixels, each nearer to one of them.
    let pairs = near.windows(2).zip(far.windows(2));
    let (between, _) = row[1..].as_chunks_mut::<2>();
    for ((near, far), pixels) in pairs.zip(between) {
        pixels[0] = weighed([near[0], near[1], far[0], far[1]]);
        pixels[1] = weighed([near[1], near[0], far[1], far[0]]);
    }
    if C::LAST_ALONE || row.len().is_multiple_of(2) {
        row[row.len() - 1] = alone(last);
    }
}

/// The second nearest of `count` halved positions to a whole one; the nearest where there is no other.
fn neighbour(position: usize, count: usize) -> usize {
    match position % 2 {
        0 => (position / 2).saturating_sub(1),
        _ => (position / 2 + 1).min(count - 1),
    }
}

/// libyuv's weights, with 6 fractional bits.
#[derive(Clone, Copy, Debug)]
struct Weights {
    /// Of brightness, for values of 16 bits whose highest is 65535, in 2^-16.
    light: i32,
    /// Added to that; half a level of output is in it.
    bias: i32,
    blue: i32,
    green: [i32; 2],
    red: i32,
}

impl Weights {
    /// `None` where libyuv has no weights.
    fn of(colour: Colour, is_gray: bool) -> Option<Self> {
        use code::*;
        let matrix = match (colour.matrix, colour.primaries) {
            (IDENTITY, _) if is_gray => BT601,
            (BY_PRIMARIES, BT709 | UNSPECIFIED) => BT709,
            (BY_PRIMARIES, BT470BG | BT601) => BT601,
            (BY_PRIMARIES, BT2020) => BT2020,
            (BY_PRIMARIES, _) => return None,
            (matrix, _) => matrix,
        };
        let weights = |light, bias, blue, green, red| Self {
            light,
            bias,
            blue,
            green,
            red,
        };
        // `kYuv...Constants` of libyuv: each weight times 64, rounded, but that those above 2 are cut to 2.
        Some(match (matrix, colour.is_full_range) {
            (BT709, true) => weights(16320, 32, 119, [12, 30], 101),
            (BT709, false) => weights(18997, -1160, 128, [14, 34], 115),
            (BT470BG | BT601 | UNSPECIFIED, true) => weights(16320, 32, 113, [22, 46], 90),
            (BT470BG | BT601 | UNSPECIFIED, false) => weights(18997, -1160, 128, [25, 52], 102),
            (BT2020, true) => weights(16320, 32, 120, [11, 37], 94),
            (BT2020, false) => weights(19003, -1160, 128, [12, 42], 107),
            _ => return None,
        })
    }
}

/// libyuv's arithmetic.
struct Fixed {
    weights: Weights,
    /// Of the values that are calculated with: 8, 10 or 12.
    bits: u32,
    /// By how many bits those of the picture are more.
    cut: u32,
}

impl Conversion for Fixed {
    type Value = i32;

    const LAST_ALONE: bool = true;

    fn light(&self, value: u16) -> i32 {
        i32::from(value >> self.cut)
    }

    fn colour(&self, value: u16) -> i32 {
        // So that no colour is zero.
        i32::from(value >> self.cut) - (128 << (self.bits - 8))
    }

    fn weighed(&self, layout: Layout, [near, beside, far, across]: [i32; 4]) -> i32 {
        match layout {
            // For 12 bits libyuv has only this.
            _ if self.bits == 12 => near,
            Layout::HalfBoth => (9 * near + 3 * beside + 3 * far + across + 8) >> 4,
            _ => (3 * near + beside + 2) >> 2,
        }
    }

    fn pixel(&self, light: i32, colours: [i32; 2]) -> [u8; CHANNELS] {
        // To 16 bits, the highest repeated below.
        let wide = light << (16 - self.bits) | light >> (2 * self.bits - 16);
        let weights = self.weights;
        let light = ((wide * weights.light) >> 16) + weights.bias;
        let [first, second] = colours.map(|colour| colour >> (self.bits - 8));
        let level = |sum: i32| (sum >> 6).clamp(0, 255) as u8;
        [
            level(light + second * weights.red),
            level(light - first * weights.green[0] - second * weights.green[1]),
            level(light + first * weights.blue),
        ]
    }
}

/// libavif's own arithmetic.
#[derive(Clone, Copy, Debug)]
struct Float {
    is_gray: bool,
    matrix: u16,
    /// The weights of red and blue in brightness.
    red: f32,
    blue: f32,
    light_bias: f32,
    light_range: f32,
    colour_bias: f32,
    colour_range: f32,
}

impl Float {
    fn of(picture: &Planes) -> Self {
        let Colour {
            primaries,
            matrix,
            is_full_range,
        } = picture.colour;
        let bits = picture.bits;
        let most = ((1_u32 << bits) - 1) as f32;
        let scaled = |value: u32| (value << (bits - 8)) as f32;
        let (red, blue) = weights(matrix, primaries);
        let (light_bias, light_range, colour_range) = match is_full_range {
            true => (0.0, most, most),
            false => (scaled(16), scaled(219), scaled(224)),
        };
        let is_identity = matrix == code::IDENTITY;
        Self {
            is_gray: picture.layout == Layout::Gray,
            matrix,
            red,
            blue,
            light_bias,
            light_range,
            colour_bias: if is_identity { light_bias } else { scaled(128) },
            colour_range: if is_identity {
                light_range
            } else {
                colour_range
            },
        }
    }
}

impl Conversion for Float {
    type Value = f32;

    const LAST_ALONE: bool = false;

    fn light(&self, value: u16) -> f32 {
        (f32::from(value) - self.light_bias) / self.light_range
    }

    fn colour(&self, value: u16) -> f32 {
        (f32::from(value) - self.colour_bias) / self.colour_range
    }

    fn weighed(&self, _layout: Layout, [near, beside, far, across]: [f32; 4]) -> f32 {
        near * (9.0 / 16.0) + beside * (3.0 / 16.0) + far * (3.0 / 16.0) + across * (1.0 / 16.0)
    }

    fn pixel(&self, light: f32, [first, second]: [f32; 2]) -> [u8; CHANNELS] {
        let Self { red, blue, .. } = *self;
        let green = 1.0 - red - blue;
        let rgb = match self.matrix {
            _ if self.is_gray => [light; 3],
            code::IDENTITY => [second, light, first],
            code::YCGCO => {
                let rest = light - first;
                [rest + second, light + first, rest - second]
            }
            _ => {
                let gone = 2.0 * ((red * (1.0 - red) * second) + (blue * (1.0 - blue) * first));
                [
                    light + (2.0 * (1.0 - red)) * second,
                    light - gone / green,
                    light + (2.0 * (1.0 - blue)) * first,
                ]
            }
        };
        rgb.map(|value| (0.5 + value.clamp(0.0, 1.0) * 255.0) as u8)
    }
}

/// The weights of red and blue in brightness; those of BT.601 where none are known.
fn weights(matrix: u16, primaries: u16) -> (f32, f32) {
    use code::*;
    let matrix = match matrix {
        BY_PRIMARIES => primaries,
        _ => matrix,
    };
    match matrix {
        BT709 => (0.2126, 0.0722),
        FCC => (0.3, 0.11),
        SMPTE240 => (0.212, 0.087),
        BT2020 => (0.2627, 0.0593),
        _ => (0.299, 0.114),
    }
}
