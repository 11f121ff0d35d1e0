//! The bytes of a picture file -> RGB pixels -> the model's input size.
//!
//! [`PictureReader::read`] gives, byte for byte, what Pillow 13.0.0 gives for
//! `Image.open(file).convert("RGB").resize((width, height))`: bicubic with antialiasing, without regard to the aspect
//! ratio or to colour profiles. EXIF orientation is ignored, except in TIFF and where it is asked for. Transparency is
//! dropped, not blended. `docs/formats.md` lists the formats, and where Pillow is not followed. Everything here works
//! on memory: no files, no logging, no environment.
//!
//! | module | what |
//! |---|---|
//! | `reader` | [`PictureReader`], which ties the steps together |
//! | `formats` | which format the bytes are in, and a decoder for each |
//! | `convert` | gray, CMYK, 16 bits, ... -> 8-bit RGB, as Pillow's `convert("RGB")` does it |
//! | `lab` | the same for CIE L*a*b* |
//! | `orientation` | how a camera was held, and turning a picture upright |
//! | `fit` | how a picture of any size becomes one of the model's size |
//! | `resample` | the change of size |
//! | `gpu` | [`GpuReader`]: decoding and the change of size on an NVIDIA GPU |
//! | `rows` | what takes a picture row by row, so that it need not be in memory as a whole |
//! | `extensions` | how the names of picture files end |
//! | `limits`, `size`, `error` | what a picture may need, its size, and why it can fail |
//! | `memory` | the memory for large pictures that threads share |
//! | `preprocessing` | all of that in a line, for the recipe |
//! | [`thumbnail`] | small pictures, to be looked at |

mod convert;
mod error;
mod extensions;
mod fit;
mod formats;
mod gpu;
mod lab;
mod limits;
mod memory;
mod orientation;
mod panics;
pub mod preprocessing;
mod reader;
mod resample;
mod rows;
mod size;
pub mod thumbnail;

pub use error::PictureError;
pub use extensions::{EXTENSIONS, is_name_of_unread, is_picture_name};
pub use fit::{Fit, Resize, Rounding};
pub use formats::{Format, JPEG_DECODER, heic_decoder};
pub use gpu::{GpuError, GpuReader};
pub use limits::{DEFAULT_MAX_PIXELS, MAX_SIDE, OWN_MEMORY};
pub use memory::Memory;
pub use panics::becomes_an_error;
pub use reader::{PictureReader, PixelOptions};
pub use resample::{Filter, Resampler, Resampling};
pub use size::{Size, stated_size};
