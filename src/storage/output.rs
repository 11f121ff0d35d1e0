//! Where a command's result goes.

use std::path::{Path, PathBuf};

/// Where a command's result goes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Output {
    /// A file, written complete or not at all.
    File(PathBuf),
    /// Standard output.
    Stdout,
}

impl From<PathBuf> for Output {
    fn from(path: PathBuf) -> Self {
        match is_standard_output(&path) {
            true => Output::Stdout,
            false => Output::File(path),
        }
    }
}

/// Whether a path is `-`, or a name of standard output: a file that this leads to would be replaced, and not added to.
pub fn is_standard_output(path: &Path) -> bool {
    let names = ["-", "/dev/stdout", "/dev/fd/1", "/proc/self/fd/1"];
    names.iter().any(|name| path == Path::new(name))
}
