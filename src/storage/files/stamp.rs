//! Whether a file is still the one that it was.

use std::fs;
use std::os::unix::fs::MetadataExt;

use nix::sys::stat::FileStat;
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
        Self::new(metadata.len(), metadata.mtime(), metadata.mtime_nsec())
    }

    /// The same of what `stat(2)` says.
    pub(crate) fn of_stat(stat: &FileStat) -> Self {
        Self::new(stat.st_size as u64, stat.st_mtime, stat.st_mtime_nsec)
    }

    fn new(size: u64, seconds: i64, nanoseconds: i64) -> Self {
        let modified = seconds
            .saturating_mul(1_000_000_000)
            .saturating_add(nanoseconds);
        FileStamp { size, modified }
    }
}
