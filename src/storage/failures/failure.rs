//! Why one object failed.

use std::fmt;
use std::io;
use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::storage::files::FileStamp;
use crate::storage::media;
use crate::storage::tar::MemberError;
use crate::support::hints::is_not_regular;

/// The stage at which an object failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Stage {
    /// Its line in `objects.txt`.
    List,
    /// Reading the file.
    Read,
    /// From bytes to pixels.
    Decode,
    /// The model.
    Run,
    /// Writing the feature.
    Write,
}

/// What kind of failure it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Class {
    /// The entry is not a usable path, or its name not a usable object id.
    BadEntry,
    /// There is no such file.
    Missing,
    /// The file may not be read.
    Denied,
    /// It is not a regular file.
    NotAFile,
    /// The file is empty.
    Empty,
    /// The content is of no known picture format.
    NotAPicture,
    /// The picture is of a kind that is not supported.
    Unsupported,
    /// The picture ends too early.
    Truncated,
    /// The picture is damaged.
    Corrupt,
    /// The picture has more pixels than the limit allows.
    TooLarge,
    /// There was too little memory to decode the picture.
    OutOfMemory,
    /// The model gave numbers that are not finite, or refused the input.
    Model,
    /// Any other error of the operating system.
    Io,
}

/// As in the report.
impl fmt::Display for Class {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.serialize(formatter)
    }
}

impl Class {
    /// Whether trying again cannot help as long as the file stays as it is. (A picture that is too large can be
    /// read with a higher limit, and is refused at no cost.)
    pub fn is_permanent(self) -> bool {
        matches!(
            self,
            Class::BadEntry
                | Class::Empty
                | Class::NotAPicture
                | Class::Unsupported
                | Class::Truncated
                | Class::Corrupt
        )
    }

    /// The class of an error of the operating system.
    pub fn of_io(error: &io::Error) -> Self {
        let in_tar = error.get_ref().and_then(|inner| inner.downcast_ref());
        match error.kind() {
            _ if in_tar.is_some_and(|error| matches!(error, MemberError::Sparse)) => {
                Class::Unsupported
            }
            _ if in_tar.is_some_and(MemberError::is_damage) => Class::Corrupt,
            _ if is_not_regular(error) => Class::NotAFile,
            io::ErrorKind::NotFound | io::ErrorKind::NotADirectory => Class::Missing,
            io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => Class::Denied,
            io::ErrorKind::IsADirectory => Class::NotAFile,
            io::ErrorKind::OutOfMemory => Class::OutOfMemory,
            _ => Class::Io,
        }
    }
}

/// One object's failure: a line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Failure {
    /// The object id; of a line that is not an object, [`id_of_bad_line`].
    pub id: String,
    /// The entry of `objects.txt`.
    pub path: String,
    /// Where it failed.
    pub stage: Stage,
    /// What kind of failure it is.
    pub class: Class,
    /// For people.
    pub message: String,
    /// The file that failed, where there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub file: Option<FileStamp>,
}

/// Under which id a line of `objects.txt` that is not an object is reported: `./` and the line. No object has such an
/// id, while the line itself may well be the id of another line's object.
pub fn id_of_bad_line(entry: &str) -> String {
    format!("./{entry}")
}

impl Failure {
    /// Whether trying again cannot help: the class is permanent and the file is the one that failed.
    pub fn is_final(&self, media_file: &Path) -> bool {
        let is_same = |failed| media::stamp(media_file).is_ok_and(|found| found == failed);
        self.class.is_permanent() && self.file.is_some_and(is_same)
    }

    pub(super) fn says_the_same(&self, other: &Failure) -> bool {
        (self.class, self.stage, self.file) == (other.class, other.stage, other.file)
    }
}
