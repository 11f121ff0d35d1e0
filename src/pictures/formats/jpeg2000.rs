//! JPEG 2000, in a JP2 file or as it is, through the crate `hayro-jpeg2000`, and from its samples to RGB as Pillow does
//! it.
//!
//! Pillow has OpenJPEG decode it. What was coded without loss is the same; else some values differ by one level, since
//! both calculate with numbers of 32 bits in another order.

use std::error::Error;

use hayro_jpeg2000::{
    ComponentData, DecodeError, DecodeSettings, DecoderContext, FormatError, Image, MarkerError,
};

use memchr::memmem;

use super::{Format, Picture};
use crate::pictures::PictureError;
use crate::pictures::convert::cmyk_to_rgb;
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;

/// More components than these are no colours that are known here.
const MAX_COMPONENTS: u16 = 4;

/// What the decoder holds for each sample, in bytes at most: coefficients, the steps of the transform, and the result.
/// (9 were measured.)
const BYTES_PER_SAMPLE: usize = 16;

/// The same for each block of samples that is coded by itself, for each group of them, and for each tile.
const BYTES_PER_BLOCK: usize = 256;
const BYTES_PER_PRECINCT: usize = 1024;
const BYTES_PER_TILE: usize = 4096;

/// A picture that needs more than this for each sample is in parts that nobody makes; one of the smallest blocks needs
/// less.
const MOST_PER_SAMPLE: usize = 64;

/// As many bytes are given whatever the size of the picture.
const HARMLESS: usize = 16 << 20;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let shape = Shape::of(codestream(bytes)?)?;
    let size = limits.check(Format::Jpeg2000, shape.width, shape.height)?;
    let pixels = size.width * size.height;
    let memory = shape.memory(pixels);
    if memory > pixels * shape.components * MOST_PER_SAMPLE + HARMLESS {
        return Err(unsupported("tiles, precincts or blocks of a few pixels"));
    }
    limits.check_memory(Format::Jpeg2000, size, memory)?;
    let settings = DecodeSettings {
        // Of a file that ends early, or is damaged, Pillow shows nothing either.
        strict: true,
        ..DecodeSettings::default()
    };
    let image = Image::new(bytes, &settings).map_err(error)?;
    if (image.width() as usize, image.height() as usize) != (size.width, size.height) {
        return Err(corrupt("a codestream of another size than the file's"));
    }
    let is_cmyk = says_cmyk(bytes);
    let mut context = DecoderContext::default();
    let decoded = image.decode(&mut context).map_err(error)?;
    let components = decoded.components();
    if components.iter().any(|one| one.samples().len() != pixels) {
        return Err(corrupt("components of different sizes"));
    }
    let level = |component: usize, at: usize| to_8_bits(&components[component], at);
    let out = picture.resize(size);
    let (out, _) = out.as_chunks_mut::<CHANNELS>();
    match components.len() {
        // Pillow has 16 bits for gray, and cuts them off at 255 on the way to RGB.
        1 if components[0].bit_depth() > 8 => {
            let more = 16_u8.saturating_sub(components[0].bit_depth());
            for (at, rgb) in out.iter_mut().enumerate() {
                let value = whole(&components[0], at) << more;
                rgb.fill(value.min(255) as u8);
            }
        }
        1 | 2 => {
            for (at, rgb) in out.iter_mut().enumerate() {
                rgb.fill(level(0, at));
            }
        }
        4 if is_cmyk => {
            for (at, rgb) in out.iter_mut().enumerate() {
                let cmyk = [level(0, at), level(1, at), level(2, at), level(3, at)];
                cmyk_to_rgb(&cmyk, 4, rgb);
            }
        }
        3 | 4 => {
            for (at, rgb) in out.iter_mut().enumerate() {
                *rgb = [level(0, at), level(1, at), level(2, at)];
            }
        }
        count => return Err(unsupported(format!("{count} components"))),
    }
    Ok(())
}

/// Whether a JP2 file says that its colours are CMYK. The decoder takes any four components for that.
fn says_cmyk(bytes: &[u8]) -> bool {
    const CMYK: &[u8] = b"\0\0\0\x0c";
    let end = memmem::find(bytes, b"jp2c").unwrap_or(0);
    // By a number, after which come two bytes that do not matter.
    let mut colours = memmem::find_iter(&bytes[..end], b"colr").map(|at| &bytes[at + 4..]);
    colours.any(|content| matches!(content, [1, _, _, number @ ..] if number.starts_with(CMYK)))
}

/// A sample as a whole number; of two that are as near, OpenJPEG takes the even one.
fn whole(component: &ComponentData, at: usize) -> u32 {
    let most = ((1_u64 << component.bit_depth()) - 1) as f32;
    component.samples()[at].round_ties_even().clamp(0.0, most) as u32
}

/// More bits are rounded, fewer become the upper ones: a brightest value of fewer than 8 bits is not 255.
fn to_8_bits(component: &ComponentData, at: usize) -> u8 {
    let bits = u32::from(component.bit_depth());
    let value = whole(component, at);
    match bits {
        0..=8 => (value << (8 - bits)) as u8,
        // Pillow lets 256 become 0.
        _ => ((value + (1 << (bits - 9))) >> (bits - 8)).min(255) as u8,
    }
}

/// The codestream within a JP2 file, or all there is.
fn codestream(bytes: &[u8]) -> Result<&[u8], PictureError> {
    if bytes.starts_with(b"\xff\x4f") {
        return Ok(bytes);
    }
    let mut rest = bytes;
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
        if &name == b"jp2c" {
            return Ok(rest.get(head..end).unwrap_or_default());
        }
        rest = &rest[end..];
    }
    Err(truncated("no codestream"))
}

/// What the markers of a codestream say of its size and parts.
#[derive(Debug, Default)]
struct Shape {
    width: u32,
    height: u32,
    components: usize,
    tiles: usize,
    /// The most blocks and precincts for each sample.
    blocks: f64,
    precincts: f64,
}

impl Shape {
    fn of(codestream: &[u8]) -> Result<Self, PictureError> {
        const SIZE: u8 = 0x51;
        const STYLE: u8 = 0x52;
        const STYLE_OF_ONE: u8 = 0x53;
        const TILE: u8 = 0x90;
        const DATA: u8 = 0x93;
        let ends = || truncated("the header ends early");
        let mut shape = Shape::default();
        let (mut at, mut tile_end) = (2, None);
        // To the end of the file: what comes after the data of a tile may change how blocks are laid out.
        while let Some([0xff, marker, high, low]) = codestream.get(at..at + 4) {
            if *marker == DATA {
                match tile_end {
                    Some(end) if end > at => at = end,
                    _ => break,
                }
                continue;
            }
            let len = usize::from(u16::from_be_bytes([*high, *low]));
            let content = codestream.get(at + 4..at + 2 + len).ok_or_else(ends)?;
            match *marker {
                SIZE => shape.read_size(content)?,
                STYLE => shape.read_blocks(content.first(), content.get(5..)),
                STYLE_OF_ONE => {
                    let wide = usize::from(shape.components > 256);
                    shape.read_blocks(content.get(1 + wide), content.get(2 + wide..));
                }
                TILE => {
                    let len = content.get(2..).and_then(|len| len.first_chunk());
                    let len = u32::from_be_bytes(*len.ok_or_else(ends)?) as usize;
                    tile_end = (len > 0).then_some(at + len);
                }
                _ => {}
            }
            at += 2 + len;
        }
        match shape.components {
            0 => Err(corrupt("no size")),
            _ if shape.blocks == 0.0 => Err(corrupt("no style of coding")),
            _ => Ok(shape),
        }
    }

    fn read_size(&mut self, content: &[u8]) -> Result<(), PictureError> {
        let ends = || truncated("the size ends early");
        let number = |index: usize| {
            let bytes = content
                .get(2 + 4 * index..)
                .and_then(|bytes| bytes.first_chunk());
            bytes
                .map(|&bytes| u32::from_be_bytes(bytes))
                .ok_or_else(ends)
        };
        let (right, bottom, left, top) = (number(0)?, number(1)?, number(2)?, number(3)?);
        let (tile_width, tile_height) = (number(4)?, number(5)?);
        let (tile_left, tile_top) = (number(6)?, number(7)?);
        let [high, low] = *content
            .get(34..)
            .and_then(|bytes| bytes.first_chunk())
            .ok_or_else(ends)?;
        let components = u16::from_be_bytes([high, low]);
        if !(1..=MAX_COMPONENTS).contains(&components) {
            return Err(unsupported(format!("{components} components")));
        }
        // Each with its bits, and how many pixels are between two of its samples.
        for one in content.get(36..).unwrap_or_default().chunks_exact(3) {
            if one[0] & 0x80 != 0 || one[0] > 15 {
                return Err(unsupported("signed numbers, or more than 16 bits"));
            }
            if one[1] != 1 || one[2] != 1 {
                return Err(unsupported("components with fewer pixels"));
            }
        }
        let tiles =
            |end: u32, start: u32, side: u32| end.saturating_sub(start).div_ceil(side.max(1));
        self.width = right.saturating_sub(left);
        self.height = bottom.saturating_sub(top);
        self.components = components.into();
        let [across, down] = [
            tiles(right, tile_left, tile_width),
            tiles(bottom, tile_top, tile_height),
        ];
        self.tiles = (across as usize).saturating_mul(down as usize);
        Ok(())
    }

    /// `style` says whether the sizes of precincts follow those of blocks.
    fn read_blocks(&mut self, style: Option<&u8>, content: Option<&[u8]>) {
        let (Some(style), Some([levels, width, height, _, _, sides @ ..])) = (style, content)
        else {
            return;
        };
        // Areas as powers of two.
        let block = i32::from(width & 15) + i32::from(height & 15) + 4;
        let (mut blocks, mut precincts) = (0.0, 0.0);
        // From the smallest resolution on, each of which has four times the samples of the one before.
        for level in 0..=*levels {
            let precinct = match (style & 1, sides.get(usize::from(level))) {
                (1, Some(sides)) => i32::from(sides & 15) + i32::from(sides >> 4),
                _ => 30,
            };
            let samples = 0.25_f64.powi((levels - level).into());
            // A precinct has three kinds of coefficients, and cuts blocks that are larger.
            blocks += samples * 0.5_f64.powi(block.min((precinct - 2).max(0)));
            precincts += samples * 3.0 * 0.5_f64.powi(precinct);
        }
        self.blocks = self.blocks.max(blocks);
        self.precincts = self.precincts.max(precincts);
    }

    /// What the decoder needs at most.
    fn memory(&self, pixels: usize) -> usize {
        let samples = pixels.saturating_mul(self.components);
        let blocks = 2 * BYTES_PER_BLOCK;
        let parts = self.blocks * blocks as f64 + self.precincts * BYTES_PER_PRECINCT as f64;
        samples
            .saturating_mul(BYTES_PER_SAMPLE)
            .saturating_add((samples as f64 * parts) as usize)
            .saturating_add(self.tiles.saturating_mul(self.components * BYTES_PER_TILE))
    }
}

fn error(error: DecodeError) -> PictureError {
    match error {
        DecodeError::Format(FormatError::Unsupported)
        | DecodeError::Marker(MarkerError::Unsupported) => unsupported(error),
        DecodeError::Format(FormatError::MissingCodestream) => truncated(error),
        _ => corrupt(error),
    }
}

type Source = Box<dyn Error + Send + Sync>;

fn unsupported(source: impl Into<Source>) -> PictureError {
    PictureError::unsupported(Format::Jpeg2000, source)
}

fn truncated(source: impl Into<Source>) -> PictureError {
    PictureError::truncated(Format::Jpeg2000, source)
}

fn corrupt(source: impl Into<Source>) -> PictureError {
    PictureError::corrupt(Format::Jpeg2000, source)
}
