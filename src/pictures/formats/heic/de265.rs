//! A frame of HEVC, through libde265.

use std::ffi::{CStr, c_char, c_int, c_void};

use super::corrupt;
use super::headers::Headers;
use crate::pictures::formats::heif::{Frame, Planes};
use crate::pictures::{Format, PictureError};

/// What the decoder keeps for each pixel besides pictures (modes, filters, positions), in bytes.
const REST: usize = 4;

/// What a decoder needs whatever the size of the picture.
const CONTEXT: usize = 8 << 20;

/// The library's name and version.
pub fn decoder() -> String {
    #[allow(unsafe_code, reason = "C function")]
    // SAFETY: it has no requirements, and gives a constant string.
    let version = unsafe { CStr::from_ptr(c::de265_get_version()) };
    format!("libde265 {}", version.to_string_lossy())
}

/// What decoding takes, besides a copy of the data: the frame, the frame as it was before the last filter, and what
/// belongs to them.
pub(super) fn memory(headers: &Headers) -> usize {
    let bytes = if headers.bits > 8 { 2 } else { 1 };
    let pixels = headers.coded.width * headers.coded.height;
    let colours = headers.layout.colour_size(headers.coded);
    let values = pixels + 2 * colours.width * colours.height;
    2 * values * bytes + pixels * REST + CONTEXT
}

/// Decodes the frame that these slices make.
pub(super) fn decode(headers: &Headers, slices: &[&[u8]]) -> Result<Planes, PictureError> {
    let units: Vec<c::Unit> = (headers.units.iter().chain(slices))
        .map(|unit| c::Unit {
            bytes: unit.as_ptr(),
            len: unit.len(),
        })
        .collect();
    if slices
        .iter()
        .any(|slice| c_int::try_from(slice.len()).is_err())
    {
        return Err(corrupt("a slice of more than 2 GiB"));
    }
    let mut frame = Frame::empty();
    #[allow(unsafe_code, reason = "C functions")]
    // SAFETY: pointers and lengths are those of slices, which are only read, and not after the call. When a frame was
    // decoded, nobody uses it after its release.
    unsafe {
        match c::simsearch_hevc_decode(units.as_ptr(), units.len(), &mut frame) {
            0 => {}
            -2 => {
                return Err(PictureError::OutOfMemory {
                    format: Format::Heic,
                });
            }
            _ => return Err(corrupt("libde265 finds no picture that it can decode")),
        }
        let planes = frame.copy(Format::Heic, headers.shown, headers.layout, headers.bits);
        c::simsearch_hevc_release(frame.owner);
        planes
    }
}

#[allow(unsafe_code, reason = "C functions")]
mod c {
    use super::*;

    /// `struct unit` in `de265.c`.
    #[repr(C)]
    pub struct Unit {
        pub bytes: *const u8,
        pub len: usize,
    }

    unsafe extern "C" {
        pub fn simsearch_hevc_decode(units: *const Unit, count: usize, frame: *mut Frame) -> c_int;
        pub fn simsearch_hevc_release(owner: *mut c_void);
        pub fn de265_get_version() -> *const c_char;
    }
}
