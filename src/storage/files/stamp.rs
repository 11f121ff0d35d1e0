//! Whether a file is still the one that it was.

use std::fs;
use std::os::unix::fs::MetadataExt;

use serde::{Deserialize, Serialize};

/// Tells whether a file has changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct FileStamp {
    /// Length in bytes.
    pub size: u64,
    /// Time of the last change, in nanoseconds since 1970.
    pub modified: i64,
}

impl FileStamp {
    /// The stamp of the file that `metadata` describes.
    pub fn of(metadata: &fs::Metadata) -> Self {
        let modified = metadata
            .mtime()
            .saturating_mul(1_000_000_000)
            .saturating_add(metadata.mtime_nsec());
        FileStamp {
            size: metadata.len(),
            modified,
        }
    }
}
