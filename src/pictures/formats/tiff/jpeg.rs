//! JPEG within TIFF: strips and tiles that share their tables, and the old kind, which is a whole JPEG file.

use super::directory::Directory;
use super::layout::{Layout, Meaning, tag};
use super::{Chunks, corrupt, truncated, unsupported};
use crate::pictures::formats::jpeg;
use crate::pictures::formats::jpeg_part::{Pixels, Upsampling};
use crate::pictures::formats::{Format, Picture};
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;
use crate::pictures::{PictureError, Size};

/// The most that the tables of all strips may have: they are copied for each.
const MAX_TABLES: usize = 16 << 10;

/// The memory that decoding a strip or tile takes besides its samples: a copy of it with its tables, and coefficients.
pub(super) fn memory(layout: &Layout, largest: usize) -> usize {
    let coefficients = jpeg::coefficient_bytes(layout.chunk, layout.chunk_samples());
    coefficients.saturating_add(largest + MAX_TABLES)
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

/// Decodes a picture of the kind that the standard of 1992 describes. As in libtiff, colours that several pixels share
/// are not smoothed.
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
    let (size, chunk) = (layout.size, layout.chunk);
    let coded = if layout.tiled { chunk } else { size };
    if coded.width < size.width || coded.height < size.height {
        return Err(unsupported("old JPEG in several tiles"));
    }
    limits.check(Format::Tiff, coded.width as u64, coded.height as u64)?;
    // The JPEG is put together from parts of the file, and is at most twice as long; a copy of the result is for its
    // orientation.
    let (raw_len, jpeg_len) = (coded.rgb_len(), 2 * bytes.len());
    let memory = jpeg::coefficient_bytes(coded, CHANNELS) + jpeg_len + raw_len + size.rgb_len();
    limits.check_memory(Format::Tiff, size, memory)?;
    let jpeg = old_jpeg(bytes, directory, layout, coded)?;
    let read = |raw: &mut [u8]| {
        let (pixels, upsampling) = (Pixels::Rgb, Upsampling::Repeated);
        match jpeg::decode_part(&jpeg, limits, coded, pixels, upsampling, raw).map_err(in_tiff)? {
            decoded if decoded == coded => Ok(()),
            _ => Err(corrupt("a JPEG of another size than the TIFF")),
        }
    };
    picture.fill_converted(size, raw_len, read, |raw, out| {
        let rows = raw.chunks_exact(coded.width * CHANNELS);
        let row_len = size.width * CHANNELS;
        for (row, out) in rows.zip(out.chunks_exact_mut(row_len)) {
            out.copy_from_slice(&row[..row_len]);
        }
        ycbcr.to_rgb(out);
    })
}

/// The JPEG file that the parts of an old one make: its header is in one piece, or its tables are where tags say. The
/// strips have the rest, where that is not in the one piece too.
fn old_jpeg(
    bytes: &[u8],
    directory: &Directory,
    layout: &Layout,
    coded: Size,
) -> Result<Vec<u8>, PictureError> {
    let mut jpeg = Vec::with_capacity(2 * bytes.len());
    start_jpeg(false, &mut jpeg);
    let factors = directory.values(tag::YCBCR_SUBSAMPLING)?;
    let factors = factors.and_then(|values| Some((values.get(0)?, values.get(1)?)));
    let factors = match factors.unwrap_or((2, 2)) {
        (across @ 1..=4, down @ 1..=4) => (across as usize, down as usize),
        _ => return Err(corrupt("an old JPEG that is subsampled in no known way")),
    };
    let header = old_header(bytes, directory)?;
    let mut scan = &[][..];
    match header {
        Some(header) => scan = copy_segments(header, &mut jpeg),
        None => write_tables(bytes, directory, coded, factors, &mut jpeg)?,
    }
    if scan.len() > scan_header_len(scan) {
        jpeg.extend_from_slice(scan);
        jpeg.extend_from_slice(END);
        return Ok(jpeg);
    }
    // Each strip begins anew, after a restart marker that is left out.
    let chunks = Chunks::of(bytes, directory, layout)?;
    let restarts = chunks.down > 1;
    if restarts {
        let blocks = coded.width.div_ceil(8 * factors.0) * (layout.chunk.height / (8 * factors.1));
        let blocks = u16::try_from(blocks).ok().filter(|blocks| *blocks > 0);
        let blocks =
            blocks.ok_or_else(|| corrupt("old JPEG in strips of a height that it cannot have"))?;
        write_segment(0xdd, &[&blocks.to_be_bytes()], &mut jpeg);
    }
    match header {
        Some(_) => jpeg.extend_from_slice(scan),
        None => write_segment(0xda, &[&[3, 0, 0, 1, 0x11, 2, 0x22, 0, 63, 0]], &mut jpeg),
    }
    for index in 0..chunks.across * chunks.down {
        let data = chunks.data(index)?;
        if index > 0 && restarts {
            jpeg.extend_from_slice(&[0xff, 0xd0 + (index as u8 - 1) % 8]);
        }
        if jpeg.len() + data.len() > 2 * bytes.len() {
            return Err(corrupt("strips that lie over each other"));
        }
        match data.strip_prefix(START) {
            Some(_) if index == 0 => {
                let scan = copy_segments(data, &mut jpeg);
                jpeg.extend_from_slice(scan);
            }
            _ => jpeg.extend_from_slice(data),
        }
    }
    jpeg.extend_from_slice(END);
    Ok(jpeg)
}

/// The piece of the file that a tag says is a JPEG, or the beginning of one.
fn old_header<'a>(
    bytes: &'a [u8],
    directory: &Directory,
) -> Result<Option<&'a [u8]>, PictureError> {
    let Some(at) = directory.number(tag::OLD_JPEG_AT)? else {
        return Ok(None);
    };
    let at = usize::try_from(at).unwrap_or(usize::MAX);
    let piece = bytes.get(at..).unwrap_or_default();
    let len = directory.number(tag::OLD_JPEG_LEN)?;
    let len = len.map_or(piece.len(), |len| piece.len().min(len as usize));
    Ok(piece.starts_with(START).then_some(&piece[..len]))
}

/// Writes the header of a JPEG, up to its scan, whose tables are where tags say, one of each kind for Y, Cb and Cr.
fn write_tables(
    bytes: &[u8],
    directory: &Directory,
    coded: Size,
    factors: (usize, usize),
    jpeg: &mut Vec<u8>,
) -> Result<(), PictureError> {
    let missing = || corrupt("a table of an old JPEG is missing");
    let table = |tag, index: u8| {
        let at = directory
            .values(tag)?
            .and_then(|values| values.get(index.into()));
        let at = at.and_then(|at| usize::try_from(at).ok());
        at.and_then(|at| bytes.get(at..)).ok_or_else(missing)
    };
    for index in 0..3 {
        let steps = table(tag::OLD_JPEG_Q_TABLES, index)?;
        let steps = steps.get(..64).ok_or_else(missing)?;
        write_segment(0xdb, &[&[index], steps], jpeg);
        for (tag, class) in [
            (tag::OLD_JPEG_DC_TABLES, 0),
            (tag::OLD_JPEG_AC_TABLES, 0x10),
        ] {
            let codes = table(tag, index)?;
            let counts = codes.get(..16).ok_or_else(missing)?;
            let count: usize = counts.iter().map(|count| usize::from(*count)).sum();
            let codes = codes.get(..16 + count).ok_or_else(missing)?;
            write_segment(0xc4, &[&[class | index], codes], jpeg);
        }
    }
    let sides = [coded.height, coded.width].map(u16::try_from);
    let [Ok(height), Ok(width)] = sides.map(|side| side.map(u16::to_be_bytes)) else {
        return Err(corrupt("an old JPEG that is too large"));
    };
    let factors = (factors.0 << 4 | factors.1) as u8;
    let components = [0, factors, 0, 1, 0x11, 1, 2, 0x11, 2];
    write_segment(0xc0, &[&[8], &height, &width, &[3], &components], jpeg);
    Ok(())
}

fn write_segment(marker: u8, parts: &[&[u8]], jpeg: &mut Vec<u8>) {
    let len = 2 + parts.iter().map(|part| part.len()).sum::<usize>();
    jpeg.extend_from_slice(&[0xff, marker]);
    jpeg.extend_from_slice(&(len as u16).to_be_bytes());
    parts.iter().for_each(|part| jpeg.extend_from_slice(part));
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

const START: &[u8] = b"\xff\xd8";
const END: &[u8] = b"\xff\xd9";

/// A JPEG file of the tables that all strips share and the data of one, in which the TIFF's tags alone tell the
/// colours.
fn whole_jpeg(tables: &[u8], data: &[u8], is_ycbcr: bool) -> Vec<u8> {
    let mut jpeg = Vec::with_capacity(tables.len() + data.len() + 64);
    start_jpeg(is_ycbcr, &mut jpeg);
    copy_segments(tables, &mut jpeg);
    let scan = copy_segments(data, &mut jpeg);
    jpeg.extend_from_slice(scan);
    // A strip may do without its end marker.
    jpeg.extend_from_slice(END);
    jpeg
}

/// The beginning of a JPEG, with Adobe's segment: its last byte tells whether colours are YCbCr.
fn start_jpeg(is_ycbcr: bool, jpeg: &mut Vec<u8>) {
    jpeg.extend_from_slice(START);
    jpeg.extend_from_slice(b"\xff\xee\0\x0eAdobe\0\x64\0\0\0\0");
    jpeg.push(is_ycbcr.into());
}

/// The length of the header that a scan begins with.
fn scan_header_len(scan: &[u8]) -> usize {
    match scan {
        [_, _, high, low, ..] => 2 + usize::from(u16::from_be_bytes([*high, *low])),
        _ => scan.len(),
    }
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
