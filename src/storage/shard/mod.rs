//! Shards: pairs of `NNNN.features.npy` and `NNNN.object_ids.npy` in a model's directory, with `NNNN.sources.npy` where
//! it is known which files the features were made from.

mod writing;

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, File};
use std::io::{self, Read};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use thiserror::Error;

use crate::storage::files::regular;
use crate::storage::merging::{self, Merging};
use crate::storage::npy::{self, NpyError};
use crate::storage::part::Part;
use crate::storage::part_dir;
use crate::storage::sources::Source;
pub(crate) use writing::{ShardWriter, put_in_place, read_back, write_sources};

/// The number of a shard; at least four digits in its file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardNumber(pub u64);

/// A file of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ShardFile {
    /// `<f4` `(n, d)`.
    Features,
    /// `<U…` `(n,)`.
    ObjectIds,
    /// Which files the features were made from, `(n,)` of path, size and time. Shards of which none is known have no
    /// such file.
    Sources,
}

impl ShardFile {
    /// What every shard has.
    pub const PAIR: [ShardFile; 2] = [ShardFile::Features, ShardFile::ObjectIds];

    /// All files of a shard, in the order in which they are put in place: the last one makes it complete.
    pub const ALL: [ShardFile; 3] = [
        ShardFile::Features,
        ShardFile::Sources,
        ShardFile::ObjectIds,
    ];

    fn suffix(self) -> &'static str {
        match self {
            ShardFile::Features => ".features.npy",
            ShardFile::ObjectIds => ".object_ids.npy",
            ShardFile::Sources => ".sources.npy",
        }
    }
}

impl ShardNumber {
    /// The number of the first shard of a directory.
    pub const FIRST: Self = Self(0);

    /// The number after this one.
    pub fn next(self) -> Self {
        Self(self.0 + 1)
    }

    /// The name of a finished file, such as `0012.features.npy`.
    pub fn file_name(self, file: ShardFile) -> String {
        format!("{:04}{}", self.0, file.suffix())
    }

    /// The name under which `concat` writes a file before it is put in place.
    pub(crate) fn temporary_name(self, file: ShardFile) -> String {
        format!(".{}.tmp", self.file_name(file))
    }

    /// The name of the file that says that the shard `new` replaces this one.
    pub(crate) fn replacement_marker(self, new: ShardNumber) -> String {
        format!(".{:04}.replaces.{:04}.tmp", new.0, self.0)
    }

    /// Reads the name of such a file: the old shard and the new one.
    fn parse_replacement_marker(file_name: &str) -> Option<(Self, Self)> {
        let name = file_name.strip_prefix('.')?.strip_suffix(".tmp")?;
        let (new, old) = name.split_once(".replaces.")?;
        let [old, new] = [old, new].map(|digits| digits.parse::<u32>().ok());
        let (old, new) = (Self(old?.into()), Self(new?.into()));
        (old.replacement_marker(new) == file_name).then_some((old, new))
    }

    /// Reads a finished file's name.
    pub fn parse(file_name: &str) -> Option<(Self, ShardFile)> {
        ShardFile::ALL.into_iter().find_map(|file| {
            let digits = file_name.strip_suffix(file.suffix())?;
            // With more than 32 bits it is not a number that `concat` has counted up to, which counts on from each.
            let number = digits.parse::<u32>().ok().filter(|it| *it < u32::MAX)?;
            let number = Self(number.into());
            (number.file_name(file) == file_name).then_some((number, file))
        })
    }

    /// Reads a temporary file's name.
    pub(crate) fn parse_temporary(file_name: &str) -> Option<(Self, ShardFile)> {
        Self::parse(file_name.strip_prefix('.')?.strip_suffix(".tmp")?)
    }
}

/// Why a shard cannot be read.
#[allow(missing_docs, reason = "the messages tell what the fields are")]
#[derive(Debug, Error)]
pub enum ShardError {
    /// The file cannot be opened or read.
    #[error("cannot read {}", path.display())]
    Read {
        path: PathBuf,
        #[source]
        source: io::Error,
    },
    /// The file is not what belongs there.
    #[error("{}: not a shard's file", path.display())]
    Npy {
        path: PathBuf,
        #[source]
        source: NpyError,
    },
    /// Two files of a shard have different numbers of rows.
    #[error("{} has {features} rows, {} has {others}", features_path.display(), other_path.display())]
    Rows {
        features_path: PathBuf,
        features: usize,
        other_path: PathBuf,
        others: usize,
    },
    /// A shard that was written is another one when it is read.
    #[error(
        "{} is not what this run has written: another process writes there too, or the disk is damaged. What was packed \
         into it is still there; look with `simsearch verify`, and run the same command again on one machine alone",
        path.display()
    )]
    Overwritten { path: PathBuf },
    /// One file of a pair is missing.
    #[error(
        "{} is alone, its other half {} is missing: put that back, or move this file away and run \
         `simsearch extract` and `simsearch concat` again",
        found.display(), missing.display()
    )]
    Half { found: PathBuf, missing: PathBuf },
}

/// Which files of shards a directory holds, by number.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct ShardFiles {
    /// Finished files: `[features, object ids, sources]`.
    pub finished: BTreeMap<ShardNumber, [bool; 3]>,
    /// Temporary files, likewise.
    pub temporary: BTreeMap<ShardNumber, [bool; 3]>,
    /// Shards that a process was replacing by others when it was killed. One whose replacement is complete is not among
    /// the files.
    pub(crate) replacements: BTreeMap<ShardNumber, ShardNumber>,
    /// Parts that have shards in directories of their own.
    pub(crate) parts: BTreeSet<Part>,
    /// Where `concat --merge` is at work, or was killed: see `storage::merging`.
    pub(crate) merging: Option<Merging>,
}

/// The files of a directory that has shards: a model's, or that of a part in it.
#[derive(Debug, PartialEq, Eq)]
pub struct Listing {
    /// The directory.
    pub directory: PathBuf,
    /// Its files.
    pub files: ShardFiles,
}

impl Listing {
    /// The numbers of the complete pairs, in order. A half pair is an error.
    pub fn pairs(&self) -> Result<Vec<ShardNumber>, ShardError> {
        self.files.pairs(&self.directory)
    }
}

impl ShardFiles {
    /// Lists a model's directory, and those of the parts in it.
    pub fn list_all(directory: &Path) -> Result<Vec<Listing>, ShardError> {
        let mut files = ShardFiles::list(directory)?;
        loop {
            let list_part = |part: &Part| {
                let directory = part_dir::directory(directory, *part);
                let files = ShardFiles::list(&directory)?;
                Ok(Listing { directory, files })
            };
            match files.parts.iter().map(list_part).collect() {
                Ok(parts) => {
                    let mut all: Vec<Listing> = parts;
                    // Where parts were merged meanwhile, some may have been listed before and others after that.
                    let now = match all.is_empty() {
                        true => None,
                        false => Some(ShardFiles::list(directory)?),
                    };
                    match now {
                        Some(now) if (&now.parts, now.merging) != (&files.parts, files.merging) => {
                            files = now;
                        }
                        _ => {
                            let directory = directory.to_owned();
                            all.insert(0, Listing { directory, files });
                            return Ok(all);
                        }
                    }
                }
                // So they were.
                Err(error) if is_gone(&error) => {
                    let now = ShardFiles::list(directory)?;
                    if now == files {
                        return Err(error);
                    }
                    files = now;
                }
                Err(error) => return Err(error),
            }
        }
    }

    /// Lists a model's directory alone.
    pub fn list(directory: &Path) -> Result<Self, ShardError> {
        let mut files = Self::list_with_merged(directory)?;
        let all = std::mem::take(&mut files.finished).into_iter();
        let counting = all.filter(|(number, _)| !files.is_being_merged(*number));
        files.finished = counting.collect();
        Ok(files)
    }

    /// The same with the shards that a merge has put there and that do not count yet.
    pub(crate) fn list_with_merged(directory: &Path) -> Result<Self, ShardError> {
        let failed = |source| ShardError::Read {
            path: directory.to_owned(),
            source,
        };
        let mut files = ShardFiles::default();
        let (mut first_merged, mut is_merged) = (None, false);
        for entry in fs::read_dir(directory).map_err(failed)? {
            let entry = entry.map_err(failed)?;
            let name = entry.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some((number, file)) = ShardNumber::parse(name) {
                files.finished.entry(number).or_default()[file as usize] = true;
            } else if let Some((number, file)) = ShardNumber::parse_temporary(name) {
                files.temporary.entry(number).or_default()[file as usize] = true;
            } else if let Some((old, new)) = ShardNumber::parse_replacement_marker(name) {
                files.replacements.insert(old, new);
            } else if let Some(part) = part_dir::parse(name) {
                // A link would lead elsewhere.
                if entry.file_type().is_ok_and(|kind| kind.is_dir()) {
                    files.parts.insert(part);
                }
            } else if let Some(first) = merging::parse_begun(name) {
                first_merged = Some(first);
            } else if name == merging::DONE {
                is_merged = true;
            }
        }
        if is_merged {
            files.parts.clear();
        }
        files.merging = (first_merged.is_some() || is_merged).then_some(Merging {
            first: first_merged,
            is_done: is_merged,
        });
        for (old, new) in files.replacements.clone() {
            if files.is_complete(new) {
                files.finished.remove(&old);
                files.temporary.remove(&old);
            }
        }
        Ok(files)
    }

    /// The numbers of the complete pairs, in order. A half pair is an error.
    pub fn pairs(&self, directory: &Path) -> Result<Vec<ShardNumber>, ShardError> {
        match self.half_pairs(directory).next() {
            Some(half) => Err(half),
            None => Ok(self.complete_pairs().collect()),
        }
    }

    /// The numbers of the complete pairs, in order, whatever else there is.
    pub(crate) fn complete_pairs(&self) -> impl Iterator<Item = ShardNumber> {
        let complete = self
            .finished
            .iter()
            .filter(|(_, files)| matches!(files, [true, true, _]));
        complete.map(|(number, _)| *number)
    }

    /// Whether both files of a pair have their final names.
    pub(crate) fn is_complete(&self, number: ShardNumber) -> bool {
        matches!(self.finished.get(&number), Some([true, true, _]))
    }

    /// Whether a shard does not count yet, since a merge is about to put others beside it.
    pub(crate) fn is_being_merged(&self, number: ShardNumber) -> bool {
        let merging = self.merging.filter(|merging| !merging.is_done);
        let first = merging.and_then(|merging| merging.first);
        first.is_some_and(|first| number >= first)
    }

    /// The number of the next new shard: after every number of which there is a file, so that a file which was left
    /// alone never comes to stand beside those of another shard.
    pub(crate) fn next_number(&self) -> ShardNumber {
        let last = self.finished.keys().next_back();
        last.map_or(ShardNumber::FIRST, |last| last.next())
    }

    /// Files without their other half, unless that still has its temporary name: then `concat` was killed between
    /// putting the two in place, and its next run finishes that.
    pub(crate) fn half_pairs(&self, directory: &Path) -> impl Iterator<Item = ShardError> {
        self.finished.iter().filter_map(move |(&number, halves)| {
            let [found, missing] = match halves {
                [true, true, _] | [false, false, _] => return None,
                [true, false, _] => [ShardFile::Features, ShardFile::ObjectIds],
                [false, true, _] => [ShardFile::ObjectIds, ShardFile::Features],
            };
            let temporary = self.temporary.get(&number);
            if temporary.is_some_and(|halves| halves[missing as usize]) {
                return None;
            }
            Some(ShardError::Half {
                found: directory.join(number.file_name(found)),
                missing: directory.join(number.file_name(missing)),
            })
        })
    }
}

/// Rows and dimension of a shard's features, and the offset of the data in bytes; reads the header only.
pub fn features_shape(path: &Path) -> Result<(usize, usize, usize), ShardError> {
    let read = |source| ShardError::Read {
        path: path.to_owned(),
        source,
    };
    let file = regular::open(path).map_err(read)?;
    let file_length = file.metadata().map_err(read)?.len();
    let mut beginning = Vec::new();
    file.take(4096).read_to_end(&mut beginning).map_err(read)?;
    npy::features_shape(&beginning, file_length).map_err(|source| ShardError::Npy {
        path: path.to_owned(),
        source,
    })
}

/// The features of a shard, to be read row by row.
#[derive(Debug)]
pub(crate) struct FeatureRows {
    path: PathBuf,
    file: File,
    /// Bytes before the first row, and of a row.
    offset: usize,
    row_bytes: usize,
}

impl FeatureRows {
    /// Opens the features of a shard.
    pub fn open(directory: &Path, number: ShardNumber) -> Result<Self, ShardError> {
        let path = directory.join(number.file_name(ShardFile::Features));
        let (_, dimension, offset) = features_shape(&path)?;
        match regular::open(&path) {
            Ok(file) => Ok(FeatureRows {
                path,
                file,
                offset,
                row_bytes: dimension * 4,
            }),
            Err(source) => Err(ShardError::Read { path, source }),
        }
    }

    /// The numbers of a row as they are in the file.
    pub fn read(&self, row: usize) -> Result<Vec<u8>, ShardError> {
        let mut data = vec![0; self.row_bytes];
        let at = self.offset + row * self.row_bytes;
        let read = self.file.read_exact_at(&mut data, at as u64);
        read.map_err(|source| ShardError::Read {
            path: self.path.clone(),
            source,
        })?;
        Ok(data)
    }
}

/// The object ids of a shard, row by row; checks that both files have as many rows.
pub fn object_ids(directory: &Path, number: ShardNumber) -> Result<Vec<String>, ShardError> {
    let features_path = directory.join(number.file_name(ShardFile::Features));
    let path = directory.join(number.file_name(ShardFile::ObjectIds));
    let (rows, _, _) = features_shape(&features_path)?;
    let ids = read_object_ids(&path)?;
    if ids.len() != rows {
        return Err(ShardError::Rows {
            features_path,
            features: rows,
            other_path: path,
            others: ids.len(),
        });
    }
    Ok(ids)
}

/// The object ids in a file, row by row.
pub(crate) fn read_object_ids(path: &Path) -> Result<Vec<String>, ShardError> {
    let mut bytes = Vec::new();
    regular::open(path)
        .and_then(|mut file| file.read_to_end(&mut bytes))
        .map_err(|source| ShardError::Read {
            path: path.to_owned(),
            source,
        })?;
    npy::object_ids(&bytes).map_err(|source| ShardError::Npy {
        path: path.to_owned(),
        source,
    })
}

/// Lists a model's directory, with its parts, and reads from the shards; once more where one was replaced by another
/// process meanwhile.
pub(crate) fn read_listed<T>(
    directory: &Path,
    mut read: impl FnMut(&[Listing]) -> Result<T, ShardError>,
) -> Result<T, ShardError> {
    let mut listed = ShardFiles::list_all(directory)?;
    loop {
        match read(&listed) {
            Err(error) if is_gone(&error) => {
                let now = ShardFiles::list_all(directory)?;
                // Then it is lost.
                if now == listed {
                    return Err(error);
                }
                listed = now;
            }
            read => return read,
        }
    }
}

/// Whether a file of a shard is not there: a process may have replaced the shard since the directory was listed.
pub(crate) fn is_gone(error: &ShardError) -> bool {
    matches!(error, ShardError::Read { source, .. } if source.kind() == io::ErrorKind::NotFound)
}

/// Which file each feature of a shard of so many rows was made from, row by row: none is known where the shard has no
/// such record.
pub(crate) fn sources(
    directory: &Path,
    number: ShardNumber,
    rows: usize,
) -> Result<Vec<Option<Source>>, ShardError> {
    let path = directory.join(number.file_name(ShardFile::Sources));
    let bytes = match regular::read(&path) {
        Ok(bytes) => bytes,
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(vec![None; rows]),
        Err(source) => return Err(ShardError::Read { path, source }),
    };
    match npy::sources(&bytes) {
        Ok(sources) if sources.len() == rows => Ok(sources),
        Ok(sources) => Err(ShardError::Rows {
            features_path: directory.join(number.file_name(ShardFile::Features)),
            features: rows,
            other_path: path,
            others: sources.len(),
        }),
        Err(source) => Err(ShardError::Npy { path, source }),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_numbers_belong_together() {
        for (number, name) in [
            (0, "0000.features.npy"),
            (9999, "9999.features.npy"),
            (10000, "10000.features.npy"),
        ] {
            assert_eq!(ShardNumber(number).file_name(ShardFile::Features), name);
            assert_eq!(
                ShardNumber::parse(name),
                Some((ShardNumber(number), ShardFile::Features))
            );
        }
        for name in [
            "000.features.npy",
            "00000.features.npy",
            "+001.object_ids.npy",
            "0001.npy",
            "a.features.npy",
            "18446744073709551615.features.npy",
        ] {
            assert_eq!(ShardNumber::parse(name), None, "{name}");
        }
        let temporary = ShardNumber(12).temporary_name(ShardFile::ObjectIds);
        assert_eq!(
            ShardNumber::parse_temporary(&temporary),
            Some((ShardNumber(12), ShardFile::ObjectIds))
        );
        assert_eq!(ShardNumber::parse(&temporary), None);
    }

    #[test]
    fn shards_sort_by_number_not_by_name() {
        let mut numbers = [ShardNumber(10000), ShardNumber(9999), ShardNumber(2)];
        numbers.sort();
        assert_eq!(
            numbers,
            [ShardNumber(2), ShardNumber(9999), ShardNumber(10000)]
        );
    }
}
