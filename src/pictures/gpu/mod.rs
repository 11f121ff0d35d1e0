//! JPEG pictures on an NVIDIA GPU: nvJPEG decodes a batch, and a kernel resamples it as the processor would.
//!
//! What comes out is not Pillow's to the last bit, since nvJPEG rounds its transforms and smooths its colours otherwise
//! than libjpeg-turbo. The change of size is: it is in integers, and compared with the processor's before anything is
//! decoded.
//!
//! | file | what |
//! |---|---|
//! | `mod.rs` | [`GpuReader`], and which pictures it takes |
//! | `lane.rs` | a batch's way through the device |
//! | `driver.rs` | NVIDIA's driver, loaded when it is asked for |
//! | `nvjpeg.rs` | nvJPEG, likewise |
//! | `resample.cu`, `compile.py`, `resample.ptx` | the kernel, what compiles it, and what comes out |

mod driver;
mod lane;
mod nvjpeg;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use image::metadata::Orientation;
use thiserror::Error;

use super::orientation;
use super::{PixelOptions, Resampler, Size};
use crate::support::mutex::lock;
use driver::Driver;
use lane::Lane;
use nvjpeg::Nvjpeg;

/// How many batches may be on the device at once. While one is copied, another is decoded and a third resampled.
const LANES: usize = 4;

/// Why a GPU decodes nothing.
#[derive(Debug, Error)]
pub enum GpuError {
    /// A library is not there.
    #[error("--decode gpu needs {library}, which does not load; {hint}, or leave out --decode gpu")]
    Library {
        /// Its file name.
        library: &'static str,
        /// Where it comes from.
        hint: &'static str,
        /// What the loader of libraries said.
        #[source]
        source: libloading::Error,
    },
    /// A call of a library failed.
    #[error(
        "the GPU cannot decode: {call} failed with status {status}; `nvidia-smi` tells what else uses the device"
    )]
    Call {
        /// The function.
        call: &'static str,
        /// What it gave.
        status: i32,
    },
    /// The kernel gives other pixels than the processor.
    #[error(
        "this GPU resamples otherwise than the processor, which is a bug; leave out --decode gpu"
    )]
    Differs,
}

/// Reads batches of JPEG pictures on one GPU. Threads share it.
pub struct GpuReader {
    options: PixelOptions,
    to: Size,
    lanes: Vec<Mutex<Lane>>,
    turn: AtomicUsize,
}

impl GpuReader {
    /// A reader on GPU number `device` that makes pixels of `width` x `height`.
    ///
    /// # Errors
    /// When the driver or nvJPEG is not there, or the kernel does not do what [`Resampler`] does.
    pub fn open(
        device: i32,
        options: PixelOptions,
        width: usize,
        height: usize,
    ) -> Result<Self, GpuError> {
        let driver = Arc::new(Driver::load(device)?);
        let nvjpeg = Arc::new(Nvjpeg::load()?);
        let to = Size { width, height };
        let mut lanes = Vec::new();
        for _ in 0..LANES {
            lanes.push(Mutex::new(Lane::new(
                &driver,
                &nvjpeg,
                options.resampling,
                to,
            )?));
        }
        let reader = GpuReader {
            options,
            to,
            lanes,
            turn: AtomicUsize::new(0),
        };
        reader.check_resampling()?;
        Ok(reader)
    }

    /// Whether a file is of the kind that goes to the GPU. The processor reads all others.
    pub fn takes(&self, bytes: &[u8]) -> bool {
        let upright = || orientation::of(bytes) == Orientation::NoTransforms;
        usual_size(bytes).is_some_and(|size| {
            let pixels = size.width as u64 * size.height as u64;
            pixels <= self.options.max_pixels.min(MAX_PIXELS)
        }) && (!self.options.apply_orientation || upright())
    }

    /// Reads pictures: of each file that it could decode, the pixels are in `out`, `[height, width, 3]` as
    /// [`PictureReader::read`](super::PictureReader::read) gives them, and `true` is in the result. The others are left
    /// to the processor.
    ///
    /// # Errors
    /// When the device fails.
    pub fn read(&self, files: &[&[u8]], out: &mut [&mut [u8]]) -> Result<Vec<bool>, GpuError> {
        let turn = self.turn.fetch_add(1, Ordering::Relaxed);
        let free = self.lanes.iter().find_map(|lane| lane.try_lock().ok());
        let mut lane = free.unwrap_or_else(|| lock(&self.lanes[turn % self.lanes.len()]));
        lane.read(files, out)
    }

    /// Resamples a few pictures on the device and on the processor.
    fn check_resampling(&self) -> Result<(), GpuError> {
        let sizes = [(97, 101), (640, 481), (500, 1900), (300, 30)];
        let sizes = sizes.map(|(width, height)| Size { width, height });
        let pictures = sizes.map(test_picture);
        let mut resampler = Resampler::new(self.options.resampling);
        let expected = [0, 1, 2, 3].map(|at| {
            let mut out = vec![0; self.to.rgb_len()];
            resampler.resample(&pictures[at], sizes[at], &mut out, self.to);
            out
        });
        let found = lock(&self.lanes[0]).resample(&sizes, &pictures)?;
        match found == expected.concat() {
            true => Ok(()),
            false => Err(GpuError::Differs),
        }
    }
}

/// Larger pictures are left to the processor: on the device each takes 3 bytes a pixel, and a batch is there at once.
const MAX_PIXELS: u64 = 1 << 25;

/// A picture without a pattern, `[height, width, 3]`, full of hard edges: a product of two large odd numbers has well
/// mixed upper bits.
fn test_picture(size: Size) -> Vec<u8> {
    let mixed = |at: usize| (at as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 56;
    let hard = |byte: u64| match byte {
        ..64 => 0,
        192.. => 255,
        byte => byte as u8,
    };
    (0..size.rgb_len()).map(|at| hard(mixed(at))).collect()
}

/// The size of a JPEG of the usual kind: baseline, 8 bits, YCbCr, complete. (Others may be decoded otherwise than here
/// on the processor, or not at all.)
fn usual_size(bytes: &[u8]) -> Option<Size> {
    let mut rest = bytes.strip_prefix(b"\xff\xd8")?;
    if !bytes.ends_with(b"\xff\xd9") {
        return None;
    }
    let mut size = None;
    loop {
        // Segments: `ff`, a marker, a length of two bytes that counts itself.
        let [0xff, marker, high, low, ..] = *rest else {
            return None;
        };
        let length = usize::from(u16::from_be_bytes([high, low]));
        let segment = rest.get(4..2 + length)?;
        rest = &rest[2 + length..];
        match (marker, segment) {
            // Start of scan.
            (0xda, _) => return size,
            // Start of frame, baseline: bits, height, width, components, and each of them with a number.
            (0xc0, &[8, h1, h2, w1, w2, 3, 1, _, _, 2, _, _, 3, _, _]) => {
                size = Some(Size {
                    width: usize::from(u16::from_be_bytes([w1, w2])),
                    height: usize::from(u16::from_be_bytes([h1, h2])),
                });
            }
            // Any other frame.
            (0xc0..=0xc3 | 0xc5..=0xc7 | 0xc9..=0xcb | 0xcd..=0xcf, _) => return None,
            // Adobe's segment says that the components are no YCbCr.
            (0xee, &[b'A', b'd', b'o', b'b', b'e', .., transform]) if transform != 1 => {
                return None;
            }
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A JPEG's segments: a frame with this marker and these components, perhaps Adobe's, a scan without data, an end.
    fn jpeg(frame: u8, components: &[u8], adobe: Option<u8>, end: &[u8]) -> Vec<u8> {
        let mut bytes = b"\xff\xd8".to_vec();
        let mut segment = |marker: u8, content: &[u8]| {
            bytes.extend([0xff, marker, 0, content.len() as u8 + 2]);
            bytes.extend(content);
        };
        if let Some(transform) = adobe {
            segment(0xee, &[b"Adobe\0\x64\0\0\0\0", &[transform][..]].concat());
        }
        segment(frame, &[&[8, 1, 0, 2, 4][..], components].concat());
        segment(0xda, &[3, 1, 0, 2, 0x11, 3, 0x11, 0, 63, 0]);
        bytes.extend(end);
        bytes
    }

    const YCBCR: &[u8] = &[3, 1, 0x22, 0, 2, 0x11, 1, 3, 0x11, 1];
    const END: &[u8] = b"\xff\xd9";

    #[test]
    fn baseline_ycbcr_that_is_complete_goes_to_the_gpu() {
        let size = Some(Size {
            width: 516,
            height: 256,
        });
        assert_eq!(usual_size(&jpeg(0xc0, YCBCR, None, END)), size);
        assert_eq!(usual_size(&jpeg(0xc0, YCBCR, Some(1), END)), size);
    }

    #[test]
    fn everything_else_stays_on_the_processor() {
        let rgb: &[u8] = &[3, b'R', 0x11, 0, b'G', 0x11, 0, b'B', 0x11, 0];
        let gray: &[u8] = &[1, 1, 0x11, 0];
        for (what, bytes) in [
            ("progressive", jpeg(0xc2, YCBCR, None, END)),
            ("arithmetic", jpeg(0xc9, YCBCR, None, END)),
            ("gray", jpeg(0xc0, gray, None, END)),
            ("RGB by its components", jpeg(0xc0, rgb, None, END)),
            ("RGB by Adobe's segment", jpeg(0xc0, YCBCR, Some(0), END)),
            ("without its end", jpeg(0xc0, YCBCR, None, b"")),
            ("two frames", {
                let mut bytes = jpeg(0xc0, YCBCR, None, END);
                bytes.splice(2..2, jpeg(0xc2, YCBCR, None, b"")[2..].to_vec());
                bytes
            }),
            ("a PNG", b"\x89PNG\r\n\x1a\n\xff\xd9".to_vec()),
            ("nothing", Vec::new()),
        ] {
            assert_eq!(usual_size(&bytes), None, "{what}");
        }
    }

    #[test]
    fn without_a_driver_there_is_an_error_that_says_what_is_missing() {
        if std::path::Path::new("/proc/driver/nvidia").exists() {
            eprintln!("skipped: there is an NVIDIA driver");
            return;
        }
        let error = GpuReader::open(0, PixelOptions::default(), 224, 224).err();
        let message = error.expect("no driver, no reader").to_string();
        assert!(message.contains("libcuda.so.1"), "{message}");
        assert!(message.contains("--decode gpu"), "{message}");
    }
}
