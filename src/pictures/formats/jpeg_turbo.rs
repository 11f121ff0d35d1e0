//! JPEG through libjpeg-turbo, the decoder that Pillow uses too.
//!
//! This talks to the C functions of the TurboJPEG API rather than to the safe `turbojpeg` crate above them, because
//! that crate makes errors of libjpeg's warnings. Pictures with warnings (a wrong marker, garbage between segments)
//! are common, and Pillow reads them.

use std::ffi::CStr;
use std::ptr::NonNull;

use turbojpeg::raw;

use super::jpeg_part::{Pixels, Upsampling};
use super::{Format, Picture};
use crate::pictures::convert::{gray_to_rgb, inverted_cmyk_to_rgb};
use crate::pictures::limits::Limits;
use crate::pictures::size::CHANNELS;
use crate::pictures::{PictureError, Size};

/// Which JPEG decoder is built in.
pub const JPEG_DECODER: &str = "libjpeg-turbo";

/// A picture with more scans is refused: a file of a few kilobytes can hold thousands, each of which costs a pass over
/// the whole picture. 100 is the most that libjpeg's own `cjpeg` and `jpegtran` write (`MAX_SCANS` in `rdswitch.c`), and
/// encoders write about 10. (132 kB with 500 scans of 178 megapixels took 59 s.)
const MAX_SCANS: i32 = 100;

/// The largest side of the blocks that are coded together, in pixels.
const MAX_BLOCK: usize = 32;

/// The fractions that a picture can be shrunk by while decoding: those of libjpeg's that halve.
const SCALES: [usize; 3] = [8, 4, 2];

/// Decodes `bytes` into `picture`. With `wanted`, it comes out shrunk to no less than [`MARGIN`] times that on each side.
pub(super) fn decode(
    bytes: &[u8],
    limits: Limits,
    wanted: Option<Size>,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let decoded = decode_file(bytes, Warnings::Accepted, limits, wanted, picture);
    if !matches!(decoded, Err(PictureError::Truncated { .. })) || !is_one_scan(bytes) {
        return decoded;
    }
    // Of a picture without its end marker Pillow reads the rows, where they are all there. Then there is nothing to warn
    // of in a copy that has the marker.
    limits.check_memory(Format::Jpeg, Size::default(), bytes.len())?;
    let ended = [bytes, b"\xff\xd9"].concat();
    match decode_file(&ended, Warnings::Refused, limits, wanted, picture) {
        Err(error @ PictureError::NeedsMemory { .. }) => Err(error),
        again => again.or(decoded),
    }
}

fn decode_file(
    bytes: &[u8],
    warnings: Warnings,
    limits: Limits,
    wanted: Option<Size>,
    picture: &mut Picture,
) -> Result<(), PictureError> {
    let mut decompressor = Decompressor::new(warnings)?;
    let (full, components) = decompressor.read_header(bytes, limits)?;
    let is_lossless = decompressor.get(raw::TJPARAM_TJPARAM_LOSSLESS) == 1;
    // The library does not scale lossless pictures, whatever is asked of it.
    let wanted = wanted.filter(|_| !is_lossless);
    let divisor = wanted.map_or(1, |wanted| divisor(full, wanted));
    let size = Size {
        width: full.width.div_ceil(divisor),
        height: full.height.div_ceil(divisor),
    };
    let scale = raw::tjscalingfactor {
        num: 1,
        denom: divisor as i32,
    };
    let is_lossless_gray = is_lossless && components == 1;
    let raw_channels = match components {
        4 => 4,
        _ => usize::from(is_lossless_gray),
    };
    let copied = match warnings {
        Warnings::Accepted => 0,
        Warnings::Refused => bytes.len(),
    };
    limits.check_memory(
        Format::Jpeg,
        size,
        coefficient_bytes(full, components) + raw_channels * size.width * size.height + copied,
    )?;
    if is_lossless_gray {
        // The library converts no colours of lossless pictures, not even gray.
        picture.fill_converted(
            size,
            size.width * size.height,
            |raw| decompressor.decompress(bytes, scale, raw::TJPF_TJPF_GRAY, size.width, raw),
            gray_to_rgb,
        )
    } else if components == 4 {
        let raw_len = size.width * size.height * 4;
        picture.fill_converted(
            size,
            raw_len,
            |raw| decompressor.decompress(bytes, scale, raw::TJPF_TJPF_CMYK, size.width * 4, raw),
            inverted_cmyk_to_rgb,
        )
    } else {
        let pixels = picture.resize(size);
        decompressor.decompress(
            bytes,
            scale,
            raw::TJPF_TJPF_RGB,
            size.width * CHANNELS,
            pixels,
        )
    }
}

/// The memory for the coefficients of a picture, in bytes: one of several scans has them all in memory, in whole blocks, 2
/// bytes for each, at the full size. Only its scans would tell whether it has several.
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
    let mut decompressor = Decompressor::new(Warnings::Accepted)?;
    let (size, components) = decompressor.read_header(bytes, limits)?;
    let (channels, format) = match pixels {
        Pixels::Gray => (1, raw::TJPF_TJPF_GRAY),
        Pixels::Rgb => (CHANNELS, raw::TJPF_TJPF_RGB),
        Pixels::Cmyk => (4, raw::TJPF_TJPF_CMYK),
    };
    let Size { width, height } = size;
    if components != channels || width > most.width || height > most.height {
        return Err(PictureError::corrupt(
            Format::Jpeg,
            format!("{components} components of {width} x {height} pixels"),
        ));
    }
    if upsampling == Upsampling::Repeated {
        decompressor.set(raw::TJPARAM_TJPARAM_FASTUPSAMPLE, 1);
    }
    let full_size = raw::tjscalingfactor { num: 1, denom: 1 };
    let out = &mut out[..width * height * channels];
    decompressor.decompress(bytes, full_size, format, width * channels, out)?;
    Ok(size)
}

/// What becomes of libjpeg's warnings.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Warnings {
    /// Pillow does not look at them.
    Accepted,
    /// They are errors, but for those of garbage before the end marker.
    Refused,
}

/// A libjpeg-turbo decompressor, for one picture only: after a header without a scan, version 3.1 reads no header of
/// the pictures that follow, but returns the numbers of the one before. A buffer of that size could then be too small
/// for the picture. Setting up takes microseconds, and libjpeg gets its memory anew for each picture in any case.
struct Decompressor {
    handle: NonNull<std::ffi::c_void>,
    warnings: Warnings,
}

impl Drop for Decompressor {
    fn drop(&mut self) {
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the handle is a live TurboJPEG instance, and nobody can use it after this.
        unsafe {
            raw::tj3Destroy(self.handle.as_ptr());
        }
    }
}

impl Decompressor {
    fn new(warnings: Warnings) -> Result<Self, PictureError> {
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: `tj3Init` may always be called; it gives a new instance or null.
        let handle = unsafe { raw::tj3Init(raw::TJINIT_TJINIT_DECOMPRESS as i32) };
        let handle = NonNull::new(handle).ok_or_else(|| PictureError::OutOfMemory {
            format: Format::Jpeg,
        })?;
        let mut decompressor = Self { handle, warnings };
        decompressor.set(raw::TJPARAM_TJPARAM_SCANLIMIT, MAX_SCANS);
        let stop = i32::from(warnings == Warnings::Refused);
        decompressor.set(raw::TJPARAM_TJPARAM_STOPONWARNING, stop);
        Ok(decompressor)
    }

    /// The size of the picture and how many components it has.
    fn read_header(&mut self, bytes: &[u8], limits: Limits) -> Result<(Size, usize), PictureError> {
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the handle is live, and pointer and length are those of a slice, which the function only reads.
        let status = unsafe {
            raw::tj3DecompressHeader(self.handle.as_ptr(), bytes.as_ptr(), bytes.len() as _)
        };
        self.check(status, bytes)?;
        let width = self.get(raw::TJPARAM_TJPARAM_JPEGWIDTH);
        let height = self.get(raw::TJPARAM_TJPARAM_JPEGHEIGHT);
        // A new decompressor has -1 for both until it has read a header; a file of tables alone has none.
        let (Ok(width), Ok(height)) = (u32::try_from(width), u32::try_from(height)) else {
            return Err(PictureError::corrupt(
                Format::Jpeg,
                "no picture behind the tables",
            ));
        };
        let precision = self.get(raw::TJPARAM_TJPARAM_PRECISION);
        if precision != 8 {
            return Err(PictureError::unsupported(
                Format::Jpeg,
                format!("{precision} bits per channel"),
            ));
        }
        let size = limits.check(Format::Jpeg, width, height)?;
        let components = match self.get(raw::TJPARAM_TJPARAM_COLORSPACE) as raw::TJCS {
            raw::TJCS_TJCS_CMYK | raw::TJCS_TJCS_YCCK => 4,
            raw::TJCS_TJCS_GRAY => 1,
            _ => 3,
        };
        Ok((size, components))
    }

    /// Decodes into `pixels`, which must hold the picture of the scaled size in rows of `pitch` bytes.
    fn decompress(
        &mut self,
        bytes: &[u8],
        scale: raw::tjscalingfactor,
        pixel_format: raw::TJPF,
        pitch: usize,
        pixels: &mut [u8],
    ) -> Result<(), PictureError> {
        #[allow(unsafe_code, reason = "C functions")]
        // SAFETY: the handle is live, `bytes` is only read. The decoder writes rows of `pitch` bytes, as many as the
        // header says after scaling: `decode_file` and `decode_part` made `pixels` that long from the header that the
        // same library read from the same bytes just before, with the same rule for scaled sizes (`TJSCALED` rounds up);
        // for lossless pictures, whose scaling the library ignores, `scale` is 1. Pitch fits an `i32`: a JPEG side is at
        // most 65535 pixels of 4 bytes. All of `pixels` is initialised before.
        let status = unsafe {
            let handle = self.handle.as_ptr();
            match raw::tj3SetScalingFactor(handle, scale) {
                0 => raw::tj3Decompress8(
                    handle,
                    bytes.as_ptr(),
                    bytes.len() as _,
                    pixels.as_mut_ptr(),
                    pitch as i32,
                    pixel_format,
                ),
                status => status,
            }
        };
        self.check(status, bytes)
    }

    /// Makes an error of a status, unless it stands for warnings that Pillow accepts.
    fn check(&mut self, status: i32, bytes: &[u8]) -> Result<(), PictureError> {
        if status == 0 {
            return Ok(());
        }
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the handle is live; the message is a C string that stays as it is until the next call on this
        // thread, and is copied at once.
        let message = unsafe { CStr::from_ptr(raw::tj3GetErrorStr(self.handle.as_ptr())) };
        let message = message.to_string_lossy().into_owned();
        if is_out_of_memory(&message) {
            let format = Format::Jpeg;
            return Err(PictureError::OutOfMemory { format });
        }
        // Running out of bytes is a warning too, but not always the first, which alone has a message.
        if !has_end_of_image(bytes) {
            return Err(PictureError::truncated(Format::Jpeg, message));
        }
        let accepted = match self.warnings {
            Warnings::Accepted => is_warning(&message),
            Warnings::Refused => message.ends_with("extraneous bytes before marker 0xd9"),
        };
        if accepted {
            return Ok(());
        }
        Err(if is_unsupported(&message) {
            PictureError::unsupported(Format::Jpeg, message)
        } else {
            PictureError::corrupt(Format::Jpeg, message)
        })
    }

    fn get(&mut self, parameter: raw::TJPARAM) -> i32 {
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the handle is live; an unknown parameter would give -1.
        unsafe {
            raw::tj3Get(self.handle.as_ptr(), parameter as i32)
        }
    }

    fn set(&mut self, parameter: raw::TJPARAM, value: i32) {
        #[allow(unsafe_code, reason = "C function")]
        // SAFETY: the handle is live; a value that does not fit the parameter would change nothing.
        unsafe {
            raw::tj3Set(self.handle.as_ptr(), parameter as i32, value);
        }
    }
}

/// How many times the wanted size a scaled picture has on each side, at least. (60 photographs of 12 megapixels: with 4 the
/// features have a cosine of 0.99958 or more to the exact ones and are made 1.58 times as fast; with 3, of 0.99802 and 1.77
/// times; with 2, of 0.99802 and 1.91 times.)
const MARGIN: usize = 4;

/// The largest of [`SCALES`] that leaves [`MARGIN`] times the wanted size on each side, or 1.
fn divisor(full: Size, wanted: Size) -> usize {
    let enough = |divisor: &usize| {
        full.width.div_ceil(*divisor) >= MARGIN * wanted.width
            && full.height.div_ceil(*divisor) >= MARGIN * wanted.height
    };
    SCALES.into_iter().find(enough).unwrap_or(1)
}

/// Whether libjpeg's message is that of a warning (`JWRN_...` in its `jerror.h`). The error code does not tell: it says
/// "warning" also where a fatal error followed one. But then the message is that of the error.
fn is_warning(message: &str) -> bool {
    const WARNINGS: [&str; 7] = [
        "Application transferred too many scanlines",
        "Corrupt JPEG data: ",
        "Inconsistent progression sequence for component ",
        "Invalid SOS parameters for sequential JPEG",
        "Premature end of JPEG file",
        "Unknown Adobe color transform code ",
        "Warning: ",
    ];
    WARNINGS.iter().any(|warning| message.starts_with(warning))
}

/// Whether a message is that of libjpeg (`JERR_OUT_OF_MEMORY` in its `jerror.h`) or of TurboJPEG where there is no memory.
fn is_out_of_memory(message: &str) -> bool {
    message.starts_with("Insufficient memory") || message.ends_with("Memory allocation failure")
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
