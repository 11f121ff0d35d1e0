//! A frame of AV1, through dav1d.

use std::ffi::{c_int, c_uint, c_void};
use std::ptr;

// For the library that it links.
use libdav1d_sys as _;

use super::{corrupt, unsupported};
use crate::pictures::limits::Limits;
use crate::pictures::{Format, PictureError, Size};

/// How colours are stored, from few values to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Layout {
    Gray,
    /// 4:2:0.
    HalfBoth,
    /// 4:2:2.
    HalfWidth,
    /// 4:4:4.
    Full,
}

impl Layout {
    /// The size of the planes of colour of a picture.
    pub(super) fn colour_size(self, size: Size) -> Size {
        let Size { width, height } = size;
        match self {
            Self::Gray => Size::default(),
            Self::HalfBoth => Size {
                width: width.div_ceil(2),
                height: height.div_ceil(2),
            },
            Self::HalfWidth => Size {
                width: width.div_ceil(2),
                height,
            },
            Self::Full => size,
        }
    }
}

/// What the numbers of a frame mean, as code points of ITU-T H.273.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Colour {
    pub(super) primaries: u16,
    pub(super) matrix: u16,
    /// Whether the darkest and brightest values are the first and the last.
    pub(super) is_full_range: bool,
}

/// The planes of a picture: brightness, and two of colour where there are any.
#[derive(Clone, Debug)]
pub(super) struct Planes {
    pub(super) size: Size,
    pub(super) layout: Layout,
    /// 8, 10 or 12.
    pub(super) bits: u32,
    pub(super) colour: Colour,
    /// Each `[height, width]`, of `size` or [`Layout::colour_size`].
    pub(super) planes: [Vec<u16>; 3],
}

impl Planes {
    pub(super) fn new(size: Size, layout: Layout, bits: u32, colour: Colour) -> Self {
        let colour_size = layout.colour_size(size);
        let plane = |size: Size| vec![0; size.width * size.height];
        Self {
            size,
            layout,
            bits,
            colour,
            planes: [plane(size), plane(colour_size), plane(colour_size)],
        }
    }

    /// The size of a plane.
    pub(super) fn plane_size(&self, plane: usize) -> Size {
        match plane {
            0 => self.size,
            _ => self.layout.colour_size(self.size),
        }
    }
}

/// The pictures that a decoder has at a time, at most: the one it shows, the same without film grain, and one that the first
/// is made from. A file may ask for up to ten, but not a still picture.
const PICTURES: usize = 3;

/// What the decoder keeps for each pixel besides pictures (modes, filters), in bytes.
const REST: usize = 4;

/// What a decoder needs whatever the size of the picture.
const CONTEXT: usize = 4 << 20;

/// What a file says of a frame before it is decoded. One that is larger is not decoded.
#[derive(Clone, Copy, Debug)]
pub(super) struct Coding {
    pub(super) size: Size,
    pub(super) layout: Layout,
    /// Whether its values have more than 8 bits.
    pub(super) is_wide: bool,
}

impl Coding {
    /// The values in its planes.
    fn values(self) -> usize {
        let [width, height] =
            [self.size.width, self.size.height].map(|side| side.next_multiple_of(128));
        let colours = self.layout.colour_size(Size { width, height });
        width * height + 2 * colours.width * colours.height
    }

    /// The bytes of [`Planes`].
    pub(super) fn planes(self) -> usize {
        2 * self.values()
    }

    /// The bytes of the decoder's pictures.
    fn pictures(self) -> usize {
        PICTURES * (self.values() * if self.is_wide { 2 } else { 1 } + PICTURE_EXTRA)
    }

    /// What the decoder needs.
    pub(super) fn memory(self) -> usize {
        self.pictures() + self.size.width * self.size.height * REST + CONTEXT
    }
}

/// What a picture takes besides its planes.
const PICTURE_EXTRA: usize = 128;

/// Decodes the first picture of `data`, which must have this size.
pub(super) fn decode(
    data: &[u8],
    operating_point: u8,
    coding: Coding,
    limits: Limits,
) -> Result<Planes, PictureError> {
    if data.is_empty() {
        return Err(corrupt("a picture without data"));
    }
    // dav1d looks at sides of up to 65,536 pixels, and so at products that a number of 32 bits holds.
    let pixels = coding.size.width * coding.size.height;
    let max_pixels = c_uint::try_from(pixels).map_err(|_| unsupported("more than 2^32 pixels"))?;
    let mut frame = c::Frame {
        owner: ptr::null_mut(),
        planes: [ptr::null(); 3],
        strides: [0; 2],
        width: 0,
        height: 0,
        bits: 0,
        layout: 0,
        primaries: 0,
        matrix: 0,
        is_full_range: 0,
    };
    #[allow(unsafe_code, reason = "C function")]
    // SAFETY: pointer and length are those of a slice, which is only read, and not after the call.
    let status = unsafe {
        c::simsearch_av1_decode(
            data.as_ptr(),
            data.len(),
            operating_point.into(),
            max_pixels,
            coding.pictures(),
            &mut frame,
        )
    };
    match status {
        0 => {}
        -2 => {
            return Err(PictureError::OutOfMemory {
                format: Format::Avif,
            });
        }
        _ => return Err(corrupt("dav1d finds no picture that it can decode")),
    }
    let planes = copy(&frame, coding, limits);
    #[allow(unsafe_code, reason = "C function")]
    // SAFETY: the frame was decoded, and nobody uses it after this.
    unsafe {
        c::simsearch_av1_release(frame.owner);
    }
    planes
}

/// The planes of a frame that was decoded and not yet released.
fn copy(frame: &c::Frame, coding: Coding, limits: Limits) -> Result<Planes, PictureError> {
    let size = limits.check(
        Format::Avif,
        frame.width.unsigned_abs(),
        frame.height.unsigned_abs(),
    )?;
    let expected = coding.size;
    if size != expected {
        return Err(unsupported(format!(
            "a frame of {} x {} pixels where the file says {} x {}",
            size.width, size.height, expected.width, expected.height
        )));
    }
    let layout = match frame.layout {
        0 => Layout::Gray,
        1 => Layout::HalfBoth,
        2 => Layout::HalfWidth,
        _ => Layout::Full,
    };
    // Some files say 4:4:4 of a frame that is 4:2:2, and are read by all. What takes more than the file says is refused: it is
    // by that that the memory was counted.
    if layout > coding.layout || (frame.bits > 8 && !coding.is_wide) {
        return Err(corrupt("a frame of more values than the file says"));
    }
    let colour = Colour {
        primaries: frame.primaries as u16,
        matrix: frame.matrix as u16,
        is_full_range: frame.is_full_range != 0,
    };
    let mut planes = Planes::new(size, layout, frame.bits.unsigned_abs(), colour);
    for plane in 0..3 {
        let Size { width, .. } = planes.plane_size(plane);
        if width == 0 {
            continue;
        }
        let stride = frame.strides[usize::from(plane > 0)].unsigned_abs();
        let first = frame.planes[plane].cast::<u8>();
        for (y, row) in planes.planes[plane].chunks_exact_mut(width).enumerate() {
            #[allow(unsafe_code, reason = "memory of a C library")]
            // SAFETY: the frame is live, and its planes have at least as many rows and pixels as its size says, with
            // `stride` bytes from row to row; above 8 bits these are `u16`, to whose size planes and strides are aligned.
            unsafe {
                let start = first.add(y * stride);
                if frame.bits == 8 {
                    let values = std::slice::from_raw_parts(start, width);
                    for (to, &from) in row.iter_mut().zip(values) {
                        *to = from.into();
                    }
                } else {
                    row.copy_from_slice(std::slice::from_raw_parts(start.cast(), width));
                }
            }
        }
    }
    Ok(planes)
}

#[allow(unsafe_code, reason = "C functions")]
mod c {
    use super::*;

    /// `struct frame` in `dav1d.c`.
    #[repr(C)]
    pub struct Frame {
        pub owner: *mut c_void,
        pub planes: [*const c_void; 3],
        pub strides: [isize; 2],
        pub width: c_int,
        pub height: c_int,
        pub bits: c_int,
        pub layout: c_int,
        pub primaries: c_int,
        pub matrix: c_int,
        pub is_full_range: c_int,
    }

    unsafe extern "C" {
        pub fn simsearch_av1_decode(
            bytes: *const u8,
            len: usize,
            operating_point: c_int,
            max_pixels: c_uint,
            max_bytes: usize,
            frame: *mut Frame,
        ) -> c_int;
        pub fn simsearch_av1_release(owner: *mut c_void);
    }
}
