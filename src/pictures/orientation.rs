//! How a camera was held: the EXIF tag `Orientation`.

use crate::pictures::Size;

/// The tag in the first directory of TIFF data.
const TAG: u16 = 0x0112;

/// What turns a picture upright: first transposed (rows become columns), then mirrored.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Orientation {
    transposed: bool,
    mirrored_sideways: bool,
    mirrored_upside_down: bool,
}

impl Orientation {
    /// The orientation that a JPEG, PNG or WebP file gives; upright where it gives none that can be read. (A TIFF is
    /// turned when it is decoded.)
    pub fn of(bytes: &[u8]) -> Self {
        let value = exif(bytes).and_then(tag_value);
        Self::of_value(value.unwrap_or(1).into())
    }

    /// The orientation that a value of the tag stands for; upright where it stands for none.
    pub fn of_value(value: u64) -> Self {
        let of = |transposed, mirrored_sideways, mirrored_upside_down| Orientation {
            transposed,
            mirrored_sideways,
            mirrored_upside_down,
        };
        match value {
            2 => of(false, true, false),
            3 => of(false, true, true),
            4 => of(false, false, true),
            5 => of(true, false, false),
            6 => of(true, true, false),
            7 => of(true, true, true),
            8 => of(true, false, true),
            _ => Self::default(),
        }
    }

    /// Turns a picture upright; `pixels` are `[size.height, size.width, 3]`.
    pub fn apply(self, size: Size, pixels: Vec<u8>) -> (Size, Vec<u8>) {
        if self == Self::default() {
            return (size, pixels);
        }
        let Size { width, height } = size;
        let upright = match self.transposed {
            true => Size {
                width: height,
                height: width,
            },
            false => size,
        };
        let mut turned = Vec::with_capacity(pixels.len());
        for y in 0..upright.height {
            let y = if self.mirrored_upside_down {
                upright.height - 1 - y
            } else {
                y
            };
            for x in 0..upright.width {
                let x = if self.mirrored_sideways {
                    upright.width - 1 - x
                } else {
                    x
                };
                let (from_x, from_y) = if self.transposed { (y, x) } else { (x, y) };
                turned.extend_from_slice(&pixels[(from_y * width + from_x) * 3..][..3]);
            }
        }
        (upright, turned)
    }
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

/// The tag's value in TIFF data: a byte order, then where the first directory is, whose entries have 12 bytes.
fn tag_value(tiff: &[u8]) -> Option<u16> {
    let little = match tiff.get(..4)? {
        b"II*\0" => true,
        b"MM\0*" => false,
        _ => return None,
    };
    let short = |at: usize| -> Option<u16> {
        let bytes = tiff.get(at..at.checked_add(2)?)?.try_into().ok()?;
        Some(match little {
            true => u16::from_le_bytes(bytes),
            false => u16::from_be_bytes(bytes),
        })
    };
    let long = |at: usize| -> Option<usize> {
        let bytes = tiff.get(at..at.checked_add(4)?)?.try_into().ok()?;
        Some(match little {
            true => u32::from_le_bytes(bytes),
            false => u32::from_be_bytes(bytes),
        } as usize)
    };
    let directory = long(4)?;
    let entries = usize::from(short(directory)?);
    let entry = (0..entries).map(|entry| directory + 2 + entry * 12);
    entry
        .take_while(|at| at + 12 <= tiff.len())
        .find(|at| short(*at) == Some(TAG))
        .and_then(|at| short(at + 8))
}
