//! Why one object fails, in the words of the report; and reading its file, where most of it shows.

use std::io::{self, Read};
use std::path::Path;

use crate::failure::{Class, FileStamp, Stage};
use crate::pixels::PictureError;
use crate::regular_file;

/// Files longer than this are no pictures that belong here; it bounds what one worker reads. 512 MiB.
const MAX_FILE_BYTES: u64 = 512 << 20;

/// Why an object fails.
pub struct Problem {
    pub stage: Stage,
    pub class: Class,
    pub message: String,
    /// The file that was read, where that came so far.
    pub file: Option<FileStamp>,
}

impl Problem {
    /// The file cannot be read.
    pub fn read(error: io::Error) -> Self {
        let class = match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(TooLong(_)) => Class::TooLarge,
            None => Class::of_io(&error),
        };
        Problem {
            stage: Stage::Read,
            class,
            message: error.to_string(),
            file: None,
        }
    }

    /// The picture in this file cannot be decoded.
    pub fn decode(error: &PictureError, file: FileStamp) -> Self {
        let class = match error {
            PictureError::Empty => Class::Empty,
            PictureError::NotAPicture => Class::NotAPicture,
            PictureError::Unsupported { .. } => Class::Unsupported,
            PictureError::Truncated { .. } => Class::Truncated,
            PictureError::TooLarge { .. } | PictureError::TooLong { .. } => Class::TooLarge,
            PictureError::OutOfMemory { .. } => Class::OutOfMemory,
            _ => Class::Corrupt,
        };
        let mut message = error.to_string();
        if matches!(error, PictureError::TooLarge { .. }) {
            message.push_str("; --max-pixels raises it");
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
        Problem {
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
            "the model gives {} at index {index} of the feature",
            feature[index]
        );
        Some(Problem {
            stage: Stage::Run,
            class: Class::Model,
            message,
            file: None,
        })
    }

    /// The feature cannot be written.
    pub fn write(path: &Path, error: io::Error) -> Self {
        let message = format!("cannot write {}: {error}", path.display());
        // Of a path that the program makes itself, something else stands in the way rather than nothing.
        let class = match Class::of_io(&error) {
            Class::Missing => Class::Io,
            class => class,
        };
        Problem {
            stage: Stage::Write,
            class,
            message,
            file: None,
        }
    }
}

#[derive(Debug, thiserror::Error)]
#[error("{0} bytes are more than the limit of {MAX_FILE_BYTES} for one picture")]
struct TooLong(u64);

/// Reads a regular file whole; returns what it was when that began. (A file that is still being written is another one
/// when it is complete.)
pub fn read_file(path: &Path, bytes: &mut Vec<u8>) -> io::Result<FileStamp> {
    bytes.clear();
    let mut file = regular_file::open(path)?;
    let metadata = file.metadata()?;
    if metadata.len() > MAX_FILE_BYTES {
        return Err(io::Error::other(TooLong(metadata.len())));
    }
    (bytes.try_reserve(metadata.len() as usize)).map_err(|_| io::ErrorKind::OutOfMemory)?;
    file.by_ref().take(MAX_FILE_BYTES).read_to_end(bytes)?;
    Ok(FileStamp::of(&metadata))
}
