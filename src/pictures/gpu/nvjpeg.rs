//! nvJPEG, loaded when it is asked for: batches of JPEG files become pixels on the device.
#![allow(unsafe_code, reason = "C functions")]

use std::ffi::{c_int, c_uint, c_void};
use std::ptr::{null, null_mut};
use std::sync::Arc;

use libloading::Library;

use super::GpuError;
use super::driver::{Handle, Stream, check, function};
use crate::pictures::Size;
use crate::pictures::size::CHANNELS;

/// The library's file names, newest first. They come with CUDA; the number is CUDA's.
const NAMES: [&str; 3] = ["libnvjpeg.so.13", "libnvjpeg.so.12", "libnvjpeg.so.11"];

/// `NVJPEG_BACKEND_HARDWARE`: data centre cards have a decoder apart from what computes. Then `NVJPEG_BACKEND_DEFAULT`.
const BACKENDS: [c_int; 2] = [3, 0];

/// `NVJPEG_OUTPUT_RGB`: three planes.
const PLANES: c_int = 3;

/// The library.
pub(super) struct Nvjpeg {
    handle: Handle,
    functions: Functions,
}

// SAFETY: nvJPEG's handle may be used by several threads at once, each with a state of its own.
unsafe impl Send for Nvjpeg {}
// SAFETY: as above.
unsafe impl Sync for Nvjpeg {}

struct Functions {
    create_state: unsafe extern "C" fn(Handle, *mut Handle) -> c_int,
    destroy_state: unsafe extern "C" fn(Handle) -> c_int,
    create_header: unsafe extern "C" fn(Handle, *mut Handle) -> c_int,
    destroy_header: unsafe extern "C" fn(Handle) -> c_int,
    parse_header: unsafe extern "C" fn(Handle, *const u8, usize, Handle) -> c_int,
    dimensions: unsafe extern "C" fn(Handle, *mut c_uint, *mut c_uint) -> c_int,
    components: unsafe extern "C" fn(Handle, *mut c_uint) -> c_int,
    is_supported: unsafe extern "C" fn(Handle, Handle, *mut c_int) -> c_int,
    initialize: unsafe extern "C" fn(Handle, Handle, c_int, c_int, c_int) -> c_int,
    #[allow(clippy::type_complexity)]
    decode: unsafe extern "C" fn(
        Handle,
        Handle,
        *const *const u8,
        *const usize,
        *mut Image,
        Handle,
    ) -> c_int,
    /// Keeps the functions where they are.
    _library: Library,
}

/// `nvjpegImage_t`: where the planes of a picture go.
#[repr(C)]
struct Image {
    channel: [u64; 4],
    pitch: [usize; 4],
}

impl Nvjpeg {
    pub(super) fn load() -> Result<Self, GpuError> {
        let missing = |source| GpuError::Library {
            library: "libnvjpeg.so",
            hint: "it comes with CUDA and with Python's package nvidia-nvjpeg, and its folder belongs on LD_LIBRARY_PATH",
            source,
        };
        // SAFETY: the library has nothing that runs when it is loaded and could do harm. The types of its functions are
        // those of `nvjpeg.h`.
        unsafe {
            let mut loaded = Library::new(NAMES[0]);
            for name in &NAMES[1..] {
                loaded = loaded.or_else(|_| Library::new(*name));
            }
            let library = loaded.map_err(missing)?;
            let create: unsafe extern "C" fn(
                c_int,
                *const c_void,
                *const c_void,
                c_uint,
                *mut Handle,
            ) -> c_int = function(&library, "nvjpegCreateEx").map_err(missing)?;
            let functions = Functions {
                create_state: function(&library, "nvjpegJpegStateCreate").map_err(missing)?,
                destroy_state: function(&library, "nvjpegJpegStateDestroy").map_err(missing)?,
                create_header: function(&library, "nvjpegJpegStreamCreate").map_err(missing)?,
                destroy_header: function(&library, "nvjpegJpegStreamDestroy").map_err(missing)?,
                parse_header: function(&library, "nvjpegJpegStreamParseHeader").map_err(missing)?,
                dimensions: function(&library, "nvjpegJpegStreamGetFrameDimensions")
                    .map_err(missing)?,
                components: function(&library, "nvjpegJpegStreamGetComponentsNum")
                    .map_err(missing)?,
                is_supported: function(&library, "nvjpegDecodeBatchedSupported")
                    .map_err(missing)?,
                initialize: function(&library, "nvjpegDecodeBatchedInitialize").map_err(missing)?,
                decode: function(&library, "nvjpegDecodeBatched").map_err(missing)?,
                _library: library,
            };
            let mut handle = null_mut();
            let mut status = 0;
            for backend in BACKENDS {
                status = create(backend, null(), null(), 0, &mut handle);
                if status == 0 {
                    break;
                }
            }
            check("nvjpegCreateEx", status)?;
            Ok(Nvjpeg { handle, functions })
        }
    }
}

/// Decodes batches, one after the other.
pub(super) struct Decoder {
    nvjpeg: Arc<Nvjpeg>,
    state: Handle,
    header: Handle,
    /// Pictures in the batch that the state is ready for.
    batch: usize,
}

// SAFETY: the handles may be used from any thread, one at a time.
unsafe impl Send for Decoder {}

impl Decoder {
    pub(super) fn new(nvjpeg: &Arc<Nvjpeg>) -> Result<Self, GpuError> {
        let mut decoder = Decoder {
            nvjpeg: nvjpeg.clone(),
            state: null_mut(),
            header: null_mut(),
            batch: 0,
        };
        let Nvjpeg { handle, functions } = &**nvjpeg;
        // SAFETY: writes handles to where it may.
        unsafe {
            check(
                "nvjpegJpegStateCreate",
                (functions.create_state)(*handle, &mut decoder.state),
            )?;
            check(
                "nvjpegJpegStreamCreate",
                (functions.create_header)(*handle, &mut decoder.header),
            )?;
        }
        Ok(decoder)
    }

    /// The size of a picture that the library decodes in a batch.
    pub(super) fn size(&mut self, file: &[u8]) -> Option<Size> {
        let Nvjpeg { handle, functions } = &*self.nvjpeg;
        let (mut width, mut height, mut components, mut unsupported) = (0, 0, 0, 1);
        // SAFETY: the library reads the file, and writes numbers to where it may.
        let is_read = unsafe {
            (functions.parse_header)(*handle, file.as_ptr(), file.len(), self.header) == 0
                && (functions.dimensions)(self.header, &mut width, &mut height) == 0
                && (functions.components)(self.header, &mut components) == 0
                && (functions.is_supported)(*handle, self.header, &mut unsupported) == 0
        };
        let is_fit = is_read && unsupported == 0 && components as usize == CHANNELS;
        (is_fit && width > 0 && height > 0).then_some(Size {
            width: width as usize,
            height: height as usize,
        })
    }

    /// Asks for the decoding of `files` to addresses of the device, each with room for a picture of the size that
    /// [`size`](Self::size) told of it: three planes. Whether the library took them.
    ///
    /// # Safety
    /// The memory must be there until the stream has been waited for.
    pub(super) unsafe fn decode(
        &mut self,
        files: &[&[u8]],
        to: &[(u64, Size)],
        stream: &Stream,
    ) -> bool {
        assert_eq!(files.len(), to.len());
        let Nvjpeg { handle, functions } = &*self.nvjpeg;
        let data: Vec<*const u8> = files.iter().map(|file| file.as_ptr()).collect();
        let lengths: Vec<usize> = files.iter().map(|file| file.len()).collect();
        let mut images: Vec<Image> = to
            .iter()
            .map(|&(address, Size { width, height })| {
                let plane = |channel: u64| address + channel * (width * height) as u64;
                Image {
                    channel: [plane(0), plane(1), plane(2), 0],
                    pitch: [width, width, width, 0],
                }
            })
            .collect();
        // SAFETY: the files and the lists are there during the calls, and the rest is as the caller promises.
        unsafe {
            if self.batch != files.len() {
                self.batch = 0;
                let count = c_int::try_from(files.len()).expect("a batch is small");
                if (functions.initialize)(*handle, self.state, count, 1, PLANES) != 0 {
                    return false;
                }
                self.batch = files.len();
            }
            (functions.decode)(
                *handle,
                self.state,
                data.as_ptr(),
                lengths.as_ptr(),
                images.as_mut_ptr(),
                stream.handle(),
            ) == 0
        }
    }
}

impl Drop for Decoder {
    fn drop(&mut self) {
        let functions = &self.nvjpeg.functions;
        // SAFETY: the handles are the library's own, and destroyed once.
        unsafe {
            (functions.destroy_header)(self.header);
            (functions.destroy_state)(self.state);
        }
    }
}
