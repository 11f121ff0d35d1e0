//! How a camera was held: the EXIF tag `Orientation`, found where Pillow finds it, and applied.

use std::borrow::Cow;
use std::io::Read;

use flate2::bufread::ZlibDecoder;
use image::metadata::Orientation;
use memchr::memmem;

#[cfg(feature = "avif")]
use crate::pictures::formats::avif_orientation;
use crate::pictures::formats::exif_orientation;
use crate::pictures::size::CHANNELS;
use crate::pictures::{Format, Size};

/// The most that a compressed text of a PNG may become, in bytes: Pillow's `MAX_TEXT_CHUNK`. Of digits no more are read
/// either.
const MAX_TEXT: usize = 1 << 20;

/// The orientation that a JPEG, PNG or WebP file gives in its EXIF data, or else in its XMP data, and an AVIF in boxes
/// of its own; upright where it gives none that can be read. (A TIFF is turned when it is decoded.)
pub fn of(bytes: &[u8]) -> Orientation {
    #[cfg(feature = "avif")]
    if matches!(Format::of(bytes), Ok(Format::Avif)) {
        return avif_orientation(bytes).map_or(Orientation::NoTransforms, of_value);
    }
    let in_exif = exif(bytes)
        .and_then(|exif| exif_orientation(exif.strip_prefix(EXIF_PREFIX).unwrap_or(&exif)));
    let value = in_exif.or_else(|| value_in_xmp(&xmp(bytes)?));
    value.map_or(Orientation::NoTransforms, of_value)
}

/// The orientation that a value of the tag stands for; upright where it stands for none.
pub fn of_value(value: u64) -> Orientation {
    let orientation = u8::try_from(value).ok().and_then(Orientation::from_exif);
    orientation.unwrap_or(Orientation::NoTransforms)
}

/// The value of the tag in XMP data.
pub fn value_in_xmp(xmp: &[u8]) -> Option<u64> {
    const NAME: &[u8] = b"tiff:Orientation";
    let mut after = memmem::find_iter(xmp, NAME).map(|at| &xmp[at + NAME.len()..]);
    after.find_map(|after| match after {
        [b'=', b'"', digit @ b'0'..=b'9', ..] | [b'>', digit @ b'0'..=b'9', ..] => {
            Some((digit - b'0').into())
        }
        _ => None,
    })
}

/// What an orientation does: the picture as it is stored is mirrored first, then its rows become columns.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Turn {
    /// The last pixel of each row comes first.
    pub mirrors_rows: bool,
    /// The last row comes first.
    pub mirrors_columns: bool,
    /// Rows become columns.
    pub swaps_sides: bool,
}

/// What an orientation does.
pub fn turn(orientation: Orientation) -> Turn {
    use Orientation::*;
    Turn {
        mirrors_rows: matches!(
            orientation,
            FlipHorizontal | Rotate180 | Rotate270 | Rotate270FlipH
        ),
        mirrors_columns: matches!(
            orientation,
            FlipVertical | Rotate180 | Rotate90 | Rotate270FlipH
        ),
        swaps_sides: matches!(
            orientation,
            Rotate90 | Rotate270 | Rotate90FlipH | Rotate270FlipH
        ),
    }
}

/// Turns a picture upright; `pixels` are `[size.height, size.width, 3]`.
pub fn apply(orientation: Orientation, size: Size, pixels: Vec<u8>) -> (Size, Vec<u8>) {
    if orientation == Orientation::NoTransforms {
        return (size, pixels);
    }
    let turn = turn(orientation);
    let to = match turn.swaps_sides {
        true => size.transposed(),
        false => size,
    };
    let mut out = vec![0; pixels.len()];
    // In squares, so that neither the rows of the one nor of the other leave the cache.
    for top in (0..to.height).step_by(SQUARE) {
        for left in (0..to.width).step_by(SQUARE) {
            for y in top..to.height.min(top + SQUARE) {
                let right = to.width.min(left + SQUARE);
                let row = &mut out[(y * to.width + left) * CHANNELS..][..(right - left) * CHANNELS];
                for (x, pixel) in (left..right).zip(row.chunks_exact_mut(CHANNELS)) {
                    let (mut column, mut row) = if turn.swaps_sides { (y, x) } else { (x, y) };
                    if turn.mirrors_rows {
                        column = size.width - 1 - column;
                    }
                    if turn.mirrors_columns {
                        row = size.height - 1 - row;
                    }
                    let from = (row * size.width + column) * CHANNELS;
                    pixel.copy_from_slice(&pixels[from..from + CHANNELS]);
                }
            }
        }
    }
    (to, out)
}

/// The side of the squares that a picture is turned in.
const SQUARE: usize = 32;

/// Some programs write this before EXIF data also where it does not belong.
const EXIF_PREFIX: &[u8] = b"Exif\0\0";

/// The EXIF data of a file, which are a TIFF, but for the prefix.
fn exif(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    match Format::of(bytes).ok()? {
        Format::Jpeg => {
            let mut segments = jpeg_segments(bytes);
            segments
                .find(|data| data.starts_with(EXIF_PREFIX))
                .map(Cow::from)
        }
        Format::Png => match chunk(png_chunks(bytes), b"eXIf") {
            Some(data) => Some(data.into()),
            None => hex(&png_text(bytes, b"Raw profile type exif")?).map(Cow::from),
        },
        Format::WebP => chunk(webp_chunks(bytes), b"EXIF").map(Cow::from),
        _ => None,
    }
}

/// The XMP data of a file, which are XML.
fn xmp(bytes: &[u8]) -> Option<Cow<'_, [u8]>> {
    const PREFIX: &[u8] = b"http://ns.adobe.com/xap/1.0/\0";
    match Format::of(bytes).ok()? {
        Format::Jpeg => {
            let xmp = jpeg_segments(bytes).find_map(|data| data.strip_prefix(PREFIX));
            xmp.map(Cow::from)
        }
        Format::Png => png_text(bytes, b"XML:com.adobe.xmp"),
        Format::WebP => chunk(webp_chunks(bytes), b"XMP ").map(Cow::from),
        _ => None,
    }
}

/// The data of the segments `APP1`, where programs describe the picture. A segment is `ff`, a marker, a length of two
/// bytes that counts itself, and data.
fn jpeg_segments(bytes: &[u8]) -> impl Iterator<Item = &[u8]> {
    const APP1: u8 = 0xe1;
    const START_OF_SCAN: u8 = 0xda;
    let mut rest = &bytes[2..];
    let segments = std::iter::from_fn(move || {
        while let [0xff, 0xff, ..] = rest {
            rest = &rest[1..];
        }
        match *rest {
            [0xff, marker, high, low, ..] if marker != START_OF_SCAN => {
                let end = 2 + usize::from(u16::from_be_bytes([high, low]));
                let data = rest.get(4..end)?;
                rest = &rest[end..];
                Some((marker, data))
            }
            _ => None,
        }
    });
    segments.filter_map(|(marker, data)| (marker == APP1).then_some(data))
}

/// Name and data of each chunk: a length, a name, the data, a checksum.
fn png_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = &bytes[8..];
    std::iter::from_fn(move || {
        let length = u32::from_be_bytes(*rest.first_chunk()?) as usize;
        let name = *rest.get(4..)?.first_chunk()?;
        let data = rest.get(8..8 + length)?;
        rest = rest.get(12 + length..).unwrap_or_default();
        Some((name, data))
    })
}

/// Name and data of each chunk: a name, a length, the data, padded to an even length.
fn webp_chunks(bytes: &[u8]) -> impl Iterator<Item = ([u8; 4], &[u8])> {
    let mut rest = &bytes[12..];
    std::iter::from_fn(move || {
        let name = *rest.first_chunk()?;
        let length = u32::from_le_bytes(*rest.get(4..)?.first_chunk()?) as usize;
        let data = rest.get(8..8 + length)?;
        rest = rest
            .get(8 + length.next_multiple_of(2)..)
            .unwrap_or_default();
        Some((name, data))
    })
}

fn chunk<'a>(
    mut chunks: impl Iterator<Item = ([u8; 4], &'a [u8])>,
    wanted: &[u8; 4],
) -> Option<&'a [u8]> {
    chunks.find_map(|(name, data)| (name == *wanted).then_some(data))
}

/// The text of a PNG that has this keyword.
fn png_text<'a>(bytes: &'a [u8], keyword: &[u8]) -> Option<Cow<'a, [u8]>> {
    png_chunks(bytes).find_map(|(name, data)| {
        if !matches!(&name, b"tEXt" | b"zTXt" | b"iTXt") {
            return None;
        }
        let text = data.strip_prefix(keyword)?.strip_prefix(b"\0")?;
        match &name {
            b"tEXt" => Some(text.into()),
            b"zTXt" => inflate(text.strip_prefix(b"\0")?).map(Cow::from),
            _ => {
                // Whether and how it is compressed, then its language, and the keyword in that.
                let (&[compressed, _method], text) = text.split_first_chunk()?;
                let text = text.splitn(3, |byte| *byte == 0).nth(2)?;
                match compressed {
                    0 => Some(text.into()),
                    _ => inflate(text).map(Cow::from),
                }
            }
        }
    })
}

fn inflate(data: &[u8]) -> Option<Vec<u8>> {
    let mut text = Vec::new();
    let mut decoder = ZlibDecoder::new(data).take(MAX_TEXT as u64);
    decoder.read_to_end(&mut text).ok()?;
    Some(text)
}

/// What ImageMagick writes: a line each for nothing, a name and a length, then two digits for each byte.
fn hex(text: &[u8]) -> Option<Vec<u8>> {
    let lines = text.splitn(4, |byte| *byte == b'\n').nth(3)?;
    let digit = |byte: &u8| char::from(*byte).to_digit(16).map(|digit| digit as u8);
    let digits = lines.iter().filter(|byte| !byte.is_ascii_whitespace());
    let digits: Vec<u8> = digits.take(MAX_TEXT).map(digit).collect::<Option<_>>()?;
    let (bytes, _) = digits.as_chunks();
    Some(bytes.iter().map(|[high, low]| high << 4 | low).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_turned_as_the_crate_image_turns_them() {
        for (width, height) in [(1, 1), (1, 5), (3, 2), (40, 33), (31, 70)] {
            let pixels: Vec<u8> = (0..width * height * 3)
                .map(|byte| (byte * 31 + byte / 256) as u8)
                .collect();
            let size = Size { width, height };
            for orientation in (1..=8).filter_map(Orientation::from_exif) {
                let picture =
                    image::RgbImage::from_raw(width as u32, height as u32, pixels.clone());
                let mut picture = image::DynamicImage::ImageRgb8(picture.unwrap());
                picture.apply_orientation(orientation);
                let (turned, found) = apply(orientation, size, pixels.clone());
                let found_size = (turned.width as u32, turned.height as u32);
                assert_eq!(found_size, (picture.width(), picture.height()));
                assert!(found == picture.as_bytes(), "{size:?} {orientation:?}");
            }
        }
    }

    #[test]
    fn of_a_text_as_long_as_the_file_no_more_than_a_megabyte_is_read() {
        let text = [&b"\nexif\n 4\n"[..], &b"4A 4b\n".repeat(MAX_TEXT)].concat();
        let bytes = hex(&text).unwrap();
        assert_eq!(bytes[..4], *b"JKJK");
        assert_eq!(bytes.len(), MAX_TEXT / 2);
        assert_eq!(hex(b"\nexif\n 4\n4a4"), Some(b"J".to_vec()));
        assert_eq!(hex(b"\nexif\n 4\n4a4x"), None);
    }
}
