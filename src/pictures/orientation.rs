//! How a camera was held: the EXIF tag `Orientation`, read and applied by the crate `image`.
//!
//! Where the EXIF data are in a file is found here: the decoders of `image` would tell it too, but this program is built with
//! that for WebP alone, since others decode JPEG and PNG.

use image::metadata::Orientation;
use image::{DynamicImage, RgbImage};

use crate::pictures::Size;

/// The orientation that a JPEG, PNG or WebP file gives; upright where it gives none that can be read. (A TIFF is turned
/// when it is decoded.)
pub fn of(bytes: &[u8]) -> Orientation {
    let orientation = exif(bytes).and_then(Orientation::from_exif_chunk);
    orientation.unwrap_or(Orientation::NoTransforms)
}

/// The orientation that a value of the tag stands for; upright where it stands for none.
pub fn of_value(value: u64) -> Orientation {
    let orientation = u8::try_from(value).ok().and_then(Orientation::from_exif);
    orientation.unwrap_or(Orientation::NoTransforms)
}

/// Turns a picture upright; `pixels` are `[size.height, size.width, 3]`.
pub fn apply(orientation: Orientation, size: Size, pixels: Vec<u8>) -> (Size, Vec<u8>) {
    if orientation == Orientation::NoTransforms {
        return (size, pixels);
    }
    let side = |side: usize| u32::try_from(side).expect("a side of at most MAX_SIDE pixels");
    let picture = RgbImage::from_raw(side(size.width), side(size.height), pixels);
    let mut picture = DynamicImage::ImageRgb8(picture.expect("as many pixels as the size says"));
    picture.apply_orientation(orientation);
    let size = Size {
        width: picture.width() as usize,
        height: picture.height() as usize,
    };
    (size, picture.into_bytes())
}

/// The TIFF data that hold the EXIF tags of a file.
fn exif(bytes: &[u8]) -> Option<&[u8]> {
    if bytes.starts_with(b"\xff\xd8") {
        jpeg_exif(bytes)
    } else if bytes.starts_with(b"\x89PNG\r\n\x1a\n") {
        png_exif(bytes)
    } else if bytes.starts_with(b"RIFF") && bytes.get(8..12)? == b"WEBP" {
        webp_exif(bytes)
    } else {
        None
    }
}

/// Segments: `ff`, a marker, a length of two bytes that counts itself.
fn jpeg_exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = &bytes[2..];
    loop {
        let [0xff, marker, high, low, ..] = *rest else {
            return None;
        };
        if marker == 0xff {
            rest = &rest[1..];
            continue;
        }
        // The picture itself begins.
        if marker == 0xda {
            return None;
        }
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        match segment.strip_prefix(b"Exif\0\0") {
            Some(exif) if marker == 0xe1 => return Some(exif),
            _ => rest = &rest[2 + length..],
        }
    }
}

/// Chunks: a length, a name, the data, a checksum.
fn png_exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = &bytes[8..];
    loop {
        let length = u32::from_be_bytes(rest.get(..4)?.try_into().ok()?) as usize;
        if rest.get(4..8)? == b"eXIf" {
            return rest.get(8..8 + length);
        }
        rest = rest.get(12 + length..)?;
    }
}

/// Chunks: a name, a length, the data, padded to an even length.
fn webp_exif(bytes: &[u8]) -> Option<&[u8]> {
    let mut rest = &bytes[12..];
    loop {
        let length = u32::from_le_bytes(rest.get(4..8)?.try_into().ok()?) as usize;
        if rest.get(..4)? == b"EXIF" {
            let data = rest.get(8..8 + length)?;
            return Some(data.strip_prefix(b"Exif\0\0").unwrap_or(data));
        }
        rest = rest.get(8 + length + length % 2..)?;
    }
}
