//! JPEG through libjpeg-turbo, the decoder that Pillow uses too.
//!
//! `jpeg_turbo.c` stands between: it has the calls of libjpeg's API, whose rows come one after the other, so that a
//! picture need not be in memory as a whole. A warning is not an error there. Pictures with warnings (a wrong marker,
//! garbage between segments) are common, and Pillow reads them.

use std::ffi::{CStr, c_char, c_int, c_uint, c_ulong};
use std::ptr::NonNull;

// For the library that it links.
use turbojpeg_sys as _;

use super::Format;
use super::jpeg_part::{Pixels, Upsampling};
use crate::pictures::convert::{gray_to_rgb, inverted_cmyk_to_rgb};
use crate::pictures::limits::Limits;
use crate::pictures::resample::Target;
use crate::pictures::rows::Rows;
use crate::pictures::{PictureError, Size};

/// Which JPEG decoder is built in.
pub const JPEG_DECODER: &str = "libjpeg-turbo";

/// A picture with more scans is refused: a file of a few kilobytes can hold thousands, each of which costs a pass over
/// the whole picture. 100 is the most that libjpeg's own `cjpeg` and `jpegtran` write (`MAX_SCANS` in `rdswitch.c`),
/// and encoders write about 10. (132 kB with 500 scans of 178 megapixels took 59 s.)
const MAX_SCANS: c_int = 100;

/// The largest side of the blocks that are coded together, in pixels.
const MAX_BLOCK: usize = 32;

/// What the decoder holds of each component while it goes through the rows, in bytes per pixel of a row at most: two
/// rows of blocks around the current one, before and after the colours that are stored with fewer pixels are made
/// larger.
const ROW_BYTES: usize = 8 * MAX_BLOCK;

/// The fractions that a picture can be shrunk by while decoding: those of libjpeg's that halve.
const SCALES: [usize; 3] = [8, 4, 2];

/// How many rows are decoded at a time: those of a row of blocks, where colours are stored with half as many.
const ROWS: usize = 16;

/// Decodes `bytes` into `out`. With `wanted`, it comes out shrunk to no less than [`MARGIN`] times on each side what it
/// is resampled to, before anything is cut off.
pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    wanted: Option<Target>,
    out: &mut impl Rows,
) -> Result<(), PictureError> {
    let decoded = decode_file(bytes, Warnings::Accepted, limits, wanted, out);
    if !matches!(decoded, Err(PictureError::Truncated { .. })) || !is_one_scan(bytes) {
        return decoded;
    }
    // Of a picture without its end marker Pillow reads the rows, where they are all there. Then there is nothing to
    // warn of in a copy that has the marker.
    limits.check_bytes(Format::Jpeg, [bytes.len()])?;
    let ended = [bytes, b"\xff\xd9"].concat();
    match decode_file(&ended, Warnings::Refused, limits, wanted, out) {
        Err(error @ PictureError::NeedsMemory { .. }) => Err(error),
        again => again.or(decoded),
    }
}

fn decode_file(
    bytes: &[u8],
    warnings: Warnings,
    limits: Limits,
    wanted: Option<Target>,
    out: &mut impl Rows,
) -> Result<(), PictureError> {
    let mut reader = Reader::open(bytes, warnings)?;
    let header = reader.read_header(limits)?;
    let Header { size: full, .. } = header;
    // The library does not scale lossless pictures, whatever is asked of it.
    let wanted = wanted.filter(|_| !header.is_lossless);
    let divisor = wanted.map_or(1, |wanted| divisor(full, wanted.whole(full)));
    let size = Size {
        width: full.width.div_ceil(divisor),
        height: full.height.div_ceil(divisor),
    };
    let pixels = match header.components {
        4 => Pixels::Cmyk,
        // The library converts no colours of lossless pictures, not even gray.
        1 if header.is_lossless => Pixels::Gray,
        _ => Pixels::Rgb,
    };
    let coefficients = match header.has_multiple_scans {
        true => coefficient_bytes(full, header.components),
        false => 0,
    };
    let copied = match warnings {
        Warnings::Accepted => 0,
        Warnings::Refused => bytes.len(),
    };
    let row_bytes = ROW_BYTES * header.components * full.width;
    let memory = [coefficients, row_bytes, copied, out.memory(size)];
    let memory = memory.into_iter().fold(0, usize::saturating_add);
    limits.check_all_memory(Format::Jpeg, size, memory)?;
    reader.start(pixels, divisor, Upsampling::Smooth)?;
    let mut raw = vec![0; ROWS * size.width * pixels.channels()];
    out.begin(size);
    for first in (0..size.height).step_by(ROWS) {
        let count = ROWS.min(size.height - first);
        let rgb = out.room(first, count);
        let raw = &mut raw[..count * size.width * pixels.channels()];
        match pixels {
            Pixels::Rgb => reader.read_rows(rgb)?,
            Pixels::Gray => {
                reader.read_rows(raw)?;
                gray_to_rgb(raw, rgb);
            }
            Pixels::Cmyk => {
                reader.read_rows(raw)?;
                inverted_cmyk_to_rgb(raw, rgb);
            }
        }
        out.filled();
    }
    reader.finish()
}

/// The memory for the coefficients of a picture, in bytes: one of several scans has them all in memory, in whole
/// blocks, 2 bytes for each, at the full size.
pub(super) fn coefficient_bytes(full: Size, components: usize) -> usize {
    let [width, height] = [full.width, full.height].map(|side| side.next_multiple_of(MAX_BLOCK));
    (2 * components * width).saturating_mul(height)
}

/// Decodes a JPEG within another format, of `most` pixels at most, into `out` in rows of its own width; gives its size.
pub(super) fn decode_part(
    bytes: &[u8],
    limits: Limits,
    most: Size,
    pixels: Pixels,
    upsampling: Upsampling,
    out: &mut [u8],
) -> Result<Size, PictureError> {
    let mut reader = Reader::open(bytes, Warnings::Accepted)?;
    let Header {
        size, components, ..
    } = reader.read_header(limits)?;
    let Size { width, height } = size;
    if components != pixels.channels() || width > most.width || height > most.height {
        return Err(PictureError::corrupt(
            Format::Jpeg,
            format!("{components} components of {width} x {height} pixels"),
        ));
    }
    reader.start(pixels, 1, upsampling)?;
    reader.read_rows(&mut out[..width * height * components])?;
    reader.finish()?;
    Ok(size)
}

impl Pixels {
    /// Bytes of a pixel.
    fn channels(self) -> usize {
        match self {
            Self::Gray => 1,
            Self::Rgb => 3,
            Self::Cmyk => 4,
        }
    }
}

/// What becomes of libjpeg's warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warnings {
    /// Pillow does not look at them.
    Accepted,
    /// They are errors, but for those of garbage before the end marker.
    Refused,
}

/// What the first segments say of a picture.
struct Header {
    size: Size,
    /// 1 is gray, 3 a colour, 4 a colour with black.
    components: usize,
    is_lossless: bool,
    has_multiple_scans: bool,
}

#[allow(unsafe_code, reason = "C functions")]
mod c {
    use super::*;

    /// `struct reader`, which is C's business.
    #[repr(C)]
    pub struct Reader {
        _opaque: [u8; 0],
    }

    /// `struct header`.
    #[repr(C)]
    #[derive(Default)]
    pub struct Header {
        pub width: c_uint,
        pub height: c_uint,
        pub precision: c_int,
        pub components: c_int,
        pub lossless: c_int,
        pub multiple_scans: c_int,
    }

    unsafe extern "C" {
        pub fn simsearch_jpeg_open(
            bytes: *const u8,
            len: c_ulong,
            max_scans: c_int,
            refuses_warnings: c_int,
        ) -> *mut Reader;
        pub fn simsearch_jpeg_header(reader: *mut Reader, header: *mut Header) -> c_int;
        pub fn simsearch_jpeg_start(
            reader: *mut Reader,
            components: c_int,
            divisor: c_uint,
            smooth: c_int,
        ) -> c_int;
        pub fn simsearch_jpeg_row_len(reader: *const Reader) -> c_ulong;
        pub fn simsearch_jpeg_rows_left(reader: *const Reader) -> c_uint;
        pub fn simsearch_jpeg_rows(reader: *mut Reader, out: *mut u8, count: c_uint) -> c_int;
        pub fn simsearch_jpeg_finish(reader: *mut Reader) -> c_int;
        pub fn simsearch_jpeg_message(reader: *const Reader) -> *const c_char;
        pub fn simsearch_jpeg_close(reader: *mut Reader);
    }
}

/// A JPEG that is being decoded: [`open`](Self::open), [`read_header`](Self::read_header), [`start`](Self::start),
/// [`read_rows`](Self::read_rows) until there are no more, [`finish`](Self::finish); nothing after an error.
struct Reader<'a> {
    reader: NonNull<c::Reader>,
    bytes: &'a [u8],
    warnings: Warnings,
}

impl Drop for Reader<'_> {
    fn drop(&mut self) {
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the reader is live, and nobody can use it after this.
        unsafe {
            c::simsearch_jpeg_close(self.reader.as_ptr());
        }
    }
}

impl<'a> Reader<'a> {
    fn open(bytes: &'a [u8], warnings: Warnings) -> Result<Self, PictureError> {
        if bytes.is_empty() {
            return Err(PictureError::truncated(Format::Jpeg, "no bytes"));
        }
        let refuses = c_int::from(warnings == Warnings::Refused);
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: pointer and length are those of a slice that lives as long as the reader, and is only read.
        let reader =
            unsafe { c::simsearch_jpeg_open(bytes.as_ptr(), bytes.len() as _, MAX_SCANS, refuses) };
        let reader = NonNull::new(reader).ok_or(PictureError::OutOfMemory {
            format: Format::Jpeg,
        })?;
        Ok(Self {
            reader,
            bytes,
            warnings,
        })
    }

    fn read_header(&mut self, limits: Limits) -> Result<Header, PictureError> {
        let mut header = c::Header::default();
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the reader is live, and the header is C's too.
        let status = unsafe { c::simsearch_jpeg_header(self.reader.as_ptr(), &mut header) };
        self.check(status)?;
        if header.components == 0 {
            return Err(PictureError::corrupt(
                Format::Jpeg,
                "no picture behind the tables",
            ));
        }
        if header.precision != 8 {
            return Err(PictureError::unsupported(
                Format::Jpeg,
                format!("{} bits per channel", header.precision),
            ));
        }
        Ok(Header {
            size: limits.check(Format::Jpeg, header.width, header.height)?,
            components: header.components as usize,
            is_lossless: header.lossless != 0,
            has_multiple_scans: header.multiple_scans != 0,
        })
    }

    /// Begins with a picture whose header was read.
    fn start(
        &mut self,
        pixels: Pixels,
        divisor: usize,
        upsampling: Upsampling,
    ) -> Result<(), PictureError> {
        let components = pixels.channels() as c_int;
        let smooth = c_int::from(upsampling == Upsampling::Smooth);
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the reader is live, and has read a header.
        let status = unsafe {
            c::simsearch_jpeg_start(self.reader.as_ptr(), components, divisor as c_uint, smooth)
        };
        self.check(status)
    }

    /// Fills `out` with the next rows; it must have room for whole rows, and no more than are left.
    fn read_rows(&mut self, out: &mut [u8]) -> Result<(), PictureError> {
        let reader = self.reader.as_ptr();
        #[allow(unsafe_code, reason = "C functions")]
        // SAFETY: the reader is live, and its picture was started. C writes as many rows of its length, which fit.
        let status = unsafe {
            let row_len = c::simsearch_jpeg_row_len(reader) as usize;
            let count = out.len() / row_len;
            assert!(
                count * row_len == out.len()
                    && count <= c::simsearch_jpeg_rows_left(reader) as usize,
                "room for other rows than those of the picture"
            );
            c::simsearch_jpeg_rows(reader, out.as_mut_ptr(), count as c_uint)
        };
        self.check(status)
    }

    /// Reads to the end of a picture all of whose rows were read.
    fn finish(&mut self) -> Result<(), PictureError> {
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the reader is live.
        let status = unsafe { c::simsearch_jpeg_finish(self.reader.as_ptr()) };
        let garbage = "extraneous bytes before marker 0xd9";
        if status < 0 && self.warnings == Warnings::Refused && self.message().ends_with(garbage) {
            return Ok(());
        }
        // Running out of bytes is only a warning.
        if status > 0 && !has_end_of_image(self.bytes) {
            return Err(PictureError::truncated(Format::Jpeg, self.message()));
        }
        self.check(status)
    }

    /// Makes an error of the status of one.
    fn check(&self, status: c_int) -> Result<(), PictureError> {
        if status >= 0 {
            return Ok(());
        }
        let (format, message) = (Format::Jpeg, self.message());
        Err(if message.starts_with("Insufficient memory") {
            // `JERR_OUT_OF_MEMORY` in libjpeg's `jerror.h`.
            PictureError::OutOfMemory { format }
        } else if !has_end_of_image(self.bytes) {
            PictureError::truncated(format, message)
        } else if is_unsupported(&message) {
            PictureError::unsupported(format, message)
        } else {
            PictureError::corrupt(format, message)
        })
    }

    /// What the library said of an error, or else of the first warning.
    fn message(&self) -> String {
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the reader is live; the message is a C string in it, and is copied at once.
        let message = unsafe { CStr::from_ptr(c::simsearch_jpeg_message(self.reader.as_ptr())) };
        message.to_string_lossy().into_owned()
    }
}

/// How many times the wanted size a scaled picture has on each side, at least. (60 photographs of 12 megapixels: with 4
/// the features have a cosine of 0.99958 or more to the exact ones and are made 1.58 times as fast; with 3, of 0.99802
/// and 1.77 times; with 2, of 0.99802 and 1.91 times.)
const MARGIN: usize = 4;

/// The largest of [`SCALES`] that leaves [`MARGIN`] times the wanted size on each side, or 1.
fn divisor(full: Size, wanted: Size) -> usize {
    let enough = |divisor: &usize| {
        full.width.div_ceil(*divisor) >= MARGIN * wanted.width
            && full.height.div_ceil(*divisor) >= MARGIN * wanted.height
    };
    SCALES.into_iter().find(enough).unwrap_or(1)
}

/// Whether libjpeg's message of a fatal error speaks of a kind of JPEG that it does not read (see `jerror.h`).
fn is_unsupported(message: &str) -> bool {
    [
        "Unsupported",
        "not supported",
        "not implemented",
        "more than",
    ]
    .iter()
    .any(|words| message.contains(words))
}

/// Whether the picture has its end marker: follows the segments by their lengths, and compressed data by its marker
/// bytes. Pillow's decoder waits for the end marker, and takes a picture without one for truncated.
fn has_end_of_image(bytes: &[u8]) -> bool {
    const START_OF_SCAN: u8 = 0xda;
    const END_OF_IMAGE: u8 = 0xd9;
    let mut rest = bytes;
    loop {
        // To the next 0xff that a marker follows; 0xff00 is a value in compressed data, and 0xff a filler.
        let Some(at) = rest.iter().position(|&byte| byte == 0xff) else {
            return false;
        };
        rest = &rest[at + 1..];
        match rest {
            [END_OF_IMAGE, ..] => return true,
            // Without a segment: a stuffed byte, a restart, the start of the picture, and what is no marker of JPEG's.
            [0..=0xbf | 0xd0..=0xd8, tail @ ..] => rest = tail,
            [0xff, ..] => {}
            // The data of a scan follows its header without a marker: the search above goes through it.
            [START_OF_SCAN, high, low, ..] | [_, high, low, ..] => {
                let segment = 1 + usize::from(u16::from_be_bytes([*high, *low]));
                rest = rest.get(segment..).unwrap_or(&[]);
            }
            _ => return false,
        }
    }
}

/// Whether all of a picture is in one scan that comes in the order of the rows: what is decoded of it is not refined
/// afterwards.
fn is_one_scan(bytes: &[u8]) -> bool {
    let mut rest = bytes;
    let mut components = None;
    while let [0xff, marker, tail @ ..] = rest {
        rest = match marker {
            0xff => &rest[1..],
            0xd8 => tail,
            0xda => return components.is_some() && tail.get(2) == components,
            _ => {
                if matches!(marker, 0xc0 | 0xc1) {
                    // After the length, the precision and the size.
                    components = tail.get(7);
                }
                let [high, low, ..] = tail else {
                    return false;
                };
                let segment = usize::from(u16::from_be_bytes([*high, *low]));
                tail.get(segment..).unwrap_or_default()
            }
        };
    }
    false
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_end_marker_is_found_behind_segments_only() {
        assert!(has_end_of_image(
            b"\xff\xd8\xff\xda\x00\x02abc\xff\x00\xff\xd3x\xff\x8e\xff\xff\xd9junk"
        ));
        assert!(!has_end_of_image(
            b"\xff\xd8\xff\xe0\x00\x04\xff\xd9\xff\xda\x00\x02abc\xff"
        ));
        assert!(!has_end_of_image(b"\xff\xd8\xff\xe0\xff\xff\xff\xd9"));
        assert!(!has_end_of_image(b""));
    }

    #[test]
    fn scaling_keeps_the_margin() {
        let wanted = Size {
            width: 200 / MARGIN,
            height: 100 / MARGIN,
        };
        for (width, height, expected) in [
            (199, 1000, 1),
            (398, 200, 1),
            (399, 200, 2),
            (400, 200, 2),
            (800, 400, 4),
            (1593, 793, 8),
            (10000, 198, 1),
        ] {
            assert_eq!(
                divisor(Size { width, height }, wanted),
                expected,
                "{width}x{height}"
            );
        }
    }
}
