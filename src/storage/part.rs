//! Parts of a list of objects, so that several machines or jobs take each its own.

use std::fmt;
use std::io;
use std::path::{Path, PathBuf};
use std::str::FromStr;

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::storage::checksum;
use crate::storage::files::{complete, regular};
use crate::storage::object_id::IdKind;
use crate::storage::tar;
use crate::support::progress::counted;

/// One of `of` parts of a list: the objects whose ids, or tars, lead to `index`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Part {
    of: u32,
    /// From 0, below `of`.
    index: u32,
}

/// A part is not `I/N`.
#[derive(Debug, Error, PartialEq, Eq)]
#[error("must be I/N, two whole numbers with I from 0 to N - 1 and N up to 1000000, such as 3/64")]
pub struct NoPart;

/// The most parts: what lists those that are missing has to have an end.
const MOST: u32 = 1_000_000;

impl FromStr for Part {
    type Err = NoPart;

    fn from_str(text: &str) -> Result<Self, NoPart> {
        let number = |digits: &str| match digits.bytes().all(|byte| byte.is_ascii_digit()) {
            true => digits.parse::<u32>().map_err(|_| NoPart),
            false => Err(NoPart),
        };
        let (index, of) = text.split_once('/').ok_or(NoPart)?;
        let (index, of) = (number(index)?, number(of)?);
        match index < of && of <= MOST {
            true => Ok(Part { index, of }),
            false => Err(NoPart),
        }
    }
}

impl fmt::Display for Part {
    fn fmt(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(to, "{}/{}", self.index, self.of)
    }
}

impl Part {
    /// All of a list: the one part of one.
    pub const ALL: Self = Part { of: 1, index: 0 };

    /// Its number, from 0.
    pub fn index(self) -> u32 {
        self.index
    }

    /// Into how many the list is divided.
    pub fn of(self) -> u32 {
        self.of
    }

    /// Whether the object of a listed path belongs to it: the [`hash`] of the path leaves the rest `index` when it is
    /// divided by `of`. That is the same on every machine and in every version.
    pub fn holds(self, id_kind: IdKind, entry: &str) -> bool {
        self.holds_hash(hash(id_kind, entry))
    }

    /// The same for the hash of its path.
    pub fn holds_hash(self, hash: u64) -> bool {
        hash % u64::from(self.of) == u64::from(self.index)
    }

    /// Records in a model's directory into how many parts the list is divided there, where that is not recorded yet.
    ///
    /// # Errors
    /// When the directory has another number, or the record cannot be read or written.
    pub fn record(self, directory: &Path) -> Result<(), PartsError> {
        if self.is_recorded(directory)? {
            return Ok(());
        }
        let path = directory.join(FILE_NAME);
        let parts = serde_json::json!(Parts { parts: self.of });
        match complete::create(&path, |file| writeln!(file, "{parts}")) {
            // Another part was faster.
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => {
                self.is_recorded(directory).map(drop)
            }
            made => made.map_err(|source| PartsError::Io { path, source }),
        }
    }

    /// Whether the number of parts is recorded in a model's directory.
    ///
    /// # Errors
    /// When the directory has another number, or the record cannot be read.
    pub fn is_recorded(self, directory: &Path) -> Result<bool, PartsError> {
        match recorded(directory)? {
            Some(there) if there != self.of => Err(PartsError::OtherNumber {
                path: directory.join(FILE_NAME),
                there,
                here: self.of,
            }),
            there => Ok(there.is_some()),
        }
    }
}

/// Into how many parts the list is divided in a model's directory, where that is recorded.
///
/// # Errors
/// When the record cannot be read.
pub fn recorded(directory: &Path) -> Result<Option<u32>, PartsError> {
    let path = directory.join(FILE_NAME);
    match regular::read_own(&path) {
        Ok(bytes) => match serde_json::from_slice::<Parts>(&bytes) {
            Ok(Parts { parts }) => Ok(Some(parts)),
            Err(source) => Err(PartsError::Damaged { path, source }),
        },
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PartsError::Io { path, source }),
    }
}

/// What divides the objects among the parts: the first eight bytes of the SHA-256 of the id, as a big-endian number.
///
/// Where a component of the path ends in `.tar`, in upper or lower case, and is not the last, all that is below it is
/// in one part, so that each tar is read by one: in place of the id stands the path up to `.tar`, without a `./` at its
/// beginning. No file is looked at.
pub fn hash(id_kind: IdKind, entry: &str) -> u64 {
    let key = match tar::split(entry) {
        Some((tar, _)) => IdKind::Path.of_entry(tar),
        None => id_kind.of_entry(entry),
    };
    checksum::first_eight_bytes(key.as_bytes())
}

/// The record of the number of parts in a model's directory.
pub(crate) const FILE_NAME: &str = "parts.json";

/// What is in it.
#[derive(Serialize, Deserialize)]
struct Parts {
    parts: u32,
}

/// Why a part cannot go into a directory.
#[allow(missing_docs, reason = "the messages tell what the fields are")]
#[derive(Debug, Error)]
pub enum PartsError {
    /// The record cannot be read or written.
    #[error("cannot read or write {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The record is not one.
    #[error(
        "{} does not say into how many parts the list is divided; remove it, and the next run with --part writes it again",
        path.display()
    )]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
    /// The list is divided differently there.
    #[error(
        "{} says that the list is divided into {} there, not into {here}; use --part I/{there}, or another \
         --feature-dir",
        path.display(),
        counted(*there, "part")
    )]
    OtherNumber {
        path: PathBuf,
        there: u32,
        here: u32,
    },
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn a_part_is_two_numbers_the_first_of_which_is_the_smaller_one() {
        for (text, expected) in [
            ("0/1", Some((0, 1))),
            ("63/64", Some((63, 64))),
            ("007/0064", Some((7, 64))),
            ("64/64", None),
            ("0/0", None),
            ("1", None),
            ("", None),
            ("/", None),
            ("1/", None),
            ("/2", None),
            ("+1/2", None),
            ("-1/2", None),
            (" 1/2", None),
            ("1/2/3", None),
            ("1.0/2", None),
            ("0/1000000", Some((0, 1_000_000))),
            ("0/1000001", None),
            ("0/4294967296", None),
        ] {
            let expected = expected.map(|(index, of)| Part { index, of });
            assert_eq!(text.parse().ok(), expected, "{text:?}");
        }
    }

    #[test]
    fn the_parts_of_ids_are_those_of_python() {
        // int.from_bytes(hashlib.sha256(id.encode()).digest()[:8], "big") % n
        for (id, of, expected) in [
            ("a.jpg", 64, 58),
            ("2021/IMG_0001.jpg", 1000, 153),
            ("straße.png", 7, 3),
        ] {
            let holding = (0..of).filter(|&index| Part { index, of }.holds(IdKind::Path, id));
            assert_eq!(holding.collect::<Vec<_>>(), [expected], "{id}");
        }
    }

    #[test]
    fn a_tar_is_in_the_part_of_its_path_whatever_the_ids_are() {
        for (entry, key) in [
            ("train/00012.tar/000123.jpg", "train/00012.tar"),
            ("./train/00012.tar/a/b.jpg", "train/00012.tar"),
            ("UP.TAR/a.jpg", "UP.TAR"),
            ("a.tar/b.tar/c.jpg", "a.tar"),
        ] {
            for kind in [IdKind::Name, IdKind::Path] {
                let part = |entry: &str| {
                    let mut parts = (0..1000).map(|index| Part { index, of: 1000 });
                    parts.find(|part| part.holds(kind, entry)).unwrap()
                };
                // A plain path of the same text as the tar's.
                let plain = checksum::first_eight_bytes(key.as_bytes()) % 1000;
                assert_eq!(u64::from(part(entry).index), plain, "{entry}");
            }
        }
        // These are files.
        for entry in ["train.tar", "a.tar.gz/b.jpg", "tar/b.jpg"] {
            assert_eq!(tar::split(entry), None, "{entry}");
        }
    }

    #[test]
    fn another_number_of_parts_is_refused_and_so_is_what_is_no_record() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path();
        let part = |text: &str| text.parse::<Part>().unwrap();
        part("3/64").record(path).unwrap();
        part("4/64").record(path).unwrap();
        let error = part("3/32").record(path).unwrap_err();
        assert!(error.to_string().contains("--part I/64"), "{error}");
        let record = path.join(FILE_NAME);
        fs::write(&record, "64").unwrap();
        let error = part("3/64").record(path).unwrap_err();
        assert!(matches!(error, PartsError::Damaged { .. }), "{error}");
        fs::remove_file(&record).unwrap();
        std::os::unix::fs::symlink("/dev/null", &record).unwrap();
        let error = part("3/64").record(path).unwrap_err();
        assert!(matches!(error, PartsError::Io { .. }), "{error}");
    }
}
