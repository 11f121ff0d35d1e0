//! Shards: pairs of `NNNN.features.npy` and `NNNN.object_ids.npy` in a model's directory.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::{self, BufWriter, Read, Seek, Write};
use std::panic::resume_unwind;
use std::path::{Path, PathBuf};
use std::thread;

use thiserror::Error;

use crate::storage::checksum::{self, Checksum};
use crate::storage::files::regular;
use crate::storage::npy::{self, NpyError};
use crate::support::fault;

/// The number of a shard; at least four digits in its file names.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ShardNumber(pub u64);

/// The two files of a shard.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Half {
    /// `<f4` `(n, d)`.
    Features,
    /// `<U…` `(n,)`.
    ObjectIds,
}

impl Half {
    /// Both parts, in the order in which they are put in place.
    pub const ALL: [Half; 2] = [Half::Features, Half::ObjectIds];

    fn suffix(self) -> &'static str {
        match self {
            Half::Features => ".features.npy",
            Half::ObjectIds => ".object_ids.npy",
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
    pub fn file_name(self, half: Half) -> String {
        format!("{:04}{}", self.0, half.suffix())
    }

    /// The name under which `concat` writes a file before it is put in place.
    pub(crate) fn temporary_name(self, half: Half) -> String {
        format!(".{}.tmp", self.file_name(half))
    }

    /// Reads a finished file's name.
    pub fn parse(file_name: &str) -> Option<(Self, Half)> {
        Half::ALL.into_iter().find_map(|half| {
            let digits = file_name.strip_suffix(half.suffix())?;
            // More than 32 bits is not a number that `concat` has counted up to.
            let number = Self(digits.parse::<u32>().ok()?.into());
            (number.file_name(half) == file_name).then_some((number, half))
        })
    }

    /// Reads a temporary file's name.
    pub(crate) fn parse_temporary(file_name: &str) -> Option<(Self, Half)> {
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
    /// The two files of a pair have different numbers of rows.
    #[error("{} has {features} rows, {} has {object_ids}", features_path.display(), object_ids_path.display())]
    Rows {
        features_path: PathBuf,
        features: usize,
        object_ids_path: PathBuf,
        object_ids: usize,
    },
    /// One file of a pair is missing.
    #[error(
        "{} is alone, its other half {} is missing: put that back, or move this file away and run \
         `simsearch extract` and `simsearch concat` again",
        found.display(), missing.display()
    )]
    Half { found: PathBuf, missing: PathBuf },
}

/// Which files of shards a directory holds, by number.
#[derive(Debug, Default)]
pub struct ShardFiles {
    /// Finished files: `[features, object ids]`.
    pub finished: BTreeMap<ShardNumber, [bool; 2]>,
    /// Temporary files, likewise.
    pub temporary: BTreeMap<ShardNumber, [bool; 2]>,
}

impl ShardFiles {
    /// Lists a model's directory.
    pub fn list(directory: &Path) -> Result<Self, ShardError> {
        let failed = |source| ShardError::Read {
            path: directory.to_owned(),
            source,
        };
        let mut files = ShardFiles::default();
        for entry in fs::read_dir(directory).map_err(failed)? {
            let name = entry.map_err(failed)?.file_name();
            let Some(name) = name.to_str() else { continue };
            if let Some((number, half)) = ShardNumber::parse(name) {
                files.finished.entry(number).or_default()[half as usize] = true;
            } else if let Some((number, half)) = ShardNumber::parse_temporary(name) {
                files.temporary.entry(number).or_default()[half as usize] = true;
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
            .filter(|(_, halves)| **halves == [true, true]);
        complete.map(|(number, _)| *number)
    }

    /// Files without their other half, unless that still has its temporary name: then `concat` was killed between
    /// putting the two in place, and its next run finishes that.
    pub(crate) fn half_pairs(&self, directory: &Path) -> impl Iterator<Item = ShardError> {
        self.finished.iter().filter_map(move |(&number, halves)| {
            let [found, missing] = match halves {
                [true, true] => return None,
                [true, false] => [Half::Features, Half::ObjectIds],
                _ => [Half::ObjectIds, Half::Features],
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

/// The object ids of a shard, row by row; checks that both files have as many rows.
pub fn object_ids(directory: &Path, number: ShardNumber) -> Result<Vec<String>, ShardError> {
    let features_path = directory.join(number.file_name(Half::Features));
    let path = directory.join(number.file_name(Half::ObjectIds));
    let (rows, _, _) = features_shape(&features_path)?;
    let ids = read_object_ids(&path)?;
    if ids.len() != rows {
        let (features, object_ids) = (rows, ids.len());
        return Err(ShardError::Rows {
            features_path,
            features,
            object_ids_path: path,
            object_ids,
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

/// Writes a shard's two files under their temporary names, one row at a time.
#[derive(Debug)]
pub(crate) struct ShardWriter {
    number: ShardNumber,
    directory: PathBuf,
    features: BufWriter<File>,
    dimension: usize,
    rows: usize,
}

impl ShardWriter {
    /// Begins a shard of features of `dimension` numbers.
    pub fn create(directory: &Path, number: ShardNumber, dimension: usize) -> io::Result<Self> {
        let file = create_afresh(&directory.join(number.temporary_name(Half::Features)))?;
        let mut features = BufWriter::with_capacity(1 << 18, file);
        // Room for the header, which is known when the rows are.
        features.write_all(&[0; npy::HEADER_LENGTH])?;
        Ok(ShardWriter {
            number,
            directory: directory.to_owned(),
            features,
            dimension,
            rows: 0,
        })
    }

    /// Adds a row; `data` are its numbers as they are in a file.
    pub fn push(&mut self, data: &[u8]) -> io::Result<()> {
        assert_eq!(data.len(), self.dimension * 4);
        self.features.write_all(data)?;
        self.rows += 1;
        Ok(())
    }

    /// Makes both temporary files complete and durable, where `ids` are the object ids of the rows; returns their
    /// checksums, in the order of [`Half::ALL`].
    pub fn finish<'i>(
        self,
        ids: impl ExactSizeIterator<Item = &'i str> + Clone,
    ) -> io::Result<[String; 2]> {
        let rows = self.rows;
        assert_eq!(ids.len(), rows);
        let mut features = fault::step("write the features", || {
            let written = self.features.into_inner();
            written.map_err(io::IntoInnerError::into_error)
        })?;
        features.rewind()?;
        let header = npy::features_header(&[rows, self.dimension]);
        fault::step("write the header", || features.write_all(&header))?;
        // The header, which comes first, is known last: so the file is read once more, while the disk writes it.
        let path = (self.directory).join(self.number.temporary_name(Half::Features));
        let (synced, features_sum) = thread::scope(|scope| {
            let sum = scope.spawn(|| checksum::of_file(&path));
            let synced = fault::step("sync the features", || features.sync_all());
            (
                synced,
                sum.join().unwrap_or_else(|panic| resume_unwind(panic)),
            )
        });
        synced?;
        let width = ids.clone().map(|id| id.chars().count()).max().unwrap_or(1);
        let path = self
            .directory
            .join(self.number.temporary_name(Half::ObjectIds));
        let mut object_ids = BufWriter::with_capacity(1 << 18, create_afresh(&path)?);
        let mut ids_sum = Checksum::default();
        let mut write = |bytes: &[u8]| {
            ids_sum.update(bytes);
            object_ids.write_all(bytes)
        };
        write(&npy::object_ids_header(rows, width))?;
        let mut row = Vec::with_capacity(width * 4);
        for id in ids {
            row.clear();
            npy::append_object_id(id, width, &mut row);
            write(&row)?;
        }
        let object_ids = fault::step("write the object ids", || {
            let written = object_ids.into_inner();
            written.map_err(io::IntoInnerError::into_error)
        })?;
        fault::step("sync the object ids", || object_ids.sync_all())?;
        Ok([features_sum?, ids_sum.finish()])
    }
}

/// Makes a new file, never writing through a link or into a file that something else holds open.
fn create_afresh(path: &Path) -> io::Result<File> {
    match fault::step("remove a temporary file", || fs::remove_file(path)) {
        Err(error) if error.kind() != io::ErrorKind::NotFound => return Err(error),
        _ => {}
    }
    let mut options = File::options();
    options.write(true).create_new(true);
    fault::step("create a temporary file", || options.open(path))
}

/// Puts a half in place: renames the temporary file to its final name.
pub(crate) fn put_in_place(directory: &Path, number: ShardNumber, half: Half) -> io::Result<()> {
    let temporary = directory.join(number.temporary_name(half));
    let finished = directory.join(number.file_name(half));
    fault::step("put in place", || fs::rename(temporary, finished))
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
            assert_eq!(ShardNumber(number).file_name(Half::Features), name);
            assert_eq!(
                ShardNumber::parse(name),
                Some((ShardNumber(number), Half::Features))
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
        let temporary = ShardNumber(12).temporary_name(Half::ObjectIds);
        assert_eq!(
            ShardNumber::parse_temporary(&temporary),
            Some((ShardNumber(12), Half::ObjectIds))
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
