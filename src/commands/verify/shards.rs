//! The files of one shard.

use std::io::{self, Read};
use std::path::{Path, PathBuf};

use super::report::{Finding, compare};
use crate::storage::checksum::{self, Checksum};
use crate::storage::files::regular;
use crate::storage::npy;
use crate::storage::object_id::IdKind;
use crate::storage::sha256sums::Sha256Sums;
use crate::storage::shard::{self, FeatureRows, ShardError, ShardFile, ShardNumber};
use crate::storage::sources::Source;
use crate::support::hints::hint;

/// Bytes of the features that are in memory at once.
const PIECE: usize = 1 << 20;

/// What to do about a shard that is damaged.
const AGAIN: &str = "put back a copy of it; or move the files of this shard away, remove their lines from SHA256SUMS, \
     and run `simsearch extract` and `simsearch concat`";

/// A shard that was looked at.
#[derive(Debug)]
pub struct Shard {
    /// A model's, or that of a part in it.
    directory: PathBuf,
    number: ShardNumber,
    /// Rows and dimension of its features; none where they cannot be read.
    pub shape: Option<(usize, usize)>,
    /// The object ids, row by row; none where they cannot be read.
    pub ids: Vec<String>,
    /// What the rows were made from; none where there is no record of that, or it cannot be read.
    pub sources: Vec<Option<Source>>,
    /// What is wrong with it.
    pub problems: Vec<Finding>,
}

/// What the features' file holds.
struct Features {
    shape: (usize, usize),
    checksum: String,
    /// The first row that holds a number which is not finite.
    not_finite: Option<usize>,
}

impl Shard {
    /// Reads the files from end to end; compares them with their checksums, where there are any, and the object ids,
    /// which are of that kind, with the sources.
    pub fn check(
        directory: &Path,
        number: ShardNumber,
        sums: Option<&Sha256Sums>,
        id_kind: IdKind,
    ) -> Self {
        let mut shard = Shard {
            directory: directory.to_owned(),
            number,
            shape: None,
            ids: Vec::new(),
            sources: Vec::new(),
            problems: Vec::new(),
        };
        let [features_path, ids_path] =
            ShardFile::PAIR.map(|half| directory.join(number.file_name(half)));
        match read_features(&features_path) {
            Ok(features) => {
                shard.shape = Some(features.shape);
                shard
                    .problems
                    .extend(compare(sums, &features_path, &features.checksum, AGAIN));
                if let Some(row) = features.not_finite {
                    let what = format!("row {row} holds a number that is not finite; {AGAIN}");
                    shard.problems.push(Finding::new(&features_path, what));
                }
            }
            Err(error) => shard.problems.push(unreadable(&features_path, error)),
        }
        match read_object_ids(&ids_path) {
            Ok((ids, checksum)) => {
                shard
                    .problems
                    .extend(compare(sums, &ids_path, &checksum, AGAIN));
                shard.ids = ids;
            }
            Err(error) => {
                shard.problems.push(unreadable(&ids_path, error));
                return shard;
            }
        }
        if let Some((rows, _)) = shard.shape
            && rows != shard.ids.len()
        {
            let (features, ids) = (number.file_name(ShardFile::Features), shard.ids.len());
            let what = format!("has {ids} rows, {features} has {rows}; {AGAIN}");
            shard.problems.push(Finding::new(&ids_path, what));
        }
        shard.check_sources(directory, sums, id_kind);
        shard
    }

    /// The numbers of a row as they are in the file.
    pub fn feature(&self, row: usize) -> Result<Vec<u8>, ShardError> {
        FeatureRows::open(&self.directory, self.number)?.read(row)
    }

    /// The path of one of its files.
    pub fn path(&self, file: ShardFile) -> PathBuf {
        self.directory.join(self.number.file_name(file))
    }
}

impl Shard {
    /// Reads what the rows were made from, where that is recorded.
    fn check_sources(&mut self, directory: &Path, sums: Option<&Sha256Sums>, id_kind: IdKind) {
        let path = directory.join(self.number.file_name(ShardFile::Sources));
        let sum = match checksum::of_file(&path) {
            Ok(sum) => sum,
            Err(error) if error.kind() == io::ErrorKind::NotFound => return,
            Err(source) => {
                let error = ShardError::Read {
                    path: path.clone(),
                    source,
                };
                self.problems.push(unreadable(&path, error));
                return;
            }
        };
        // New ones that are recorded already, and were not put in place before a kill, will be by the next `concat`.
        let temporary = self.number.temporary_name(ShardFile::Sources);
        if !directory.join(temporary).exists() {
            self.problems.extend(compare(sums, &path, &sum, AGAIN));
        }
        let sources = match shard::sources(directory, self.number, self.ids.len()) {
            Ok(sources) => sources,
            Err(error) => {
                self.problems.push(unreadable(&path, error));
                return;
            }
        };
        let mut rows = sources.iter().zip(&self.ids).enumerate();
        let other = rows.find(|(_, (source, id))| {
            (source.as_ref()).is_some_and(|source| id_kind.of_entry(&source.path) != *id)
        });
        if let Some((row, (_, id))) = other {
            let what = format!("row {row} is not of a file named {id}; {AGAIN}");
            self.problems.push(Finding::new(&path, what));
        }
        self.sources = sources;
    }
}

fn unreadable(path: &Path, error: ShardError) -> Finding {
    // What the system refuses may be whole.
    let advice = hint(&error).unwrap_or(AGAIN);
    let error = anyhow::Error::new(error);
    Finding {
        file: path.to_owned(),
        message: format!("{error:#}; {advice}"),
    }
}

fn read_features(path: &Path) -> Result<Features, ShardError> {
    let (rows, dimension, offset) = shard::features_shape(path)?;
    let read = || -> io::Result<Features> {
        let mut file = regular::open(path)?;
        let mut checksum = Checksum::default();
        let mut buffer = vec![0; offset.max(PIECE)];
        file.read_exact(&mut buffer[..offset])?;
        checksum.update(&buffer[..offset]);
        let mut not_finite = None;
        let mut left = rows * dimension * 4;
        let mut numbers = 0;
        while left > 0 {
            let piece = &mut buffer[..left.min(PIECE)];
            file.read_exact(piece)?;
            checksum.update(piece);
            if not_finite.is_none() {
                let found = npy::floats(piece).position(|number| !number.is_finite());
                not_finite = found.map(|at| (numbers + at) / dimension);
            }
            numbers += piece.len() / 4;
            left -= piece.len();
        }
        Ok(Features {
            shape: (rows, dimension),
            checksum: checksum.finish(),
            not_finite,
        })
    };
    read().map_err(|source| ShardError::Read {
        path: path.to_owned(),
        source,
    })
}

/// The object ids, and the checksum of their file.
fn read_object_ids(path: &Path) -> Result<(Vec<String>, String), ShardError> {
    let bytes = regular::read(path).map_err(|source| ShardError::Read {
        path: path.to_owned(),
        source,
    })?;
    let ids = npy::object_ids(&bytes).map_err(|source| ShardError::Npy {
        path: path.to_owned(),
        source,
    })?;
    Ok((ids, checksum::of_bytes(&bytes)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_system_refuses_is_not_called_damaged() {
        let path = Path::new("0000.features.npy");
        let says = |source: io::Error| {
            let path = path.to_owned();
            unreadable(&path.clone(), ShardError::Read { path, source }).message
        };
        let refused = says(io::Error::from_raw_os_error(nix::libc::EACCES));
        assert!(
            refused.contains("check the owner and the mode"),
            "{refused}"
        );
        assert!(!refused.contains("move the files"), "{refused}");
        let cut_off = says(io::ErrorKind::UnexpectedEof.into());
        assert!(cut_off.ends_with(AGAIN), "{cut_off}");
    }
}
