//! The directory of a part that writes its shards itself, `<model>/part-00003-of-00064`.
//!
//! It is a model's directory like any other, with a recipe, shards and their checksums, but without per-object files.
//! Only `part.json` is its own: what the part was made of, once nothing of it is left to do. `concat --merge` takes
//! parts that have this record, and no others.

use std::collections::BTreeSet;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use thiserror::Error;

use crate::storage::files::{complete, regular};
use crate::storage::object_list::ListStamp;
use crate::storage::part::Part;
use crate::storage::recipe::Recipe;
use crate::storage::shard::{self, ShardError, ShardFile, ShardFiles};
use crate::support::fault;

/// The record of a part that is complete.
pub const FILE_NAME: &str = "part.json";

/// What a part was made of.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct CompletePart {
    /// Its number, from 0.
    pub part: u32,
    /// Into how many the list was divided.
    pub parts: u32,
    /// The list.
    pub list: ListStamp,
    /// Rows of its shards together.
    pub rows: usize,
    /// Objects of the part that have no feature, since they failed.
    pub failed: u64,
}

/// Why the record of a part cannot be used.
#[allow(missing_docs, reason = "the messages tell what the fields are")]
#[derive(Debug, Error)]
pub enum PartDirError {
    /// It cannot be read, written or removed.
    #[error("cannot read or write {}", path.display())]
    Io {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// It is not one.
    #[error("{} is damaged; remove it, and run the part again with `simsearch extract --pack`", path.display())]
    Damaged {
        path: PathBuf,
        #[source]
        source: serde_json::Error,
    },
}

/// The directory of a part below a model's directory.
pub fn directory(model_dir: &Path, part: Part) -> PathBuf {
    let (index, of) = (part.index(), part.of());
    model_dir.join(format!("part-{index:05}-of-{of:05}"))
}

/// The part whose directory has a name.
pub fn parse(name: &str) -> Option<Part> {
    let (index, of) = name.strip_prefix("part-")?.split_once("-of-")?;
    let part: Part = format!("{index}/{of}").parse().ok()?;
    (directory(Path::new(""), part) == Path::new(name)).then_some(part)
}

/// Reads the record of a part's directory; none where the part is not complete.
pub fn read(directory: &Path) -> Result<Option<CompletePart>, PartDirError> {
    let path = directory.join(FILE_NAME);
    match regular::read_own(&path) {
        Ok(bytes) => serde_json::from_slice(&bytes)
            .map(Some)
            .map_err(|source| PartDirError::Damaged { path, source }),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(None),
        Err(source) => Err(PartDirError::Io { path, source }),
    }
}

/// Records that a part is complete.
pub fn write(directory: &Path, part: &CompletePart) -> Result<(), PartDirError> {
    let path = directory.join(FILE_NAME);
    let record = serde_json::json!(part);
    complete::write(&path, |file| writeln!(file, "{record}"))
        .map_err(|source| PartDirError::Io { path, source })
}

/// How many rows the shards of a part have.
pub fn rows(directory: &Path) -> Result<usize, ShardError> {
    let pairs = ShardFiles::list(directory)?.pairs(directory)?;
    let rows = pairs.into_iter().map(|number| {
        let path = directory.join(number.file_name(ShardFile::Features));
        Ok(shard::features_shape(&path)?.0)
    });
    rows.sum()
}

/// The parts of a model's directory in which anything was made: a run that is refused leaves no more than a file for
/// locks, and a merge what is not the program's.
pub fn begun(model_dir: &Path, there: &ShardFiles) -> BTreeSet<Part> {
    let is_begun = |part: &&Part| {
        let directory = directory(model_dir, **part);
        let has = |name: &str| directory.join(name).exists();
        let listed = || ShardFiles::list(&directory).unwrap_or_default();
        has(FILE_NAME) || has(Recipe::FILE_NAME) || listed() != ShardFiles::default()
    };
    there.parts.iter().filter(is_begun).copied().collect()
}

/// Takes the record away before anything of the part changes.
pub fn remove(directory: &Path) -> Result<(), PartDirError> {
    let path = directory.join(FILE_NAME);
    match fault::step("take back that the part is complete", || {
        fs::remove_file(&path)
    }) {
        Err(source) if source.kind() != io::ErrorKind::NotFound => {
            Err(PartDirError::Io { path, source })
        }
        _ => Ok(()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_name_of_a_directory_and_its_part_belong_together() {
        let name_of = |part: &str| directory(Path::new(""), part.parse().unwrap());
        assert_eq!(name_of("3/64"), Path::new("part-00003-of-00064"));
        for part in ["0/1", "99999/100000", "123456/1000000"] {
            let name = name_of(part);
            let parsed = parse(name.to_str().unwrap()).unwrap();
            assert_eq!(parsed.to_string(), part, "{}", name.display());
        }
        for name in [
            "part-3-of-64",
            "part-000003-of-00064",
            "part-00064-of-00064",
            "part-00003-of-00064.old",
            "part-00003",
            "ab",
        ] {
            assert_eq!(parse(name), None, "{name}");
        }
    }
}
