//! Where a command's result goes.

use std::fmt;
use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::storage::files::complete;

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

/// What a command writes to a file that a user names.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// A list of objects.
    List,
    /// A page of HTML.
    Page,
    /// A contact sheet: a JPEG file with [`SHEET_COMMENT`].
    Sheet,
    /// A Parquet file.
    Parquet,
}

/// Tells a contact sheet from a photograph.
pub const SHEET_COMMENT: &[u8] = b"a contact sheet of simsearch";

impl Kind {
    /// Whether a file may be of this kind that begins so.
    fn begins(self, bytes: &[u8]) -> bool {
        match self {
            // Text, or what a power loss has left of it: zeros at the end.
            Kind::List => bytes
                .iter()
                .skip_while(|byte| **byte != 0)
                .all(|byte| *byte == 0),
            Kind::Page => bytes.starts_with(b"<!DOCTYPE html>"),
            Kind::Sheet => (bytes.windows(SHEET_COMMENT.len())).any(|part| part == SHEET_COMMENT),
            Kind::Parquet => bytes.starts_with(b"PAR1"),
        }
    }
}

impl fmt::Display for Kind {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str(match self {
            Kind::List => "list of objects",
            Kind::Page => "page of HTML",
            Kind::Sheet => "contact sheet of simsearch",
            Kind::Parquet => "Parquet file",
        })
    }
}

/// A file is in the place of a result that is not one like it: it may be a photograph, or a shard.
#[derive(Debug, Error)]
#[error(
    "there is a file already that is no {0}, and is not replaced; name another file, or remove it"
)]
struct OtherKind(Kind);

/// Writes a file that a user named, complete or not at all, in place of one of the same kind or of an empty one. Where
/// the path leads to something that is not a regular file (a pipe, `/dev/null`), the content is written to that.
///
/// # Errors
/// Those of the system and of `content`; and where a file of another kind is there, which stays.
pub fn write(
    path: &Path,
    kind: Kind,
    content: impl FnOnce(&mut dyn Write) -> io::Result<()>,
) -> io::Result<()> {
    if fs::metadata(path).is_ok_and(|metadata| metadata.is_file() && metadata.len() > 0) {
        let mut beginning = Vec::new();
        File::open(path)?.take(512).read_to_end(&mut beginning)?;
        if !kind.begins(&beginning) {
            return Err(io::Error::other(OtherKind(kind)));
        }
    }
    complete::write_where_it_leads(path, content)
}
