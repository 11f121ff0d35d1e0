//! Where a command's result goes.

use std::path::PathBuf;

/// Where a command's result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A file, written complete or not at all.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

impl From<PathBuf> for Output {
    /// `-` is standard output, and so is its name: a file there would be replaced, and not added to.
    fn from(path: PathBuf) -> Self {
        match path.to_str() {
            Some("-" | "/dev/stdout") => Output::Stdout,
            _ => Output::File(path),
        }
    }
}
