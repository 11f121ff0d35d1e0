//! Decoded frames: brightness and colour, not yet RGB.

use std::ffi::{c_int, c_void};
use std::ptr;

use crate::pictures::{Format, PictureError, Size};

/// How colours are stored, from few values to many.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Layout {
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
    pub fn colour_size(self, size: Size) -> Size {
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
pub struct Colour {
    pub primaries: u16,
    pub matrix: u16,
    /// Whether the darkest and brightest values are the first and the last.
    pub is_full_range: bool,
}

/// The planes of a picture: brightness, and two of colour where there are any.
#[derive(Clone, Debug)]
pub struct Planes {
    pub size: Size,
    pub layout: Layout,
    /// 8 or more.
    pub bits: u32,
    pub colour: Colour,
    /// Each `[height, width]`, of `size` or [`Layout::colour_size`].
    pub planes: [Vec<u16>; 3],
}

impl Planes {
    pub fn new(size: Size, layout: Layout, bits: u32, colour: Colour) -> Self {
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
    pub fn plane_size(&self, plane: usize) -> Size {
        match plane {
            0 => self.size,
            _ => self.layout.colour_size(self.size),
        }
    }
}

/// A frame in the memory of a C library: `struct frame` in `frame.h`.
#[repr(C)]
pub struct Frame {
    pub owner: *mut c_void,
    planes: [*const c_void; 3],
    strides: [isize; 2],
    width: c_int,
    height: c_int,
    bits: c_int,
    layout: c_int,
    primaries: c_int,
    matrix: c_int,
    is_full_range: c_int,
}

impl Frame {
    /// Without planes, to be filled.
    pub fn empty() -> Self {
        Frame {
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
        }
    }

    /// A copy of its planes, where it has this size, and no more values than this layout and number of bits: it is by
    /// these that the memory was counted.
    ///
    /// # Safety
    ///
    /// It was filled by a decoder and not yet released.
    #[allow(unsafe_code, reason = "memory of a C library")]
    pub unsafe fn copy(
        &self,
        format: Format,
        size: Size,
        most: Layout,
        most_bits: u32,
    ) -> Result<Planes, PictureError> {
        let [width, height] = [self.width, self.height].map(|side| side.unsigned_abs() as usize);
        if (width, height) != (size.width, size.height) {
            let text = format!(
                "a frame of {width} x {height} pixels where the file says {} x {}",
                size.width, size.height
            );
            return Err(PictureError::unsupported(format, text));
        }
        let layout = match self.layout {
            0 => Layout::Gray,
            1 => Layout::HalfBoth,
            2 => Layout::HalfWidth,
            _ => Layout::Full,
        };
        let bits = self.bits.unsigned_abs();
        if layout > most || bits > most_bits || bits < 8 {
            let text = "a frame of more values than the file says";
            return Err(PictureError::corrupt(format, text));
        }
        let colour = Colour {
            primaries: self.primaries as u16,
            matrix: self.matrix as u16,
            is_full_range: self.is_full_range != 0,
        };
        let mut planes = Planes::new(size, layout, bits, colour);
        for plane in 0..3 {
            let Size { width, .. } = planes.plane_size(plane);
            if width == 0 {
                continue;
            }
            let stride = self.strides[usize::from(plane > 0)].unsigned_abs();
            let first = self.planes[plane].cast::<u8>();
            for (y, row) in planes.planes[plane].chunks_exact_mut(width).enumerate() {
                // SAFETY: the frame is live, and its planes have at least as many rows and pixels as its size says,
                // with `stride` bytes from row to row; above 8 bits these are `u16`, to whose size planes and strides
                // are aligned.
                unsafe {
                    let start = first.add(y * stride);
                    if bits == 8 {
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
}
