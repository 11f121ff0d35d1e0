//! JPEG within TIFF: strips and tiles that share their tables, and the old kind, which is a whole JPEG file.

use super::directory::Directory;
use super::layout::{Layout, Meaning, tag};
use super::{corrupt, truncated, unsupported};
use crate::pictures::formats::jpeg::{self, Pixels, Upsampling};
use crate::pictures::formats::{Format, Picture};
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;
use crate::pictures::{PictureError, Size};

/// The most that the tables of all strips may have: they are copied for each.
const MAX_TABLES: usize = 16 << 10;

/// The memory that decoding a strip or tile takes besides its samples: a copy of it with its tables, and coefficients.
pub(super) fn memory(layout: &Layout, largest: usize) -> usize {
    let Size { width, height } = layout.chunk;
    let height = height.min(layout.size.height.next_multiple_of(jpeg::MAX_BLOCK));
    let size = Size { width, height };
    jpeg::coefficient_bytes(size, layout.chunk_samples()).saturating_add(largest + MAX_TABLES)
}

/// Decodes a strip or tile, of whose rows `rows` are needed.
pub(super) fn decode(
    layout: &Layout,
    tables: Option<&[u8]>,
    data: &[u8],
    rows: usize,
    limits: Limits,
    out: &mut [u8],
) -> Result<(), PictureError> {
    if layout.bits != 8 {
        return Err(unsupported(format!("JPEG of {} bits", layout.bits)));
    }
    let pixels = match layout.chunk_samples() {
        1 => Pixels::Gray,
        3 => Pixels::Rgb,
        4 => Pixels::Cmyk,
        other => return Err(unsupported(format!("JPEG of {other} samples"))),
    };
    if tables.is_some_and(|tables| tables.len() > MAX_TABLES) {
        return Err(unsupported("JPEG tables of that length"));
    }
    let stream = whole_jpeg(tables.unwrap_or_default(), data, layout.jpeg_is_ycbcr);
    let row_len = layout.row_len(layout.chunk.width);
    let most = Size {
        width: layout.chunk.width,
        height: out.len() / row_len,
    };
    let decoded = jpeg::decode_part(&stream, limits, most, pixels, Upsampling::Smooth, out)
        .map_err(in_tiff)?;
    if decoded.width != most.width || decoded.height < rows {
        return Err(corrupt(format!(
            "a JPEG of {} x {} pixels in a strip or tile of {} x {}",
            decoded.width, decoded.height, most.width, most.height
        )));
    }
    Ok(())
}

/// Decodes a picture of the kind that the standard of 1992 describes, where it is a JPEG file within the TIFF. (Where its
/// tables are in tags of their own, it is not read.) As in libtiff,
/// colours that several pixels share are not smoothed.
pub(super) fn decode_old(
    bytes: &[u8],
    directory: &Directory,
    layout: &Layout,
    limits: Limits,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let Meaning::YCbCr(ycbcr) = &layout.meaning else {
        return Err(unsupported("old JPEG without colours"));
    };
    let at = directory.number(tag::OLD_JPEG_AT)?;
    let len = directory.number(tag::OLD_JPEG_LEN)?;
    let outside = || truncated("the JPEG lies outside of the file");
    let Some(at) = at else {
        return Err(unsupported("old JPEG whose tables are in tags"));
    };
    let at = usize::try_from(at).map_err(|_| outside())?;
    let stream = bytes.get(at..).ok_or_else(outside)?;
    let len = len.map_or(stream.len(), |len| (len as usize).min(stream.len()));
    let size = layout.size;
    // A copy of the JPEG, and one of the result for its orientation.
    let memory = jpeg::coefficient_bytes(size, CHANNELS) + len + size.rgb_len();
    limits.check_memory(Format::Tiff, size, memory)?;
    let jpeg = whole_jpeg(&[], &stream[..len], false);
    let out = picture.resize(size);
    let decoded = jpeg::decode_part(&jpeg, limits, size, Pixels::Rgb, Upsampling::Repeated, out)
        .map_err(in_tiff)?;
    if decoded != size {
        return Err(corrupt("a JPEG of another size than the TIFF"));
    }
    ycbcr.to_rgb(out);
    Ok(())
}

/// An error of the JPEG decoder as one of the TIFF.
fn in_tiff(error: PictureError) -> PictureError {
    match error {
        PictureError::Unsupported { source, .. } => unsupported(source),
        PictureError::Truncated { source, .. } => truncated(source),
        PictureError::Corrupt { source, .. } => corrupt(source),
        other => other,
    }
}

/// A JPEG file of the tables that all strips share and the data of one, in which the TIFF's tags alone tell the colours.
fn whole_jpeg(tables: &[u8], data: &[u8], is_ycbcr: bool) -> Vec<u8> {
    /// Adobe's segment: its last byte tells whether colours are YCbCr.
    const ADOBE: &[u8] = b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0";
    let mut jpeg = Vec::with_capacity(tables.len() + data.len() + 64);
    jpeg.extend_from_slice(b"\xff\xd8");
    jpeg.extend_from_slice(ADOBE);
    jpeg.push(is_ycbcr.into());
    copy_segments(tables, &mut jpeg);
    let scan = copy_segments(data, &mut jpeg);
    jpeg.extend_from_slice(scan);
    // A strip may do without its end marker.
    jpeg.extend_from_slice(b"\xff\xd9");
    jpeg
}

/// Copies the segments before the first scan, but those that tell the colours; gives the rest.
fn copy_segments<'a>(jpeg: &'a [u8], out: &mut Vec<u8>) -> &'a [u8] {
    const START: u8 = 0xd8;
    const END: u8 = 0xd9;
    const SCAN: u8 = 0xda;
    const JFIF: u8 = 0xe0;
    const ADOBE: u8 = 0xee;
    let mut rest = jpeg;
    loop {
        match *rest {
            [0xff, 0xff, ..] | [0xff, START, ..] => {
                rest = if rest[1] == START {
                    &rest[2..]
                } else {
                    &rest[1..]
                };
            }
            [0xff, END, ..] => return &[],
            [0xff, SCAN, ..] => return rest,
            [0xff, marker, high, low, ..] => {
                let len = 2 + usize::from(u16::from_be_bytes([high, low]));
                let Some((segment, tail)) = rest.split_at_checked(len) else {
                    return rest;
                };
                if !matches!(marker, JFIF | ADOBE) {
                    out.extend_from_slice(segment);
                }
                rest = tail;
            }
            _ => return rest,
        }
    }
}
