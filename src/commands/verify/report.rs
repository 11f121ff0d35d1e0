//! What was checked, and what was found.

use std::fmt;
use std::path::{Path, PathBuf};

use anyhow::Error;

use crate::storage::sha256sums::Sha256Sums;

/// What was checked, and what was found.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Report {
    /// The model's directory.
    pub directory: PathBuf,
    /// Pairs of shard files.
    pub shards: usize,
    /// Rows in them.
    pub rows: usize,
    /// Per-object files.
    pub files: usize,
    /// Files whose checksum is recorded.
    pub checksums: usize,
    /// Lines of the list.
    pub listed: Option<usize>,
    /// Objects in the report of failures.
    pub failed: usize,
    /// What is wrong.
    pub problems: Vec<Finding>,
    /// What is worth knowing but not wrong: what killed runs have left.
    pub notes: Vec<Finding>,
}

/// What there is to say of a file.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Finding {
    /// The file, or the line of the list.
    pub file: PathBuf,
    /// For people: the file, what is wrong with it, and a hint.
    pub message: String,
}

impl Report {
    pub(super) fn problem(&mut self, file: &Path, what: impl fmt::Display) {
        self.problems.push(Finding::new(file, what));
    }

    /// What was read, or a problem of its file.
    pub(super) fn usable<T, E>(&mut self, file: PathBuf, read: Result<T, E>) -> Option<T>
    where
        E: std::error::Error + Send + Sync + 'static,
    {
        let message = match read {
            Ok(read) => return Some(read),
            Err(error) => format!("{:#}", Error::new(error)),
        };
        self.problems.push(Finding { file, message });
        None
    }

    /// The path of a file below the model's directory.
    pub(super) fn below<'p>(&self, path: &'p Path) -> &'p Path {
        path.strip_prefix(&self.directory).unwrap_or(path)
    }
}

impl Finding {
    pub(super) fn new(file: &Path, what: impl fmt::Display) -> Self {
        Finding {
            file: file.to_owned(),
            message: format!("{}: {what}", file.display()),
        }
    }
}

/// A problem where a file has another checksum than SHA256SUMS says, or none there.
pub(super) fn compare(
    sums: Option<&Sha256Sums>,
    path: &Path,
    sum: &str,
    hint: &str,
) -> Option<Finding> {
    let name = path.file_name()?.to_str()?;
    match sums?.sum(name) {
        Some(recorded) if recorded.eq_ignore_ascii_case(sum) => None,
        Some(_) => Some(Finding::new(
            path,
            format!("its SHA-256 is not the one in SHA256SUMS, so it was changed; {hint}"),
        )),
        None => Some(Finding::new(
            path,
            "has no line in SHA256SUMS; `simsearch concat` adds one",
        )),
    }
}
