//! Why a picture cannot be read.

use std::error::Error;

use super::{Format, MAX_SIDE};

/// Why a picture could not be read.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum PictureError {
    /// There are no bytes.
    #[error("file is empty")]
    Empty,
    /// The bytes start like no format that is known here.
    #[error("not a picture in a known format")]
    NotAPicture,
    /// The bytes start like a format that is known by name, and not read here.
    #[error("{what}, which this build cannot read{}", other_build(.feature))]
    NotRead {
        /// What it is, with its article: `a HEIC picture`.
        what: &'static str,
        /// The feature of a build that can read it, where there is one.
        feature: Option<&'static str>,
    },
    /// A picture in a format, or a variant of one, that is not read here.
    #[error("{format} picture of an unsupported kind")]
    Unsupported {
        /// The picture's format.
        format: Format,
        /// What is not supported.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The bytes end before the picture does.
    #[error("{format} picture is truncated")]
    Truncated {
        /// The picture's format.
        format: Format,
        /// What the decoder said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// The bytes contradict the format.
    #[error("{format} picture is corrupt")]
    Corrupt {
        /// The picture's format.
        format: Format,
        /// What the decoder said.
        source: Box<dyn Error + Send + Sync>,
    },
    /// More pixels than [`PixelOptions::max_pixels`](super::PixelOptions::max_pixels).
    #[error("picture of {width} x {height} pixels is over the limit of {limit} pixels")]
    TooLarge {
        /// Pixels in a row, as the file says.
        width: u64,
        /// Rows, as the file says.
        height: u64,
        /// The most pixels allowed.
        limit: u64,
    },
    /// A side longer than [`MAX_SIDE`].
    #[error("picture of {width} x {height} pixels has a side over the limit of {MAX_SIDE} pixels")]
    TooLong {
        /// Pixels in a row, as the file says.
        width: u64,
        /// Rows, as the file says.
        height: u64,
    },
    /// A side that would become longer than [`MAX_SIDE`], where the shorter one becomes what the model wants. (Neither
    /// Pillow nor torchvision would get far: they make all of it before they cut the middle out.)
    #[error(
        "picture of {width} x {height} pixels is too narrow: resized, it has a side over the limit of {MAX_SIDE} pixels"
    )]
    TooNarrow {
        /// Pixels in a row, as the file says.
        width: usize,
        /// Rows, as the file says.
        height: usize,
    },
    /// Decoding needs more memory than [`PictureReader::read_within`](super::PictureReader::read_within) was allowed.
    /// It is an estimate from the header that no picture goes beyond.
    #[error("picture needs {bytes} bytes of memory to be decoded")]
    NeedsMemory {
        /// The memory that is enough, or at least enough to know how much is.
        bytes: u64,
    },
    /// A decoder has a bug that this picture brought out. Nothing of it is left in the reader.
    #[error("the picture's decoder panicked: {message}")]
    DecoderPanicked {
        /// The panic's message.
        message: String,
    },
    /// The memory could not be had, which has nothing to do with the picture.
    #[error("not enough memory to decode the {format} picture")]
    OutOfMemory {
        /// The picture's format.
        format: Format,
    },
}

fn other_build(feature: &Option<&str>) -> String {
    feature.map_or(String::new(), |feature| {
        format!(" (one with the feature {feature} can)")
    })
}

impl PictureError {
    pub(super) fn unsupported(
        format: Format,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::Unsupported { format, source }
    }

    pub(super) fn truncated(
        format: Format,
        source: impl Into<Box<dyn Error + Send + Sync>>,
    ) -> Self {
        let source = source.into();
        Self::Truncated { format, source }
    }

    pub(super) fn corrupt(format: Format, source: impl Into<Box<dyn Error + Send + Sync>>) -> Self {
        let source = source.into();
        Self::Corrupt { format, source }
    }

    /// An input error of a decoder that reads from memory: the bytes ran out, or it stands for bad content.
    pub(super) fn io(format: Format, source: std::io::Error) -> Self {
        if source.kind() == std::io::ErrorKind::UnexpectedEof {
            Self::truncated(format, source)
        } else {
            Self::corrupt(format, source)
        }
    }
}
