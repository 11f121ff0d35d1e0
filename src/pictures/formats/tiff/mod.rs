//! TIFF and BigTIFF: the first page, as Pillow shows it, which reads compressed ones through libtiff.
//!
//! `docs/formats.md` says why this is not a binding to libtiff.

mod chunk;
mod directory;
mod fax;
mod jpeg;
mod layout;

use std::error::Error;

use image::metadata::Orientation;

use super::{Format, Picture};
use crate::pictures::convert::{
    cmyk_to_rgb, cmyk16_to_rgb, gray_associated_to_rgb, gray_to_rgb, gray12_to_rgb, gray16_to_rgb,
    numbers_to_rgb, palette_to_rgb, rgb_associated_to_rgb, rgb16_to_rgb,
};
use crate::pictures::lab::lab_to_rgb;
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;
use crate::pictures::{PictureError, Size, orientation};
use directory::{Directory, Values};
use layout::{Layout, Meaning, compression, tag};

/// The most that a pixel has: six samples of 16 bits.
const MAX_BYTES_PER_PIXEL: u64 = 12;

/// What it costs to begin with a compressed strip or tile, in bytes that could be decoded meanwhile.
const CHUNK_SETUP: u64 = 1024;

/// As much work, in bytes, and tiles of as many pixels, are taken on whatever the limit of pixels is.
const HARMLESS: u64 = 16 << 20;

pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let directory = Directory::of(bytes)?;
    let layout = Layout::of(&directory, limits)?;
    chunk::check(&layout)?;
    let orientation = orientation_of(&directory)?;
    if layout.compression == compression::OLD_JPEG {
        jpeg::decode_old(bytes, &directory, &layout, limits, picture)?;
    } else {
        decode_chunks(bytes, &directory, &layout, limits, orientation, picture)?;
    }
    // Pillow turns pictures by itself in this format alone.
    picture.turn(orientation);
    Ok(())
}

fn decode_chunks(
    bytes: &[u8],
    directory: &Directory,
    layout: &Layout,
    limits: Limits,
    orientation: Orientation,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let Layout { size, .. } = *layout;
    let chunks = Chunks::of(bytes, directory, layout)?;
    let largest = chunks.check_work(limits)?;
    let row_len = (size.width * layout.used_samples() * layout.bits).div_ceil(8);
    let raw_len = row_len.saturating_mul(size.height);
    let chunk_len = chunks.chunk_len();
    let turned = match orientation == Orientation::NoTransforms {
        true => 0,
        false => size.rgb_len(),
    };
    let is_jpeg = layout.compression == compression::JPEG;
    let jpeg_memory = if is_jpeg {
        jpeg::memory(layout, largest)
    } else {
        0
    };
    let memory = [
        raw_len,
        chunk_len,
        turned,
        jpeg_memory,
        chunk::memory(layout, largest),
    ];
    let memory = memory.into_iter().fold(0_usize, usize::saturating_add);
    limits.check_memory(Format::Tiff, size, memory)?;
    picture.fill_converted(
        size,
        raw_len,
        |raw| chunks.decode(row_len, limits, raw),
        |raw, out| convert(layout, row_len, raw, out),
    )
}

/// The orientation that the tag gives, or where there is none the XMP data.
fn orientation_of(directory: &Directory) -> Result<Orientation, PictureError> {
    let value = match orientation_tag(directory)? {
        Some(value) => Some(value),
        None => {
            let xmp = directory.values(tag::XMP).ok().flatten();
            xmp.and_then(|xmp| orientation::value_in_xmp(xmp.data))
        }
    };
    Ok(value.map_or(Orientation::NoTransforms, orientation::of_value))
}

/// The value of the tag `Orientation` in EXIF data.
pub fn exif_orientation(exif: &[u8]) -> Option<u64> {
    orientation_tag(&Directory::of(exif).ok()?).ok()?
}

fn orientation_tag(directory: &Directory) -> Result<Option<u64>, PictureError> {
    let values = directory.values(tag::ORIENTATION)?;
    // Bytes, and several numbers, stand for nothing, as in Pillow.
    Ok(
        values.map(|values| match values.len() == 1 && !values.are_bytes() {
            true => values.get(0).unwrap_or_default(),
            false => 0,
        }),
    )
}

/// Where the strips or tiles are.
struct Chunks<'a> {
    bytes: &'a [u8],
    layout: &'a Layout,
    offsets: Values<'a>,
    lengths: Option<Values<'a>>,
    t4_options: u64,
    jpeg_tables: Option<&'a [u8]>,
    /// How many there are side by side, and one below the other.
    across: usize,
    down: usize,
}

impl<'a> Chunks<'a> {
    fn of(
        bytes: &'a [u8],
        directory: &Directory<'a>,
        layout: &'a Layout,
    ) -> Result<Self, PictureError> {
        // Some programs write the offsets of tiles into the tag for those of strips.
        let either = |first, second| {
            let values = directory.values(first)?;
            values.map_or_else(|| directory.values(second), |values| Ok(Some(values)))
        };
        let (offsets, lengths) = match layout.tiled {
            true => (
                either(tag::TILE_OFFSETS, tag::STRIP_OFFSETS)?,
                either(tag::TILE_BYTE_COUNTS, tag::STRIP_BYTE_COUNTS)?,
            ),
            false => (
                directory.values(tag::STRIP_OFFSETS)?,
                directory.values(tag::STRIP_BYTE_COUNTS)?,
            ),
        };
        let offsets = offsets.ok_or_else(|| corrupt("no strips and no tiles"))?;
        let across = layout.size.width.div_ceil(layout.chunk.width);
        let down = layout.size.height.div_ceil(layout.chunk.height);
        let chunks = Chunks {
            bytes,
            layout,
            offsets,
            lengths,
            t4_options: directory.number(tag::T4_OPTIONS)?.unwrap_or(0),
            jpeg_tables: directory
                .values(tag::JPEG_TABLES)?
                .map(|values| values.data),
            across,
            down,
        };
        if chunks.offsets.len() < chunks.planes() * across * down {
            return Err(truncated("fewer strips or tiles than the picture needs"));
        }
        Ok(chunks)
    }

    /// How many samples of a pixel are stored apart from each other, and needed.
    fn planes(&self) -> usize {
        match self.layout.planar {
            true => self.layout.used_samples(),
            false => 1,
        }
    }

    /// The bytes of a decoded strip or tile.
    fn chunk_len(&self) -> usize {
        let Size { width, height } = self.layout.chunk;
        let groups = height.div_ceil(self.layout.subsampling.1);
        self.layout.row_len(width).saturating_mul(groups)
    }

    /// The bytes of a strip or tile in the file. Where its length is missing, it ends where the next begins; where its
    /// length goes beyond the file, at the end of the file.
    fn data(&self, index: usize) -> Result<&'a [u8], PictureError> {
        let outside = || truncated("a strip or tile lies outside of the file");
        let offset = self.offsets.get(index).ok_or_else(outside)?;
        let from = usize::try_from(offset).map_err(|_| outside())?;
        let rest = self.bytes.get(from..).ok_or_else(outside)?;
        // Pillow has no use for the lengths of what is not compressed.
        if self.layout.compression == compression::NONE {
            return Ok(&rest[..rest.len().min(self.chunk_len())]);
        }
        let len = match self.lengths.and_then(|lengths| lengths.get(index)) {
            None | Some(0) => {
                let next = self.offsets.get(index + 1);
                next.map_or(u64::MAX, |next| next.wrapping_sub(offset))
            }
            // What follows a strip that is cut would be white, or gray.
            Some(len) if len > rest.len() as u64 && self.layout.may_end_anywhere() => {
                return Err(outside());
            }
            Some(len) => len,
        };
        Ok(&rest[..rest.len().min(usize::try_from(len).unwrap_or(usize::MAX))])
    }

    /// Refuses pictures whose strips or tiles make far more work than their pixels: tiles that reach far over the
    /// edges, samples that are thrown away, and many that lie over the same compressed bytes. Returns the length of the
    /// largest in the file.
    fn check_work(&self, limits: Limits) -> Result<usize, PictureError> {
        let Layout { size, chunk, .. } = *self.layout;
        let count = self.planes() * self.across * self.down;
        let decoded = match self.layout.tiled {
            true => self.chunk_len().saturating_mul(count),
            false => {
                let groups = size.height.div_ceil(self.layout.subsampling.1);
                let row_len = self.layout.row_len(chunk.width);
                row_len.saturating_mul(groups * self.planes())
            }
        } as u64;
        let most = limits.max_pixels.saturating_mul(MAX_BYTES_PER_PIXEL);
        let file_len = self.bytes.len() as u64;
        // The tables of a JPEG are copied and read for each.
        let tables = self.jpeg_tables.map_or(0, <[u8]>::len) as u64;
        let setup = match self.layout.compression {
            compression::NONE => 0,
            _ => (CHUNK_SETUP + 4 * tables).saturating_mul(count as u64),
        };
        let work = decoded.saturating_add(setup);
        let tile_pixels = (chunk.width as u64)
            .saturating_mul(chunk.height as u64)
            .saturating_mul(count as u64);
        let planes = self.planes() as u64;
        let too_many_pixels =
            self.layout.tiled && tile_pixels / planes > limits.max_pixels.max(HARMLESS);
        let lengths = (0..count).map(|index| self.data(index).map_or(0, <[u8]>::len));
        let (compressed, largest) = lengths.fold((0, 0), |(sum, largest), len| {
            (sum + len as u64, len.max(largest))
        });
        // Blocks of LZMA may be empty, and cost time all the same.
        let most_compressed = match self.layout.compression {
            compression::LZMA => 4 * file_len,
            _ => decoded.max(4 * file_len),
        };
        let too_much_work = decoded > most || work > most.max(HARMLESS);
        if too_much_work || too_many_pixels || compressed > most_compressed {
            return Err(unsupported(format!(
                "strips or tiles of {decoded} bytes, {compressed} in the file"
            )));
        }
        Ok(largest)
    }

    /// Decodes all into `raw`: rows of `row_len` bytes, the samples of a pixel side by side.
    fn decode(&self, row_len: usize, limits: Limits, raw: &mut [u8]) -> Result<(), PictureError> {
        let layout = self.layout;
        let Size { width, height } = layout.chunk;
        let mut chunk = Vec::new();
        for plane in 0..self.planes() {
            for index in 0..self.across * self.down {
                let (left, top) = (index % self.across * width, index / self.across * height);
                let rows = height.min(layout.size.height - top);
                let data = self.data(self.position(plane, index))?;
                let whole_rows = !layout.tiled && !layout.planar;
                let is_jpeg = layout.compression == compression::JPEG;
                if whole_rows && !is_jpeg && layout.subsampling == (1, 1) {
                    let out = &mut raw[top * row_len..][..rows * row_len];
                    chunk::decode(layout, self.t4_options, data, width, out)?;
                    continue;
                }
                // Tiles are decoded with what lies over the edge, and so is a JPEG, as libtiff does; other strips
                // without.
                let coded_rows = if layout.tiled || is_jpeg {
                    height
                } else {
                    rows
                };
                let groups = coded_rows.div_ceil(layout.subsampling.1);
                chunk.resize(layout.row_len(width).saturating_mul(groups), 0);
                if is_jpeg {
                    jpeg::decode(layout, self.jpeg_tables, data, rows, limits, &mut chunk)?;
                } else {
                    chunk::decode(layout, self.t4_options, data, width, &mut chunk)?;
                }
                let place = Place {
                    left,
                    top,
                    rows,
                    plane,
                };
                self.place(&chunk, place, row_len, raw)?;
            }
        }
        Ok(())
    }

    /// Which of the offsets is that of a strip or tile.
    fn position(&self, plane: usize, index: usize) -> usize {
        let covers_all = self.across * self.down == 1 && !self.layout.planar;
        // Of several that each cover an uncompressed picture, Pillow takes the last.
        match covers_all && self.layout.compression == compression::NONE {
            true => self.offsets.len() - 1,
            false => plane * self.across * self.down + index,
        }
    }

    /// Copies a decoded strip or tile to its place in `raw`.
    fn place(
        &self,
        chunk: &[u8],
        place: Place,
        row_len: usize,
        raw: &mut [u8],
    ) -> Result<(), PictureError> {
        let layout = self.layout;
        let columns = layout.chunk.width.min(layout.size.width - place.left);
        if layout.subsampling != (1, 1) {
            self.place_subsampled(chunk, place, columns, row_len, raw);
            return Ok(());
        }
        let pixel_bits = layout.chunk_samples() * layout.bits;
        if !(pixel_bits * place.left).is_multiple_of(8) {
            return Err(unsupported("tiles that begin within a byte"));
        }
        let chunk_rows = chunk.chunks_exact(layout.row_len(layout.chunk.width));
        let rows = raw.chunks_exact_mut(row_len).skip(place.top);
        for (from, to) in chunk_rows.take(place.rows).zip(rows) {
            if layout.planar {
                let sample_len = layout.bits / 8;
                let pixel_len = self.planes() * sample_len;
                let to = to.chunks_exact_mut(pixel_len).skip(place.left);
                for (from, to) in from.chunks_exact(sample_len).zip(to).take(columns) {
                    to[place.plane * sample_len..][..sample_len].copy_from_slice(from);
                }
            } else {
                let len = (columns * pixel_bits).div_ceil(8);
                to[place.left * pixel_bits / 8..][..len].copy_from_slice(&from[..len]);
            }
        }
        Ok(())
    }

    /// The same for groups of pixels that share their colour: all values of Y, then Cb and Cr. Each pixel gets its own.
    fn place_subsampled(
        &self,
        chunk: &[u8],
        place: Place,
        columns: usize,
        row_len: usize,
        raw: &mut [u8],
    ) {
        let (across, down) = self.layout.subsampling;
        let group_row = self.layout.row_len(self.layout.chunk.width);
        let group_len = across * down + 2;
        for y in 0..place.rows {
            let groups = &chunk[y / down * group_row..];
            let to = &mut raw[(place.top + y) * row_len + place.left * CHANNELS..];
            for (x, to) in to.chunks_exact_mut(CHANNELS).take(columns).enumerate() {
                let group = &groups[x / across * group_len..][..group_len];
                to[0] = group[y % down * across + x % across];
                to[1..].copy_from_slice(&group[across * down..]);
            }
        }
    }
}

/// Where a strip or tile belongs: its first column and row, how many rows of it there are, and of which sample.
#[derive(Clone, Copy)]
struct Place {
    left: usize,
    top: usize,
    rows: usize,
    plane: usize,
}

impl Layout {
    /// Whether the decoder makes something up where the bytes of a strip end early.
    fn may_end_anywhere(&self) -> bool {
        use compression::{CCITT_RLE, CCITT_RLE_WORDS, GROUP_3, GROUP_4, JPEG};
        matches!(
            self.compression,
            CCITT_RLE | CCITT_RLE_WORDS | GROUP_3 | GROUP_4 | JPEG
        )
    }
}

/// Rows of `row_len` bytes -> RGB.
fn convert(layout: &Layout, row_len: usize, raw: &[u8], out: &mut [u8]) {
    let samples = layout.used_samples();
    let wide = layout.bits == 16;
    match &layout.meaning {
        Meaning::Gray { white_is_zero } => {
            let levels = |levels: &mut [u8], out: &mut [u8]| {
                let top = u8::MAX >> (8 - layout.bits);
                for level in levels.iter_mut() {
                    *level *= u8::MAX / top;
                    if *white_is_zero {
                        *level = !*level;
                    }
                }
                gray_to_rgb(levels, out);
            };
            small_to_rgb(layout, row_len, raw, levels, out);
        }
        Meaning::Palette(palette) => small_to_rgb(
            layout,
            row_len,
            raw,
            |indices, out| palette_to_rgb(indices, palette, out),
            out,
        ),
        Meaning::GrayAssociated => gray_associated_to_rgb(raw, samples, out),
        Meaning::Gray12 => {
            let rows = out.chunks_exact_mut(layout.size.width * CHANNELS);
            for (row, out) in raw.chunks_exact(row_len).zip(rows) {
                gray12_to_rgb(row, out);
            }
        }
        Meaning::Gray16 {
            white_is_zero: false,
        } => gray16_to_rgb(raw, 1, out),
        Meaning::Gray16 {
            white_is_zero: true,
        } => numbers_to_rgb(raw, |bytes| i32::from(!u16::from_ne_bytes(bytes)), out),
        Meaning::Signed16 => numbers_to_rgb(raw, |bytes| i16::from_ne_bytes(bytes).into(), out),
        Meaning::Integer32 => numbers_to_rgb(raw, i32::from_ne_bytes, out),
        Meaning::Float32 => numbers_to_rgb(raw, |bytes| f32::from_ne_bytes(bytes) as i32, out),
        Meaning::Rgb if wide => rgb16_to_rgb(raw, samples, out),
        Meaning::Rgb => first_samples(raw, samples, out),
        Meaning::RgbAssociated => rgb_associated_to_rgb(raw, samples, layout.bits, out),
        Meaning::Cmyk if wide => cmyk16_to_rgb(raw, samples, out),
        Meaning::Cmyk => cmyk_to_rgb(raw, samples, out),
        Meaning::YCbCr(ycbcr) => {
            first_samples(raw, samples, out);
            ycbcr.to_rgb(out);
        }
        Meaning::Lab => lab_to_rgb(raw, samples, out),
    }
}

fn first_samples(raw: &[u8], samples: usize, out: &mut [u8]) {
    if samples == CHANNELS {
        return out.copy_from_slice(raw);
    }
    for (pixel, rgb) in raw
        .chunks_exact(samples)
        .zip(out.chunks_exact_mut(CHANNELS))
    {
        rgb.copy_from_slice(&pixel[..CHANNELS]);
    }
}

/// Gray levels or palette indices of 1 to 8 bits, the first in a byte's highest bits: a byte each for `convert`.
fn small_to_rgb(
    layout: &Layout,
    row_len: usize,
    raw: &[u8],
    mut convert: impl FnMut(&mut [u8], &mut [u8]),
    out: &mut [u8],
) {
    let Layout { size, bits, .. } = *layout;
    let samples = layout.used_samples();
    let top = u8::MAX >> (8 - bits);
    let mut levels = vec![0; size.width];
    let rows = out.chunks_exact_mut(size.width * CHANNELS);
    for (row, out) in raw.chunks_exact(row_len).zip(rows) {
        for (x, level) in levels.iter_mut().enumerate() {
            let at = x * bits * samples;
            *level = row[at / 8] >> (8 - bits - at % 8) & top;
        }
        convert(&mut levels, out);
    }
}

type Source = Box<dyn Error + Send + Sync>;

fn unsupported(source: impl Into<Source>) -> PictureError {
    PictureError::unsupported(Format::Tiff, source)
}

fn truncated(source: impl Into<Source>) -> PictureError {
    PictureError::truncated(Format::Tiff, source)
}

fn corrupt(source: impl Into<Source>) -> PictureError {
    PictureError::corrupt(Format::Tiff, source)
}
