//! Why one object fails, in the words of the report.

use std::io;
use std::path::Path;

use crate::pictures::PictureError;
use crate::storage::failures::{Class, Stage};
use crate::storage::files::FileStamp;
use crate::storage::media::{self, TooLong};

/// Why an object fails.
pub struct Cause {
    pub stage: Stage,
    pub class: Class,
    pub message: String,
    /// The file that was read, where that came so far.
    pub file: Option<FileStamp>,
}

impl Cause {
    /// The file at a path cannot be read.
    pub fn read(error: io::Error, path: &Path) -> Self {
        let class = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(TooLong { .. }) => Class::TooLarge,
            None => Class::of_io(&error),
        };
        Cause {
            stage: Stage::Read,
            class,
            message: error.to_string(),
            // Of a member of a tar it is the tar, which may be damaged for good.
            file: match class.is_permanent() {
                true => media::stamp(path).ok(),
                false => None,
            },
        }
    }

    /// The picture in this file cannot be decoded.
    pub fn decode(error: &PictureError, file: FileStamp) -> Self {
        let class = match error {
            PictureError::Empty => Class::Empty,
            PictureError::NotAPicture => Class::NotAPicture,
            PictureError::Unsupported { .. } | PictureError::NotRead { .. } => Class::Unsupported,
            PictureError::Truncated { .. } => Class::Truncated,
            PictureError::TooLarge { .. }
            | PictureError::TooLong { .. }
            | PictureError::TooNarrow { .. } => Class::TooLarge,
            PictureError::OutOfMemory { .. } => Class::OutOfMemory,
            _ => Class::Corrupt,
        };
        let mut message = error.to_string();
        if matches!(error, PictureError::TooLarge { .. }) {
            message.push_str("; raise the limit with --max-pixels");
        }
        if matches!(error, PictureError::OutOfMemory { .. }) {
            message.push_str("; the next run tries again, better with fewer --workers");
        }
        let mut source = std::error::Error::source(error);
        while let Some(cause) = source {
            message.push_str(": ");
            message.push_str(&cause.to_string());
            source = cause.source();
        }
        Cause {
            stage: Stage::Decode,
            class,
            message,
            file: Some(file),
        }
    }

    /// The feature is of no use; `None` when it is.
    pub fn of_feature(feature: &[f32]) -> Option<Self> {
        let index = feature.iter().position(|value| !value.is_finite())?;
        let message = format!(
            "the model returned {} at index {index} of the feature",
            feature[index]
        );
        Some(Cause {
            stage: Stage::Run,
            class: Class::Model,
            message,
            file: None,
        })
    }

    /// The feature cannot be written.
    pub fn write(path: &Path, error: io::Error) -> Self {
        let message = format!("cannot write {}: {error}", path.display());
        // Of a path that the program makes itself, something else is in the way rather than nothing.
        let class = match Class::of_io(&error) {
            Class::Missing => Class::Io,
            class => class,
        };
        Cause {
            stage: Stage::Write,
            class,
            message,
            file: None,
        }
    }
}
